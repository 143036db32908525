//! Connections and their threads: takes requests off the wire, sends answers or spoils them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;

use super::broker::{Broker, Content, Processed};
use super::http::{self, Channel, HttpRequest, NoRequest};
use super::log::{Entry, Outcome};
use super::misbehaviour::{Endpoint, Misbehaviour};
use super::refusal::Refusal;

/// Is shown each log entry as it is made.
pub(crate) type Observer = Box<dyn Fn(&Entry) + Send + Sync>;

/// What all threads of one simulator share.
pub(crate) struct Shared {
    pub(crate) started: Instant,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) observer: Option<Observer>,
    pub(crate) clock_ahead: i64,
    pub(crate) log_capacity: usize,
    pub(crate) connections: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    pub(crate) changed: Condvar,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) broker: Broker,
    pub(crate) log: VecDeque<Entry>,
    /// What to do at an endpoint, and how many more times; `None` is always.
    pub(crate) misbehaviours: HashMap<Endpoint, (Misbehaviour, Option<u32>)>,
    pub(crate) on_connect: Option<Misbehaviour>,
    pub(crate) held: HashSet<Endpoint>,
    pub(crate) stopped: bool,
    sockets: HashMap<u64, Arc<TcpStream>>,
}

impl State {
    pub(crate) fn new(broker: Broker) -> Self {
        Self {
            broker,
            log: VecDeque::new(),
            misbehaviours: HashMap::new(),
            on_connect: None,
            held: HashSet::new(),
            stopped: false,
            sockets: HashMap::new(),
        }
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.sockets.len()
    }

    fn misbehaviour_at(&mut self, endpoint: Endpoint) -> Option<Misbehaviour> {
        let (misbehaviour, times) = self.misbehaviours.get_mut(&endpoint)?;
        let misbehaviour = misbehaviour.clone();
        if let Some(times) = times {
            *times -= 1;
            if *times == 0 {
                self.misbehaviours.remove(&endpoint);
            }
        }
        Some(misbehaviour)
    }
}

/// An answer on its way.
struct Reply {
    bytes: Vec<u8>,
    manner: Manner,
    delay: Duration,
    /// Where it has to wait while the test holds answers.
    endpoint: Option<Endpoint>,
    close: bool,
}

