//! Smartcards through PKCS#11, or on Windows through its own smartcard stack, for [`ticketapi`].
//!
//! `ticketapi` runs this crate's program `ticketapi-card` in its own process for each login. A Rust program that
//! loads the module into its own process instead, and accepts that the module may hang or crash there, passes a
//! [`Pkcs11Reader`] to the engine:
//!
//! ```no_run
//! use ticketapi::card::pkcs11::{CardSettings, known_modules};
//! use ticketapi_card::Pkcs11Reader;
//!
//! let reader = Pkcs11Reader::new(CardSettings { modules: known_modules(), ..CardSettings::default() });
//! ```

mod card_lock;
mod cards;
#[cfg(any(windows, test))]
mod cng;
mod events;
mod hash_key;
mod pcsc;
mod pkcs11;
#[doc(hidden)]
pub mod program;

pub use pkcs11::Pkcs11Reader;
pub use pkcs11::card::Pkcs11Card;
