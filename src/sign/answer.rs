//! What a request has given, as JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use der::DateTime;
use serde_json::{Value, json};

use super::{FailedSignature, Signature, Signatures};
use crate::error::Error;

/// Returns the answer in the form of NHS Credential Management's, for the command and for web pages. `failure` is the
/// first one, if there is one.
#[doc(hidden)]
pub fn answer(signatures: &Signatures, failure: Option<&Error>) -> Value {
    let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let signed = signatures.signatures.iter();
    let signed = signed.map(|Signature { id, bytes }| json!({ "id": id, "signature": base64(bytes) }));
    let failed = signatures.failed.iter().map(|FailedSignature { id, error, .. }| {
        json!({
            "id": id,
            "status_code": error.kind().group().status_code(),
            "status_string": error.kind().name(),
            "message": error.to_string(),
        })
    });
    let chain = signatures.chain.iter().map(|der| base64(der));
    json!({
        "status_code": failure.map_or(0, |error| error.kind().group().status_code()),
        "status_string": failure.map_or_else(|| "Success".to_owned(), |error| error.kind().name()),
        "message": failure.map(ToString::to_string).unwrap_or_default(),
        "algorithm": signatures.algorithm.as_str(),
        "certificate": base64(&signatures.certificate),
        "chain": chain.collect::<Vec<_>>(),
        // A clock beyond the year 9999 gives no time.
        "timestamp": DateTime::from_system_time(signatures.time).map(|time| time.to_string()).unwrap_or_default(),
        "signatures": signed.collect::<Vec<_>>(),
        "failed_signatures": failed.collect::<Vec<_>>(),
    })
}
