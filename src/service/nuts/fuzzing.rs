//! What a node sends, for the fuzz target.

use super::contract::{self, ContractKind};
use super::node::{ErrorKindOf, Step, taken};
use super::presentation::{Asked, Presentation, read_verification};
use super::time::{in_contract, rfc3339};
use super::{session, signing, ticket, user_token};
use crate::error::{ErrorKind, Stage};
use crate::http::{HttpResponse, Url};
use crate::printable::is_unfit;
use crate::secret::Ticket;
use crate::session::{AssuranceLevel, Employee};

/// Those of the presentation in `tests/data/nuts`, which is a seed.
const EMPLOYER: &str = "did:nuts:Eas32ZUxMFsR6Ju7o9h4tfeU6Qh7HfSB5w9Q7BUgNLB2";
const CONTRACT: &str = "EN:PractitionerLogin:v3 I hereby declare to act on behalf of CareBears located in CareTown. This \
     declaration is valid from Sunday, 29 November 2026 04:51:26 until Sunday, 29 November 2026 05:51:26.";
/// 2026-11-29T03:51:27Z
const NOW: i64 = 1_795_924_287;

/// Reads `data` as each of the messages, and checks what holds for all that are accepted.
pub(crate) fn read(kind: u8, data: &[u8]) {
    let employee = Employee::new("481", "J", "van Dijk").role("Verpleegkundige niveau 2");
    match kind % 11 {
        0 => {
            let kind = ContractKind { name: "PractitionerLogin".into(), language: "EN".into(), version: "v3".into() };
            if let Ok(text) = contract::read(data, &kind) {
                assert!(text.starts_with("EN:PractitionerLogin:v3 ") && !text.contains(is_unfit));
                let _ = contract::period(&text);
            }
        }
        1 => signing::read_session(data).into_iter().for_each(check_session),
        2 => {
            if let Ok(Some(presentation)) = signing::read_poll(data) {
                assert!(!presentation.is_empty());
                read_presentation(&presentation, &employee);
            }
        }
        3 => read_presentation(data, &employee),
        4 => {
            let read = read_verification(data, &employee);
            assert!(read.is_ok() || matches!(read.unwrap_err().kind(), ErrorKind::BadAnswer | ErrorKind::Refused));
        }
        5 => {
            if let Ok(token) = session::read_access_token(data) {
                assert!(!token.expose().is_empty());
            }
            if let Ok(text) = session::read_introspection(data) {
                assert_eq!(text.as_bytes(), data);
            }
        }
        6 => read_refusal(data),
        7 => user_token::read_requested(data).into_iter().for_each(check_session),
        8 => {
            let read = user_token::read_token(data);
            assert!(!matches!(read, Ok(Some(token)) if token.access_token.expose().is_empty()));
        }
        9 => {
            let Ok(text) = str::from_utf8(data) else { return };
            if let Some(presentation) = ticket::presentation(&Ticket::new(text.to_owned())) {
                assert_eq!(ticket::ticket(&presentation).expose(), text);
            }
            let _ = AssuranceLevel::required_for(text);
        }
        _ => {
            let Ok(text) = str::from_utf8(data) else { return };
            let _ = (rfc3339(text), in_contract(text));
        }
    }
}

/// What becomes a part of an address is plain, and the browser opens nothing else than pages.
fn check_session((id, page): (String, Url)) {
    assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert!(page.origin().is_tls() || page.origin().is_loopback());
    assert!(!page.as_str().contains(char::is_control));
}

fn read_presentation(text: &[u8], employee: &Employee) {
    let Ok(presentation) = Presentation::read(text) else { return };
    let asked = Asked { employer: EMPLOYER, employee, contract: CONTRACT, since: NOW - 10, now: NOW };
    if presentation.check(&asked).is_ok() {
        assert!(presentation.ends().is_some_and(|ends| ends > NOW));
    }
}

/// The first two bytes select status and media type.
fn read_refusal(data: &[u8]) {
    let [status, kind, body @ ..] = data else { return };
    let status = [200, 201, 302, 400, 401, 404, 429, 500, 503][usize::from(*status) % 9];
    let content_type = ["application/json", "application/problem+json", "text/html"][usize::from(*kind) % 3];
    for kind in [ErrorKindOf::Settings, ErrorKindOf::Decision] {
        let step = Step { stage: Stage::Session, refusal: "refuses", kind };
        let response = HttpResponse {
            status,
            content_type: Some(content_type.into()),
            www_authenticate: None,
            retry_after: None,
            body: body.to_vec().into(),
        };
        match taken(step, response) {
            Ok(response) => assert!(response.status < 300),
            Err(error) => {
                let detail = error.detail();
                assert!(!detail.contains(is_unfit) && detail.chars().count() < 500);
                assert!(!detail.contains("eyJ"));
            }
        }
    }
}
