//! The library's state in a process: handles, settings, and one engine for all handles.

use std::ffi::c_long;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

use ticketapi::engine::Status;
use ticketapi::session::Login;
use ticketapi::{Config, Engine};

use crate::boundary::{Eternal, Handles, Outcome, Place, count_fork, library_folder, on_fork, test_panic};
use crate::browser::{HostBrowser, ProgramBrowser, SetBrowser};
use crate::prompter::{Callbacks, HostPrompter, ProgramPrompter};
use crate::sign::Signed;
use crate::status::{
    Failure, TCK_API_ERR_INVALID_INSTANCE_HANDLE, TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_RESOURCE_ALLOCATION_FAILED,
    TCK_API_ERR_SERVER_BUSY,
};

static PROCESS: Eternal<Process> = Eternal::empty();
/// A forked child's copy of its parent's state, which is neither used nor freed; kept reachable for leak checkers.
static INHERITED: Eternal<Process> = Eternal::empty();

/// Resets the library in a forked child to its state after loading.
extern "C" fn in_child() {
    count_fork();
    PROCESS.move_to(&INHERITED);
}

pub(crate) struct Process {
    /// The state of the process that this one was forked from.
    _before: Option<&'static Self>,
    handles: Handles,
    /// Empty before the first handle.
    engine: Eternal<Engine>,
    /// Calls in progress that may log in.
    calls: AtomicUsize,
    setup: Mutex<Setup>,
    prompter: Mutex<Arc<dyn ProgramPrompter>>,
    browser: SetBrowser,
    new_tickets: Mutex<Vec<NewTicket>>,
    /// The results of the last request for signatures, of each handle.
    signed: Mutex<Vec<(c_long, Arc<Signed>)>>,
}

#[derive(Default)]
struct Setup {
    /// Settings by call, in their order.
    settings: Vec<(String, String)>,
    /// The engine's configuration.
    config: Option<Config>,
    /// Engines that were replaced by one with other settings. A late call may still use one.
    retired: Vec<&'static Engine>,
}

/// A new ticket that did not fit into the caller's buffer: the next call fetches it.
struct NewTicket {
    thread: ThreadId,
    handle: c_long,
    /// The login that returned it. Its session may have another ticket by now.
    login: Weak<Login>,
}

