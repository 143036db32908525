//! Replaces the terminal in builds without the feature `terminal`.

use std::io;
use std::time::Duration;

use super::{Notice, PinRequest, nobody};
use crate::cancel::CancelToken;
use crate::error::{Result, Stage};
use crate::secret::Pin;
use crate::session::Role;

#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal;

impl Terminal {
    pub(super) fn new(_: Option<Duration>) -> Self {
        Self
    }

    pub(super) fn is_there() -> bool {
        false
    }

    pub(super) fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        Err(nobody(Stage::Pin, "the PIN: this program was built without prompts on the terminal"))
    }

    pub(super) fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Err(nobody(Stage::Pin, "the PIN: this program was built without prompts on the terminal"))
    }

    pub(super) fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Err(nobody(Stage::RoleSelection, "the role: this program was built without prompts on the terminal"))
    }

    pub(super) fn print(&self, _: impl FnOnce(usize) -> String, _: &CancelToken) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn message(self, _: &str, _: &CancelToken) -> Notice {
        Notice::default()
    }
}
