//! What sessions at an employer's Nuts node have: the employee, access tokens, and how sure the employer is.

#![expect(clippy::missing_safety_doc, reason = "the docs are the header's, which states the contract once")]

use std::ffi::{c_char, c_int, c_uint};

use ticketapi::session::{AssuranceLevel, Employee};

use crate::boundary::{Outcome, TextOut, export, text_in, write_if_wanted};
use crate::c::TCK_API_INSTANCE;
use crate::process::Process;
use crate::status::{Failure, TCK_API_ERR_INVALID_PARAMETER};

/// For ticketapi_assurance_level: the employer's word for it is not known. For ticketapi_required_level: none.
pub const TICKETAPI_ASSURANCE_UNKNOWN: c_int = 0;
/// For ticketapi_assurance_level: the employer says who the user is.
pub const TICKETAPI_ASSURANCE_LOW: c_int = 1;
/// For ticketapi_assurance_level: substantial, also called middle, as with IRMA or Yivi.
pub const TICKETAPI_ASSURANCE_SUBSTANTIAL: c_int = 2;
/// For ticketapi_assurance_level: high, as with a UZI card.
pub const TICKETAPI_ASSURANCE_HIGH: c_int = 3;

/// An employee for ticketapi_set_employee.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TicketApiEmployee {
    /// The employee's number or name in the employer's records.
    pub identifier: *const c_char,
    /// The initials.
    pub initials: *const c_char,
    /// The family name, with what belongs before it.
    pub family_name: *const c_char,
    /// The role, as the employer names it; NULL for none.
    pub role: *const c_char,
}

/// Sets who logs in, with `service = nuts`. A session of another employee ends, and so does a login that is in
/// progress for one. The texts are copied.
///
/// Codes: TCK_API_ERR_INVALID_PARAMETER (`employee` or a text but the role is NULL or empty, or a text is longer
/// than 256 characters or has control characters; the session then continues), TCK_API_ERR_NOT_IMPLEMENTED (the
/// service has no employees), TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE,
/// TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_set_employee(
    instance: TCK_API_INSTANCE,
    employee: *const TicketApiEmployee,
) -> c_int {
    export(instance, || {
        let call = Process::call(instance)?;
        // SAFETY: the header asks this of the caller: NULL, or a struct to read.
        let given = unsafe { employee.as_ref() }.ok_or_else(|| Failure::new(TCK_API_ERR_INVALID_PARAMETER))?;
        // SAFETY: likewise: its texts.
        let text = |text: *const c_char| unsafe { text_in(text) };
        let mut employee = Employee::new(text(given.identifier)?, text(given.initials)?, text(given.family_name)?);
        if !given.role.is_null() {
            employee = employee.role(text(given.role)?);
        }
        call.engine.set_employee(&employee)?;
        Ok(())
    })
}

/// Returns how sure the employer is who the user is: a TICKETAPI_ASSURANCE_... constant. A level is enough where
/// a lower one is asked for.
///
/// Codes: TCK_API_ERR_TICKET_NOT_AVAILABLE (no session, or a locked one), TCK_API_ERR_NOT_IMPLEMENTED (the service
/// has no such levels), TCK_API_ERR_INVALID_PARAMETER, TCK_API_ERR_NOT_INITIALIZED,
/// TCK_API_ERR_INVALID_INSTANCE_HANDLE, TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_assurance_level(instance: TCK_API_INSTANCE, level: *mut c_uint) -> c_int {
    export(instance, || {
        let call = Process::call(instance)?;
        if level.is_null() {
            return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
        }
        let found = number(call.engine.assurance_level()?);
        // SAFETY: the header asks this of the caller.
        unsafe { write_if_wanted(level, found.unsigned_abs()) };
        Ok(())
    })
}

/// Writes to `level` the level that `resource` requires, a TICKETAPI_ASSURANCE_... constant: one of the `resources` of a
/// NutsAuthorizationCredential, in JSON, with the member assuranceLevel or authenticationAssuranceLevel (the higher one
/// counts). TICKETAPI_ASSURANCE_UNKNOWN if it has neither: every level is enough. Needs no instance.
///
/// Codes (TcktApi_getLastError(0)): TCK_API_ERR_INVALID_PARAMETER (NULL, no JSON object, or a level that no session
/// has), TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_required_level(resource: *const c_char, level: *mut c_uint) -> c_int {
    export(0, || {
        if level.is_null() {
            return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
        }
        // SAFETY: the header asks this of the caller.
        let required = required_level(unsafe { text_in(resource) }?)?;
        // SAFETY: likewise.
        unsafe { write_if_wanted(level, required.unsigned_abs()) };
        Ok(())
    })
}

/// As [`ticketapi_required_level`].
pub(crate) fn required_level(resource: &str) -> Outcome<c_int> {
    let required = AssuranceLevel::required_for(resource);
    Ok(number(required.map_err(|_| Failure::new(TCK_API_ERR_INVALID_PARAMETER))?))
}

/// Gets an access token from the node of `authorizer` (a DID), for what its `service` keeps. The employer's node
/// asks for it. Each call asks again. Does not prompt; blocks until the answer arrives.
///
/// Buffers as for TcktApi_getTicketNoAuth; a token has about 700 bytes, and is good for a minute.
///
/// Codes: TCK_API_ERR_AUTHENTICATION_FAILED (refused; TcktApi_getErrorDescription gives the node's reason; the session
/// continues), TCK_API_ERR_NOT_IMPLEMENTED (the service has no access tokens), TCK_API_ERR_TICKET_NOT_AVAILABLE,
/// TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, TCK_API_ERR_SERVER_COMM_FAILED, TCK_API_ERR_AUTHDATA_SYNTAX_ERROR,
/// TCK_API_ERR_BUFFER_TOO_SMALL, TCK_API_ERR_INVALID_PARAMETER, TCK_API_ERR_NOT_INITIALIZED,
/// TCK_API_ERR_INVALID_INSTANCE_HANDLE, TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_access_token(
    instance: TCK_API_INSTANCE,
    authorizer: *const c_char,
    service: *const c_char,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (call, out) = (Process::call(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        // SAFETY: likewise.
        let (authorizer, service) = unsafe { (text_in(authorizer)?, text_in(service)?) };
        out.write(call.engine.access_token(authorizer, service)?.expose().as_bytes())
    })
}

/// Returns what the access token `token` says that others have sent, as JSON; {"active":false} for one that is not
/// good. The employer's node is asked each time. Buffers and codes as for ticketapi_access_token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_introspect(
    instance: TCK_API_INSTANCE,
    token: *const c_char,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (call, out) = (Process::call(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        // SAFETY: likewise.
        let token = unsafe { text_in(token) }?;
        out.write(call.engine.introspect(token)?.as_bytes())
    })
}

/// The constant of a level. Java has the same numbers.
pub(crate) fn number(level: Option<AssuranceLevel>) -> c_int {
    match level {
        Some(AssuranceLevel::Low) => TICKETAPI_ASSURANCE_LOW,
        Some(AssuranceLevel::Substantial) => TICKETAPI_ASSURANCE_SUBSTANTIAL,
        Some(AssuranceLevel::High) => TICKETAPI_ASSURANCE_HIGH,
        _ => TICKETAPI_ASSURANCE_UNKNOWN,
    }
}
