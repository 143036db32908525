//! The native methods of the Java classes, with the same guards as the C exports.
//!
//! No Java exception is left pending: a method that fails returns null, 0 or false, and the code becomes the
//! thread's last error. Local references of a method or a prompt are freed when it ends.

mod asking;
mod browser;
mod gaticket;
mod modern;
mod nuts;
mod prompter;
mod sign;

use std::cell::Cell;
use std::ffi::c_long;

use jni::objects::JString;
use jni::sys::{jchar, jlong, jsize};
use jni::{Env, EnvUnowned, Outcome as Ended};
use ticketapi::{Error, ErrorKind, Stage};
use zeroize::Zeroizing;

pub(crate) use browser::JavaBrowser;
pub(crate) use prompter::JavaPrompter;

use crate::boundary::{Outcome, Place, export_value, test_panic};
use crate::status::{Failure, TCK_API_ERR_INTERNAL_ERROR, TCK_API_ERR_RESOURCE_ALLOCATION_FAILED};

thread_local! {
    /// Set while this thread runs a prompt for the login of another thread.
    static ASKS: Cell<bool> = const { Cell::new(false) };
}

/// Refuses a ticket request from within a prompt: it would deadlock.
fn may_log_in() -> Outcome {
    if ASKS.get() {
        let detail = "a prompt of the login that is under way asked for a ticket";
        return Err(Error::new(ErrorKind::LoginUnderWay, Stage::Session, detail).into());
    }
    Ok(())
}

fn handle(handle: jlong) -> c_long {
    handle as c_long
}

/// Runs the body of a native method like that of an export.
fn native<'l, T>(
    env: &mut EnvUnowned<'l>,
    handle: c_long,
    otherwise: T,
    body: impl FnOnce(&mut Env<'l>) -> Outcome<T>,
) -> T {
    export_value(handle, otherwise, || with_env(env, body))
}

/// Runs `body`, and clears the exception that it may leave if it fails.
fn with_env<'l, T>(env: &mut EnvUnowned<'l>, body: impl FnOnce(&mut Env<'l>) -> Outcome<T>) -> Outcome<T> {
    let ended = env.with_env(|env| {
        test_panic(Place::Body);
        let result = body(env);
        if result.is_err() {
            env.exception_clear();
        }
        result
    });
    match ended.into_outcome() {
        Ended::Ok(value) => Ok(value),
        Ended::Err(failure) => Err(failure),
        // The guard handles it.
        Ended::Panic(payload) => std::panic::resume_unwind(payload),
    }
}

impl From<jni::errors::Error> for Failure {
    fn from(error: jni::errors::Error) -> Self {
        use jni::errors::Error::{JavaException, NullPtr};
        // These calls of the JVM fail only if there is no memory.
        let no_memory = matches!(error, JavaException | NullPtr(_));
        Self::new(if no_memory { TCK_API_ERR_RESOURCE_ALLOCATION_FAILED } else { TCK_API_ERR_INTERNAL_ERROR })
    }
}

/// Encodes `text` as Java's UTF-16, in memory that is wiped on drop.
fn utf16(text: &str) -> Zeroizing<Vec<jchar>> {
    let mut units = Zeroizing::new(Vec::with_capacity(text.len()));
    units.extend(text.encode_utf16());
    units
}

/// Creates a string without leaving a copy of `text` outside of Java.
fn secret_string<'l>(env: &mut Env<'l>, text: &str) -> Outcome<JString<'l>> {
    let units = utf16(text);
    let raw = env.get_raw();
    // SAFETY: `raw` is this thread's environment, no exception is pending, and the length is that of the
    // characters.
    let string = unsafe { ((**raw).v1_1.NewString)(raw, units.as_ptr(), units.len() as jsize) };
    if string.is_null() {
        return Err(Failure::new(TCK_API_ERR_RESOURCE_ALLOCATION_FAILED));
    }
    // SAFETY: this is a new local reference to a string in this environment.
    Ok(unsafe { JString::from_raw(env, string) })
}
