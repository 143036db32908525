//! Guards the boundary to C and Java: panics, and the caller's buffers.

mod handles;
mod last_error;
mod platform;

use std::ffi::{CStr, c_char, c_int, c_long, c_uint};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

pub(crate) use handles::Handles;
#[cfg(test)]
pub(crate) use last_error::DETAIL;
pub(crate) use last_error::{detail, last_error, shortened};
pub(crate) use platform::{Eternal, count_fork, forks, library_folder, on_fork};

use crate::status::{Failure, TCK_API_ERR_BUFFER_TOO_SMALL, TCK_API_ERR_INTERNAL_ERROR, TCK_API_ERR_INVALID_PARAMETER};

/// The size of the buffer that old clients offer first.
pub(crate) const OLD_BUFFER: usize = 254;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Runs the body of an export. Stops panics, and records the result as the thread's last error on `instance`.
pub(crate) fn export(instance: c_long, body: impl FnOnce() -> Outcome) -> c_int {
    let failure = guard(body).err();
    last_error::record(instance, failure.as_ref());
    // C reads the same 32 bits as a negative int.
    failure.map_or(0, |failure| failure.code as c_int)
}

/// Does the same as [`export`] for a function that returns a value; returns `otherwise` if it fails.
pub(crate) fn export_value<T>(instance: c_long, otherwise: T, body: impl FnOnce() -> Outcome<T>) -> T {
    export_result(instance, body).unwrap_or(otherwise)
}

/// Does the same as [`export_value`], but returns the error to its caller.
pub(crate) fn export_result<T>(instance: c_long, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let result = guard(body);
    last_error::record(instance, result.as_ref().err());
    result
}

/// Does the same as [`export_result`], for queries of errors and versions: if they succeed, the last error
/// remains, because a program may ask for the description first and then for the code.
pub(crate) fn export_question<T>(instance: c_long, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let result = guard(body);
    if let Err(failure) = &result {
        last_error::record(instance, Some(failure));
    }
    result
}

/// Does the same as [`export_value`], but does not change the last error.
pub(crate) fn export_quietly<T>(otherwise: T, body: impl FnOnce() -> Outcome<T>) -> T {
    guard(body).unwrap_or(otherwise)
}

fn guard<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let guarded = || {
        test_panic(Place::Entry);
        let result = body();
        test_panic(Place::Return);
        result
    };
    catch_unwind(AssertUnwindSafe(guarded)).unwrap_or_else(|payload| {
        // A payload may panic when it is dropped; the second one is leaked.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        Err(Failure::new(TCK_API_ERR_INTERNAL_ERROR))
    })
}

/// Where the test-only build can panic on request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Entry = 1,
    Body = 2,
    Return = 3,
}

#[cfg(not(feature = "test-panics"))]
pub(crate) fn test_panic(_: Place) {}

#[cfg(feature = "test-panics")]
pub(crate) use for_tests::test_panic;

#[cfg(feature = "test-panics")]
mod for_tests {
    use std::ffi::c_uint;
    use std::sync::atomic::{AtomicU32, Ordering};

    use jni::EnvUnowned;
    use jni::objects::JObject;
    use jni::sys::jint;

    use super::Place;

    static WHERE: AtomicU32 = AtomicU32::new(0);

    /// Makes the next export panic at entry (1), in its body (2) or on return (3).
    #[unsafe(no_mangle)]
    pub extern "C" fn ticketapi_test_panic(place: c_uint) {
        WHERE.store(place, Ordering::SeqCst);
    }

    /// Does the same as [`ticketapi_test_panic`], for `java/src/test/java/ticketapi/tests/Panics.java`.
    #[unsafe(no_mangle)]
    pub extern "system" fn Java_ticketapi_tests_Panics_next(_: EnvUnowned<'_>, _: JObject<'_>, place: jint) {
        ticketapi_test_panic(place.cast_unsigned());
    }

    #[expect(clippy::panic, reason = "it is what this is for")]
    pub(crate) fn test_panic(place: Place) {
        if WHERE.compare_exchange(place as u32, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            panic!("as the test asked");
        }
    }
}

/// A caller's buffer for text.
pub(crate) struct TextOut {
    buffer: NonNull<u8>,
    size: usize,
    used: *mut c_uint,
}

