//! Requests from prepared texts over one TLS connection, with a full handshake: the floor of logins.

use std::hint;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Lets the server, which is in this process, end the connection before: its thread would take time of what is measured
/// next. Does not sleep, as that would slow down the processor.
pub fn settle() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2) {
        hint::spin_loop();
    }
}

/// A client that trusts one CA.
pub struct Bare(Arc<ClientConfig>);

impl Bare {
    pub fn new(ca_file: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
        let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.resumption = Resumption::disabled();
        Self(Arc::new(tls))
    }

    pub fn connect(&self, port: u16) -> BareServer {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        BareServer(StreamOwned::new(ClientConnection::new(Arc::clone(&self.0), name).unwrap(), socket))
    }
}

/// A connection.
pub struct BareServer(StreamOwned<ClientConnection, TcpStream>);

impl BareServer {
    /// Returns the body of the answer, which has to be a success.
    pub fn exchange(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        self.0.flush().unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let count = self.0.read(&mut buffer).unwrap();
            answer.extend_from_slice(&buffer[..count]);
            let Some((head, body)) = std::str::from_utf8(&answer).unwrap().split_once("\r\n\r\n") else { continue };
            let (_, length) = head.split_once("Content-Length: ").unwrap();
            if body.len() == length.lines().next().unwrap().parse::<usize>().unwrap() {
                assert!(head.starts_with("HTTP/1.1 20"), "{head}");
                return body.to_owned();
            }
        }
    }

    pub fn close(mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }
}
