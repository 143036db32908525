//! A login whose first name server is dead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use support::{Desk, User};
use ticketapi_testkit::spine::ServerCertificate;

/// Set in the process that runs in its own namespaces.
const INSIDE: &str = "TICKETAPI_TEST_NAME_SERVERS";

#[test]
fn a_dead_name_server_does_not_use_up_the_time_to_connect() {
    if std::env::var_os(INSIDE).is_some() {
        return log_in_by_name();
    }
    // The resolver reads /etc/resolv.conf and uses port 53, so the test needs its own network and mounts.
    let script = "ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let resolver = tempfile::NamedTempFile::new().unwrap();
    fs::write(resolver.path(), "nameserver 127.0.0.2\nnameserver 127.0.0.3\noptions timeout:2\n").unwrap();
    let inside = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--net", "sh", "-c", script])
        .arg(resolver.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_dead_name_server_does_not_use_up_the_time_to_connect", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(inside.expect("unshare is in the package util-linux").success());
}

fn log_in_by_name() {
    let _never_answers = UdpSocket::bind("127.0.0.2:53").unwrap();
    let answers = UdpSocket::bind("127.0.0.3:53").unwrap();
    thread::spawn(move || serve_names(&answers));
    let name = "broker.test";
    let desk = Desk::with(|spine| spine.server_certificate(ServerCertificate::ForName(name.to_owned())))
        // Less than the resolver waits for the first name server.
        .set("connect_timeout", "1");
    let port = desk.spine.url().rsplit(':').next().unwrap().to_owned();
    let desk = desk.set("base_url", &format!("https://{name}:{port}"));
    desk.engine(&User::new()).get_ticket().unwrap();
}

/// Answers each query for an IPv4 address with 127.0.0.1 (RFC 1035, 4.1).
fn serve_names(socket: &UdpSocket) {
    const HEADER: usize = 12;
    let mut query = [0; 512];
    while let Ok((_, client)) = socket.recv_from(&mut query) {
        let mut end = HEADER;
        while query[end] != 0 {
            end += 1 + usize::from(query[end]);
        }
        let question = &query[HEADER..end + 5];
        let is_for_ipv4 = question[question.len() - 3] == 1;
        let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, is_for_ipv4.into(), 0, 0, 0, 0], question].concat();
        if is_for_ipv4 {
            // The question's name, type A, class IN, 60 s, 4 bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, client).unwrap();
    }
}
