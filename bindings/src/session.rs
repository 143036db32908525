//! Beyond the old API: the logged-in user, roles and contexts, settings, prompts of the program, and cancelling.

#![expect(clippy::missing_safety_doc, reason = "the docs are the header's, which states the contract once")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Arc;

use ticketapi::session::{Context, Contexts, Session};

use crate::boundary::{Outcome, TextOut, export, text_in, write_if_wanted};
use crate::c::TCK_API_INSTANCE;
use crate::process::Process;
use crate::prompter::{Callbacks, TicketApiPrompter};
use crate::status::{
    Failure, TCK_API_ERR_INTERNAL_ERROR, TCK_API_ERR_INVALID_PARAMETER, TCK_API_ERR_RESOURCE_NOT_AVAILABLE,
};

/// For ticketapi_role: the role as one line, for display.
pub const TICKETAPI_ROLE_LINE: c_int = 0;
/// For ticketapi_role: id of the role profile.
pub const TICKETAPI_ROLE_ID: c_int = 1;
/// For ticketapi_role: code of the organisation; "" if the server gives none.
pub const TICKETAPI_ROLE_ORGANISATION_CODE: c_int = 2;
/// For ticketapi_role: name of the organisation.
pub const TICKETAPI_ROLE_ORGANISATION: c_int = 3;
/// For ticketapi_role: job role type.
pub const TICKETAPI_ROLE_TYPE: c_int = 4;
/// For ticketapi_role: job role sub-type.
pub const TICKETAPI_ROLE_SUB_TYPE: c_int = 5;
/// For ticketapi_role: name of the job role.
pub const TICKETAPI_ROLE_NAME: c_int = 6;

/// A context for ticketapi_switch_context: ids, NULL for what the context does not have.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TicketApiContext {
    /// Id of the organisation.
    pub organization_id: *const c_char,
    /// Id of the care team.
    pub care_team_id: *const c_char,
    /// Id of the patient. Needs a care team.
    pub patient_id: *const c_char,
    /// Id of the episode of care. Needs a care team.
    pub episode_of_care_id: *const c_char,
}

/// Sets `key` to `value`, as in the configuration file, for the library in this process. It overrides the
/// file and the environment. Call it before the first TcktApi_Initialize, or when all handles have been
/// released and the session has ended. Both texts are copied.
///
/// Codes (TcktApi_getLastError(0)): TCK_API_ERR_LOAD_RES_FAILED (unknown key or bad value;
/// TcktApi_getErrorDescription says more), TCK_API_ERR_SERVER_BUSY (too late),
/// TCK_API_ERR_INVALID_PARAMETER (NULL, or not UTF-8), TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_set(key: *const c_char, value: *const c_char) -> c_int {
    export(0, || {
        // SAFETY: the header asks this of the caller.
        let (key, value) = unsafe { (text_in(key)?, text_in(value)?) };
        Process::this().set(key, value)
    })
}

/// Uses the functions of `prompter` to ask the user from now on; each gets `user_data`. The struct is
/// copied. NULL restores the prompts of the configuration. The functions and `user_data` must stay valid
/// until they are replaced.
///
/// Codes (TcktApi_getLastError(0)): TCK_API_ERR_SERVER_BUSY (a login is in progress),
/// TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_set_prompter(prompter: *const TicketApiPrompter, user_data: *mut c_void) -> c_int {
    export(0, || {
        // SAFETY: the header asks this of the caller: NULL, or a struct to read, with such functions.
        let callbacks = unsafe {
            prompter.as_ref().map_or_else(Callbacks::default, |functions| Callbacks::new(*functions, user_data))
        };
        Process::this().set_prompter(Arc::new(callbacks))
    })
}

/// Cancels a login in progress: it, and the calls that wait for it, end with TCK_API_ERR_USER_ABORT. A
/// live session continues. Does not block. Call it from another thread than the one that logs in.
///
/// Codes: TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE, TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub extern "C" fn ticketapi_cancel(instance: TCK_API_INSTANCE) -> c_int {
    export(instance, || {
        Process::engine(instance)?.cancel_login();
        Ok(())
    })
}

