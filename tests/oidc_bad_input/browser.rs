//! What comes back from a browser that keeps its cookies.

use ticketapi::ErrorKind;
use ticketapi_testkit::oidc::{Endpoint, User, nrbac_role};

use crate::person::Person;
use crate::support::PATIENCE;
use crate::trial::{Trial, engine, named};

fn text(error: impl ToString) -> String {
    error.to_string()
}

#[test]
fn a_new_ticket_outlives_the_end_of_the_old_one() {
    // The provider knows the browser, and goes on with its session.
    for service in ["oidc", "cis2", "ehealth_dk"] {
        let trial = Trial::with(service, &[], |provider| provider);
        let old = trial.engine.get_ticket().unwrap();
        let new = trial.engine.get_new_ticket().unwrap();
        assert_ne!(old, new);
        assert_eq!(trial.provider().open_sessions(), 1, "{service}");
        trial.engine.claims().unwrap_or_else(|error| panic!("{service}: the session is dead: {error}"));
        trial.engine.destroy_ticket().unwrap();
        trial.no_session_is_left(service);
    }
}

/// From now on a browser that knows nobody opens each page.
fn use_another_browser_each_time(trial: &Trial) {
    let ca_file = trial.house.config.ca_file.clone().unwrap();
    trial.person.visits(move |_, address| ticketapi_testkit::Browser::new(&ca_file).open(address).map_err(text));
}

#[test]
fn a_provider_that_names_no_sessions_is_left_without_any() {
    for service in ["oidc", "cis2", "ehealth_dk"] {
        let trial = Trial::with(service, &[], |provider| provider.without_session_ids());
        for same_browser in [true, false] {
            if !same_browser {
                use_another_browser_each_time(&trial);
            }
            for name in ["", "wrong-nonce", "mac-token"] {
                let what = format!("{service}, {name}, the same browser: {same_browser}");
                let old = trial.engine.get_ticket().unwrap();
                let new = if name.is_empty() {
                    trial.engine.get_new_ticket().unwrap()
                } else {
                    trial.provider().misbehave_times(Endpoint::Token, named(name), 1);
                    trial.fails(name, || trial.engine.get_new_ticket().map(drop));
                    trial.engine.get_ticket_no_auth().unwrap()
                };
                assert_eq!(old == new, !name.is_empty(), "{what}");
                // It may live in the session of the other login.
                trial.engine.claims().unwrap_or_else(|error| panic!("{what}: the session is dead: {error}"));
                trial.engine.destroy_ticket().unwrap();
                trial.no_session_is_left(&what);
            }
        }
    }
}

#[test]
fn another_users_session_is_ended_at_once_where_sessions_have_no_names() {
    let trial = Trial::with("oidc", &[], |provider| provider.without_session_ids().user(User::new("anna")));
    use_another_browser_each_time(&trial);
    trial.engine.get_ticket().unwrap();
    trial.provider().set_user(User::new("bent"));
    trial.engine.get_new_ticket().unwrap();
    assert!(trial.provider().wait_for_sessions(PATIENCE, 1));
    trial.engine.claims().unwrap();
}

#[test]
fn a_change_of_role_leaves_no_session_where_sessions_have_no_names() {
    for same_browser in [true, false] {
        let trial = Trial::with("cis2", &[("role_selection", "service")], |provider| provider.without_session_ids());
        if !same_browser {
            use_another_browser_each_time(&trial);
        }
        trial.engine.get_ticket().unwrap();
        trial.engine.change_role().unwrap();
        trial.provider().misbehave_times(Endpoint::Token, named("old-auth-time"), 1);
        trial.fails("old-auth-time", || trial.engine.change_role().map(drop));
        trial.engine.claims().unwrap_or_else(|error| panic!("{same_browser}: the session is dead: {error}"));
        trial.engine.destroy_ticket().unwrap();
        trial.no_session_is_left("change of role");
    }
}

#[test]
fn a_session_outlives_a_bad_login_in_the_same_browser() {
    for (endpoint, name) in [
        (Endpoint::Token, "wrong-nonce"),
        (Endpoint::Token, "alg-none"),
        (Endpoint::Token, "without:id_token"),
        (Endpoint::Token, "mac-token"),
        (Endpoint::Token, "error:invalid_grant"),
        (Endpoint::UserInfo, "with:sub=another"),
        (Endpoint::Authorize, "error:access_denied"),
    ] {
        let trial = Trial::new();
        let ticket = trial.engine.get_ticket().unwrap();
        trial.provider().misbehave(endpoint, named(name));
        trial.fails(name, || trial.engine.get_new_ticket().map(drop));
        trial.provider().behave();
        assert_eq!(trial.engine.get_ticket_no_auth().unwrap(), ticket, "{name}");
        trial.engine.claims().unwrap_or_else(|error| panic!("{name}: the session is dead: {error}"));
        assert_eq!(trial.provider().open_sessions(), 1, "{name}");
        trial.engine.destroy_ticket().unwrap();
        trial.no_session_is_left(name);
    }
}

#[test]
fn a_redirect_with_parameters_missing_or_repeated_sends_no_code() {
    let trial = Trial::with("oidc", &[("login_timeout", "1")], |provider| provider);
    for name in ["without:state", "twice:state", "twice:code", "twice:iss", "without:code", "with:code="] {
        trial.provider().misbehave(Endpoint::Authorize, named(name));
        trial.fails(name, || trial.engine.get_ticket().map(drop));
        assert_eq!(trial.provider().log_of(Endpoint::Token).len(), 0, "{name}");
    }
}

