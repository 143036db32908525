//! The loop that serves all programs. It sleeps until a program, a thread or a signal wakes it; nothing
//! in it blocks.

use std::collections::BTreeMap;
use std::io;
use std::process;
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use ticketapi::agent::AgentStatus;
use ticketapi::agent::protocol::{Change, Hello, Reply, Request, SessionData, VERSION, WAITING, WireError};
use ticketapi::engine::{EngineBuilder, Event};
use ticketapi::framing::ChannelError;
use ticketapi::session::{Login, Session};
use ticketapi::{Config, Engine, Error, ErrorKind, Result, Stage};
use tracing::{debug, info, warn};

use crate::client::{Client, Wait};
use crate::failure;
use crate::jobs::{Ended, Jobs, Kind, Success};
use crate::offers::Offers;
use crate::os::{self, Listener, Poller, Ready, Waker};

/// How many programs may be connected. Beyond that, the one silent longest is disconnected and has to
/// reconnect for its next request.
const CLIENTS: usize = 512;

/// How long to stop accepting when the system is out of resources.
const PAUSE: Duration = Duration::from_secs(1);

/// Time allowed for ending the session on the broker when the agent ends.
const ENDING: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    engine: Arc<Engine>,
    /// The id of the service that the engine logs in at.
    service: String,
    /// Whether the session is checked before its ticket is given out.
    checks: bool,
    /// `None` while the agent is ending.
    listener: Option<Listener>,
    clients: BTreeMap<u64, Client>,
    next: u64,
    jobs: Jobs,
    /// `None` unless the settings say to offer logins.
    offers: Option<Offers>,
    /// The changes of the session that programs have not been sent yet.
    changes: mpsc::Receiver<Change>,
    /// Clients whose request waits for the end of another thread.
    later: Vec<u64>,
    session: Numbered<Session>,
    login: Numbered<Login>,
    poller: Poller,
    paused: Option<Instant>,
    /// When waiting clients next hear that the agent is still there.
    beat: Option<Instant>,
    /// When the agent ends in any case.
    ending: Option<Instant>,
}

