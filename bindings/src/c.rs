//! The Ticket API, under the names that its clients use.

#![expect(clippy::missing_safety_doc, reason = "the docs are the header's, which states the contract once")]

use std::borrow::Cow;
use std::ffi::{c_char, c_int, c_long, c_uint};

use crate::boundary::{
    Outcome, Place, TextOut, detail, export, export_question, export_quietly, export_value, last_error, test_panic,
};
use crate::process::Process;
use crate::status::{Failure, TCK_API_ERR_INTERNAL_ERROR, TCK_API_ERR_INVALID_PARAMETER, words};

#[expect(non_camel_case_types, reason = "it is called so in C")]
/// A handle: 1 to 2147483647, so that it also fits the `int` of .NET clients. 0 is not a handle.
pub type TCK_API_INSTANCE = c_long;

/// For GetGAVersion: the version of this interface.
pub const GATICKET_VERSION_API: c_int = 1;
/// For GetGAVersion: the version of the ticket engine.
pub const GATICKET_VERSION_ENGINE: c_int = 2;

const API_VERSION: c_uint = version("1", "0", "0");
const ENGINE_VERSION: c_uint =
    version(env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH"));

/// Creates a handle. The first call in a process reads the configuration. All handles share one session.
///
/// Returns the handle; release it with TcktApi_Finalize. Returns 0 on failure; then
/// TcktApi_getLastError(0) returns the reason: TCK_API_ERR_LOAD_RES_FAILED,
/// TCK_API_ERR_RESOURCE_ALLOCATION_FAILED (65,536 handles exist), TCK_API_ERR_INTERNAL_ERROR.
///
/// Reads the configuration file; starts no thread, does not prompt, uses neither card nor network.
#[unsafe(no_mangle)]
pub extern "C" fn TcktApi_Initialize() -> TCK_API_INSTANCE {
    export_value(0, 0, || {
        test_panic(Place::Body);
        Process::this().open()
    })
}

/// Returns the version of `component`, GATICKET_VERSION_API or GATICKET_VERSION_ENGINE, as
/// 0xMMmmpppp (major, minor, patch); 0 on failure. For the API, `instance` may be 0.
///
/// Codes: TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE,
/// TCK_API_ERR_INVALID_PARAMETER (no such component).
#[unsafe(no_mangle)]
pub extern "C" fn TcktApi_GetGAVersion(instance: TCK_API_INSTANCE, component: c_int) -> c_uint {
    export_question(instance, || {
        if instance != 0 || component == GATICKET_VERSION_ENGINE {
            Process::engine(instance)?;
        }
        test_panic(Place::Body);
        match component {
            GATICKET_VERSION_API => Ok(API_VERSION),
            GATICKET_VERSION_ENGINE => Ok(ENGINE_VERSION),
            _ => Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER)),
        }
    })
    .unwrap_or(0)
}

/// Returns the session's ticket. Without a session it logs the user in.
///
/// Blocks while the user inserts a card, enters the PIN and chooses a role. Calls of other threads
/// during a login wait for that login and share its outcome. A locked session is unlocked by its user
/// and keeps its ticket.
///
/// Writes the ticket to `buffer`, which holds `size` bytes, and its length without the NUL to `used`,
/// unless `used` is NULL. After TCK_API_ERR_BUFFER_TOO_SMALL call again with a larger buffer: the user
/// is not prompted again. ticketapi_ticket_size and the code's description return the size.
///
/// Codes: TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE,
/// TCK_API_ERR_INVALID_PARAMETER (`buffer` is NULL or `size` is 0; nobody is prompted),
/// TCK_API_ERR_BUFFER_TOO_SMALL, TCK_API_ERR_SERVER_BUSY (called from a prompt),
/// TCK_API_ERR_SERVER_COMM_FAILED, TCK_API_ERR_RESOURCE_ALLOCATION_FAILED (no thread, process or file
/// descriptor is left), TCK_API_ERR_INTERNAL_ERROR, and every code of the groups
/// TCK_ERR_GRP_CARD_DEVICE, TCK_ERR_GRP_AUTHENTICATION and TCK_ERR_GRP_CONFIG that is not marked
/// as kept for old clients.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TcktApi_getTicket(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        let engine = Process::engine(instance)?;
        // SAFETY: the header asks this of the caller.
        let out = unsafe { TextOut::new(buffer, size, used) }?;
        if let Some(written) = engine.with_ticket_at_hand(|ticket| out.write_ticket(ticket)) {
            return written;
        }
        let ticket = Process::call(instance)?.engine.get_ticket()?;
        out.write_ticket(ticket.expose().as_bytes())
    })
}