/// Writes the size of a buffer for the ticket to `size`: its length and the NUL. The SSB's tickets have 60
/// bytes, those of OpenID providers up to 4,096.
///
/// Codes: those of TcktApi_getTicketNoAuth; TCK_API_ERR_INVALID_PARAMETER if `size` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_ticket_size(instance: TCK_API_INSTANCE, size: *mut c_uint) -> c_int {
    export(instance, || {
        let length = Process::engine(instance)?.read_ticket(<[u8]>::len).map_err(Failure::no_ticket)?;
        // SAFETY: the header asks this of the caller.
        unsafe { number_out(size, length + 1) }
    })
}

/// Returns the logged-in user's name as the server shows it; "" if it gives none.
/// Buffers and codes as for TcktApi_getTicketNoAuth.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_user_name(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (session, out) = (session(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        out.write(session.user().name.as_bytes())
    })
}

/// Returns the logged-in user's id: 12 digits. Buffers and codes as for
/// TcktApi_getTicketNoAuth.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_user_uid(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (session, out) = (session(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        out.write(session.user().uid.as_bytes())
    })
}

/// Writes the number of the user's roles to `count`.
///
/// Codes: those of TcktApi_getTicketNoAuth; TCK_API_ERR_INVALID_PARAMETER if `count` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_role_count(instance: TCK_API_INSTANCE, count: *mut c_uint) -> c_int {
    export(instance, || {
        let session = session(instance)?;
        // SAFETY: the header asks this of the caller.
        unsafe { number_out(count, session.roles().len()) }
    })
}

/// Returns one `field` (TICKETAPI_ROLE_LINE and those after it) of the user's role number `index`,
/// starting at 0. Buffers as for TcktApi_getTicketNoAuth.
///
/// Codes: those of TcktApi_getTicketNoAuth; TCK_API_ERR_INVALID_PARAMETER also for another
/// `field`, TCK_API_ERR_RESOURCE_NOT_AVAILABLE if there is no such role.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_role(
    instance: TCK_API_INSTANCE,
    index: c_uint,
    field: c_int,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (session, out) = (session(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        let role =
            session.roles().get(index as usize).ok_or_else(|| Failure::new(TCK_API_ERR_RESOURCE_NOT_AVAILABLE))?;
        let text = match field {
            TICKETAPI_ROLE_LINE => &role.to_string(),
            TICKETAPI_ROLE_ID => &role.id,
            TICKETAPI_ROLE_ORGANISATION_CODE => &role.organisation_code,
            TICKETAPI_ROLE_ORGANISATION => &role.organisation,
            TICKETAPI_ROLE_TYPE => &role.role_type,
            TICKETAPI_ROLE_SUB_TYPE => &role.sub_type,
            TICKETAPI_ROLE_NAME => &role.name,
            _ => return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER)),
        };
        out.write(text.as_bytes())
    })
}

/// Writes the number of the chosen role to `index`, for use with ticketapi_role.
///
/// Codes: those of TcktApi_getTicketNoAuth; TCK_API_ERR_INVALID_PARAMETER if `index` is NULL,
/// TCK_API_ERR_RESOURCE_NOT_AVAILABLE for a user without roles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_chosen_role(instance: TCK_API_INSTANCE, index: *mut c_uint) -> c_int {
    export(instance, || {
        let session = session(instance)?;
        let chosen = session.role().and_then(|chosen| session.roles().iter().position(|role| role.id == chosen.id));
        // SAFETY: the header asks this of the caller.
        unsafe { number_out(index, chosen.ok_or_else(|| Failure::new(TCK_API_ERR_RESOURCE_NOT_AVAILABLE))?) }
    })
}

