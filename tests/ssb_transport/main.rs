//! The broker's client against real sockets: what it sends, and how it handles faulty servers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connection;
#[path = "../support/logged.rs"]
mod logged;
mod secrecy;
mod server;
mod trust;

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ALL_VERSIONS;
use ticketapi::cancel::CancelToken;
use ticketapi::ssb::{Activation, Authentication, BrokerAddress, HttpsSettings, HttpsTransport, Ssb};
use ticketapi::{Error, ErrorKind, Stage};

use crate::server::{Ca, Peer, Serve, Server};

const ACTIVATED: &str = include_str!("../data/authactivate-response.xml");
const AUTHENTICATED: &str = include_str!("../data/authvalidate-response.xml");
const TICKET: &str = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#";
const OK: &str = "<HTML><STATUS>OK</STATUS></HTML>";
const UID: &str = "555008642106";

/// A short deadline, and the time by which a call with it must return.
const SHORT: Duration = Duration::from_millis(300);
const SHORT_AND_A_BIT: Duration = Duration::from_millis(800);

/// Responds as a broker does, until the client disconnects.
fn broker(peer: &mut Peer) {
    while let Some(request) = peer.request() {
        answer(peer, &request);
    }
}

fn answer(peer: &mut Peer, request: &str) {
    match request.split(['?', ' ']).nth(1).unwrap() {
        "/login/authactivate" => peer.answer(ACTIVATED),
        "/login/authvalidate" => peer.answer(AUTHENTICATED),
        _ => peer.answer(OK),
    }
}

fn to_url(url: &str, settings: HttpsSettings) -> Ssb {
    Ssb::new(Box::new(HttpsTransport::new(BrokerAddress::parse(url, true).unwrap(), settings)))
}

fn to(server: &Server) -> Ssb {
    to_url(&format!("http://{}", server.address), HttpsSettings::default())
}

fn in_a_hurry(server: &Server) -> Ssb {
    to_url(&format!("http://{}", server.address), HttpsSettings { request_deadline: SHORT, ..Default::default() })
}

fn over_tls(server: &Server, ca: &Ca) -> Ssb {
    let settings = HttpsSettings { ca_file: Some(ca.file.path().to_owned()), ..Default::default() };
    to_url(&format!("https://{}", server.address), settings)
}

fn activate(ssb: &mut Ssb) -> Result<Activation, Error> {
    ssb.activate(&CancelToken::new())
}

fn log_in(ssb: &mut Ssb) -> Authentication {
    let activation = activate(ssb).unwrap();
    ssb.validate(&activation, UID, "c21pbWU=", &CancelToken::new()).unwrap()
}

/// Returns the error of an activation at a server that does this.
fn failure(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Error {
    let server = Server::plain(serve);
    let error = activate(&mut to(&server)).unwrap_err();
    assert_eq!(error.stage(), Stage::Activation);
    error
}

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, says: &str) {
    assert_eq!(error.kind(), &kind, "{error}");
    assert!(error.detail().contains(says), "{error}");
}

fn parameter<'a>(request: &'a str, name: &str) -> &'a str {
    request.split_once(&format!("name=\"{name}\">")).unwrap().1.split_once('<').unwrap().0
}

#[test]
fn a_login_uses_one_connection_and_one_handshake() {
    let ca = Ca::new();
    let server = Server::tls(ca.server(&["127.0.0.1"], 2099, ALL_VERSIONS), broker);
    let mut ssb = over_tls(&server, &ca);
    let user = log_in(&mut ssb);
    ssb.select_role(&user.session, "102048848984", &CancelToken::new()).unwrap();
    ssb.log_out(&user.session, &CancelToken::new()).unwrap();

    assert_eq!((server.connections(), server.handshakes()), (1, 1));
    assert_eq!(user.user_name, "RA_A00394 RA A");
    assert_eq!(user.roles.len(), 40);
    assert_eq!(user.session.ticket().expose(), TICKET);
}

