//! The agent's socket: where it is, and whether it belongs to the user.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::AgentSettings;
use super::connection::{NoReply, PROMPT};
use crate::error::{Error, ErrorKind, Stage};
use crate::os::fs::own_folder;

/// The socket: what `agent_socket` names, else `ticketapi/agent.sock` in `$XDG_RUNTIME_DIR`, else in
/// `/run/user/UID` where that is the user's, else `.local/state/ticketapi/agent.sock` in the user's home.
///
/// # Errors
///
/// [`Configuration`](ErrorKind::Configuration) where none of these is known.
pub fn place(settings: &AgentSettings) -> crate::Result<PathBuf> {
    if let Some(socket) = &settings.socket {
        return Ok(socket.clone());
    }
    own_folder().map(|folder| folder.join("agent.sock")).ok_or_else(|| {
        let detail = "there is no place for the agent's socket: agent_socket, XDG_RUNTIME_DIR and HOME are not set";
        Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
    })
}

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no socket.
    #[error("{0} does not exist")]
    Absent(PathBuf),
    /// Its agent has ended and left the socket behind.
    #[error("no program listens at {0} any more")]
    Abandoned(PathBuf),
    /// Other users could have created it, or could use it.
    #[error("{0} {1}")]
    NotPrivate(PathBuf, &'static str),
    /// The system refuses.
    #[error("{0} cannot be used: {1}")]
    Refused(PathBuf, io::Error),
}

/// The socket's folder: owned by the user, closed to others, and not a symbolic link.
pub struct Folder {
    folder: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// As [`Folder::open`], for a folder that is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`Unusable`].
    pub fn make(path: &Path) -> Result<Self, Unusable> {
        // A folder that exists is checked.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(path);
        Self::open(path)
    }

    /// Opens and checks `path`.
    ///
    /// # Errors
    ///
    /// [`Unusable`].
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Unusable::Absent(path.to_owned()),
            Errno::LOOP | Errno::NOTDIR => Unusable::NotPrivate(path.to_owned(), "is not a folder"),
            errno => Unusable::Refused(path.to_owned(), errno.into()),
        })?;
        let stat = fstat(&folder).map_err(|errno| Unusable::Refused(path.to_owned(), errno.into()))?;
        check_owner(path, &stat)?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// Checks that `name` in the folder is a socket of the user.
    ///
    /// # Errors
    ///
    /// [`Unusable`].
    pub fn check_socket(&self, name: &OsStr) -> Result<(), Unusable> {
        let path = self.path.join(name);
        let stat = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| match errno {
            Errno::NOENT => Unusable::Absent(path.clone()),
            errno => Unusable::Refused(path.clone(), errno.into()),
        })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(Unusable::NotPrivate(path, "is not a socket"));
        }
        check_owner(&path, &stat)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), Unusable> {
    if stat.st_uid != geteuid().as_raw() {
        return Err(Unusable::NotPrivate(path.to_owned(), "belongs to another user"));
    }
    if !(Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO)).is_empty() {
        return Err(Unusable::NotPrivate(path.to_owned(), "is open to other users"));
    }
    Ok(())
}

/// Returns `true` if the process at the other end runs as the same user.
///
/// # Errors
///
/// An I/O error if the system does not tell.
pub fn is_same_user(socket: &UnixStream) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    let uid = rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw();
    #[cfg(not(target_os = "linux"))]
    let uid = nix::unistd::getpeereid(socket)?.0.as_raw();
    Ok(uid == geteuid().as_raw())
}

/// Connects to the agent at `path`, once it is known to be the user's own.
pub(super) fn connect(path: &Path) -> Result<UnixStream, NoReply> {
    let (folder, name) = path.parent().zip(path.file_name()).ok_or(NoReply::Gone)?;
    let usable = Folder::open(folder).and_then(|folder| folder.check_socket(name));
    usable.map_err(|unusable| match unusable {
        Unusable::Absent(_) => NoReply::Absent(unusable),
        _ => NoReply::Unusable(unusable),
    })?;
    let socket = open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => NoReply::Silent,
        std::io::ErrorKind::ConnectionRefused => NoReply::Absent(Unusable::Abandoned(path.to_owned())),
        std::io::ErrorKind::NotFound => NoReply::Absent(Unusable::Absent(path.to_owned())),
        _ => NoReply::Unusable(Unusable::Refused(path.to_owned(), error)),
    })?;
    if !is_same_user(&socket).unwrap_or(false) {
        return Err(NoReply::Stranger);
    }
    Ok(socket)
}

/// Connects, and waits at most [`PROMPT`] for room in the queue of an agent that is busy.
#[cfg(target_os = "linux")]
fn open(path: &Path) -> std::io::Result<UnixStream> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PROMPT))?;
    let address = SocketAddrUnix::new(path)?;
    rustix::io::retry_on_intr(|| connect(&socket, &address))?;
    Ok(socket.into())
}

/// Connects. An agent with a full queue refuses here.
#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> std::io::Result<UnixStream> {
    UnixStream::connect(path)
}
