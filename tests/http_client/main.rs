//! The HTTPS client that every identity service uses, against real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "../ssb_transport/server.rs"]
mod server;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ALL_VERSIONS;
use ticketapi::cancel::CancelToken;
use ticketapi::http::{Call, Client, HttpRequest, HttpResponse, HttpsSettings, Url, form};
use ticketapi::{ErrorKind, Result, Stage};

use crate::server::{Ca, Peer, Server};

const PATIENCE: Duration = Duration::from_secs(30);

fn url(server: &Server, path: &str) -> Url {
    Url::parse(&format!("http://{}{path}", server.address)).unwrap()
}

fn send(client: &mut Client, request: &HttpRequest) -> Result<HttpResponse> {
    client.send(Stage::Authentication, request, &Call::within(PATIENCE, &CancelToken::new()))
}

fn get(client: &mut Client, server: &Server, path: &str) -> Result<HttpResponse> {
    send(client, &HttpRequest::get(url(server, path)))
}

/// A server that gives this whole answer to each request.
fn answering(answer: &'static str) -> Server {
    Server::plain(move |peer| {
        while peer.request().is_some() {
            peer.send(answer);
        }
    })
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn each_server_has_one_connection_and_its_own_cookies() {
    let serve = |peer: &mut Peer| {
        while let Some(request) = peer.request() {
            let port = request.lines().find_map(|line| line.strip_prefix("Host: 127.0.0.1:")).unwrap();
            peer.send(&format!("HTTP/1.1 200 OK\r\nSet-Cookie: node={port}\r\nContent-Length: 2\r\n\r\nhi"));
        }
    };
    let servers = [Server::plain(serve), Server::plain(serve)];
    let mut client = Client::new(HttpsSettings::default());
    for _ in 0..3 {
        for server in &servers {
            assert_eq!(&**get(&mut client, server, "/a").unwrap().body, b"hi");
        }
    }
    for server in &servers {
        assert_eq!((server.connections(), server.requests().len()), (1, 3));
        let own = format!("\r\nCookie: node={}\r\n", server.address.port());
        assert!(!server.requests()[0].contains("Cookie"));
        assert!(server.requests()[1..].iter().all(|request| request.contains(&own)), "{:?}", server.requests());
    }
}

#[test]
fn cookies_are_kept_over_the_clients_of_one_session() {
    let server = answering("HTTP/1.1 200 OK\r\nSet-Cookie: node=1\r\nContent-Length: 0\r\n\r\n");
    let mut first = Client::new(HttpsSettings::default());
    get(&mut first, &server, "/a").unwrap();
    let at = url(&server, "");
    let cookies = first.cookies(at.origin());
    drop(first);
    let mut second = Client::new(HttpsSettings::default());
    second.use_cookies(at.origin(), &cookies);
    get(&mut second, &server, "/b").unwrap();
    assert!(server.requests()[1].contains("\r\nCookie: node=1\r\n"));
    assert_eq!(format!("{cookies:?}"), "1 cookies");
}

#[test]
fn every_status_is_an_answer_and_no_redirect_is_followed() {
    let elsewhere = answering(NO_CONTENT);
    let location = format!("http://{}/", elsewhere.address);
    let server = Server::plain(move |peer| {
        while let Some(request) = peer.request() {
            let status = request.split(['/', ' ']).nth(2).unwrap();
            peer.send(&format!(
                "HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Type: application/json\r\n\
                 Content-Length: 2\r\n\r\n{{}}"
            ));
        }
    });
    let mut client = Client::new(HttpsSettings::default());
    for status in [200, 201, 302, 307, 400, 401, 403, 404, 429, 500, 503] {
        let answer = get(&mut client, &server, &format!("/{status}")).unwrap();
        assert_eq!(answer.status, status);
        let body = if (300..400).contains(&status) { "" } else { "{}" };
        assert_eq!((std::str::from_utf8(&answer.body).unwrap(), answer.is_of("application/json")), (body, true));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_form_goes_out_with_its_headers_once() {
    let server = answering(NO_CONTENT);
    let body = form(&[("grant_type", "authorization_code"), ("code", "a b&c")]);
    let request = HttpRequest::post_form(url(&server, "/token?x=y"), body)
        .accept("application/json")
        .basic("client", "secret")
        .header("X-Trace", "1".to_owned().into());
    assert_eq!(send(&mut Client::new(HttpsSettings::default()), &request).unwrap().status, 204);
    assert_eq!(
        server.requests(),
        [format!(
            "POST /token?x=y HTTP/1.1\r\nHost: {}\r\nUser-Agent: ticketapi/{}\r\nAccept: application/json\r\n\
             Accept-Encoding: identity\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 44\r\n\
             Authorization: Basic Y2xpZW50OnNlY3JldA==\r\nX-Trace: 1\r\n\r\n\
             grant_type=authorization_code&code=a%20b%26c",
            server.address,
            env!("CARGO_PKG_VERSION")
        )]
    );
}

#[test]
fn a_token_that_would_break_its_request_is_not_sent() {
    let server = answering(NO_CONTENT);
    let request = HttpRequest::get(url(&server, "/a")).bearer("t0ken\r\nX-Evil: 1");
    let error = send(&mut Client::new(HttpsSettings::default()), &request).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Internal);
    assert!(error.detail().contains("Authorization") && !format!("{error:?}").contains("t0ken"), "{error:?}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_request_sets_how_large_its_answer_may_be() {
    let server = answering("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n");
    let request = HttpRequest::get(url(&server, "/a")).limit(1024);
    let error = send(&mut Client::new(HttpsSettings::default()), &request).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::BadAnswer);
    assert!(error.detail().ends_with("sent an answer of more than 1 KiB"), "{error}");
}

#[test]
fn a_call_ends_at_its_deadline_or_that_of_a_request_whichever_is_first() {
    let server = Server::plain(Peer::wait_until_closed);
    let short = Duration::from_millis(300);
    for (request_deadline, call) in [(short, PATIENCE), (PATIENCE, short)] {
        let mut client = Client::new(HttpsSettings { request_deadline, ..Default::default() });
        let began = Instant::now();
        let request = HttpRequest::get(url(&server, "/a"));
        let error = client.send(Stage::Session, &request, &Call::within(call, &CancelToken::new())).unwrap_err();
        assert!(began.elapsed() < short + Duration::from_millis(700), "{:?}", began.elapsed());
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::ServerNotAvailable, Stage::Session));
        assert!(error.detail().ends_with("did not answer within 0.3 s"), "{error}");
    }
}

