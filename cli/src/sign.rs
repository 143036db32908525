//! `ticketapi sign`: files, or a request in the form of NHS Credential Management's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use ticketapi::sign::{self, FailedSignature, Format, KeyUse, MAX_BYTES, SignRequest, Signature, Signatures};
use ticketapi::{Error, ErrorKind, Result, Stage};

use crate::exit;
use crate::options::{Common, SignOptions};
use crate::session::Desk;
use crate::show::{self, printable};

/// From how many payloads on the progress is shown.
const MANY: usize = 6;

/// The longest request on standard input: payloads in base64, and as much again for what is around them.
const LONGEST_REQUEST: usize = MAX_BYTES * 2;

/// Standard input, in place of a file.
const STDIN: &str = "-";

pub fn run(options: &SignOptions, common: &Common) -> ExitCode {
    let outcome = if common.json { with_json(options, common) } else { with_files(options, common) };
    outcome.unwrap_or_else(|error| {
        show::error(&error, false);
        exit::code(error.kind())
    })
}

/// Writes a file for each signature, also if another one cannot be written. Returns the exit code of the first failure.
fn with_files(options: &SignOptions, common: &Common) -> Result<ExitCode> {
    let outputs = outputs(options, true)?;
    let request = request_of_files(options)?;
    let signatures = sign(&request, common)?;
    let mut failures = Vec::new();
    for signature in &signatures.signatures {
        match output_of(&signature.id, options, &outputs) {
            Some(output) => match write(output, &signature.bytes, options.overwrite) {
                Ok(()) => show::out(&format!("{}\n", printable(&output.display().to_string())))?,
                Err(error) => failures.push((format!("{} was signed, but not written", signature.id), error)),
            },
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&signature.bytes).and_then(|()| stdout.flush()).map_err(show::unwritten)?;
            }
        }
    }
    let failed = signatures.failed.into_iter();
    failures.extend(failed.map(|FailedSignature { id, error, .. }| (format!("{id} was not signed"), error)));
    for (what, error) in &failures {
        show::note(&printable(&format!("{what}: {error}")));
    }
    Ok(failures.first().map_or(ExitCode::SUCCESS, |(_, error)| exit::code(error.kind())))
}

/// Prints the answer to a request on standard input, or to one of files, whatever the outcome is.
fn with_json(options: &SignOptions, common: &Common) -> Result<ExitCode> {
    let request =
        if options.files.is_empty() { request_of(&standard_input()?, options) } else { request_of_files(options) };
    let outcome = request.and_then(|request| {
        let outputs = outputs(options, options.out.is_some())?;
        let signatures = sign(&request, common)?;
        let mut unwritten = Vec::new();
        for Signature { id, bytes, .. } in signatures.signatures.iter().filter(|_| options.out.is_some()) {
            if let Some(output) = output_of(id, options, &outputs)
                && let Err(error) = write(output, bytes, options.overwrite)
            {
                unwritten.push((id.clone(), error));
            }
        }
        Ok((signatures, unwritten))
    });
    let (answer, code) = match &outcome {
        Ok((signatures, unwritten)) => answer(signatures, unwritten),
        Err(error) => (failure(error), exit::code(error.kind())),
    };
    show::json(&answer)?;
    Ok(code)
}

/// Returns the file for the signature of the payload with this id, if it has one.
fn output_of<'a>(payload: &str, options: &SignOptions, outputs: &'a [Option<PathBuf>]) -> Option<&'a Path> {
    let (_, output) = options.files.iter().zip(outputs).find(|(file, _)| id(file) == payload)?;
    output.as_deref()
}

fn sign(request: &SignRequest, common: &Common) -> Result<Signatures> {
    let desk = Desk::new(common)?;
    let count = request.payloads.len();
    let signatures = desk.engine.sign_telling(request, &mut |done| {
        if count >= MANY {
            desk.progress.say(&format!("Signed {done} of {count} …"));
        }
    });
    desk.progress.clear();
    signatures
}

/// A request in the form of NHS Credential Management's; its other fields say nothing about signatures.
#[derive(Deserialize)]
struct Request {
    algorithm: Option<String>,
    payloads: Vec<RequestedPayload>,
}

#[derive(Deserialize)]
struct RequestedPayload {
    id: String,
    /// In base64.
    payload: String,
}

fn request_of(json: &[u8], options: &SignOptions) -> Result<SignRequest> {
    let asked: Request = serde_json::from_slice(json)
        .map_err(|error| invalid("standard input is not a request for signatures in JSON").because(error))?;
    let mut request = new_request(options);
    if let Some(algorithm) = asked.algorithm {
        request.algorithm = algorithm.parse()?;
    }
    for RequestedPayload { id, payload } in asked.payloads {
        let bytes = BASE64_STANDARD
            .decode(payload.as_bytes())
            .map_err(|error| invalid(&format!("the payload {id} is not base64")).because(error))?;
        request = request.payload(id, bytes);
    }
    Ok(request)
}

