//! The browser that shows a provider's page.

use std::path::PathBuf;

/// What shows a provider's page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrowserChoice {
    /// The system's browser.
    #[default]
    System,
    /// This program, a path or a name on the `PATH`. It is given the address.
    Program(PathBuf),
    /// Nothing: the address is printed for the user.
    None,
}
