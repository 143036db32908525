//! Renewals, contexts and the end of sessions.

use std::time::{Duration, Instant};

use ticketapi::session::Context;
use ticketapi::{ErrorKind, Ticket};
use ticketapi_testkit::oidc::{Endpoint, Entry};

use crate::support::PATIENCE;
use crate::trial::{IMPATIENT, Trial, named};

/// Tokens that live so short that they are renewed while a test waits.
const SHORT_LIFE: Duration = Duration::from_secs(8);

fn short_lived(service: &str) -> Trial {
    Trial::with(service, &[IMPATIENT], |provider| provider.token_lifetime(SHORT_LIFE))
}

/// Waits until `wanted` of the ticket at hand.
fn wait_for(trial: &Trial, what: &str, wanted: impl Fn(Option<&Ticket>) -> bool) {
    let began = Instant::now();
    while !wanted(trial.engine.get_ticket_no_auth().ok().as_ref()) {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn refreshed(log: &[Entry]) -> bool {
    log.iter().any(|entry| entry.endpoint == Some(Endpoint::Refresh))
}

#[test]
fn nothing_of_a_session_is_logged() {
    let trial = short_lived("ehealth_dk");
    let first = trial.engine.get_ticket().unwrap();
    trial.engine.claims().unwrap();
    trial.engine.contexts().unwrap();
    wait_for(&trial, "a new ticket", |ticket| ticket.is_some_and(|ticket| *ticket != first));
    trial.engine.destroy_ticket().unwrap();
    trial.no_session_is_left("renewed");
    trial.nothing_is_shown("renewed", "");
    assert_eq!(trial.provider().refresh_tokens_sent_twice(), 0);
}

#[test]
fn a_refresh_token_is_never_sent_twice_whatever_the_answer_was() {
    std::thread::scope(|scope| {
        for name in ["status:503", "truncated", "reset", "no-answer", "html", "bad-signature", "mac-token", "other-sub"]
        {
            scope.spawn(move || {
                let trial = short_lived("oidc");
                trial.provider().misbehave(Endpoint::Refresh, named(name));
                trial.engine.get_ticket().unwrap();
                assert!(trial.provider().wait_for(PATIENCE, refreshed), "{name}");
                wait_for(&trial, name, |ticket| ticket.is_none());
                trial.provider().behave();
                let began = Instant::now();
                while let Err(error) = trial.engine.get_ticket() {
                    assert!(began.elapsed() < PATIENCE, "{name}: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
                assert_eq!(trial.provider().refresh_tokens_sent_twice(), 0, "{name}");
                trial.nothing_is_shown(name, "");
            });
        }
    });
}

#[test]
fn a_renewal_of_a_disabled_user_ends_the_session() {
    let trial = short_lived("oidc");
    trial.engine.get_ticket().unwrap();
    trial.provider().set_disabled("test-user", true);
    wait_for(&trial, "disabled", |ticket| ticket.is_none());
    trial.nothing_is_shown("disabled", "");
}

#[test]
fn a_session_ends_here_whatever_its_end_is_answered_with() {
    for name in ["status:404", "status:500", "reset", "redirect:https://elsewhere.invalid/"] {
        let trial = Trial::new();
        trial.engine.get_ticket().unwrap();
        trial.provider().misbehave(Endpoint::EndSession, named(name));
        // Its tokens are revoked, so nothing lives on.
        let _ = trial.engine.destroy_ticket();
        assert!(trial.engine.get_ticket_no_auth().is_err(), "{name}");
        trial.no_session_is_left(name);
        assert_eq!(trial.provider().log_of(Endpoint::EndSession).len(), 1, "{name}: once");
        trial.nothing_is_shown(name, "");
    }
    let trial = Trial::new();
    trial.engine.get_ticket().unwrap();
    trial.provider().misbehave(Endpoint::EndSession, named("status:404"));
    trial.provider().misbehave(Endpoint::Revocation, named("status:500"));
    trial.fails("both", || trial.engine.destroy_ticket());
    assert!(trial.engine.get_ticket_no_auth().is_err());
}

#[test]
fn an_end_that_hangs_leaves_the_revocations_their_time() {
    let trial = Trial::with("oidc", &[("request_timeout", "9")], |provider| provider);
    trial.engine.get_ticket().unwrap();
    trial.provider().misbehave(Endpoint::EndSession, named("no-answer"));
    trial.engine.destroy_ticket().unwrap();
    trial.no_session_is_left("revoked");

    // So does a revocation that hangs.
    let trial = Trial::with("oidc", &[("request_timeout", "9")], |provider| provider.without(Endpoint::EndSession));
    trial.engine.get_ticket().unwrap();
    trial.provider().misbehave_times(Endpoint::Revocation, named("no-answer"), 1);
    trial.fails("the refresh token", || trial.engine.destroy_ticket());
    assert_eq!(trial.provider().log_of(Endpoint::Revocation).len(), 2);
}

#[test]
fn a_provider_without_an_end_of_sessions_has_its_tokens_revoked() {
    let trial = Trial::with("oidc", &[], |provider| provider.without(Endpoint::EndSession));
    trial.engine.get_ticket().unwrap();
    trial.engine.destroy_ticket().unwrap();
    trial.no_session_is_left("revoked");
}

fn fhir(path: &str) -> String {
    format!("https://organization.test.example/fhir/{path}")
}

#[test]
fn a_context_that_is_refused_costs_no_refresh_token() {
    let trial = Trial::with("ehealth_dk", &[], |provider| provider);
    let ticket = trial.engine.get_ticket().unwrap();
    for context in [Context::new().care_team(fhir("CareTeam/9")), Context::new().organization(fhir("Organization/9"))] {
        let error = trial.fails("foreign", || trial.engine.switch_context(&context).map(drop));
        assert_eq!(*error.kind(), ErrorKind::Refused, "{error}");
        assert_eq!(trial.engine.get_ticket_no_auth().unwrap(), ticket);
        trial.engine.claims().unwrap();
    }
    trial.engine.switch_context(&Context::new().care_team(fhir("CareTeam/1"))).unwrap();
    assert_ne!(trial.engine.get_ticket_no_auth().unwrap(), ticket);
    assert_eq!(trial.provider().refresh_tokens_sent_twice(), 0);
}

#[test]
fn a_switch_that_goes_wrong_keeps_the_ticket() {
    for name in ["status:500", "error:invalid_scope", "error:server_error", "html"] {
        let trial = Trial::with("ehealth_dk", &[], |provider| provider);
        let ticket = trial.engine.get_ticket().unwrap();
        trial.provider().misbehave_times(Endpoint::Refresh, named(name), 1);
        let context = Context::new().care_team(fhir("CareTeam/1"));
        trial.fails(name, || trial.engine.switch_context(&context).map(drop));
        assert_eq!(trial.engine.get_ticket_no_auth().unwrap(), ticket, "{name}");
        assert_eq!(trial.provider().refresh_tokens_sent_twice(), 0, "{name}");
    }
}

#[test]
fn a_renewal_keeps_the_context() {
    let trial = short_lived("ehealth_dk");
    trial.engine.get_ticket().unwrap();
    let team = fhir("CareTeam/1");
    trial.engine.switch_context(&Context::new().care_team(&team)).unwrap();
    let switched = trial.engine.get_ticket_no_auth().unwrap();
    wait_for(&trial, "a new ticket", |ticket| ticket.is_some_and(|ticket| *ticket != switched));
    let last = trial.provider().log_of(Endpoint::Refresh).pop().unwrap();
    assert_eq!(last.parameter("care_team_id"), Some(team.as_str()), "{last}");
}

#[test]
fn contexts_that_cannot_be_read_are_refused() {
    let trial = Trial::with("ehealth_dk", &[IMPATIENT], |provider| provider);
    trial.engine.get_ticket().unwrap();
    assert_eq!(trial.engine.contexts().unwrap().care_teams.len(), 2);
    for name in ["status:500", "html", "with:care_teams=7", "truncated", "endless", "no-answer"] {
        trial.provider().misbehave_times(Endpoint::Contexts, named(name), 1);
        trial.fails(name, || trial.engine.contexts().map(drop));
        trial.engine.get_ticket_no_auth().unwrap();
    }
}