impl TextOut {
    /// # Safety
    ///
    /// `buffer`, where it is not null, has `size` bytes that may be written; `used` is null or may
    /// be written. Both for as long as the result lives.
    pub(crate) unsafe fn new(buffer: *mut c_char, size: c_uint, used: *mut c_uint) -> Outcome<Self> {
        match NonNull::new(buffer.cast()) {
            Some(buffer) if size > 0 => Ok(Self { buffer, size: size as usize, used }),
            _ => Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER)),
        }
    }

    /// Does the same as [`TextOut::write`] for a ticket: the error contains the required size.
    pub(crate) fn write_ticket(&self, ticket: &[u8]) -> Outcome {
        if ticket.len() >= self.size {
            return Err(too_small("ticket", ticket.len()));
        }
        self.write(ticket)
    }

    /// Does the same as [`TextOut::write`] for a description, which is shortened for a buffer of at least
    /// [`OLD_BUFFER`]. The failure has no text, because that would replace the one that was asked for.
    pub(crate) fn write_description(&self, text: &str) -> Outcome {
        if text.len() >= self.size && self.size < OLD_BUFFER {
            return Err(Failure::new(TCK_API_ERR_BUFFER_TOO_SMALL));
        }
        self.write(shortened(text, self.size - 1).as_bytes())
    }

    /// Writes `text` and a NUL, or nothing if they do not fit.
    pub(crate) fn write(&self, text: &[u8]) -> Outcome {
        if text.len() >= self.size {
            return Err(too_small("text", text.len()));
        }
        // A .NET client reads UTF-16 up to two zero bytes at an even offset: three zeros always contain these.
        let zeros = (self.size - text.len()).min(3);
        // SAFETY: by the contract of `new`, and because `text.len() + zeros <= size`. `text` is ours, so it does
        // not overlap the caller's buffer.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), self.buffer.as_ptr(), text.len());
            let end = self.buffer.as_ptr().add(text.len());
            // Byte by byte, because a call of memset would take longer.
            end.write(0);
            if zeros > 1 {
                end.add(1).write(0);
            }
            if zeros > 2 {
                end.add(2).write(0);
            }
        }
        // SAFETY: by the contract of `new`.
        unsafe { write_if_wanted(self.used, text.len() as c_uint) };
        Ok(())
    }
}

/// The error for a buffer that cannot hold `length` bytes and a NUL.
#[cold]
fn too_small(what: &str, length: usize) -> Failure {
    let detail = format!("the {what} has {} bytes and needs a buffer of {}", grouped(length), grouped(length + 1));
    Failure { detail: Some(detail), ..Failure::new(TCK_API_ERR_BUFFER_TOO_SMALL) }
}

/// Formats a number with separated thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes `value` to the caller's pointer.
///
/// # Safety
///
/// `out` is null or may be written.
pub(crate) unsafe fn write_if_wanted(out: *mut c_uint, value: c_uint) {
    if !out.is_null() {
        // SAFETY: by this function's contract. Foreign runtimes do not always align pointers.
        unsafe { out.write_unaligned(value) };
    }
}

/// Reads a text parameter.
///
/// # Safety
///
/// `text` is null or ends with a NUL, and does not change for as long as the result is used.
pub(crate) unsafe fn text_in<'a>(text: *const c_char) -> Outcome<&'a str> {
    if text.is_null() {
        return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
    }
    // SAFETY: the pointer is not null; the rest is this function's contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::new(TCK_API_ERR_INVALID_PARAMETER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_a_small_buffer_contains_the_required_size() {
        let mut buffer = [7; 4];
        // SAFETY: this is an array of that size.
        let out = unsafe { TextOut::new(buffer.as_mut_ptr(), 4, ptr::null_mut()) }.unwrap();
        let failure = out.write_ticket(&[b'x'; 1412]).unwrap_err();
        assert_eq!(failure.code, TCK_API_ERR_BUFFER_TOO_SMALL);
        assert_eq!(failure.detail.as_deref(), Some("the ticket has 1,412 bytes and needs a buffer of 1,413"));
        assert_eq!(
            out.write(b"four").unwrap_err().detail.as_deref(),
            Some("the text has 4 bytes and needs a buffer of 5")
        );
        assert_eq!(buffer, [7; 4]);
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
