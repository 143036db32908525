//! Logins at a Nuts node, which the test kit simulates in both of its versions.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(feature = "nuts")]

mod bad_answers;
mod bad_turns;
mod cancelling;
mod desk;
#[path = "../support/logged.rs"]
mod logged;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use desk::{Act, Api, BOTH, Desk, Place, employee};
use serde_json::Value;
use support::readers::{Readers, TestCard};
use support::{PATIENCE, kind};
use ticketapi::prompt::NoPrompter;
use ticketapi::session::{AssuranceLevel, Employee, Status};
use ticketapi::{Config, Engine, ErrorKind, Stage};
use ticketapi_testkit::Nuts;
use ticketapi_testkit::nuts::{Endpoint, Entry, Misbehaviour, RunningNode, Version};

fn presentation(ticket: &ticketapi::Ticket) -> Value {
    serde_json::from_slice(&BASE64_STANDARD.decode(ticket.expose()).unwrap()).unwrap()
}

#[test]
fn the_ticket_is_the_presentation_of_the_employee_who_accepts() {
    for desk in Place::all() {
        let engine = desk.engine();
        let ticket = engine.get_ticket().unwrap();
        let presentation = presentation(&ticket);
        let member = &presentation["verifiableCredential"]["credentialSubject"]["member"];
        assert_eq!(member["member"]["familyName"], "van \"Dijk\" d'É");
        assert_eq!(serde_json::from_str::<Value>(&engine.claims().unwrap()).unwrap(), presentation);

        let session = engine.session().unwrap();
        assert_eq!((&*session.user().uid, &*session.user().name), ("481", "J van \"Dijk\" d'É"));
        assert_eq!(session.role().unwrap().name, "Verpleegkundige niveau 2");
        let lasts = session.limits().total.unwrap();
        assert!((3590..=3600).contains(&lasts.as_secs()), "{lasts:?}");
        assert_eq!(engine.assurance_level().unwrap(), Some(AssuranceLevel::Low));

        assert_eq!(engine.get_ticket().unwrap(), ticket);
        assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
        let page = desk.hands.opened.lock().unwrap().clone();
        assert!(page.len() == 1 && page[0].starts_with(&desk.public_url), "{page:?}");
        assert_ne!(engine.get_new_ticket().unwrap(), ticket);
        engine.destroy_ticket().unwrap();
        assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    }
}

/// As `scripts/check-nuts` has it, with a simulator in place of a real node.
#[test]
fn a_node_that_runs_already_gets_an_employer_for_the_tests() {
    for version in BOTH {
        let nuts = Nuts::builder().version(version).start().unwrap();
        let place = Place::at(RunningNode::set_up(nuts.url(), nuts.public_url()).unwrap());
        assert_ne!(place.employer, nuts.employer());
        let engine = place.engine();
        engine.get_ticket().unwrap();
        engine.access_token(&place.employer, "test").unwrap();
    }
}

#[test]
fn a_login_sends_each_request_once_over_one_connection() {
    let desk = Desk::with(Version::V6, |nuts| nuts.auto(true)).acting(Act::Nothing);
    desk.engine().get_ticket().unwrap();
    let log = desk.nuts.log();
    let places: Vec<_> = log.iter().map(|entry| entry.endpoint.unwrap()).collect();
    assert_eq!(places, [Endpoint::DrawUp, Endpoint::Session, Endpoint::Poll, Endpoint::Verify]);
    assert_eq!(desk.nuts.connections(), 1);
}

#[test]
fn a_login_without_a_role_and_in_dutch_works() {
    let desk = Desk::new(Version::V5)
        .set("contract", "BehandelaarLogin")
        .set("contract_language", "NL")
        .set("employee_identifier", "7")
        .set("employee_initials", "A")
        .set("employee_family_name", "Jansen");
    let engine = desk.builder().build().unwrap();
    let ticket = engine.get_ticket().unwrap();
    let text = presentation(&ticket)["proof"]["challenge"].as_str().unwrap().to_owned();
    assert!(text.starts_with("NL:BehandelaarLogin:v3 "), "{text}");
    let session = engine.session().unwrap();
    assert!(session.role().is_none() && session.limits().total.unwrap() > Duration::from_secs(3500));
}

#[test]
fn the_user_may_reject_or_not_answer() {
    for mut desk in Place::all() {
        let error = desk.acting(Act::Reject).engine().get_ticket().unwrap_err();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Browser));
        assert!(error.detail().contains("rejected"), "{error}");
        desk.set("login_timeout", "1");
        for act in [Act::Look, Act::Nothing] {
            let began = Instant::now();
            let error = desk.acting(act).engine().get_ticket().unwrap_err();
            assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Browser));
            assert!(error.detail().contains("in time") && began.elapsed() < Duration::from_secs(5), "{error}");
        }
    }
}

