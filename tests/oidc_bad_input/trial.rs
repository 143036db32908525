//! A login at a bad provider.

use std::cell::Cell;
use std::time::Instant;

use ticketapi::{Config, Engine, Error, Result};
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour};
use ticketapi_testkit::{OidcBuilder, OidcProvider};

use crate::house::House;
use crate::logged;
use crate::person::Person;
use crate::support::{PATIENCE, User};

/// Settings for a server that does not answer. Others have the time that a busy machine needs.
pub const IMPATIENT: (&str, &str) = ("request_timeout", "2");

/// A provider, an engine, and the user.
pub struct Trial {
    pub house: House,
    pub engine: Engine,
    pub person: Person,
    /// How much of the log has been searched.
    searched: Cell<usize>,
}

pub fn named(name: &str) -> Misbehaviour {
    Misbehaviour::from_name(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Trial {
    pub fn new() -> Self {
        Self::with("oidc", &[], |provider| provider)
    }

    /// With a provider of this service, and with these settings.
    pub fn with(service: &str, settings: &[(&str, &str)], set_up: impl FnOnce(OidcBuilder) -> OidcBuilder) -> Self {
        logged::keep();
        let searched = Cell::new(logged::length());
        let mut house = House::with(service, |provider| {
            set_up(match service {
                "cis2" => provider.cis2(),
                "ehealth_dk" => provider.ehealth_dk(),
                _ => provider,
            })
        });
        for (key, value) in settings {
            house.config.set(key, value).unwrap();
        }
        let person = Person::new(ticketapi_testkit::Browser::new(house.config.ca_file.as_ref().unwrap()));
        let engine = engine(house.config.clone(), &person).unwrap();
        Self { house, engine, person, searched }
    }

    pub fn provider(&self) -> &OidcProvider {
        &self.house.provider
    }

    /// A login fails, leaves no session behind, and works when the provider behaves again.
    pub fn refuses(&self, endpoint: Endpoint, name: &str) -> Error {
        self.provider().misbehave(endpoint, named(name));
        let error = self.fails(name, || self.engine.get_ticket().map(drop));
        self.no_session_is_left(name);
        self.provider().behave();
        if let Err(error) = self.engine.get_ticket() {
            panic!("{name}: not even after it: {error}");
        }
        self.engine.destroy_ticket().unwrap();
        self.no_session_is_left(name);
        self.nothing_is_shown(name, "");
        error
    }

    /// Makes a call that fails in time, with an error that shows no secret.
    pub fn fails(&self, name: &str, call: impl FnOnce() -> Result<()>) -> Error {
        let began = Instant::now();
        let Err(error) = call() else { panic!("{name}: it was accepted") };
        let time = began.elapsed();
        assert!(time < PATIENCE, "{name}: {time:?}: {error}");
        let mut text = format!("{error}\n{error:?}\n");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!("{cause}\n{cause:?}\n"));
            source = cause.source();
        }
        self.nothing_is_shown(name, &text);
        error
    }

    pub fn no_session_is_left(&self, name: &str) {
        let provider = self.provider();
        if !provider.wait_for_sessions(PATIENCE, 0) {
            let log: String = provider.log().iter().map(|entry| format!("{entry}\n")).collect();
            panic!("{name}: {} sessions are left:\n{log}", provider.open_sessions());
        }
    }

    /// No secret of this provider is in `text` or in what was logged.
    pub fn nothing_is_shown(&self, name: &str, text: &str) {
        let logged = logged::after(self.searched.get());
        self.searched.set(self.searched.get() + logged.len());
        for secret in self.provider().secrets() {
            assert!(!shows(text.as_bytes(), &secret), "{name}: an error shows {secret}: {text}");
            assert!(!shows(&logged, &secret), "{name}: the log shows {secret}");
        }
    }
}

pub fn engine(config: Config, person: &Person) -> Result<Engine> {
    Engine::builder(config).prompter(User::new()).browser(person.clone()).build()
}

/// Returns `true` if the beginning, the middle or the end of `secret` is in `text`, plain or its bytes as numbers.
pub fn shows(text: &[u8], secret: &str) -> bool {
    const PIECE: usize = 12;
    let last = secret.len().saturating_sub(PIECE);
    let pieces = [0, last / 2, last].map(|start| &secret.as_bytes()[start..secret.len().min(start + PIECE)]);
    pieces.into_iter().any(|piece| {
        let numbers = piece.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        [piece, numbers.as_bytes()].into_iter().any(|wanted| memchr::memmem::find(text, wanted).is_some())
    })
}
