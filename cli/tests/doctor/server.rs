//! The checks of the connection to the broker.

use std::net::TcpListener;
use std::time::Duration;

use ticketapi_testkit::Misbehaviour;
use ticketapi_testkit::spine::ServerCertificate;

use crate::Visit;
use crate::support::Desk;

const ISSUER: &str = "O=ticketapi testkit,CN=Spine simulator CA";

fn with_certificate(certificate: ServerCertificate) -> (Desk, String) {
    let desk = Desk::with(|spine| spine.server_certificate(certificate));
    let address = format!("127.0.0.1:{}", desk.spine.port());
    (desk, address)
}

#[test]
fn a_broker_that_answers_passes_every_check() {
    let desk = Desk::new();
    let port = desk.spine.port();
    let visit = Visit::to(&desk.set("base_url", &format!("https://localhost:{port}")));
    assert!(visit.told("name").sentence.starts_with("localhost is "), "{:?}", visit.told("name"));
    assert_eq!(visit.told("connection").sentence, format!("127.0.0.1:{port} accepts connections"));
    let tls = format!("the server is trusted, whose certificate is from {ISSUER} and valid until 2120-01-01");
    assert_eq!(visit.told("tls").sentence, tls);
    assert_eq!(visit.told("clock").sentence, "this computer's clock and the server's agree");
    assert_eq!(visit.code, 0);
}

#[test]
fn an_unknown_host_name_is_reported() {
    let visit = Visit::to(&Desk::new().set("base_url", "https://gas.nowhere.invalid"));
    visit.assert_only_failure("name", 4, "the name gas.nowhere.invalid cannot be resolved");
    visit.assert_skipped(&["connection", "tls", "clock"], "server's name");
}

#[test]
fn a_refused_connection_is_reported() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let visit = Visit::to(&Desk::new().set("base_url", &format!("https://{free}")));
    visit.assert_only_failure("connection", 4, &format!("{free} refused the connection"));
    visit.assert_skipped(&["tls", "clock"], "connection");
}

#[test]
fn a_certificate_of_another_ca_is_reported_with_its_issuer() {
    let (desk, address) = with_certificate(ServerCertificate::OtherCa);
    let sentence = format!(
        "the certificate of {address} is refused: it is not signed by a trusted issuer (it names the issuer {ISSUER})"
    );
    let visit = Visit::to(&desk);
    visit.assert_only_failure("tls", 1, &sentence);
    visit.assert_skipped(&["clock"], "TLS");
}

#[test]
fn an_expired_server_certificate_is_reported() {
    let (desk, address) = with_certificate(ServerCertificate::Expired);
    let sentence = format!("the certificate of {address} is refused: it has expired (it names the issuer {ISSUER})");
    Visit::to(&desk).assert_only_failure("tls", 1, &sentence);
}

#[test]
fn a_certificate_for_another_name_is_reported() {
    let (desk, address) = with_certificate(ServerCertificate::ForName("other.example".into()));
    let sentence = format!(
        "the certificate of {address} is refused: it is not for the name 127.0.0.1 (it names the issuer {ISSUER})"
    );
    Visit::to(&desk).assert_only_failure("tls", 1, &sentence);
}

#[test]
fn a_ca_file_without_certificates_is_reported() {
    let desk = Desk::new();
    std::fs::write(desk.path("empty.pem"), "").unwrap();
    let file = desk.text("empty.pem");
    let visit = Visit::to(&desk.set("ca_file", &file));
    visit.assert_only_failure(
        "tls",
        5,
        &format!("ca_file {file}: it is empty; it must contain the certificates of CAs in PEM form"),
    );
}

#[test]
fn the_check_of_a_silent_server_ends_at_the_deadline() {
    let desk = Desk::new().set("connect_timeout", "1");
    desk.spine.misbehave_on_connect(Misbehaviour::Delay(Duration::from_secs(600)));
    let sentence = format!("no connection to 127.0.0.1:{} within 1 s", desk.spine.port());
    Visit::to(&desk).assert_only_failure("tls", 4, &sentence);
}

#[test]
fn a_wrong_clock_is_reported_with_its_direction() {
    for (broker_ahead, sentence) in [
        (3_600, "this computer's clock is 60 minutes behind the server's"),
        (-3_600, "this computer's clock is 60 minutes ahead of the server's"),
    ] {
        let visit = Visit::to(&Desk::with(|spine| spine.clock_ahead(broker_ahead)));
        visit.assert_only_failure("clock", 5, sentence);
    }
    let visit = Visit::to(&Desk::with(|spine| spine.clock_ahead(130)));
    let told = visit.told("clock");
    assert_eq!((told.state.as_str(), visit.code), ("warning", 0), "{told:?}");
    assert_eq!(told.remedy, "Set this computer's date and time, or have them set from the network.");
}

#[test]
fn a_broker_on_this_computer_may_use_plain_http() {
    let desk = Desk::with(|spine| spine.plain_http()).set("allow_http", "true");
    let visit = Visit::to(&desk);
    assert_eq!(visit.told("tls").sentence, "not needed: the server is on this computer and uses plain http");
    assert_eq!((visit.told("clock").state.as_str(), visit.code), ("ok", 0));
}