/// Has the user choose another role of theirs. The session continues with the new ticket, which every program
/// of the session gets from then on.
///
/// Blocks for as long as the user takes, as TcktApi_getTicket does. If it fails, the session continues with its
/// role and its ticket; so it does if another user answers (TCK_API_ERR_USER_NOT_VALID).
///
/// Codes: TCK_API_ERR_NOT_IMPLEMENTED (the service does not change roles, such as the SSB: log in again),
/// TCK_API_ERR_TICKET_NOT_AVAILABLE (no session, or a locked one), and those of TcktApi_getTicket.
#[unsafe(no_mangle)]
pub extern "C" fn ticketapi_change_role(instance: TCK_API_INSTANCE) -> c_int {
    export(instance, || {
        Process::call(instance)?.engine.change_role()?;
        Ok(())
    })
}

/// Switches the session to `context`. It continues with the ticket of that context, which every program of the
/// session gets from then on. Does not prompt; blocks until the service answers.
///
/// If it fails, the session continues with its context and its ticket.
///
/// Codes: TCK_API_ERR_INVALID_PARAMETER (`context` is NULL, an id is not one, or a patient or an episode of
/// care comes without a care team; nothing is sent), TCK_API_ERR_NOT_IMPLEMENTED (the service has no
/// contexts), TCK_API_ERR_AUTHENTICATION_FAILED (it refuses this one), TCK_API_ERR_TICKET_NOT_AVAILABLE,
/// TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, TCK_API_ERR_SERVER_COMM_FAILED, TCK_API_ERR_AUTHDATA_SYNTAX_ERROR,
/// TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE, TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_switch_context(
    instance: TCK_API_INSTANCE,
    context: *const TicketApiContext,
) -> c_int {
    export(instance, || {
        let call = Process::call(instance)?;
        // SAFETY: the header asks this of the caller: NULL, or a struct to read.
        let ids = unsafe { context.as_ref() }.ok_or_else(|| Failure::new(TCK_API_ERR_INVALID_PARAMETER))?;
        // SAFETY: likewise: its texts.
        let id = |text: *const c_char| if text.is_null() { Ok(None) } else { unsafe { text_in(text) }.map(Some) };
        let mut context = Context::new();
        context.organization_id = id(ids.organization_id)?.map(str::to_owned);
        context.care_team_id = id(ids.care_team_id)?.map(str::to_owned);
        context.patient_id = id(ids.patient_id)?.map(str::to_owned);
        context.episode_of_care_id = id(ids.episode_of_care_id)?.map(str::to_owned);
        call.engine.switch_context(&context)?;
        Ok(())
    })
}

/// Returns the contexts that the user may switch to, as JSON: an object with the arrays `organizations` (of
/// objects with `id`, `name`, `roles`) and `care_teams` (with `affiliation` too). Each call asks the
/// service. Buffers as for TcktApi_getTicketNoAuth; codes as for ticketapi_switch_context and
/// TCK_API_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_contexts(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (call, out) = (Process::call(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        out.write(contexts_json(&call.engine.contexts()?)?.as_bytes())
    })
}

/// Returns what the service says about the user (UserInfo of an OpenID provider), as JSON. Each call asks the
/// service. Buffers and codes as for ticketapi_contexts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_claims(
    instance: TCK_API_INSTANCE,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (call, out) = (Process::call(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        out.write(call.engine.claims()?.as_bytes())
    })
}

pub(crate) fn contexts_json(contexts: &Contexts) -> Outcome<String> {
    // Texts and lists of texts can always be written.
    serde_json::to_string(contexts).map_err(|_| Failure::new(TCK_API_ERR_INTERNAL_ERROR))
}

fn session(instance: TCK_API_INSTANCE) -> Outcome<Arc<Session>> {
    Process::engine(instance)?.live_session().map_err(Failure::no_ticket)
}

/// # Safety
///
/// `out` is null or valid for a write.
unsafe fn number_out(out: *mut c_uint, number: usize) -> Outcome {
    if out.is_null() {
        return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
    }
    // SAFETY: the caller of this function says so.
    unsafe { write_if_wanted(out, number as c_uint) };
    Ok(())
}