enum Manner {
    Whole,
    /// Ends after the first `.0` bytes.
    Cut(usize),
    OneByteASecond,
    Endless,
    Silent,
    Reset,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes connections until it is stopped, and returns when every thread of theirs has ended.
    pub(crate) fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        for stream in listener.incoming() {
            let Ok(stream) = stream.map(Arc::new) else { continue };
            let id = self.connections.load(Ordering::SeqCst) + 1;
            {
                let mut state = self.lock();
                if state.stopped {
                    break;
                }
                self.connections.store(id, Ordering::SeqCst);
                state.sockets.insert(id, Arc::clone(&stream));
            }
            self.changed.notify_all();
            threads.retain(|thread: &std::thread::JoinHandle<()>| !thread.is_finished());
            let shared = Arc::clone(self);
            threads.push(std::thread::spawn(move || {
                // Taken out of the list when the thread ends, even by a panic: a socket closes with its
                // last holder only.
                let _registered = Registered { shared: &shared, id };
                shared.serve(id, stream);
            }));
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Wakes every thread to end; [`Shared::accept_all`] has to be woken by a last connection.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        for socket in state.sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn serve(&self, id: u64, stream: Arc<TcpStream>) {
        let Ok(peer) = stream.peer_addr() else { return };
        let on_connect = self.lock().on_connect.clone();
        let mut channel = match self.open(stream, on_connect.as_ref()) {
            Ok(Some(channel)) => channel,
            Ok(None) => {
                let told = on_connect.as_ref().map(Misbehaviour::label).unwrap_or_default();
                return self.record(Entry::without_request(id, self.started.elapsed(), told));
            }
            Err(error) => {
                let reason = format!("the TLS handshake failed: {error}");
                return self.record(Entry::without_request(id, self.started.elapsed(), reason));
            }
        };
        loop {
            let reply = match channel.read_request() {
                Ok(request) => self.answer(id, peer, &request),
                Err(NoRequest::Closed) => return channel.close(),
                Err(NoRequest::Bad(status)) => {
                    let mut entry = Entry::without_request(id, self.started.elapsed(), String::new());
                    entry.answer = Outcome::BadRequest(status);
                    self.record(entry);
                    let _ = channel.send(http::head(status, "text/html", None, Some(0), true).as_bytes());
                    return channel.close();
                }
            };
            match self.deliver(&mut channel, &reply) {
                End::KeepAlive => {}
                End::Close => return channel.close(),
                End::Reset => return channel.reset(),
            }
        }
    }

    /// Opens the channel, unless the connection is to be spoilt before: then `None`.
    fn open(&self, stream: Arc<TcpStream>, on_connect: Option<&Misbehaviour>) -> std::io::Result<Option<Channel>> {
        if let Some(misbehaviour) = on_connect {
            let mut channel = Channel::open(Arc::clone(&stream), None)?;
            match misbehaviour {
                Misbehaviour::Delay(delay) => {
                    self.pause(*delay);
                }
                Misbehaviour::Reset => {
                    channel.reset();
                    return Ok(None);
                }
                _ => {
                    channel.wait_until_client_leaves();
                    return Ok(None);
                }
            }
        }
        let channel = Channel::open(stream, self.tls.as_ref())?;
        if self.tls.is_some() {
            self.handshakes.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Some(channel))
    }

    fn answer(&self, connection: u64, peer: SocketAddr, request: &HttpRequest) -> Reply {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{}", request.header("Host").unwrap_or_default());
        let path = request.path();
        let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path);
        let mut entry = Entry {
            at: self.started.elapsed(),
            connection,
            method: request.method.clone(),
            path: path.into(),
            headers: request.headers.clone(),
            endpoint,
            parameters: endpoint.map(|endpoint| Broker::parameters(endpoint, request)).unwrap_or_default(),
            answer: Outcome::Done,
            warnings: Vec::new(),
        };
        let reply = match endpoint {
            None => bad_request(404, &mut entry),
            Some(endpoint) if !self.takes(endpoint, request) => bad_request(405, &mut entry),
            Some(endpoint) => {
                let mut state = self.lock();
                let misbehaviour = state.misbehaviour_at(endpoint);
                let mut reply = match misbehaviour {
                    Some(misbehaviour) => {
                        misbehave(&mut state.broker, &misbehaviour, endpoint, request, peer, &base_url, &mut entry)
                    }
                    None => {
                        let processed = state.broker.process(endpoint, request, peer.ip(), &base_url);
                        entry.answer = processed.outcome;
                        entry.warnings = processed.warnings;
                        Reply::good(processed.content, &base_url)
                    }
                };
                reply.endpoint = Some(endpoint);
                reply
            }
        };
        self.record(entry);
        let close = reply.close || !request.keep_alive;
        Reply { close, bytes: self.dated(reply.bytes), ..reply }
    }

    /// Whether the endpoint takes this method. With a message, GET may stand for POST, save to a strict broker.
    fn takes(&self, endpoint: Endpoint, request: &HttpRequest) -> bool {
        let message_by_get = request.method == "GET" && !request.body.is_empty();
        request.method == endpoint.method() || message_by_get && !self.lock().broker.settings.strict
    }

    /// The answer with a `Date` after its status line.
    fn dated(&self, mut answer: Vec<u8>) -> Vec<u8> {
        let (now, ahead) = (SystemTime::now(), Duration::from_secs(self.clock_ahead.unsigned_abs()));
        let now = if self.clock_ahead < 0 { now - ahead } else { now + ahead };
        if let Some(end) = answer.windows(2).position(|pair| pair == b"\r\n") {
            let date = format!("Date: {}\r\n", httpdate::fmt_http_date(now));
            answer.splice(end + 2..end + 2, date.into_bytes());
        }
        answer
    }

    fn record(&self, entry: Entry) {
        if let Some(observer) = &self.observer {
            observer(&entry);
        }
        let mut state = self.lock();
        if state.log.len() >= self.log_capacity {
            state.log.pop_front();
        }
        state.log.push_back(entry);
        drop(state);
        self.changed.notify_all();
    }

    fn deliver(&self, channel: &mut Channel, reply: &Reply) -> End {
        if !reply.delay.is_zero() && channel.client_leaves_within(reply.delay) {
            return End::Close;
        }
        let mut state = self.lock();
        while reply.endpoint.is_some_and(|endpoint| state.held.contains(&endpoint)) && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        match reply.manner {
            Manner::Whole => match channel.send(&reply.bytes) {
                Ok(()) if !reply.close => End::KeepAlive,
                _ => End::Close,
            },
            Manner::Cut(length) => {
                let _ = channel.send(&reply.bytes[..length]);
                End::Close
            }
            Manner::OneByteASecond => {
                for byte in &reply.bytes {
                    if channel.send(&[*byte]).is_err() || channel.client_leaves_within(Duration::from_secs(1)) {
                        break;
                    }
                }
                End::Close
            }
            Manner::Endless => {
                let filler = [b' '; 16 << 10];
                let mut sent = channel.send(&reply.bytes);
                while sent.is_ok() {
                    sent = channel.send(&filler);
                }
                End::Close
            }
            Manner::Silent => {
                channel.wait_until_client_leaves();
                End::Close
            }
            Manner::Reset => End::Reset,
        }
    }

