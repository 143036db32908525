//! A request, and how it goes over the wire.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::Url;
use super::cookies::Cookies;
use super::message::MAX_ANSWER;
use crate::secret::{SecretBytes, secret_buffer};

/// A request to a server.
pub struct HttpRequest {
    pub(super) url: Url,
    method: Method,
    accept: &'static str,
    headers: Vec<(&'static str, Zeroizing<String>)>,
    pub(super) wanted: Wanted,
}

enum Method {
    Get,
    /// A POST or PUT.
    Sending {
        method: &'static str,
        content_type: &'static str,
        body: SecretBytes,
    },
}

/// As much of an answer as is read.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// The longest body, in bytes.
    pub(crate) limit: usize,
    /// Whether bodies of answers with status 4xx and 5xx are read.
    pub(crate) error_body: bool,
    /// Whether a part of a body that is too large or breaks off is of use.
    pub(crate) any_part: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { limit: MAX_ANSWER, error_body: true, any_part: false }
    }
}

impl HttpRequest {
    /// A GET of `url`.
    pub fn get(url: Url) -> Self {
        Self { url, method: Method::Get, accept: "*/*", headers: Vec::new(), wanted: Wanted::default() }
    }

    /// A POST of `body`.
    pub fn post(url: Url, content_type: &'static str, body: SecretBytes) -> Self {
        Self { method: Method::Sending { method: "POST ", content_type, body }, ..Self::get(url) }
    }

    /// A PUT of `body`.
    #[cfg(feature = "nuts")]
    pub fn put(url: Url, content_type: &'static str, body: SecretBytes) -> Self {
        Self { method: Method::Sending { method: "PUT ", content_type, body }, ..Self::get(url) }
    }

    /// A POST of a form as [`form`](super::form::form) writes it.
    pub fn post_form(url: Url, form: SecretBytes) -> Self {
        Self::post(url, "application/x-www-form-urlencoded", form)
    }

    /// Asks for an answer of this type.
    #[must_use]
    pub fn accept(mut self, content_type: &'static str) -> Self {
        self.accept = content_type;
        self
    }

