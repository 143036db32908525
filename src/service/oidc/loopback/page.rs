//! The pages that the listener shows: plain, without scripts, styles or addresses.

use crate::error::Error;

/// The title of every page: no title holds anything that came from outside.
const TITLE: &str = "Login";

const CLOSE: &str = "You can close this window.";

/// The login was successful.
pub(super) fn done() -> String {
    page("You are logged in", &[CLOSE])
}

/// The login failed.
pub(super) fn failed(error: &Error) -> String {
    page("The login failed", &[&error.to_string(), error.remedy(), CLOSE])
}

/// The login ended without a word on this page.
pub(super) fn unknown() -> String {
    page("The login was not finished", &["The program that asked for the login says why.", CLOSE])
}

/// The request is not the end of the login.
pub(super) fn refused(why: &str) -> String {
    page("This is not the end of a login", &[why])
}

/// A whole HTTP response.
pub(super) fn response(status: &str, text: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: text/html; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Cache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\n\
         Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

fn page(heading: &str, paragraphs: &[&str]) -> String {
    let paragraphs: String = paragraphs.iter().map(|text| format!("<p>{}</p>\n", escape(text))).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{TITLE}</title></head>\n\
         <body>\n<h1>{}</h1>\n{paragraphs}</body>\n</html>\n",
        escape(heading)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Stage};

    #[test]
    fn a_failure_is_told_in_words_that_no_browser_obeys() {
        let error = Error::new(ErrorKind::Refused, Stage::Browser, "it said <script>alert('&\"')</script>");
        let page = failed(&error);
        assert!(page.contains("it said &lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;</p>"), "{page}");
        assert!(page.contains("<title>Login</title>") && page.contains(CLOSE), "{page}");
        assert!(page.contains(&format!("<p>{}</p>", escape(error.remedy()))), "{page}");
    }
}
