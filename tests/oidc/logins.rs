//! Logins that succeed.

use ticketapi::{ErrorKind, Stage};
use ticketapi_testkit::oidc::{Endpoint, User as Person};

use crate::house::{House, parameter};
use crate::support::{Asked, PATIENCE, User};

#[test]
fn a_user_who_logs_in_in_the_browser_gets_the_access_token_as_the_ticket() {
    let house = House::new();
    let user = User::new();
    let engine = house.engine_for(&user);
    let session = engine.log_in().unwrap();
    assert_eq!(engine.get_ticket().unwrap(), *session.ticket());
    assert!(house.provider.secrets().iter().any(|secret| secret == session.ticket().expose()));
    assert_eq!((session.role(), user.asked()), (None, vec![]));
    assert_eq!(house.provider.open_sessions(), 1);
    assert!(house.browser.pages(1)[0].contains("close this window"), "{:?}", house.browser.log());

    engine.destroy_ticket().unwrap();
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
    assert_eq!(house.provider.log_of(Endpoint::EndSession).len(), 1);
    assert!(!house.provider.log_of(Endpoint::Revocation).is_empty());
}

#[test]
fn each_login_has_its_own_state_nonce_and_challenge() {
    let house = House::new();
    for _ in 0..2 {
        house.engine().log_in().unwrap();
    }
    let opened = house.browser.log().opened;
    for name in ["state", "nonce", "code_challenge"] {
        let [one, two] = [&opened[0], &opened[1]].map(|address| parameter(address, name).unwrap());
        assert_eq!((one.len(), one == two), (43, false), "{name}");
    }
    let fixed = ["response_type", "code_challenge_method", "scope"].map(|name| parameter(&opened[0], name).unwrap());
    assert_eq!(fixed, ["code", "S256", "openid%20profile"]);
    assert!(parameter(&opened[0], "redirect_uri").unwrap().starts_with("http%3A%2F%2F127.0.0.1%3A"));
    house.assert_shows_no_secret(&opened);
}

#[test]
fn a_login_takes_one_connection() {
    let house = House::new();
    house.engine().log_in().unwrap();
    assert_eq!(house.provider.client_connections(), 1);
}

#[test]
fn a_user_of_cis2_chooses_among_their_roles_and_gets_the_id_token() {
    let house = House::cis2(|provider| provider);
    let user = User::new().choosing(1);
    let session = house.engine_for(&user).log_in().unwrap();
    assert_eq!(user.asked(), [Asked::Role(3)]);
    assert_eq!(session.role(), session.roles().get(1));
    assert_eq!((&*session.user().uid, &*session.user().name), ("555021935107", "TEST USER"));
    assert_eq!(session.ticket().expose().split('.').count(), 3);
    let opened = &house.browser.log().opened[0];
    assert_eq!(parameter(opened, "acr_values"), Some("AAL2_OR_AAL3_ANY"));
    assert_eq!(parameter(opened, "prompt"), None);
}

#[test]
fn any_number_of_roles_arrives() {
    for count in [1, 400, 10_000] {
        let person = || Person::new("9100").nrbac_roles(count).acr("AAL3_ANY");
        let house = House::cis2(|provider| provider.user(person()));
        let user = User::new();
        let session = house.engine_for(&user).log_in().unwrap();
        assert_eq!(session.roles().len(), count);
        assert_eq!(session.user().uid, "9100");
        assert_eq!(user.asked().is_empty(), count == 1);
        assert_eq!(session.role(), session.roles().first());
    }
}

#[test]
fn a_user_without_roles_is_refused_only_if_a_role_is_required() {
    let person = || Person::new("9100").nrbac_roles(0).acr("AAL3_ANY");
    let house = House::cis2(|provider| provider.user(person()));
    let error = house.engine().log_in().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::UserNotValid, Stage::RoleSelection));
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));

    let house = house.set("require_role", "false");
    assert_eq!(house.engine().log_in().unwrap().role(), None);
}

#[test]
fn a_role_that_was_chosen_on_the_page_is_not_asked_for_again() {
    let house = House::cis2(|provider| provider).set("role_selection", "service");
    let user = User::new();
    let engine = house.engine_for(&user);
    let session = engine.log_in().unwrap();
    assert_eq!((session.role(), user.asked()), (session.roles().first(), vec![]));
    let opened = &house.browser.log().opened[0];
    assert_eq!(parameter(opened, "prompt"), Some("login"));
    assert!(parameter(opened, "scope").unwrap().contains("selectedrole"));
}

#[test]
fn a_user_of_ehealth_has_names_of_roles_and_begins_in_the_context_of_the_settings() {
    let house = House::ehealth_dk();
    let session = house.engine().log_in().unwrap();
    assert_eq!((&*session.user().uid, &*session.user().name), ("anna", "Anna Testsen"));
    let names: Vec<_> = session.roles().iter().map(|role| &*role.name).collect();
    assert_eq!(names, ["Citizen Enroller", "Clinical Viewer", "Monitoring Adjuster"]);

    let house = house.set("care_team_id", "https://organization.test.example/fhir/CareTeam/2");
    let session = house.engine().log_in().unwrap();
    assert_eq!(session.roles().iter().map(|role| &*role.name).collect::<Vec<_>>(), ["Clinical Viewer"]);

    let house = house.set("care_team_id", "https://organization.test.example/fhir/CareTeam/3");
    house.browser.forget();
    let before = house.provider.open_sessions();
    let error = house.engine().log_in().unwrap_err();
    assert!(error.detail().contains("Not a member of Care team"), "{error}");
    assert!(house.provider.wait_for_sessions(PATIENCE, before));
}

#[test]
fn user_info_may_be_signed_and_keys_may_be_changed() {
    let house = House::cis2(|provider| provider.signed_user_info());
    let engine = house.engine();
    assert_eq!(engine.log_in().unwrap().roles().len(), 3);
    house.provider.rotate_keys().unwrap();
    house.provider.drop_old_keys();
    assert_eq!(engine.log_in_again().unwrap().roles().len(), 3);
}

#[test]
fn every_algorithm_that_is_accepted_works() {
    use ticketapi_testkit::oidc::Algorithm;
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256] {
        let house = House::with("oidc", |provider| provider.algorithm(algorithm));
        house.engine().log_in().unwrap();
    }
}

#[test]
fn a_session_is_checked_with_user_info() {
    let house = House::new().set("check_session", "1");
    let engine = house.engine();
    engine.log_in().unwrap();
    house.provider.end_all_sessions();
    // Within the minute nobody asks.
    engine.get_ticket().unwrap();
}

#[test]
fn whoever_comes_back_from_the_browser_is_the_user_of_a_new_login() {
    let house = House::new();
    let engine = house.engine();
    let before = engine.log_in().unwrap();
    house.browser.forget();
    house.provider.set_user(Person::new("somebody-else").username("else"));
    let now = engine.log_in_again().unwrap();
    assert_ne!(now.user(), before.user());
    assert_eq!(now.user().uid, "else");
    assert_eq!(engine.get_ticket_no_auth().unwrap(), *now.ticket());
    assert!(house.provider.wait_for_sessions(PATIENCE, 1));
}
