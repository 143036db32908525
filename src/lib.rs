//! Logs users in to healthcare identity services, with their smartcards or in the browser, and keeps the ticket that
//! clinical software asks for as `getTicket()`.
//!
//! An [`Engine`] logs a user in at the Spine Security Broker (SSB) of the NHS and holds the session:
//!
//! ```no_run
//! use ticketapi::Engine;
//!
//! # fn main() -> ticketapi::Result<()> {
//! let engine = Engine::new()?; // settings: configuration file, then environment
//! let session = engine.log_in()?; // asks for the PIN and, if there are several, for the role
//! println!("{} as {:?}", session.user().name, session.role());
//! let ticket = engine.get_ticket()?; // the same session, without a prompt
//! # drop(ticket);
//! engine.destroy_ticket() // ends the session, here and on the broker
//! # }
//! ```
//!
//! [`Config`] holds the settings. Programs change them before they build an engine:
//!
//! ```no_run
//! use ticketapi::{Config, Engine};
//!
//! # fn main() -> ticketapi::Result<()> {
//! let mut config = Config::load()?;
//! config.set("environment", "int")?;
//! config.set("prompter", "terminal")?;
//! let engine = Engine::builder(config).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Prompter`](prompt::Prompter) asks the user. Programs with windows of their own implement it:
//!
//! ```no_run
//! use ticketapi::cancel::CancelToken;
//! use ticketapi::prompt::{PinRequest, Prompter};
//! use ticketapi::ssb::Role;
//! use ticketapi::{Config, Engine, Error, Pin, Result, Stage};
//!
//! struct Window;
//!
//! impl Prompter for Window {
//!     fn pin(&self, request: &PinRequest<'_>, _cancel: &CancelToken) -> Result<Pin> {
//!         let typed = ask(&format!("PIN of {}", request.card_name()));
//!         typed.map(Pin::new).ok_or_else(|| Error::cancelled(Stage::Pin))
//!     }
//!
//!     fn use_last_try(&self, _request: &PinRequest<'_>, _cancel: &CancelToken) -> Result<bool> {
//!         Ok(ask("One more wrong PIN locks the card. Type yes to try").as_deref() == Some("yes"))
//!     }
//!
//!     fn role(&self, roles: &[Role], _cancel: &CancelToken) -> Result<usize> {
//!         let names: Vec<_> = roles.iter().map(ToString::to_string).collect();
//!         let choice = ask(&names.join("\n")).and_then(|line| line.parse().ok());
//!         choice.ok_or_else(|| Error::cancelled(Stage::RoleSelection))
//!     }
//! }
//!
//! # fn ask(_question: &str) -> Option<String> { None }
//! # fn main() -> Result<()> {
//! let engine = Engine::builder(Config::load()?).prompter(Window).build()?;
//! # drop(engine);
//! # Ok(())
//! # }
//! ```
//!
//! Calls block for as long as the user, the card and the broker take; each of them has a deadline, and
//! [`Engine::cancel_login`] ends a login from another thread. Card makers' software never runs in this process: the
//! program `ticketapi-card`, from the crate of the same name, loads it.
//!
//! Features, all on by default: `software-card` reads cards in PKCS#12 files, `terminal` asks on the controlling
//! terminal, `oidc` logs in at OpenID providers, `nuts` at Nuts nodes, `sign` signs with the card. Without them, settings
//! that need them fail with an error that says so.
//!
//! Errors are [`Error`]: what happened, and with [`Error::remedy`] what the user can do.
#![forbid(unsafe_code)]

// What is `#[doc(hidden)]`, here and in the modules, is public only for this project's other crates, tests
// and benchmarks. It changes without notice.
pub mod agent;
pub mod cancel;
pub mod card;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
pub mod engine;
mod error;
#[doc(hidden)]
pub mod framing;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod os;
#[doc(hidden)]
pub mod printable;
pub mod prompt;
mod secret;
mod service;
pub mod session;
#[cfg(feature = "sign")]
pub mod sign;
mod sync;

pub use config::Config;
pub use engine::Engine;
pub use error::{Error, ErrorKind, Group, Result, Stage};
pub use secret::{AccessToken, Pin, Ticket};
#[cfg(feature = "oidc")]
#[doc(hidden)]
pub use service::oidc::measured as oidc;
#[doc(hidden)]
pub use service::ssb::challenge;
pub use service::{choices, ssb};
