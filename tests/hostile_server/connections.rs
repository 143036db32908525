//! Connections that fail, at the start and during a login.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
use ticketapi::{Engine, ErrorKind, Pin, Stage};
use ticketapi_testkit::spine::{ServerCertificate, TlsVersions};
use ticketapi_testkit::{Misbehaviour, Spine, SpineBuilder, TestCa};

use crate::support::{Desk, PIN, User, descriptors, kind};
use crate::trial::{REQUESTS, alone, bounded_error};

/// An address that stays the test's own, and the broker that listens there, which can be replaced, even during a
/// login.
struct Seat {
    broker: Mutex<Option<Spine>>,
    ca: TestCa,
    /// Does not listen.
    address: TcpListener,
    folder: tempfile::TempDir,
}

impl Seat {
    fn new(ca: TestCa) -> Arc<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Allows a broker to bind to the same address.
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Arc::new(Self { broker: Mutex::default(), ca, address: socket.into(), folder: tempfile::tempdir().unwrap() })
    }

    fn address(&self) -> SocketAddr {
        self.address.local_addr().unwrap()
    }

    fn take(&self, set_up: impl FnOnce(SpineBuilder) -> SpineBuilder) {
        self.leave();
        let builder =
            Spine::builder().strict().card_ca(&self.ca).port(self.address().port()).state_folder(self.folder.path());
        *self.broker.lock().unwrap() = Some(set_up(builder).start().unwrap());
    }

    /// Starts a broker that does `what` at each connection.
    fn take_and_misbehave(&self, what: Misbehaviour) {
        self.take(|broker| broker);
        self.broker.lock().unwrap().as_ref().unwrap().misbehave_on_connect(what);
    }

    fn leave(&self) {
        drop(self.broker.lock().unwrap().take());
    }

    /// Returns `true` if the current broker has received a request.
    fn was_asked(&self) -> bool {
        let broker = self.broker.lock().unwrap();
        broker.as_ref().is_some_and(|broker| broker.log().iter().any(|entry| !entry.method.is_empty()))
    }
}

/// Runs `change` just before each request of a login, and before the logout, in turn.
fn fails_after(change: impl Fn(&Seat) + Send + Sync + 'static, failure: &ErrorKind, says: &str) {
    let _alone = alone();
    let desk = Desk::new();
    let seat = Seat::new(desk.ca.clone());
    seat.take(|broker| broker);
    let address = seat.address();
    let mut config = desk.config.clone();
    config.ca_file = Some(seat.folder.path().join("spine-ca.pem"));
    config.set("base_url", &format!("https://{address}")).unwrap();
    (config.connect_timeout, config.request_timeout) = (Duration::from_secs(1), Duration::from_secs(2));

    let (change, due) = (Arc::new(change), Arc::new(Mutex::new(None)));
    let prompt_before = |stage: Stage| {
        let (seat, change, due) = (Arc::clone(&seat), Arc::clone(&change), Arc::clone(&due));
        move || {
            if *due.lock().unwrap() == Some(stage) {
                change(&seat);
            }
        }
    };
    let (at_pin, at_role) = (prompt_before(Stage::Authentication), prompt_before(Stage::RoleSelection));
    let user = User::new()
        .asked_for_pin(move |_| {
            at_pin();
            Ok(Pin::new(PIN.into()))
        })
        .asked_for_role(move |_| {
            at_role();
            Ok(0)
        });
    let engine = Engine::builder(config.clone()).prompter(user).build().unwrap();

    for (_, stage) in REQUESTS {
        seat.leave();
        let open = descriptors();
        seat.take(|broker| broker);
        if stage == Stage::Session {
            engine.get_ticket().unwrap();
        }
        match stage {
            Stage::Activation | Stage::Session => change(&seat),
            _ => *due.lock().unwrap() = Some(stage),
        }
        let error = bounded_error(&config, 2, || match stage {
            Stage::Session => engine.destroy_ticket(),
            _ => engine.get_ticket().map(drop),
        });
        assert_eq!((error.kind(), error.stage()), (failure, stage), "{error}");
        let detail = error.detail();
        assert!(detail.contains(&address.to_string()) && detail.contains(says), "{stage}: {error}");
        assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable, "{stage}");
        assert!(!seat.was_asked(), "{stage}: a broker that is not to be trusted got a request");
        seat.leave();
        assert_eq!(descriptors(), open, "{stage}");

        *due.lock().unwrap() = None;
        seat.take(|broker| broker);
        engine.get_ticket().unwrap();
        engine.destroy_ticket().unwrap();
    }
}

