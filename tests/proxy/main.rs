//! Logins through a proxy: a right one, and each way in which a proxy can be wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/mod.rs"]
mod support;
mod tinyproxy;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ticketapi::{Error, ErrorKind, Stage};
use ticketapi_testkit::spine::ServerCertificate;

use crate::proxy::{TestProxy, hang};
use crate::support::{Desk, PATIENCE, User, kind};

/// A name that only the proxy leads to.
const BROKER: &str = "gas.ticketapi.invalid:8443";

/// A desk whose broker is reached through a proxy only.
fn desk() -> Desk {
    let name = BROKER.split(':').next().unwrap();
    let desk = Desk::with(|spine| spine.roles(1).server_certificate(ServerCertificate::ForName(name.into())));
    desk.set("base_url", &format!("https://{BROKER}"))
}

fn broker_of(desk: &Desk) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, desk.spine.port()).into()
}

/// Logs in through the proxy at `url`, which does not lead to the broker; how it failed.
fn failure(desk: Desk, url: &str) -> Error {
    let (desk, user) = (desk.set("proxy", url), User::new());
    let error = desk.engine(&user).get_ticket().unwrap_err();
    assert_eq!((error.stage(), user.pins_asked(), desk.spine.connections()), (Stage::Activation, 0, 0), "{error}");
    error
}

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, says: &str) {
    assert_eq!(error.kind(), &kind, "{error}");
    assert!(error.detail().contains(says), "{error}");
}

#[test]
fn a_login_and_its_logout_go_through_the_proxy() {
    let desk = desk();
    let proxy = TestProxy::to(broker_of(&desk));
    let desk = desk.set("proxy", &proxy.url());
    let engine = desk.engine(&User::new());
    let ticket = engine.get_ticket().unwrap();
    assert_eq!(desk.spine.open_sessions(), 1);
    engine.destroy_ticket().unwrap();
    assert_eq!(desk.spine.open_sessions(), 0);

    let head = format!(
        "CONNECT {BROKER} HTTP/1.1\r\nHost: {BROKER}\r\nUser-Agent: ticketapi/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(proxy.asked(), [head.clone(), head]);
    assert_eq!((desk.spine.connections(), desk.spine.handshakes()), (2, 2));
    assert!(!ticket.expose().is_empty());
}

#[test]
fn user_name_and_password_are_sent_and_shown_nowhere() {
    let desk = desk();
    let proxy = TestProxy::for_users(broker_of(&desk), "Basic bnVyc2U6czNjcmV0QA==");
    let with = |credentials: &str| format!("http://{credentials}{}", proxy.address);
    let desk = desk.set("proxy", &with("nurse:s3cret%40@"));
    desk.engine(&User::new()).get_ticket().unwrap();
    assert!(!format!("{:?}", desk.config).contains("s3cret"));

    let asks = format!(
        "the proxy {0} (setting proxy) asks for a user name and a password; give them as http://user:password@{1}",
        proxy.url(),
        proxy.address
    );
    assert_error(&failure(self::desk(), &with("")), ErrorKind::Configuration, &asks);
    let error = failure(self::desk(), &with("nurse:wr0ng@"));
    assert_error(&error, ErrorKind::Configuration, "does not accept its user name and password (HTTP status 407)");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("wr0ng") && !shown.contains("bnVyc2U6"), "{shown}");

    let ntlm = TestProxy::answering(
        "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate x\r\nContent-Length: 0\r\n\r\n",
    );
    let says = "authenticates users by NTLM, Negotiate only, which is not supported; Basic is (HTTP status 407)";
    assert_error(&failure(self::desk(), &ntlm.url()), ErrorKind::Configuration, says);
}

#[test]
fn a_proxy_that_cannot_be_reached_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let says = format!("the proxy http://{closed} refused the connection");
    assert_error(&failure(desk(), &format!("http://{closed}")), ErrorKind::ServerNotAvailable, &says);
    let error = failure(desk(), "http://proxy.ticketapi.invalid:3128");
    let says = "the name proxy.ticketapi.invalid of the proxy http://proxy.ticketapi.invalid:3128 cannot be resolved";
    assert_error(&error, ErrorKind::ServerNotAvailable, says);
}

