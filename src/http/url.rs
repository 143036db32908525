//! Absolute URLs of servers that requests go to.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use zeroize::Zeroizing;

use super::{Origin, form};

/// An `https` URL, or an `http` one of a loopback host. Kept exactly as written, because issuers are
/// compared so. Its query may hold secrets: `Debug` and `Display` leave it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: Zeroizing<String>,
    origin: Origin,
    /// Where the path begins in `text`.
    path_at: usize,
}

/// Why a text is no URL that requests can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadUrl {
    /// It is no absolute URL with a host.
    #[error("it is not a URL of the form https://host/path")]
    NotAUrl,
    /// It is plain http, or of another scheme.
    #[error("it must begin with https:// (plain http is for the loopback host only)")]
    NotHttps,
    /// It has a user name or a password.
    #[error("it must not have a user name or a password")]
    UserInfo,
    /// It has a fragment, which is not part of a request.
    #[error("it must not have a fragment (#)")]
    Fragment,
}

impl Url {
    /// Reads an absolute URL.
    ///
    /// # Errors
    ///
    /// [`BadUrl`].
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadUrl::NotAUrl);
        }
        if text.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| BadUrl::NotAUrl)?;
        let authority = uri.authority().ok_or(BadUrl::NotAUrl)?.as_str();
        if authority.contains('@') {
            return Err(BadUrl::UserInfo);
        }
        let origin = match uri.scheme_str() {
            Some("https" | "http") => Origin::of(&uri).ok_or(BadUrl::NotAUrl)?,
            Some(_) => return Err(BadUrl::NotHttps),
            None => return Err(BadUrl::NotAUrl),
        };
        if !origin.is_tls() && !origin.is_loopback() {
            return Err(BadUrl::NotHttps);
        }
        let (scheme, _) = text.split_once("://").ok_or(BadUrl::NotAUrl)?;
        let path_at = scheme.len() + "://".len() + authority.len();
        Ok(Self { text: Zeroizing::new(text.to_owned()), origin, path_at })
    }

    /// The URL of `path`, which begins with `/` and may have a query, at `origin`.
    pub(crate) fn at(origin: &Origin, path: &str) -> Self {
        let base = origin.url();
        let mut text = Zeroizing::new(String::with_capacity(base.len() + path.len()));
        text.push_str(&base);
        text.push_str(path);
        Self { text, origin: origin.clone(), path_at: base.len() }
    }

    /// Returns the URL with `fields` added to its query, escaped.
    #[must_use]
    pub fn with_query(&self, fields: &[(&str, &str)]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + 1 + form::size(fields)));
        text.push_str(&self.text);
        match text.split_once('?') {
            _ if fields.is_empty() => {}
            None => text.push('?'),
            Some((_, query)) if query.is_empty() || query.ends_with('&') => {}
            Some(_) => text.push('&'),
        }
        form::push(&mut text, fields);
        Self { text, origin: self.origin.clone(), path_at: self.path_at }
    }

    /// Returns the URL with `path` after its own, which may end with `/`: `.well-known` documents of an issuer
    /// have such addresses.
    #[must_use]
    pub fn with_path_added(&self, path: &str) -> Self {
        let own = self.without_query().trim_end_matches('/');
        let mut text = Zeroizing::new(String::with_capacity(own.len() + path.len()));
        text.push_str(own);
        text.push_str(path);
        Self { text, origin: self.origin.clone(), path_at: self.path_at }
    }

    /// Returns the URL exactly as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns path and query; the path is empty where the URL has none.
    pub(super) fn path_and_query(&self) -> &str {
        &self.text[self.path_at..]
    }

    fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.without_query())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_url_is_kept_as_it_is_written() {
        for (text, origin, path) in [
            ("https://am.example:443/openam/oauth2", "am.example:443", "/openam/oauth2"),
            ("https://AM.example", "am.example:443", ""),
            ("HTTPS://am.example:8443?a=b", "am.example:8443", "?a=b"),
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080", "/x"),
            ("http://localhost/x", "localhost:80", "/x"),
            ("https://[::1]:8/x", "[::1]:8", "/x"),
        ] {
            let url = url(text);
            assert_eq!((url.as_str(), &*url.origin().to_string(), url.path_and_query()), (text, origin, path));
        }
    }

    #[test]
    fn what_no_request_can_go_to_is_refused() {
        for (text, why) in [
            ("", BadUrl::NotAUrl),
            ("am.example", BadUrl::NotAUrl),
            ("/x", BadUrl::NotAUrl),
            ("https://", BadUrl::NotAUrl),
            ("https://am.example:99999/", BadUrl::NotAUrl),
            ("https://am.example/a b", BadUrl::NotAUrl),
            ("https://am.example/\u{e9}", BadUrl::NotAUrl),
            ("https://am.example/a\r\nHost: x", BadUrl::NotAUrl),
            ("http://am.example/", BadUrl::NotHttps),
            ("http://localhost.example/", BadUrl::NotHttps),
            ("ftp://am.example/", BadUrl::NotHttps),
            ("https://u:p@am.example/", BadUrl::UserInfo),
            ("https://am.example@evil.example/", BadUrl::UserInfo),
            ("https://am.example/#x", BadUrl::Fragment),
        ] {
            assert_eq!(Url::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn fields_are_added_to_a_query_escaped_and_without_another_copy() {
        let fields = [("id_token_hint", "a+b"), ("x", "")];
        for (base, query) in [("", "?"), ("/", "?"), ("/a?b=c", "&"), ("/a?", ""), ("/a?b&", "")] {
            let base = format!("https://am.example{base}");
            let with = url(&base).with_query(&fields);
            assert_eq!(with.as_str(), format!("{base}{query}id_token_hint=a%2Bb&x="));
            assert!(with.text.capacity() <= with.text.len() + 1);
            assert_eq!(url(&base).with_query(&[]), url(&base));
        }
        let long = url("https://am.example").with_query(&[("t", &"=".repeat(1000))]);
        assert_eq!(long.text.capacity(), long.text.len());
    }

    #[test]
    fn a_path_is_added_after_that_of_an_issuer() {
        for issuer in ["https://am.example:443/openam", "https://am.example:443/openam/"] {
            let added = url(issuer).with_path_added("/.well-known/openid-configuration");
            assert_eq!(added.as_str(), "https://am.example:443/openam/.well-known/openid-configuration");
        }
        assert_eq!(url("https://am.example").with_path_added("/x").path_and_query(), "/x");
    }

    #[test]
    fn a_path_at_an_origin_is_a_url_of_it() {
        let origin = Origin::parse("https://gas.example:8443", false).unwrap();
        let at = Url::at(&origin, "/a?token=b");
        assert_eq!((at.as_str(), at.path_and_query()), ("https://gas.example:8443/a?token=b", "/a?token=b"));
        assert_eq!(at.origin(), &origin);
    }

    #[test]
    fn a_query_is_not_shown() {
        let url = url("https://am.example/end?id_token_hint=eyJ");
        assert_eq!(
            (url.to_string(), format!("{url:?}")),
            ("https://am.example/end".into(), "Url(https://am.example/end)".into())
        );
    }
}
