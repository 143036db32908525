//! NHS CIS2: both ways to choose a role, changes of role, and a real browser.

use std::sync::Arc;
use std::thread;

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, Opened};
use ticketapi::{Engine, Error, ErrorKind, Result, Stage};
use ticketapi_testkit::chromium::Chromium;
use ticketapi_testkit::keycloak::{CIS2_WITH_KEY, CIS2_WITH_SECRET, CLIENT_KEY_ID, password};
use ticketapi_testkit::oidc::{Algorithm, Key};

use crate::site::{Site, keycloak, payload};
use crate::support::{Asked, User, kind};

fn role_id(number: usize) -> String {
    format!("5551{number:08}")
}

#[test]
fn a_client_with_a_key_gets_the_id_token_and_the_user_chooses_here() {
    let site = Site::cis2("key", "five")
        .set("client_id", CIS2_WITH_KEY)
        .set("client_auth", "private_key_jwt")
        .set("client_key_file", keycloak().client_key_file().to_str().unwrap())
        .set("client_key_id", CLIENT_KEY_ID);
    let user = User::new().choosing(3);
    let engine = site.engine(&user);
    let session = engine.log_in().unwrap();
    assert_eq!((user.asked(), session.roles().len()), (vec![Asked::Role(5)], 5));
    let role = session.role().unwrap();
    assert_eq!((&*role.id, &*role.name), (&*role_id(3), "Role 3"));
    assert_eq!(session.user().uid, keycloak().user_id("cis2", "key").unwrap());
    let id_token = payload(session.ticket().expose());
    assert_eq!((&id_token["aud"], &id_token["acr"]), (&CIS2_WITH_KEY.into(), &"AAL3_ANY".into()));
    assert_eq!(id_token["sub"], session.user().uid);

    // Another role needs no other login.
    let user = user.choosing(1);
    let changed = engine.change_role().unwrap();
    assert_eq!((&*changed.role().unwrap().id, changed.ticket()), (&*role_id(1), session.ticket()));
    assert_eq!((user.asked().len(), site.browser.opened()), (2, 1));
    engine.destroy_ticket().unwrap();
    site.wait_for_sessions(0);
}

#[test]
fn keycloak_takes_assertions_of_each_algorithm_with_each_form_of_key() {
    for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Es256] {
        let name = algorithm.name();
        let key = Key::new(algorithm, 7).unwrap().key_id("key-1");
        let client = format!("client-{name}");
        keycloak().add_client("cis2", &client, CIS2_WITH_KEY, &key).unwrap();
        let site = Site::cis2(&format!("keys-{name}").to_lowercase(), "one");
        let file = site.folder.path().join("key");
        let site = site
            .set("client_id", &client)
            .set("client_auth", "private_key_jwt")
            .set("client_key_file", file.to_str().unwrap())
            .set("client_key_id", "key-1")
            .set("client_key_algorithm", name);
        for form in ["PKCS#8", "PKCS#1", "JWK"] {
            match form {
                "PKCS#8" => key.write_pkcs8(&file).unwrap(),
                // P-256 in its traditional form is SEC1, which is not read.
                "PKCS#1" if algorithm == Algorithm::Es256 => continue,
                "PKCS#1" => key.write_traditional(&file).unwrap(),
                _ => key.write_jwk(&file).unwrap(),
            }
            let engine = site.engine(&User::new());
            engine.log_in().unwrap_or_else(|error| panic!("{name} {form}: {error}"));
            engine.destroy_ticket().unwrap();
        }
        site.wait_for_sessions(0);

        // The wrong algorithm, which Keycloak refuses.
        let other = if name == "RS512" { "RS256" } else { "RS512" };
        if algorithm != Algorithm::Es256 {
            let error = site.set("client_key_algorithm", other).engine(&User::new()).log_in().unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Configuration, "{name}: {error}");
        }
    }
}

