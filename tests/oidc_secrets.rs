//! Tokens, codes, verifiers, client secrets and assertions are in nothing that a login in the browser emits, whatever is
//! logged and however it ends, and not in the program's memory afterwards.
//!
//! The program is a copy of this test program, in which freed memory is wiped as in the C library. What it writes and
//! what is in its memory is searched from here, where the provider knows every secret.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(all(feature = "oidc", target_os = "linux"))]

#[path = "secrets/output.rs"]
mod output;
#[path = "secrets/search.rs"]
mod search;
#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use memchr::memmem;
use output::{log_everything, print, print_error};
use support::script;
use ticketapi::{Config, Engine, Result};
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::{Algorithm, Client, Endpoint, Key, Misbehaviour, OidcBuilder};
use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

const AT_THE_END: &str = "the program is at its end";

/// The copy of this program that logs in; a test of its own does nothing.
#[test]
fn host() {
    if std::env::var_os("TICKETAPI_TEST_HOST").is_none() {
        return;
    }
    log_everything();
    let config = Config::load().unwrap();
    print(&config);
    let outcome = use_a_session(config);
    match &outcome {
        Ok(()) => println!("outcome: a session"),
        Err(error) => println!("outcome: {:?}", error.kind()),
    }
    println!("{AT_THE_END}");
    let _ = std::io::stdin().read(&mut [0]);
}

fn use_a_session(config: Config) -> Result<()> {
    let engine = Engine::builder(config).build().inspect_err(print_error)?;
    let outcome = engine.log_in().inspect(print).map(drop).inspect_err(print_error);
    for _ in 0..2 {
        print(&engine.session());
        print(&engine.status());
        let _ = engine.get_ticket().map(|ticket| print(&ticket)).inspect_err(print_error);
        let _ = engine.claims().map(drop).inspect_err(print_error);
        let _ = engine.change_role().map(drop).inspect_err(print_error);
        // Meanwhile the ticket is renewed.
        std::thread::sleep(Duration::from_secs(if outcome.is_ok() { 4 } else { 0 }));
    }
    let ended = engine.destroy_ticket().inspect_err(print_error);
    outcome.and(ended)
}

/// A provider, and the program that logs in there.
struct Trial {
    provider: OidcProvider,
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Trial {
    fn new(set_up: impl FnOnce(OidcBuilder) -> OidcBuilder) -> Self {
        let provider = OidcProvider::builder().cis2().token_lifetime(Duration::from_secs(12));
        let provider = set_up(provider).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let browser = folder.path().join("browser");
        let page = format!(
            "import ssl, sys, urllib.request as u\n\
             u.urlopen(sys.argv[1], context=ssl.create_default_context(cafile={:?}))",
            provider.ca_file()
        );
        script(&browser, &format!("exec python3 -c '{page}' \"$1\"\n"));
        let settings = vec![
            ("SERVICE", "cis2".into()),
            ("ISSUER", provider.issuer()),
            ("CLIENT_ID", provider.client_id()),
            ("CA_FILE", provider.ca_file().display().to_string()),
            ("BROWSER", browser.display().to_string()),
            ("ROLE_COMMAND", "head -n 1".into()),
            ("PROMPTER", "desktop".into()),
            ("BIND_CARD", "false".into()),
            ("PROXY", "none".into()),
            ("AGENT", "never".into()),
            ("LOGIN_TIMEOUT", "20".into()),
        ];
        Self { provider, folder, settings }
    }

    fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((key, value.into()));
        self
    }

    fn secret_file(&self, content: &[u8]) -> String {
        let file = self.folder.path().join("secret");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.display().to_string()
    }

