//! Checks of a request's form. Working clients differ in it; this project's client follows the genuine one.

use std::net::IpAddr;

use super::message::Request;
use super::refusal::Refusal;
use crate::http::HttpRequest;

pub(crate) type Checked<T> = std::result::Result<T, Refusal>;
pub(crate) type Parameters = Vec<(String, String)>;

/// Refuses a request for its form, or accepts it with a warning.
#[derive(Debug, Default)]
pub(crate) struct Form {
    strict: bool,
    pub(crate) warnings: Vec<Refusal>,
}

impl Form {
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, warnings: Vec::new() }
    }

    /// Reports a difference from the genuine client.
    pub(crate) fn differs(&mut self, how: Refusal) -> Checked<()> {
        if self.strict {
            return Err(how);
        }
        if !self.warnings.contains(&how) {
            self.warnings.push(how);
        }
        Ok(())
    }

    pub(crate) fn check(&mut self, holds: bool, refusal: Refusal) -> Checked<()> {
        if holds { Ok(()) } else { self.differs(refusal) }
    }

    /// Checks the method of an endpoint for messages. One known client logs out with GET.
    pub(crate) fn check_method(&mut self, request: &HttpRequest) -> Checked<()> {
        self.check(request.method == "POST", Refusal::Method)
    }

    /// Returns the client's version from a well-formed `User-Agent`, or else an empty text.
    pub(crate) fn check_user_agent<'a>(&mut self, request: &'a HttpRequest) -> Checked<&'a str> {
        let agent = request.header("User-Agent").unwrap_or_default();
        let version = agent
            .strip_prefix("Mozilla/4.0(compatible;IE;GACv")
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap_or_default();
        self.check(!version.is_empty(), Refusal::UserAgent)?;
        Ok(version)
    }

    /// Checks what every message must contain.
    pub(crate) fn check_common(&mut self, message: &Request, service: &str, peer: IpAddr) -> Checked<()> {
        message.need_value("service", service)?;
        let log_session_id = message.need("log_session_id")?;
        let well_formed = log_session_id.len() == 10 && log_session_id.bytes().all(|b| b.is_ascii_alphanumeric());
        self.check(well_formed, Refusal::Wrong("log_session_id"))?;
        let (device, address) = message.need("device_id")?.split_once(",ClientIP=").unwrap_or_default();
        let well_formed = device.len() == 8
            && device.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && address.parse() == Ok(peer);
        self.check(well_formed, Refusal::Wrong("device_id"))
    }

    /// Checks an identifier that must be the same in all messages of a login.
    pub(crate) fn check_same(&mut self, name: &'static str, value: &str, before: &str) -> Checked<()> {
        self.check(value == before, Refusal::NotTheSame(name))
    }

    /// Parses a query's parameters. Values must escape every character that lenient parsers could misread.
    pub(crate) fn read_query(&mut self, query: &str) -> Checked<Parameters> {
        let mut parameters = Parameters::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if parameters.iter().any(|other| other.0 == name) {
                return Err(Refusal::Repeated(name.into()));
            }
            let not_escaped = || Refusal::NotEscaped(name.into());
            // RFC 3986, unreserved characters.
            let escaped = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b));
            self.check(escaped, not_escaped())?;
            parameters.push((name.into(), unescape(value).ok_or_else(not_escaped)?));
        }
        Ok(parameters)
    }
}

/// Keeps `+`, which tickets contain, instead of reading it as a blank.
fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_unescaped() {
        assert_eq!(
            Form::new(true).read_query("token=a%2Bb%3D%40%23&x=").unwrap(),
            [("token".into(), "a+b=@#".into()), ("x".into(), String::new())]
        );
    }

    #[test]
    fn unescaped_characters_in_a_query_are_refused_or_cause_a_warning() {
        let refusal = Refusal::NotEscaped("token".into());
        for value in ["a+b", "a=", "a@b", "a/b"] {
            let query = format!("token={value}");
            assert_eq!(Form::new(true).read_query(&query), Err(refusal.clone()), "{query}");
            let mut lenient = Form::new(false);
            assert_eq!(lenient.read_query(&query).unwrap(), [("token".into(), value.into())]);
            assert_eq!(lenient.warnings, std::slice::from_ref(&refusal), "{query}");
        }
        for query in ["token=%2", "token=%zz"] {
            for strict in [true, false] {
                assert_eq!(Form::new(strict).read_query(query), Err(refusal.clone()), "{query}");
            }
        }
    }
}
