//! A node, and a user with a browser.

use std::sync::{Arc, Mutex};

use ticketapi::cancel::CancelToken;
use ticketapi::engine::EngineBuilder;
use ticketapi::prompt::{Browser, LoginPage, NoPrompter, Opened};
use ticketapi::session::Employee;
use ticketapi::{Config, Engine, Result};
use ticketapi_testkit::nuts::{Endpoint, RunningNode, Version, visit};
use ticketapi_testkit::{Nuts, NutsBuilder};

pub const BOTH: [Version; 2] = [Version::V5, Version::V6];

/// The version of the node's API that a login uses.
#[derive(Clone, Copy)]
pub enum Api {
    V1,
    V2,
}

impl Api {
    pub const BOTH: [Self; 2] = [Self::V1, Self::V2];

    /// A login's requests, in their order.
    pub fn requests(self) -> &'static [Endpoint] {
        match self {
            Self::V1 => &[Endpoint::DrawUp, Endpoint::Session, Endpoint::Poll, Endpoint::Verify],
            Self::V2 => &[Endpoint::UserAccessToken, Endpoint::UserPoll],
        }
    }

    /// The one that waits for the user.
    pub fn poll(self) -> Endpoint {
        match self {
            Self::V1 => Endpoint::Poll,
            Self::V2 => Endpoint::UserPoll,
        }
    }
}

/// What the user does on the page.
#[derive(Clone, Copy, PartialEq)]
pub enum Act {
    Accept,
    Reject,
    /// Opens the page and goes away.
    Look,
    Nothing,
}

/// Plays browser and user.
#[derive(Clone)]
pub struct Hands {
    pub act: Arc<Mutex<Act>>,
    pub opened: Arc<Mutex<Vec<String>>>,
}

impl Hands {
    pub fn new(act: Act) -> Self {
        Self { act: Arc::new(Mutex::new(act)), opened: Arc::default() }
    }
}

impl Browser for Hands {
    fn open(&self, page: &LoginPage<'_>, _: &CancelToken) -> Result<Opened> {
        self.opened.lock().unwrap().push(page.address.to_owned());
        let (act, address) = (*self.act.lock().unwrap(), page.address.to_owned());
        if act != Act::Nothing && address.starts_with("http://") {
            std::thread::spawn(move || {
                let mut page = visit(&address).unwrap();
                while page.status == 302 {
                    page = visit(&page.location).unwrap();
                }
                if act != Act::Look && page.html.contains("<form") {
                    page.press(act == Act::Accept).unwrap();
                }
            });
        }
        Ok(Opened::default())
    }
}

pub struct Desk {
    pub nuts: Nuts,
    pub config: Config,
    pub hands: Hands,
}

pub fn employee() -> Employee {
    Employee::new("481", "J", "van \"Dijk\" d'É").role("Verpleegkundige niveau 2")
}

impl Desk {
    pub fn new(version: Version) -> Self {
        Self::with(version, |nuts| nuts)
    }

    pub fn with(version: Version, set_up: impl FnOnce(NutsBuilder) -> NutsBuilder) -> Self {
        let nuts = set_up(Nuts::builder().version(version)).start().unwrap();
        let mut config = Config::default();
        for (key, value) in [
            ("service", "nuts"),
            ("nuts_node", &nuts.url()),
            ("allow_http", "true"),
            ("employer", nuts.employer()),
            // Not those of the developer's desktop.
            ("agent", "never"),
            ("bind_card", "false"),
            ("proxy", "none"),
        ] {
            config.set(key, value).unwrap();
        }
        Self { nuts, config, hands: Hands::new(Act::Accept) }
    }

    /// A node of version 6, at which logins use this version of its API.
    pub fn by(api: Api, set_up: impl FnOnce(NutsBuilder) -> NutsBuilder) -> Self {
        let desk = Self::with(Version::V6, set_up);
        match api {
            Api::V1 => desk,
            Api::V2 => desk
                .set("nuts_api", "v2")
                .set("nuts_subject", "CareBears")
                .set("issuer", "https://other.example/oauth2/clinic")
                .set("scope", "test"),
        }
    }

    pub fn engine(&self) -> Engine {
        let engine = self.builder().build().unwrap();
        engine.set_employee(&employee()).unwrap();
        engine
    }

    /// An engine without an employee.
    pub fn builder(&self) -> EngineBuilder {
        Engine::builder(self.config.clone()).prompter(NoPrompter).browser(self.hands.clone())
    }

    pub fn acting(self, act: Act) -> Self {
        *self.hands.act.lock().unwrap() = act;
        self
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value).unwrap();
        self
    }
}

/// A place to log in at: a simulated node, or the one that variables name.
pub struct Place {
    pub config: Config,
    pub hands: Hands,
    pub employer: String,
    pub public_url: String,
    _simulated: Option<Nuts>,
}

impl From<Desk> for Place {
    fn from(Desk { nuts, config, hands }: Desk) -> Self {
        let (employer, public_url) = (nuts.employer().to_owned(), nuts.public_url());
        Self { config, hands, employer, public_url, _simulated: Some(nuts) }
    }
}

impl Place {
    /// Each simulated node, and the node that variables name. Says which that is.
    pub fn all() -> Vec<Self> {
        let mut places: Vec<Self> = BOTH.into_iter().map(|version| Desk::new(version).into()).collect();
        match RunningNode::from_environment().unwrap() {
            None => eprintln!("simulated nodes only: TICKETAPI_TEST_NUTS_NODE is not set"),
            Some(node) => {
                eprintln!("also at the node {} ({})", node.url, node.public_url);
                places.push(Self::at(node));
            }
        }
        places
    }

    /// A node that runs already.
    pub fn at(RunningNode { url, public_url, employer }: RunningNode) -> Self {
        let Desk { mut config, hands, .. } = Desk::new(Version::V5);
        config.set("nuts_node", &url).unwrap();
        config.set("employer", &employer).unwrap();
        Self { config, hands, employer, public_url, _simulated: None }
    }

    pub fn acting(&self, act: Act) -> &Self {
        *self.hands.act.lock().unwrap() = act;
        self
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.config.set(key, value).unwrap();
    }

    pub fn engine(&self) -> Engine {
        let builder = Engine::builder(self.config.clone()).prompter(NoPrompter).browser(self.hands.clone());
        let engine = builder.build().unwrap();
        engine.set_employee(&employee()).unwrap();
        engine
    }
}