#[test]
fn the_requests_are_those_of_an_identity_agent() {
    let server = Server::plain(broker);
    let mut ssb = to(&server);
    let user = log_in(&mut ssb);
    ssb.select_role(&user.session, "1020/4", &CancelToken::new()).unwrap();
    // A logout often comes much later, over its own connection.
    to(&server).log_out(&user.session, &CancelToken::new()).unwrap();

    let requests = server.requests();
    let [activate, validate, select, log_out] = &requests[..] else { panic!("{requests:?}") };
    for (request, path, service) in [
        (activate, "/login/authactivate", "ACTIVATION"),
        (validate, "/login/authvalidate", "AUTHENTICATION"),
        (log_out, "/login/authlogout", "LOGOUT"),
    ] {
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", server.address)), "{request}");
        assert!(request.contains("User-Agent: Mozilla/4.0(compatible;IE;GACv10. 0. 0. 1)\r\n"), "{request}");
        assert!(request.contains("Content-Type: text/xml; charset=UTF-8\r\n"), "{request}");
        assert_eq!(parameter(request, "service"), service);
        assert_eq!(parameter(request, "log_session_id"), parameter(activate, "log_session_id"));
        let (device, local) = parameter(request, "device_id").split_once(",ClientIP=").unwrap();
        assert_eq!((device.len(), local), (8, "127.0.0.1"));
        assert_eq!(parameter(request, "device_id"), parameter(activate, "device_id"));
    }
    assert_eq!(parameter(activate, "log_session_id").len(), 10);
    assert_eq!(parameter(validate, "challenge"), parameter(ACTIVATED, "challenge"));
    assert_eq!(parameter(validate, "signature"), parameter(ACTIVATED, "signature"));
    assert_eq!(parameter(validate, "uid"), UID);
    assert!(validate.contains("<gpPARAM name=\"response\" encoding=\"base64\">c21pbWU=</gpPARAM>"), "{validate}");
    assert_eq!(
        select.lines().next().unwrap(),
        "GET /saml/RoleSelectionGP.jsp?token=AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF%2BB1j56GJ4xGut4%3D%40AAJTSQACMDE%3D%23\
         &selectedRoleUid=1020%2F4&ssbMode=0&fallbackStatus=0&gacVersion=GACv10.%200.%200.%201 HTTP/1.1"
    );
    assert_eq!(parameter(log_out, "sso_ticket"), TICKET);
    assert_eq!(parameter(log_out, "uid"), UID);

    activate_again_has_another_session(&server, parameter(activate, "log_session_id"));
}

fn activate_again_has_another_session(server: &Server, session: &str) {
    activate(&mut to(server)).unwrap();
    assert_ne!(parameter(server.requests().last().unwrap(), "log_session_id"), session);
}

