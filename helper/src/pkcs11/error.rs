//! Describes PKCS#11 errors in sentences that name the failed call and its code.

use cryptoki::error::{Error as CallError, RvError};
use ticketapi::{Error, ErrorKind, Stage};

/// The result of a PKCS#11 call.
pub type CallResult<T> = cryptoki::error::Result<T>;

/// Describes a failed call that the card's state does not explain better.
pub fn failed(stage: Stage, error: &CallError) -> Error {
    let what = match code(error) {
        Some(RvError::DeviceRemoved | RvError::TokenNotPresent | RvError::SlotIdInvalid) => "the card was taken out",
        Some(RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::UserNotLoggedIn) => {
            "the card was taken out or reset by another program"
        }
        Some(RvError::UserAlreadyLoggedIn | RvError::UserAnotherAlreadyLoggedIn) => {
            "another program is logged in to the card, so its PIN could not be checked"
        }
        Some(RvError::DeviceError) => "the card or its reader reports a fault",
        _ => "the card's software reports an error",
    };
    Error::new(ErrorKind::CardFailed, stage, format!("{what} ({})", call(error)))
}

/// Returns the PKCS#11 code, if a call returned one.
pub fn code(error: &CallError) -> Option<RvError> {
    match error {
        CallError::Pkcs11(code, _) => Some(*code),
        _ => None,
    }
}

/// Returns `true` if the card, or the session with it, is lost.
pub fn is_lost(error: &CallError) -> bool {
    use RvError::{DeviceRemoved, SessionClosed, SessionHandleInvalid, SlotIdInvalid, TokenNotPresent};
    matches!(code(error), Some(DeviceRemoved | TokenNotPresent | SlotIdInvalid | SessionHandleInvalid | SessionClosed))
}

/// Returns `true` if another mechanism would fail too, because the card, its reader or the login is at fault.
pub fn is_fault(error: &CallError) -> bool {
    use RvError::{DeviceError, DeviceMemory, FunctionCanceled, FunctionRejected, HostMemory, UserNotLoggedIn};
    let faults = |code| {
        matches!(code, DeviceError | DeviceMemory | FunctionCanceled | FunctionRejected | HostMemory | UserNotLoggedIn)
    };
    is_lost(error) || code(error).is_some_and(faults)
}

/// Formats call and code as the specification does, such as `C_Login: CKR_DEVICE_ERROR`.
pub fn call(error: &CallError) -> String {
    match error {
        CallError::Pkcs11(code, function) => format!("C_{function:?}: {}", name(*code)),
        other => other.to_string(),
    }
}

fn name(code: RvError) -> String {
    match code {
        RvError::VendorDefined(code) | RvError::UnknownErrorCode(code) => format!("{code:#010x}"),
        named => {
            let mut name = "CKR".to_owned();
            for letter in format!("{named:?}").chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn a_failed_call_is_named_as_in_the_specification() {
        let error = |code| call(&CallError::Pkcs11(code, Function::Login));
        assert_eq!(error(RvError::PinLenRange), "C_Login: CKR_PIN_LEN_RANGE");
        assert_eq!(error(RvError::UserAlreadyLoggedIn), "C_Login: CKR_USER_ALREADY_LOGGED_IN");
        assert_eq!(error(RvError::VendorDefined(0x8000_0001)), "C_Login: 0x80000001");
    }
}
