//! Connections and their threads.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;

use super::{Application, Incoming, Manner, Nothing, Observer, OnConnect, Reply};
use crate::http::{self, Channel, HttpRequest, NoRequest};

/// The state that all threads of a server share.
pub(super) struct Shared<A: Application> {
    pub(super) started: Instant,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) observer: Option<Observer<A>>,
    pub(super) clock_ahead: i64,
    pub(super) log_capacity: usize,
    pub(super) connections: AtomicU64,
    pub(super) handshakes: AtomicU64,
    pub(super) changed: Condvar,
    pub(super) state: Mutex<State<A>>,
}

pub(super) struct State<A: Application> {
    pub(super) application: A,
    pub(super) log: VecDeque<A::Entry>,
    /// What to do at an endpoint, and how many more times; `None` is always.
    pub(super) misbehaviours: HashMap<A::Endpoint, (A::Misbehaviour, Option<u32>)>,
    pub(super) on_connect: Option<OnConnect>,
    pub(super) held: HashSet<A::Endpoint>,
    pub(super) stopped: bool,
    pub(super) sockets: HashMap<u64, Arc<TcpStream>>,
}

impl<A: Application> State<A> {
    pub(super) fn new(application: A) -> Self {
        Self {
            application,
            log: VecDeque::new(),
            misbehaviours: HashMap::new(),
            on_connect: None,
            held: HashSet::new(),
            stopped: false,
            sockets: HashMap::new(),
        }
    }

    fn misbehaviour_at(&mut self, endpoint: A::Endpoint) -> Option<A::Misbehaviour> {
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

impl<A: Application> Shared<A> {
    pub(super) fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes connections until it is stopped, and returns when every thread of theirs has ended.
    pub(super) fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
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
    pub(super) fn stop(&self) {
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
                let told = on_connect.as_ref().map(|how| format!("{how:?}")).unwrap_or_default();
                return self.record_nothing(id, Nothing::NoConnection(told));
            }
            Err(error) => {
                let reason = format!("the TLS handshake failed: {error}");
                return self.record_nothing(id, Nothing::NoConnection(reason));
            }
        };
        loop {
            let (reply, endpoint) = match channel.read_request() {
                Ok(request) => self.answer(id, peer, &request),
                Err(NoRequest::Closed) => return channel.close(),
                Err(NoRequest::Bad(status)) => {
                    self.record_nothing(id, Nothing::Bad(status));
                    let head = http::head(status, &[("Content-Type", "text/html")], Some(0), true);
                    let _ = channel.send(head.as_bytes());
                    return channel.close();
                }
            };
            match self.deliver(&mut channel, &reply, endpoint) {
                End::KeepAlive => {}
                End::Close => return channel.close(),
                End::Reset => return channel.reset(),
            }
        }
    }

    /// Opens the channel. Returns `None` if the connection must fail before that.
    fn open(&self, stream: Arc<TcpStream>, on_connect: Option<&OnConnect>) -> std::io::Result<Option<Channel>> {
        if let Some(how) = on_connect {
            let mut channel = Channel::open(Arc::clone(&stream), None)?;
            match how {
                OnConnect::Delay(delay) => {
                    self.pause(*delay);
                }
                OnConnect::Reset => {
                    channel.reset();
                    return Ok(None);
                }
                OnConnect::Silence => {
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

    fn answer(&self, connection: u64, peer: SocketAddr, request: &HttpRequest) -> (Reply, Option<A::Endpoint>) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{}", request.header("Host").unwrap_or_default());
        let incoming = Incoming { request, connection, at: self.started.elapsed(), peer, base_url };
        let mut state = self.lock();
        let endpoint = state.application.endpoint(request);
        let misbehaviour = endpoint.ok().and_then(|endpoint| state.misbehaviour_at(endpoint));
        let (reply, entry) = state.application.answer(&incoming, endpoint, misbehaviour);
        drop(state);
        self.record(entry);
        let close = reply.close || !request.keep_alive;
        (self.dated(Reply { close, ..reply }), endpoint.ok())
    }

    /// The answer with a `Date` after its status line.
    fn dated(&self, mut reply: Reply) -> Reply {
        let (now, ahead) = (SystemTime::now(), Duration::from_secs(self.clock_ahead.unsigned_abs()));
        let now = if self.clock_ahead < 0 { now - ahead } else { now + ahead };
        if let Some(end) = reply.bytes.windows(2).position(|pair| pair == b"\r\n") {
            let date = format!("Date: {}\r\n", httpdate::fmt_http_date(now));
            if let Manner::Cut(length) = &mut reply.manner
                && *length > end
            {
                *length += date.len();
            }
            reply.bytes.splice(end + 2..end + 2, date.into_bytes());
        }
        reply
    }

    fn record(&self, entry: A::Entry) {
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

    fn record_nothing(&self, connection: u64, why: Nothing) {
        self.record(A::no_request(connection, self.started.elapsed(), why));
    }

    fn deliver(&self, channel: &mut Channel, reply: &Reply, endpoint: Option<A::Endpoint>) -> End {
        if !reply.delay.is_zero() && channel.client_leaves_within(reply.delay) {
            return End::Close;
        }
        let mut state = self.lock();
        while endpoint.is_some_and(|endpoint| state.held.contains(&endpoint)) && !state.stopped {
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

struct Registered<'a, A: Application> {
    shared: &'a Shared<A>,
    id: u64,
}

impl<A: Application> Drop for Registered<'_, A> {
    fn drop(&mut self) {
        self.shared.lock().sockets.remove(&self.id);
        self.shared.changed.notify_all();
    }
}