#[test]
fn urls_from_the_broker_are_used_if_they_are_on_the_broker() {
    let elsewhere = Server::plain(broker);
    for (base, validate, log_out) in
        [(None, "/here?a=b", "/there"), (Some(elsewhere.address), "/login/authvalidate", "/login/authlogout")]
    {
        let server = Server::plain(move |peer| {
            while let Some(request) = peer.request() {
                let own = request.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap();
                let base = format!("http://{}", base.map_or(own.to_owned(), |address| address.to_string()));
                let at = "https://gas.nis1.national.ncrs.nhs.uk";
                match parameter(&request, "service") {
                    "ACTIVATION" => {
                        peer.answer(
                            &ACTIVATED.replace(&format!("{at}/login/authvalidate"), &format!("{base}/here?a=b")),
                        );
                    }
                    "AUTHENTICATION" => {
                        peer.answer(
                            &AUTHENTICATED.replace(&format!("{at}/login/authlogout"), &format!("{base}/there")),
                        );
                    }
                    _ => peer.answer(OK),
                }
            }
        });
        let mut ssb = to(&server);
        let user = log_in(&mut ssb);
        ssb.log_out(&user.session, &CancelToken::new()).unwrap();
        let paths: Vec<_> = server.requests().iter().map(|r| r.split(' ').nth(1).unwrap().to_owned()).collect();
        assert_eq!(paths, ["/login/authactivate", validate, log_out]);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_name_without_address_and_a_closed_port_cause_different_errors() {
    let error = activate(&mut to_url("https://broker.invalid", HttpsSettings::default())).unwrap_err();
    assert_error(&error, ErrorKind::ServerNotAvailable, "broker.invalid cannot be resolved");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = activate(&mut to_url(&format!("http://{closed}"), HttpsSettings::default())).unwrap_err();
    assert_error(&error, ErrorKind::ServerNotAvailable, &format!("{closed} refused the connection"));
}

#[test]
fn every_address_of_a_name_is_tried() {
    // On most systems `localhost` also has an IPv6 address, where no server listens.
    let server = Server::plain(broker);
    log_in(&mut to_url(&format!("http://localhost:{}", server.address.port()), HttpsSettings::default()));
}

#[test]
fn a_load_balancers_cookie_is_returned_within_a_login() {
    let server = Server::plain(|peer| {
        let mut answers = 0;
        while let Some(request) = peer.request() {
            answers += 1;
            let body = if request.contains("ACTIVATION") { ACTIVATED } else { AUTHENTICATED };
            let length = body.len();
            peer.send(&format!(
                "HTTP/1.1 200 OK\r\nSet-Cookie: node={answers}; path=/\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }
    });
    log_in(&mut to(&server));
    activate(&mut to(&server)).unwrap();
    let cookies: Vec<_> = server
        .requests()
        .iter()
        .map(|r| r.lines().find(|line| line.starts_with("Cookie")).map(str::to_owned))
        .collect();
    assert_eq!(cookies, [None, Some("Cookie: node=1".to_owned()), None]);
}

#[test]
fn a_load_balancers_cookie_stays_with_the_session() {
    let server = Server::plain(|peer| {
        while let Some(request) = peer.request() {
            let (set, body) = match request.split(['?', ' ']).nth(1).unwrap() {
                "/login/authactivate" => ("Set-Cookie: node=1\r\n", ACTIVATED),
                "/login/authvalidate" => ("Set-Cookie: node=2\r\n", AUTHENTICATED),
                "/saml/RoleAssertion" => ("Set-Cookie: node=3\r\n", OK),
                _ => ("", OK),
            };
            peer.send(&format!("HTTP/1.1 200 OK\r\n{set}Content-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let user = log_in(&mut to(&server));
    // Each over a connection of its own. What is read here is no assertion; its cookie counts.
    let _ = to(&server).role_assertion(&user.session, &CancelToken::new());
    to(&server).log_out(&user.session.clone(), &CancelToken::new()).unwrap();
    let other = log_in(&mut to(&server));
    to(&server).log_out(&other.session, &CancelToken::new()).unwrap();

    let requests = server.requests();
    let cookies: Vec<_> = requests.iter().map(|it| it.lines().find_map(|line| line.strip_prefix("Cookie: "))).collect();
    assert_eq!(cookies, [None, Some("node=1"), Some("node=2"), Some("node=3"), None, Some("node=1"), Some("node=2")]);
    assert_eq!(server.connections(), 5);
}

#[test]
fn redirects_are_reported_and_not_followed() {
    let elsewhere = Server::plain(broker);
    let location = format!("http://{}/login/authactivate", elsewhere.address);
    let error = failure(move |peer| {
        peer.request();
        peer.send(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
        peer.wait_until_closed();
    });
    assert_error(&error, ErrorKind::BadAnswer, "HTTP status 302");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn other_statuses_and_malformed_responses_cause_different_errors() {
    for (answer, kind, says) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ErrorKind::BadAnswer, "HTTP status 404"),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", ErrorKind::ServerNotAvailable, "HTTP status 500"),
        ("HTTP/1.1 503 Oh\r\n\r\n", ErrorKind::ServerNotAvailable, "HTTP status 503"),
        ("", ErrorKind::ServerNotAvailable, "without an answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", ErrorKind::BadAnswer, "broke off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ErrorKind::BadAnswer, "it is empty"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", ErrorKind::BadAnswer, "more than 1.5 MiB"),
        ("220 mail.example ESMTP\r\n", ErrorKind::BadAnswer, "does not answer in HTTP"),
        ("HTTP/1.1 200 OK\r\n\r\n<gpOBJECT></gpOBJECT>", ErrorKind::BadAnswer, "it has no challenge"),
    ] {
        let error = failure(move |peer| {
            peer.request();
            peer.send(answer);
        });
        assert_error(&error, kind, says);
        assert!(error.detail().contains("127.0.0.1:"), "{error}");
    }
}

#[test]
fn a_connection_reset_is_reported() {
    let error = failure(Peer::reset);
    assert_error(&error, ErrorKind::ServerNotAvailable, "broke: Connection reset");
}

#[test]
fn a_slow_server_is_abandoned_at_the_deadline() {
    let endless = "x".repeat(4096);
    let slow: [(&str, Serve); 3] = [
        ("never answers", Box::new(Peer::wait_until_closed)),
        (
            "a byte at a time",
            Box::new(|peer| {
                peer.request();
                let mut answer = "HTTP/1.1 200 OK\r\nServer: ".bytes().chain(std::iter::repeat(b'x'));
                while peer.send(&char::from(answer.next().unwrap()).to_string()) {
                    thread::sleep(Duration::from_millis(50));
                }
            }),
        ),
        (
            "small chunks without end",
            Box::new(move |peer| {
                peer.request();
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while peer.send("0000000001\r\nx\r\n") {
                    thread::sleep(Duration::from_millis(50));
                }
            }),
        ),
    ];
    for (name, serve) in slow {
        let server = Server::plain(serve);
        let began = Instant::now();
        let error = activate(&mut in_a_hurry(&server)).unwrap_err();
        assert!(began.elapsed() < SHORT_AND_A_BIT, "{name}: {:?}", began.elapsed());
        assert_error(&error, ErrorKind::ServerNotAvailable, "did not answer within 0.3 s");
    }
    let error = failure(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.send(&endless) {}
    });
    assert_error(&error, ErrorKind::BadAnswer, "more than 1.5 MiB");
}

#[test]
fn a_slow_tls_handshake_is_abandoned_at_the_connect_deadline() {
    let (ca, server) = (Ca::new(), Server::plain(Peer::wait_until_closed));
    let settings =
        HttpsSettings { ca_file: Some(ca.file.path().to_owned()), connect_deadline: SHORT, ..Default::default() };
    let began = Instant::now();
    let error = activate(&mut to_url(&format!("https://{}", server.address), settings)).unwrap_err();
    assert_error(&error, ErrorKind::ServerNotAvailable, "no connection to");
    assert!(began.elapsed() < SHORT_AND_A_BIT, "{:?}", began.elapsed());
}

#[test]
fn the_connect_deadline_applies_only_to_connecting() {
    let connect_deadline = Duration::from_millis(200);
    let server = Server::plain(move |peer| {
        while let Some(request) = peer.request() {
            thread::sleep(connect_deadline);
            answer(peer, &request);
        }
    });
    log_in(&mut to_url(
        &format!("http://{}", server.address),
        HttpsSettings { connect_deadline, ..Default::default() },
    ));
    assert_eq!(server.connections(), 1);
}

/// Cancels `ssb`'s activation once `reached` returns, and checks the error.
fn cancelled(mut ssb: Ssb, reached: impl FnOnce()) {
    let cancel = CancelToken::new();
    let activating = thread::spawn({
        let cancel = cancel.clone();
        move || (ssb.activate(&cancel).unwrap_err(), Instant::now())
    });
    reached();
    let began = Instant::now();
    cancel.cancel();
    let (error, ended) = activating.join().unwrap();
    assert_error(&error, ErrorKind::Cancelled, "cancelled");
    assert_eq!(error.stage(), Stage::Activation);
    assert!(ended - began < Duration::from_millis(200), "{:?}", ended - began);
}

#[test]
fn cancelling_ends_the_wait_for_a_response() {
    let (sender, receiver) = mpsc::sync_channel(1);
    let server = Server::plain(move |peer| {
        peer.request();
        sender.send(()).unwrap();
        peer.wait_until_closed();
    });
    cancelled(to(&server), || receiver.recv().unwrap());
}

#[test]
fn cancelling_within_a_response_is_not_reported_as_a_malformed_response() {
    let (sender, receiver) = mpsc::sync_channel(1);
    let server = Server::plain(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n<gpOBJECT>");
        sender.send(()).unwrap();
        peer.wait_until_closed();
    });
    cancelled(to(&server), || receiver.recv().unwrap());
}

#[test]
fn cancelling_ends_the_wait_for_a_handshake() {
    let ca = Ca::new();
    let (sender, receiver) = mpsc::sync_channel(1);
    let server = Server::plain(move |peer| {
        sender.send(()).unwrap();
        peer.wait_until_closed();
    });
    cancelled(over_tls(&server, &ca), || receiver.recv().unwrap());
}

#[test]
fn a_cancelled_login_sends_nothing() {
    let server = Server::plain(broker);
    let cancel = CancelToken::new();
    cancel.cancel();
    assert_error(&to(&server).activate(&cancel).unwrap_err(), ErrorKind::Cancelled, "cancelled");
    assert_eq!(server.connections(), 0);
}

/// Logs in at a broker that responds with `validated` and `selected`.
fn ends(validated: &'static str, selected: &'static str) -> Result<(), Error> {
    let server = Server::plain(move |peer| {
        while let Some(request) = peer.request() {
            match request.split(['?', ' ']).nth(1).unwrap() {
                "/login/authactivate" => peer.answer(ACTIVATED),
                "/login/authvalidate" => peer.answer(validated),
                _ => peer.answer(selected),
            }
        }
    });
    let mut ssb = to(&server);
    let activation = activate(&mut ssb)?;
    let user = ssb.validate(&activation, UID, "c21pbWU=", &CancelToken::new())?;
    ssb.select_role(&user.session, "1", &CancelToken::new())
}

#[test]
fn a_refusal_is_reported_with_its_reason() {
    let refused = "<gpOBJECT><gpPARAM name=\"error_text\">Card revoked</gpPARAM></gpOBJECT>";
    let error = ends(refused, OK).unwrap_err();
    assert_error(&error, ErrorKind::Refused, "refused: Card revoked");
    assert_eq!(error.stage(), Stage::Authentication);

    let unknown = "<gpOBJECT><gpPARAM name=\"error_text\">Unknown user 555</gpPARAM></gpOBJECT>";
    assert_error(&ends(unknown, OK).unwrap_err(), ErrorKind::UserNotValid, "Unknown user 555");

    for (selected, kind, says) in [
        ("<HTML><STATUS>NO SUCH ROLE</STATUS></HTML>", ErrorKind::Refused, "NO SUCH ROLE"),
        ("<html><body>Login<br></body></html>", ErrorKind::BadAnswer, "not XML"),
        ("", ErrorKind::BadAnswer, "empty"),
    ] {
        let error = ends(AUTHENTICATED, selected).unwrap_err();
        assert_error(&error, kind, says);
        assert_eq!(error.stage(), Stage::RoleSelection);
    }
}
