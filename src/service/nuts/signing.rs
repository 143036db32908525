//! The signing session: what the node says when it begins, and while it is polled.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::NOT_IN_TIME;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::Url;
use crate::secret::{SecretBytes, secret_buffer};
use crate::service::json;

/// The longest id, in bytes.
const LONGEST_ID: usize = 128;

#[derive(Deserialize)]
struct SigningSession {
    #[serde(rename = "sessionID")]
    id: String,
    #[serde(rename = "sessionPtr")]
    pointer: Pointer,
}

#[derive(Deserialize)]
struct Pointer {
    url: String,
}

#[derive(Deserialize)]
struct Poll<'a> {
    status: String,
    #[serde(borrow, rename = "verifiablePresentation")]
    presentation: Option<&'a RawValue>,
}

/// Reads the session's id and its page.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_session(response: &[u8]) -> Result<(String, Url)> {
    let bad = |why: &str| {
        let detail = format!("the node's signing session cannot be used: {why}");
        Error::new(ErrorKind::BadAnswer, Stage::Activation, detail)
    };
    let session: SigningSession = json::read(response).map_err(|error| bad(&error.to_string()))?;
    // It becomes a part of an address.
    if session.id.is_empty()
        || session.id.len() > LONGEST_ID
        || !session.id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Err(bad("its id is not one"));
    }
    let page = Url::parse(&session.pointer.url).map_err(|why| bad(&format!("the address of its page: {why}")))?;
    Ok((session.id, page))
}

/// Reads the presentation; `None` while the user has not decided.
///
/// # Errors
///
/// [`Cancelled`](ErrorKind::Cancelled) if the user has rejected the contract, or did not answer in time;
/// [`Refused`](ErrorKind::Refused) and [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_poll(response: &[u8]) -> Result<Option<SecretBytes>> {
    let error = |kind, detail: &str| Err(Error::new(kind, Stage::Browser, detail));
    let poll: Poll<'_> = json::read(response).map_err(|why| {
        let detail = format!("the node's response about the signing session cannot be used: {why}");
        Error::new(ErrorKind::BadAnswer, Stage::Browser, detail)
    })?;
    match (&*poll.status, poll.presentation) {
        ("created" | "in-progress", _) => Ok(None),
        ("completed", Some(presentation)) => {
            let text = presentation.get().as_bytes();
            let mut kept = secret_buffer(text.len());
            kept.extend_from_slice(text);
            Ok(Some(kept))
        }
        ("cancelled", _) => error(ErrorKind::Cancelled, "the contract was rejected on the node's page"),
        ("expired", _) => error(ErrorKind::Cancelled, NOT_IN_TIME),
        // The node gives the presentation out once.
        ("vp-requested", _) => {
            let detail = "the node has given the presentation to somebody else, or it was lost on its way";
            error(ErrorKind::BadAnswer, detail)
        }
        ("errored" | "", _) => error(ErrorKind::Refused, "the node did not accept what its page sent"),
        _ => error(ErrorKind::BadAnswer, "the node's signing session is in a state that is not known"),
    }
}
