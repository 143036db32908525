//! Where a server is.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

/// Scheme, host and port of a server. Shown as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    tls: bool,
    /// In lower case; an IPv6 address without its brackets.
    host: String,
    port: u16,
}

/// Why a text is no address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAddress {
    /// It is no URL of the form `https://host`.
    #[error("it is not of the form https://host or https://host:port")]
    NotAUrl,
    /// It has a path, a query, a fragment or a user name.
    #[error("it may have nothing but https://, the host and the port")]
    TooMuch,
    /// It is plain http, and not allowed to be.
    #[error("it must begin with https:// (plain http is for the loopback host only, when asked for)")]
    NotHttps,
}

impl Origin {
    /// That of `host`, by https at its usual port.
    pub(crate) fn https(host: &str) -> Self {
        Self { tls: true, host: host.to_owned(), port: 443 }
    }

    /// Reads a base URL such as `https://gas.example` or `https://gas.example:8443/`.
    ///
    /// Plain http is for test servers: it needs `allow_plain_http` and a host that is the loopback
    /// one (`localhost`, `127.0.0.0/8`, `::1`).
    pub fn parse(url: &str, allow_plain_http: bool) -> Result<Self, BadAddress> {
        let uri: Uri = url.parse().map_err(|_| BadAddress::NotAUrl)?;
        let address = Self::of(&uri).ok_or(BadAddress::NotAUrl)?;
        if url.contains(['@', '?', '#']) || uri.path() != "/" {
            return Err(BadAddress::TooMuch);
        }
        if !(address.tls || allow_plain_http && address.is_loopback()) {
            return Err(BadAddress::NotHttps);
        }
        Ok(address)
    }

    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let tls = *uri.scheme()? == Scheme::HTTPS;
        if !tls && *uri.scheme()? != Scheme::HTTP {
            return None;
        }
        let authority = uri.authority()?;
        // `Authority` treats a port that is not a number as missing.
        let port = match authority.as_str().rsplit_once(authority.host())?.1 {
            "" => {
                if tls {
                    443
                } else {
                    80
                }
            }
            port => port.strip_prefix(':')?.parse().ok().filter(|&port| port != 0)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // The names that TLS can verify are the names that make sense here.
        rustls::pki_types::ServerName::try_from(&*host).ok()?;
        Some(Self { tls, host, port })
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the server, without a path.
    pub(super) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host_header())
    }

    /// The value of a request's `Host` header.
    pub(super) fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    /// The path and query of `url`, where it leads to this same server.
    pub(crate) fn path_of(&self, url: &str) -> Option<String> {
        let uri: Uri = url.trim().parse().ok()?;
        if uri.authority()?.as_str().contains('@') || Self::of(&uri)? != *self {
            return None;
        }
        // Keeps whatever the server wrote within the one request line.
        let path = uri.path_and_query()?.as_str();
        (path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())).then(|| path.to_owned())
    }

    /// Returns `true` for a host of this computer: `localhost`, `127.0.0.0/8`, `::1`.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_host_and_port() {
        for (url, shown, header) in [
            ("https://gas.example", "gas.example:443", "gas.example"),
            ("HTTPS://GAS.example:443/", "gas.example:443", "gas.example"),
            ("https://10.0.0.1:8443", "10.0.0.1:8443", "10.0.0.1:8443"),
            ("https://[2001:DB8::1]:8443", "[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ] {
            let address = Origin::parse(url, false).unwrap();
            assert_eq!((address.to_string(), address.host_header()), (shown.into(), header.into()));
        }
    }

    #[test]
    fn plain_http_is_for_the_loopback_host_when_asked_for() {
        for url in ["http://localhost:80", "http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]"] {
            assert!(Origin::parse(url, true).is_ok(), "{url}");
            assert_eq!(Origin::parse(url, false), Err(BadAddress::NotHttps), "{url}");
        }
        for url in ["http://gas.example", "http://localhost.example", "http://128.0.0.1", "http://0.0.0.0"] {
            assert_eq!(Origin::parse(url, true), Err(BadAddress::NotHttps), "{url}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for url in [
            "",
            "gas.example",
            "/login",
            "ftp://gas.example",
            "https://",
            "https://:443",
            "https://gas.example:0",
            "https://gas.example:x",
            "https://gas.example:65536",
            "https://gas example",
            "https://g\u{e4}s.example",
            "https://gas_%41.example!",
        ] {
            assert_eq!(Origin::parse(url, true), Err(BadAddress::NotAUrl), "{url}");
        }
        for url in
            ["https://u:p@gas.example", "https://gas.example/x", "https://gas.example?a", "https://gas.example/#a"]
        {
            assert_eq!(Origin::parse(url, true), Err(BadAddress::TooMuch), "{url}");
        }
    }

    #[test]
    fn only_urls_that_lead_back_to_the_broker_have_a_path() {
        let address = Origin::parse("https://gas.example", false).unwrap();
        assert_eq!(address.path_of("https://GAS.example:443/a/b?c=d").as_deref(), Some("/a/b?c=d"));
        assert_eq!(address.path_of("https://gas.example").as_deref(), Some("/"));
        for elsewhere in [
            "http://gas.example/a",
            "http://gas.example:443/a",
            "https://gas.example:8443/a",
            "https://gas.example.org/a",
            "https://evil.example/a",
            "https://evil.example@gas.example/a",
            "https://gas.example@evil.example/a",
            "//gas.example/a",
            "/a",
            "https://gas.example/a b",
            "https://gas.example/\u{e9}",
            "",
        ] {
            assert_eq!(address.path_of(elsewhere), None, "{elsewhere}");
        }
    }
}
