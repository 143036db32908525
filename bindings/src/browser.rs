//! Pages of identity services, shown by the program.

#![expect(clippy::missing_safety_doc, reason = "the docs are the header's, which states the contract once")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, Opened, SystemBrowser};
use ticketapi::{Config, Error, ErrorKind, Result, Stage};

use crate::boundary::export;
use crate::process::Process;
use crate::prompter::{TICKETAPI_ANSWERED, Wait};

/// What the program shows pages with.
pub(crate) trait ProgramBrowser: Send + Sync {
    /// As [`Browser::open`].
    fn open(self: Arc<Self>, page: &LoginPage<'_>, wait: Wait<'_>) -> Result<Opened>;
}

/// Where a process keeps it; `None` if the settings choose.
pub(crate) type SetBrowser = Mutex<Option<Arc<dyn ProgramBrowser>>>;

/// Returns what the program has set.
pub(crate) fn set_browser(place: &SetBrowser) -> Option<Arc<dyn ProgramBrowser>> {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The program's function, and its data.
struct OpenPage {
    function: unsafe extern "C" fn(user_data: *mut c_void, address: *const c_char) -> c_int,
    user_data: *mut c_void,
}

// SAFETY: the header asks the program for a function that may be called on any thread.
#[expect(unsafe_code, reason = "the program's data crosses threads")]
unsafe impl Send for OpenPage {}
// SAFETY: as above; nothing here changes.
#[expect(unsafe_code, reason = "the program's data crosses threads")]
unsafe impl Sync for OpenPage {}

impl ProgramBrowser for OpenPage {
    fn open(self: Arc<Self>, page: &LoginPage<'_>, _: Wait<'_>) -> Result<Opened> {
        // Addresses have no NUL.
        let address = CString::new(page.address).unwrap_or_default();
        // SAFETY: the header asks the program for such a function; the text lives until it returns.
        if unsafe { (self.function)(self.user_data, address.as_ptr()) } == TICKETAPI_ANSWERED {
            return Ok(Opened::default());
        }
        let detail = "the program did not show the login page";
        Err(Error::new(ErrorKind::Cancelled, Stage::Browser, detail))
    }
}

/// Opens pages with what the program has set, else as the settings say.
pub(crate) struct HostBrowser {
    program: &'static SetBrowser,
    timeout: Option<Duration>,
    system: SystemBrowser,
}

impl HostBrowser {
    pub(crate) fn new(config: &Config, program: &'static SetBrowser) -> Self {
        let timeout = Some(config.prompt_timeout).filter(|timeout| !timeout.is_zero());
        Self { program, timeout, system: SystemBrowser::new(config.browser.clone()) }
    }
}

impl Browser for HostBrowser {
    fn open(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Result<Opened> {
        match set_browser(self.program) {
            Some(program) => program.open(page, Wait { timeout: self.timeout, cancel }),
            None => self.system.open(page, cancel),
        }
    }
}

/// Shows the pages on which users log in, at services other than the SSB, with the function `open_page` from now on,
/// such as in a window of the program. It gets `user_data` and the page's address, must return without waiting for
/// the user, and returns TICKETAPI_ANSWERED, or TICKETAPI_CANCELLED to end the login. It is called on the thread that
/// logs in. If the user closes the window, call ticketapi_cancel; TICKETAPI_BROWSER_WAIT_OVER tells the function
/// `message` of the program's prompter when the page is no longer needed. NULL restores the browser of the
/// configuration. The function and `user_data` must stay valid until they are replaced.
///
/// Codes (TcktApi_getLastError(0)): TCK_API_ERR_SERVER_BUSY (a login is in progress),
/// TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_set_browser(
    open_page: Option<unsafe extern "C" fn(user_data: *mut c_void, address: *const c_char) -> c_int>,
    user_data: *mut c_void,
) -> c_int {
    export(0, || {
        let browser = open_page.map(|function| Arc::new(OpenPage { function, user_data }) as Arc<dyn ProgramBrowser>);
        Process::this().set_browser(browser)
    })
}
