//! Output as text and as JSON.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use ticketapi::printable::is_unfit;
use ticketapi::session::{Contexts, Session};
use ticketapi::ssb::{Role, RoleAssertion, RoleProfile};
use ticketapi::{Error, ErrorKind, Result, Stage};

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const FAINT: Style = Style::new().dimmed();

/// Removes what could control a terminal: cards and servers choose these texts.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unfit(c) { '\u{fffd}' } else { c }).collect()
}

/// Writes to standard output, with colours on terminals only. A closed reader is not an error.
pub fn out(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(error)),
        _ => Ok(()),
    }
}

/// Writes JSON to standard output.
pub fn json(value: &Value) -> Result<()> {
    out(&format!("{}\n", escaped(&format!("{value:#}"))))
}

/// Escapes what serde_json leaves but a terminal would obey.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unfit(c) && c != '\n' {
            let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            escaped.push_str(&units);
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The error of a standard output that cannot be written.
pub fn unwritten(error: io::Error) -> Error {
    let detail = format!("standard output cannot be written to: {error}");
    Error::new(ErrorKind::NotWritten, Stage::Session, detail).because(error)
}

/// Writes a note to standard error.
pub fn note(text: &str) {
    anstream::eprintln!("{FAINT}{text}{FAINT:#}");
}

/// Writes what happened, then what to do.
pub fn error(error: &Error, as_json: bool) {
    if as_json {
        // There is nowhere else to report this error.
        let _ = json(&json!({ "error": failure(error) }));
    } else {
        anstream::eprintln!("{BAD}{}{BAD:#}\n{}", printable(&error.to_string()), error.remedy());
    }
}

/// Writes a wrong command line as JSON.
pub fn usage(message: &str) {
    let _ = json(&json!({ "error": { "kind": "Usage", "group": "command line", "message": message.trim_end() } }));
}

/// Formats an error.
pub fn failure(error: &Error) -> Value {
    json!({
        "kind": error.kind().name(),
        "group": error.kind().group().as_str(),
        "stage": error.stage().as_str(),
        "message": error.detail(),
        "remedy": error.remedy(),
        "tries_left": error.tries_left(),
    })
}

/// Formats a session, with its ticket shortened.
pub fn session(session: &Session) -> Value {
    let minutes = |time: Option<std::time::Duration>| time.map(|time| time.as_secs() / 60);
    json!({
        "user": { "uid": session.user().uid, "name": session.user().name },
        "role": session.role().map(role),
        "ticket": session.ticket().shortened(),
        "minutes": minutes(session.limits().total),
        "idle_minutes": minutes(session.limits().idle),
        "expires": session.expires().map(|time| humantime::format_rfc3339_seconds(time).to_string()),
    })
}

/// Formats a session as text.
pub fn session_words(session: &Session) -> String {
    let role = session.role().map_or_else(|| "none".to_owned(), role_words);
    let text = [
        ("user", format!("{} ({})", session.user().name, session.user().uid)),
        ("role", role),
        ("ticket", session.ticket().shortened()),
    ];
    text.iter().map(|(name, value)| format!("{name:<8}{}\n", printable(value))).collect()
}

pub fn contexts(contexts: &Contexts) -> Value {
    let organizations = contexts.organizations.iter();
    let organizations = organizations.map(|one| json!({ "id": one.id, "name": one.name, "roles": one.roles }));
    let care_teams = contexts.care_teams.iter();
    let care_teams = care_teams
        .map(|one| json!({ "id": one.id, "name": one.name, "affiliation": one.affiliation, "roles": one.roles }));
    json!({ "organizations": organizations.collect::<Vec<_>>(), "care_teams": care_teams.collect::<Vec<_>>() })
}

/// Formats contexts, each with its whole id on a line of its own: ids are addresses, to be copied.
pub fn contexts_words(contexts: &Contexts) -> String {
    let organizations = contexts.organizations.iter().map(|one| ("organisation", &one.name, "", &one.roles, &one.id));
    let care_teams = contexts.care_teams.iter();
    let care_teams = care_teams.map(|one| ("care team", &one.name, &*one.affiliation, &one.roles, &one.id));
    let lines = organizations.chain(care_teams).map(|(kind, name, of, roles, id)| {
        let of = if of.is_empty() { String::new() } else { format!(" ({of})") };
        let roles = if roles.is_empty() { String::new() } else { format!(": {}", roles.join(", ")) };
        format!("{}\n    {}\n", printable(&format!("{kind:<14}{name}{of}{roles}")), printable(id))
    });
    lines.collect()
}

pub fn role(role: &Role) -> Value {
    json!({
        "id": role.id,
        "organisation_code": role.organisation_code,
        "organisation": role.organisation,
        "type": role.role_type,
        "sub_type": role.sub_type,
        "name": role.name,
    })
}

pub fn role_words(role: &Role) -> String {
    format!("{role} [{}]", role.id)
}

pub fn assertion(assertion: &RoleAssertion) -> Value {
    let profiles: Vec<_> = assertion.roles.iter().map(profile).collect();
    json!({
        "user": { "uid": assertion.uid, "name": assertion.user_name },
        "prescriber_code": assertion.prescriber_code,
        "role": assertion.session_role,
        "issued": assertion.issued,
        "roles": profiles,
    })
}

fn profile(profile: &RoleProfile) -> Value {
    let mut shown = role(&profile.role);
    shown["job_role_code"] = json!(profile.job_role_code);
    shown["areas_of_work"] = json!(profile.areas_of_work);
    shown["workgroups"] = json!(profile.workgroups);
    shown["business_functions"] = json!(profile.business_functions);
    shown["business_function_codes"] = json!(profile.business_function_codes);
    shown
}

/// Formats the user, the role and its permissions.
pub fn assertion_words(assertion: &RoleAssertion) -> String {
    let role = assertion.session_role();
    let functions = role.map_or_else(String::new, |role| role.business_functions.join(", "));
    let text = [
        ("user", format!("{} ({})", assertion.user_name, assertion.uid)),
        ("role", role.map_or_else(|| "none".to_owned(), |role| role_words(&role.role))),
        ("may", functions),
        ("roles", assertion.roles.len().to_string()),
    ];
    text.iter().map(|(name, value)| format!("{name:<8}{}\n", printable(value))).collect()
}
