//! Programs that share a login in the browser: tickets that are renewed, changes of role and context.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/oidc/house.rs"]
#[allow(dead_code)]
mod house;
mod support;

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use house::House;
use support::{PATIENCE, User, kind, wait_until};
use ticketapi::agent::AgentUse;
use ticketapi::engine::EngineBuilder;
use ticketapi::session::Context;
use ticketapi::{Config, Engine, ErrorKind};
use ticketapi_agent::{Agent, Stopper};
use ticketapi_testkit::oidc::{Endpoint, User as Person};

const TEAM: &str = "https://organization.test.example/fhir/CareTeam/";

/// An agent in a thread of this process.
struct Shared {
    house: House,
    stop: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    fn new(house: House) -> Self {
        Self::with(house, &User::new())
    }

    fn with(house: House, user: &User) -> Self {
        let config = settings(&house, AgentUse::Never);
        let browser = house.browser.clone();
        let engine: EngineBuilder = Engine::builder(config.clone()).prompter(user.clone()).browser(browser);
        let agent = Agent::listen(engine, &config).unwrap();
        let stop = agent.stopper().unwrap();
        Self { house, stop, thread: Some(thread::spawn(|| agent.serve().unwrap())) }
    }

    /// A program without a browser of its own.
    fn program(&self) -> Engine {
        let builder = Engine::builder(settings(&self.house, AgentUse::Require));
        builder.prompter(User::typing(&[])).browser(house::NoBrowser).build().unwrap()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok());
    }
}

fn settings(house: &House, way: AgentUse) -> Config {
    let folder: PathBuf = house.folder.path().join("run");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
    let mut config = house.config.clone();
    config.agent = way;
    config.agent_socket = Some(folder.join("agent.sock"));
    config
}

