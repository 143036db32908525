//! A pipe that other programs of the user find by its name: the agent's. One process listens there, and serves all
//! its connections on one thread.

use std::io::{self, ErrorKind};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::process;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, ERROR_IO_INCOMPLETE, ERROR_IO_PENDING,
    ERROR_NO_DATA, ERROR_PATH_NOT_FOUND, ERROR_PIPE_BUSY, ERROR_PIPE_CONNECTED, GENERIC_READ, GENERIC_WRITE, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_DUPLEX,
    SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, GetNamedPipeClientProcessId, GetNamedPipeServerProcessId, PIPE_READMODE_BYTE,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES, PIPE_WAIT, WaitNamedPipeW,
};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::Win32::System::Threading::{CreateMutexW, INFINITE};
use zeroize::Zeroizing;

use crate::check;
use crate::event::Event;
use crate::pipe::{BUFFER, Pipe, is, is_end, owned};
use crate::security::{Descriptor, Identity, owner};

mod port;
pub use port::Port;

/// Where pipes of this computer are.
const PREFIX: &str = r"\\.\pipe\";

/// How many bytes of a program are read at once. There may be hundreds of them.
const ROOM: usize = 8 << 10;

/// Returns the name of the agent's pipe: its desktop session and its user are in it.
///
/// # Errors
///
/// If the system does not tell them.
pub fn default_name() -> io::Result<PathBuf> {
    let mut session = 0;
    // SAFETY: `session` is writable.
    check(unsafe { ProcessIdToSessionId(process::id(), &mut session) })?;
    let user = crate::security::user_sid()?;
    Ok(format!("{PREFIX}ticketapi-{session}-{user}").into())
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Refused {
    /// The path is not that of a pipe of this computer.
    NoPipe,
    /// Nobody listens there.
    Absent,
    /// Whoever listens there is busy.
    Busy,
    /// Another user owns the pipe, or runs the process that listens.
    Stranger,
    /// The process that listens has a lower integrity level than this one.
    Confined,
    /// The system refuses.
    System(io::Error),
}

/// Connects to the pipe `name` of a process of this user, and waits until `until` for one that is busy.
///
/// # Errors
///
/// [`Refused`].
pub fn connect(name: &Path, until: Instant) -> Result<Pipe, Refused> {
    let (handle, _) = open(name, until)?;
    Pipe::from_handle(handle).map_err(Refused::System)
}

/// Returns the process that listens there, by the rules of [`connect`].
fn listening_process(name: &Path) -> Option<u32> {
    open(name, Instant::now() + Duration::from_secs(1)).ok().map(|(_, process)| process)
}

fn open(name: &Path, until: Instant) -> Result<(OwnedHandle, u32), Refused> {
    let wide = wide_name(name)?;
    let handle = loop {
        // SAFETY: the name ends with a zero; null stands for the default security and for no template.
        let handle = unsafe {
            CreateFileW(
                wide.as_ptr(),
                GENERIC_READ | GENERIC_WRITE,
                0,
                ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                ptr::null_mut(),
            )
        };
        match owned(handle) {
            Ok(handle) => break handle,
            Err(error) if is(&error, ERROR_FILE_NOT_FOUND) || is(&error, ERROR_PATH_NOT_FOUND) => {
                return Err(Refused::Absent);
            }
            Err(error) if is(&error, ERROR_PIPE_BUSY) => {
                let left = until.saturating_duration_since(Instant::now()).as_millis();
                if left == 0 {
                    return Err(Refused::Busy);
                }
                // The next attempt finds out how this ended.
                // SAFETY: the name ends with a zero.
                unsafe { WaitNamedPipeW(wide.as_ptr(), u32::try_from(left).unwrap_or(INFINITE - 1)) };
            }
            Err(error) => return Err(Refused::System(error)),
        }
    };
    let process = check_server(handle.as_raw_handle())?;
    Ok((handle, process))
}

/// Returns the process that listens, if it is this user's and no easier to take over than this one.
fn check_server(handle: HANDLE) -> Result<u32, Refused> {
    let me = Identity::of_this_process().map_err(Refused::System)?;
    if owner(handle).map_err(Refused::System)? != me.user {
        return Err(Refused::Stranger);
    }
    let mut process = 0;
    // SAFETY: the handle is open, and `process` is writable.
    check(unsafe { GetNamedPipeServerProcessId(handle, &mut process) }).map_err(Refused::System)?;
    let its = Identity::of_process(process).map_err(Refused::System)?;
    match its {
        its if its.user != me.user => Err(Refused::Stranger),
        its if its.integrity < me.integrity => Err(Refused::Confined),
        _ => Ok(process),
    }
}

/// Opening another path would have effects of its own.
fn wide_name(name: &Path) -> Result<Vec<u16>, Refused> {
    let text = name.to_str().and_then(|name| name.get(..PREFIX.len()));
    if !text.is_some_and(|text| text.eq_ignore_ascii_case(PREFIX)) {
        return Err(Refused::NoPipe);
    }
    crate::wide(name.as_os_str()).map_err(Refused::System)
}

/// Why nobody can listen there.
#[derive(Debug)]
pub enum Occupied {
    /// The path is not that of a pipe of this computer.
    NoPipe,
    /// A process of this user listens there; its number, if it can be told.
    Running(Option<u32>),
    /// Another user's process has created the pipe.
    Taken,
    /// The system refuses.
    System(io::Error),
}

impl From<io::Error> for Occupied {
    fn from(error: io::Error) -> Self {
        if is(&error, ERROR_ACCESS_DENIED) { Self::Taken } else { Self::System(error) }
    }
}

/// The end of a pipe that programs connect to. There is one for each name.
pub struct Listener {
    name: Vec<u16>,
    security: Descriptor,
    port: Arc<Port>,
    user: &'static str,
    /// For the next program.
    next: Instance,
    _only: OwnedHandle,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("name", &String::from_utf16_lossy(&self.name)).finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens at `name` for programs of this user's logon session, and has connections reported to `port`.
    ///
    /// # Errors
    ///
    /// [`Occupied`].
    pub fn open(name: &Path, port: Arc<Port>) -> Result<Self, Occupied> {
        let wide = wide_name(name).map_err(|refused| match refused {
            Refused::System(error) => Occupied::System(error),
            _ => Occupied::NoPipe,
        })?;
        let security = Descriptor::of_this_logon().map_err(Occupied::System)?;
        let only = match only(name, &security)? {
            Some(only) => only,
            None => return Err(Occupied::Running(listening_process(name))),
        };
        let user = crate::security::user_sid().map_err(Occupied::System)?;
        // The name outlives an agent that has crashed until the last program has noticed; then there is no first one.
        let next = match Instance::new(&wide, &security, FILE_FLAG_FIRST_PIPE_INSTANCE, &port) {
            Err(error) if is(&error, ERROR_ACCESS_DENIED) => Instance::new(&wide, &security, 0, &port)?,
            next => next?,
        };
        // Whoever created the pipe chose who owns it and who may use it.
        if owner(next.raw()).map_err(Occupied::System)? != user {
            return Err(Occupied::Taken);
        }
        Ok(Self { name: wide, security, port, user, next, _only: only })
    }

    /// Returns the next connection; `None` if no program waits.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) for another user's program, which is turned away; others if
    /// the system has no room for more.
    pub fn accept(&mut self) -> io::Result<Option<Connection>> {
        if !self.next.is_connected() {
            return Ok(None);
        }
        // First, so that the name is never free.
        let next = Instance::new(&self.name, &self.security, 0, &self.port)?;
        let handle = std::mem::replace(&mut self.next, next).into_handle()?;
        let mut process = 0;
        // SAFETY: the handle is open, and `process` is writable.
        let its = check(unsafe { GetNamedPipeClientProcessId(handle.as_raw_handle(), &mut process) })
            .and_then(|()| Identity::of_process(process));
        if its.is_ok_and(|its| its.user == self.user) {
            let pipe = Pipe::with_room(handle, ROOM)?;
            return Ok(Some(Connection { pipe, writing: None }));
        }
        Err(ErrorKind::PermissionDenied.into())
    }

    /// Returns `true` if a program waits.
    pub fn is_ready(&mut self) -> bool {
        self.next.is_connected()
    }
}

/// Returns what only one process can have for `name`, and `None` if another has it.
fn only(name: &Path, security: &Descriptor) -> Result<Option<OwnedHandle>, Occupied> {
    let name = name.to_string_lossy()[PREFIX.len()..].to_lowercase().replace('\\', "/");
    let name = crate::wide(format!(r"Global\ticketapi-agent:{name}").as_ref()).map_err(Occupied::System)?;
    // SAFETY: the name ends with a zero, and the attributes live until the call returns.
    let mutex = unsafe { CreateMutexW(&security.attributes(), 0, name.as_ptr()) };
    let error = io::Error::last_os_error();
    if mutex.is_null() {
        return Err(error.into());
    }
    // SAFETY: the handle is new and belongs to nobody else.
    let mutex = unsafe { OwnedHandle::from_raw_handle(mutex) };
    if !is(&error, ERROR_ALREADY_EXISTS) {
        return Ok(Some(mutex));
    }
    let user = crate::security::user_sid().map_err(Occupied::System)?;
    if owner(mutex.as_raw_handle()).map_err(Occupied::System)? == user { Ok(None) } else { Err(Occupied::Taken) }
}

/// One end of the pipe, which waits for a program.
struct Instance {
    /// `None` once it was taken.
    handle: Option<OwnedHandle>,
    /// The system uses it while it waits: it must stay where it is.
    overlapped: Box<OVERLAPPED>,
    waits: bool,
    _connected: Event,
}

// SAFETY: the pointers within an OVERLAPPED are the system's own, and any thread may ask for its result.
unsafe impl Send for Instance {}

impl Instance {
    fn new(name: &[u16], security: &Descriptor, flags: u32, port: &Port) -> io::Result<Self> {
        // SAFETY: the name ends with a zero, and the attributes live until the call returns.
        let handle = owned(unsafe {
            CreateNamedPipeW(
                name.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | flags,
                PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                PIPE_UNLIMITED_INSTANCES,
                BUFFER,
                BUFFER,
                0,
                &security.attributes(),
            )
        })?;
        port.add(handle.as_raw_handle())?;
        let connected = Event::new()?;
        let overlapped = Box::new(OVERLAPPED { hEvent: connected.raw(), ..OVERLAPPED::default() });
        let mut instance = Self { handle: Some(handle), overlapped, waits: true, _connected: connected };
        let raw = instance.raw();
        // SAFETY: the handle is open, and the OVERLAPPED remains where it is until the operation has ended: `drop`
        // cancels it and waits for its end.
        let begun = unsafe { ConnectNamedPipe(raw, &mut *instance.overlapped) };
        let error = io::Error::last_os_error();
        if begun == 0 && !is(&error, ERROR_IO_PENDING) {
            instance.waits = false;
            if !is(&error, ERROR_PIPE_CONNECTED) && !is(&error, ERROR_NO_DATA) {
                return Err(error);
            }
        }
        Ok(instance)
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_ref().map_or(INVALID_HANDLE_VALUE, AsRawHandle::as_raw_handle)
    }

    /// Returns `true` once a program has connected. It may have left again.
    fn is_connected(&mut self) -> bool {
        self.waits = self.waits && !has_ended(self.raw(), &self.overlapped);
        !self.waits
    }

    /// Returns the connection.
    fn into_handle(mut self) -> io::Result<OwnedHandle> {
        self.handle.take().ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.waits && self.handle.is_some() {
            end(self.raw(), &self.overlapped);
        }
    }
}

/// Returns `true` unless the operation of this handle is pending.
fn has_ended(handle: HANDLE, overlapped: &OVERLAPPED) -> bool {
    let mut count = 0;
    // SAFETY: the callers began the operation with this handle and OVERLAPPED, and `count` is writable.
    let ended = unsafe { GetOverlappedResult(handle, overlapped, &mut count, 0) };
    ended != 0 || !is(&io::Error::last_os_error(), ERROR_IO_INCOMPLETE)
}

/// Cancels the operation and waits for its end, after which the system uses nothing of it.
fn end(handle: HANDLE, overlapped: &OVERLAPPED) {
    let mut count = 0;
    // SAFETY: as in `has_ended`.
    unsafe {
        CancelIoEx(handle, overlapped);
        GetOverlappedResult(handle, overlapped, &mut count, 1);
    }
}

/// A program's connection. No call waits.
#[derive(Debug)]
pub struct Connection {
    pipe: Pipe,
    writing: Option<Writing>,
}

/// Bytes that the system has not taken yet.
struct Writing {
    /// As in [`Instance`].
    overlapped: Box<OVERLAPPED>,
    bytes: Zeroizing<Vec<u8>>,
    _written: Event,
}

// SAFETY: as for `Instance`.
unsafe impl Send for Writing {}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads available bytes; returns 0 at the end.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](ErrorKind::WouldBlock) while nothing is there.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.receive(buffer)
    }

    /// Returns `true` if bytes or the end can be read; otherwise their arrival will be reported.
    pub fn is_readable(&self) -> bool {
        self.pipe.is_readable().unwrap_or(true)
    }

    /// Returns `true` if the program has left, also if bytes that it sent have not been read.
    pub fn is_closed(&self) -> bool {
        self.pipe.is_closed()
    }

    /// Returns `true` if [`Connection::send`] takes bytes; otherwise this will be reported.
    pub fn can_send(&self) -> bool {
        self.writing.as_ref().is_none_or(|writing| has_ended(self.pipe.raw(), &writing.overlapped))
    }

    /// Takes over the first of `bytes`, and returns how many. They are lost if this is dropped before the system has
    /// room for them.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](ErrorKind::WouldBlock) while there is no room; [`BrokenPipe`](ErrorKind::BrokenPipe).
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.can_send() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = Event::new()?;
        let overlapped = Box::new(OVERLAPPED { hEvent: written.raw(), ..OVERLAPPED::default() });
        let count = bytes.len().min(BUFFER as usize);
        let bytes = Zeroizing::new(bytes[..count].to_vec());
        let writing = self.writing.insert(Writing { overlapped, bytes, _written: written });
        // SAFETY: bytes and OVERLAPPED are on the heap and remain there until the write has ended: only this function
        // replaces them, and `drop` cancels the write and waits for its end.
        let begun = unsafe {
            WriteFile(self.pipe.raw(), writing.bytes.as_ptr(), count as u32, ptr::null_mut(), &mut *writing.overlapped)
        };
        let error = io::Error::last_os_error();
        if begun == 0 && !is(&error, ERROR_IO_PENDING) {
            self.writing = None;
            return Err(if is_end(&error) { ErrorKind::BrokenPipe.into() } else { error });
        }
        Ok(count)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(writing) = &self.writing {
            end(self.pipe.raw(), &writing.overlapped);
        }
    }
}

#[cfg(test)]
mod tests;
