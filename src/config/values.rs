//! The kinds of values, each read from text. An error says what is wrong with the value; the caller adds
//! the key and where it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::card::pkcs11::WINDOWS;
use crate::http::Url;
use crate::ssb::BrokerAddress;

pub(super) fn keep<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

pub(super) fn some<T>(field: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *field = Some(value?);
    Ok(())
}

pub(super) fn text(value: &str) -> Result<String, String> {
    if value.is_empty() { Err("the value is empty".into()) } else { Ok(value.to_owned()) }
}

pub(super) fn path(value: &str, folder: &Path) -> Result<PathBuf, String> {
    Ok(folder.join(text(value)?))
}

pub(super) fn absolute(value: &str) -> Result<PathBuf, String> {
    if Path::new(value).is_absolute() { Ok(value.into()) } else { Err(format!("{value:?} is not an absolute path")) }
}

/// The path of a PKCS#11 module, or the word for Windows' own smartcard stack.
pub(super) fn module(value: &str) -> Result<PathBuf, String> {
    if cfg!(windows) && value == WINDOWS { Ok(value.into()) } else { absolute(value) }
}

/// A path, or a bare name that is looked up on the `PATH`.
pub(super) fn program(value: &str, folder: &Path) -> Result<PathBuf, String> {
    let has_folder = value.contains('/') || cfg!(windows) && value.contains(['\\', ':']);
    if has_folder { path(value, folder) } else { Ok(text(value)?.into()) }
}

pub(super) fn words(value: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(value).filter(|words| !words.is_empty());
    words.ok_or_else(|| format!("{value:?} is not a command line"))
}

pub(super) fn list(value: &str) -> Vec<String> {
    value.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

pub(super) fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("{value:?} is not one of {}", names.join(", "))
    })
}

pub(super) fn yes_or_no(value: &str) -> Result<bool, String> {
    one_of(value, &[("true", true), ("false", false)])
}

/// A whole number of seconds, at most a day.
pub(super) fn seconds(value: &str, least: u64) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60 * 60;
    match value.parse() {
        Ok(number) if (least..=DAY).contains(&number) => Ok(Duration::from_secs(number)),
        _ => Err(format!("{value:?} is not a number of seconds from {least} to {DAY}")),
    }
}

/// A whole number of minutes, at most a day.
pub(super) fn minutes(value: &str, least: u64) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60;
    match value.parse() {
        Ok(number) if (least..=DAY).contains(&number) => Ok(Duration::from_secs(60 * number)),
        _ => Err(format!("{value:?} is not a number of minutes from {least} to {DAY}")),
    }
}

pub(super) fn origin(value: &str) -> Result<BrokerAddress, String> {
    BrokerAddress::parse(value, true).map_err(|bad| bad.to_string())
}

/// An `https` URL, or an `http` one of the loopback host, exactly as it is written: an issuer is compared character by
/// character.
pub(super) fn url(value: &str, query: bool) -> Result<String, String> {
    Url::parse(value).map_err(|bad| format!("{value:?}: {bad}"))?;
    if value.contains('?') && !query {
        return Err(format!("{value:?}: it must not have a query"));
    }
    Ok(value.to_owned())
}

/// A decentralized identifier: `did:method:id`.
pub(super) fn did(value: &str) -> Result<String, String> {
    let mut parts = value.splitn(3, ':');
    let method = |method: &str| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_did = parts.next() == Some("did")
        && parts.next().is_some_and(method)
        && parts.next().is_some_and(|id| !id.is_empty())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":._-%".contains(&byte));
    if is_did { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a DID, such as did:nuts:…")) }
}

/// A name that becomes a part of an address.
pub(super) fn subject(value: &str) -> Result<String, String> {
    let is_plain =
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte));
    if is_plain {
        Ok(value.to_owned())
    } else {
        Err(format!("{value:?} has other characters than letters, digits and -._~:"))
    }
}