#[test]
fn polls_begin_after_a_tenth_of_a_second_and_get_rarer() {
    let desk = Desk::new(Version::V5).acting(Act::Nothing).set("login_timeout", "4");
    desk.engine().get_ticket().unwrap_err();
    let log = desk.nuts.log();
    let polls = log.iter().filter(|entry| entry.endpoint == Some(Endpoint::Poll));
    let begun = log.iter().find(|entry| entry.endpoint == Some(Endpoint::Session)).unwrap();
    let times: Vec<_> = std::iter::once(begun).chain(polls).map(|entry| entry.at).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A slow computer makes them longer, never shorter; the end of the time cuts the last one.
    let (_, whole) = pauses.split_last().unwrap();
    for (pause, least) in whole.iter().zip([100, 200, 400, 800, 1000, 1000]) {
        assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
    }
    // After 0.1, 0.3, 0.7, 1.5, 2.5 and 3.5 s, and at the end.
    assert!(pauses.len() <= 7, "{pauses:?}");
}

#[test]
fn nothing_polls_when_no_login_is_under_way() {
    let desk = Desk::new(Version::V5).acting(Act::Nothing);
    let engine = desk.engine();
    let polls = |log: &[Entry]| log.iter().filter(|entry| entry.endpoint == Some(Endpoint::Poll)).count();
    // The longest pause of a login is a second.
    let is_silent = || {
        let count = polls(&desk.nuts.log());
        !desk.nuts.wait_for(Duration::from_millis(1500), |log| polls(log) > count)
    };
    std::thread::scope(|scope| {
        let login = scope.spawn(|| engine.get_ticket());
        assert!(desk.nuts.wait_for(PATIENCE, |log| polls(log) >= 2));
        engine.cancel_login();
        assert_eq!(kind(login.join().unwrap()), ErrorKind::Cancelled);
    });
    assert!(is_silent(), "after a login that was cancelled: {:?}", desk.nuts.log());
    *desk.hands.act.lock().unwrap() = Act::Accept;
    engine.get_ticket().unwrap();
    assert!(is_silent(), "while there is a session: {:?}", desk.nuts.log());
}

#[test]
fn a_page_that_cannot_be_shown_ends_the_login_soon() {
    let desk = Desk::new(Version::V5).set("browser", "/bin/false");
    let engine = Engine::builder(desk.config.clone()).prompter(NoPrompter).build().unwrap();
    engine.set_employee(&employee()).unwrap();
    let began = Instant::now();
    let error = engine.get_ticket().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoPrompter, Stage::Browser));
    assert!(began.elapsed() < Duration::from_secs(10), "{error}");
}

#[test]
fn an_access_token_comes_from_the_node_with_its_reason_where_it_refuses() {
    for desk in Place::all() {
        let engine = desk.engine();
        let employer = desk.employer.as_str();
        assert_eq!(kind(engine.access_token(employer, "test")), ErrorKind::TicketNotAvailable);
        engine.get_ticket().unwrap();
        let token = engine.access_token(employer, "test").unwrap();
        assert_eq!(token.expires_in(), Some(Duration::from_secs(60)));
        assert!(!format!("{token:?}").contains("eyJ"));
        let said: Value = serde_json::from_str(&engine.introspect(token.expose()).unwrap()).unwrap();
        assert_eq!((&said["active"], &said["username"]), (&true.into(), &"481".into()));
        assert_eq!(serde_json::from_str::<Value>(&engine.introspect("junk").unwrap()).unwrap()["active"], false);

        for (authorizer, service, words) in [
            (employer, "unknown", "service not found in DID Document"),
            ("did:nuts:unknown", "test", "unable to find the DID document"),
        ] {
            let error = engine.access_token(authorizer, service).unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Refused);
            assert!(error.detail().contains(words), "{error}");
        }
        engine.get_ticket_no_auth().unwrap();
    }
}

#[test]
fn an_access_token_that_cannot_be_used_leaves_the_session() {
    let desk = Desk::new(Version::V6);
    let engine = desk.engine();
    let ticket = engine.get_ticket().unwrap();
    desk.nuts.misbehave(Endpoint::AccessToken, Misbehaviour::With("token_type".into(), "MAC".into()));
    assert_eq!(kind(engine.access_token(desk.nuts.employer(), "test")), ErrorKind::BadAnswer);
    desk.nuts.misbehave(Endpoint::AccessToken, Misbehaviour::Closed);
    assert_eq!(kind(engine.access_token(desk.nuts.employer(), "test")), ErrorKind::ServerNotAvailable);
    assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
}

#[test]
fn programs_log_in_at_the_node_with_a_key_that_it_knows() {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::pkey::PKey;
    let group = EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [
        ("ed25519", PKey::generate_ed25519().unwrap()),
        ("p256", PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()),
        ("rsa", PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap()),
    ] {
        let public = key.public_key_to_pem().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let desk = Desk::with(Version::V6, |nuts| nuts.api_login(&public, "clinic", "127.0.0.1"));
        let error = desk.engine().get_ticket().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Configuration);
        assert!(error.detail().contains("nuts_token_key"), "{error}");
        let desk = desk.set("nuts_token_key", file.to_str().unwrap()).set("nuts_token_user", "clinic");
        desk.engine().get_ticket().unwrap_or_else(|error| panic!("{name}: {error}"));
        let desk = desk.set("nuts_token_user", "another");
        assert_eq!(kind(desk.engine().get_ticket()), ErrorKind::Configuration);
    }
}

