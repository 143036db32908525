//! Texts for the user, the same for every prompter.

use std::collections::HashMap;

use super::{LoginPage, PinProblem, PinRequest};
use crate::card::{Absence, PinTries};
use crate::printable::clean;
use crate::session::Role;

/// The title of windows for logins at the SSB, and of what asks for a card's PIN.
pub(crate) const TITLE: &str = "NHS Spine login";
/// What the card is used for, where it signs documents.
const SIGNATURE: &str = "Signature";
/// The heading of the role list.
pub const CHOOSE_ROLE: &str = "Choose your role";
/// Asks for search words if there are many roles.
pub const SEARCH_ROLES: &str = "Search by organisation, code or role";
/// The button that uses the last try.
pub const USE_LAST_TRY: &str = "Use the last try";
/// The button that ends the login.
pub const CANCEL: &str = "Cancel";
/// The button that hides a message and keeps waiting.
pub(crate) const HIDE: &str = "Hide";
/// The error of a PIN prompt that timed out.
pub(crate) const NO_PIN_IN_TIME: &str = "the PIN was not entered in time";
/// The error of a role prompt that timed out.
pub(crate) const NO_ROLE_IN_TIME: &str = "no role was chosen in time";

/// Says that the login continues in the browser.
pub const BROWSER_OPENED: &str = "Log in on the page in your browser. If it shows an error, cancel here";

/// The longest card description, in characters: programs may bring their own cards.
const LONGEST_TEXT: usize = 600;

/// Says that a card is needed, and why.
pub fn insert_card(absence: &Absence) -> String {
    match absence {
        Absence::NoCard => "Insert your card".into(),
        Absence::NotRecognised(why) => format!("Card not recognised: {}", clean(why, LONGEST_TEXT)),
        Absence::NoReader => "Connect a card reader, then insert your card".into(),
        Absence::NoService => "The card reader service of this computer does not answer".into(),
    }
}

/// Asks the user to open a page; on this computer, if the login ends at an address that only it has.
pub(super) fn open_page(page: &LoginPage<'_>) -> String {
    let address = page.address;
    match page.redirect_uri {
        Some(redirect_uri) => format!(
            "To log in, open this address in a browser on this computer:\n\n{address}\n\n\
             A browser of another device cannot finish the login, unless {redirect_uri} leads here from there.\n"
        ),
        None => format!("To log in, open this address in a browser:\n\n{address}\n\n"),
    }
}

/// Asks for the PIN, with the tries left.
pub fn enter_pin(request: &PinRequest<'_>) -> String {
    asking("Enter your PIN", request)
}

/// Says that the PIN must be entered on the reader's keys.
pub fn enter_pin_on_reader(request: &PinRequest<'_>) -> String {
    asking("Enter your PIN on the card reader", request)
}

/// Asks whether to use the last try.
pub fn last_try(request: &PinRequest<'_>) -> String {
    format!("This is the last try: a wrong PIN locks the card.\n{}", card(request))
}

/// Says why the PIN is asked for again.
pub fn problem(request: &PinRequest<'_>) -> Option<String> {
    Some(match request.problem? {
        PinProblem::Incorrect { .. } => "Wrong PIN.".into(),
        PinProblem::WrongLength => {
            let status = request.status;
            let (min, max) = (status.min_len, status.max_len);
            let doubtful = (4..=8).any(|length| !status.allows(length));
            let hint = if doubtful { " If yours is right, enter it again." } else { "" };
            format!("The PIN has {min} to {max} characters. It was not tried.{hint}")
        }
    })
}

/// Formats a role on one line.
#[cfg(feature = "terminal")]
pub(super) fn role_words(role: &Role) -> String {
    clean(&role.to_string(), usize::MAX)
}

/// Formats a role for a chooser: organisation, code, role, and the id in brackets at the end.
pub(crate) fn role_line(role: &Role) -> String {
    clean(&format!("{role} [{}]", role.id), usize::MAX)
}

/// Returns the cells of a role: its name, its organisation, and the organisation's code. The name is longer
/// if two roles would look the same.
pub(super) fn role_cells(roles: &[Role]) -> Vec<[String; 3]> {
    let short = |role: &Role| role.name.clone();
    let long = |role: &Role| format!("{} ({} : {})", role.name, role.role_type, role.sub_type);
    let with_id = |role: &Role| format!("{} [{}]", long(role), role.id);
    let names: [&dyn Fn(&Role) -> String; 3] = [&short, &long, &with_id];
    let mut counts = HashMap::new();
    for name in names {
        for role in roles {
            *counts.entry((name(role), &role.organisation, &role.organisation_code)).or_insert(0_usize) += 1;
        }
    }
    let cells = |role: &Role| {
        let is_only = |text: &String| counts[&(text.clone(), &role.organisation, &role.organisation_code)] == 1;
        let name = names.iter().map(|name| name(role)).find(is_only).unwrap_or_else(|| with_id(role));
        [&name, &role.organisation, &role.organisation_code].map(|text| clean(text, LONGEST_TEXT))
    };
    roles.iter().map(cells).collect()
}

