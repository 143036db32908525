//! A Nuts node on this computer: see `nuts-simulator --help`.

#[path = "simulator/shared.rs"]
mod shared;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::*;
use ticketapi_testkit::chromium::Chromium;
use ticketapi_testkit::nuts::{Endpoint, MISBEHAVIOURS, Misbehaviour, Version};
use ticketapi_testkit::{Error, Nuts, NutsBuilder};

use shared::{custom, say, signals, to_paste};

const HELP: &str = "\
A Nuts node on this computer, to try programs that log in with an employer's node.

It listens on 127.0.0.1, with one employer: CareBears in CareTown. It draws up contracts, shows the page on
which the user accepts or rejects, and signs presentations, with the answers of a real node. It stops on
Ctrl-C and leaves nothing behind.

It prints the settings that make ticketapi use it. Paste them into another terminal and log in there; each
request is then shown here.

Usage: nuts-simulator [OPTIONS]

Where it listens
  --port N              port of the internal address (default: a free one)
  --public-port N       port of the public address, in version 6 (default: a free one)
  --tls                 TLS on both addresses
  --state-dir DIR       keep the CA here, so that ca_file stays good from run to run

The node
  --node 5|6            as nodes of version 5 (one address) or 6 (two) answer (default: 5)
  --auto accept|reject  press the page's button, for programs without a browser
  --token-key FILE      want each request to have a JWT of the key in this PEM file (public key)
  --token-user NAME     the key's name (default: ticketapi)
  --audience NAME       the node's name in JWTs (default: nuts)

Instead of being a node
  --press accept|reject URL
                        open the page at URL in a Chromium without windows, and press its button

Being a bad node
  --misbehave WHERE=WHAT

  -h, --help            print this
  -V, --version         print the version
";

struct Options {
    nuts: NutsBuilder,
    state_folder: Option<PathBuf>,
    tls: bool,
    token_key: Option<PathBuf>,
    token_user: String,
    audience: String,
    misbehaviours: Vec<(Endpoint, Misbehaviour)>,
    press: Option<(bool, String)>,
}

fn main() -> ExitCode {
    shared::main("nuts-simulator", read_arguments, run)
}

/// The command line; `None` when it only asked for words.
fn read_arguments() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        nuts: Nuts::builder(),
        state_folder: None,
        tls: false,
        token_key: None,
        token_user: "ticketapi".into(),
        audience: "nuts".into(),
        misbehaviours: Vec::new(),
        press: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let nuts = std::mem::take(&mut options.nuts);
        options.nuts = match argument {
            Short('h') | Long("help") => {
                say(&help());
                return Ok(None);
            }
            Short('V') | Long("version") => {
                say(concat!("nuts-simulator ", env!("CARGO_PKG_VERSION"), "\n"));
                return Ok(None);
            }
            Long("port") => nuts.port(parser.value()?.parse()?),
            Long("public-port") => nuts.public_port(parser.value()?.parse()?),
            Long("tls") => {
                options.tls = true;
                nuts.tls()
            }
            Long("state-dir") => {
                options.state_folder = Some(parser.value()?.into());
                nuts
            }
            Long("node") => nuts.version(parser.value()?.parse_with(|text| match text {
                "5" => Ok(Version::V5),
                "6" => Ok(Version::V6),
                _ => Err("there are 5 and 6"),
            })?),
            Long("auto") => nuts.auto(parser.value()?.parse_with(decision)?),
            Long("press") => {
                let accept = parser.value()?.parse_with(decision)?;
                let url = parser.value()?.string()?;
                options.press = Some((accept, url));
                nuts
            }
            Long("token-key") => {
                options.token_key = Some(parser.value()?.into());
                nuts
            }
            Long("token-user") => {
                options.token_user = parser.value()?.string()?;
                nuts
            }
            Long("audience") => {
                options.audience = parser.value()?.string()?;
                nuts
            }
            Long("misbehave") => {
                let text = parser.value()?.string()?;
                let (place, what) = text.split_once('=').ok_or("--misbehave takes WHERE=WHAT")?;
                let misbehaviour = Misbehaviour::from_name(what).map_err(custom)?;
                options.misbehaviours.push((Endpoint::from_name(place).map_err(custom)?, misbehaviour));
                nuts
            }
            _ => return Err(argument.unexpected()),
        };
    }
    Ok(Some(options))
}

