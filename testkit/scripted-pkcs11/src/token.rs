//! A token of the module's own, for systems without a software token: an RSA key, its public half and its
//! certificate. It locks after three wrong PINs in one process.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki_sys::*;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::script::Script;

const SLOT: CK_SLOT_ID = 1;

const TRIES: usize = 3;

const MECHANISMS: [CK_MECHANISM_TYPE; 3] = [CKM_RSA_PKCS, CKM_SHA1_RSA_PKCS, CKM_SHA256_RSA_PKCS];

const CERTIFICATE: CK_OBJECT_HANDLE = 1;
const PUBLIC_KEY: CK_OBJECT_HANDLE = 2;
const PRIVATE_KEY: CK_OBJECT_HANDLE = 3;

/// An object's attributes.
type Attributes = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

struct Token {
    pin: String,
    key: RsaPrivateKey,
    objects: Vec<(CK_OBJECT_HANDLE, Attributes)>,
}

#[derive(Default)]
struct State {
    is_logged_in: bool,
    wrong_pins: usize,
    last_session: CK_SESSION_HANDLE,
    sessions: BTreeMap<CK_SESSION_HANDLE, Session>,
}

#[derive(Default)]
struct Session {
    found: Vec<CK_OBJECT_HANDLE>,
    mechanism: Option<CK_MECHANISM_TYPE>,
}

static TOKEN: OnceLock<Token> = OnceLock::new();
static STATE: Mutex<State> =
    Mutex::new(State { is_logged_in: false, wrong_pins: 0, last_session: 0, sessions: BTreeMap::new() });

/// Returns the functions of a token with this PIN, with the certificate (DER) and its key (PKCS#8, DER) in these
/// files, unless the script has it without. `None` if they cannot be read.
pub fn functions(script: &Script, pin: &str, certificate: &Path, key: &Path) -> Option<CK_FUNCTION_LIST> {
    let key = RsaPrivateKey::from_pkcs8_der(&fs::read(key).ok()?).ok()?;
    let class = |class: CK_OBJECT_CLASS| (CKA_CLASS, class.to_ne_bytes().to_vec());
    let id = (CKA_ID, vec![1]);
    let modulus = (CKA_MODULUS, key.n().to_bytes_be());
    let no = |attribute| (attribute, vec![CK_FALSE]);
    let mut objects = vec![
        (CERTIFICATE, vec![class(CKO_CERTIFICATE), id.clone(), (CKA_VALUE, fs::read(certificate).ok()?)]),
        (PUBLIC_KEY, vec![class(CKO_PUBLIC_KEY), id.clone(), modulus.clone(), no(CKA_ENCRYPT)]),
        (PRIVATE_KEY, vec![class(CKO_PRIVATE_KEY), id, modulus, no(CKA_DECRYPT), no(CKA_ALWAYS_AUTHENTICATE)]),
    ];
    objects
        .retain(|(handle, _)| if *handle == CERTIFICATE { !script.without_certificate } else { !script.without_key });
    TOKEN.set(Token { pin: pin.to_owned(), key, objects }).ok()?;
    Some(CK_FUNCTION_LIST {
        version: CK_VERSION { major: 2, minor: 40 },
        C_Initialize: Some(initialize),
        C_Finalize: Some(finalize),
        C_GetSlotList: Some(slots),
        C_GetSlotInfo: Some(slot_info),
        C_GetTokenInfo: Some(token_info),
        C_GetMechanismList: Some(mechanisms),
        C_OpenSession: Some(open_session),
        C_CloseSession: Some(close_session),
        C_Login: Some(log_in),
        C_Logout: Some(log_out),
        C_FindObjectsInit: Some(begin_finding),
        C_FindObjects: Some(find),
        C_FindObjectsFinal: Some(end_finding),
        C_GetAttributeValue: Some(attributes),
        C_SignInit: Some(begin_signing),
        C_Sign: Some(sign),
        ..CK_FUNCTION_LIST::default()
    })
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `call` with the session and whether somebody is logged in.
fn with_session(handle: CK_SESSION_HANDLE, call: impl FnOnce(&mut Session, bool) -> CK_RV) -> CK_RV {
    let mut state = state();
    let is_logged_in = state.is_logged_in;
    state.sessions.get_mut(&handle).map_or(CKR_SESSION_HANDLE_INVALID, |session| call(session, is_logged_in))
}

/// Writes `values` as PKCS#11 has it: their number, and themselves if there is a place for them.
///
/// # Safety
///
/// `count` is valid, and `to` is null or has room for `count` values.
unsafe fn write_out<T: Copy>(values: &[T], to: *mut T, count: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: promised by the caller.
    unsafe {
        let room = *count as usize;
        *count = values.len() as CK_ULONG;
        if to.is_null() {
            return CKR_OK;
        }
        if room < values.len() {
            return CKR_BUFFER_TOO_SMALL;
        }
        to.copy_from_nonoverlapping(values.as_ptr(), values.len());
    }
    CKR_OK
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|at| text.as_bytes().get(at).copied().unwrap_or(b' '))
}

