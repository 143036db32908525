//! The host's own functions for asking the user.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::{Absence, PinTries};
use ticketapi::prompt::{Notice, PinProblem, PinRequest, Prompter, SystemPrompter, text};
use ticketapi::ssb::Role;
use ticketapi::{Config, Error, ErrorKind, Pin, Result, Stage};
use zeroize::Zeroizing;

use crate::boundary::forks;
use crate::java::JavaPrompter;

/// A prompt's answer: the user answered.
pub const TICKETAPI_ANSWERED: c_int = 0;
/// A prompt's answer: the user does not want to go on. Every other value means the same.
pub const TICKETAPI_CANCELLED: c_int = 1;

/// Nothing went wrong before: the PIN is asked for the first time.
pub const TICKETAPI_PIN_FIRST: c_int = 0;
/// The PIN that was given last was wrong, and the card counted a try.
pub const TICKETAPI_PIN_WRONG: c_int = 1;
/// The PIN that was given last was too short or too long; the card was not asked.
pub const TICKETAPI_PIN_LENGTH: c_int = 2;

/// A message: a card is waited for.
pub const TICKETAPI_INSERT_CARD: c_int = 1;
/// A message: the PIN is to be entered on the reader's own keys.
pub const TICKETAPI_PIN_ON_READER: c_int = 2;

/// Room for a PIN and its NUL.
const PIN_ROOM: usize = 256;

/// What there is to say to a user who is asked for a PIN. Valid during the call it is given to.
#[repr(C)]
#[derive(Debug)]
pub struct TicketApiPinRequest {
    /// Which card, UTF-8.
    pub card: *const c_char,
    /// The user's id; NULL where the card tells it only with the PIN.
    pub uid: *const c_char,
    /// How often the PIN may still be tried: 1 is the last try; -1 where the card does not tell,
    /// which does not mean that all tries are left.
    pub tries_left: c_int,
    /// 1 when a wrong PIN was entered before, as far as the card tells, else 0.
    pub tries_low: c_int,
    /// The shortest PIN the card accepts, in bytes.
    pub shortest: c_uint,
    /// The longest PIN the card accepts, in bytes.
    pub longest: c_uint,
    /// Why it is asked again: TICKETAPI_PIN_FIRST, TICKETAPI_PIN_WRONG or TICKETAPI_PIN_LENGTH.
    pub problem: c_int,
}

/// A role of the user, UTF-8, none of them NULL. Valid during the call it is given to.
#[repr(C)]
#[derive(Debug)]
pub struct TicketApiRole {
    /// Id of the role profile.
    pub id: *const c_char,
    /// Code of the organisation; "" where the server gives none.
    pub organisation_code: *const c_char,
    /// Name of the organisation.
    pub organisation: *const c_char,
    /// Job role type, such as "Admin & Clerical".
    pub role_type: *const c_char,
    /// Job role sub-type, such as "Admin".
    pub sub_type: *const c_char,
    /// Name of the job role, such as "Registration Authority Agent".
    pub name: *const c_char,
}

/// Functions of the program that ask the user; for each that is NULL, the user is asked as the
/// setting `prompter` says.
///
/// They are called during a login, on the thread that logs in, and may take as long as the user
/// does. They must not call the library, but for ticketapi_cancel, and must return by themselves:
/// no longjmp, no C++ exception. When another thread calls ticketapi_cancel, the program has to make
/// them return. An answer that cannot be used (a PIN that is not UTF-8, an index that is none) fails the
/// login with TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE. Where the agent logs in, they are not called.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TicketApiPrompter {
    /// Asks for the PIN: writes it with a NUL into `pin`, which has room for `size` bytes and is
    /// wiped after, and returns TICKETAPI_ANSWERED; or returns TICKETAPI_CANCELLED. Called again after a
    /// wrong PIN, until the user gives up or the card locks.
    pub pin: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            request: *const TicketApiPinRequest,
            pin: *mut c_char,
            size: c_uint,
        ) -> c_int,
    >,
    /// Asks whether to use the last try, before the PIN is asked for: TICKETAPI_ANSWERED is a clear
    /// yes. A wrong PIN would lock the card.
    pub last_try: Option<unsafe extern "C" fn(user_data: *mut c_void, request: *const TicketApiPinRequest) -> c_int>,
    /// Asks which role to take, of two or more: writes its index into `chosen` and returns
    /// TICKETAPI_ANSWERED; or returns TICKETAPI_CANCELLED.
    pub role: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            roles: *const TicketApiRole,
            count: c_uint,
            chosen: *mut c_uint,
        ) -> c_int,
    >,
    /// Tells the user something and returns at once: TICKETAPI_INSERT_CARD or TICKETAPI_PIN_ON_READER,
    /// and the same in English.
    pub message: Option<unsafe extern "C" fn(user_data: *mut c_void, message: c_int, text: *const c_char)>,
}