fn decision(text: &str) -> Result<bool, &'static str> {
    match text {
        "accept" => Ok(true),
        "reject" => Ok(false),
        _ => Err("there are accept and reject"),
    }
}

fn help() -> String {
    let endpoints: String = Endpoint::ALL.map(Endpoint::name).join(", ");
    let names: String = MISBEHAVIOURS.iter().map(|(name, what)| format!("  {name:<26}  {what}\n")).collect();
    format!("{HELP}\nWHERE is one of {endpoints}; WHAT is one of\n{names}")
}

fn run(options: Options) -> Result<(), Error> {
    if let Some((accept, url)) = &options.press {
        return press(url, *accept);
    }
    let io = |what: &str, path: &Path| {
        let what = format!("{what} {}", path.display());
        move |source| Error::Io { what, source }
    };
    let mut signals = signals()?;
    let mut nuts = options.nuts.observer(|entry| say(&format!("{entry}\n")));
    if let Some(folder) = &options.state_folder {
        std::fs::create_dir_all(folder).map_err(io("cannot make", folder))?;
        nuts = nuts.state_folder(folder);
    }
    if let Some(file) = &options.token_key {
        let key = std::fs::read(file).map_err(io("cannot read", file))?;
        nuts = nuts.api_login(&key, &options.token_user, &options.audience);
    }
    let nuts = nuts.start()?;
    for (endpoint, misbehaviour) in options.misbehaviours {
        nuts.misbehave(endpoint, misbehaviour);
    }
    say(&greeting(&nuts, options.tls));
    signals.forever().next();
    Ok(())
}

/// Plays the user. The page that follows says how it went.
fn press(url: &str, accept: bool) -> Result<(), Error> {
    let browser = Chromium::start()?;
    browser.open(url)?;
    browser.click(if accept { "#accept-button" } else { "#reject-button" })?;
    let expected = if accept { "completed" } else { "cancelled" };
    // The page that the decision leads to has no form.
    let shown = browser.text("main:not(:has(form))")?;
    if shown.contains(expected) { Ok(()) } else { Err(Error::Usage(format!("{url} shows: {shown}"))) }
}

/// The first lines: for programs to read, and for people to paste.
fn greeting(nuts: &Nuts, tls: bool) -> String {
    let mut text = format!("url={}\npublic_url={}\nemployer={}\n", nuts.url(), nuts.public_url(), nuts.employer());
    let mut settings = vec![
        ("TICKETAPI_SERVICE", "nuts".to_owned()),
        ("TICKETAPI_NUTS_NODE", nuts.url()),
        ("TICKETAPI_EMPLOYER", nuts.employer().to_owned()),
        ("TICKETAPI_EMPLOYEE_IDENTIFIER", "481".to_owned()),
        ("TICKETAPI_EMPLOYEE_INITIALS", "J".to_owned()),
        ("TICKETAPI_EMPLOYEE_FAMILY_NAME", "van Dijk".to_owned()),
        ("TICKETAPI_EMPLOYEE_ROLE", "Verpleegkundige niveau 2".to_owned()),
    ];
    if !tls {
        settings.push(("TICKETAPI_ALLOW_HTTP", "true".to_owned()));
    }
    if tls {
        text.push_str(&format!("ca_file={}\n", nuts.ca_file().display()));
        settings.push(("TICKETAPI_CA_FILE", nuts.ca_file().display().to_string()));
    }
    text + &to_paste(settings)
}
