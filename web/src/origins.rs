//! The origins that may have the ticket: a list of the administrator's.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use ticketapi::os::fs::trusted;

/// The administrator's file. Nobody else can write to its folder.
pub const FILE: &str = "/etc/ticketapi/web.toml";

const FILE_LIMIT: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    origins: HashSet<String>,
    /// Those of them that may have documents signed.
    #[serde(default)]
    signing: HashSet<String>,
}

/// What pages of an allowed origin may do besides getting the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Have documents signed.
    pub signing: bool,
}

impl Settings {
    /// Returns what pages of `origin` may do; `None` if it is not allowed.
    pub fn rights(&self, origin: &str) -> Option<Rights> {
        self.origins.contains(origin).then(|| Rights { signing: self.signing.contains(origin) })
    }
}

/// Reads the list. Only root and this user may be able to change the file.
///
/// # Errors
///
/// What is wrong with the file.
pub fn read(file: &Path) -> Result<Settings, String> {
    let problem = |why: String| format!("{}: {why}", file.display());
    let mut text = String::new();
    let real = trusted(file).map_err(|error| problem(error.to_string()))?;
    if !real.is_file() {
        return Err(problem("it is not a regular file".into()));
    }
    let opened = File::open(real).and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text));
    opened.map_err(|error| problem(error.to_string()))?;
    parse(&text).map_err(problem)
}

fn parse(text: &str) -> Result<Settings, String> {
    let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(wrong) = settings.origins.iter().find(|origin| !is_origin(origin)) {
        return Err(format!(
            "{wrong:?} is not an origin; write it as browsers do, such as https://app.example or https://app.example:8443"
        ));
    }
    match settings.signing.difference(&settings.origins).next() {
        Some(other) => Err(format!("signing has {other:?}, which is not among the origins; add it there or remove it")),
        None => Ok(settings),
    }
}

/// Returns `true` for an https origin as browsers serialise it.
fn is_origin(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_name = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
    };
    let is_address = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inner.is_some_and(|inner| inner.bytes().all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9' | b':')))
    };
    let port_fits = port.is_none_or(|port| {
        port.parse::<u16>().is_ok_and(|number| number != 443 && number != 0 && number.to_string() == port)
    });
    port_fits && (is_name(host) || is_address(host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_exact_https_origins_are_taken() {
        for right in ["https://app.example", "https://127.0.0.1:8443", "https://[::1]:1"] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in [
            "http://app.example",
            "https://",
            "https://*.example",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "https://app.example:08443",
            "https://app.example:",
            "https://app.example:65536",
            "https://user@app.example",
            "https://app.example https://b.example",
            "null",
            "",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
            assert!(parse(&format!("origins = [\"https://a.example\", {wrong:?}]")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_with_other_keys_or_none_is_refused() {
        assert_eq!(parse("origins = [\"https://a.example\"]").unwrap().origins.len(), 1);
        for text in ["", "origin = []", "origins = []\nother = 1", "origins = \"https://a.example\""] {
            parse(text).unwrap_err();
        }
    }

    #[test]
    fn only_origins_of_a_list_of_their_own_may_have_documents_signed() {
        let both = "origins = [\"https://a.example\", \"https://b.example\"]\nsigning = [\"https://b.example\"]";
        let settings = parse(both).unwrap();
        assert_eq!(settings.rights("https://a.example"), Some(Rights { signing: false }));
        assert_eq!(settings.rights("https://b.example"), Some(Rights { signing: true }));
        assert_eq!(settings.rights("https://c.example"), None);
        let problem = parse("origins = []\nsigning = [\"https://c.example\"]").err().unwrap();
        assert!(problem.contains("not among the origins"), "{problem}");
    }
}
