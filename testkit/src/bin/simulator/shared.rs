//! What the simulators' programs have in common.
#![allow(dead_code, reason = "each program uses its own part")]

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use ticketapi_testkit::Error;
use ticketapi_testkit::spine::{ServerCertificate, TlsVersions};

/// Parses the arguments and runs the program. `read_arguments` returns `None` after `--help` and `--version`.
pub fn main<T>(
    program: &str,
    read_arguments: impl FnOnce() -> Result<Option<T>, lexopt::Error>,
    run: impl FnOnce(T) -> Result<(), Error>,
) -> ExitCode {
    let options = match read_arguments() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}\nTry {program} --help.");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The signals that end a simulator.
pub fn signals() -> Result<Signals, Error> {
    Signals::new([SIGINT, SIGTERM]).map_err(|source| Error::Io { what: "cannot wait for signals".into(), source })
}

pub fn tls_versions(text: &str) -> Result<TlsVersions, &'static str> {
    match text {
        "1.2" => Ok(TlsVersions::Tls12),
        "1.3" => Ok(TlsVersions::Tls13),
        _ => Err("use 1.2 or 1.3"),
    }
}

pub fn server_certificate(text: &str) -> Result<ServerCertificate, &'static str> {
    match (text, text.strip_prefix("name:")) {
        ("good", _) => Ok(ServerCertificate::Good),
        ("expired", _) => Ok(ServerCertificate::Expired),
        ("other-ca", _) => Ok(ServerCertificate::OtherCa),
        (_, Some(name)) => Ok(ServerCertificate::ForName(name.into())),
        _ => Err("use good, expired, other-ca or name:NAME"),
    }
}

pub fn custom(error: Error) -> lexopt::Error {
    error.to_string().into()
}

/// The end of the greeting: settings for users to paste.
pub fn to_paste(settings: Vec<(&str, String)>) -> String {
    let lines = settings.into_iter().map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    format!("\n# To log in here from another terminal:\n{}\n# Requests (Ctrl-C stops):\n", lines.collect::<String>())
}

/// Writes to standard output. The simulator goes on if nobody reads it.
pub fn say(text: &(impl Display + ?Sized)) {
    let mut output = std::io::stdout().lock();
    let _ = write!(output, "{text}").and_then(|()| output.flush());
}
