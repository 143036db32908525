//! The program's own prompt functions.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::{Absence, PinTries};
use ticketapi::prompt::{LoginPage, Notice, PinProblem, PinRequest, Prompter, SystemPrompter, text};
use ticketapi::ssb::Role;
use ticketapi::{Config, Error, ErrorKind, Pin, Result, Stage};
use zeroize::Zeroizing;

use crate::boundary::forks;
use crate::browser::{SetBrowser, set_browser};

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
/// A message: the login continues in the browser, until TICKETAPI_BROWSER_WAIT_OVER. If the user gives up, call
/// ticketapi_cancel: a page that shows an error never ends the login.
pub const TICKETAPI_BROWSER_OPENED: c_int = 3;
/// A message: the login no longer waits for the browser.
pub const TICKETAPI_BROWSER_WAIT_OVER: c_int = 4;

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
    /// What the PIN is for, such as "sign 3 documents: ...", UTF-8; NULL for a login.
    pub purpose: *const c_char,
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
    /// Shows a message and returns at once: TICKETAPI_INSERT_CARD, TICKETAPI_PIN_ON_READER,
    /// TICKETAPI_BROWSER_OPENED or TICKETAPI_BROWSER_WAIT_OVER, and its text in English. Others may follow.
    pub message: Option<unsafe extern "C" fn(user_data: *mut c_void, message: c_int, text: *const c_char)>,
}

/// The program's functions and their data.
pub(crate) struct Callbacks {
    functions: TicketApiPrompter,
    user_data: *mut c_void,
}

// SAFETY: the pointer is only passed back to the host, whose functions may be called from any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above; nothing here changes.
unsafe impl Sync for Callbacks {}

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

/// The prompter that the program has set. A method returns `None` if the program leaves that prompt to the
/// library.
pub(crate) trait ProgramPrompter: Send + Sync {
    /// As [`Prompter::pin`].
    fn pin(&self, request: &PinRequest<'_>, wait: Wait<'_>) -> Option<Result<Pin>>;
    /// As [`Prompter::use_last_try`].
    fn use_last_try(&self, request: &PinRequest<'_>, wait: Wait<'_>) -> Option<Result<bool>>;
    /// As [`Prompter::role`].
    fn role(&self, roles: &[Role], wait: Wait<'_>) -> Option<Result<usize>>;
    /// As [`Prompter::enter_pin_on_reader`].
    fn enter_pin_on_reader(&self, request: &PinRequest<'_>) -> Option<Notice>;
    /// As [`Prompter::insert_card`].
    fn insert_card(self: Arc<Self>, absence: &Absence) -> Option<Notice>;
    /// As [`Prompter::browser_opened`].
    fn browser_opened(self: Arc<Self>) -> Option<Notice>;
}

/// When an unanswered prompt ends.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    /// `None` waits for ever.
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: &'a CancelToken,
}

/// Prompts with the program's prompter, or as the settings say if it has none.
pub(crate) struct HostPrompter {
    system: SystemPrompter,
    timeout: Option<Duration>,
    program: &'static Mutex<Arc<dyn ProgramPrompter>>,
    browser: &'static SetBrowser,
}

impl HostPrompter {
    pub(crate) fn new(
        config: &Config,
        program: &'static Mutex<Arc<dyn ProgramPrompter>>,
        browser: &'static SetBrowser,
    ) -> Self {
        let timeout = Some(config.prompt_timeout).filter(|timeout| !timeout.is_zero());
        Self { system: SystemPrompter::new(config), timeout, program, browser }
    }

    fn program(&self) -> Arc<dyn ProgramPrompter> {
        Arc::clone(&self.program.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait<'a>(&self, cancel: &'a CancelToken) -> Wait<'a> {
        Wait { timeout: self.timeout, cancel }
    }
}

impl Prompter for HostPrompter {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        self.program().pin(request, self.wait(cancel)).unwrap_or_else(|| self.system.pin(request, cancel))
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        let answer = self.program().use_last_try(request, self.wait(cancel));
        answer.unwrap_or_else(|| self.system.use_last_try(request, cancel))
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        self.program().role(roles, self.wait(cancel)).unwrap_or_else(|| self.system.role(roles, cancel))
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Notice {
        let shown = self.program().enter_pin_on_reader(request);
        shown.unwrap_or_else(|| self.system.enter_pin_on_reader(request, cancel))
    }

    fn insert_card(&self, absence: &Absence, cancel: &CancelToken) -> Notice {
        self.program().insert_card(absence).unwrap_or_else(|| self.system.insert_card(absence, cancel))
    }

