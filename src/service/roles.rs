//! Chooses the session's role: the one in the settings, the only one, or the user's choice.

use super::Desk;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::session::Role;

/// The settings about roles.
#[derive(Clone, Debug)]
pub(crate) struct RoleSettings {
    /// The id of the role to select without a prompt.
    pub(crate) role: Option<String>,
    /// Whether a user without roles is refused.
    pub(crate) require: bool,
}

impl RoleSettings {
    /// Returns the role's index; `None` for a user without roles.
    pub(crate) fn choose(&self, roles: &[Role], desk: &Desk<'_>) -> Result<Option<usize>> {
        let not_valid = |detail: String| Error::new(ErrorKind::UserNotValid, Stage::RoleSelection, detail);
        if let Some(id) = &self.role {
            let index = roles.iter().position(|role| role.id == *id);
            return index.map(Some).ok_or_else(|| not_valid(format!("the user does not have the role {id}")));
        }
        match roles {
            [] if self.require => Err(not_valid("the user has no role".into())),
            [] => Ok(None),
            [_] => Ok(Some(0)),
            _ => self.ask(roles, desk).map(Some),
        }
    }

    /// Lets the user choose one of two or more roles. Returns its index.
    pub(crate) fn ask(&self, roles: &[Role], desk: &Desk<'_>) -> Result<usize> {
        let index = desk.prompter.role(roles, desk.cancel)?;
        if index < roles.len() {
            Ok(index)
        } else {
            let detail = format!("the prompter chose role {index} of {}", roles.len());
            Err(Error::new(ErrorKind::Internal, Stage::RoleSelection, detail))
        }
    }
}
