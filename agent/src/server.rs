//! The loop that serves all programs. It sleeps until a program, a thread or a signal wakes it; nothing
//! in it blocks.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use ticketapi::agent::AgentStatus;
use ticketapi::agent::protocol::{Failure, Hello, Reply, Request, SessionData, VERSION, WAITING};
use ticketapi::engine::EngineBuilder;
use ticketapi::session::Session;
use ticketapi::{Config, Engine, Error, ErrorKind, Result, Stage};
use tracing::{debug, info, warn};

use crate::client::Client;
use crate::failure;
use crate::jobs::{Jobs, Kind};
use crate::listener::Listener;
use crate::offers::Offers;

/// How many programs may be connected. Beyond that, the one silent longest is disconnected and has to
/// reconnect for its next request.
const CLIENTS: usize = 512;

/// How long to stop accepting when the system is out of resources.
const PAUSE: Duration = Duration::from_secs(1);

/// Time allowed for ending the session on the broker when the agent ends.
const ENDING: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    engine: Arc<Engine>,
    broker: String,
    /// Whether the session is checked before its ticket is given out.
    checks: bool,
    /// `None` while the agent is ending.
    listener: Option<Listener>,
    clients: BTreeMap<u64, Client>,
    next: u64,
    jobs: Jobs,
    /// `None` unless the settings say to offer logins.
    offers: Option<Offers>,
    /// Clients whose request waits for the end of a cancelled login.
    later: Vec<u64>,
    session: (u64, Weak<Session>),
    woken: UnixStream,
    stop: UnixStream,
    paused: Option<Instant>,
    /// When waiting clients next hear that the agent is still there.
    beat: Option<Instant>,
    /// When the agent ends in any case.
    ending: Option<Instant>,
}

impl Server {
    /// Stops when this is readable.
    pub(crate) fn new(engine: EngineBuilder, config: &Config, listener: Listener, stop: UnixStream) -> Result<Self> {
        let broker = config.broker()?.to_string();
        let (woken, wake) = UnixStream::pair().map_err(failure)?;
        for socket in [&woken, &wake, &stop] {
            socket.set_nonblocking(true).map_err(failure)?;
        }
        let offers = config.offer_login.then(|| wake.try_clone().map(Offers::new)).transpose().map_err(failure)?;
        let engine = match &offers {
            Some(offers) => engine.listener(offers.listener()),
            None => engine,
        };
        let engine = Arc::new(engine.build()?);
        Ok(Self {
            broker,
            checks: !config.check_session.is_zero(),
            listener: Some(listener),
            clients: BTreeMap::new(),
            next: 0,
            jobs: Jobs::new(Arc::clone(&engine), wake),
            offers,
            later: Vec::new(),
            // Starts at a random number: programs remember those of an earlier agent.
            session: (rand::random::<u64>() >> 1, Weak::new()),
            engine,
            woken,
            stop,
            paused: None,
            beat: None,
            ending: None,
        })
    }