    /// Adds a header. Values that HTTP cannot carry fail when the request is sent.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: Zeroizing<String>) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Authorizes the request with a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        let value = joined(&["Bearer ", token]);
        self.header("Authorization", value)
    }

    /// Authorizes the request with a user name and a password.
    #[must_use]
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.header("Authorization", basic(user, password))
    }

    /// Reads up to `bytes` of the answer's body instead of 1.5 MiB.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.wanted.limit = bytes;
        self
    }

    /// Reads no body of an answer with an error status.
    #[must_use]
    pub(crate) fn without_error_body(mut self) -> Self {
        self.wanted.error_body = false;
        self
    }

    /// Reads as much as there is of a body that is too large or breaks off; see [`Client::send_for_any_part`].
    ///
    /// [`Client::send_for_any_part`]: super::Client::send_for_any_part
    #[cfg(feature = "oidc")]
    #[must_use]
    pub(crate) fn or_any_part(mut self) -> Self {
        self.wanted.any_part = true;
        self
    }

    /// The first header whose value would end its line or the request, or that HTTP cannot carry.
    pub(super) fn unsendable(&self) -> Option<&'static str> {
        let bad = |value: &str| !value.bytes().all(|byte| byte == b'\t' || matches!(byte, b' '..=b'~'));
        self.headers.iter().find(|(_, value)| bad(value)).map(|(name, _)| *name)
    }

    pub(super) fn to_bytes(&self, user_agent: &str, cookies: &Cookies) -> SecretBytes {
        let (method, content_type, body) = match &self.method {
            Method::Get => ("GET ", None, &[][..]),
            Method::Sending { method, content_type, body } => (*method, Some(*content_type), &body[..]),
        };
        let path = self.url.path_and_query();
        // Without a word on encodings a server may choose any (RFC 9110, 12.5.3).
        let mut headers = format!(
            " HTTP/1.1\r\nHost: {}\r\nUser-Agent: {user_agent}\r\nAccept: {}\r\nAccept-Encoding: identity\r\n",
            self.url.origin().host_header(),
            self.accept,
        );
        if let Some(content_type) = content_type {
            headers += &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut parts = vec![method.as_bytes(), slash.as_bytes(), path.as_bytes(), headers.as_bytes()];
        for (name, value) in &self.headers {
            parts.extend([name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
        for (number, cookie) in cookies.iter().enumerate() {
            parts.extend([if number == 0 { &b"Cookie: "[..] } else { b"; " }, cookie]);
        }
        if cookies.iter().next().is_some() {
            parts.push(b"\r\n");
        }
        parts.extend([&b"\r\n"[..], body]);
        let mut bytes = secret_buffer(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

/// Returns the value of an `Authorization` header with user name and password.
pub(super) fn basic(user: &str, password: &str) -> Zeroizing<String> {
    let pair = joined(&[user, ":", password]);
    // Encoded in place: an encoder that writes pieces keeps copies of them.
    let mut encoded = Zeroizing::new(vec![0; pair.len().div_ceil(3) * 4]);
    let length = BASE64_STANDARD.encode_slice(pair.as_bytes(), &mut encoded).unwrap_or_default();
    joined(&["Basic ", str::from_utf8(&encoded[..length]).unwrap_or_default()])
}

fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| text.push_str(part));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &HttpRequest, cookies: &Cookies) -> String {
        String::from_utf8(request.to_bytes("ticketapi/1", cookies).to_vec()).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_request_is_one_head_and_its_body() {
        let post = HttpRequest::post(url("https://gas.example/a"), "text/xml", b"<x/>".to_vec().into());
        assert_eq!(
            text(&post, &Cookies::default()),
            "POST /a HTTP/1.1\r\nHost: gas.example\r\nUser-Agent: ticketapi/1\r\nAccept: */*\r\n\
             Accept-Encoding: identity\r\nContent-Type: text/xml\r\nContent-Length: 4\r\n\r\n<x/>"
        );
        let get = HttpRequest::get(url("https://h:8443/b?c")).accept("application/json").bearer("t0ken");
        assert_eq!(
            text(&get, &Cookies::default()),
            "GET /b?c HTTP/1.1\r\nHost: h:8443\r\nUser-Agent: ticketapi/1\r\nAccept: application/json\r\n\
             Accept-Encoding: identity\r\nAuthorization: Bearer t0ken\r\n\r\n"
        );
        let mut cookies = Cookies::default();
        cookies.set(b"node=1; path=/");
        assert!(text(&get, &cookies).ends_with("Bearer t0ken\r\nCookie: node=1\r\n\r\n"));
        cookies.set(b"lb=a");
        assert!(text(&post, &cookies).ends_with("\r\nCookie: node=1; lb=a\r\n\r\n<x/>"));
        let form = HttpRequest::post_form(url("https://h"), b"a=b".to_vec().into());
        assert!(text(&form, &cookies).starts_with("POST / HTTP/1.1\r\n"));
        assert!(text(&form, &cookies).contains("Content-Type: application/x-www-form-urlencoded\r\n"));
        let query_only = HttpRequest::get(url("https://h?a=b"));
        assert!(text(&query_only, &cookies).starts_with("GET /?a=b HTTP/1.1\r\n"));
    }

    #[test]
    fn user_name_and_password_are_sent_in_base64() {
        // RFC 7617, 2.
        assert_eq!(*basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        for (user, encoded) in [("", "Og=="), ("a", "YTo="), ("ab", "YWI6")] {
            assert_eq!(*basic(user, ""), format!("Basic {encoded}"));
        }
    }

    #[test]
    fn a_value_that_would_end_its_line_is_found() {
        for token in ["a\r\nX: y", "a\n", "\0", "\u{e9}"] {
            assert_eq!(HttpRequest::get(url("https://h")).bearer(token).unsendable(), Some("Authorization"));
        }
        assert_eq!(HttpRequest::get(url("https://h")).bearer("a.b-c_d~+/=").unsendable(), None);
    }
}
