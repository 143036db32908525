//! Smartcards through PKCS#11 for [`ticketapi`].
//!
//! The program `ticketapi-card` of this crate is what `ticketapi` runs in a process of its own for
//! each login. A Rust program that wants the card in its own process instead, and takes the risk
//! that a module hangs or crashes there, hands a [`Pkcs11Reader`] to the engine:
//!
//! ```no_run
//! use ticketapi::card::pkcs11::{CardSettings, known_modules};
//! use ticketapi_card::Pkcs11Reader;
//!
//! let reader = Pkcs11Reader::new(CardSettings { modules: known_modules(), ..CardSettings::default() });
//! ```

mod card_lock;
mod events;
mod pcsc;
mod pkcs11;
#[doc(hidden)]
pub mod program;

pub use pkcs11::Pkcs11Reader;
pub use pkcs11::card::Pkcs11Card;
