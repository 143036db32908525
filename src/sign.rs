//! Signatures with the card: content commitment.

mod algorithm;
mod answer;
mod cms;
mod format;
mod jws;
mod request;
mod xmldsig;

pub use algorithm::Algorithm;
#[doc(hidden)]
pub use answer::answer;
pub use format::{Draft, Format};
pub use request::{
    Content, FailedSignature, KeyUse, MAX_BYTES, MAX_PAYLOADS, Payload, SignRequest, Signature, Signatures,
};