#[test]
fn a_role_that_is_chosen_on_the_page_can_be_changed_there_by_the_same_user_only() {
    let site = Site::cis2("page", "six").set("role_selection", "service");
    let user = User::new();
    let engine = site.engine(&user);
    site.browser.chooses(&role_id(4));
    let session = engine.log_in().unwrap();
    assert_eq!((&*session.role().unwrap().id, session.roles().len(), user.asked()), (&*role_id(4), 6, vec![]));
    assert_eq!(payload(session.ticket().expose())["selected_roleid"], role_id(4));
    let first = engine.get_ticket_no_auth().unwrap();

    // auth_time has seconds, and has to be later.
    thread::sleep(std::time::Duration::from_millis(1100));
    site.browser.chooses(&role_id(2));
    let changed = engine.change_role().unwrap();
    let second = engine.get_ticket_no_auth().unwrap();
    assert_eq!(&*changed.role().unwrap().id, &*role_id(2));
    assert!(second != first && second == *changed.ticket());
    assert_eq!(site.sessions(), 1);

    // Somebody else comes back.
    keycloak().add_user("cis2", "page-other", "five").unwrap();
    site.browser.becomes("page-other");
    let error = engine.change_role().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(engine.get_ticket_no_auth().unwrap(), second);
    assert_eq!(&*engine.session().unwrap().role().unwrap().id, &*role_id(2));
    site.wait_for_sessions(0);
    site.browser.becomes("page");
    engine.destroy_ticket().unwrap();
    site.wait_for_sessions(0);
}

#[test]
fn users_may_have_no_role_one_or_hundreds() {
    for (name, like, roles, asked) in [("number-one", "one", 1, 0), ("many", "many", 400, 1)] {
        let site = Site::cis2(name, like);
        let user = User::new().choosing(roles - 1);
        let session = site.engine(&user).log_in().unwrap();
        assert_eq!((session.roles().len(), user.asked().len()), (roles, asked));
        assert_eq!(&*session.role().unwrap().id, &*role_id(roles - 1));
    }
    let site = Site::cis2("number-zero", "zero");
    let error = site.engine(&User::new()).log_in().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UserNotValid, "{error}");
    site.wait_for_sessions(0);
    assert_eq!(site.set("require_role", "false").engine(&User::new()).log_in().unwrap().role(), None);
}

#[test]
fn another_login_in_the_same_browser_keeps_the_session_that_both_share() {
    let site = Site::cis2("again", "five");
    let user = User::new();
    let engine = site.engine(&user);
    let first = engine.get_ticket().unwrap();
    let user = user.asked_for_role(|_| Err(Error::cancelled(Stage::RoleSelection)));
    assert_eq!(kind(engine.get_new_ticket()), ErrorKind::Cancelled);
    assert_eq!(engine.get_ticket_no_auth().unwrap(), first);
    engine.claims().unwrap();

    let _user = user.choosing(1);
    let second = engine.get_new_ticket().unwrap();
    assert_ne!(first, second);
    assert_eq!(payload(first.expose())["sid"], payload(second.expose())["sid"]);
    engine.claims().unwrap();
    assert_eq!((site.sessions(), site.browser.opened()), (1, 3));
    engine.destroy_ticket().unwrap();
    site.wait_for_sessions(0);
}

/// A real browser, in which the user `six` chooses a role on the page.
#[derive(Clone)]
struct RealBrowser(Arc<Chromium>);

impl Browser for RealBrowser {
    fn open(&self, page: &LoginPage<'_>, _: &CancelToken) -> Result<Opened> {
        let (chromium, address) = (Arc::clone(&self.0), page.address.to_owned());
        thread::spawn(move || chromium.log_in(&address, "chromium", &password("chromium"), Some(&role_id(5))));
        Ok(Opened::default())
    }
}

#[test]
fn a_login_works_in_a_real_browser() {
    let site = Site::cis2("chromium", "six").set("role_selection", "service").set("client_id", CIS2_WITH_SECRET);
    let browser = RealBrowser(Arc::new(Chromium::start().unwrap()));
    let engine = Engine::builder(site.config.clone()).prompter(User::new()).browser(browser.clone()).build().unwrap();
    let session = engine.log_in().unwrap();
    assert_eq!(&*session.role().unwrap().id, &*role_id(5));
    let shown = browser.0.text("body:not([data-page-id])").unwrap();
    assert!(shown.contains("close this window"), "{shown}");
    let (title, url) = (browser.0.title().unwrap(), browser.0.url().unwrap());
    let code = url.split(['?', '&']).find_map(|part| part.strip_prefix("code=")).unwrap_or("no code");
    assert!(!title.contains(code) && !title.is_empty(), "{title}");
    assert_eq!(site.sessions(), 1);
    engine.destroy_ticket().unwrap();
    site.wait_for_sessions(0);
}