#[test]
fn nothing_that_is_logged_holds_a_ticket() {
    logged::keep();
    let desk = Desk::new(Version::V5);
    let engine = desk.engine();
    let ticket = engine.get_ticket().unwrap();
    engine.access_token(desk.nuts.employer(), "test").unwrap();
    for what in ["tampered", "lists", "lost", "other-contract"] {
        desk.nuts.misbehave(Endpoint::Poll, Misbehaviour::from_name(what).unwrap());
        let _ = engine.get_new_ticket();
    }
    let log = String::from_utf8(logged::after(0)).unwrap();
    assert!(log.contains("presentation verified"), "{log}");
    for secret in [ticket.expose(), "eyJ", "verifiableCredential"] {
        assert!(!log.contains(secret), "{log}");
    }
    for page in desk.hands.opened.lock().unwrap().iter() {
        assert!(!log.contains(page.rsplit('/').next().unwrap()), "{log}");
    }
}

#[test]
fn a_session_is_bound_to_the_card_in_the_reader() {
    let cards = support::Desk::new();
    let card = TestCard::new(&cards, "123456789012");
    for (mode, bound) in [("normal", true), ("session_lock", true), ("normal", false)] {
        let desk = Desk::new(Version::V6).set("mode", mode).set("bind_card", if bound { "true" } else { "false" });
        let readers = Readers::with(&card);
        let engine = desk.builder().card_reader(readers.clone()).build().unwrap();
        engine.set_employee(&employee()).unwrap();
        let ticket = engine.get_ticket().unwrap();
        assert_eq!(engine.status(), Status::Live { card_watched: bound });
        readers.remove(0);
        let began = Instant::now();
        while bound && engine.get_ticket_no_auth().is_ok() {
            assert!(began.elapsed() < PATIENCE);
        }
        if mode == "session_lock" {
            assert!(matches!(engine.status(), Status::Locked { .. }));
            // By another contract of the same employee.
            assert_ne!(engine.get_ticket().unwrap(), ticket);
        }
        assert_eq!(engine.get_ticket_no_auth().is_ok(), mode == "session_lock" || !bound);
    }
}

#[test]
fn another_employee_ends_the_session_and_the_same_one_does_not() {
    let desk = Desk::new(Version::V6);
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let engine = desk
        .builder()
        .listener(move |event| {
            if matches!(event, ticketapi::engine::Event::SessionEnded(_)) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build()
        .unwrap();
    engine.set_employee(&employee()).unwrap();
    let ticket = engine.get_ticket().unwrap();
    engine.set_employee(&employee()).unwrap();
    assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
    engine.set_employee(&Employee::new("482", "K", "Bos")).unwrap();
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    engine.get_ticket().unwrap();
    assert_eq!(engine.session().unwrap().user().uid, "482");
    drop(engine);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[test]
fn other_services_have_no_employee() {
    let mut config = Config::default();
    config.set("agent", "never").unwrap();
    let engine = Engine::builder(config).build().unwrap();
    assert_eq!(kind(engine.set_employee(&employee())), ErrorKind::NotImplemented);
}

/// Runs `examples/nuts.rs` as its first lines say.
#[test]
fn the_example_logs_in_and_gets_an_access_token() {
    let desk = Desk::with(Version::V5, |nuts| nuts.auto(true));
    let example = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/nuts");
    let output = std::process::Command::new(example)
        .args([desk.nuts.employer(), "test"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TICKETAPI_NUTS_NODE", desk.nuts.url())
        .env("TICKETAPI_EMPLOYER", desk.nuts.employer())
        .envs([("TICKETAPI_ALLOW_HTTP", "true"), ("TICKETAPI_AGENT", "never"), ("TICKETAPI_BROWSER", "true")])
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.starts_with("user   J van Dijk (481)\n") && stdout.contains("\naccess "), "{stdout}");
}

#[test]
fn by_the_second_version_of_the_api_the_ticket_is_an_access_token() {
    let desk = Desk::by(Api::V2, |nuts| nuts);
    let engine = desk.engine();
    let ticket = engine.get_ticket().unwrap();
    assert_eq!(ticket.expose().len(), 43);
    let session = engine.session().unwrap();
    assert_eq!((&*session.user().uid, session.limits().total), ("481", Some(Duration::from_secs(900))));
    assert_eq!(kind(engine.access_token(desk.nuts.employer(), "test")), ErrorKind::NotImplemented);
    let page = desk.hands.opened.lock().unwrap()[0].clone();
    assert!(page.starts_with(&desk.nuts.public_url()), "{page}");
    let unknown = desk.set("nuts_subject", "unknown");
    assert_eq!(kind(unknown.engine().get_ticket()), ErrorKind::Configuration);
    let slow = unknown.set("nuts_subject", "CareBears").set("login_timeout", "1").acting(Act::Nothing);
    assert_eq!(kind(slow.engine().get_ticket()), ErrorKind::Cancelled);
}