/// The host's functions, and what they are given.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    functions: TicketApiPrompter,
    user_data: *mut c_void,
}

// SAFETY: the pointer is only handed back to the host, which was told that any thread may log in.
unsafe impl Send for Callbacks {}

impl Default for Callbacks {
    fn default() -> Self {
        let functions = TicketApiPrompter { pin: None, last_try: None, role: None, message: None };
        Self { functions, user_data: ptr::null_mut() }
    }
}

impl Callbacks {
    /// # Safety
    ///
    /// The functions follow their description, and may be called with `user_data` from any thread.
    pub(crate) unsafe fn new(functions: TicketApiPrompter, user_data: *mut c_void) -> Self {
        Self { functions, user_data }
    }
}

/// Who of the host asks the user.
#[derive(Clone)]
pub(crate) enum Asker {
    C(Callbacks),
    Java(Arc<JavaPrompter>),
}

impl Default for Asker {
    fn default() -> Self {
        Self::C(Callbacks::default())
    }
}

/// Has the host ask, and as the settings say for what the host has no function.
pub(crate) struct HostPrompter {
    system: SystemPrompter,
    /// For prompts that can be left while nobody answers.
    timeout: Option<Duration>,
    asker: &'static Mutex<Asker>,
}

impl HostPrompter {
    pub(crate) fn new(config: &Config, asker: &'static Mutex<Asker>) -> Self {
        let timeout = Some(config.prompt_timeout).filter(|timeout| !timeout.is_zero());
        Self { system: SystemPrompter::new(config), timeout, asker }
    }

