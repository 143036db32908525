//! The page where the user reads the contract, and accepts or rejects it.

use super::session::{SigningSession, Status};

const HEAD: &str =
    "<!DOCTYPE html>\n<html>\n<head><meta charset=\"UTF-8\"><title>Nuts simulator</title></head>\n<body>\n";

/// The page with the form. It has the same ids as a real node's page, for tests that press its buttons.
pub(super) fn form(session: &SigningSession) -> String {
    let statement = &session.statement;
    let contract = statement.contract.split_once(' ').map_or("", |parts| parts.1);
    let role = statement.role.as_ref().map_or_else(String::new, |role| {
        format!("    <tr><td>Role</td><td id=\"employee-role\">{}</td></tr>\n", escaped(role))
    });
    format!(
        "{HEAD}<main>\n  <p>Please read this statement:</p>\n  <div class=\"contract\" id=\"contract\">{}</div>\n  \
         <p>Are you this employee?</p>\n  <table>\n    \
         <tr><td>Identifier</td><td id=\"employee-identifier\">{}</td></tr>\n    \
         <tr><td>Name</td><td id=\"employee-name\">{} {}</td></tr>\n{role}  </table>\n  \
         <form method=\"POST\">\n    <input type=\"hidden\" name=\"secret\" value=\"{}\">\n    \
         <button type=\"submit\" id=\"accept-button\" name=\"accept\" value=\"true\">Yes, I agree</button>\n    \
         <button type=\"submit\" id=\"reject-button\" name=\"accept\" value=\"false\">No</button>\n  \
         </form>\n</main>\n</body>\n</html>\n",
        escaped(contract),
        escaped(&statement.identifier),
        escaped(&statement.initials),
        escaped(&statement.family_name),
        session.secret,
    )
}

/// The page of a session that the form is not shown for (any more).
pub(super) fn status(status: Status) -> String {
    let text = match status {
        Status::Completed => "The identification step is completed.",
        Status::InProgress => "The identification step is already started, go back, or start over.",
        Status::Cancelled => "The identification step is cancelled.",
        Status::Errored => "The identification step is errored. Please contact your employer.",
        Status::Expired => "The identification step took too long, please try again.",
        Status::Created | Status::Requested | Status::None => "",
    };
    let paragraph = if text.is_empty() { String::new() } else { format!("  <p>{text}</p>\n") };
    format!("{HEAD}<main>\n{paragraph}</main>\n</body>\n</html>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}