fn asking(what: &str, request: &PinRequest<'_>) -> String {
    let tries = match (request.tries_left(), request.status.tries) {
        (Some(1), _) => " (last try: a wrong PIN locks the card)".into(),
        (Some(left), _) => format!(" ({left} tries left)"),
        (None, PinTries::Low) => " (a wrong PIN was entered before)".into(),
        // No report does not mean that all tries are left.
        (None, _) => String::new(),
    };
    let what = match request.purpose {
        Some(purpose) => format!("{what} to {}", clean(purpose, LONGEST_TEXT)),
        None => what.to_owned(),
    };
    format!("{what}{tries}\n{}", card(request))
}

fn card(request: &PinRequest<'_>) -> String {
    let of = match request.uid {
        Some(uid) => format!("card of user {uid} ({})", request.label),
        None => format!("card \"{}\"", request.label),
    };
    let title = if request.purpose.is_some() { SIGNATURE } else { TITLE };
    clean(&format!("{title}: {of}"), LONGEST_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::PinStatus;

    fn request(tries: PinTries, problem: Option<PinProblem>) -> PinRequest<'static> {
        let status = PinStatus::new(tries, 4, 8);
        PinRequest { label: "NHS\x1b[2J card", uid: Some("123456789012"), status, problem, purpose: None }
    }

    #[test]
    fn the_user_is_told_what_a_pin_is_for_that_is_not_for_a_login() {
        let request = PinRequest { purpose: Some("sign 2 documents: a\nb, for rx"), ..request(PinTries::Last, None) };
        assert_eq!(
            enter_pin(&request),
            "Enter your PIN to sign 2 documents: a b, for rx (last try: a wrong PIN locks the card)\n\
             Signature: card of user 123456789012 (NHS [2J card)"
        );
        assert!(last_try(&request).ends_with("card)") && last_try(&request).contains("Signature"));
    }

    #[test]
    fn the_tries_left_are_told_as_far_as_they_are_known() {
        let told = |left| Some(PinProblem::Incorrect { tries_left: Some(left) });
        let untold = Some(PinProblem::Incorrect { tries_left: None });
        for (tries, problem, text) in [
            (PinTries::Unknown, None, "Enter your PIN"),
            (PinTries::Unknown, untold, "Enter your PIN"),
            (PinTries::Unknown, told(2), "Enter your PIN (2 tries left)"),
            (PinTries::Low, None, "Enter your PIN (a wrong PIN was entered before)"),
            (PinTries::Low, told(2), "Enter your PIN (2 tries left)"),
            (PinTries::Low, Some(PinProblem::WrongLength), "Enter your PIN (a wrong PIN was entered before)"),
            (PinTries::Last, None, "Enter your PIN (last try: a wrong PIN locks the card)"),
            (PinTries::Last, told(1), "Enter your PIN (last try: a wrong PIN locks the card)"),
        ] {
            let asked = enter_pin(&request(tries, problem));
            assert_eq!(asked.lines().next(), Some(text), "{tries:?} {problem:?}");
        }
    }

    #[test]
    fn nobody_is_told_to_insert_a_card_where_there_is_nothing_to_insert_it_into() {
        let texts = [Absence::NoCard, Absence::NoReader, Absence::NoService].map(|why| insert_card(&why));
        let expected = [
            "Insert your card",
            "Connect a card reader, then insert your card",
            "The card reader service of this computer does not answer",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_comes_from_a_card_or_the_broker() {
        assert_eq!(
            enter_pin(&request(PinTries::Unknown, None)).lines().nth(1),
            Some("NHS Spine login: card of user 123456789012 (NHS [2J card)")
        );
        assert_eq!(insert_card(&Absence::NotRecognised("a\nb\u{9b}c".into())), "Card not recognised: a b c");
        let role = Role::new("1\x07", "A", "O\tX, \"A\":\"B\":\"C\"");
        assert_eq!(role_line(&role), "O X (A): A : B : C [1 ]");
    }

    #[test]
    fn a_software_card_is_told_with_more_than_a_files_name() {
        let request = PinRequest { label: "good.p12", uid: None, ..request(PinTries::Unknown, None) };
        assert_eq!(enter_pin(&request), "Enter your PIN\nNHS Spine login: card \"good.p12\"");
    }

    #[test]
    fn roles_that_would_look_the_same_are_told_apart() {
        let job = |id, job: &str| Role::new(id, "RX1", &format!("TRUST, {job}"));
        let nurse = job("1", r#""Clinical":"Ward":"Nurse""#);
        let names = |roles: &[Role]| role_cells(roles).into_iter().map(|[name, ..]| name).collect::<Vec<_>>();
        assert_eq!(role_cells(std::slice::from_ref(&nurse)), [["Nurse", "TRUST", "RX1"]]);
        let other = job("2", r#""Clinical":"Office":"Nurse""#);
        assert_eq!(names(&[nurse.clone(), other]), ["Nurse (Clinical : Ward)", "Nurse (Clinical : Office)"]);
        let same = Role { id: "3".into(), ..nurse.clone() };
        assert_eq!(names(&[nurse, same]), ["Nurse (Clinical : Ward) [1]", "Nurse (Clinical : Ward) [3]"]);
    }
}