unsafe extern "C" fn initialize(_: *mut c_void) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn finalize(_: *mut c_void) -> CK_RV {
    *state() = State::default();
    CKR_OK
}

unsafe extern "C" fn slots(_: CK_BBOOL, slots: CK_SLOT_ID_PTR, count: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: promised by the caller of C_GetSlotList.
    unsafe { write_out(&[SLOT], slots, count) }
}

unsafe extern "C" fn slot_info(_: CK_SLOT_ID, info: CK_SLOT_INFO_PTR) -> CK_RV {
    let filled = CK_SLOT_INFO {
        slotDescription: padded("scripted slot"),
        manufacturerID: padded("ticketapi"),
        flags: CKF_TOKEN_PRESENT,
        ..CK_SLOT_INFO::default()
    };
    // SAFETY: promised by the caller of C_GetSlotInfo.
    unsafe { info.write_unaligned(filled) };
    CKR_OK
}

unsafe extern "C" fn token_info(_: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    let tries = match state().wrong_pins {
        0 => 0,
        wrong if wrong >= TRIES => CKF_USER_PIN_LOCKED,
        wrong if wrong + 1 == TRIES => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        _ => CKF_USER_PIN_COUNT_LOW,
    };
    let filled = CK_TOKEN_INFO {
        label: padded("card"),
        manufacturerID: padded("ticketapi"),
        model: padded("scripted"),
        serialNumber: padded("1"),
        flags: CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED | CKF_LOGIN_REQUIRED | tries,
        ulMinPinLen: 4,
        ulMaxPinLen: 8,
        utcTime: padded(""),
        ..CK_TOKEN_INFO::default()
    };
    // SAFETY: promised by the caller of C_GetTokenInfo.
    unsafe { info.write_unaligned(filled) };
    CKR_OK
}

unsafe extern "C" fn mechanisms(_: CK_SLOT_ID, list: CK_MECHANISM_TYPE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: promised by the caller of C_GetMechanismList.
    unsafe { write_out(&MECHANISMS, list, count) }
}

unsafe extern "C" fn open_session(
    _: CK_SLOT_ID,
    _: CK_FLAGS,
    _: *mut c_void,
    _: CK_NOTIFY,
    session: CK_SESSION_HANDLE_PTR,
) -> CK_RV {
    let mut state = state();
    state.last_session += 1;
    let handle = state.last_session;
    state.sessions.insert(handle, Session::default());
    // SAFETY: promised by the caller of C_OpenSession.
    unsafe { *session = handle };
    CKR_OK
}

unsafe extern "C" fn close_session(session: CK_SESSION_HANDLE) -> CK_RV {
    let mut state = state();
    let closed = state.sessions.remove(&session);
    state.is_logged_in &= !state.sessions.is_empty();
    if closed.is_some() { CKR_OK } else { CKR_SESSION_HANDLE_INVALID }
}

unsafe extern "C" fn log_in(_: CK_SESSION_HANDLE, _: CK_USER_TYPE, pin: CK_BYTE_PTR, length: CK_ULONG) -> CK_RV {
    let mut state = state();
    if state.is_logged_in {
        return CKR_USER_ALREADY_LOGGED_IN;
    }
    if state.wrong_pins >= TRIES {
        return CKR_PIN_LOCKED;
    }
    // SAFETY: promised by the caller of C_Login.
    let pin = unsafe { std::slice::from_raw_parts(pin, length as usize) };
    state.is_logged_in = TOKEN.get().is_some_and(|token| token.pin.as_bytes() == pin);
    state.wrong_pins = if state.is_logged_in { 0 } else { state.wrong_pins + 1 };
    if state.is_logged_in { CKR_OK } else { CKR_PIN_INCORRECT }
}

unsafe extern "C" fn log_out(_: CK_SESSION_HANDLE) -> CK_RV {
    if std::mem::take(&mut state().is_logged_in) { CKR_OK } else { CKR_USER_NOT_LOGGED_IN }
}

