//! Parses scripts, whose format the crate's documentation describes.

use std::path::PathBuf;

use cryptoki_sys::*;

/// A parsed script.
#[derive(Default)]
pub struct Script {
    pub module: PathBuf,
    /// The PIN, the certificate and the key of a token of this module's own.
    pub token: Option<(String, PathBuf, PathBuf)>,
    pub without_certificate: bool,
    pub without_key: bool,
    pub env: Vec<(String, String)>,
    pub log: Option<PathBuf>,
    pub flags: Vec<Flag>,
    pub cleared: CK_FLAGS,
    pub pin_lengths: Option<(CK_ULONG, CK_ULONG)>,
    pub bad_slot: Option<CK_RV>,
    pub private_certificates: bool,
    pub hidden: Vec<CK_MECHANISM_TYPE>,
    pub pin_pad: Option<String>,
    pub reader: Option<String>,
    pub no_slots: bool,
    pub reports: Vec<(String, PathBuf)>,
    pub holds: Vec<(String, PathBuf)>,
    faults: Vec<(String, usize, Fault)>,
}

/// A token flag that is set after a number of calls of a function.
pub struct Flag {
    pub bit: CK_FLAGS,
    pub function: String,
    pub times: usize,
}

/// What happens at a call.
#[derive(Clone, Copy)]
pub enum Fault {
    Error(CK_RV),
    Hang,
    Crash,
    Exit,
    /// Corrupts the heap; the call goes on.
    Corrupt,
    /// Returns another signature.
    Wrong,
    /// Prints on standard output and standard error; the call goes on.
    Print,
}

impl Script {
    /// Returns `None` for an unknown line, so that a mistake in a test fails it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut script = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = rest.split(' ').collect();
            match (key, &words[..]) {
                ("module", [path]) => script.module = path.into(),
                ("token", [pin, certificate, key]) => {
                    script.token = Some(((*pin).into(), certificate.into(), key.into()));
                }
                ("without", ["certificate"]) => script.without_certificate = true,
                ("without", ["key"]) => script.without_key = true,
                ("env", [name, value]) => script.env.push(((*name).into(), (*value).into())),
                ("log", [path]) => script.log = Some(path.into()),
                ("report", [function, path]) => script.reports.push(((*function).into(), path.into())),
                ("hold", [function, path]) => script.holds.push(((*function).into(), path.into())),
                ("flag", [name, function, times]) => script.flags.push(Flag {
                    bit: flag(name)?,
                    function: (*function).into(),
                    times: times.parse().ok()?,
                }),
                ("clear-flag", [name]) => script.cleared |= flag(name)?,
                ("pin-lengths", [min, max]) => script.pin_lengths = Some((min.parse().ok()?, max.parse().ok()?)),
                ("bad-slot", [code]) => script.bad_slot = Some(hex(code)?),
                ("private-certificates", _) => script.private_certificates = true,
                ("hide-mechanism", [number]) => script.hidden.push(hex(number)?),
                ("pin-pad", [pin]) => script.pin_pad = Some((*pin).into()),
                ("reader", _) => script.reader = Some(rest.into()),
                ("no-slots", _) => script.no_slots = true,
                ("fault", [function, call, what @ ..]) => {
                    script.faults.push(((*function).into(), call.parse().ok()?, fault(what)?));
                }
                _ => return None,
            }
        }
        Some(script)
    }

    pub fn fault(&self, function: &str, call: usize) -> Option<Fault> {
        self.faults.iter().find(|(name, number, _)| name == function && *number == call).map(|(.., fault)| *fault)
    }
}

fn fault(words: &[&str]) -> Option<Fault> {
    match words {
        ["error", code] => Some(Fault::Error(hex(code)?)),
        ["hang"] => Some(Fault::Hang),
        ["crash"] => Some(Fault::Crash),
        ["exit"] => Some(Fault::Exit),
        ["corrupt"] => Some(Fault::Corrupt),
        ["wrong"] => Some(Fault::Wrong),
        ["print"] => Some(Fault::Print),
        _ => None,
    }
}

fn flag(name: &str) -> Option<CK_FLAGS> {
    match name {
        "USER_PIN_COUNT_LOW" => Some(CKF_USER_PIN_COUNT_LOW),
        "USER_PIN_FINAL_TRY" => Some(CKF_USER_PIN_FINAL_TRY),
        "USER_PIN_LOCKED" => Some(CKF_USER_PIN_LOCKED),
        "TOKEN_INITIALIZED" => Some(CKF_TOKEN_INITIALIZED),
        "LOGIN_REQUIRED" => Some(CKF_LOGIN_REQUIRED),
        "PROTECTED_AUTHENTICATION_PATH" => Some(CKF_PROTECTED_AUTHENTICATION_PATH),
        _ => None,
    }
}

fn hex(number: &str) -> Option<CK_ULONG> {
    CK_ULONG::from_str_radix(number.strip_prefix("0x")?, 16).ok()
}
