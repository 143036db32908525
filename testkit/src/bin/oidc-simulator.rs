//! An OpenID provider on this computer: see `oidc-simulator --help`.

#[path = "simulator/shared.rs"]
mod shared;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use ticketapi_testkit::oidc::{Algorithm, Client, Endpoint, Key, MISBEHAVIOURS, Misbehaviour, User};

use ticketapi_testkit::{Browser, Error, OidcBuilder, OidcProvider};

use shared::{custom, say, server_certificate, signals, tls_versions, to_paste};

const HELP: &str = "\
An OpenID provider on this computer, to try programs that log in at NHS CIS2, at the Danish eHealth
infrastructure, or at any other provider.

It listens on 127.0.0.1, shows a login page (and CIS2's role page), checks every request, and says why it
refuses. It stops on Ctrl-C and leaves nothing behind.

It prints the settings that make ticketapi use it. Paste them into another terminal and log in there; each
request is then shown here, without secrets.

Usage: oidc-simulator [OPTIONS]
       oidc-simulator --browse URL [--ca-file FILE] [--user NAME --password PASSWORD] [--role ID]

Where it listens
  --port N              port (default: a free one)
  --http                plain http instead of TLS
  --tls 1.2|1.3         this TLS version only (default: both)
  --certificate WHAT    good, expired, other-ca, or name:NAME (a certificate for NAME)
  --state-dir DIR       keep the CA here, so that ca_file stays good from run to run

The provider
  --service NAME        cis2, ehealth_dk or oidc (default: cis2)
  --issuer URL          the issuer to the character, with the endpoints below it
  --algorithm NAME      RS256, RS384, RS512, PS256 or ES256 (default: RS256)
  --signed-userinfo     UserInfo is a signed token
  --no-refresh          no refresh tokens
  --no-end-session      no end_session endpoint
  --token-seconds N     how long tokens live (default: 300)
  --session-seconds N   how long a session lasts (default: 36000)
  --token-padding N     make tokens longer by N bytes
  --auto                no pages: whoever opens the address is logged in

The client
  --client-id ID        its id (default: test-client)
  --write-secret FILE   it has a secret, which is written to FILE
  --write-key FILE      it has a key for private_key_jwt (RS512), which is written to FILE

The user
  --sub SUB             sub, and the user name on the login page; the password is pw- and that name
  --name NAME           the name
  --roles N             how many roles, 0 to 10000

Being a bad provider
  --misbehave WHERE=WHAT    may be given several times. WHERE is an endpoint, or connection (no-answer,
                            reset or delay:MILLISECONDS, before TLS); WHAT is one of the names below

Being a browser
  --browse URL          open URL as a browser without a screen does: keep cookies, follow redirects, log in
                        and choose a role where a page asks; print the last page

  -h, --help            print this
  -V, --version         print the version
";

struct Options {
    provider: OidcBuilder,
    service: &'static str,
    client_id: String,
    secret_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    sub: Option<String>,
    name: Option<String>,
    roles: Option<usize>,
    auto: bool,
    on_connect: Option<Misbehaviour>,
    misbehaviours: Vec<(Endpoint, Misbehaviour)>,
    state_folder: Option<PathBuf>,
    visit: Visit,
}

/// What to open, instead of serving.
#[derive(Default)]
struct Visit {
    url: Option<String>,
    ca_file: Option<PathBuf>,
    user: String,
    password: String,
    role: Option<String>,
}

fn main() -> ExitCode {
    shared::main("oidc-simulator", read_arguments, browse_or_serve)
}

/// The command line; `None` when it only asked for words.
fn read_arguments() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        provider: OidcProvider::builder(),
        service: "cis2",
        client_id: "test-client".into(),
        secret_file: None,
        key_file: None,
        sub: None,
        name: None,
        roles: None,
        auto: false,
        on_connect: None,
        misbehaviours: Vec::new(),
        state_folder: None,
        visit: Visit::default(),
    };
    let (mut token, mut session) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let provider = std::mem::take(&mut options.provider);
        options.provider = match argument {
            Short('h') | Long("help") => {
                say(&help());
                return Ok(None);
            }
            Short('V') | Long("version") => {
                say(concat!("oidc-simulator ", env!("CARGO_PKG_VERSION"), "\n"));
                return Ok(None);
            }
            Long("port") => provider.port(parser.value()?.parse()?),
            Long("http") => provider.plain_http(),
            Long("tls") => provider.tls_versions(parser.value()?.parse_with(tls_versions)?),
            Long("certificate") => provider.server_certificate(parser.value()?.parse_with(server_certificate)?),
            Long("issuer") => provider.issuer(parser.value()?.string()?),
            Long("algorithm") => provider.algorithm(Algorithm::from_name(&parser.value()?.string()?).map_err(custom)?),
            Long("signed-userinfo") => provider.signed_user_info(),
            Long("no-refresh") => provider.without_refresh_tokens(),
            Long("no-end-session") => provider.without(Endpoint::EndSession),
            Long("token-padding") => provider.token_padding(parser.value()?.parse()?),
            other => {
                match other {
                    Long("service") => {
                        options.service = parser.value()?.parse_with(|text| {
                            let known = ["cis2", "ehealth_dk", "oidc"].into_iter().find(|name| *name == text);
                            known.ok_or("there are cis2, ehealth_dk and oidc")
                        })?;
                    }
                    Long("state-dir") => options.state_folder = Some(parser.value()?.into()),
                    Long("token-seconds") => token = Some(parser.value()?.parse()?),
                    Long("session-seconds") => session = Some(parser.value()?.parse()?),
                    Long("auto") => options.auto = true,
                    Long("client-id") => options.client_id = parser.value()?.string()?,
                    Long("write-secret") => options.secret_file = Some(parser.value()?.into()),
                    Long("write-key") => options.key_file = Some(parser.value()?.into()),
                    Long("sub") => options.sub = Some(parser.value()?.string()?),
                    Long("name") => options.name = Some(parser.value()?.string()?),
                    Long("roles") => {
                        options.roles = Some(parser.value()?.parse_with(|text| match text.parse() {
                            Ok(count @ 0..=10_000) => Ok(count),
                            _ => Err("a user has 0 to 10000 roles"),
                        })?);
                    }
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
                    Long("browse") => options.visit.url = Some(parser.value()?.string()?),
                    Long("ca-file") => options.visit.ca_file = Some(parser.value()?.into()),
                    Long("user") => options.visit.user = parser.value()?.string()?,
                    Long("password") => options.visit.password = parser.value()?.string()?,
                    Long("role") => options.visit.role = Some(parser.value()?.string()?),
                    _ => return Err(other.unexpected()),
                }
                provider
            }
        };
    }
    if let Some(seconds) = token {
        options.provider = options.provider.token_lifetime(Duration::from_secs(seconds));
    }
    if let Some(seconds) = session.map(Duration::from_secs) {
        options.provider = options.provider.session_lifetime(seconds, seconds);
    }
    if options.secret_file.is_some() && options.key_file.is_some() {
        return Err("--write-secret and --write-key do not go together".into());
    }
    Ok(Some(options))
}

