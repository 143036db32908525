//! The program's own prompt functions.

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
/// A prompt's answer: the user cancelled. Every other value means the same.
pub const TICKETAPI_CANCELLED: c_int = 1;

/// The PIN is asked for the first time.
pub const TICKETAPI_PIN_FIRST: c_int = 0;
/// The last PIN was wrong and cost a try.
pub const TICKETAPI_PIN_WRONG: c_int = 1;
/// The last PIN was too short or too long; the card was not used.
pub const TICKETAPI_PIN_LENGTH: c_int = 2;

/// A message: insert the card.
pub const TICKETAPI_INSERT_CARD: c_int = 1;
/// A message: enter the PIN on the reader's keys.
pub const TICKETAPI_PIN_ON_READER: c_int = 2;

/// Room for a PIN and its NUL.
const PIN_ROOM: usize = 256;

/// A request for a PIN. Valid during the call.
#[repr(C)]
#[derive(Debug)]
pub struct TicketApiPinRequest {
    /// The card's name, UTF-8.
    pub card: *const c_char,
    /// The user's id; NULL if the card shows it only after the PIN.
    pub uid: *const c_char,
    /// Tries left: 1 is the last try; -1 if the card does not report them, which does not mean that all
    /// tries are left.
    pub tries_left: c_int,
    /// 1 if the card reports that a wrong PIN was entered before, else 0.
    pub tries_low: c_int,
    /// The shortest PIN the card accepts, in bytes.
    pub shortest: c_uint,
    /// The longest PIN the card accepts, in bytes.
    pub longest: c_uint,
    /// Why the PIN is asked for: TICKETAPI_PIN_FIRST, TICKETAPI_PIN_WRONG or TICKETAPI_PIN_LENGTH.
    pub problem: c_int,
}

/// A role of the user, UTF-8; no field is NULL. Valid during the call.
#[repr(C)]
#[derive(Debug)]
pub struct TicketApiRole {
    /// Id of the role profile.
    pub id: *const c_char,
    /// Code of the organisation; "" if the server gives none.
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

/// The program's prompt functions. For each that is NULL, the library prompts as the setting `prompter`
/// says.
///
/// They run during a login, on the thread that logs in, and may take as long as the user does. They
/// must not call the library, except ticketapi_cancel, and must return normally: no longjmp, no C++
/// exception. When another thread calls ticketapi_cancel, the program must make them return. An unusable
/// answer (a PIN that is not UTF-8, an index out of range) fails the login with
/// TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE. They are not called when the agent logs in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TicketApiPrompter {
    /// Asks for the PIN: writes it with a NUL to `pin`, which holds `size` bytes and is wiped afterwards, and
    /// returns TICKETAPI_ANSWERED; or returns TICKETAPI_CANCELLED. Called again after a wrong PIN, until the
    /// user gives up or the card locks.
    pub pin: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            request: *const TicketApiPinRequest,
            pin: *mut c_char,
            size: c_uint,
        ) -> c_int,
    >,
    /// Asks whether to use the last try, before the PIN prompt. TICKETAPI_ANSWERED means a clear yes. A wrong
    /// PIN would lock the card.
    pub last_try: Option<unsafe extern "C" fn(user_data: *mut c_void, request: *const TicketApiPinRequest) -> c_int>,
    /// Asks which of two or more roles to use: writes its index to `chosen` and returns
    /// TICKETAPI_ANSWERED; or returns TICKETAPI_CANCELLED.
    pub role: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            roles: *const TicketApiRole,
            count: c_uint,
            chosen: *mut c_uint,
        ) -> c_int,
    >,
    /// Shows a message and returns at once: TICKETAPI_INSERT_CARD or TICKETAPI_PIN_ON_READER, and its text
    /// in English.
    pub message: Option<unsafe extern "C" fn(user_data: *mut c_void, message: c_int, text: *const c_char)>,
}

/// The program's functions and their data.
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
    /// The functions follow their description and may be called with `user_data` from any thread.
    pub(crate) unsafe fn new(functions: TicketApiPrompter, user_data: *mut c_void) -> Self {
        Self { functions, user_data }
    }
}

/// Which of the program's prompters is set.
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

/// Prompts with the program's functions, and as the settings say for those it left out.
pub(crate) struct HostPrompter {
    system: SystemPrompter,
    /// For prompts that can be abandoned while nobody answers.
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
    /// Returns `None` if the program has no function for messages.
    fn tell(self, message: c_int, text: &str) -> Option<Notice> {
        let Self { functions, user_data } = self;
        let function = functions.message?;
        let text = c_text(text);
        // SAFETY: the contract of `Callbacks::new`; the text lives until it returns.
        unsafe { function(user_data, message, text.as_ptr()) };
        Some(Notice::default())
    }
}

/// Calls a function of the program and reads its answer.
fn ask(stage: Stage, question: impl FnOnce() -> c_int) -> Result<()> {
    let before = forks();
    let answer = question();
    // A child forked in the prompt has returned here: the login is its parent's.
    if answer == TICKETAPI_ANSWERED && forks() == before { Ok(()) } else { Err(Error::cancelled(stage)) }
}

/// Converts `text` for C, up to the first NUL.
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

/// Returns the tries left; -1 if the card does not report them.
pub(crate) fn tries_left(request: &PinRequest<'_>) -> c_int {
    request.tries_left().map_or(-1, c_int::from)
}

/// Returns why the PIN is asked for, as one of `TICKETAPI_PIN_…`.
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
