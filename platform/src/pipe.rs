//! A named pipe between two processes, with what a socket has and pipes lack: deadlines, waiting, and ending a wait
//! from another thread. It needs no thread.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::Shutdown;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_BROKEN_PIPE, ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, ERROR_NO_DATA,
    ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_FLAGS_AND_ATTRIBUTES, OPEN_EXISTING,
    PIPE_ACCESS_DUPLEX, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_NOWAIT, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
    PeekNamedPipe, SetNamedPipeHandleState,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;
use zeroize::Zeroize;

use crate::event::{Event, wait_any};
use crate::security::{Descriptor, random};

/// The system's buffer for each direction, and ours for reading.
pub(crate) const BUFFER: u32 = 64 << 10;

/// How often to check a pipe with unread bytes for its end.
const INTERVAL: Duration = Duration::from_millis(50);

/// One end of a pipe.
pub struct Pipe {
    handle: OwnedHandle,
    reading: Mutex<Reading>,
    /// Set when a read has ended.
    arrived: Event,
    writing: Mutex<Event>,
    input_closed: AtomicBool,
    output_closed: AtomicBool,
    /// Set when this end was shut down.
    shut_down: Event,
}

/// A read, whose buffer and `OVERLAPPED` the system uses while it is pending: they must stay where they are.
struct Reading {
    overlapped: Box<OVERLAPPED>,
    buffer: Box<[u8]>,
    state: State,
}

// SAFETY: the pointers within an OVERLAPPED are the system's own, and any thread may ask for its result.
unsafe impl Send for Reading {}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Idle,
    Pending,
    /// These bytes of the buffer have not been taken.
    Ready(usize, usize),
    Ended,
}

impl Pipe {
    /// Returns both ends of a new pipe: ours, and the one for a child, which has to be given to it explicitly. Only
    /// this user can open the pipe, from this computer, and no third time.
    ///
    /// # Errors
    ///
    /// If the system has no room for it.
    pub fn pair() -> io::Result<(Self, OwnedHandle)> {
        Self::pair_with(FILE_FLAG_OVERLAPPED)
    }

    /// As [`Pipe::pair`], with an end for a child that knows nothing of overlapped operations, such as a program that
    /// uses it as its standard input or output. Such an end either reads or writes at any time.
    ///
    /// # Errors
    ///
    /// If the system has no room for it.
    pub fn pair_for_stdio() -> io::Result<(Self, OwnedHandle)> {
        Self::pair_with(0)
    }