unsafe extern "C" fn begin_finding(session: CK_SESSION_HANDLE, template: CK_ATTRIBUTE_PTR, count: CK_ULONG) -> CK_RV {
    // SAFETY: promised by the caller of C_FindObjectsInit: `count` attributes, each of which has a value.
    let wanted: Vec<(CK_ATTRIBUTE_TYPE, &[u8])> = unsafe {
        (0..count as usize)
            .map(|at| template.add(at).read_unaligned())
            .map(|CK_ATTRIBUTE { type_, pValue, ulValueLen }| {
                (type_, std::slice::from_raw_parts(pValue.cast::<u8>(), ulValueLen as usize))
            })
            .collect()
    };
    let Some(token) = TOKEN.get() else { return CKR_GENERAL_ERROR };
    with_session(session, |session, is_logged_in| {
        let is_visible = |handle: CK_OBJECT_HANDLE| is_logged_in || handle != PRIVATE_KEY;
        let fits = |has: &Attributes| {
            wanted.iter().all(|(wanted, value)| has.iter().any(|(name, own)| name == wanted && own == value))
        };
        session.found = token
            .objects
            .iter()
            .rev()
            .filter(|(handle, has)| is_visible(*handle) && fits(has))
            .map(|(handle, _)| *handle)
            .collect();
        CKR_OK
    })
}

unsafe extern "C" fn find(
    session: CK_SESSION_HANDLE,
    objects: CK_OBJECT_HANDLE_PTR,
    max: CK_ULONG,
    count: CK_ULONG_PTR,
) -> CK_RV {
    with_session(session, |session, _| {
        let some = session.found.split_off(session.found.len().saturating_sub(max as usize));
        // SAFETY: promised by the caller of C_FindObjects: there is room for `max` handles.
        unsafe {
            *count = max;
            write_out(&some, objects, count)
        }
    })
}

unsafe extern "C" fn end_finding(session: CK_SESSION_HANDLE) -> CK_RV {
    with_session(session, |session, _| {
        session.found.clear();
        CKR_OK
    })
}

unsafe extern "C" fn attributes(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    let object = TOKEN.get().and_then(|token| token.objects.iter().find(|(handle, _)| *handle == object));
    let Some((_, has)) = object else { return CKR_OBJECT_HANDLE_INVALID };
    with_session(session, |_, _| {
        let mut answer = CKR_OK;
        for at in 0..count as usize {
            // SAFETY: promised by the caller of C_GetAttributeValue: there are `count` attributes, whose values are
            // null or have room for the given lengths.
            unsafe {
                let attribute = &mut *template.add(at);
                match has.iter().find(|(name, _)| *name == attribute.type_) {
                    Some((_, value)) => {
                        let mut length = attribute.ulValueLen;
                        answer = answer.max(write_out(value, attribute.pValue.cast(), &raw mut length));
                        attribute.ulValueLen = length;
                    }
                    None => {
                        attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                        answer = CKR_ATTRIBUTE_TYPE_INVALID;
                    }
                }
            }
        }
        answer
    })
}

unsafe extern "C" fn begin_signing(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: promised by the caller of C_SignInit.
    let mechanism = unsafe { mechanism.read_unaligned() }.mechanism;
    with_session(session, |session, is_logged_in| match key {
        _ if !is_logged_in => CKR_USER_NOT_LOGGED_IN,
        _ if key != 3 => CKR_KEY_HANDLE_INVALID,
        _ if !MECHANISMS.contains(&mechanism) => CKR_MECHANISM_INVALID,
        _ => {
            session.mechanism = Some(mechanism);
            CKR_OK
        }
    })
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    length: CK_ULONG,
    signature: CK_BYTE_PTR,
    signature_length: CK_ULONG_PTR,
) -> CK_RV {
    let Some(token) = TOKEN.get() else { return CKR_GENERAL_ERROR };
    // SAFETY: promised by the caller of C_Sign.
    let data = unsafe { std::slice::from_raw_parts(data, length as usize) };
    with_session(session, |session, _| {
        let signed = match session.mechanism {
            Some(CKM_SHA1_RSA_PKCS) => token.key.sign(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(data)),
            Some(CKM_SHA256_RSA_PKCS) => token.key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(data)),
            Some(_) => token.key.sign(Pkcs1v15Sign::new_unprefixed(), data),
            None => return CKR_OPERATION_NOT_INITIALIZED,
        };
        let Ok(signed) = signed else { return CKR_DATA_LEN_RANGE };
        // SAFETY: promised by the caller of C_Sign.
        let answer = unsafe { write_out(&signed, signature, signature_length) };
        if !signature.is_null() && answer == CKR_OK {
            session.mechanism = None;
        }
        answer
    })
}
