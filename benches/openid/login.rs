//! The part of a login that is ours, to the same requests sent bare over one connection. The browser's part, in
//! which the provider logs the user in and makes the code, is left out of both.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, NoPrompter, Opened};
use ticketapi::{Config, Engine};
use ticketapi_testkit::oidc::{Endpoint, User, nrbac_role};
use ticketapi_testkit::{Browser as Visitor, OidcProvider};

use crate::SUBJECT;
use crate::bare::{Bare, settle};
use crate::support::{Comparisons, time};

/// The captured SSB user's.
const ROLES: usize = 40;

pub fn compare(comparisons: &mut Comparisons) {
    let user = User::new(SUBJECT).name("TEST USER").nrbac_roles(ROLES).claim("nhsid_useruid", SUBJECT.into());
    let provider = OidcProvider::builder().cis2().user(user).start().unwrap();
    let mut config = Config::default();
    for (key, value) in [
        ("service", "cis2"),
        ("issuer", &provider.issuer()),
        ("client_id", &provider.client_id()),
        ("ca_file", provider.ca_file().to_str().unwrap()),
        ("role", nrbac_role(0)["person_roleid"].as_str().unwrap()),
        ("bind_card", "false"),
        ("agent", "never"),
    ] {
        config.set(key, value).unwrap();
    }
    let login = || {
        let visits = Visits::new(&provider);
        // A new one each time: it keeps the provider's keys.
        let engine = Engine::builder(config.clone()).prompter(NoPrompter).browser(visits.clone()).build().unwrap();
        settle();
        let took = time(|| engine.log_in().unwrap());
        assert_eq!(engine.session().unwrap().roles().len(), ROLES);
        engine.destroy_ticket().unwrap();
        took - visits.took()
    };
    let floor = BareLogin::new(&provider);
    let bare = || {
        let took = floor.log_in();
        assert_eq!(provider.open_sessions(), 1);
        provider.end_all_sessions();
        took
    };
    comparisons.compare(
        "the part of an OpenID login that is ours, to the same requests made bare",
        1.25,
        20,
        login,
        bare,
    );
}

/// The user's browser.
#[derive(Clone)]
struct Visits {
    visitor: Arc<Mutex<Visitor>>,
    took: Arc<Mutex<Duration>>,
}

impl Visits {
    fn new(provider: &OidcProvider) -> Self {
        Self { visitor: Arc::new(Mutex::new(Visitor::new(provider.ca_file()))), took: Arc::default() }
    }

    fn took(&self) -> Duration {
        *self.took.lock().unwrap()
    }
}

impl Browser for Visits {
    fn open(&self, page: &LoginPage<'_>, _: &CancelToken) -> ticketapi::Result<Opened> {
        let began = Instant::now();
        let redirect = self.visitor.lock().unwrap().redirect_of(page.address).unwrap();
        let took = Arc::clone(&self.took);
        let opening = thread::spawn(move || {
            let (authority, target) = redirect.strip_prefix("http://").unwrap().split_once('/').unwrap();
            let request = format!("GET /{target} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
            let mut listener = TcpStream::connect(authority).unwrap();
            // In one piece, as browsers do.
            listener.write_all(request.as_bytes()).unwrap();
            *took.lock().unwrap() = began.elapsed();
            let _ = std::io::copy(&mut listener, &mut std::io::sink());
        });
        Ok(Opened::new(opening))
    }
}

struct BareLogin<'a> {
    provider: &'a OidcProvider,
    tls: Bare,
    /// The address that the browser opens.
    authorization: String,
    metadata: String,
    /// Without the code, which has always the same length.
    token: String,
    keys: String,
    user_info: String,
}

// RFC 7636, B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Registered with every client, as any port of the loopback address is.
const REDIRECT: &str = "http://127.0.0.1:1/callback";

impl<'a> BareLogin<'a> {
    fn new(provider: &'a OidcProvider) -> Self {
        let host = format!("127.0.0.1:{}", provider.port());
        let path = |endpoint| provider.address_of(endpoint).split_once(&host).unwrap().1.to_owned();
        let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{more}\r\n");
        let client_id = provider.client_id();
        Self {
            tls: Bare::new(provider.ca_file()),
            authorization: format!(
                "{}?response_type=code&client_id={client_id}&redirect_uri={REDIRECT}&scope=openid%20profile%20nationalrbacaccess\
                 &state=s&nonce=n&code_challenge={CHALLENGE}&code_challenge_method=S256&acr_values=AAL2_OR_AAL3_ANY",
                provider.address_of(Endpoint::Authorize)
            ),
            metadata: get(&path(Endpoint::Discovery), ""),
            token: format!(
                "grant_type=authorization_code&redirect_uri={REDIRECT}&client_id={client_id}&code_verifier={VERIFIER}&code="
            ),
            keys: get(&path(Endpoint::Jwks), ""),
            user_info: get(&path(Endpoint::UserInfo), "Authorization: Bearer !\r\n"),
            provider,
        }
    }

    /// Returns how long it took, without the browser's part.
    fn log_in(&self) -> Duration {
        settle();
        let began = Instant::now();
        let mut server = self.tls.connect(self.provider.port());
        server.exchange(&self.metadata);
        let before = began.elapsed();

        let redirect = Visitor::new(self.provider.ca_file()).redirect_of(&self.authorization).unwrap();

        let began = Instant::now();
        let code = redirect.split(['?', '&']).find_map(|parameter| parameter.strip_prefix("code=")).unwrap();
        let path = self.provider.address_of(Endpoint::Token);
        let path = path.splitn(4, '/').nth(3).unwrap();
        let length = self.token.len() + code.len();
        let answer = server.exchange(&format!(
            "POST /{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{}{code}",
            self.provider.port(),
            self.token
        ));
        let (_, access) = answer.split_once("\"access_token\":\"").unwrap();
        let access = access.split('"').next().unwrap();
        server.exchange(&self.keys);
        assert!(server.exchange(&self.user_info.replace('!', access)).contains(SUBJECT));
        server.close();
        before + began.elapsed()
    }
}
