//! Describes the codes of failed calls in sentences that name the call and its code.

use ticketapi::{Error, ErrorKind, Stage};

use super::CallError;

const SCARD_E_CANCELLED: u32 = 0x8010_0002;
const SCARD_E_UNKNOWN_READER: u32 = 0x8010_0009;
const SCARD_E_SHARING_VIOLATION: u32 = 0x8010_000B;
const SCARD_E_NO_SMARTCARD: u32 = 0x8010_000C;
const SCARD_E_UNKNOWN_CARD: u32 = 0x8010_000D;
const SCARD_E_READER_UNAVAILABLE: u32 = 0x8010_0017;
const SCARD_E_CARD_UNSUPPORTED: u32 = 0x8010_001C;
const SCARD_E_NO_SERVICE: u32 = 0x8010_001D;
const SCARD_E_SERVICE_STOPPED: u32 = 0x8010_001E;
const SCARD_E_INVALID_CHV: u32 = 0x8010_002A;
const SCARD_E_NO_READERS_AVAILABLE: u32 = 0x8010_002E;
const SCARD_W_UNPOWERED_CARD: u32 = 0x8010_0067;
const SCARD_W_RESET_CARD: u32 = 0x8010_0068;
const SCARD_W_REMOVED_CARD: u32 = 0x8010_0069;
const SCARD_W_WRONG_CHV: u32 = 0x8010_006B;
const SCARD_W_CHV_BLOCKED: u32 = 0x8010_006C;
const SCARD_W_CANCELLED_BY_USER: u32 = 0x8010_006E;
const NTE_BAD_KEYSET: u32 = 0x8009_0016;
const NTE_SILENT_CONTEXT: u32 = 0x8009_0022;
const NTE_USER_CANCELLED: u32 = 0x8009_0036;

/// The codes with a name here.
const NAMES: [(u32, &str); 28] = [
    (SCARD_E_CANCELLED, "SCARD_E_CANCELLED"),
    (SCARD_E_UNKNOWN_READER, "SCARD_E_UNKNOWN_READER"),
    (SCARD_E_SHARING_VIOLATION, "SCARD_E_SHARING_VIOLATION"),
    (SCARD_E_NO_SMARTCARD, "SCARD_E_NO_SMARTCARD"),
    (SCARD_E_UNKNOWN_CARD, "SCARD_E_UNKNOWN_CARD"),
    (SCARD_E_READER_UNAVAILABLE, "SCARD_E_READER_UNAVAILABLE"),
    (SCARD_E_CARD_UNSUPPORTED, "SCARD_E_CARD_UNSUPPORTED"),
    (SCARD_E_NO_SERVICE, "SCARD_E_NO_SERVICE"),
    (SCARD_E_SERVICE_STOPPED, "SCARD_E_SERVICE_STOPPED"),
    (SCARD_E_INVALID_CHV, "SCARD_E_INVALID_CHV"),
    (SCARD_E_NO_READERS_AVAILABLE, "SCARD_E_NO_READERS_AVAILABLE"),
    (SCARD_W_UNPOWERED_CARD, "SCARD_W_UNPOWERED_CARD"),
    (SCARD_W_RESET_CARD, "SCARD_W_RESET_CARD"),
    (SCARD_W_REMOVED_CARD, "SCARD_W_REMOVED_CARD"),
    (SCARD_W_WRONG_CHV, "SCARD_W_WRONG_CHV"),
    (SCARD_W_CHV_BLOCKED, "SCARD_W_CHV_BLOCKED"),
    (SCARD_W_CANCELLED_BY_USER, "SCARD_W_CANCELLED_BY_USER"),
    (NTE_BAD_KEYSET, "NTE_BAD_KEYSET"),
    (NTE_SILENT_CONTEXT, "NTE_SILENT_CONTEXT"),
    (NTE_USER_CANCELLED, "NTE_USER_CANCELLED"),
    (0x8009_0005, "NTE_BAD_DATA"),
    (0x8009_000D, "NTE_NO_KEY"),
    (0x8009_0010, "NTE_PERM"),
    (0x8009_0011, "NTE_NOT_FOUND"),
    (0x8009_001E, "NTE_PROV_DLL_NOT_FOUND"),
    (0x8009_0020, "NTE_FAIL"),
    (0x8009_0027, "NTE_INVALID_PARAMETER"),
    (0x8009_0029, "NTE_NOT_SUPPORTED"),
];

/// Returns the name of a code, if it is one of those that are to be expected.
pub fn name(code: u32) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// Returns `true` if the card is gone.
pub fn is_lost(error: &CallError) -> bool {
    matches!(
        error.code,
        SCARD_W_REMOVED_CARD | SCARD_E_NO_SMARTCARD | SCARD_E_READER_UNAVAILABLE | SCARD_E_UNKNOWN_READER
    )
}

/// Returns `true` if Windows has no driver for the card.
pub fn is_unknown(error: &CallError) -> bool {
    matches!(error.code, SCARD_E_UNKNOWN_CARD | SCARD_E_CARD_UNSUPPORTED | NTE_BAD_KEYSET)
}

/// Returns `true` if Windows would have to ask the user for the PIN.
pub fn needs_pin(error: &CallError) -> bool {
    error.code == NTE_SILENT_CONTEXT
}

/// Describes a failed call. Errors about the PIN are of that stage, whichever call tried it.
pub fn failed(stage: Stage, error: &CallError) -> Error {
    use ErrorKind::{Cancelled, CardBusy, CardFailed, PinIncorrect, PinLocked, ReaderNotAvailable};
    let (kind, stage, what) = match error.code {
        SCARD_W_WRONG_CHV | SCARD_E_INVALID_CHV => {
            let what = "the PIN was wrong; Windows does not say how many tries are left";
            (PinIncorrect { tries_left: None }, Stage::Pin, what)
        }
        SCARD_W_CHV_BLOCKED => (PinLocked, Stage::Pin, "the card's PIN is locked"),
        SCARD_W_CANCELLED_BY_USER | SCARD_E_CANCELLED | NTE_USER_CANCELLED => {
            (Cancelled, Stage::Pin, "entering the PIN was cancelled")
        }
        NTE_SILENT_CONTEXT => {
            let what = "Windows would ask for the PIN itself, as for a reader with a PIN pad: \
                this card needs its maker's PKCS#11 module";
            (CardFailed, Stage::Pin, what)
        }
        SCARD_E_SHARING_VIOLATION => (CardBusy, stage, "another program is using the card"),
        SCARD_E_NO_SERVICE | SCARD_E_SERVICE_STOPPED => {
            (ReaderNotAvailable, stage, "Windows' smartcard service does not run")
        }
        SCARD_E_NO_READERS_AVAILABLE => (ReaderNotAvailable, stage, "there is no card reader"),
        SCARD_W_RESET_CARD | SCARD_W_UNPOWERED_CARD => {
            (CardFailed, stage, "the card was taken out or reset by another program")
        }
        _ if is_lost(error) => (CardFailed, stage, "the card was taken out"),
        _ => (CardFailed, stage, "Windows' smartcard stack reports an error"),
    };
    Error::new(kind, stage, format!("{what} ({error})"))
}
