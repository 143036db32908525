//! The browser, in which a user logs in on a page of the identity service.

#[cfg(any(feature = "nuts", feature = "oidc"))]
mod qr;
#[cfg(not(any(feature = "nuts", feature = "oidc")))]
#[path = "browser/no_qr.rs"]
mod qr;
mod system;

use std::path::PathBuf;

use super::Notice;
use crate::cancel::CancelToken;
use crate::error::Result;

pub use system::SystemBrowser;

/// What shows the pages of identity services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrowserChoice {
    /// The system's browser; the terminal shows the address if there is no desktop.
    #[default]
    System,
    /// This program, a path or a name on the `PATH`. It is given the address.
    Program(PathBuf),
    /// Nothing: the address is printed on standard error.
    None,
}

/// A page of an identity service, on which the user logs in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoginPage<'a> {
    /// Its address. It holds no secret, but it is for one login.
    pub address: &'a str,
    /// The address on this computer where the login ends; `None` if it ends on the page, which any device can show.
    pub redirect_uri: Option<&'a str>,
}

impl<'a> LoginPage<'a> {
    /// Describes the page at `address`.
    pub fn new(address: &'a str, redirect_uri: &'a str) -> Self {
        Self { address, redirect_uri: Some(redirect_uri) }
    }

    /// Describes a page at `address` on which the login ends.
    pub fn without_redirect(address: &'a str) -> Self {
        Self { address, redirect_uri: None }
    }
}

/// Opens the pages on which users log in.
///
/// ```
/// use ticketapi::Result;
/// use ticketapi::cancel::CancelToken;
/// use ticketapi::prompt::{Browser, LoginPage, Opened};
///
/// /// Shows pages in a window of the program.
/// struct Embedded;
///
/// impl Browser for Embedded {
///     fn open(&self, page: &LoginPage<'_>, _cancel: &CancelToken) -> Result<Opened> {
///         let window = show(page.address);
///         Ok(Opened::new(window)) // closes when the login has ended
///     }
/// }
/// # fn show(_address: &str) {}
/// ```
pub trait Browser: Send + Sync {
    /// Opens `page`, and returns without waiting for the user. What is returned lives as long as the login. If the
    /// user closes the page, cancel `cancel`.
    ///
    /// # Errors
    ///
    /// [`NoPrompter`](crate::ErrorKind::NoPrompter) if the page cannot be shown.
    fn open(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Result<Opened>;
}

/// An open page.
#[derive(Default)]
#[must_use = "the page may close when this is dropped"]
pub struct Opened {
    _shown: Notice,
    #[cfg_attr(
        not(any(feature = "nuts", feature = "oidc")),
        expect(dead_code, reason = "no service of this build opens pages")
    )]
    failed: CancelToken,
}

impl Opened {
    /// Keeps `shown` until the login has ended.
    pub fn new(shown: impl Send + 'static) -> Self {
        Self { _shown: Notice::new(shown), failed: CancelToken::new() }
    }

    /// A page that may turn out not to be shown: then `failed` is cancelled, with the reason.
    fn watched(shown: Notice, failed: CancelToken) -> Self {
        Self { _shown: shown, failed }
    }

    /// Cancelled, with a reason, when it turns out that the page is not shown.
    #[cfg(any(feature = "nuts", feature = "oidc"))]
    pub(crate) fn failed(&self) -> &CancelToken {
        &self.failed
    }
}
