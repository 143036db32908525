//! Whether a request is the redirect that ends a login.

use zeroize::Zeroizing;

use crate::printable::clean;
use crate::service::choices::RedirectUri;

/// More than browsers send.
const MOST_HEADERS: usize = 100;

/// In characters.
const LONGEST_ERROR: usize = 64;
const LONGEST_DESCRIPTION: usize = 300;

/// What a client gets.
#[derive(Debug)]
pub(super) enum Judgement {
    Redirect(Verdict),
    /// A status, and why.
    Refused(&'static str, &'static str),
    /// The client has disconnected, or cannot be answered.
    Gone,
}

/// The redirect's parameters.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) outcome: Result<Zeroizing<String>, ProviderError>,
    pub(super) iss: Option<String>,
}

/// A provider's refusal: the code of the error, and a description for people. Both are fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderError {
    pub(crate) error: String,
    pub(crate) description: Option<String>,
}

const MALFORMED: Judgement = Judgement::Refused("400 Bad Request", "This is not the request of a browser.");
pub(super) const TOO_LARGE: Judgement =
    Judgement::Refused("431 Request Header Fields Too Large", "The request is too large.");
const NOT_FOUND: Judgement = Judgement::Refused("404 Not Found", "There is nothing at this address.");
const WRONG_METHOD: Judgement = Judgement::Refused("405 Method Not Allowed", "This address takes GET alone.");
const WRONG_HOST: Judgement = Judgement::Refused("421 Misdirected Request", "This address has another name.");
const NOT_THIS_LOGIN: Judgement = Judgement::Refused(
    "400 Bad Request",
    "This address does not belong to the login that is under way. Go back to the page of the login, or start anew in \
     the program.",
);

/// Judges the bytes that have come; `None` while more must come.
pub(super) fn judge(bytes: &[u8], uri: &RedirectUri, state: &str) -> Option<Judgement> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return (bytes.len() >= super::REQUEST_LIMIT).then_some(TOO_LARGE),
        Err(httparse::Error::TooManyHeaders) => return Some(TOO_LARGE),
        Err(_) => return Some(MALFORMED),
        Ok(httparse::Status::Complete(_)) => {}
    }
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = (hosts.next(), hosts.next());
    Some(match host {
        // A page of another site whose name leads here would have its own name there.
        (Some(host), None) if host.value.eq_ignore_ascii_case(uri.host_header().as_bytes()) => match request.method {
            _ if path != uri.path() => NOT_FOUND,
            Some("GET") => parameters(query, state).map_or(NOT_THIS_LOGIN, Judgement::Redirect),
            _ => WRONG_METHOD,
        },
        _ => WRONG_HOST,
    })
}

/// Reads the parameters of the redirect with this `state`; `None` for any other request.
fn parameters(query: &str, state: &str) -> Option<Verdict> {
    let [mut code, mut its_state, mut iss, mut error, mut description] = [const { None }; 5];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match &**decode(name)? {
            "code" => &mut code,
            "state" => &mut its_state,
            "iss" => &mut iss,
            "error" => &mut error,
            "error_description" => &mut description,
            // Providers add their own.
            _ => continue,
        };
        // RFC 6749, 3.1: no parameter comes twice.
        if place.replace(decode(value)?).is_some() {
            return None;
        }
    }
    if its_state?.as_str() != state {
        return None;
    }
    let outcome = match (code.filter(|code| !code.is_empty()), error.filter(|error| !error.is_empty())) {
        (Some(code), None) => Ok(code),
        (None, Some(error)) => Err(ProviderError {
            error: clean(&error, LONGEST_ERROR),
            description: description
                .map(|text| clean(text.trim(), LONGEST_DESCRIPTION))
                .filter(|text| !text.is_empty()),
        }),
        _ => return None,
    };
    Some(Verdict { outcome, iss: iss.map(|iss| iss.as_str().to_owned()) })
}

