//! Signatures with the card.

#![expect(clippy::missing_safety_doc, reason = "the docs are the header's, which states the contract once")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Arc;
use std::time::SystemTime;

use ticketapi::sign::{KeyUse, MAX_PAYLOADS, SignRequest, Signatures};
use ticketapi::{Error, Result};

use crate::boundary::{Outcome, TextOut, export, text_in, write_if_wanted};
use crate::c::TCK_API_INSTANCE;
use crate::process::Process;
use crate::status::{Failure, TCK_API_ERR_INVALID_PARAMETER, TCK_API_ERR_RESOURCE_NOT_AVAILABLE};

/// A payload for ticketapi_sign.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TicketApiPayload {
    /// Its bytes, or its hash.
    pub data: *const c_void,
    /// How many these are.
    pub size: c_uint,
}

/// A request for ticketapi_sign. Fields that are zero have the usual meaning, so that a program sets those it needs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TicketApiSignRequest {
    /// What the documents are, for the PIN prompt; NULL for none.
    pub title: *const c_char,
    /// "RS256" (NULL means this), "RS384", "RS512", "PS256", "ES256", "ES384", or "RS1", which uses SHA-1.
    pub algorithm: *const c_char,
    /// "raw" (NULL means this), "cms" (detached, in DER), "jws" (compact), or "xmldsig" (each payload is a
    /// canonical SignedInfo element, or its base64).
    pub format: *const c_char,
    /// 1 to sign with the key for logging in instead of the one for signatures.
    pub login_key: c_int,
    /// 1 if the payloads are hashes, of the algorithm; only for "raw".
    pub hashes: c_int,
    /// The payloads: 1 to 250, of at most 16 MiB together.
    pub payloads: *const TicketApiPayload,
    /// How many these are.
    pub count: c_uint,
}

/// Signs documents with the user's card. Asks for the PIN, for this request alone; a session continues. The library
/// hashes the payloads, and verifies each signature with the signer's certificate.
///
/// Blocks for as long as the user takes, as TcktApi_getTicket does; ticketapi_cancel ends it. The card is used in
/// this process also if an agent holds the session. The results are kept for `instance`: ticketapi_signature,
/// ticketapi_signer and ticketapi_signing_time return them, until the next ticketapi_sign or TcktApi_Finalize.
///
/// TCK_API_SUCCESS means that every payload was signed. If only some could not be, the code is that of the first of
/// these, and the results are kept all the same.
///
/// Codes: TCK_API_ERR_INVALID_PARAMETER (the description says what is wrong with the request; nobody is prompted),
/// TCK_API_ERR_NO_CERT_FOUND, TCK_API_ERR_NO_KEY_FOUND and TCK_API_ERR_SMARTCARD_NOT_VALID (the card has no
/// certificate for signatures, no key for it, or none that is valid today), TCK_API_ERR_SMARTCARD_NOT_SUPPORTED (its
/// key does not suit the algorithm), TCK_API_ERR_USER_NOT_VALID (the card is another user's than the session's), and
/// the other codes of TcktApi_getTicket that are about cards and PINs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_sign(instance: TCK_API_INSTANCE, request: *const TicketApiSignRequest) -> c_int {
    export(instance, || {
        let call = Process::call(instance)?;
        // SAFETY: the header asks this of the caller.
        let request = unsafe { request_in(request) }?;
        call.forget_signed();
        let ids = request.payloads.iter().map(|payload| payload.id.clone()).collect();
        let signed = Arc::new(Signed::new(ids, call.engine.sign(&request)?));
        let first = signed.results.iter().find_map(|result| result.as_ref().err()).cloned();
        call.keep_signed(signed);
        first.map_or(Ok(()), |error| Err(error.into()))
    })
}

/// Returns the signature of payload number `index` of the last ticketapi_sign, starting at 0, in the request's format.
/// Buffers as for TcktApi_getTicketNoAuth: the bytes, which may be zero, then a NUL.
///
/// Codes: the one why this payload was not signed; TCK_API_ERR_RESOURCE_NOT_AVAILABLE (there is no such payload, or
/// ticketapi_sign failed as a whole), TCK_API_ERR_BUFFER_TOO_SMALL, TCK_API_ERR_INVALID_PARAMETER,
/// TCK_API_ERR_NOT_INITIALIZED, TCK_API_ERR_INVALID_INSTANCE_HANDLE, TCK_API_ERR_INTERNAL_ERROR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_signature(
    instance: TCK_API_INSTANCE,
    index: c_uint,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (signed, out) = (signed(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        match signed.results.get(index as usize) {
            Some(Ok(signature)) => out.write(signature),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(Failure::new(TCK_API_ERR_RESOURCE_NOT_AVAILABLE)),
        }
    })
}