    /// Serves until it is stopped, then ends the session.
    pub(crate) fn run(mut self) -> io::Result<()> {
        if let Some(offers) = &self.offers {
            offers.start(&self.engine)?;
        }
        loop {
            let ready = self.wait()?;
            let now = Instant::now();
            if ready.stop && self.ending.is_none() {
                self.begin_to_end(now)?;
            }
            if ready.woken {
                // The number of bytes does not matter.
                while self.woken.read(&mut [0; 64]).is_ok_and(|count| count == 64) {}
            }
            self.answer_ended();
            self.offer();
            for id in ready.clients {
                self.serve(id, now);
            }
            if ready.listener {
                self.let_in(now);
            }
            self.keep_time(now);
            if self.ending.is_some_and(|until| until <= now || !self.jobs.are_running()) {
                info!("the agent ends");
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut fds = Vec::with_capacity(self.clients.len() + 3);
        fds.push(PollFd::new(&self.woken, PollFlags::IN));
        // The writing end of `stop` may be closed.
        let stop = if self.ending.is_none() { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::new(&self.stop, stop));
        let listener = self.listener.as_ref().filter(|_| self.paused.is_none());
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let others = fds.len();
        fds.extend(self.clients.values().map(|client| PollFd::new(client, client.interest())));

        let times = self.clients.values().filter_map(|client| client.due);
        let until = times.chain(self.beat).chain(self.paused).chain(self.ending).min();
        let left = match self.clients.values().any(Client::has_request) {
            true => Some(Duration::ZERO),
            false => until.map(|until| until.saturating_duration_since(Instant::now())),
        };
        match poll(&mut fds, left.and_then(|left| Timespec::try_from(left).ok()).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(Ready {
            woken: is_ready(&fds[0]),
            stop: is_ready(&fds[1]),
            listener: others == 3 && is_ready(&fds[2]),
            clients: self
                .clients
                .values()
                .zip(&fds[others..])
                .filter(|(client, fd)| is_ready(fd) || client.has_request())
                .map(|(client, _)| client.id)
                .collect(),
        })
    }

    /// Removes the socket and ends the session.
    fn begin_to_end(&mut self, now: Instant) -> io::Result<()> {
        self.listener = None;
        self.ending = Some(now + ENDING);
        self.jobs.wait(Kind::Destroy, None)?;
        Ok(())
    }

    fn let_in(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        loop {
            match listener.accept() {
                Ok(Some(socket)) => {
                    self.next += 1;
                    self.clients.insert(self.next, Client::new(self.next, socket, now));
                    if self.clients.len() > CLIENTS {
                        let idle = self.clients.values().filter(|client| client.waits_for.is_none());
                        let silent = idle.min_by_key(|client| client.active).map(|client| client.id);
                        silent.map(|id| self.clients.remove(&id));
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "programs cannot be let in");
                    self.paused = Some(now + PAUSE);
                    return;
                }
            }
        }
    }

    /// Reads from a client, answers it, or disconnects it.
    fn serve(&mut self, id: u64, now: Instant) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let received = match (client.waits_for, client.keeps_up()) {
            _ if client.begin_turn() => Ok(()),
            (_, false) => client.flush(),
            (None, true) => client.receive(now),
            // A waiting client sends nothing: readable means it has disconnected.
            (Some(_), true) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        match received.and_then(|()| self.answer_requests(&mut client)) {
            Ok(()) => {
                client.set_due(now);
                self.clients.insert(id, client);
            }
            Err(error) => self.let_go(&client, &error),
        }
    }

    fn let_go(&mut self, client: &Client, why: &io::Error) {
        debug!(client = client.id, %why, "a program has gone");
        self.later.retain(|&id| id != client.id);
        if let Some(kind) = client.waits_for {
            self.jobs.leave(kind, client.id);
        }
    }

    fn answer_requests(&mut self, client: &mut Client) -> io::Result<()> {
        while let Some(request) = client.request() {
            match request {
                Ok(request) => self.answer(client, request)?,
                Err(malformed) => {
                    client.answer(&failed(ErrorKind::Internal, format!("the agent got {malformed}")))?;
                    return Err(io::Error::other(malformed));
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, client: &mut Client, request: Request) -> io::Result<()> {
        if let Request::Hello(hello) = &request {
            client.answer(&Reply::Hello(Hello::new(&*self.broker)))?;
            client.greeted = hello.version == VERSION && (hello.broker.is_empty() || hello.broker == self.broker);
        }
        if !client.greeted {
            return Err(io::Error::other("it does not speak as this agent does"));
        }
        match request {
            Request::Hello(_) => Ok(()),
            Request::TicketNoAuth => client.answer(&ticket(&self.engine)),
            // The check may need the broker, which takes time.
            Request::Ticket if !self.jobs.login_is_under_way() && !self.checks => match ticket(&self.engine) {
                Reply::Failed(_) => self.wait_for(client, Kind::Login { anew: false }),
                reply => client.answer(&reply),
            },
            Request::Ticket => self.wait_for(client, Kind::Login { anew: false }),
            Request::NewTicket => self.wait_for(client, Kind::Login { anew: true }),
            Request::Destroy => self.wait_for(client, Kind::Destroy),
            Request::Session { known } => client.answer(&match self.session() {
                Ok((number, _)) if number == known => Reply::Unchanged,
                Ok((number, session)) => Reply::Session(SessionData::new(number, &session)),
                Err(error) => Reply::Failed(Failure::from(&error)),
            }),
            Request::Roles { session, from } => client.answer(&match self.session() {
                Ok((number, live)) if number == session => Reply::roles(live.roles(), from as usize),
                Ok(_) => failed(ErrorKind::TicketNotAvailable, "the session has ended"),
                Err(error) => Reply::Failed(Failure::from(&error)),
            }),
            Request::Status => client.answer(&Reply::Status(AgentStatus::new(
                process::id(),
                env!("CARGO_PKG_VERSION").to_owned(),
                self.engine.status(),
                self.jobs.login_is_under_way(),
                // Without the client being served.
                self.clients.len() as u32 + 1,
            ))),
        }
    }

    fn wait_for(&mut self, client: &mut Client, kind: Kind) -> io::Result<()> {
        match self.jobs.wait(kind, Some(client.id)) {
            Ok(true) => {}
            Ok(false) => self.later.push(client.id),
            Err(error) => return client.answer(&failed(ErrorKind::Internal, format!("no thread starts: {error}"))),
        }
        client.waits_for = Some(kind);
        Ok(())
    }

    /// Starts the login that an inserted card asks for.
    fn offer(&mut self) {
        let wanted = self.offers.as_ref().is_some_and(Offers::take_wanted);
        if wanted && self.ending.is_none() && !self.jobs.login_is_under_way() {
            info!("a card was put in: the login is offered");
            if let Err(error) = self.jobs.wait(Kind::Offer, None) {
                warn!(%error, "no thread starts");
            }
        }
    }

    /// Answers the clients that waited for threads which have ended.
    fn answer_ended(&mut self) {
        while let Some((kind, reply, waiting)) = self.jobs.next_ended() {
            for id in waiting {
                self.end_wait(id, |server, client, wanted| match &reply {
                    Some(reply) => client.answer(reply),
                    None => server.wait_for(client, wanted),
                });
            }
            if kind != Kind::Destroy {
                for id in std::mem::take(&mut self.later) {
                    self.end_wait(id, Self::wait_for);
                }
            }
        }
    }

    /// Answers a waiting client, and the requests it has sent since.
    fn end_wait(&mut self, id: u64, answer: impl FnOnce(&mut Self, &mut Client, Kind) -> io::Result<()>) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let answered = client.waits_for.take().map_or(Ok(()), |wanted| answer(self, &mut client, wanted));
        match answered.and_then(|()| self.answer_requests(&mut client)) {
            Ok(()) => {
                client.set_due(Instant::now());
                self.clients.insert(id, client);
            }
            Err(error) => self.let_go(&client, &error),
        }
    }

    /// Does what is due now.
    fn keep_time(&mut self, now: Instant) {
        let is_late = |client: &Client| client.due.is_some_and(|due| due <= now);
        let late: Vec<_> = self.clients.values().filter(|client| is_late(client)).map(|client| client.id).collect();
        for client in late.into_iter().filter_map(|id| self.clients.remove(&id)).collect::<Vec<_>>() {
            self.let_go(&client, &io::ErrorKind::TimedOut.into());
        }
        self.paused = self.paused.filter(|&until| until > now);
        let waiting = self.clients.values_mut().filter(|client| client.waits_for.is_some());
        match self.beat {
            Some(beat) if beat <= now => {
                for client in waiting.filter(|client| client.keeps_up()) {
                    // The next poll reports a disconnect.
                    let _ = client.answer(&Reply::Waiting);
                }
                self.beat = None;
            }
            _ => {}
        }
        if self.clients.values().any(|client| client.waits_for.is_some()) {
            self.beat.get_or_insert(now + WAITING);
        } else {
            self.beat = None;
        }
    }

    /// Returns the live session and its number.
    fn session(&mut self) -> Result<(u64, Arc<Session>)> {
        let live = self.engine.live_session()?;
        if !std::ptr::eq(self.session.1.as_ptr(), Arc::as_ptr(&live)) {
            self.session = (self.session.0 + 1, Arc::downgrade(&live));
        }
        Ok((self.session.0, live))
    }
}

/// Sources of events.
struct Ready {
    woken: bool,
    stop: bool,
    listener: bool,
    clients: Vec<u64>,
}

fn ticket(engine: &Engine) -> Reply {
    engine.get_ticket_no_auth().map_or_else(|error| Reply::Failed(Failure::from(&error)), Reply::Ticket)
}

fn failed(kind: ErrorKind, detail: impl Into<String>) -> Reply {
    Reply::Failed(Failure::from(&Error::new(kind, Stage::Session, detail)))
}