    fn browser_opened(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Notice {
        self.program().browser_opened().unwrap_or_else(|| match set_browser(self.browser) {
            // The program shows the page itself.
            Some(_) => Notice::default(),
            None => self.system.browser_opened(page, cancel),
        })
    }
}

// The program's functions cannot see `Wait`: the program itself must end its prompts.
impl ProgramPrompter for Callbacks {
    fn pin(&self, request: &PinRequest<'_>, _: Wait<'_>) -> Option<Result<Pin>> {
        let function = self.functions.pin?;
        let mut typed = Zeroizing::new([0_u8; PIN_ROOM]);
        let request = CPinRequest::new(request);
        let answer = ask(Stage::Pin, || {
            // SAFETY: the contract of `Callbacks::new`; what is pointed to lives until it returns.
            unsafe { function(self.user_data, &request.as_c(), typed.as_mut_ptr().cast(), PIN_ROOM as c_uint) }
        });
        let pin = || {
            let typed = typed.split(|&byte| byte == 0).next().and_then(|typed| std::str::from_utf8(typed).ok());
            let no_text = || {
                Error::new(
                    ErrorKind::NoPrompter,
                    Stage::Pin,
                    "the program's prompter returned a PIN that is not valid text",
                )
            };
            Ok(Pin::new(typed.ok_or_else(no_text)?.to_owned()))
        };
        Some(answer.and_then(|()| pin()))
    }

    fn use_last_try(&self, request: &PinRequest<'_>, _: Wait<'_>) -> Option<Result<bool>> {
        let function = self.functions.last_try?;
        let request = CPinRequest::new(request);
        // SAFETY: as in `pin`.
        let answer = ask(Stage::Pin, || unsafe { function(self.user_data, &request.as_c()) });
        Some(match answer {
            Ok(()) => Ok(true),
            Err(error) if *error.kind() == ErrorKind::Cancelled => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn role(&self, roles: &[Role], _: Wait<'_>) -> Option<Result<usize>> {
        let function = self.functions.role?;
        let texts: Vec<_> = roles.iter().map(CRole::new).collect();
        let shown: Vec<_> = texts.iter().map(CRole::as_c).collect();
        let mut chosen = c_uint::MAX;
        let answer = ask(Stage::RoleSelection, || unsafe {
            // SAFETY: as in `pin`.
            function(self.user_data, shown.as_ptr(), shown.len() as c_uint, &raw mut chosen)
        });
        Some(answer.and_then(|()| {
            if (chosen as usize) < roles.len() {
                return Ok(chosen as usize);
            }
            let detail = "the program's prompter returned without choosing a role";
            Err(Error::new(ErrorKind::NoPrompter, Stage::RoleSelection, detail))
        }))
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>) -> Option<Notice> {
        self.show(TICKETAPI_PIN_ON_READER, &text::enter_pin_on_reader(request))
    }

    fn insert_card(self: Arc<Self>, absence: &Absence) -> Option<Notice> {
        self.show(TICKETAPI_INSERT_CARD, &text::insert_card(absence))
    }

    fn browser_opened(self: Arc<Self>) -> Option<Notice> {
        let _shown = self.show(TICKETAPI_BROWSER_OPENED, text::BROWSER_OPENED)?;
        Some(Notice::new(BrowserWait(self)))
    }
}

/// The message that a login waits for the browser.
struct BrowserWait(Arc<Callbacks>);

impl Drop for BrowserWait {
    fn drop(&mut self) {
        let _shown = self.0.show(TICKETAPI_BROWSER_WAIT_OVER, "The login no longer waits for the browser");
    }
}

impl Callbacks {
    /// Returns `None` if the program has no function for messages.
    fn show(&self, message: c_int, text: &str) -> Option<Notice> {
        let function = self.functions.message?;
        let text = c_text(text);
        // SAFETY: the contract of `Callbacks::new`; the text lives until it returns.
        unsafe { function(self.user_data, message, text.as_ptr()) };
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
    purpose: Option<CString>,
}

impl<'a> CPinRequest<'a> {
    fn new(request: &'a PinRequest<'a>) -> Self {
        Self {
            request,
            card: c_text(request.label),
            uid: request.uid.map(c_text),
            purpose: request.purpose.map(c_text),
        }
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
            purpose: self.purpose.as_ref().map_or(ptr::null(), |purpose| purpose.as_ptr()),
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
        Some(PinProblem::WrongLength) => TICKETAPI_PIN_LENGTH,
        Some(_) => TICKETAPI_PIN_WRONG,
    }
}

struct CRole([CString; 6]);

impl CRole {
    fn new(role: &Role) -> Self {
        let Role { id, organisation_code, organisation, role_type, sub_type, name, .. } = role;
        Self([id, organisation_code, organisation, role_type, sub_type, name].map(|text| c_text(text)))
    }

    fn as_c(&self) -> TicketApiRole {
        let [id, organisation_code, organisation, role_type, sub_type, name] =
            self.0.each_ref().map(|text| text.as_ptr());
        TicketApiRole { id, organisation_code, organisation, role_type, sub_type, name }
    }
}
