//! How programs prove to a provider which client they are.

use ticketapi::{Config, ErrorKind};
use ticketapi_testkit::oidc::{Algorithm, Client, Endpoint, Key};

use crate::house::House;
use crate::support::kind;

fn secret_file(house: &House, content: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = house.folder.path().join("secret");
    std::fs::write(&file, content).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn log_in(house: &House, set: impl FnOnce(&mut Config)) -> ticketapi::Result<()> {
    let mut config = house.config.clone();
    set(&mut config);
    let engine = ticketapi::Engine::builder(config)
        .prompter(crate::support::User::new())
        .browser(house.browser.clone())
        .build()?;
    engine.log_in()?;
    engine.destroy_ticket()
}

#[test]
fn a_secret_is_sent_as_the_provider_takes_it() {
    for methods in
        [&["client_secret_basic"][..], &["client_secret_post"], &["client_secret_basic", "client_secret_post"]]
    {
        let client = Client::with_secret("a:b c", "s&cr%t+ü");
        let house = House::with("oidc", |provider| provider.client(client).authentication_methods(methods))
            .set("client_auth", "client_secret");
        let file = secret_file(&house, "s&cr%t+ü\n");
        log_in(&house, |config| config.client_secret_file = Some(file)).unwrap();
        assert_eq!(house.provider.open_sessions(), 0);

        let wrong = secret_file(&house, "another");
        let error = log_in(&house, |config| config.client_secret_file = Some(wrong)).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Configuration);
        assert!(error.detail().contains("does not accept this program"), "{error}");
    }
}

#[test]
fn an_assertion_of_each_algorithm_and_form_of_key_is_accepted() {
    for (algorithm, name) in [
        (Algorithm::Rs256, "RS256"),
        (Algorithm::Rs384, "RS384"),
        (Algorithm::Rs512, "RS512"),
        (Algorithm::Ps256, "PS256"),
        (Algorithm::Es256, "ES256"),
    ] {
        let key = Key::new(algorithm, 7).unwrap().key_id("key-1");
        let client = Client::with_key("client", &key).unwrap();
        let house = House::cis2(|provider| provider.client(client))
            .set("client_auth", "private_key_jwt")
            .set("client_key_id", "key-1")
            .set("client_key_algorithm", name);
        let file = house.folder.path().join("key");
        for form in 0..3 {
            // P-256 in its traditional form is SEC1, which is not read.
            match form {
                0 => key.write_pkcs8(&file).unwrap(),
                1 if algorithm != Algorithm::Es256 => key.write_traditional(&file).unwrap(),
                1 => continue,
                _ => key.write_jwk(&file).unwrap(),
            }
            restrict(&file);
            log_in(&house, |config| config.client_key_file = Some(file.clone())).unwrap();
        }
        assert_eq!(house.provider.open_sessions(), 0);
    }
}

fn restrict(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn files_that_others_can_read_or_of_another_kind_are_refused_before_the_browser_opens() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new().set("client_auth", "client_secret");
    for (content, mode, words) in [
        ("secret", 0o644, "other users can read it"),
        ("", 0o600, "empty"),
        ("-----BEGIN CERTIFICATE-----\n", 0o600, "key or a certificate"),
        ("a\nb", 0o600, "more than one line"),
    ] {
        let file = secret_file(&house, content);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = log_in(&house, |config| config.client_secret_file = Some(file.clone())).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Configuration);
        assert!(error.detail().contains(words), "{error}");
        let key = log_in(&house, |config| {
            config.set("client_auth", "private_key_jwt").unwrap();
            config.client_key_file = Some(file);
        });
        assert_eq!(kind(key), ErrorKind::Configuration);
    }
    assert!(house.browser.log().opened.is_empty());
    assert!(house.provider.log_of(Endpoint::Token).is_empty());
}

/// The example of a supplier's server.
struct Exchange {
    server: std::process::Child,
    url: String,
}

impl Exchange {
    fn start(house: &House, secret: &std::path::Path) -> Self {
        use std::io::BufRead;
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/exchange.py");
        let mut server = std::process::Command::new("python3")
            .args([example, "0", &house.provider.address_of(Endpoint::Token), &house.provider.client_id()])
            .arg(secret)
            .env("SSL_CERT_FILE", house.provider.ca_file())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { server, url: url.trim().to_owned() }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

#[test]
fn a_suppliers_server_exchanges_the_code_and_keeps_the_secret() {
    let client = Client::with_secret("supplier", "only the server knows");
    let house =
        House::cis2(|provider| provider.client(client)).set("allow_http", "true").set("client_auth", "back_end");
    let file = secret_file(&house, "only the server knows\n");
    let server = Exchange::start(&house, &file);
    let clock = crate::support::readers::MovedClock::default();
    let house = house.set("exchange_url", &server.url);
    let engine = house.builder_for(&crate::support::User::new()).clock(clock.clone()).build().unwrap();
    let ticket = engine.get_ticket().unwrap();
    clock.advance(std::time::Duration::from_secs(296));
    assert_ne!(engine.get_ticket().unwrap(), ticket);
    engine.destroy_ticket().unwrap();
    assert_eq!(house.provider.open_sessions(), 0);

    // Without it nobody logs in.
    drop(server);
    assert_eq!(kind(engine.get_ticket()), ErrorKind::ServerNotAvailable);
}
