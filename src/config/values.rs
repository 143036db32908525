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
    Ok(folder.join(without_controls(&text(value)?)?))
}

/// TOML reads "C:\temp\new" as a path with a tab and a line break.
fn without_controls(value: &str) -> Result<&str, String> {
    if value.contains(char::is_control) {
        Err(format!("{value:?} has a control character; {SINGLE_QUOTES}"))
    } else {
        Ok(value)
    }
}

/// What to do about backslashes in the file.
pub(super) const SINGLE_QUOTES: &str = "write a path with backslashes in single quotes: 'C:\\folder\\file'";

pub(super) fn absolute(value: &str) -> Result<PathBuf, String> {
    let value = without_controls(value)?;
    if Path::new(value).is_absolute() { Ok(value.into()) } else { Err(format!("{value:?} is not an absolute path")) }
}

/// The path of a PKCS#11 module, or the word for Windows' own smartcard stack.
pub(super) fn module(value: &str) -> Result<PathBuf, String> {
    if cfg!(windows) && value == WINDOWS { Ok(value.into()) } else { absolute(value) }
}

/// A path, or a bare name that is looked up on the `PATH`.
pub(super) fn program(value: &str, folder: &Path) -> Result<PathBuf, String> {
    let has_folder = value.contains('/') || cfg!(windows) && value.contains(['\\', ':']);
    if has_folder { path(value, folder) } else { Ok(without_controls(&text(value)?)?.into()) }
}

pub(super) fn words(value: &str) -> Result<Vec<String>, String> {
    let split = if cfg!(windows) { words_on_windows } else { shlex::split };
    let words = split(without_controls(value)?).filter(|words| !words.is_empty());
    words.ok_or_else(|| format!("{value:?} is not a command line"))
}

/// Splits a command line by the rules of Windows' programs: only `"` quotes, and a backslash is special only before
/// it. `None` if a quote is not closed.
fn words_on_windows(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let backslashes = rest.len() - rest.trim_start_matches('\\').len();
        if backslashes > 0 {
            rest = &rest[backslashes..];
            let is_before_quote = rest.starts_with('"');
            let kept = if is_before_quote { backslashes / 2 } else { backslashes };
            let word = word.get_or_insert_default();
            word.extend(std::iter::repeat_n('\\', kept));
            if is_before_quote && backslashes % 2 == 1 {
                word.push('"');
                rest = &rest[1..];
            }
            continue;
        }
        rest = &rest[next.len_utf8()..];
        match next {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_command_line_is_split_as_a_shell_splits_it() {
        assert_eq!(words("fzf -m 'a b'").unwrap(), ["fzf", "-m", "a b"]);
    }

    #[test]
    fn a_command_line_of_windows_is_split_as_its_programs_split_theirs() {
        for (line, words) in [
            (r"C:\tools\role.exe -m  x", &[r"C:\tools\role.exe", "-m", "x"][..]),
            (r#""C:\Program Files\role.exe" "a b"c"#, &[r"C:\Program Files\role.exe", "a bc"]),
            (r#"\\server\share\role.exe "C:\a b\\" 'x"#, &[r"\\server\share\role.exe", r"C:\a b\", "'x"]),
            (r#"x \"y\" "" \\\"z"#, &["x", r#""y""#, "", r#"\"z"#]),
            ("Rölle.exe ü", &["Rölle.exe", "ü"]),
            ("  ", &[]),
        ] {
            assert_eq!(words_on_windows(line).unwrap(), words, "{line}");
        }
        assert_eq!(words_on_windows(r#"C:\a "b"#), None);
    }
}
