//! A Spine Security Broker on this computer; see `spine-simulator --help`.

#[path = "simulator/shared.rs"]
mod shared;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::*;
use ticketapi_testkit::spine::{Digest, MISBEHAVIOURS, Role};
use ticketapi_testkit::{CardSpec, Endpoint, Error, Misbehaviour, Spine, SpineBuilder, TestCa};

use shared::{custom, say, server_certificate, signals, tls_versions, to_paste};

const HELP: &str = "\
A Spine Security Broker on this computer, for testing programs that log in with an NHS smartcard.

It listens on 127.0.0.1, checks every message, verifies the signed challenge, and says why it refuses a
request. It accepts a message that differs from the genuine client's in form only, with a warning in the
log. It stops on Ctrl-C and leaves no files behind.

    spine-simulator --write-card card.p12 --pin 1234

writes a test card, and prints the settings with which ticketapi uses it and this simulator. Paste them
into another terminal and log in there; the simulator shows each request.

Usage: spine-simulator [OPTIONS]

Server
  --port N              port (default: a free one)
  --http                plain http instead of TLS
  --tls 1.2|1.3         only this TLS version (default: both)
  --certificate WHAT    good, expired, other-ca, or name:NAME (a certificate for NAME)
  --state-dir DIR       keep the CAs in DIR, so that ca_file and cards remain valid in later runs
                        (default: new CAs each time)

Cards
  --write-card FILE     write a test card as PKCS#12, for the setting software_card
  --pin PIN             its PIN
  --pin-file FILE       read its PIN from the first line of FILE; - is standard input
  --uid UID             its user's id (default: 555021935107)
  --card-ca FILE        accept cards of the CAs in this PEM file instead of the simulator's own
  --accept-expired      accept expired cards
  --digest sha1|sha256  the digest that signatures must use (default: sha1)

The user
  --name NAME           the display name (default: TEST USER)
  --roles N             the number of roles, 0 to 1000 (default: 3)
  --session-minutes N   how long a session lasts (default: 600)

Strictness and faults
  --strict              refuse what otherwise gets a warning
  --misbehave WHERE=WHAT    may be repeated. WHERE is an endpoint, or connection (with no-answer, reset
                            or delay:MILLISECONDS, before TLS); WHAT is one of the names below

  -h, --help            show this text
  -V, --version         show the version
";

struct Options {
    spine: SpineBuilder,
    state_folder: Option<PathBuf>,
    card_ca: Option<PathBuf>,
    write_card: Option<PathBuf>,
    pin: Option<String>,
    uid: Option<String>,
    on_connect: Option<Misbehaviour>,
    misbehaviours: Vec<(Endpoint, Misbehaviour)>,
}

fn main() -> ExitCode {
    shared::main("spine-simulator", read_arguments, run)
}

/// Parses the command line. Returns `None` after `--help` and `--version`.
fn read_arguments() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        spine: Spine::builder(),
        state_folder: None,
        card_ca: None,
        write_card: None,
        pin: None,
        uid: None,
        on_connect: None,
        misbehaviours: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let spine = &mut options.spine;
        let change = |spine: &mut SpineBuilder, how: &dyn Fn(SpineBuilder) -> SpineBuilder| {
            *spine = how(std::mem::take(spine));
        };
        match argument {
            Short('h') | Long("help") => {
                say(&help());
                return Ok(None);
            }
            Short('V') | Long("version") => {
                say(concat!("spine-simulator ", env!("CARGO_PKG_VERSION"), "\n"));
                return Ok(None);
            }
            Long("port") => {
                let port = parser.value()?.parse()?;
                change(spine, &|s| s.port(port));
            }
            Long("http") => change(spine, &SpineBuilder::plain_http),
            Long("tls") => {
                let versions = parser.value()?.parse_with(tls_versions)?;
                change(spine, &|s| s.tls_versions(versions));
            }
            Long("certificate") => {
                let certificate = parser.value()?.parse_with(server_certificate)?;
                change(spine, &|s| s.server_certificate(certificate.clone()));
            }
            Long("digest") => {
                let digest = parser.value()?.parse_with(|text| match text {
                    "sha1" => Ok(Digest::Sha1),
                    "sha256" => Ok(Digest::Sha256),
                    _ => Err("use sha1 or sha256"),
                })?;
                change(spine, &|s| s.digest(digest));
            }
            Long("strict") => change(spine, &SpineBuilder::strict),
            Long("accept-expired") => change(spine, &SpineBuilder::accept_expired_cards),
            Long("name") => {
                let name = parser.value()?.string()?;
                change(spine, &|s| s.display_name(name.clone()));
            }
            Long("roles") => {
                let count = parser.value()?.parse_with(|text| match text.parse() {
                    Ok(count @ 0..=1000) => Ok(count),
                    _ => Err("a user has 0 to 1000 roles"),
                })?;
                change(spine, &|s| s.these_roles(Role::generate(count)));
            }
            Long("session-minutes") => {
                let minutes = parser.value()?.parse()?;
                change(spine, &|s| s.session_minutes(minutes, minutes));
            }
            Long("state-dir") => options.state_folder = Some(parser.value()?.into()),
            Long("card-ca") => options.card_ca = Some(parser.value()?.into()),
            Long("write-card") => options.write_card = Some(parser.value()?.into()),
            Long("pin") => options.pin = Some(parser.value()?.string()?),
            Long("pin-file") => options.pin = Some(read_pin(&PathBuf::from(parser.value()?))?),
            Long("uid") => options.uid = Some(parser.value()?.string()?),
            Long("misbehave") => {
                let text = parser.value()?.string()?;
                let (place, what) = text.split_once('=').ok_or("--misbehave takes WHERE=WHAT")?;
                let misbehaviour = Misbehaviour::from_name(what).map_err(custom)?;
                if place == "connection" {
                    options.on_connect = Some(misbehaviour);
                } else {
                    options.misbehaviours.push((Endpoint::from_name(place).map_err(custom)?, misbehaviour));
                }
            }
            _ => return Err(argument.unexpected()),
        }
    }
    match (&options.write_card, &options.card_ca, &options.pin) {
        (Some(_), Some(_), _) => Err("--write-card and --card-ca cannot be combined".into()),
        (Some(_), None, None) => Err("--write-card needs --pin or --pin-file".into()),
        (None, _, Some(_)) => Err("--pin needs --write-card".into()),
        _ => Ok(Some(options)),
    }
}

