//! `com.gemplus.gemauth.api.GATicket`: the native methods that the original class binds, and a further one of this
//! project's class.
//!
//! The original keeps the handle of its first object for the life of the JVM, and calls `finalize` with it for
//! each garbage-collected object, while other objects still use it.

use std::ffi::c_int;

use jni::objects::{JByteArray, JObject, JString};
use jni::sys::{jint, jlong};
use jni::{Env, EnvUnowned};

use super::{handle, may_log_in, native, secret_string, with_env};
use crate::boundary::{Outcome, export_question, export_quietly, export_value};
use crate::c;
use crate::process::Process;
use crate::status::{Failure, TCK_API_ERR_INTERNAL_ERROR, TCK_API_ERR_INVALID_PARAMETER};

/// The original selects its texts' language with this; here there is only one.
type ResourceId = jlong;

/// `long getDllVersion()`
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_getDllVersion(_: EnvUnowned<'_>, _: JObject<'_>) -> jlong {
    c::GetDllVersion().into()
}

/// `long getGAVersion(long handle, int which)`: 0 is the API and 1 the engine.
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_getGAVersion(
    _: EnvUnowned<'_>,
    _: JObject<'_>,
    instance: jlong,
    which: jint,
) -> jlong {
    let component = match which {
        0 => c::GATICKET_VERSION_API,
        1 => c::GATICKET_VERSION_ENGINE,
        _ => c_int::MIN,
    };
    c::TcktApi_GetGAVersion(handle(instance), component).into()
}

/// `long initialize(long resourceId)`
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_initialize(
    _: EnvUnowned<'_>,
    _: JObject<'_>,
    _: ResourceId,
) -> jlong {
    c::TcktApi_Initialize() as jlong
}

/// `String getTicketBuf(long handle)`
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_getTicketBuf<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
) -> JString<'l> {
    let instance = handle(instance);
    native(&mut env, instance, JString::null(), |env| {
        let engine = Process::engine(instance)?;
        if let Some(string) = engine.with_ticket_at_hand(|ticket| ticket_string(env, ticket)) {
            return string;
        }
        may_log_in()?;
        let ticket = Process::call(instance)?.engine.get_ticket()?;
        secret_string(env, ticket.expose())
    })
}

/// `String getNewTicketBuf(long handle)`
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_getNewTicketBuf<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
) -> JString<'l> {
    let instance = handle(instance);
    native(&mut env, instance, JString::null(), |env| {
        let call = Process::call(instance)?;
        may_log_in()?;
        let session = call.engine.log_in_again()?;
        secret_string(env, session.ticket().expose())
    })
}

/// `int ticketNoAuth(long handle, byte[] buffer)`: returns the ticket's length, and writes the ticket if it fits
/// into `buffer`; returns -1 on failure. Only in this project's class.
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_ticketNoAuth<'l>(
    env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    buffer: JByteArray<'l>,
) -> jint {
    let instance = handle(instance);
    // Without the crate's checks, which take longer than everything else.
    export_value(instance, -1, || {
        let engine = Process::engine(instance)?;
        if buffer.is_null() {
            return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
        }
        let (env, array) = (env.as_raw(), buffer.as_raw());
        let written = engine.read_ticket(|ticket| {
            let length = ticket.len() as jint;
            // SAFETY: the environment is this thread's, and Java passed the array to this call; no exception is
            // pending. All writes are within the array, so none is raised.
            unsafe {
                if length <= ((**env).v1_1.GetArrayLength)(env, array) {
                    ((**env).v1_1.SetByteArrayRegion)(env, array, 0, length, ticket.as_ptr().cast());
                }
            }
            length
        });
        written.map_err(Failure::no_ticket)
    })
}

/// `int destroyTicket(long handle)`
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_destroyTicket(
    _: EnvUnowned<'_>,
    _: JObject<'_>,
    instance: jlong,
) -> jint {
    c::TcktApi_destroyTicket(handle(instance))
}

/// `long getLastError(long handle)`
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_getLastError(
    _: EnvUnowned<'_>,
    _: JObject<'_>,
    instance: jlong,
) -> jlong {
    c::TcktApi_getLastError(handle(instance)).into()
}

/// `String getErrorDescription(long handle, long code)`: "" if there is no description, because programs append it
/// to their own text.
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_getErrorDescription<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    code: jlong,
) -> JString<'l> {
    let instance = handle(instance);
    let described = export_question(instance, || {
        with_env(&mut env, |env| {
            let code = error_code(code).ok_or_else(|| Failure::new(TCK_API_ERR_INVALID_PARAMETER))?;
            Ok(env.new_string(c::description(instance, code, usize::MAX)?)?)
        })
    });
    described.unwrap_or_else(|_| export_quietly(JString::null(), || with_env(&mut env, |env| Ok(env.new_string("")?))))
}

/// Converts a code as Java programs pass it: a `long` from [`TcktApi_getLastError`](c::TcktApi_getLastError), or
/// an `int` with the same 32 bits, which Java has extended to a negative `long`.
fn error_code(code: jlong) -> Option<u32> {
    u32::try_from(code).ok().or_else(|| i32::try_from(code).ok().map(i32::cast_unsigned))
}

/// `void finalize(long handle)`: does nothing, because all objects share the handle.
#[unsafe(no_mangle)]
pub extern "system" fn Java_com_gemplus_gemauth_api_GATicket_finalize(_: EnvUnowned<'_>, _: JObject<'_>, _: jlong) {}

fn ticket_string<'l>(env: &mut Env<'l>, ticket: &[u8]) -> Outcome<JString<'l>> {
    let text = std::str::from_utf8(ticket).map_err(|_| Failure::new(TCK_API_ERR_INTERNAL_ERROR))?;
    secret_string(env, text)
}
