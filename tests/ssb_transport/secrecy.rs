//! Ticket and challenge are in nothing that a host can see, whatever it logs.

use rustls::ALL_VERSIONS;
use ticketapi::cancel::CancelToken;

use crate::logged;
use crate::server::{Ca, Server};
use crate::{ACTIVATED, TICKET, answer, log_in, over_tls, parameter, to};

/// Returns `true` if eight consecutive characters of `secret` are in `text`, plain, as hex or escaped for a URL.
fn shows(text: &str, secret: &str) -> bool {
    let text = text.to_lowercase();
    let without_spaces: String = text.split_whitespace().collect();
    secret.as_bytes().windows(8).any(|piece| {
        let plain = String::from_utf8_lossy(piece).to_lowercase();
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = piece.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        text.contains(&plain) || without_spaces.contains(&hex) || without_spaces.contains(&numbers)
    })
}

#[test]
fn no_log_and_no_error_shows_a_ticket_or_a_challenge() {
    logged::keep();

    let ca = Ca::new();
    let quotes_the_ticket = |peer: &mut crate::Peer| {
        while let Some(request) = peer.request() {
            if request.contains("RoleSelection") {
                let body = format!("<HTML><STATUS>bad token {TICKET}</STATUS></HTML>");
                let cookie = format!("Set-Cookie: iPlanetDirectoryPro={TICKET}; Path=/");
                peer.send(&format!("HTTP/1.1 200 OK\r\n{cookie}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            } else {
                answer(peer, &request);
            }
        }
    };
    let mut errors = String::new();
    let tls = Server::tls(ca.server(&["127.0.0.1"], 2099, ALL_VERSIONS), quotes_the_ticket);
    let plain = Server::plain(quotes_the_ticket);
    for mut ssb in [over_tls(&tls, &ca), to(&plain)] {
        let user = log_in(&mut ssb);
        let refused = ssb.select_role(&user.session, "1", &CancelToken::new()).unwrap_err();
        ssb.log_out(&user.session, &CancelToken::new()).unwrap();
        errors += &format!("{refused} {refused:?} {user:?}");
    }
    drop((tls, plain));

    let logged = String::from_utf8_lossy(&logged::after(0)).into_owned();
    // Proves that both loggers were active, for this test's login too.
    assert!(logged.contains("rustls"), "{logged}");
    assert!(logged.contains("ticketapi::service::ssb"), "{logged}");
    for secret in [TICKET, parameter(ACTIVATED, "challenge")] {
        assert!(!shows(&logged, secret), "{logged}");
        assert!(!shows(&errors, secret), "{errors}");
    }
}

#[test]
fn a_ticket_in_a_log_would_be_found() {
    let hex: String = TICKET.bytes().map(|byte| format!("{byte:02X} ")).collect();
    for log in [
        TICKET,
        &TICKET.replace('+', "%2B").replace('=', "%3D"),
        &hex,
        &TICKET[..16],
        &format!("{:?}", TICKET.as_bytes()),
    ] {
        assert!(shows(&format!("TRACE sent {log}\n"), TICKET), "{log}");
    }
    assert!(!shows("TRACE connected to gas.example:443", TICKET));
}