/// Returns the session's ticket as TcktApi_getTicket does, but never logs in: it does not prompt, uses
/// neither card nor network, and does not wait for a login in progress.
///
/// Codes: TCK_API_ERR_TICKET_NOT_AVAILABLE (no session, a locked session, or a required agent that cannot
/// be used), TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE,
/// TCK_API_ERR_INVALID_PARAMETER, TCK_API_ERR_BUFFER_TOO_SMALL, TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TcktApi_getTicketNoAuth(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        let engine = Process::engine(instance)?;
        // SAFETY: the header asks this of the caller.
        let out = unsafe { TextOut::new(buffer, size, used) }?;
        // In a box, because the result is passed on several times, which takes longer the larger it is.
        let written = engine.read_ticket(|ticket| out.write_ticket(ticket).map_err(Box::new));
        written.map_err(Failure::no_ticket)?.map_err(|failure| *failure)
    })
}

/// Logs the user in, whether or not there is a session, and returns the new ticket.
///
/// If the login fails, an existing session continues. After TCK_API_ERR_BUFFER_TOO_SMALL the next call
/// of the same thread on `instance` returns that new ticket without another login.
///
/// Codes: those of TcktApi_getTicket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TcktApi_getNewTicket(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        let call = Process::call(instance)?;
        // SAFETY: the header asks this of the caller.
        let out = unsafe { TextOut::new(buffer, size, used) }?;
        call.new_ticket(|ticket| out.write_ticket(ticket))
    })
}

/// Ends the session for every handle of the process, as removing the card does, and cancels a login in
/// progress. Succeeds if there is no session.
///
/// Blocks while the server is informed. If the server cannot be reached, the session still ends here, and
/// the code is TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, TCK_API_ERR_SERVER_COMM_FAILED or
/// TCK_API_ERR_AUTHDATA_SYNTAX_ERROR.
///
/// Other codes: TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE,
/// TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub extern "C" fn TcktApi_destroyTicket(instance: TCK_API_INSTANCE) -> c_int {
    export(instance, || Ok(Process::call(instance)?.engine.destroy_ticket()?))
}

/// Returns the code of the calling thread's last call on `instance`; 0 after a success. With `instance` 0:
/// of TcktApi_Initialize and of the functions without a handle. This function,
/// TcktApi_getErrorDescription, TcktApi_GetGAVersion and GetDllVersion do not change it when they succeed.
///
/// For an invalid handle without a call since: TCK_API_ERR_NOT_INITIALIZED or
/// TCK_API_ERR_INVALID_INSTANCE_HANDLE. Each thread keeps the failures of 64 handles.
#[unsafe(no_mangle)]
pub extern "C" fn TcktApi_getLastError(instance: TCK_API_INSTANCE) -> c_uint {
    export_quietly(TCK_API_ERR_INTERNAL_ERROR, || {
        test_panic(Place::Body);
        Ok(last_error(instance).unwrap_or_else(|| match instance {
            0 => 0,
            _ => Process::engine(instance).err().map_or(0, |failure| failure.code),
        }))
    })
}

/// Returns the description of `code`, in English, for the user or a log; never a PIN or a ticket. For the
/// calling thread's last error on `instance` it says what happened, such as which setting is wrong, and what
/// the user can do, also after a call whose buffer was too small for it. At most 1,023 bytes. `instance` may be 0.
///
/// Writes it to `buffer`, which holds `size` bytes, and its length without the NUL to `used`, unless
/// `used` is NULL. A buffer of 254 bytes or more is never too small: first what the user can do is left out, then
/// a part in the middle of what happened.
///
/// Codes: TCK_API_ERR_INVALID_PARAMETER (`buffer` is NULL, `size` is 0, or `code` is unknown),
/// TCK_API_ERR_BUFFER_TOO_SMALL, TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TcktApi_getErrorDescription(
    instance: TCK_API_INSTANCE,
    code: c_uint,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    let described = export_question(instance, || {
        let description = description(instance, code, (size as usize).saturating_sub(1))?;
        // SAFETY: the header asks this of the caller.
        unsafe { TextOut::new(buffer, size, used) }?.write_description(&description)
    });
    described.err().map_or(0, |failure| failure.code as c_int)
}

/// Between what happened and what the user can do.
const END: &str = ". ";

/// Returns the description of `code`; for the thread's last error on `instance`, with what happened, and with what the
/// user can do if that fits into `room` bytes.
pub(crate) fn description(instance: TCK_API_INSTANCE, code: c_uint, room: usize) -> Outcome<Cow<'static, str>> {
    test_panic(Place::Body);
    if instance != 0 {
        Process::engine(instance)?;
    }
    let words = words(code).ok_or_else(|| Failure::new(TCK_API_ERR_INVALID_PARAMETER))?;
    let Some((detail, remedy)) = detail(instance, code) else { return Ok(words.into()) };
    let mut description = format!("{words}: {detail}");
    let end = if description.ends_with(['.', '!', '?']) { " " } else { END };
    if !remedy.is_empty() && description.len() + end.len() + remedy.len() <= room {
        description = description + end + remedy;
    }
    Ok(description.into())
}

