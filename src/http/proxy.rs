//! Proxies: which one leads to a server.

mod exceptions;
#[cfg(any(windows, test))]
mod wininet;

use std::fmt;
use std::str::FromStr;

use http::Uri;
use zeroize::Zeroizing;

use super::Origin;
use super::request::basic;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::privilege::variable;

/// Where the system says which proxy leads to `https` servers. The first that is set counts, as for other
/// programs.
const VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The setting `proxy`. Servers on this computer are never reached through a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxySetting {
    /// What `HTTPS_PROXY` and `NO_PROXY` say when a connection is opened. A program with more rights than its
    /// user ignores them. On Windows, where `HTTPS_PROXY` is not set, what Windows' own settings say.
    #[default]
    System,
    /// No proxy.
    None,
    /// This proxy, to every server.
    Proxy(Proxy),
}

/// An HTTP proxy. Shown without its user name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    address: Origin,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
    /// The setting or variable that names it.
    named_by: &'static str,
}

/// Why a text names no proxy. Does not quote it, since it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadProxy {
    /// It is not of the form `http://host:port`.
    #[error("it is not of the form http://host:port or http://user:password@host:port")]
    NotAProxy,
    /// The proxy would be reached by something else than http.
    #[error("it must begin with http:// (proxies that are reached by TLS or SOCKS are not supported)")]
    NotHttp,
    /// User name or password have a character that a URL cannot hold.
    #[error("the characters @ : / % of a user name or password are written as %40 %3A %2F %25")]
    Credentials,
}

impl ProxySetting {
    /// Returns the proxy that leads to `origin`, if one does.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for a variable, or settings of Windows, that name no proxy.
    pub(crate) fn proxy_to(&self, origin: &Origin) -> Result<Option<Proxy>> {
        // Plain http is for this computer only.
        if origin.is_loopback() || !origin.is_tls() {
            return Ok(None);
        }
        match self {
            Self::None => Ok(None),
            Self::Proxy(proxy) => Ok(Some(proxy.clone())),
            Self::System => match from_variables(&read_variable, origin)? {
                ByVariables::Proxy(proxy) => Ok(Some(proxy)),
                ByVariables::Direct => Ok(None),
                #[cfg(windows)]
                ByVariables::Unset => wininet::read()?.proxy_to(origin),
                #[cfg(not(windows))]
                ByVariables::Unset => Ok(None),
            },
        }
    }

    /// Returns what an error about a server that was not reached directly adds: that a script, which is not run, would
    /// have named a proxy.
    #[cfg(windows)]
    pub(super) fn remark(&self) -> &'static str {
        let unset = VARIABLES.iter().all(|name| read_variable(name).is_none_or(|value| value.trim().is_empty()));
        if *self == Self::System && unset && wininet::read().is_ok_and(|settings| settings.need_a_script()) {
            return "; Windows' proxy settings name a script, which ticketapi does not run: set proxy";
        }
        ""
    }

    #[cfg(not(windows))]
    pub(super) fn remark(&self) -> &'static str {
        ""
    }
}

impl FromStr for ProxySetting {
    type Err = BadProxy;

    fn from_str(text: &str) -> std::result::Result<Self, BadProxy> {
        match text {
            "system" => Ok(Self::System),
            "none" => Ok(Self::None),
            _ if !text.contains("://") => Err(BadProxy::NotAProxy),
            _ => Ok(Self::Proxy(Proxy::parse(text, "setting proxy")?)),
        }
    }
}

/// What the variables say about a server.
enum ByVariables {
    Proxy(Proxy),
    /// It is an exception.
    Direct,
    Unset,
}

fn read_variable(name: &str) -> Option<Zeroizing<String>> {
    Some(variable(name)?.to_string_lossy().into_owned().into())
}