    fn pair_with(flags: FILE_FLAGS_AND_ATTRIBUTES) -> io::Result<(Self, OwnedHandle)> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(r"\\.\pipe\ticketapi-{}-{number}-{:032x}", std::process::id(), random()?);
        let name = super::wide(name.as_ref())?;
        let security = Descriptor::of_this_user()?;
        let attributes = security.attributes();
        // SAFETY: the name ends with a zero, and the attributes live until the call returns.
        let server = unsafe {
            CreateNamedPipeW(
                name.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                1,
                BUFFER,
                BUFFER,
                0,
                &attributes,
            )
        };
        let server = owned(server)?;
        // SAFETY: the name ends with a zero; null stands for the default security and for no template.
        let client = unsafe {
            CreateFileW(
                name.as_ptr(),
                GENERIC_READ | GENERIC_WRITE,
                0,
                ptr::null(),
                OPEN_EXISTING,
                flags | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                ptr::null_mut(),
            )
        };
        Ok((Self::from_handle(server)?, owned(client)?))
    }

    /// Uses `handle`, an end of a pipe that was opened for overlapped operations.
    ///
    /// # Errors
    ///
    /// If the system has no room for the events.
    pub fn from_handle(handle: OwnedHandle) -> io::Result<Self> {
        Self::with_room(handle, BUFFER as usize)
    }

    /// As [`Pipe::from_handle`], for reading at most `room` bytes at once.
    pub(crate) fn with_room(handle: OwnedHandle, room: usize) -> io::Result<Self> {
        let reading =
            Reading { overlapped: Box::default(), buffer: vec![0; room].into_boxed_slice(), state: State::Idle };
        Ok(Self {
            handle,
            reading: Mutex::new(reading),
            arrived: Event::new()?,
            writing: Mutex::new(Event::new()?),
            input_closed: AtomicBool::new(false),
            output_closed: AtomicBool::new(false),
            shut_down: Event::new()?,
        })
    }

    /// Returns a copy of the handle, for a process that continues in this one's place.
    ///
    /// # Errors
    ///
    /// If the system has no room for it.
    pub fn copy_handle(&self) -> io::Result<OwnedHandle> {
        let mut copy = ptr::null_mut();
        // SAFETY: both processes are this one, the handle is open, and `copy` is writable.
        super::check(unsafe {
            let this = GetCurrentProcess();
            DuplicateHandle(this, self.handle.as_raw_handle(), this, &mut copy, 0, 0, DUPLICATE_SAME_ACCESS)
        })?;
        // SAFETY: the handle is new and belongs to nobody else.
        Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
    }

    /// Reads available bytes; returns 0 at the end, or after this side was shut down.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](ErrorKind::WouldBlock) while nothing is there.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut reading = self.lock();
        loop {
            match reading.state {
                State::Ready(start, end) => {
                    let count = buffer.len().min(end - start);
                    let taken = &mut reading.buffer[start..start + count];
                    buffer[..count].copy_from_slice(taken);
                    taken.zeroize();
                    reading.state = if start + count == end { State::Idle } else { State::Ready(start + count, end) };
                    return Ok(count);
                }
                State::Ended => return Ok(0),
                State::Idle if self.input_closed.load(Ordering::Acquire) => return Ok(0),
                State::Idle => self.begin(&mut reading)?,
                State::Pending => {
                    if !self.finish(&mut reading)? {
                        let closed = self.input_closed.load(Ordering::Acquire);
                        return if closed { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
                    }
                }
            }
        }
    }

    fn begin(&self, reading: &mut Reading) -> io::Result<()> {
        self.arrived.reset();
        *reading.overlapped = OVERLAPPED { hEvent: self.arrived.raw(), ..OVERLAPPED::default() };
        let length = reading.buffer.len() as u32;
        // SAFETY: buffer and OVERLAPPED are on the heap and remain there, unused by others, until the read has ended:
        // only `finish` leaves `Pending`, and `drop` cancels the read and waits for its end.
        let begun = unsafe {
            ReadFile(
                self.handle.as_raw_handle(),
                reading.buffer.as_mut_ptr(),
                length,
                ptr::null_mut(),
                &mut *reading.overlapped,
            )
        };
        let error = io::Error::last_os_error();
        if begun != 0 || is(&error, ERROR_IO_PENDING) {
            reading.state = State::Pending;
            return Ok(());
        }
        // No event follows a call that fails at once.
        self.arrived.set();
        reading.state = State::Ended;
        if is_end(&error) { Ok(()) } else { Err(error) }
    }

    /// Takes over the result of a pending read; returns `false` while there is none.
    fn finish(&self, reading: &mut Reading) -> io::Result<bool> {
        let mut count = 0;
        // SAFETY: the read was begun with this handle and OVERLAPPED, and `count` is writable.
        let ended = unsafe { GetOverlappedResult(self.handle.as_raw_handle(), &*reading.overlapped, &mut count, 0) };
        let error = io::Error::last_os_error();
        reading.state = match ended {
            0 if is(&error, ERROR_IO_INCOMPLETE) => return Ok(false),
            // The thread that began it has ended.
            0 if is(&error, ERROR_OPERATION_ABORTED) => State::Idle,
            0 => State::Ended,
            _ if count == 0 => State::Idle,
            _ => State::Ready(0, count as usize),
        };
        if ended == 0 && reading.state == State::Ended && !is_end(&error) { Err(error) } else { Ok(true) }
    }

    /// Sends all `bytes`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) if the other side has not read them by `until`; then part of them is lost.
    /// [`BrokenPipe`](ErrorKind::BrokenPipe) if there is no other side.
    pub fn send_all(&self, bytes: &[u8], until: Option<Instant>) -> io::Result<()> {
        let written = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.output_closed.load(Ordering::Acquire) {
                return Err(ErrorKind::BrokenPipe.into());
            }
            rest = &rest[self.send_some(rest, until, &written)?..];
        }
        Ok(())
    }

    fn send_some(&self, bytes: &[u8], until: Option<Instant>, written: &Event) -> io::Result<usize> {
        written.reset();
        let mut overlapped = OVERLAPPED { hEvent: written.raw(), ..OVERLAPPED::default() };
        let handle = self.handle.as_raw_handle();
        let length = u32::try_from(bytes.len()).unwrap_or(BUFFER);
        let mut count = 0;
        // SAFETY: `bytes` and `overlapped` live until this function returns, which waits for the end of the write.
        let begun = unsafe { WriteFile(handle, bytes.as_ptr(), length, ptr::null_mut(), &mut overlapped) };
        let error = io::Error::last_os_error();
        if begun == 0 && !is(&error, ERROR_IO_PENDING) {
            return Err(if is_end(&error) { ErrorKind::BrokenPipe.into() } else { error });
        }
        let waited = wait_any(&[written.as_handle(), self.shut_down.as_handle()], until);
        let finished = matches!(waited, Ok(Some(0)));
        if !finished {
            // SAFETY: the handle is open. It fails if the write has just ended.
            unsafe { CancelIoEx(handle, &overlapped) };
        }
        // SAFETY: as above; it waits for the end.
        let ended = unsafe { GetOverlappedResult(handle, &overlapped, &mut count, 1) };
        let error = io::Error::last_os_error();
        match ended {
            0 if is(&error, ERROR_OPERATION_ABORTED) && !finished => match waited {
                Ok(None) => Err(ErrorKind::TimedOut.into()),
                _ => Err(ErrorKind::BrokenPipe.into()),
            },
            0 if is_end(&error) => Err(ErrorKind::BrokenPipe.into()),
            0 => Err(error),
            _ => Ok(count as usize),
        }
    }

    /// Waits until bytes or the end can be read, or this side was shut down, or one of `others` is signalled.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) when `until` has passed.
    pub fn until_readable(&self, others: &[BorrowedHandle<'_>], until: Option<Instant>) -> io::Result<()> {
        if self.is_readable()? {
            return Ok(());
        }
        let handles: Vec<_> =
            [self.arrived.as_handle(), self.shut_down.as_handle()].into_iter().chain(others.iter().copied()).collect();
        wait_any(&handles, until)?.map(drop).ok_or_else(|| ErrorKind::TimedOut.into())
    }

    /// Returns `true` if bytes or the end can be read; otherwise has a read begun.
    pub(crate) fn is_readable(&self) -> io::Result<bool> {
        if self.input_closed.load(Ordering::Acquire) {
            return Ok(true);
        }
        let mut reading = self.lock();
        loop {
            match reading.state {
                State::Ready(..) | State::Ended => return Ok(true),
                State::Idle => self.begin(&mut reading)?,
                State::Pending => {
                    if !self.finish(&mut reading)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Returns `true` if the other end is closed, also if bytes that it sent have not been read.
    pub(crate) fn is_closed(&self) -> bool {
        match self.is_readable() {
            Err(_) => true,
            Ok(false) => false,
            Ok(true) => {
                let mut count = 0;
                let (none, handle) = (ptr::null_mut(), self.raw());
                // SAFETY: the handle is open, `count` is writable, and nothing else is asked for.
                let there = unsafe { PeekNamedPipe(handle, none, 0, none.cast(), &mut count, none.cast()) };
                self.lock().state == State::Ended || there == 0
            }
        }
    }

    pub(crate) fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Waits until the other end is closed, without taking any bytes. Returns `false` once `until` has passed.
    pub fn until_closed(&self, until: Option<Instant>) -> bool {
        loop {
            let readable = self.is_readable();
            if readable.is_err() || self.lock().state == State::Ended {
                return true;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return false;
            }
            if matches!(readable, Ok(true)) {
                // Somebody else reads these bytes, or never will.
                std::thread::sleep(INTERVAL);
            } else {
                let _ = self.until_readable(&[], until);
            }
        }
    }

    /// Ends one or both directions for this end, and every wait for them. The other end sees nothing of it before
    /// this end is closed.
    ///
    /// # Errors
    ///
    /// None; sockets have some.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Write {
            self.input_closed.store(true, Ordering::Release);
        }
        if how != Shutdown::Read {
            self.output_closed.store(true, Ordering::Release);
        }
        self.shut_down.set();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let reading = self.reading.get_mut().unwrap_or_else(PoisonError::into_inner);
        if reading.state == State::Pending {
            let mut count = 0;
            // SAFETY: the handle is open, and the read was begun with this OVERLAPPED; the second call waits for its
            // end, after which the system uses neither it nor the buffer.
            unsafe {
                CancelIoEx(self.handle.as_raw_handle(), &*reading.overlapped);
                GetOverlappedResult(self.handle.as_raw_handle(), &*reading.overlapped, &mut count, 1);
            }
        }
        mem::take(&mut reading.buffer).zeroize();
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Has reading from and writing to an end of an anonymous pipe never block.
///
/// # Errors
///
/// If it is no pipe.
pub fn set_nonblocking(end: BorrowedHandle<'_>) -> io::Result<()> {
    let mode = PIPE_READMODE_BYTE | PIPE_NOWAIT;
    // SAFETY: the borrow keeps the handle open; null leaves the other properties as they are.
    super::check(unsafe { SetNamedPipeHandleState(end.as_raw_handle(), &mode, ptr::null(), ptr::null()) })
}

pub(crate) fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new and belongs to nobody else.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

pub(crate) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == i32::try_from(code).ok()
}

pub(crate) fn is_end(error: &io::Error) -> bool {
    [ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED].iter().any(|&code| is(error, code))
}

#[cfg(test)]
mod tests;
