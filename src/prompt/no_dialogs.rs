//! Replaces Windows' dialogs on other systems.

use std::path::Path;
use std::time::Duration;

use super::{Notice, PinRequest};
use crate::cancel::CancelToken;
use crate::error::Result;
use crate::secret::Pin;
use crate::session::Role;

/// There is none.
#[derive(Clone, Debug)]
pub(super) enum Dialogs {}

impl Dialogs {
    pub(super) fn find(_: &'static str, _: Option<Duration>) -> std::result::Result<Self, Option<String>> {
        Err(None)
    }

    pub(super) fn program(&self) -> &Path {
        match *self {}
    }

    pub(super) fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        match *self {}
    }

    pub(super) fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        match *self {}
    }

    pub(super) fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        match *self {}
    }

    pub(super) fn message(self, _: &str, _: &CancelToken) -> Notice {
        match self {}
    }
}