fn from_variables(variable: &dyn Fn(&str) -> Option<Zeroizing<String>>, origin: &Origin) -> Result<ByVariables> {
    let is_set = |name| Some((name, variable(name).filter(|value| !value.trim().is_empty())?));
    let Some((name, value)) = VARIABLES.into_iter().find_map(is_set) else { return Ok(ByVariables::Unset) };
    if let Some((_, list)) = EXCEPTIONS.into_iter().find_map(is_set)
        && exceptions::include(&list, origin)
    {
        return Ok(ByVariables::Direct);
    }
    let bad = |why| Error::new(ErrorKind::Configuration, Stage::Configuration, format!("{name}: {why}"));
    Proxy::parse(value.trim(), name).map(ByVariables::Proxy).map_err(bad)
}

impl Proxy {
    /// Reads a URL; without a scheme it is `http`, as variables have it.
    fn parse(text: &str, named_by: &'static str) -> std::result::Result<Self, BadProxy> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(BadProxy::NotHttp);
        }
        // Apart from the address, whose parser wipes nothing.
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let uri: Uri = format!("http://{address}").parse().map_err(|_| BadProxy::NotAProxy)?;
        let has_path = uri.path() != "/" || address.contains(['?', '#']);
        let address = Origin::of(&uri).filter(|_| !has_path).ok_or(BadProxy::NotAProxy)?;
        let authorization = credentials.map(authorization).transpose()?;
        Ok(Self { address, authorization, named_by })
    }

    /// Returns the proxy's host and port.
    pub fn address(&self) -> &Origin {
        &self.address
    }

    /// Returns the setting or variable that names the proxy.
    pub fn named_by(&self) -> &'static str {
        self.named_by
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(|value| value.as_str())
    }
}

/// Reads `user:password`, escaped as in URLs.
fn authorization(credentials: &str) -> std::result::Result<Zeroizing<String>, BadProxy> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (user, password) = (unescaped(user)?, unescaped(password)?);
    // RFC 7617: the first colon ends the user name.
    if password.contains(char::is_control) || user.contains(|c: char| c.is_control() || c == ':') {
        return Err(BadProxy::Credentials);
    }
    Ok(basic(&user, &password))
}