#[test]
fn what_a_proxy_answers_instead_of_connecting_is_told_apart() {
    use ErrorKind::{Configuration, ServerNotAvailable};
    let no_proxy = "it is no proxy, or not one for https";
    let page = "<html><body>Welcome</body></html>";
    let status = |status: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len())
    };
    for (answer, kind, says) in [
        (status("403 Forbidden"), ServerNotAvailable, &*format!("does not allow connections to {BROKER}")),
        (status("500 Unable to connect"), ServerNotAvailable, &*format!("cannot reach {BROKER} (HTTP status 500)")),
        (status("502 Bad Gateway"), ServerNotAvailable, "cannot reach"),
        (status("504 Gateway Timeout"), ServerNotAvailable, "cannot reach"),
        (status("400 Bad Request"), ServerNotAvailable, &*format!("refused to connect to {BROKER} (HTTP status 400)")),
        (status("302 Found"), ServerNotAvailable, "refused to connect"),
        (status("405 Method Not Allowed"), Configuration, "does not know CONNECT (HTTP status 405)"),
        (status("501 Not Implemented"), Configuration, no_proxy),
        (status("200 OK"), Configuration, "answered with more than a connection, such as a page: it is no proxy"),
        (page.to_owned(), Configuration, "does not answer in HTTP/1.1: it is no proxy"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), Configuration, no_proxy),
        ("\u{0}\u{1}\u{2}".repeat(1000), Configuration, no_proxy),
        (format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20)), Configuration, "more headers than are read"),
        (format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(1 << 17)), Configuration, "more headers than are read"),
        (String::new(), ServerNotAvailable, "closed the connection without an answer"),
        ("HTTP/1.1 200 O".to_owned(), ServerNotAvailable, "broke off within its answer"),
    ] {
        let proxy = TestProxy::answering(answer.clone());
        let error = failure(desk(), &proxy.url());
        assert_error(&error, kind, says);
        assert!(error.detail().starts_with(&format!("the proxy {} (setting proxy) ", proxy.url())), "{error}");
        assert_eq!(proxy.asked().len(), 1, "a request is not repeated");
    }
}

#[test]
fn interim_answers_of_a_proxy_are_passed_over() {
    let desk = desk();
    let broker = broker_of(&desk);
    let proxy = TestProxy::serving(move |_, client| {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        proxy::relay(client, broker);
    });
    let desk = desk.set("proxy", &proxy.url());
    desk.engine(&User::new()).get_ticket().unwrap();
}

#[test]
fn a_proxy_that_hangs_or_trickles_is_left_at_the_deadline_of_the_request() {
    type Does = fn(&mut std::net::TcpStream);
    let trickles: Does = |client| {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while client.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    };
    for does in [hang as Does, trickles] {
        let proxy = TestProxy::serving(move |_, client| does(client));
        let desk = desk().set("request_timeout", "1").set("connect_timeout", "1");
        let began = Instant::now();
        let error = failure(desk, &proxy.url());
        let says = format!("the proxy {} (setting proxy) did not answer within 1 s", proxy.url());
        assert_error(&error, ErrorKind::ServerNotAvailable, &says);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[test]
fn cancelling_ends_the_wait_for_a_proxy() {
    let proxy = TestProxy::serving(|_, client| hang(client));
    let desk = desk().set("proxy", &proxy.url());
    let engine = Arc::new(desk.engine(&User::new()));
    let login = thread::spawn({
        let engine = Arc::clone(&engine);
        move || (kind(engine.get_ticket()), Instant::now())
    });
    proxy.wait_for(1);
    let began = Instant::now();
    engine.cancel_login();
    let (kind, ended) = login.join().unwrap();
    assert_eq!(kind, ErrorKind::Cancelled);
    assert!(ended - began < Duration::from_secs(1), "{:?}", ended - began);
}

#[test]
fn the_server_behind_a_proxy_is_verified_and_an_error_names_the_proxy() {
    let (desk, other) = (desk(), self::desk());
    let proxy = TestProxy::to(broker_of(&other));
    let desk = desk.set("proxy", &proxy.url());
    let error = desk.engine(&User::new()).get_ticket().unwrap_err();
    let says = format!("it is not signed by a trusted issuer (through the proxy {})", proxy.url());
    assert_error(&error, ErrorKind::Tls, &says);

    let page = TestProxy::serving(|_, client| {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        // Answers what the client says first.
        let mut hello = [0];
        std::io::Read::read_exact(client, &mut hello).unwrap();
        client.write_all(b"<html>Log in to this network</html>").unwrap();
        hang(client);
    });
    let error = self::desk().set("proxy", &page.url()).engine(&User::new()).get_ticket().unwrap_err();
    let says = format!("the server does not answer in TLS (through the proxy {})", page.url());
    assert_error(&error, ErrorKind::Tls, &says);
}

#[test]
fn a_proxy_that_goes_within_a_login_ends_it_with_its_name() {
    let desk = desk();
    let proxy = TestProxy::to(broker_of(&desk));
    let (desk, url) = (desk.set("proxy", &proxy.url()), proxy.url());
    let proxy = std::sync::Mutex::new(Some(proxy));
    // The user is asked after the first request.
    let user = User::new().asked_for_pin(move |_| {
        drop(proxy.lock().unwrap().take());
        Ok(ticketapi::Pin::new(support::PIN.into()))
    });
    let error = desk.engine(&user).get_ticket().unwrap_err();
    assert_error(&error, ErrorKind::ServerNotAvailable, &format!("the proxy {url} refused the connection"));
    assert_eq!((error.stage(), desk.spine.open_sessions()), (Stage::Authentication, 0));
}

#[test]
fn a_broker_on_this_computer_is_reached_without_the_proxy() {
    let proxy = TestProxy::answering("HTTP/1.1 403 No\r\n\r\n");
    let desk = Desk::new().set("proxy", &proxy.url());
    desk.engine(&User::new()).get_ticket().unwrap();
    assert_eq!(proxy.asked(), [""; 0]);
    assert!(desk.spine.wait_for_sessions(PATIENCE, 1));
}