/// Releases the handle. The session continues; another thread's call on this handle completes.
/// Ignores an invalid handle.
///
/// With the last handle, the library's threads end. The call waits for that: a moment, half a second while
/// the server is still being informed of an ended session, at most two and a half seconds. If another
/// thread's call is in progress, that call does it at its end. The next TcktApi_Initialize applies what
/// happened to the session's card meanwhile, before it returns.
#[unsafe(no_mangle)]
pub extern "C" fn TcktApi_Finalize(instance: TCK_API_INSTANCE) {
    export(instance, || Process::close(instance));
}

/// Returns 1 if the environment shows a remote session (SSH, RDP, Citrix), else 0; 0 also if `instance`
/// is invalid.
///
/// Codes: TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn TcktApi_isTerminalServiceSession(instance: TCK_API_INSTANCE) -> c_int {
    export_value(instance, 0, || {
        Process::engine(instance)?;
        Ok(c_int::from(is_remote()))
    })
}

#[cfg(unix)]
fn is_remote() -> bool {
    /// Variables that sshd, xrdp and Citrix's Linux VDA set in their sessions.
    const REMOTE: &[&str] = &["SSH_CONNECTION", "XRDP_SESSION", "CITRIX_SESSION_ID"];
    REMOTE.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(windows)]
fn is_remote() -> bool {
    ticketapi_platform::module::is_remote_session()
}

/// Returns the library's version as 0xMMmmpppp (major, minor, patch).
#[unsafe(no_mangle)]
pub extern "C" fn GetDllVersion() -> c_uint {
    export_quietly(0, || {
        test_panic(Place::Body);
        Ok(ENGINE_VERSION)
    })
}

const fn version(major: &str, minor: &str, patch: &str) -> c_uint {
    number(major) << 24 | number(minor) << 16 | number(patch)
}

const fn number(digits: &str) -> c_uint {
    let mut value = 0;
    let mut rest = digits.as_bytes();
    while let [digit, tail @ ..] = rest {
        value = value * 10 + (*digit - b'0') as c_uint;
        rest = tail;
    }
    value
}

/// The names with an underscore, which clients look up.
macro_rules! with_underscore {
    ($($export:ident = $function:ident($($parameter:ident: $type:ty),*) $(-> $result:ty)?;)+) => { $(
        #[doc = concat!("As [`", stringify!($function), "`].")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $export($($parameter: $type),*) $(-> $result)? {
            #[allow(unused_unsafe, reason = "some functions take no pointers")]
            // SAFETY: the header requires the same of the caller for both names.
            unsafe { $function($($parameter),*) }
        }
    )+ };
}

with_underscore! {
    _TcktApi_Initialize = TcktApi_Initialize() -> TCK_API_INSTANCE;
    _TcktApi_GetGAVersion = TcktApi_GetGAVersion(instance: TCK_API_INSTANCE, component: c_int) -> c_uint;
    _TcktApi_getTicket = TcktApi_getTicket(
        instance: TCK_API_INSTANCE, buffer: *mut c_char, size: c_uint, used: *mut c_uint) -> c_int;
    _TcktApi_getTicketNoAuth = TcktApi_getTicketNoAuth(
        instance: TCK_API_INSTANCE, buffer: *mut c_char, size: c_uint, used: *mut c_uint) -> c_int;
    _TcktApi_getNewTicket = TcktApi_getNewTicket(
        instance: TCK_API_INSTANCE, buffer: *mut c_char, size: c_uint, used: *mut c_uint) -> c_int;
    _TcktApi_destroyTicket = TcktApi_destroyTicket(instance: TCK_API_INSTANCE) -> c_int;
    _TcktApi_getLastError = TcktApi_getLastError(instance: TCK_API_INSTANCE) -> c_uint;
    _TcktApi_getErrorDescription = TcktApi_getErrorDescription(
        instance: TCK_API_INSTANCE, code: c_uint, buffer: *mut c_char, size: c_uint, used: *mut c_uint) -> c_int;
    _TcktApi_Finalize = TcktApi_Finalize(instance: TCK_API_INSTANCE);
    _TcktApi_isTerminalServiceSession = TcktApi_isTerminalServiceSession(instance: TCK_API_INSTANCE) -> c_int;
    _GetDllVersion = GetDllVersion() -> c_uint;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::{DETAIL, OLD_BUFFER};

    #[test]
    fn a_description_fits_into_the_buffers_of_old_clients() {
        let remedies = crate::status::tests::KINDS.iter().map(|kind| kind.remedy().len());
        let remedy = END.len() + remedies.max().unwrap();
        for (code, words) in crate::status::WORDS {
            assert!(words.len() < OLD_BUFFER && words.len() + ": ".len() + DETAIL + remedy < 1024, "{code:#x}");
        }
    }

    #[test]
    fn a_version_has_its_parts_in_their_places() {
        assert_eq!(version("1", "23", "456"), 0x0117_01c8);
        assert_ne!(GetDllVersion(), 0);
    }
}
