//! The contract that the user signs, as the node has drawn it up.

use serde::{Deserialize, Serialize};

use super::time::in_contract;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::printable::is_unfit;
use crate::service::json;

/// More than any contract has, in characters.
const LONGEST: usize = 2_000;

/// Which contract the settings choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContractKind {
    pub(crate) name: String,
    pub(crate) language: String,
    pub(crate) version: String,
}

/// A request to draw up a contract.
#[derive(Serialize)]
pub(super) struct DrawUp<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    language: &'a str,
    version: &'a str,
    #[serde(rename = "legalEntity")]
    employer: &'a str,
}

impl<'a> DrawUp<'a> {
    pub(super) fn new(kind: &'a ContractKind, employer: &'a str) -> Self {
        Self { name: &kind.name, language: &kind.language, version: &kind.version, employer }
    }
}

#[derive(Deserialize)]
struct DrawnUp {
    #[serde(rename = "type")]
    name: String,
    language: String,
    version: String,
    message: String,
}

/// Reads the text of the contract that was asked for.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read(answer: &[u8], kind: &ContractKind) -> Result<String> {
    let bad = |why: &str| {
        Error::new(ErrorKind::BadAnswer, Stage::Activation, format!("the node's contract cannot be used: {why}"))
    };
    let drawn: DrawnUp = json::read(answer).map_err(|error| bad(&error.to_string()))?;
    if (&drawn.name, &drawn.language, &drawn.version) != (&kind.name, &kind.language, &kind.version) {
        return Err(bad("it is another one than the settings contract, contract_language and contract_version name"));
    }
    let head = format!("{}:{}:{} ", kind.language, kind.name, kind.version);
    if !drawn.message.starts_with(&head) {
        return Err(bad("its text does not begin with its name"));
    }
    if drawn.message.chars().count() > LONGEST || drawn.message.chars().any(is_unfit) {
        return Err(bad("its text is too long, or has control or formatting characters"));
    }
    Ok(drawn.message)
}

/// When a contract begins and ends, in seconds since 1970, by the words in its text: its last two times.
pub(super) fn period(text: &str) -> Option<(i64, i64)> {
    // `… valid from DAY until DAY.`, in Dutch `… van DAY tot DAY.`
    let text = text.strip_suffix('.')?;
    let (rest, to) = text.rsplit_once(" until ").or_else(|| text.rsplit_once(" tot "))?;
    let (_, from) = rest.rsplit_once(" from ").or_else(|| rest.rsplit_once(" van "))?;
    Some((in_contract(from)?, in_contract(to)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::time::rfc3339;
    use super::*;

    fn kind() -> ContractKind {
        ContractKind { name: "PractitionerLogin".into(), language: "EN".into(), version: "v3".into() }
    }

    fn refused(change: &dyn Fn(&mut serde_json::Value)) -> String {
        let mut answer = json!({
            "type": "PractitionerLogin", "language": "EN", "version": "v3",
            "message": "EN:PractitionerLogin:v3 I hereby declare.",
        });
        change(&mut answer);
        read(answer.to_string().as_bytes(), &kind()).err().map_or_else(String::new, |error| error.detail().into())
    }

    #[test]
    fn only_the_contract_that_was_asked_for_is_taken() {
        assert_eq!(refused(&|_| {}), "");
        for (member, value, why) in [
            ("type", "Other", "another one"),
            ("language", "NL", "another one"),
            ("version", "v1", "another one"),
            ("message", "NL:PractitionerLogin:v3 x", "does not begin"),
            ("message", "", "does not begin"),
            ("message", "EN:PractitionerLogin:v3 a\u{202e}b", "formatting"),
            ("message", &format!("EN:PractitionerLogin:v3 {}", "x".repeat(3000)), "too long"),
        ] {
            let refusal = refused(&|answer| answer[member] = value.into());
            assert!(refusal.contains(why), "{member}={value:.40}: {refusal}");
        }
        assert!(refused(&|answer| answer["message"] = 1.into()).contains("type"));
        let deep = format!("{{\"a\":{}", "[".repeat(10_000));
        assert_eq!(*read(deep.as_bytes(), &kind()).unwrap_err().kind(), ErrorKind::BadAnswer);
    }

    #[test]
    fn the_period_is_in_the_text() {
        let english = "EN:PractitionerLogin:v3 I hereby declare to act on behalf of Care from until located in CareTown. This \
             declaration is valid from Sunday, 29 November 2026 04:51:26 until Sunday, 29 November 2026 05:51:26.";
        let dutch = "NL:BehandelaarLogin:v3 Hierbij verklaar ik te handelen in naam van CareBears te Sas van Gent. Deze \
             verklaring is geldig van zondag, 29 november 2026 04:51:26 tot zondag, 29 november 2026 05:51:26.";
        let expected = rfc3339("2026-11-29T03:51:26Z").zip(rfc3339("2026-11-29T04:51:26Z"));
        assert!(expected.is_some());
        assert_eq!((period(english), period(dutch)), (expected, expected));
        assert_eq!(period("EN:PractitionerLogin:v3 I hereby declare."), None);
    }
}