fn help() -> String {
    let endpoints = Endpoint::ALL.map(Endpoint::name).join(", ");
    let names: String = MISBEHAVIOURS.iter().map(|(name, what)| format!("  {name:<24}  {what}\n")).collect();
    format!("{HELP}\nEndpoints\n  {endpoints}\n\nMisbehaviours\n{names}")
}

fn browse_or_serve(options: Options) -> Result<(), Error> {
    match &options.visit.url {
        Some(url) => browse(url, &options.visit),
        None => serve(options),
    }
}

fn browse(url: &str, visit: &Visit) -> Result<(), Error> {
    let mut browser = visit.ca_file.as_deref().map_or_else(Browser::default, Browser::new);
    let page = browser.log_in(url, &visit.user, &visit.password, visit.role.as_deref())?;
    say(&format!("{}\n", page.text));
    Ok(())
}

fn serve(mut options: Options) -> Result<(), Error> {
    let io = |what: String| move |source| Error::Io { what, source };
    let mut signals = signals()?;
    let temporary =
        tempfile::TempDir::with_prefix("oidc-simulator-").map_err(io("cannot make a temporary folder".into()))?;
    let folder = options.state_folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).map_err(io(format!("cannot make {}", folder.display())))?;

    let mut settings = vec![("TICKETAPI_SERVICE", options.service.to_owned())];
    let client = client(&options, &mut settings)?;
    let change = |mut user: User| {
        if let Some(sub) = &options.sub {
            user = user.subject(sub);
        }
        if let Some(name) = &options.name {
            user = user.name(name);
        }
        match options.roles {
            Some(count) => user.nrbac_roles(count),
            None => user,
        }
    };
    let provider = std::mem::take(&mut options.provider).client(client);
    let mut provider = match options.service {
        "cis2" => provider.cis2(),
        "ehealth_dk" => provider.ehealth_dk(),
        _ => provider,
    }
    .change_user(change);
    if !options.auto {
        provider = provider.pages();
    }
    let provider = provider.state_folder(folder).observer(|entry| say(&format!("{entry}\n"))).start()?;
    for (endpoint, misbehaviour) in options.misbehaviours {
        provider.misbehave(endpoint, misbehaviour);
    }
    if let Some(misbehaviour) = options.on_connect {
        provider.misbehave_on_connect(&misbehaviour);
    }
    settings.insert(1, ("TICKETAPI_ISSUER", provider.issuer()));
    settings.insert(2, ("TICKETAPI_CLIENT_ID", provider.client_id()));
    say(&greeting(&provider, settings, options.auto));
    signals.forever().next();
    Ok(())
}

/// The client, whose secret or key is written to the file that was asked for.
fn client(options: &Options, settings: &mut Vec<(&'static str, String)>) -> Result<Client, Error> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string();
    if let Some(file) = &options.key_file {
        let key = Key::new(Algorithm::Rs512, 99)?.key_id("test-client-1");
        key.write_pkcs8(file)?;
        settings.push(("TICKETAPI_CLIENT_AUTH", "private_key_jwt".into()));
        settings.push(("TICKETAPI_CLIENT_KEY_FILE", absolute(file)));
        settings.push(("TICKETAPI_CLIENT_KEY_ID", key.id().into()));
        return Client::with_key(&options.client_id, &key);
    }
    if let Some(file) = &options.secret_file {
        let client = Client::with_new_secret(&options.client_id, file)?;
        settings.push(("TICKETAPI_CLIENT_AUTH", "client_secret".into()));
        settings.push(("TICKETAPI_CLIENT_SECRET_FILE", absolute(file)));
        return Ok(client);
    }
    Ok(Client::public(&options.client_id))
}

/// The first lines: for programs to read, and for people to paste.
fn greeting(provider: &OidcProvider, mut settings: Vec<(&str, String)>, auto: bool) -> String {
    let mut text = format!("issuer={}\nclient_id={}\n", provider.issuer(), provider.client_id());
    if provider.url().starts_with("https") {
        text.push_str(&format!("ca_file={}\n", provider.ca_file().display()));
        settings.push(("TICKETAPI_CA_FILE", provider.ca_file().display().to_string()));
    }
    if let (false, Some(user)) = (auto, provider.user()) {
        text.push_str(&format!("\n# On the login page: {} and {}\n", user.login_name(), user.password()));
    }
    text + &to_paste(settings)
}