    /// Waits this long, or until it is stopped.
    fn pause(&self, time: Duration) {
        let state = self.lock();
        let _unlocked = self.changed.wait_timeout_while(state, time, |state| !state.stopped);
    }
}

enum End {
    KeepAlive,
    Close,
    Reset,
}

struct Registered<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.lock().sockets.remove(&self.id);
        self.shared.changed.notify_all();
    }
}

impl Reply {
    fn new(head: String, body: &[u8]) -> Self {
        let bytes = [head.as_bytes(), body].concat();
        Self { bytes, manner: Manner::Whole, delay: Duration::ZERO, endpoint: None, close: false }
    }

    fn good(content: Content, base_url: &str) -> Self {
        let (content_type, body) = match content {
            Content::Message(answer) => ("text/xml;charset=UTF-8", answer.write(base_url)),
            Content::Html(text) => ("text/html;charset=UTF-8", text),
            Content::Assertion(assertion) => ("text/xml;charset=UTF-8", assertion.write()),
            Content::Session(answer) => ("text/xml;charset=UTF-8", answer.write()),
        };
        Self::new(http::head(200, content_type, None, Some(body.len()), false), body.as_bytes())
    }
}

fn bad_request(status: u16, entry: &mut Entry) -> Reply {
    entry.answer = Outcome::BadRequest(status);
    Reply::new(http::head(status, "text/html", None, Some(0), false), b"")
}

/// The answer as `misbehaviour` spoils it.
fn misbehave(
    broker: &mut Broker,
    misbehaviour: &Misbehaviour,
    endpoint: Endpoint,
    request: &HttpRequest,
    peer: SocketAddr,
    base_url: &str,
    entry: &mut Entry,
) -> Reply {
    entry.answer = Outcome::Misbehaved(misbehaviour.label());
    let manner = match misbehaviour {
        Misbehaviour::Status(status) => {
            let page = format!("<html><body><h1>{status}</h1></body></html>\n");
            return Reply::new(http::head(*status, "text/html", None, Some(page.len()), false), page.as_bytes());
        }
        Misbehaviour::Redirect(location) => {
            return Reply::new(http::head(302, "text/html", Some(location), Some(0), false), b"");
        }
        Misbehaviour::Body(body) => {
            return Reply::new(http::head(200, "text/xml;charset=UTF-8", None, Some(body.len()), false), body);
        }
        Misbehaviour::Refuse(reason) => {
            let processed = Broker::refuse(endpoint, Refusal::Told(reason.clone()), base_url);
            entry.answer = processed.outcome;
            return Reply::good(processed.content, base_url);
        }
        Misbehaviour::Endless => {
            let head = http::head(200, "text/xml;charset=UTF-8", None, None, true);
            return Reply { manner: Manner::Endless, ..Reply::new(head, b"<gpOBJECT>\n") };
        }
        Misbehaviour::NoAnswer => Some(Manner::Silent),
        Misbehaviour::Reset => Some(Manner::Reset),
        _ => None,
    };
    if let Some(manner) = manner {
        return Reply { manner, ..Reply::new(String::new(), b"") };
    }

    let Processed { mut content, outcome, warnings } = broker.process(endpoint, request, peer.ip(), base_url);
    entry.warnings = warnings;
    let loses_answer = misbehaviour.loses_answer();
    match outcome {
        Outcome::Ticket(ticket) if loses_answer => drop(broker.end_session(&ticket)),
        Outcome::Refused(_) => entry.answer = outcome,
        _ if !loses_answer => entry.answer = outcome,
        _ => {}
    }
    match misbehaviour {
        Misbehaviour::Without(name) => content.remove(name),
        Misbehaviour::With(name, value) => content.set(name, value),
        Misbehaviour::Twice(name) => content.repeat(name),
        _ => {}
    }
    let mut reply = Reply::good(content, base_url);
    match misbehaviour {
        Misbehaviour::Truncated => reply.manner = Manner::Cut(reply.bytes.len() - reply.bytes.len() / 4),
        Misbehaviour::OneByteASecond => reply.manner = Manner::OneByteASecond,
        Misbehaviour::Delay(delay) => reply.delay = *delay,
        Misbehaviour::Close => reply.close = true,
        _ => {}
    }
    reply
}
