//! What the settings choose among for identity services.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An identity service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceKind {
    /// The Spine Security Broker, with the card.
    Ssb,
    /// NHS CIS2, in a browser.
    Cis2,
    /// The Danish eHealth infrastructure, in a browser.
    EhealthDk,
    /// Any other OpenID provider, in a browser.
    Oidc,
    /// The employer's Nuts node, in a browser.
    Nuts,
}

impl ServiceKind {
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("ssb", Self::Ssb),
        ("cis2", Self::Cis2),
        ("ehealth_dk", Self::EhealthDk),
        ("oidc", Self::Oidc),
        ("nuts", Self::Nuts),
    ];

    /// Returns the title of windows for its logins.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ssb => crate::prompt::text::TITLE,
            Self::Cis2 => "NHS CIS2 login",
            Self::EhealthDk => "eHealth login",
            Self::Oidc | Self::Nuts => "Login",
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(*self, &Self::NAMES))
    }
}

/// A version of the API of Nuts nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NutsApi {
    /// The first, with a contract: the ticket is a presentation.
    V1,
    /// The second, without one, an experiment of nodes of version 6: the ticket is an access token.
    V2,
}

impl NutsApi {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("v1", Self::V1), ("v2", Self::V2)];
}

/// How a program proves to an OpenID provider which client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// Not at all: a public client, with PKCE alone.
    None,
    /// With a secret.
    ClientSecret,
    /// With an assertion that its private key signs.
    PrivateKeyJwt,
    /// A server of the program's supplier does, and exchanges the code.
    BackEnd,
}

impl ClientAuth {
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("client_secret", Self::ClientSecret),
        ("private_key_jwt", Self::PrivateKeyJwt),
        ("back_end", Self::BackEnd),
    ];
}

impl fmt::Display for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(*self, &Self::NAMES))
    }
}

/// The algorithm that signs client assertions, by its name in JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl KeyAlgorithm {
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
    ];
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(*self, &Self::NAMES))
    }
}

/// Who asks a user of CIS2 for the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleSelection {
    /// CIS2, on a page of its own.
    Service,
    /// This program.
    Own,
}

impl RoleSelection {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("service", Self::Service), ("own", Self::Own)];
}

/// Which token of an OpenID provider is the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketKind {
    /// The ID token.
    IdToken,
    /// The access token.
    AccessToken,
}

impl TicketKind {
    pub(crate) const NAMES: [(&'static str, Self); 2] =
        [("id_token", Self::IdToken), ("access_token", Self::AccessToken)];
}

/// Finds the name of a choice, all of which have one.
fn name<T: Copy + PartialEq>(choice: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, named)| *named == choice).map_or("", |(name, _)| name)
}

/// Where a provider sends the browser at the end of a login: a loopback address of this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    host: LoopbackHost,
    port: Option<u16>,
    /// As it is written; empty, or with a slash at the start.
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopbackHost {
    V4,
    V6,
    Name,
}

/// Why a text is no redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not of the form http://127.0.0.1/path or http://127.0.0.1:port/path (the host may also be [::1] or localhost)"
)]
pub struct BadRedirectUri;

impl RedirectUri {
    /// Returns the addresses to listen on. Browsers try both for `localhost`, in either order.
    pub fn addresses(&self) -> &'static [IpAddr] {
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        match self.host {
            LoopbackHost::V4 => &[V4],
            LoopbackHost::V6 => &[V6],
            LoopbackHost::Name => &[V4, V6],
        }
    }

    /// Returns the port; `None` for any free one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the same URI with this port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { port: Some(port), ..self.clone() }
    }

    /// Returns the path that a browser requests.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// Returns the host and the port, as a browser writes them into the header `Host`.
    pub fn host_header(&self) -> String {
        let host = self.host.as_str();
        // Browsers leave the usual port out.
        self.port.filter(|port| *port != 80).map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl LoopbackHost {
    const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Name];

    fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "[::1]",
            Self::Name => "localhost",
        }
    }
}

impl Default for RedirectUri {
    fn default() -> Self {
        Self { host: LoopbackHost::V4, port: None, path: "/callback".into() }
    }
}

impl FromStr for RedirectUri {
    type Err = BadRedirectUri;

    fn from_str(text: &str) -> Result<Self, BadRedirectUri> {
        let rest = text.strip_prefix("http://").ok_or(BadRedirectUri)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = LoopbackHost::ALL
            .into_iter()
            .find_map(|host| Some((host, authority.strip_prefix(host.as_str())?)))
            .ok_or(BadRedirectUri)?;
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            // Without a sign or a zero in front, which browsers would take out.
            Some(digits) if digits.starts_with(|first: char| matches!(first, '1'..='9')) => {
                Some(digits.parse().map_err(|_| BadRedirectUri)?)
            }
            _ => return Err(BadRedirectUri),
        };
        // What browsers request unchanged: no dot segments, and no character that they would encode.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
        if !path.bytes().all(is_plain) || path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(BadRedirectUri);
        }
        Ok(Self { host, port, path: path.to_owned() })
    }
}

/// The URI that the provider is given.
impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.host.as_str())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_uri_is_a_loopback_address_with_or_without_a_port() {
        for (text, port, path, host) in [
            ("http://127.0.0.1/callback", None, "/callback", "127.0.0.1"),
            ("http://127.0.0.1:8123/callback", Some(8123), "/callback", "127.0.0.1:8123"),
            ("http://[::1]:80/a/b%20c", Some(80), "/a/b%20c", "[::1]"),
            ("http://localhost:65535", Some(65535), "/", "localhost:65535"),
            ("http://localhost/", None, "/", "localhost"),
        ] {
            let uri: RedirectUri = text.parse().unwrap();
            assert_eq!((uri.port(), uri.path(), &*uri.host_header()), (port, path, host), "{text}");
            assert_eq!(uri.to_string(), text);
        }
        assert_eq!(RedirectUri::default().to_string(), "http://127.0.0.1/callback");
        assert_eq!(RedirectUri::default().with_port(5000).to_string(), "http://127.0.0.1:5000/callback");
    }

    #[test]
    fn any_other_address_is_no_redirect_uri() {
        for text in [
            "",
            "127.0.0.1/callback",
            "https://127.0.0.1/callback",
            "HTTP://127.0.0.1/callback",
            "http:///callback",
            "http://127.0.0.2/callback",
            "http://0.0.0.0/callback",
            "http://127.0.0.10/callback",
            "http://localhost.example/callback",
            "http://user@localhost/callback",
            "http://localhost@example/callback",
            "http://::1/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:+80/callback",
            "http://127.0.0.1:080/callback",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1/a?b",
            "http://127.0.0.1/a#b",
            "http://127.0.0.1?b",
            "http://127.0.0.1/a/../b",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\u{e4}",
            "http://127.0.0.1/a\\b",
            "http://127.0.0.1/a\r\nb",
        ] {
            assert_eq!(text.parse::<RedirectUri>(), Err(BadRedirectUri), "{text}");
        }
    }

    #[test]
    fn each_choice_shows_the_name_that_the_settings_have() {
        assert_eq!(ServiceKind::EhealthDk.to_string(), "ehealth_dk");
        assert_eq!(ClientAuth::PrivateKeyJwt.to_string(), "private_key_jwt");
        assert_eq!(KeyAlgorithm::Es256.to_string(), "ES256");
    }
}
