//! The agent's pipe. There is no agent on Windows yet.

use std::path::{Path, PathBuf};

use super::AgentSettings;
use super::connection::NoReply;
use crate::error::{Error, ErrorKind, Stage};
use crate::os::ipc::Socket;

/// The pipe: what `agent_socket` names, else `ticketapi-` and the user's security identifier.
///
/// # Errors
///
/// [`Configuration`](ErrorKind::Configuration) if the system does not tell the user.
pub fn place(settings: &AgentSettings) -> crate::Result<PathBuf> {
    if let Some(pipe) = &settings.socket {
        return Ok(pipe.clone());
    }
    match ticketapi_platform::security::user_sid() {
        Ok(user) => Ok(format!(r"\\.\pipe\ticketapi-{user}").into()),
        Err(error) => {
            let detail = format!("there is no place for the agent's pipe: {error}");
            Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail).because(error))
        }
    }
}

/// Why the pipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("{0} does not exist")]
    Absent(PathBuf),
}

/// Connects to the agent at `path`.
pub(super) fn connect(path: &Path) -> Result<Socket, NoReply> {
    Err(NoReply::Absent(Unusable::Absent(path.to_owned())))
}