impl Process {
    /// Returns the state of this process, and creates it at the first call.
    pub(crate) fn this() -> &'static Self {
        static WATCHES_FORKS: AtomicBool = AtomicBool::new(false);
        PROCESS.get_or_set(|| {
            // Before other threads see the state. Registering twice would do no harm.
            if !WATCHES_FORKS.load(Ordering::Acquire) {
                on_fork(in_child);
                WATCHES_FORKS.store(true, Ordering::Release);
                // The panic hook of the library's own copy of std: standard error belongs to the host.
                std::panic::set_hook(Box::new(|_| {}));
            }
            Self {
                _before: INHERITED.get(),
                handles: Handles::new(),
                engine: Eternal::empty(),
                calls: AtomicUsize::new(0),
                setup: Mutex::default(),
                prompter: Mutex::new(Arc::new(Callbacks::default())),
                browser: Mutex::new(None),
                new_tickets: Mutex::default(),
                signed: Mutex::default(),
            }
        })
    }

    /// Returns the engine for a call on `handle`.
    pub(crate) fn engine(handle: c_long) -> Outcome<&'static Engine> {
        Ok(Self::with_handle(handle)?.1)
    }

    fn with_handle(handle: c_long) -> Outcome<(&'static Self, &'static Engine)> {
        test_panic(Place::Body);
        // Errors are created only if there is one: this is most of the cost of a call that finds a ticket.
        let process = PROCESS.get().ok_or_else(|| Failure::new(TCK_API_ERR_NOT_INITIALIZED))?;
        let engine = process.engine.get().ok_or_else(|| Failure::new(TCK_API_ERR_NOT_INITIALIZED))?;
        if process.handles.is_live(handle) {
            Ok((process, engine))
        } else {
            Err(Failure::new(TCK_API_ERR_INVALID_INSTANCE_HANDLE))
        }
    }

    /// Opens a handle. The first one, and the first after all were closed and the session has ended, reads the
    /// settings.
    pub(crate) fn open(&'static self) -> Outcome<c_long> {
        let mut setup = self.setup();
        if self.handles.live() == 0
            && let Some(engine) = self.engine.get()
        {
            engine.wake();
        }
        if !self.in_use() {
            let mut config = Config::load()?;
            for (key, value) in &setup.settings {
                config.set(key, value)?;
            }
            if setup.config.as_ref() != Some(&config) {
                let engine = self.build(config.clone())?;
                setup.config = Some(config);
                setup.retired.extend(self.engine.set(Box::new(engine)));
            }
        }
        self.handles.open().ok_or_else(|| Failure {
            detail: Some("there are 65,536 handles; the program must release those that it does not need".to_owned()),
            ..Failure::new(TCK_API_ERR_RESOURCE_ALLOCATION_FAILED)
        })
    }

    /// Closes `handle`.
    pub(crate) fn close(handle: c_long) -> Outcome {
        let (process, _) = Self::with_handle(handle)?;
        if !process.handles.close(handle) {
            return Err(Failure::new(TCK_API_ERR_INVALID_INSTANCE_HANDLE));
        }
        process.new_tickets().retain(|new| new.handle != handle);
        process.all_signed().retain(|(of, _)| *of != handle);
        process.rest_when_unused();
        Ok(())
    }

    /// Without handles no call is allowed, and a library leaves no thread behind. Under the lock of new handles,
    /// because the first of them wakes the engine.
    fn rest_when_unused(&self) {
        let _setup = self.setup();
        if self.handles.live() == 0
            && self.calls.load(Ordering::SeqCst) == 0
            && let Some(engine) = self.engine.get()
        {
            engine.rest();
        }
    }

    /// Begins a call on `handle` that may log in.
    pub(crate) fn call(handle: c_long) -> Outcome<Call> {
        let process = PROCESS.get().ok_or_else(|| Failure::new(TCK_API_ERR_NOT_INITIALIZED))?;
        // Counted before the handle is checked: a thread that then finds neither handles nor calls may replace the
        // engine.
        let counted = Counted::new(&process.calls);
        let engine = Self::engine(handle)?;
        Ok(Call { process, engine, handle, counted: Some(counted) })
    }

    /// Keeps a setting for the next engine.
    pub(crate) fn set(&self, key: &str, value: &str) -> Outcome {
        let mut setup = self.setup();
        if self.in_use() {
            return Err(Failure::new(TCK_API_ERR_SERVER_BUSY));
        }
        Config::default().set(key, value)?;
        setup.settings.retain(|(known, _)| known != key);
        setup.settings.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Makes `prompter` the prompter for later logins.
    pub(crate) fn set_prompter(&self, prompter: Arc<dyn ProgramPrompter>) -> Outcome {
        let _setup = self.setup();
        if self.calls.load(Ordering::SeqCst) > 0 {
            return Err(Failure::new(TCK_API_ERR_SERVER_BUSY));
        }
        *self.prompter.lock().unwrap_or_else(PoisonError::into_inner) = prompter;
        Ok(())
    }

    /// Shows the pages of later logins with `browser`; `None` restores that of the configuration.
    pub(crate) fn set_browser(&self, browser: Option<Arc<dyn ProgramBrowser>>) -> Outcome {
        let _setup = self.setup();
        if self.calls.load(Ordering::SeqCst) > 0 {
            return Err(Failure::new(TCK_API_ERR_SERVER_BUSY));
        }
        *self.browser.lock().unwrap_or_else(PoisonError::into_inner) = browser;
        Ok(())
    }

    fn in_use(&self) -> bool {
        self.handles.live() > 0
            || self.calls.load(Ordering::SeqCst) > 0
            || self.engine.get().is_some_and(|engine| engine.own_status() != Status::LoggedOut)
    }

    fn setup(&self) -> MutexGuard<'_, Setup> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_tickets(&self) -> MutexGuard<'_, Vec<NewTicket>> {
        self.new_tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the results of the last request for signatures on `handle`.
    pub(crate) fn signed(handle: c_long) -> Outcome<Option<Arc<Signed>>> {
        let (process, _) = Self::with_handle(handle)?;
        let signed = process.all_signed();
        Ok(signed.iter().find(|(of, _)| *of == handle).map(|(_, signed)| Arc::clone(signed)))
    }

    fn all_signed(&self) -> MutexGuard<'_, Vec<(c_long, Arc<Signed>)>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(&'static self, config: Config) -> Outcome<Engine> {
        let prompter = HostPrompter::new(&config, &self.prompter, &self.browser);
        let browser = HostBrowser::new(&config, &self.browser);
        let mut builder = Engine::builder(config).prompter(prompter).browser(browser);
        if let Some(folder) = library_folder() {
            builder = builder.helper_folder(folder);
        }
        Ok(builder.build()?)
    }
}

/// A call in progress that may log in.
pub(crate) struct Call {
    process: &'static Process,
    pub(crate) engine: &'static Engine,
    handle: c_long,
    counted: Option<Counted>,
}

impl Drop for Call {
    fn drop(&mut self) {
        drop(self.counted.take());
        // The last handle may have been closed meanwhile; usually it was not.
        if self.process.handles.live() == 0 {
            self.process.rest_when_unused();
        }
    }
}

impl Call {
    /// Drops the results of an earlier request for signatures.
    pub(crate) fn forget_signed(&self) {
        self.process.all_signed().retain(|(of, _)| *of != self.handle);
    }

    /// Keeps the results of a request for signatures until the handle is closed.
    pub(crate) fn keep_signed(&self, signed: Arc<Signed>) {
        self.forget_signed();
        if self.process.handles.is_live(self.handle) {
            self.process.all_signed().push((self.handle, signed));
        }
    }

    /// Logs in again, and passes the ticket to `write`. If the caller's buffer is too small, the next call returns
    /// the same ticket without another login.
    pub(crate) fn new_ticket(&self, write: impl FnOnce(&[u8]) -> Outcome) -> Outcome {
        let thread = thread::current().id();
        let mine = |new: &NewTicket| new.thread == thread && new.handle == self.handle;
        let waiting = self.process.new_tickets().iter().find(|new| mine(new)).map(|new| new.login.clone());
        let waiting = waiting.and_then(|login| {
            let live = self.engine.session()?;
            (login.as_ptr() == Arc::as_ptr(live.login())).then_some(live)
        });
        let session = match waiting {
            Some(session) => session,
            None => self.engine.log_in_again()?,
        };
        let written = write(session.ticket().expose().as_bytes());
        let mut new = self.process.new_tickets();
        new.retain(|new| !mine(new) && new.login.strong_count() > 0);
        if written.is_err() {
            new.push(NewTicket { thread, handle: self.handle, login: Arc::downgrade(session.login()) });
        }
        written
    }
}

/// Increments a counter while it lives.
struct Counted(&'static AtomicUsize);

impl Counted {
    fn new(count: &'static AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