#[test]
fn cancelling_ends_a_call_also_within_the_body_of_an_error() {
    for head in ["", "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{"] {
        let (reached, wait) = mpsc::sync_channel(1);
        let server = Server::plain(move |peer| {
            peer.request();
            peer.send(head);
            reached.send(()).unwrap();
            peer.wait_until_closed();
        });
        let cancel = CancelToken::new();
        let sending = thread::spawn({
            let (cancel, request) = (cancel.clone(), HttpRequest::get(url(&server, "/a")));
            move || {
                let call = Call::within(PATIENCE, &cancel);
                Client::new(HttpsSettings::default()).send(Stage::Session, &request, &call).unwrap_err()
            }
        });
        wait.recv().unwrap();
        cancel.cancel();
        assert_eq!(sending.join().unwrap().kind(), &ErrorKind::Cancelled);
    }
}

#[test]
fn a_server_is_verified_and_one_that_is_gone_is_replaced_before_a_request_only() {
    let ca = Ca::new();
    let server = Server::tls(ca.server(&["127.0.0.1"], 2099, ALL_VERSIONS), |peer| {
        if peer.request().is_some() {
            peer.answer("hi");
        }
    });
    let at = Url::parse(&format!("https://{}/a", server.address)).unwrap();
    let settings = HttpsSettings { ca_file: Some(ca.file.path().to_owned()), ..Default::default() };
    let mut client = Client::new(settings);
    for _ in 0..2 {
        assert_eq!(send(&mut client, &HttpRequest::get(at.clone())).unwrap().status, 200);
        server.closed.recv().unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (2, 2));

    let other = Ca::new();
    let settings = HttpsSettings { ca_file: Some(other.file.path().to_owned()), ..Default::default() };
    let error = send(&mut Client::new(settings), &HttpRequest::get(at)).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Tls);
}