/// Returns a certificate of the last ticketapi_sign, in DER: number 0 is the signer's, the next ones are those of its
/// issuers as far as the card has them. Buffers and codes as for ticketapi_signature;
/// TCK_API_ERR_RESOURCE_NOT_AVAILABLE after the last one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_signer(
    instance: TCK_API_INSTANCE,
    index: c_uint,
    buffer: *mut c_char,
    size: c_uint,
    used: *mut c_uint,
) -> c_int {
    export(instance, || {
        // SAFETY: the header asks this of the caller.
        let (signed, out) = (signed(instance)?, unsafe { TextOut::new(buffer, size, used) }?);
        let certificate = signed.certificates.get(index as usize);
        out.write(certificate.ok_or_else(|| Failure::new(TCK_API_ERR_RESOURCE_NOT_AVAILABLE))?)
    })
}

/// Writes the time of the last ticketapi_sign to `time`, in seconds since the beginning of 1970 (UTC). Codes as for
/// ticketapi_signature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ticketapi_signing_time(instance: TCK_API_INSTANCE, time: *mut c_uint) -> c_int {
    export(instance, || {
        let signed = signed(instance)?;
        if time.is_null() {
            return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
        }
        // SAFETY: the header asks this of the caller.
        unsafe { write_if_wanted(time, signed.seconds() as c_uint) };
        Ok(())
    })
}

/// The results of a request.
pub(crate) struct Signed {
    /// Of each payload, in the request's order.
    pub(crate) results: Vec<Result<Vec<u8>>>,
    /// The signer's first.
    pub(crate) certificates: Vec<Vec<u8>>,
    time: SystemTime,
}

impl Signed {
    /// Sorts the signatures by the ids of their payloads.
    pub(crate) fn new(ids: Vec<String>, signatures: Signatures) -> Self {
        let Signatures { certificate, chain, time, signatures, failed, .. } = signatures;
        let (mut signatures, mut failed) = (signatures.into_iter().peekable(), failed.into_iter().peekable());
        let lost = || Error::new(ticketapi::ErrorKind::Internal, ticketapi::Stage::Signing, "a payload was lost");
        let results = ids.into_iter().map(|id| {
            // Both are in the order of the request.
            if let Some(signature) = signatures.next_if(|signature| signature.id == id) {
                return Ok(signature.bytes);
            }
            Err(failed.next_if(|failed| failed.id == id).map_or_else(lost, |failed| failed.error))
        });
        let results = results.collect();
        Self { results, certificates: [vec![certificate], chain].concat(), time }
    }

    /// Returns the time in seconds since 1970.
    pub(crate) fn seconds(&self) -> u64 {
        self.time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }
}

fn signed(instance: TCK_API_INSTANCE) -> Outcome<Arc<Signed>> {
    Process::signed(instance)?.ok_or_else(|| Failure::new(TCK_API_ERR_RESOURCE_NOT_AVAILABLE))
}

/// Reads a request and copies its payloads.
///
/// # Safety
///
/// `request` is null or points to a request whose texts end with a NUL, and whose payloads are as many and as long as
/// it says.
unsafe fn request_in(request: *const TicketApiSignRequest) -> Outcome<SignRequest> {
    let invalid = || Failure::new(TCK_API_ERR_INVALID_PARAMETER);
    // SAFETY: the caller of this function says so.
    let given = unsafe { request.as_ref() }.ok_or_else(invalid)?;
    // SAFETY: likewise.
    let text = |text: *const c_char| if text.is_null() { Ok(None) } else { unsafe { text_in(text) }.map(Some) };
    let mut request = SignRequest::new();
    request.title = text(given.title)?.map(str::to_owned);
    if let Some(algorithm) = text(given.algorithm)? {
        request.algorithm = algorithm.parse()?;
    }
    if let Some(format) = text(given.format)? {
        request.format = format.parse()?;
    }
    request.key = if given.login_key == 0 { KeyUse::ContentCommitment } else { KeyUse::Login };
    let count = given.count as usize;
    if count > MAX_PAYLOADS || count > 0 && given.payloads.is_null() {
        return Err(invalid());
    }
    for index in 0..count {
        // SAFETY: likewise: there are `count` payloads.
        let TicketApiPayload { data, size } = unsafe { given.payloads.add(index).read_unaligned() };
        let bytes = match (data.is_null(), size) {
            (_, 0) => Vec::new(),
            (true, _) => return Err(invalid()),
            // SAFETY: likewise: it has `size` bytes.
            (false, _) => unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size as usize) }.to_vec(),
        };
        let id = (index + 1).to_string();
        request = if given.hashes == 0 { request.payload(id, bytes) } else { request.hash(id, bytes) };
    }
    Ok(request)
}