#[test]
fn a_refused_connection_is_reported() {
    fails_after(Seat::leave, &ErrorKind::ServerNotAvailable, "refused the connection");
}

#[test]
fn a_connection_reset_before_tls_is_reported() {
    let reset = |seat: &Seat| seat.take_and_misbehave(Misbehaviour::Reset);
    fails_after(reset, &ErrorKind::ServerNotAvailable, "closed the connection while it was being opened");
}

#[test]
fn a_broker_that_never_answers_the_handshake_is_abandoned_at_the_deadline() {
    let silent = |seat: &Seat| seat.take_and_misbehave(Misbehaviour::NoAnswer);
    fails_after(silent, &ErrorKind::ServerNotAvailable, "within 1 s");
}

#[test]
fn a_broker_that_uses_plain_http_gets_no_request() {
    fails_after(|seat| seat.take(SpineBuilder::plain_http), &ErrorKind::Tls, "no TLS connection");
}

/// A broker with such a certificate is refused in both versions of TLS, and gets no request.
fn certificate_is_refused(certificate: ServerCertificate, says: &str) {
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        let certificate = certificate.clone();
        let change = move |seat: &Seat| {
            seat.take(|broker| broker.server_certificate(certificate.clone()).tls_versions(versions))
        };
        fails_after(change, &ErrorKind::Tls, says);
    }
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    certificate_is_refused(ServerCertificate::OtherCa, "it is not signed by a trusted issuer");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    certificate_is_refused(ServerCertificate::ForName("gas.example".into()), "it is not for the name 127.0.0.1");
}

#[test]
fn an_expired_certificate_is_refused() {
    certificate_is_refused(ServerCertificate::Expired, "it has expired");
}

#[test]
fn an_unknown_host_name_is_reported() {
    let _alone = alone();
    let mut desk = Desk::new().set("base_url", "https://gas.invalid:8443");
    desk.config.connect_timeout = Duration::from_secs(2);
    let user = User::new();
    let engine = desk.engine(&user);
    let error = bounded_error(&desk.config, 1, || engine.get_ticket());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::ServerNotAvailable, Stage::Activation), "{error}");
    // With a slow name service the deadline comes first.
    assert!(error.detail().contains("gas.invalid"), "{error}");
    assert_eq!(user.asked(), []);
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named_and_there_is_no_connection() {
    let _alone = alone();
    let mut desk = Desk::new();
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, content, says) in [
        ("missing", None, "it cannot be read"),
        ("empty", Some(""), "it is empty"),
        ("der", Some("\u{30}\u{82}\u{1}\u{e}"), "it is in binary form (DER)"),
        ("key", Some(key), "it contains a private key"),
        ("cut", Some(&certificate[..40]), "it is not in PEM form"),
        ("fake", Some(certificate), "it contains something that is not a certificate"),
    ] {
        let file = desk.path(name);
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let good = desk.config.ca_file.replace(file.clone());
        let engine = desk.engine(&User::new());
        let error = bounded_error(&desk.config, 1, || engine.get_ticket());
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Configuration, Stage::Configuration), "{error}");
        assert!(error.detail().contains(&format!("ca_file {}: {says}", file.display())), "{error}");
        assert_eq!(desk.spine.connections(), 0, "{name}");
        desk.config.ca_file = good;
        if name == "fake" {
            // It is read at each login, so it can be corrected meanwhile.
            fs::copy(desk.config.ca_file.as_ref().unwrap(), &file).unwrap();
            engine.get_ticket().unwrap();
        }
    }
}