fn help() -> String {
    let endpoints = Endpoint::ALL.map(|endpoint| format!("  {:<22}  {}\n", endpoint.name(), endpoint.path()));
    let names: String = MISBEHAVIOURS.iter().map(|(name, what)| format!("  {name:<22}  {what}\n")).collect();
    format!("{HELP}\nEndpoints\n{}\nMisbehaviours\n{names}", endpoints.concat())
}

fn read_pin(path: &Path) -> Result<String, lexopt::Error> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| format!("cannot read the PIN from {}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().into())
}

fn run(options: Options) -> Result<(), Error> {
    let mut signals = signals()?;
    let io = |what: &str, path: &Path| {
        let what = format!("{what} {}", path.display());
        move |source| Error::Io { what, source }
    };
    let temporary = tempfile::TempDir::with_prefix("spine-simulator-")
        .map_err(io("cannot make a folder in", &std::env::temp_dir()))?;
    let folder = options.state_folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).map_err(io("cannot make", folder))?;

    let mut spine = options.spine.state_folder(folder).observer(|entry| say(&format!("{entry}\n")));
    spine = match &options.card_ca {
        Some(file) => spine.card_ca_pem(&std::fs::read(file).map_err(io("cannot read", file))?)?,
        None => {
            let ca = TestCa::load_or_create(folder)?;
            if let (Some(file), Some(pin)) = (&options.write_card, &options.pin) {
                let spec = options.uid.map_or_else(CardSpec::default, CardSpec::new);
                ca.issue(&spec)?.write_pkcs12(file, pin)?;
            }
            spine.card_ca(&ca)
        }
    };
    let spine = spine.start()?;
    for (endpoint, misbehaviour) in options.misbehaviours {
        spine.misbehave(endpoint, misbehaviour);
    }
    if let Some(misbehaviour) = options.on_connect {
        spine.misbehave_on_connect(misbehaviour);
    }
    say(&greeting(&spine, options.write_card.as_deref()));
    signals.forever().next();
    Ok(())
}

/// The first lines of output: settings for programs to read and for users to paste.
fn greeting(spine: &Spine, card: Option<&Path>) -> String {
    let mut settings = vec![("TICKETAPI_BASE_URL", spine.url())];
    let mut text = format!("url={}\n", spine.url());
    if spine.url().starts_with("https") {
        text.push_str(&format!("ca_file={}\n", spine.ca_file().display()));
        settings.push(("TICKETAPI_CA_FILE", spine.ca_file().display().to_string()));
    }
    if let Some(card) = card {
        let card = std::path::absolute(card).unwrap_or_else(|_| card.into()).display().to_string();
        text.push_str(&format!("software_card={card}\n"));
        settings.push(("TICKETAPI_SOFTWARE_CARD", card));
    }
    text + &to_paste(settings)
}
