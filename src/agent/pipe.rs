//! The agent's pipe: its name, and whether it belongs to the user.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ticketapi_platform::named::{self, Refused};

use super::AgentSettings;
use super::connection::{NoReply, PROMPT};
use crate::error::{Error, ErrorKind, Stage};
use crate::os::ipc::Socket;
use crate::os::privilege::own_user;

/// The pipe: what `agent_socket` names, else `\\.\pipe\ticketapi-SESSION-SID`, with the number of the desktop session
/// and the user's security identifier.
///
/// # Errors
///
/// [`Configuration`](ErrorKind::Configuration) if the system does not tell these two.
pub fn place(settings: &AgentSettings) -> crate::Result<PathBuf> {
    if let Some(pipe) = &settings.socket {
        return Ok(pipe.clone());
    }
    named::default_name().map_err(|error| {
        let detail = format!("there is no place for the agent's pipe: {error}");
        Error::new(ErrorKind::Configuration, Stage::Configuration, detail).because(error)
    })
}

/// Why the pipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("{0} does not exist")]
    Absent(PathBuf),
    /// The name is another kind of path.
    #[error(r"{0} is not a pipe of this computer, such as \\.\pipe\ticketapi")]
    NoPipe(PathBuf),
    /// Another user's process has created it.
    #[error("{0} was taken by another user's process")]
    Taken(PathBuf),
    /// A program with fewer rights could have tampered with the process that listens.
    #[error("a process with a lower integrity level than this one listens at {0}")]
    Confined(PathBuf),
    /// The access list leaves this program out.
    #[error(
        "{0} is closed to this program: it runs in a sandbox or another logon session, or another user's process has taken the name"
    )]
    Closed(PathBuf),
    /// This thread acts as another user.
    #[error("this thread impersonates another user")]
    Impersonating,
    /// The system refuses.
    #[error("{0} cannot be used: {1}")]
    Refused(PathBuf, io::Error),
}

/// Connects to the agent at `path`, once it is known to be the user's own.
pub(super) fn connect(path: &Path) -> Result<Socket, NoReply> {
    own_user().map_err(|_| NoReply::Unusable(Unusable::Impersonating))?;
    named::connect(path, Instant::now() + PROMPT).map_err(|refused| {
        let path = path.to_owned();
        NoReply::Unusable(match refused {
            Refused::Absent => return NoReply::Absent(Unusable::Absent(path)),
            Refused::Busy => return NoReply::Silent,
            Refused::NoPipe => Unusable::NoPipe(path),
            Refused::Stranger => Unusable::Taken(path),
            Refused::Confined => Unusable::Confined(path),
            Refused::System(error) if error.kind() == io::ErrorKind::PermissionDenied => Unusable::Closed(path),
            Refused::System(error) => Unusable::Refused(path, error),
        })
    })
}