#[test]
fn programs_share_one_login_in_the_browser_and_its_renewals() {
    let house = House::with("oidc", |provider| provider.token_lifetime(Duration::from_secs(12)));
    let shared = Shared::new(house);
    let (first, second) = (shared.program(), shared.program());
    let old = first.log_in().unwrap();
    assert!(old.expires().is_some());
    assert_eq!(second.get_ticket().unwrap(), *old.ticket());
    assert_eq!(second.session().unwrap().user(), old.user());
    let known = second.session().unwrap();
    assert!(Arc::ptr_eq(&second.session().unwrap(), &known), "it was sent again");
    // In the background, and nobody is without a ticket meanwhile.
    wait_until(|| first.get_ticket_no_auth().unwrap() != *old.ticket());
    let renewed = first.get_ticket_no_auth().unwrap();
    assert_eq!(second.get_ticket_no_auth().unwrap(), renewed);
    let session = second.session().unwrap();
    assert_eq!(*session.ticket(), renewed);
    assert!(Arc::ptr_eq(session.login(), known.login()), "it is the same login");
    let provider = &shared.house.provider;
    assert_eq!((shared.house.browser.log().opened.len(), provider.open_sessions()), (1, 1));
    assert_eq!((provider.log_of(Endpoint::Refresh).len(), provider.refresh_tokens_sent_twice()), (1, 0));

    second.destroy_ticket().unwrap();
    assert_eq!(provider.open_sessions(), 0);
    assert_eq!(kind(first.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    let new = first.log_in().unwrap();
    assert!(!Arc::ptr_eq(new.login(), known.login()));
}

#[test]
fn a_change_of_role_is_one_for_all_programs_and_asks_where_the_agent_is() {
    let user = User::new().choosing(2);
    let shared = Shared::with(House::cis2(|provider| provider), &user);
    let (first, second) = (shared.program(), shared.program());
    let old = first.log_in().unwrap();
    assert_eq!(second.session().unwrap().role(), old.role());
    let _user = user.choosing(0);
    let changed = second.change_role().unwrap();
    assert_ne!(changed.role(), old.role());
    assert_eq!(changed.role(), Some(&changed.roles()[0]));
    let session = first.session().unwrap();
    assert_eq!((session.role(), session.ticket()), (changed.role(), changed.ticket()));
    assert_eq!(shared.house.provider.open_sessions(), 1);
}

#[test]
fn a_change_of_role_ends_with_the_program_that_wants_it_and_the_session_continues() {
    let (asked, is_asked) = std::sync::mpsc::channel();
    let mut times = 0;
    let user = User::new().asked_for_role(move |cancel| {
        times += 1;
        if times == 1 {
            return Ok(0);
        }
        asked.send(()).unwrap();
        assert!(cancel.wait(PATIENCE), "it was not cancelled");
        cancel.check(ticketapi::Stage::RoleSelection).map(|()| 0)
    });
    let shared = Shared::with(House::cis2(|provider| provider), &user);
    let (first, second) = (shared.program(), shared.program());
    let session = first.log_in().unwrap();
    thread::scope(|scope| {
        let change = scope.spawn(|| second.change_role());
        is_asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!(first.get_ticket().unwrap(), *session.ticket(), "the others wait for nobody");
        second.cancel_login();
        assert_eq!(kind(change.join().unwrap()), ErrorKind::Cancelled);
    });
    assert_eq!(second.get_ticket_no_auth().unwrap(), *session.ticket());
    assert_eq!(second.session().unwrap().role(), session.role());
}

#[test]
fn a_switch_of_context_is_one_for_all_programs() {
    let shared = Shared::new(House::ehealth_dk());
    let (first, second) = (shared.program(), shared.program());
    let old = first.log_in().unwrap();
    second.session().unwrap();
    assert_eq!(second.contexts().unwrap().care_teams.len(), 2);
    let context = Context::new().care_team(format!("{TEAM}2"));
    let switched = second.switch_context(&context).unwrap();
    assert_ne!(switched.ticket(), old.ticket());
    let session = first.session().unwrap();
    assert_eq!((session.ticket(), session.roles()), (switched.ticket(), switched.roles()));
    assert_eq!(first.get_ticket().unwrap(), *switched.ticket());

    let error = first.switch_context(&Context::new().care_team(format!("{TEAM}3"))).unwrap_err();
    assert!(error.detail().contains("Not a member of Care team"), "{error}");
    assert_eq!(second.get_ticket().unwrap(), *switched.ticket());
    let sent = shared.house.provider.log().len();
    assert_eq!(kind(first.switch_context(&Context::new().patient("https://a/1"))), ErrorKind::InvalidParameter);
    assert_eq!(shared.house.provider.log().len(), sent);
    assert_eq!(shared.house.provider.refresh_tokens_sent_twice(), 0);
}

#[test]
fn programs_get_ten_thousand_roles_and_what_the_provider_says_about_them() {
    let house = House::cis2(|provider| provider.user(Person::new("many").nrbac_roles(10_000).acr("AAL3_ANY")));
    let shared = Shared::with(house, &User::new().choosing(9_999));
    let program = shared.program();
    let session = program.log_in().unwrap();
    assert_eq!(session.roles().len(), 10_000);
    assert_eq!(session.role(), session.roles().last());
    assert!(program.claims().unwrap().len() > 1 << 20);
    assert_eq!(kind(program.contexts()), ErrorKind::NotImplemented);
}

#[test]
fn an_agent_at_another_service_is_not_used() {
    let shared = Shared::new(House::new());
    shared.program().log_in().unwrap();
    for (key, value) in [("client_id", "another"), ("ticket", "id_token"), ("service", "cis2"), ("service", "ssb")] {
        let mut config = settings(&shared.house, AgentUse::Require);
        config.set(key, value).unwrap();
        let program = Engine::builder(config).prompter(User::typing(&[])).build().unwrap();
        let error = program.get_ticket_no_auth().unwrap_err();
        assert!(error.detail().contains("logs in at"), "{error}");
        assert_eq!(*program.live_session().unwrap_err().kind(), ErrorKind::AgentNotAvailable);
    }
}
