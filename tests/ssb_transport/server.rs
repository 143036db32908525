//! A server on a real socket that does what a test says.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use tempfile::NamedTempFile;

/// A test's own CA, and the file with which a client trusts it.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: NamedTempFile,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    /// The configuration of a server with these `names`, valid until the end of `last_year`.
    pub fn server(
        &self,
        names: &[&str],
        last_year: i32,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        self.server_with(&params, versions)
    }

    /// The configuration of a server with such a certificate.
    pub fn server_with(
        &self,
        params: &CertificateParams,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
        // Does not check the certificate, which may be one that rustls does not accept.
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        Arc::new(config)
    }
}

pub type Serve = Box<dyn Fn(&mut Peer) + Send + Sync>;

#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub handshakes: AtomicUsize,
    pub requests: Mutex<Vec<String>>,
}

/// Serves every connection on its own thread, until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    /// Gets a message for each connection that the server has closed.
    pub closed: mpsc::Receiver<()>,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub fn plain(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::start(None, serve)
    }

    pub fn tls(config: Arc<ServerConfig>, serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::start(Some(config), serve)
    }

    fn start(tls: Option<Arc<ServerConfig>>, serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stopping, serve) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let (tell_closed, closed) = mpsc::channel();
        let accepting = thread::spawn({
            let (seen, stopping) = (Arc::clone(&seen), Arc::clone(&stopping));
            move || {
                let (mut threads, open) = (Vec::new(), Arc::new(Mutex::new(BTreeMap::new())));
                for tcp in listener.incoming().map(Result::unwrap) {
                    if stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                    open.lock().unwrap().insert(number, tcp.try_clone().unwrap());
                    let (tls, seen, serve) = (tls.clone(), Arc::clone(&seen), Arc::clone(&serve));
                    let (open, tell_closed) = (Arc::clone(&open), tell_closed.clone());
                    threads.push(thread::spawn(move || {
                        let client = tcp.peer_addr().unwrap();
                        let peer = Peer::new(tcp, tls, seen).map(|mut peer| {
                            serve(&mut peer);
                            peer
                        });
                        // The connection closes with its last copy.
                        open.lock().unwrap().remove(&number);
                        drop(peer);
                        wait_for_client(client, |state, _| state != ESTABLISHED);
                        let _ = tell_closed.send(());
                    }));
                }
                for tcp in open.lock().unwrap().values() {
                    let _ = tcp.shutdown(Shutdown::Both);
                }
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            }
        });
        Self { address, seen, closed, stopping, accepting: Some(accepting) }
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn handshakes(&self) -> usize {
        self.seen.handshakes.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let ended = self.accepting.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

trait Stream: Read + Write + Send {
    fn tls(&mut self) -> Option<&mut ServerConnection>;
}

impl Stream for TcpStream {
    fn tls(&mut self) -> Option<&mut ServerConnection> {
        None
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn tls(&mut self) -> Option<&mut ServerConnection> {
        Some(&mut self.conn)
    }
}

/// The connection to a client, on the server's side.
pub struct Peer {
    stream: Box<dyn Stream>,
    client: SocketAddr,
    seen: Arc<Seen>,
}

impl Peer {
    fn new(mut tcp: TcpStream, tls: Option<Arc<ServerConfig>>, seen: Arc<Seen>) -> io::Result<Self> {
        let client = tcp.peer_addr()?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                let mut session = ServerConnection::new(config).unwrap();
                session.complete_io(&mut tcp)?;
                seen.handshakes.fetch_add(1, Ordering::SeqCst);
                Box::new(StreamOwned::new(session, tcp))
            }
        };
        Ok(Self { stream, client, seen })
    }

    /// The next request, head and body; `None` if the client has disconnected.
    pub fn request(&mut self) -> Option<String> {
        let mut request = Vec::new();
        let (head, length) = loop {
            if let Some(head) = request.windows(4).position(|end| end == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map(str::parse);
                break (head + 4, length.unwrap_or(Ok(0)).unwrap());
            }
            self.read_more(&mut request)?;
        };
        while request.len() < head + length {
            self.read_more(&mut request)?;
        }
        let request = String::from_utf8(request).unwrap();
        self.seen.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    fn read_more(&mut self, request: &mut Vec<u8>) -> Option<()> {
        let mut piece = [0; 4096];
        let count = self.stream.read(&mut piece).ok().filter(|&count| count > 0)?;
        request.extend_from_slice(&piece[..count]);
        Some(())
    }

    pub fn answer(&mut self, body: &str) {
        self.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// Returns `false` if the client has disconnected.
    pub fn send(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Ends TLS, and keeps the connection open.
    pub fn ends_tls(&mut self) {
        self.stream.tls().unwrap().send_close_notify();
        self.stream.flush().unwrap();
    }

    /// Changes the keys, which TLS 1.3 allows at any time.
    pub fn changes_keys(&mut self) {
        self.stream.tls().unwrap().refresh_traffic_keys().unwrap();
        self.stream.flush().unwrap();
    }

    /// Returns `true` if the client has sent close_notify before it disconnected, so that the end is not mistaken
    /// for a truncated connection.
    pub fn has_sent_close_notify(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    /// Waits until bytes have arrived at the client that it has not read.
    pub fn wait_until_received(&self) {
        wait_for_client(self.client, |_, unread| unread > 0);
    }

    /// Leaves a request unread, so that closing the connection resets it.
    pub fn reset(&mut self) {
        self.stream.read_exact(&mut [0]).unwrap();
    }

    pub fn wait_until_closed(&mut self) {
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }
}

const ESTABLISHED: u32 = 1;

/// Waits until the client's socket is closed, or its state and the number of unread bytes are as `wanted`. What a
/// server has sent may arrive a moment later.
fn wait_for_client(client: SocketAddr, wanted: impl Fn(u32, u32) -> bool) {
    let number = |text: &str| u32::from_str_radix(text, 16).unwrap();
    let is_as_wanted = |sockets: &str| {
        let mut sockets = sockets.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let socket = sockets.find(|socket| number(socket[1].split_once(':').unwrap().1) == u32::from(client.port()));
        socket.is_none_or(|socket| wanted(number(socket[3]), number(socket[4].split_once(':').unwrap().1)))
    };
    let until = Instant::now() + Duration::from_secs(30);
    while !is_as_wanted(&std::fs::read_to_string("/proc/net/tcp").unwrap()) {
        assert!(Instant::now() < until, "nothing comes to the client");
        thread::sleep(Duration::from_millis(2));
    }
}