    /// Runs the program, and searches what it writes and what is in its memory at its end.
    fn shows_no_secret(self, outcome: &str) {
        let mut host = Command::new(std::env::current_exe().unwrap());
        host.args(["host", "--exact", "--nocapture", "--test-threads=1"]).env_clear();
        host.env("PATH", std::env::var_os("PATH").unwrap()).env("TICKETAPI_TEST_HOST", "1");
        for name in ["TMPDIR", "HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
            host.env(name, self.folder.path());
        }
        for (name, value) in &self.settings {
            host.env(format!("TICKETAPI_{name}"), value);
        }
        host.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.folder.path().join("stderr")).unwrap());
        let mut host = host.spawn().unwrap();

        let (mut output, mut lines) = (Vec::new(), BufReader::new(host.stdout.take().unwrap()));
        while !output.ends_with(format!("{AT_THE_END}\n").as_bytes()) {
            let read = lines.read_until(b'\n', &mut output).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&output));
        }
        let memory = memory_of(&host);
        drop(host.stdin.take());
        lines.read_to_end(&mut output).unwrap();
        assert!(host.wait().unwrap().success());
        output.extend(fs::read(self.folder.path().join("stderr")).unwrap());

        let shown = String::from_utf8_lossy(&output);
        assert!(shown.contains(&format!("outcome: {outcome}\n")), "{shown}");
        let secrets: Vec<_> = self.provider.secrets().into_iter().filter(|secret| secret.len() > 16).collect();
        assert!(secrets.len() > 3, "{secrets:?}");
        for secret in &secrets {
            // What all tokens begin with, and what they say of the user, is no secret.
            let secret = secret.rsplit('.').next().unwrap();
            assert_eq!(search::form_in(&output, secret.as_bytes()), None, "{secret} is in {shown}");
            let place = memory.iter().find(|(_, bytes)| memmem::find(bytes, secret.as_bytes()).is_some());
            assert_eq!(place.map(|(place, _)| place), None, "{secret} is in memory");
        }
    }
}

/// Copies the writable memory of a process.
fn memory_of(process: &Child) -> Vec<(String, Vec<u8>)> {
    let file = |name| format!("/proc/{}/{name}", process.id());
    let (maps, memory) = (fs::read_to_string(file("maps")).unwrap(), fs::File::open(file("mem")).unwrap());
    let regions = maps.lines().filter(|line| line.contains(" rw")).filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        let read = memory.read_at(&mut bytes, start).ok()?;
        bytes.truncate(read);
        Some((line.to_owned(), bytes))
    });
    regions.collect()
}

#[test]
fn a_session_with_renewals_shows_no_secret() {
    Trial::new(|provider| provider).shows_no_secret("a session");
    Trial::new(|provider| provider.signed_user_info())
        .set("ROLE_SELECTION", "service")
        .set("TICKET", "access_token")
        .shows_no_secret("a session");
}

#[test]
fn a_client_with_a_secret_or_a_key_shows_neither() {
    let secret = "Vn0eU8hQx2Lr5tYw7Kd3";
    let trial = Trial::new(|provider| {
        provider.client(Client::with_secret("client", secret)).authentication_methods(&["client_secret_basic"])
    });
    let file = trial.secret_file(secret.as_bytes());
    trial.set("CLIENT_AUTH", "client_secret").set("CLIENT_SECRET_FILE", file).shows_no_secret("a session");

    let key = Key::new(Algorithm::Rs512, 7).unwrap().key_id("key-1");
    let trial = Trial::new(|provider| provider.client(Client::with_key("client", &key).unwrap()));
    let file = trial.secret_file(b"");
    key.write_pkcs8(file.as_ref()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    trial
        .set("CLIENT_AUTH", "private_key_jwt")
        .set("CLIENT_KEY_FILE", file)
        .set("CLIENT_KEY_ID", "key-1")
        .shows_no_secret("a session");
}

#[test]
fn a_login_that_fails_shows_no_secret() {
    for (endpoint, name, outcome) in [
        (Endpoint::Token, "wrong-nonce", "BadAnswer"),
        (Endpoint::Token, "bad-signature", "BadAnswer"),
        (Endpoint::Token, "mac-token", "BadAnswer"),
        (Endpoint::Token, "twice:access_token", "BadAnswer"),
        (Endpoint::Token, "truncated", "BadAnswer"),
        (Endpoint::Token, "padded:2000000", "BadAnswer"),
        (Endpoint::Token, "cut-before:scope", "BadAnswer"),
        (Endpoint::UserInfo, "with:sub=somebody-else", "BadAnswer"),
        (Endpoint::UserInfo, "status:500", "ServerNotAvailable"),
        (Endpoint::EndSession, "status:404", "a session"),
    ] {
        let trial = Trial::new(|provider| provider);
        trial.provider.misbehave(endpoint, Misbehaviour::from_name(name).unwrap());
        trial.shows_no_secret(outcome);
    }
}