fn standard_input() -> Result<Vec<u8>> {
    read(io::stdin().lock(), LONGEST_REQUEST, "standard input")
}

fn request_of_files(options: &SignOptions) -> Result<SignRequest> {
    let mut request = new_request(options);
    for file in &options.files {
        let bytes = if file == Path::new(STDIN) {
            read(io::stdin().lock(), MAX_BYTES, "standard input")?
        } else {
            let name = file.display().to_string();
            read(File::open(file).map_err(|error| unreadable(&name, &error))?, MAX_BYTES, &name)?
        };
        request = request.payload(id(file), bytes);
    }
    Ok(request)
}

fn new_request(options: &SignOptions) -> SignRequest {
    let key = if options.login_key { KeyUse::Login } else { KeyUse::ContentCommitment };
    let request = SignRequest::new().algorithm(options.algorithm).format(options.format).key(key);
    match &options.title {
        Some(title) => request.title(title),
        None => request,
    }
}

/// Reads to the end, or one byte more than a request may have.
fn read(from: impl Read, most: usize, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    if bytes.len() > most {
        return Err(invalid(&format!("{name} has more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

fn id(file: &Path) -> String {
    file.to_string_lossy().into_owned()
}

/// Returns the file for each signature; none for what comes from standard input and goes to standard output. Refuses
/// those that exist, if they are to be written, before anybody is asked for a PIN.
fn outputs(options: &SignOptions, are_written: bool) -> Result<Vec<Option<PathBuf>>> {
    let suffix = match options.format {
        Format::Cms => "p7s",
        Format::Jws => "jws",
        Format::XmlDsig => "signature.xml",
        _ => "sig",
    };
    let mut outputs = Vec::new();
    for file in &options.files {
        let is_stdin = file == Path::new(STDIN);
        if is_stdin && options.files.len() > 1 {
            return Err(invalid("standard input (-) is signed alone"));
        }
        let mut name = match file.file_name() {
            _ if is_stdin => "stdin".into(),
            Some(name) => name.to_owned(),
            None => return Err(invalid(&format!("{} is not a file", file.display()))),
        };
        name.push(".");
        name.push(suffix);
        let output = match &options.out {
            Some(folder) => Some(folder.join(name)),
            None if is_stdin => None,
            None => Some(file.with_file_name(name)),
        };
        if output.is_some() && outputs.contains(&output) {
            return Err(invalid(&format!("two signatures would be written to {}", shown(output.as_deref()))));
        }
        let exists = output.as_ref().is_some_and(|output| output.symlink_metadata().is_ok());
        if are_written && exists && !options.overwrite {
            return Err(invalid(&format!("{} exists; --overwrite replaces it", shown(output.as_deref()))));
        }
        outputs.push(output);
    }
    if let Some(folder) = options.out.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(invalid(&format!("{} is not a folder", folder.display())));
    }
    Ok(outputs)
}

fn shown(output: Option<&Path>) -> String {
    output.map_or_else(String::new, |output| output.display().to_string())
}

/// Writes a whole file or none. Without `overwrite` it fails if there is one.
fn write(output: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    let mut place = output.as_os_str().to_owned();
    if overwrite {
        place.push(format!(".{}.part", std::process::id()));
    }
    let place = Path::new(&place);
    let created = OpenOptions::new().write(true).create_new(true).open(place);
    let written = created.and_then(|mut file| {
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let written = written.and_then(|()| if overwrite { fs::rename(place, output) } else { Ok(()) });
        if written.is_err() {
            // This error is the one to report.
            let _ = fs::remove_file(place);
        }
        written
    });
    written.map_err(|error| {
        let detail = format!("{} cannot be written: {error}", output.display());
        Error::new(ErrorKind::NotWritten, Stage::Signing, detail).because(error)
    })
}

/// The answer in the form of NHS Credential Management's, and the exit code. The signatures of the `unwritten` files are
/// in it.
fn answer(signatures: &Signatures, unwritten: &[(String, Error)]) -> (Value, ExitCode) {
    let first = signatures.failed.first().map(|failed| &failed.error);
    let first = first.or_else(|| unwritten.first().map(|(_, error)| error));
    let unwritten =
        unwritten.iter().map(|(id, error)| json!({ "id": id, "message": error.to_string(), "remedy": error.remedy() }));
    let mut answer = sign::answer(signatures, first);
    if unwritten.len() > 0 {
        answer["unwritten_files"] = unwritten.collect();
    }
    (answer, first.map_or(ExitCode::SUCCESS, |error| exit::code(error.kind())))
}

/// The answer if nothing was signed.
fn failure(error: &Error) -> Value {
    json!({
        "status_code": error.kind().group().status_code(),
        "status_string": error.kind().name(),
        "message": error.to_string(),
        "certificate": null,
        "timestamp": null,
        "signatures": [],
        "failed_signatures": [],
        "error": show::failure(error),
    })
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    invalid(&format!("{name} cannot be read: {error}"))
}

fn invalid(detail: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, Stage::Signing, detail)
}