impl Server {
    /// `wake` is the poller's.
    pub(crate) fn new(
        engine: EngineBuilder,
        config: &Config,
        listener: Listener,
        poller: Poller,
        wake: Waker,
    ) -> Result<Self> {
        let offers = config.offer_login.then(|| wake.try_clone().map(Offers::new)).transpose().map_err(failure)?;
        let offer = offers.as_ref().map(Offers::listener);
        let (report, changes) = mpsc::channel();
        let wake_for_change = wake.try_clone().map_err(failure)?;
        let engine = engine.listener(move |event| {
            if let Some(offer) = &offer {
                offer(event);
            }
            // If the server has ended, nobody needs it.
            if let Some(change) = change(event) {
                let _ = report.send(change);
                wake_for_change.wake();
            }
        });
        let engine = Arc::new(engine.build()?);
        Ok(Self {
            service: engine.service_id(),
            checks: !config.check_session.is_zero(),
            listener: Some(listener),
            clients: BTreeMap::new(),
            next: 0,
            jobs: Jobs::new(Arc::clone(&engine), wake),
            offers,
            changes,
            later: Vec::new(),
            session: Numbered::default(),
            login: Numbered::default(),
            engine,
            poller,
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
            self.tell_changes(now);
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

    fn wait(&mut self) -> io::Result<Ready> {
        let with_request: Vec<_> =
            self.clients.values().filter(|client| client.has_request()).map(|client| client.id).collect();
        let times = self.clients.values().filter_map(|client| client.due);
        let until = times.chain(self.beat).chain(self.paused).chain(self.ending).min();
        let what = os::Wait {
            listener: self.listener.as_mut().filter(|_| self.paused.is_none()),
            stop: self.ending.is_none(),
            until: if with_request.is_empty() { until } else { Some(Instant::now()) },
        };
        let mut ready = self.poller.wait(what, self.clients.values().map(Client::watched))?;
        let others: Vec<_> = with_request.into_iter().filter(|id| !ready.clients.contains(id)).collect();
        ready.clients.extend(others);
        Ok(ready)
    }

    /// Removes the socket and ends the session.
    fn begin_to_end(&mut self, now: Instant) -> io::Result<()> {
        self.listener = None;
        self.ending = Some(now + ENDING);
        self.jobs.wait(Kind::Destroy, None)?;
        Ok(())
    }

    fn let_in(&mut self, now: Instant) {
        let Some(listener) = &mut self.listener else { return };
        loop {
            match listener.accept() {
                Ok(Some(socket)) => {
                    self.next += 1;
                    self.clients.insert(self.next, Client::new(self.next, socket, now));
                    if self.clients.len() > CLIENTS {
                        let idle = self.clients.values().filter(|client| client.waits_for.is_none() && !client.watches);
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
        let received = match (client.waits_for.is_some(), client.keeps_up()) {
            _ if client.begin_turn() => Ok(()),
            (_, false) => client.flush(),
            (false, true) => client.receive(now),
            // A waiting client sends nothing: readable means it has disconnected.
            (true, true) => Err(io::ErrorKind::UnexpectedEof.into()),
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
        debug!(client = client.id, %why, "a program has disconnected");
        self.later.retain(|&id| id != client.id);
        if client.waits_for.is_some() {
            self.jobs.leave(client.id);
        }
    }

    fn answer_requests(&mut self, client: &mut Client) -> io::Result<()> {
        while let Some(request) = client.request() {
            match request {
                Ok(request) => self.answer(client, request)?,
                // A newer program may ask for what this agent does not have yet.
                Err(error @ ChannelError::Unknown(_)) if client.greeted => {
                    let detail = format!("the agent, version {}, received {error}", env!("CARGO_PKG_VERSION"));
                    client.answer(&failed(ErrorKind::NotImplemented, detail))?;
                }
                Err(error) => {
                    client.answer(&failed(ErrorKind::Internal, format!("the agent received {error}")))?;
                    return Err(io::Error::other(error));
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, client: &mut Client, request: Request) -> io::Result<()> {
        if let Request::Hello(hello) = &request {
            client.answer(&Reply::Hello(Hello::new(&*self.service)))?;
            client.greeted = hello.version == VERSION && (hello.service.is_empty() || hello.service == self.service);
        }
        if !client.greeted {
            return Err(io::Error::other("it does not speak as this agent does"));
        }
        let login = |anew| Kind::Login { anew };
        match request {
            Request::Hello(_) => Ok(()),
            Request::TicketNoAuth => client.answer(&ticket(&self.engine)),
            Request::Ticket if self.may_have_session() => match ticket(&self.engine) {
                Reply::Failed(_) => self.wait_for(client, login(false), None),
                reply => client.answer(&reply),
            },
            Request::LogIn { anew: false, known } if self.may_have_session() => {
                // Counts as use, as a request for the ticket does.
                match self.engine.get_ticket_no_auth().and_then(|_| self.engine.live_session()) {
                    Ok(session) => client.answer(&self.describe(&session, known)),
                    Err(_) => self.wait_for(client, login(false), Some(known)),
                }
            }
            Request::Ticket => self.wait_for(client, login(false), None),
            Request::NewTicket => self.wait_for(client, login(true), None),
            Request::LogIn { anew, known } => self.wait_for(client, login(anew), Some(known)),
            Request::Destroy => self.wait_for(client, Kind::Destroy, None),
            Request::Session { known } => {
                let session = self.engine.live_session();
                let describe = |session| self.describe(&session, known);
                client.answer(&session.map_or_else(|error| Reply::Failed(WireError::from(&error)), describe))
            }
            Request::Status => client.answer(&Reply::Status(AgentStatus::new(
                process::id(),
                env!("CARGO_PKG_VERSION").to_owned(),
                self.engine.status(),
                self.jobs.login_is_under_way(),
                // Without the client being served.
                self.clients.len() as u32 + 1,
            ))),
            Request::ChangeRole => self.wait_for(client, Kind::ChangeRole, Some(0)),
            Request::SwitchContext(context) => self.wait_for(client, Kind::SwitchContext(context), Some(0)),
            Request::Contexts => self.wait_for(client, Kind::Contexts, None),
            Request::Claims => self.wait_for(client, Kind::Claims, None),
            Request::Watch => {
                client.watches = true;
                client.answer(&Reply::Done)
            }
        }
    }

    /// Returns `true` if a request for the session may be answered at once: a check needs the service, which takes
    /// time.
    fn may_have_session(&self) -> bool {
        !self.checks && !self.jobs.login_is_under_way()
    }

    fn wait_for(&mut self, client: &mut Client, kind: Kind, known: Option<u64>) -> io::Result<()> {
        match self.jobs.wait(kind.clone(), Some(client.id)) {
            Ok(true) => {}
            Ok(false) => self.later.push(client.id),
            Err(error) => {
                return client.answer(&failed(ErrorKind::NoResources, format!("no thread could be started: {error}")));
            }
        }
        client.waits_for = Some(Wait { kind, known });
        Ok(())
    }

    /// Returns `session` for a client, unless it is the one that it knows.
    fn describe(&mut self, session: &Arc<Session>, known: u64) -> Reply {
        let number = self.session.of(session);
        if number == known {
            return Reply::Unchanged;
        }
        Reply::Session(SessionData::new(number, self.login.of(session.login()), session))
    }

    /// Sends the programs that watch the session what has happened to it.
    fn tell_changes(&mut self, now: Instant) {
        while let Ok(change) = self.changes.try_recv() {
            let watching: Vec<_> =
                self.clients.values().filter(|client| client.watches).map(|client| client.id).collect();
            for mut client in watching.into_iter().filter_map(|id| self.clients.remove(&id)).collect::<Vec<_>>() {
                match client.answer(&Reply::Changed(change)) {
                    Ok(()) => {
                        client.set_due(now);
                        self.clients.insert(client.id, client);
                    }
                    Err(error) => self.let_go(&client, &error),
                }
            }
        }
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
        while let Some(Ended { kind, result, waiting }) = self.jobs.next_ended() {
            for id in waiting {
                self.end_wait(id, |server, client, wait| match &result {
                    Some(result) => client.answer(&server.reply(result, &wait)),
                    None => server.wait_for(client, wait.kind, wait.known),
                });
            }
            if kind != Kind::Destroy {
                for id in std::mem::take(&mut self.later) {
                    self.end_wait(id, |server, client, wait| server.wait_for(client, wait.kind, wait.known));
                }
            }
        }
    }

    fn reply(&mut self, result: &Result<Success>, wait: &Wait) -> Reply {
        match (result, wait.known) {
            (Ok(Success::Session(session)), Some(known)) => self.describe(session, known),
            (Ok(Success::Session(session)), None) => Reply::Ticket(session.ticket().clone()),
            (Ok(Success::Destroyed), _) => Reply::Done,
            (Ok(Success::Contexts(contexts)), _) => Reply::Contexts(contexts.clone()),
            (Ok(Success::Claims(claims)), _) => Reply::Claims(claims.clone()),
            (Err(error), _) => Reply::Failed(WireError::from(error)),
        }
    }

    /// Answers a waiting client, and the requests it has sent since.
    fn end_wait(&mut self, id: u64, answer: impl FnOnce(&mut Self, &mut Client, Wait) -> io::Result<()>) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let answered = client.waits_for.take().map_or(Ok(()), |wait| answer(self, &mut client, wait));
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
}

/// The number of the last object that programs heard of. Another object gets another number.
struct Numbered<T>(u64, Weak<T>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        // Starts at a random number: programs remember those of an earlier agent.
        Self(rand::random::<u64>() >> 1, Weak::new())
    }
}

impl<T> Numbered<T> {
    fn of(&mut self, object: &Arc<T>) -> u64 {
        if !std::ptr::eq(self.1.as_ptr(), Arc::as_ptr(object)) {
            *self = Self(self.0 + 1, Arc::downgrade(object));
        }
        self.0
    }
}

fn change(event: &Event) -> Option<Change> {
    match event {
        Event::SessionBegun => Some(Change::Begun),
        Event::TicketReplaced => Some(Change::TicketReplaced),
        Event::SessionLocked(_) => Some(Change::Locked),
        Event::SessionUnlocked => Some(Change::Unlocked),
        Event::SessionEnded(_) => Some(Change::Ended),
        _ => None,
    }
}

fn ticket(engine: &Engine) -> Reply {
    engine.get_ticket_no_auth().map_or_else(|error| Reply::Failed(WireError::from(&error)), Reply::Ticket)
}

fn failed(kind: ErrorKind, detail: impl Into<String>) -> Reply {
    Reply::Failed(WireError::from(&Error::new(kind, Stage::Session, detail)))
}
