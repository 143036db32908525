//! A real proxy: tinyproxy, which leads everything to the test's own, as that knows the broker's name.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ticketapi::ErrorKind;

use crate::proxy::TestProxy;
use crate::support::{PATIENCE, User};
use crate::{BROKER, assert_error, broker_of, desk, failure};

struct Tinyproxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Tinyproxy {
    fn start(upstream: SocketAddr, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another program may take the port before it does.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = format!(
            "Listen 127.0.0.1\nPort {}\nTimeout 60\nMaxClients 20\nUpstream http {upstream}\n{more}\n",
            address.port()
        );
        let file = folder.path().join("tinyproxy.conf");
        std::fs::write(&file, settings).unwrap();
        let child = Command::new("tinyproxy").arg("-d").arg("-c").arg(&file).stdout(Stdio::null()).spawn();
        let child = child.expect("tinyproxy is installed by scripts/install-deps");
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < PATIENCE, "tinyproxy does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address, _folder: folder }
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_login_goes_through_tinyproxy_with_user_name_and_password() {
    let desk = desk();
    let upstream = TestProxy::to(broker_of(&desk));
    let tinyproxy = Tinyproxy::start(upstream.address, "BasicAuth nurse s3cret");
    let with = |credentials: &str| format!("http://{credentials}{}", tinyproxy.address);
    let desk = desk.set("proxy", &with("nurse:s3cret@"));
    let engine = desk.engine(&User::new());
    engine.get_ticket().unwrap();
    engine.destroy_ticket().unwrap();
    assert_eq!(desk.spine.open_sessions(), 0);
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|head| head.starts_with(&format!("CONNECT {BROKER} HTTP/1.1\r\n"))), "{asked:?}");

    let error = failure(self::desk(), &with("nurse:wrong@"));
    assert_error(&error, ErrorKind::Configuration, "does not accept its user name and password");
    let error = failure(self::desk(), &with(""));
    assert_error(&error, ErrorKind::Configuration, "asks for a user name and a password");
    assert_eq!(upstream.asked().len(), 2);
}

#[test]
fn refusals_of_tinyproxy_are_told_apart() {
    let upstream = TestProxy::answering("");
    let wrong_port = Tinyproxy::start(upstream.address, "ConnectPort 443");
    let error = failure(desk(), &format!("http://{}", wrong_port.address));
    assert_error(&error, ErrorKind::ServerNotAvailable, &format!("does not allow connections to {BROKER}"));

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let no_way = Tinyproxy::start(closed, "");
    let error = failure(desk(), &format!("http://{}", no_way.address));
    assert_error(&error, ErrorKind::ServerNotAvailable, &format!("cannot reach {BROKER} (HTTP status 502)"));
    assert_eq!(upstream.asked(), [""; 0]);
}
