//! One login in the browser for many programs, renewed by the agent alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/oidc/house.rs"]
#[allow(dead_code)]
mod house;
mod support;

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use house::House;
use support::{PATIENCE, User, kind};
use ticketapi::session::Context;
use ticketapi::{Config, Engine, ErrorKind};
use ticketapi_agent::Agent;

/// An agent, whose user logs in in the browser of the house.
struct Running {
    config: Config,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(house: &House, user: &User) -> Self {
        let folder = house.folder.path().join("run");
        std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let mut config = house.config.clone();
        config.agent_socket = Some(folder.join("agent.sock"));
        let engine = Engine::builder(config.clone()).prompter(user.clone()).browser(house.browser.clone());
        let agent = Agent::listen(engine, &config).unwrap();
        let stop = agent.stopper().unwrap();
        Self { config, stop, thread: Some(std::thread::spawn(|| agent.serve().unwrap())) }
    }

    /// A program without prompts and browser of its own.
    fn program(&self) -> Engine {
        let mut config = self.config.clone();
        config.set("agent", "require").unwrap();
        Engine::builder(config).prompter(User::typing(&[])).build().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (&self.stop).write_all(&[0]).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn every_program_gets_the_renewed_ticket_of_one_login() {
    let house = House::with("oidc", |provider| provider.token_lifetime(Duration::from_secs(12)));
    let agent = Running::start(&house, &User::new());
    let (first, second) = (agent.program(), agent.program());
    let ticket = first.get_ticket().unwrap();
    assert_eq!(second.get_ticket_no_auth().unwrap(), ticket);
    let began = Instant::now();
    while second.get_ticket_no_auth().unwrap() == ticket {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    let renewed = first.get_ticket().unwrap();
    assert_eq!(second.get_ticket().unwrap(), renewed);
    assert_ne!(renewed, ticket);
    assert_eq!((house.browser.log().opened.len(), house.provider.refresh_tokens_sent_twice()), (1, 0));

    second.destroy_ticket().unwrap();
    assert_eq!(kind(first.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_change_of_role_or_context_is_every_programs() {
    let house = House::cis2(|provider| provider);
    let user = User::new().choosing(2);
    let agent = Running::start(&house, &user);
    let (first, second) = (agent.program(), agent.program());
    let session = first.log_in().unwrap();
    assert_eq!(session.role(), session.roles().get(2));
    let _user = user.choosing(1);
    assert_eq!(second.change_role().unwrap().role(), session.roles().get(1));
    assert_eq!(first.session().unwrap().role(), session.roles().get(1));
    assert!(first.claims().unwrap().contains("nhsid_nrbac_roles"));
    assert_eq!(kind(first.contexts()), ErrorKind::NotImplemented);

    let house = House::ehealth_dk();
    let agent = Running::start(&house, &User::new());
    let (first, second) = (agent.program(), agent.program());
    first.log_in().unwrap();
    let team = second.contexts().unwrap().care_teams.remove(1);
    let switched = second.switch_context(&Context::new().care_team(team.id)).unwrap();
    assert_eq!(first.get_ticket_no_auth().unwrap(), *switched.ticket());
    assert_eq!(first.session().unwrap().roles().len(), 1);
    let refused = first.switch_context(&Context::new().care_team("https://organization.test.example/fhir/CareTeam/3"));
    assert_eq!(kind(refused), ErrorKind::Refused);
    assert_eq!(second.get_ticket().unwrap(), *switched.ticket());
}

#[test]
fn a_program_with_another_client_or_ticket_does_not_share_the_login() {
    let house = House::new();
    let agent = Running::start(&house, &User::new());
    agent.program().get_ticket().unwrap();
    for (key, value) in [("client_id", "another"), ("ticket", "id_token"), ("service", "cis2")] {
        let mut config = agent.config.clone();
        config.set("agent", "require").unwrap();
        config.set(key, value).unwrap();
        let other = Engine::builder(config).prompter(User::typing(&[])).build().unwrap();
        assert_eq!(kind(other.get_ticket()), ErrorKind::AgentNotAvailable, "{key}");
    }
}
