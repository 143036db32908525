//! The proxy of Windows' own settings (WinINET's, which the control panel and browsers have). Reading them and choosing
//! by them are separate, so that the rules are tested on every system.

use std::net::IpAddr;

use super::{BadProxy, Origin, Proxy};
use crate::error::{Error, ErrorKind, Result, Stage};

const NAMED_BY: &str = "Windows' proxy settings";

/// What the settings say. Texts are as in the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `ProxyServer`, if `ProxyEnable` says that it is used.
    server: Option<String>,
    /// `ProxyOverride`.
    exceptions: String,
    /// There is an `AutoConfigURL`.
    has_script: bool,
}

/// Reads the user's settings, or the computer's where Group Policy says that they are the same for all users.
#[cfg(windows)]
pub(super) fn read() -> Result<Settings> {
    use ticketapi_platform::registry::{Data, Root, values};

    const KEY: &str = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings";
    const POLICY: &str = r"Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings";
    let read = |root, key: &str| {
        values(root, key).map_err(|error| bad(format!("they cannot be read from the registry: {error}")).because(error))
    };
    let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let policy = read(Root::Machine, POLICY)?;
    let for_all = policy.iter().any(|(name, data)| is(name, "ProxySettingsPerUser") && *data == Data::Number(0));
    let mut settings = Settings::default();
    let mut enabled = false;
    for (name, data) in read(if for_all { Root::Machine } else { Root::User }, KEY)? {
        match data {
            Data::Number(number) if is(&name, "ProxyEnable") => enabled = number != 0,
            Data::Text(text) if is(&name, "ProxyServer") => settings.server = Some(text),
            Data::Text(text) if is(&name, "ProxyOverride") => settings.exceptions = text,
            Data::Text(text) if is(&name, "AutoConfigURL") => settings.has_script = !text.trim().is_empty(),
            _ => {}
        }
    }
    settings.server = settings.server.filter(|_| enabled);
    Ok(settings)
}

impl Settings {
    /// Returns `true` if a script names the proxies, and nothing else does.
    pub(super) fn need_a_script(&self) -> bool {
        self.has_script && self.server.is_none()
    }

    /// Returns the proxy that leads to a server with TLS, if one does.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for a proxy that is not supported.
    pub(super) fn proxy_to(&self, origin: &Origin) -> Result<Option<Proxy>> {
        let server = self.server.as_deref().and_then(for_https).filter(|_| !except(&self.exceptions, origin));
        server.map(|server| Proxy::parse(server?, NAMED_BY)).transpose().map_err(|why| bad(why.to_string()))
    }
}

fn bad(what: String) -> Error {
    let detail = format!("{NAMED_BY}: {what}");
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

/// Returns the proxy for `https` in a list that names one for all servers, or one for each scheme
/// (`http=a:80;https=b:81`). Without one for `https`, Windows uses the one for `socks`.
fn for_https(list: &str) -> Option<std::result::Result<&str, BadProxy>> {
    let parts = || parts(list).map(|part| part.split_once('=').map_or((None, part), |(kind, at)| (Some(kind), at)));
    let of = |kind: &str| parts().find(|(known, _)| known.is_some_and(|known| known.eq_ignore_ascii_case(kind)));
    let all = || parts().find(|(known, _)| known.is_none());
    match (of("https").or_else(all), of("socks")) {
        (Some((_, server)), _) => Some(Ok(server)),
        (None, Some(_)) => Some(Err(BadProxy::NotHttp)),
        (None, None) => None,
    }
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ';' || c.is_whitespace()).filter(|part| !part.is_empty())
}

/// Returns `true` if the list names the server as one that is reached directly. Its parts are patterns with `*`, with
/// or without a scheme and a port; `<local>` stands for every name without a dot.
fn except(list: &str, origin: &Origin) -> bool {
    let host = origin.host().trim_end_matches('.');
    let is_address = host.parse::<IpAddr>().is_ok();
    parts(list).map(str::to_ascii_lowercase).any(|part| {
        if part == "<local>" {
            return !is_address && !host.contains('.');
        }
        let (scheme, part) = part.split_once("://").unwrap_or(("https", &part));
        let (name, port) = super::exceptions::name_and_port(part);
        let fits = port.is_none_or(|port| port == origin.port().to_string());
        scheme == "https" && fits && is_like(name.trim_end_matches('.'), host)
    })
}