    fn asker(&self) -> Asker {
        self.asker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Prompter for HostPrompter {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let Callbacks { functions, user_data } = match self.asker() {
            Asker::C(callbacks) => callbacks,
            Asker::Java(java) => return java.pin(request, self.timeout, cancel),
        };
        let Some(function) = functions.pin else { return self.system.pin(request, cancel) };
        let mut typed = Zeroizing::new([0_u8; PIN_ROOM]);
        let request = CPinRequest::new(request);
        ask(Stage::Pin, || {
            // SAFETY: the contract of `Callbacks::new`; what is pointed to lives until it returns.
            unsafe { function(user_data, &request.as_c(), typed.as_mut_ptr().cast(), PIN_ROOM as c_uint) }
        })?;
        let typed = typed.split(|&byte| byte == 0).next().and_then(|typed| std::str::from_utf8(typed).ok());
        let typed = typed
            .ok_or_else(|| Error::new(ErrorKind::NoPrompter, Stage::Pin, "the program gave a PIN that is not text"))?;
        Ok(Pin::new(typed.to_owned()))
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        let Callbacks { functions, user_data } = match self.asker() {
            Asker::C(callbacks) => callbacks,
            Asker::Java(java) => return java.use_last_try(request, self.timeout, cancel),
        };
        let Some(function) = functions.last_try else { return self.system.use_last_try(request, cancel) };
        let request = CPinRequest::new(request);
        // SAFETY: as in `pin`.
        let answer = ask(Stage::Pin, || unsafe { function(user_data, &request.as_c()) });
        match answer {
            Ok(()) => Ok(true),
            Err(error) if *error.kind() == ErrorKind::Cancelled => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        let Callbacks { functions, user_data } = match self.asker() {
            Asker::C(callbacks) => callbacks,
            Asker::Java(java) => return java.role(roles, self.timeout, cancel),
        };
        let Some(function) = functions.role else { return self.system.role(roles, cancel) };
        let texts: Vec<_> = roles.iter().map(CRole::new).collect();
        let shown: Vec<_> = texts.iter().map(CRole::as_c).collect();
        let mut chosen = c_uint::MAX;
        // SAFETY: as in `pin`.
        ask(Stage::RoleSelection, || unsafe {
            function(user_data, shown.as_ptr(), shown.len() as c_uint, &raw mut chosen)
        })?;
        if (chosen as usize) < roles.len() {
            Ok(chosen as usize)
        } else {
            let detail = "the program answered the question for the role without choosing one";
            Err(Error::new(ErrorKind::NoPrompter, Stage::RoleSelection, detail))
        }
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Notice {
        let told = match self.asker() {
            Asker::C(callbacks) => callbacks.tell(TICKETAPI_PIN_ON_READER, &text::enter_pin_on_reader(request)),
            Asker::Java(java) => Some(java.enter_pin_on_reader()),
        };
        told.unwrap_or_else(|| self.system.enter_pin_on_reader(request, cancel))
    }

    fn insert_card(&self, absence: &Absence, cancel: &CancelToken) -> Notice {
        let told = match self.asker() {
            Asker::C(callbacks) => callbacks.tell(TICKETAPI_INSERT_CARD, &text::insert_card(absence)),
            Asker::Java(java) => Some(java.insert_card(absence)),
        };
        told.unwrap_or_else(|| self.system.insert_card(absence, cancel))
    }
}

impl Callbacks {
    /// `None` where the host has no function for messages.
    fn tell(self, message: c_int, text: &str) -> Option<Notice> {
        let Self { functions, user_data } = self;
        let function = functions.message?;
        let text = c_text(text);
        // SAFETY: the contract of `Callbacks::new`; the text lives until it returns.
        unsafe { function(user_data, message, text.as_ptr()) };
        Some(Notice::default())
    }
}

/// Calls a function of the host and reads its answer.
fn ask(stage: Stage, question: impl FnOnce() -> c_int) -> Result<()> {
    let before = forks();
    let answer = question();
    // A child that was forked in there has come back here: the login is its parent's.
    if answer == TICKETAPI_ANSWERED && forks() == before { Ok(()) } else { Err(Error::cancelled(stage)) }
}

/// `text` for C, up to the first NUL.
fn c_text(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

struct CPinRequest<'a> {
    request: &'a PinRequest<'a>,
    card: CString,
    uid: Option<CString>,
}

impl<'a> CPinRequest<'a> {
    fn new(request: &'a PinRequest<'a>) -> Self {
        Self { request, card: c_text(request.label), uid: request.uid.map(c_text) }
    }

    fn as_c(&self) -> TicketApiPinRequest {
        let status = &self.request.status;
        TicketApiPinRequest {
            card: self.card.as_ptr(),
            uid: self.uid.as_ref().map_or(ptr::null(), |uid| uid.as_ptr()),
            tries_left: tries_left(self.request),
            tries_low: c_int::from(status.tries != PinTries::Unknown),
            shortest: status.min_len.max(1) as c_uint,
            longest: status.max_len as c_uint,
            problem: problem(self.request),
        }
    }
}

/// How often the PIN may still be tried; -1 where the card does not tell.
pub(crate) fn tries_left(request: &PinRequest<'_>) -> c_int {
    request.tries_left().map_or(-1, c_int::from)
}

/// Why the PIN is asked for again, as one of `TICKETAPI_PIN_…`.
pub(crate) fn problem(request: &PinRequest<'_>) -> c_int {
    match request.problem {
        None => TICKETAPI_PIN_FIRST,
        Some(PinProblem::Incorrect { .. }) => TICKETAPI_PIN_WRONG,
        Some(PinProblem::WrongLength) => TICKETAPI_PIN_LENGTH,
    }
}

struct CRole([CString; 6]);

impl CRole {
    fn new(role: &Role) -> Self {
        let Role { id, organisation_code, organisation, role_type, sub_type, name } = role;
        Self([id, organisation_code, organisation, role_type, sub_type, name].map(|text| c_text(text)))
    }

    fn as_c(&self) -> TicketApiRole {
        let [id, organisation_code, organisation, role_type, sub_type, name] =
            self.0.each_ref().map(|text| text.as_ptr());
        TicketApiRole { id, organisation_code, organisation, role_type, sub_type, name }
    }
}