/// Decodes a name or a value of `application/x-www-form-urlencoded`.
fn decode(text: &str) -> Option<Zeroizing<String>> {
    // Its capacity is enough, so it is not copied.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || Some(char::from(bytes.next()?).to_digit(16)? as u8);
                digit()? << 4 | digit()?
            }
            byte => byte,
        });
    }
    match String::from_utf8(std::mem::take(&mut *decoded)) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "st-1";

    fn uri() -> RedirectUri {
        RedirectUri::default().with_port(8123)
    }

    fn request(line: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:8123\r\nCookie: a=b\r\n\r\n")
    }

    fn status(request: &str) -> &'static str {
        match judge(request.as_bytes(), &uri(), STATE) {
            Some(Judgement::Refused(status, _)) => status,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn verdict(query: &str) -> Option<Verdict> {
        match judge(request(&format!("GET /callback?{query}")).as_bytes(), &uri(), STATE) {
            Some(Judgement::Redirect(verdict)) => Some(verdict),
            Some(Judgement::Refused("400 Bad Request", _)) => None,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn the_redirect_with_our_state_holds_the_code_and_the_issuer() {
        let query = "state=st-1&session_state=x&iss=https%3A%2F%2Fid.example%2Fa&code=a%2Bb+c%3d";
        let verdict = verdict(query).unwrap();
        assert_eq!(verdict.outcome.unwrap().as_str(), "a+b c=");
        assert_eq!(verdict.iss.as_deref(), Some("https://id.example/a"));
    }

    #[test]
    fn a_refusal_is_told_with_texts_fit_to_be_shown() {
        let verdict = verdict("error=access_denied%1b&error_description=+No%0Aentry%E2%80%AE&state=st-1").unwrap();
        let expected = ProviderError { error: "access_denied ".into(), description: Some("No entry".into()) };
        assert_eq!((verdict.outcome.unwrap_err(), verdict.iss), (expected, None));
        let long = self::verdict(&format!("state=st-1&error={}", "e".repeat(500))).unwrap().outcome.unwrap_err();
        assert_eq!(long.error.chars().count(), LONGEST_ERROR + 1);
    }

    #[test]
    fn a_request_without_our_state_or_with_neither_code_nor_error_ends_nothing() {
        for query in [
            "",
            "code=a",
            "state=st-1",
            "state=st-1&code=",
            "state=st-1&error=",
            "state=st-2&code=a",
            "state=ST-1&code=a",
            "state=st-1%00&code=a",
            "state=&code=a",
            "error=access_denied",
            "state=st-2&error=access_denied",
            "state=st-1&code=a&error=access_denied",
            "state=st-1&code=a&code=b",
            "state=st-1&state=st-2&code=a",
            "state=st-2&state=st-1&code=a",
            "state=st-1&code=a&iss=https://a&iss=https://b",
            "state=st-1&code=%f",
            "state=st-1&code=%zz",
            "state=st-1&code=%ff",
            "state=st-1&code=%+1",
        ] {
            assert!(verdict(query).is_none(), "{query}");
        }
    }

    #[test]
    fn other_addresses_methods_and_hosts_are_refused() {
        for line in ["GET /", "GET /favicon.ico", "GET /callback/?state=st-1&code=a", "GET /Callback", "POST /x"] {
            assert_eq!(status(&request(line)), "404 Not Found", "{line}");
        }
        for line in ["POST", "HEAD", "OPTIONS", "PUT"] {
            let line = format!("{line} /callback?state=st-1&code=a");
            assert_eq!(status(&request(&line)), "405 Method Not Allowed");
        }
        for host in [
            "",
            "Host: localhost:8123\r\n",
            "Host: 127.0.0.1\r\n",
            "Host: 127.0.0.1:8124\r\n",
            "Host: evil.example:8123\r\n",
            "Host: 127.0.0.1:8123\r\nHost: 127.0.0.1:8123\r\n",
        ] {
            let request = format!("GET /callback?state=st-1&code=a HTTP/1.1\r\n{host}\r\n");
            assert_eq!(status(&request), "421 Misdirected Request", "{host:?}");
        }
    }

    #[test]
    fn half_a_request_is_waited_for_and_what_is_none_is_refused() {
        let whole = request("GET /callback?state=st-1&code=a");
        for end in 0..whole.len() {
            assert!(judge(&whole.as_bytes()[..end], &uri(), STATE).is_none(), "{end}");
        }
        assert_eq!(status("\x16\x03\x01\x02"), "400 Bad Request");
        assert_eq!(status("GET http://127.0.0.1:8123/callback?a b HTTP/1.1\r\n\r\n"), "400 Bad Request");
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(status(&many), "431 Request Header Fields Too Large");
        let long = format!("GET /{}", "a".repeat(super::super::REQUEST_LIMIT));
        assert_eq!(status(&long), "431 Request Header Fields Too Large");
    }
}