fn unescaped(text: &str) -> std::result::Result<Zeroizing<String>, BadProxy> {
    if text.contains(['/', ':', '@', '?', '#']) {
        return Err(BadProxy::Credentials);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [byte, more @ ..] = rest {
        rest = more;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest.get(..2).and_then(|two| str::from_utf8(two).ok()).filter(|two| !two.starts_with('+'));
        bytes.push(digits.and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or(BadProxy::Credentials)?);
        rest = &rest[2..];
    }
    let text = str::from_utf8(&bytes).map_err(|_| BadProxy::Credentials)?;
    Ok(Zeroizing::new(text.to_owned()))
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(text: &str) -> std::result::Result<Proxy, BadProxy> {
        match text.parse()? {
            ProxySetting::Proxy(proxy) => Ok(proxy),
            other => panic!("{other:?}"),
        }
    }

    fn origin(url: &str) -> Origin {
        Origin::parse(url, true).unwrap()
    }

    #[test]
    fn a_setting_names_a_proxy_or_none_or_what_the_system_says() {
        assert_eq!("system".parse(), Ok(ProxySetting::System));
        assert_eq!("none".parse(), Ok(ProxySetting::None));
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTP://Proxy.example:8080/", "http://proxy.example:8080"),
            ("http://10.0.0.1", "http://10.0.0.1:80"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            assert_eq!(proxy(text).unwrap().to_string(), shown);
            assert_eq!(proxy(text).unwrap().authorization(), None);
        }
    }

    #[test]
    fn user_name_and_password_are_taken_from_the_url_and_shown_nowhere() {
        for (credentials, sent) in [
            ("Aladdin:open%20sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("a:b%3A%40%2fc", "Basic YTpiOkAvYw=="),
            ("a:", "Basic YTo="),
            ("a", "Basic YTo="),
            ("%C3%A9:x", "Basic w6k6eA=="),
        ] {
            let proxy = proxy(&format!("http://{credentials}@proxy.example:3128")).unwrap();
            assert_eq!(proxy.authorization(), Some(sent));
            let setting = ProxySetting::Proxy(proxy.clone());
            assert_eq!(
                format!("{proxy} {setting:?}"),
                "http://proxy.example:3128 Proxy(Proxy(http://proxy.example:3128))"
            );
        }
    }

    #[test]
    fn what_names_no_proxy_is_refused_without_quoting_it() {
        for (text, why) in [
            ("", BadProxy::NotAProxy),
            ("proxy.example:3128", BadProxy::NotAProxy),
            ("http://", BadProxy::NotAProxy),
            ("http://:3128", BadProxy::NotAProxy),
            ("http://proxy.example:0", BadProxy::NotAProxy),
            ("http://proxy.example:99999", BadProxy::NotAProxy),
            ("http://proxy.example:3128/path", BadProxy::NotAProxy),
            ("http://proxy.example:3128?x", BadProxy::NotAProxy),
            ("http://proxy example:3128", BadProxy::NotAProxy),
            ("https://proxy.example:3128", BadProxy::NotHttp),
            ("socks5://proxy.example:1080", BadProxy::NotHttp),
            ("http://s3cret:a/b@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:a@b@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:a:b@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:%zz@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:%+1@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:%4@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:%ff@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret:%0d%0aX@proxy.example:3128", BadProxy::Credentials),
            ("http://s3cret%3A:x@proxy.example:3128", BadProxy::Credentials),
        ] {
            let error = text.parse::<ProxySetting>().unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    fn by(variables: &[(&str, &str)], url: &str) -> Result<Option<String>> {
        let read = |name: &str| {
            let set = variables.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| Zeroizing::new((*value).to_owned()))
        };
        Ok(match from_variables(&read, &origin(url))? {
            ByVariables::Proxy(proxy) => Some(format!("{proxy} {}", proxy.named_by())),
            ByVariables::Direct | ByVariables::Unset => None,
        })
    }

    #[test]
    fn the_systems_variables_name_the_proxy_and_the_exceptions() {
        let broker = "https://gas.example";
        let upper = ("HTTPS_PROXY", "http://upper.example:3128");
        let lower = ("https_proxy", "lower.example:8080");
        let shown = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(by(&[], broker).map_err(drop), Ok(None));
        assert_eq!(by(&[upper], broker).map_err(drop), shown("http://upper.example:3128 HTTPS_PROXY"));
        assert_eq!(by(&[lower, upper], broker).map_err(drop), shown("http://lower.example:8080 https_proxy"));
        assert_eq!(
            by(&[("https_proxy", " "), upper], broker).map_err(drop),
            shown("http://upper.example:3128 HTTPS_PROXY")
        );
        assert_eq!(by(&[upper, ("NO_PROXY", ".example")], broker).map_err(drop), Ok(None));
        assert_eq!(by(&[upper, ("no_proxy", "gas.example")], broker).map_err(drop), Ok(None));
        assert_eq!(by(&[("HTTP_PROXY", "x:1"), ("ALL_PROXY", "x:1")], broker).map_err(drop), Ok(None));

        let error = by(&[("HTTPS_PROXY", "socks5://u:s3cret@x:1")], broker).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Configuration);
        assert!(error.detail().starts_with("HTTPS_PROXY: it must begin with http://"), "{error}");
        assert!(!error.detail().contains("s3cret"));
    }

    #[test]
    fn this_computer_is_never_reached_through_a_proxy() {
        let setting: ProxySetting = "http://proxy.example:3128".parse().unwrap();
        for url in ["http://localhost:1", "https://localhost", "https://127.0.0.1:8443", "https://[::1]"] {
            assert_eq!(setting.proxy_to(&origin(url)).unwrap(), None, "{url}");
        }
        assert!(setting.proxy_to(&origin("https://gas.example")).unwrap().is_some());
        assert_eq!(ProxySetting::None.proxy_to(&origin("https://gas.example")).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_text_names_a_proxy_or_is_refused(text in "(http|https|)(://)?[a-z:@%/0-9.\\[\\]?]{0,20}") {
            let _ = text.parse::<ProxySetting>();
        }
    }
}