#[test]
fn a_provider_that_sends_no_iss_by_its_own_account_is_good() {
    let trial = Trial::with("oidc", &[], |provider| provider.without_issuer_in_redirect());
    trial.engine.get_ticket().unwrap();
    trial.engine.destroy_ticket().unwrap();
    trial.refuses(Endpoint::Authorize, "with:iss=https://elsewhere.invalid");
}

#[test]
fn an_error_that_holds_html_is_shown_as_text() {
    let trial = Trial::with("oidc", &[("login_timeout", "3600")], |provider| provider);
    trial.refuses(Endpoint::Authorize, "error:<script>alert(1)</script>");
    let page = trial.person.page(0).unwrap();
    assert!(!page.text.contains("<script"), "{}", page.text);
}

#[test]
fn other_pages_of_the_machine_cannot_end_the_login() {
    let trial = Trial::new();
    trial.person.visits(|browser, address| {
        let redirect = browser.redirect_of(address).map_err(text)?;
        let listener = redirect.split('?').next().unwrap();
        let state = redirect.split(['?', '&']).find(|pair| pair.starts_with("state=")).unwrap();
        // One that connects and sends nothing blocks nobody.
        let _silent = std::net::TcpStream::connect(listener.split('/').nth(2).unwrap()).map_err(text)?;
        for other in [
            listener.replace("/callback", "/"),
            listener.replace("/callback", "/favicon.ico"),
            format!("{listener}?code=forged"),
            format!("{listener}?code=forged&state=forged"),
            format!("{listener}?error=access_denied&state=forged"),
            format!("{listener}?{state}"),
            format!("{listener}/?code=forged&{state}"),
        ] {
            let page = browser.open(&other).map_err(text)?;
            assert!(page.status >= 400, "{other}: {}", page.status);
        }
        browser.open(&redirect).map_err(text)
    });
    trial.engine.get_ticket().unwrap();
    assert_eq!(trial.person.page(0).unwrap().status, 200);
    assert_eq!(trial.provider().log_of(Endpoint::Token).len(), 1);
}

#[test]
fn whoever_comes_back_from_a_plain_login_has_the_session() {
    let trial = Trial::with("oidc", &[], |provider| provider.user(User::new("anna")));
    assert_eq!(trial.engine.log_in().unwrap().user().uid, "anna");
    trial.provider().set_user(User::new("bent"));
    let person = Person::new(ticketapi_testkit::Browser::new(trial.provider().ca_file()));
    assert_eq!(engine(trial.house.config.clone(), &person).unwrap().log_in().unwrap().user().uid, "bent");
}

#[test]
fn another_user_or_a_bad_answer_cannot_change_the_role() {
    let anna = || User::new("anna").nrbac_roles(3).acr("AAL3_ANY");
    let trial = Trial::with("cis2", &[("role_selection", "service")], |provider| provider.user(anna()));
    let before = trial.engine.log_in().unwrap();
    let ticket = trial.engine.get_ticket_no_auth().unwrap();
    trial.provider().set_user(User::new("bent").nrbac_roles(3).acr("AAL3_ANY"));
    let error = trial.fails("another user", || trial.engine.change_role().map(drop));
    assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::UserNotValid), "{error}");
    assert_eq!(trial.engine.get_ticket_no_auth().unwrap(), ticket);
    assert_eq!(trial.engine.session().unwrap().user().uid, before.user().uid);
    assert!(trial.provider().wait_for_sessions(PATIENCE, 1), "the other user's session is ended");

    trial.provider().set_user(anna());
    for name in ["old-auth-time", "wrong-nonce", "alg-none", "without:id_token", "error:invalid_grant"] {
        trial.provider().misbehave_times(Endpoint::Token, named(name), 1);
        trial.fails(name, || trial.engine.change_role().map(drop));
        assert_eq!(trial.engine.get_ticket_no_auth().unwrap(), ticket, "{name}");
        trial.engine.claims().unwrap_or_else(|error| panic!("{name}: the session is dead: {error}"));
    }
}

#[test]
fn a_change_of_role_that_fails_in_another_browser_leaves_one_session() {
    let trial = Trial::with("cis2", &[("role_selection", "service")], |provider| provider);
    let ticket = trial.engine.get_ticket().unwrap();
    use_another_browser_each_time(&trial);
    for name in ["wrong-nonce", "alg-none", "without:id_token", "mac-token", "old-auth-time", "wrong-acr"] {
        trial.provider().misbehave_times(Endpoint::Token, named(name), 1);
        trial.fails(name, || trial.engine.change_role().map(drop));
        assert!(trial.provider().wait_for_sessions(PATIENCE, 1), "{name}");
        assert_eq!(trial.engine.get_ticket_no_auth().unwrap(), ticket, "{name}");
        trial.engine.claims().unwrap_or_else(|error| panic!("{name}: the session is dead: {error}"));
    }
}

#[test]
fn a_role_can_be_changed_in_the_second_of_the_login() {
    let trial = Trial::with("cis2", &[("role_selection", "service")], |provider| provider);
    let second = nrbac_role(1)["person_roleid"].as_str().unwrap().to_owned();
    let before = trial.engine.log_in().unwrap();
    assert_ne!(before.role().unwrap().id, second);
    trial.provider().choose_role(&second);
    // `auth_time` has no more than seconds.
    let after = trial.engine.change_role().unwrap();
    assert_eq!((&after.role().unwrap().id, &after.user().uid), (&second, &before.user().uid));
    assert_eq!(trial.provider().open_sessions(), 1);
}