/// Compares a name with a pattern. A dot at its beginning means any host of that domain.
fn is_like(pattern: &str, name: &str) -> bool {
    if pattern.starts_with('.') {
        return name.ends_with(pattern);
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::parse(url, true).unwrap()
    }

    fn by(server: &str, exceptions: &str, url: &str) -> Option<String> {
        let settings =
            Settings { server: Some(server.to_owned()), exceptions: exceptions.to_owned(), has_script: false };
        settings.proxy_to(&origin(url)).unwrap().map(|proxy| format!("{proxy} {}", proxy.named_by()))
    }

    #[test]
    fn the_proxy_is_that_for_https_or_that_for_all_servers() {
        let shown = |address: &str| Some(format!("http://{address} Windows' proxy settings"));
        for (server, address) in [
            ("proxy.example:3128", "proxy.example:3128"),
            ("http://proxy.example:3128", "proxy.example:3128"),
            ("proxy.example", "proxy.example:80"),
            ("http=a.example:1;HTTPS=b.example:2;socks=c.example:3", "b.example:2"),
            ("http=a.example:1 https=http://b.example:2", "b.example:2"),
            ("http=a.example:1;all.example:4", "all.example:4"),
        ] {
            assert_eq!(by(server, "", "https://gas.example"), shown(address), "{server}");
        }
        assert_eq!(by("http=a.example:1;ftp=b.example:2", "", "https://gas.example"), None);
        assert_eq!(by(" ", "", "https://gas.example"), None);
        assert_eq!(Settings::default().proxy_to(&origin("https://gas.example")).unwrap(), None);
    }

    #[test]
    fn a_proxy_that_is_not_supported_is_refused_in_words_that_name_windows_settings() {
        for server in ["socks=c.example:3", "http=a:1;socks=c.example:3", "https=https://b.example:2", "https=b:0"] {
            let settings = Settings { server: Some(server.to_owned()), ..Settings::default() };
            let error = settings.proxy_to(&origin("https://gas.example")).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Configuration);
            assert!(error.detail().starts_with("Windows' proxy settings: it "), "{error}");
        }
    }

    #[test]
    fn the_servers_of_the_exceptions_are_reached_directly() {
        for (exceptions, url, direct) in [
            ("gas.example", "https://gas.example", true),
            ("GAS.example", "https://gas.example", true),
            ("gas.example", "https://other.gas.example", false),
            (".gas.example", "https://other.gas.example", true),
            ("*.example", "https://gas.example", true),
            ("*.example", "https://gas.example.org", false),
            ("g*s.ex*le", "https://gas.example", true),
            ("g*x*le", "https://gas.example", true),
            ("g*z*le", "https://gas.example", false),
            ("*", "https://gas.example", true),
            ("10.*;192.168.*", "https://10.1.2.3", true),
            ("10.*;192.168.*", "https://192.168.7.1:8443", true),
            ("10.*;192.168.*", "https://11.1.2.3", false),
            ("<local>", "https://gas", true),
            ("<local>", "https://gas.example", false),
            ("<local>", "https://[fd00::1]", false),
            ("[fd00::1]", "https://[fd00::1]", true),
            ("a.example; <local> gas.example", "https://gas.example", true),
            ("gas.example:8443", "https://gas.example:8443", true),
            ("gas.example:8443", "https://gas.example", false),
            ("https://gas.example", "https://gas.example", true),
            ("http://gas.example", "https://gas.example", false),
            ("<-loopback>", "https://gas.example", false),
            ("", "https://gas.example", false),
        ] {
            assert_eq!(by("proxy.example:3128", exceptions, url).is_none(), direct, "{exceptions} {url}");
        }
    }

    #[test]
    fn a_script_is_needed_only_where_no_proxy_is_named() {
        let settings = Settings { has_script: true, ..Settings::default() };
        assert!(settings.need_a_script());
        assert!(!Settings { server: Some("proxy.example".into()), ..settings }.need_a_script());
    }
}
