//! Where the browser ends a login by the second version of the node's API: a page on the loopback interface that
//! says so. It takes nothing from the browser; the node knows whether the login is complete.

use std::io::{ErrorKind as Io, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, Stage};

/// How long a browser may take to send its request.
const REQUEST_TIME: Duration = Duration::from_millis(200);

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Login</title></head>\n\
     <body><p>You can close this page, and go back to your program.</p></body></html>\n";

/// The page, not yet shown.
pub(super) struct Landing {
    listener: TcpListener,
    pub(super) address: String,
}

impl Landing {
    pub(super) fn open() -> Result<Self> {
        let error = |error| {
            let detail = "no port of this computer can be opened for the end of the login";
            Error::new(ErrorKind::Configuration, Stage::Browser, detail).because(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let port = listener.local_addr().map_err(error)?.port();
        Ok(Self { listener, address: format!("http://127.0.0.1:{port}/") })
    }

    /// Shows the page to a browser that has come. Returns `true` if one has.
    pub(super) fn show(&self) -> bool {
        let mut stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => return error.kind() != Io::WouldBlock,
        };
        // Whether the page arrives changes nothing.
        let _ = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(REQUEST_TIME)));
        let _ = stream.set_write_timeout(Some(REQUEST_TIME));
        let _ = stream.read(&mut [0; 4096]);
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n\
             X-Content-Type-Options: nosniff\r\n\r\n{PAGE}",
            PAGE.len()
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn whoever_comes_gets_the_page() {
        let landing = Landing::open().unwrap();
        assert!(!landing.show());
        let address = landing.address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let mut browser = TcpStream::connect(&address).unwrap();
        browser.write_all(b"GET /?code=x HTTP/1.1\r\n\r\n").unwrap();
        while !landing.show() {}
        let mut answer = String::new();
        browser.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(PAGE), "{answer}");
        let silent = TcpStream::connect(&address).unwrap();
        while !landing.show() {}
        drop(silent);
    }
}
