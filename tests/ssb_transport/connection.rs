//! When a connection is reused, and where its last response ends.

use std::sync::{Mutex, mpsc};

use rustls::ALL_VERSIONS;
use rustls::version::TLS13;
use ticketapi::cancel::CancelToken;
use ticketapi::{ErrorKind, Stage};

use crate::server::{Ca, Peer, Server};
use crate::{ACTIVATED, AUTHENTICATED, UID, activate, answer, assert_error, log_in, over_tls, to};

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_replaced() {
    let ca = Ca::new();
    let one_answer = |peer: &mut Peer| {
        if let Some(request) = peer.request() {
            answer(peer, &request);
        }
    };
    for tls in [false, true] {
        let server = match tls {
            false => Server::plain(one_answer),
            true => Server::tls(ca.server(&["127.0.0.1"], 2099, ALL_VERSIONS), one_answer),
        };
        let mut ssb = if tls { over_tls(&server, &ca) } else { to(&server) };
        let activation = activate(&mut ssb).unwrap();
        server.closed.recv().unwrap();
        ssb.validate(&activation, UID, "c21pbWU=", &CancelToken::new()).unwrap();
        assert_eq!((server.connections(), server.requests().len()), (2, 2));
    }
}

#[test]
fn a_sent_request_is_never_repeated() {
    let server = Server::plain(|peer| {
        let request = peer.request().unwrap();
        answer(peer, &request);
        peer.request();
    });
    let mut ssb = to(&server);
    let activation = activate(&mut ssb).unwrap();
    let error = ssb.validate(&activation, UID, "c21pbWU=", &CancelToken::new()).unwrap_err();
    assert_error(&error, ErrorKind::ServerNotAvailable, "without an answer");
    assert_eq!(error.stage(), Stage::Authentication);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[test]
fn bytes_after_a_response_are_not_part_of_the_next_one() {
    let server = Server::plain(|peer| {
        while let Some(request) = peer.request() {
            let body = if request.contains("ACTIVATION") { ACTIVATED } else { AUTHENTICATED };
            let length = body.len();
            peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}HTTP/1.1 200 OK\r\n\r\n"));
        }
    });
    log_in(&mut to(&server));
    assert_eq!(server.connections(), 2);
}

#[test]
fn tls_records_between_two_responses_decide_whether_the_connection_is_reused() {
    type Does = fn(&mut Peer);
    let cases: [(Does, usize); 3] = [
        (|peer| assert!(peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")), 2),
        (Peer::ends_tls, 2),
        (Peer::changes_keys, 1),
    ];
    let ca = Ca::new();
    for (does, connections) in cases {
        let (activated, wait) = mpsc::channel();
        let (tell_done, done) = mpsc::channel();
        let meanwhile = Mutex::new(Some((wait, tell_done)));
        let server = Server::tls(ca.server(&["127.0.0.1"], 2099, &[&TLS13]), move |peer| {
            while let Some(request) = peer.request() {
                answer(peer, &request);
                if let Some((wait, tell_done)) = meanwhile.lock().unwrap().take() {
                    let () = wait.recv().unwrap();
                    does(peer);
                    peer.wait_until_received();
                    tell_done.send(()).unwrap();
                }
            }
        });
        let mut ssb = over_tls(&server, &ca);
        let activation = activate(&mut ssb).unwrap();
        activated.send(()).unwrap();
        done.recv().unwrap();
        ssb.validate(&activation, UID, "c21pbWU=", &CancelToken::new()).unwrap();
        assert_eq!((server.connections(), server.requests().len()), (connections, 2));
    }
}

#[test]
fn a_response_without_length_ends_where_the_server_ends_tls_with_or_without_close_notify() {
    let ca = Ca::new();
    for says_so in [true, false] {
        let server = Server::tls(ca.server(&["127.0.0.1"], 2099, ALL_VERSIONS), move |peer| {
            peer.request();
            peer.send(&format!("HTTP/1.1 200 OK\r\n\r\n{ACTIVATED}"));
            if says_so {
                peer.ends_tls();
            }
        });
        activate(&mut over_tls(&server, &ca)).unwrap();
    }
}

#[test]
fn a_client_that_disconnects_sends_close_notify() {
    let ca = Ca::new();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Server::tls(ca.server(&["127.0.0.1"], 2099, ALL_VERSIONS), move |peer| {
        while let Some(request) = peer.request() {
            answer(peer, &request);
        }
        tell.lock().unwrap().send(peer.has_sent_close_notify()).unwrap();
    });
    log_in(&mut over_tls(&server, &ca));
    assert!(told.recv().unwrap(), "the connection was cut");
}
