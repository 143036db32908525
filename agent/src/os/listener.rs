//! The agent's socket: one agent per user, in a folder closed to others.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

use listenfd::ListenFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, chmodat, flock, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use ticketapi::agent::socket::{Folder, Unusable, is_same_user, place};
use ticketapi::{Config, Error, ErrorKind, Result, Stage};
use tracing::{debug, warn};

use super::{Poller, Stream, failed};

/// How many connections may wait to be accepted.
const QUEUE: i32 = 1024;

/// The socket that programs connect to, and the lock that prevents a second agent.
pub(crate) struct Listener {
    socket: UnixListener,
    folder: Folder,
    name: OsString,
    /// The file to remove at the end; `None` if the service manager created it.
    made: Option<u64>,
    _lock: Lock,
}

impl Listener {
    /// Takes the service manager's socket, or creates one where the settings say.
    pub(crate) fn open(config: &Config, _: &Poller) -> Result<Self> {
        match ListenFd::from_env().take_unix_listener(0) {
            Ok(Some(socket)) => Self::given(socket),
            Ok(None) => Self::make(&place(&config.into())?),
            Err(error) => Err(failed(format!("the service manager gave no socket to listen at: {error}"))),
        }
    }

    fn given(socket: UnixListener) -> Result<Self> {
        let address = socket.local_addr().ok();
        let path = address.as_ref().and_then(|address| address.as_pathname());
        let (folder, name) = path.and_then(parts).ok_or_else(|| failed("the service manager's socket has no path"))?;
        let folder = Folder::open(folder).map_err(unusable)?;
        let lock = lock(&folder, name)?;
        Self::with(socket, folder, name, lock, None)
    }

    fn make(path: &Path) -> Result<Self> {
        let cannot = |error: io::Error| failed(format!("{} cannot be made: {error}", path.display()));
        let (folder, name) = parts(path).ok_or_else(|| cannot(io::ErrorKind::InvalidInput.into()))?;
        // Created under another name until it listens and is closed to others: programs may be waiting for it.
        let new = path.with_extension("new");
        if [path, &new].iter().any(|path| SocketAddrUnix::new(*path).is_err()) {
            let detail = format!("agent_socket: a socket cannot have a path as long as {}", path.display());
            return Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder).or_else(|error| match error.kind() {
            // An existing file is examined below.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(cannot(error)),
        })?;
        let folder = Folder::open(folder).map_err(unusable)?;
        let lock = lock(&folder, name)?;
        match folder.check_socket(name) {
            // Its creator did not remove it and holds no lock: it has crashed.
            Err(Unusable::Absent(_)) | Ok(()) => {}
            Err(other) => return Err(unusable(other)),
        }
        let new_name = new.file_name().unwrap_or(name);
        let _ = unlinkat(&folder, new_name, AtFlags::empty());
        let socket = UnixListener::bind(&new).map_err(cannot)?;
        chmodat(&folder, new_name, Mode::RUSR | Mode::WUSR, AtFlags::empty())
            .and_then(|()| renameat(&folder, new_name, &folder, name))
            .map_err(|errno| cannot(errno.into()))?;
        let made = inode(&folder, name);
        Self::with(socket, folder, name, lock, made)
    }

    fn with(socket: UnixListener, folder: Folder, name: &OsStr, lock: Lock, made: Option<u64>) -> Result<Self> {
        folder.check_socket(name).map_err(unusable)?;
        let prepared = socket.set_nonblocking(true).and_then(|()| Ok(rustix::net::listen(&socket, QUEUE)?));
        prepared.map_err(|error| failed(format!("the agent cannot listen: {error}")))?;
        Ok(Self { socket, folder, name: name.to_owned(), made, _lock: lock })
    }

    /// Accepts the next program of the same user; `None` if none waits.
    pub(crate) fn accept(&mut self) -> io::Result<Option<Stream>> {
        loop {
            match self.socket.accept() {
                Ok((socket, _)) if is_same_user(&socket).unwrap_or(false) => return Ok(Some(Stream(socket))),
                // Another user gets no answer.
                Ok(_) => warn!("another user's program was turned away"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // It disconnected before it was accepted.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another agent's socket may be there by now.
        if self.made.is_some() && self.made == inode(&self.folder, &self.name) {
            let removed = unlinkat(&self.folder, &*self.name, AtFlags::empty());
            debug!(?removed, "socket removed");
        }
    }
}

/// A locked file that names this process.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it is not enough: a child that another thread has just started holds it until its exec.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Prevents other agents until it is dropped.
fn lock(folder: &Folder, socket: &OsStr) -> Result<Lock> {
    let name = PathBuf::from(socket).with_extension("lock");
    let cannot = |error: io::Error| failed(format!("the lock {} cannot be used: {error}", name.display()));
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, &name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| cannot(errno.into()))?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    let mut file = File::from(file);
    match locked {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut process = String::new();
            let _ = (&file).take(20).read_to_string(&mut process);
            let process = match process.trim() {
                // The other agent has only just started.
                "" => String::new(),
                process => format!(" (process {process})"),
            };
            let detail = format!("an agent is running already{process}");
            return Err(Error::new(ErrorKind::AgentRunning, Stage::Session, detail));
        }
        Err(errno) => return Err(cannot(errno.into())),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", process::id())).map_err(cannot)?;
    Ok(Lock(file))
}

fn parts(path: &Path) -> Option<(&Path, &OsStr)> {
    path.parent().zip(path.file_name())
}

fn inode(folder: &Folder, name: &OsStr) -> Option<u64> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_ino)
}

fn unusable(why: Unusable) -> Error {
    failed(format!("the agent cannot listen: {why}"))
}
