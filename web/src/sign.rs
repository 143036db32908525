//! Signatures for a page: its request, and the answer, in the form of NHS Credential Management's as `ticketapi sign
//! --json` has it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use ticketapi::sign::{self, SignRequest, Signatures};
use ticketapi::{Error, ErrorKind, Result, Stage};

use crate::message;

/// What a signature, or the reason why there is none, takes in the answer at most, beside its id: 4,096 bits in base64.
const SIGNATURE: usize = 768;

/// What the rest of an answer takes at most, most of it certificates.
const REST: usize = 16 << 10;

/// What a page asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    title: Option<String>,
    algorithm: Option<String>,
    payloads: Vec<AskedPayload>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedPayload {
    id: String,
    /// In base64.
    payload: String,
}

/// Returns the request of a page of `origin`, which the user sees before the page's title.
///
/// # Errors
///
/// [`InvalidParameter`](ErrorKind::InvalidParameter), also if the answer might be longer than a message.
pub fn request(asked: Asked, origin: &str) -> Result<SignRequest> {
    let title = asked.title.map_or_else(|| origin.to_owned(), |title| format!("{origin}: {title}"));
    let mut request = SignRequest::new().title(title);
    if let Some(algorithm) = asked.algorithm {
        request.algorithm = algorithm.parse()?;
    }
    let answer: usize = asked.payloads.iter().map(|one| SIGNATURE + json!(one.id).to_string().len()).sum();
    if answer + REST > message::LIMIT {
        let detail =
            format!("the signatures of {} payloads may not fit into an answer of 64 KiB", asked.payloads.len());
        return Err(invalid(format!("{detail}; have them signed in several calls")));
    }
    for AskedPayload { id, payload } in asked.payloads {
        let bytes = BASE64_STANDARD.decode(payload).map_err(|_| invalid(format!("the payload {id} is not base64")))?;
        request = request.payload(id, bytes);
    }
    Ok(request)
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, Stage::Signing, detail)
}

/// The answer for the page.
pub fn answer(signatures: &Signatures) -> Value {
    sign::answer(signatures, signatures.failed.first().map(|failed| &failed.error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(text: &str) -> Asked {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_user_sees_the_origin_first_whatever_title_the_page_gives() {
        let origin = "https://app.example";
        for (text, title) in [
            (
                r#"{"title":"for A. Patient","payloads":[{"id":"1","payload":"eA=="}]}"#,
                "https://app.example: for A. Patient",
            ),
            (r#"{"payloads":[{"id":"1","payload":"eA=="}]}"#, origin),
        ] {
            assert_eq!(request(asked(text), origin).unwrap().title.unwrap(), title);
        }
    }

    #[test]
    fn what_would_not_fit_into_an_answer_is_refused_before_the_user_is_asked() {
        let many = |count: usize| Asked {
            title: None,
            algorithm: None,
            payloads: (0..count).map(|id| AskedPayload { id: id.to_string(), payload: String::new() }).collect(),
        };
        request(many(60), "https://app.example").unwrap();
        let error = request(many(70), "https://app.example").unwrap_err();
        assert!(error.detail().ends_with("of 64 KiB; have them signed in several calls"), "{error}");
    }

    #[test]
    fn a_payload_that_is_no_base64_is_named() {
        let error = request(asked(r#"{"payloads":[{"id":"a","payload":"?"}]}"#), "https://app.example").unwrap_err();
        assert_eq!(error.detail(), "the payload a is not base64");
        serde_json::from_str::<Asked>(r#"{"payloads":[],"format":"jws"}"#).unwrap_err();
    }
}
