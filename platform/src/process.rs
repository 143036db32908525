//! Processes that inherit only the handles that are meant for them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::ptr;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation,
};
use windows_sys::Win32::System::Console::{STD_INPUT_HANDLE, SetStdHandle};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_UNICODE_ENVIRONMENT, CreateProcessW, DETACHED_PROCESS,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, GetCurrentProcess, GetExitCodeProcess, GetProcessId,
    InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
    PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW, TerminateProcess, UpdateProcThreadAttribute,
};

use windows_sys::Win32::UI::WindowsAndMessaging::AllowSetForegroundWindow;

use crate::check;
use crate::event::wait_any;

/// A child process.
#[derive(Debug)]
pub struct Process(OwnedHandle);

impl Process {
    /// Starts `command`'s program, an absolute path, with its arguments, environment and folder, and with `stdin` and
    /// `stdout` or nothing as its standard input and output. It has no window, no console unless it has an output, and
    /// inherits no other handle.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(
        command: &Command,
        stdin: Option<BorrowedHandle<'_>>,
        stdout: Option<BorrowedHandle<'_>>,
    ) -> io::Result<Self> {
        // A console, even without a window, is another process, which takes longer to start than ours.
        let console = if stdout.is_some() { CREATE_NO_WINDOW } else { DETACHED_PROCESS };
        let nothing: OwnedHandle = OpenOptions::new().read(true).write(true).open("NUL")?.into();
        let inherited = [stdin, stdout, None].map(|handle| inheritable(handle.unwrap_or_else(|| nothing.as_handle())));
        let [stdin, stdout, stderr] = inherited;
        let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
        let mut handles = [&stdin, &stdout, &stderr].map(AsRawHandle::as_raw_handle);
        let attributes = Attributes::with_handles(&mut handles)?;

        let program = crate::wide(command.get_program())?;
        let mut line = command_line(command)?;
        let environment = environment(command);
        let folder = command.get_current_dir().map(|folder| crate::wide(folder.as_os_str())).transpose()?;
        let mut startup = STARTUPINFOEXW::default();
        startup.StartupInfo.cb = mem::size_of::<STARTUPINFOEXW>() as u32;
        startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
        [startup.StartupInfo.hStdInput, startup.StartupInfo.hStdOutput, startup.StartupInfo.hStdError] = handles;
        startup.lpAttributeList = attributes.list();
        let mut started = PROCESS_INFORMATION::default();
        let flags = EXTENDED_STARTUPINFO_PRESENT | CREATE_UNICODE_ENVIRONMENT | CREATE_NEW_PROCESS_GROUP | console;
        // SAFETY: all texts end with a zero, the environment with two, and everything lives until the call returns;
        // `cb` says that the structure is the extended one.
        check(unsafe {
            CreateProcessW(
                program.as_ptr(),
                line.as_mut_ptr(),
                ptr::null(),
                ptr::null(),
                1,
                flags,
                environment.as_ref().map_or(ptr::null(), |environment| environment.as_ptr().cast()),
                folder.as_ref().map_or(ptr::null(), |folder| folder.as_ptr()),
                ptr::addr_of!(startup).cast(),
                &mut started,
            )
        })?;
        // SAFETY: both handles are new and belong to nobody else.
        unsafe {
            drop(OwnedHandle::from_raw_handle(started.hThread));
            Ok(Self(OwnedHandle::from_raw_handle(started.hProcess)))
        }
    }

    /// Returns how it ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_until(Some(Instant::now()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// Waits for its end for at most `time`; `None` if it runs on.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn wait_for(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        self.wait_until(Instant::now().checked_add(time))
    }

    fn wait_until(&mut self, until: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        if wait_any(&[self.0.as_handle()], until)?.is_none() {
            return Ok(None);
        }
        let mut code = 0;
        // SAFETY: the handle is a process's and open, and `code` is writable.
        check(unsafe { GetExitCodeProcess(self.0.as_raw_handle(), &mut code) })?;
        Ok(Some(ExitStatus::from_raw(code)))
    }

    /// Lets its windows come to the front, as far as this process may have its own there.
    pub fn let_come_to_front(&self) {
        // SAFETY: the handle is a process's and open. It fails if another program is in front.
        unsafe { AllowSetForegroundWindow(GetProcessId(self.0.as_raw_handle())) };
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        // SAFETY: the handle is a process's and open.
        check(unsafe { TerminateProcess(self.0.as_raw_handle(), 1) })
    }
}

/// Ends this process at once, without the exit handlers of its libraries.
pub fn vanish() -> ! {
    // SAFETY: the process is this one.
    unsafe { TerminateProcess(GetCurrentProcess(), 0) };
    std::process::abort()
}

/// Returns this process's standard input, and puts nothing in its place, so that no library finds it there.
///
/// # Errors
///
/// If there is none.
pub fn take_standard_input() -> io::Result<OwnedHandle> {
    let input = io::stdin().as_handle().try_clone_to_owned()?;
    let nothing = File::open("NUL")?;
    // SAFETY: the handle stays open: it is never closed.
    check(unsafe { SetStdHandle(STD_INPUT_HANDLE, nothing.as_raw_handle()) })?;
    mem::forget(nothing);
    Ok(input)
}

/// Keeps `handle` from being inherited, or lets it be.
///
/// # Errors
///
/// If the handle is not open.
pub fn set_inheritable(handle: BorrowedHandle<'_>, inherited: bool) -> io::Result<()> {
    let flag = if inherited { HANDLE_FLAG_INHERIT } else { 0 };
    // SAFETY: the borrow keeps the handle open.
    check(unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, flag) })
}

/// Returns a copy that a child can inherit. Another thread of the host may start a child meanwhile that inherits
/// everything, so the copy lives only for a moment.
fn inheritable(handle: BorrowedHandle<'_>) -> io::Result<OwnedHandle> {
    let mut copy = ptr::null_mut();
    // SAFETY: both processes are this one, the borrow keeps the handle open, and `copy` is writable.
    check(unsafe {
        let this = GetCurrentProcess();
        DuplicateHandle(this, handle.as_raw_handle(), this, &mut copy, 0, 1, DUPLICATE_SAME_ACCESS)
    })?;
    // SAFETY: the handle is new and belongs to nobody else.
    Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
}

/// A list of attributes for a new process.
struct Attributes(Vec<usize>);

impl Attributes {
    /// With the only handles that it inherits, which must live as long as this.
    fn with_handles(handles: &mut [HANDLE]) -> io::Result<Self> {
        let mut size = 0;
        // SAFETY: a null list asks for the size.
        unsafe { InitializeProcThreadAttributeList(ptr::null_mut(), 1, 0, &mut size) };
        let attributes = Self(vec![0; size.div_ceil(mem::size_of::<usize>())]);
        // SAFETY: the list has the size that was asked for.
        if unsafe { InitializeProcThreadAttributeList(attributes.list(), 1, 0, &mut size) } == 0 {
            let error = io::Error::last_os_error();
            // It must not be deleted.
            mem::forget(attributes);
            return Err(error);
        }
        // SAFETY: the list is initialised with room for one attribute, and the caller keeps the handles.
        check(unsafe {
            UpdateProcThreadAttribute(
                attributes.list(),
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast::<c_void>(),
                mem::size_of_val(handles),
                ptr::null_mut(),
                ptr::null(),
            )
        })?;
        Ok(attributes)
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.0.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the list was initialised.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

/// Returns the command line, from which the program gets the same arguments if it follows the rules of Microsoft's C
/// library. Words that need no quotes have none, for programs that follow others, such as `cmd` and `rundll32`.
fn command_line(command: &Command) -> io::Result<Vec<u16>> {
    let mut line = Vec::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        if !line.is_empty() {
            line.push(u16::from(b' '));
        }
        quote(word, &mut line);
    }
    if line.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an argument contains a zero"));
    }
    line.push(0);
    Ok(line)
}

fn quote(word: &OsStr, line: &mut Vec<u16>) {
    const QUOTE: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    let is_special = |unit| [u16::from(b' '), u16::from(b'\t'), QUOTE].contains(&unit);
    if !line.is_empty() && !word.is_empty() && !word.encode_wide().any(is_special) {
        line.extend(word.encode_wide());
        return;
    }
    line.push(QUOTE);
    let mut backslashes = 0;
    for unit in word.encode_wide() {
        if unit == QUOTE {
            // Those before a quote count twice, and it needs one more.
            line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
        }
        backslashes = if unit == BACKSLASH { backslashes + 1 } else { 0 };
        line.push(unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}

/// Returns the environment if `command` changes it; `None` for this process's.
fn environment(command: &Command) -> Option<Vec<u16>> {
    let mut changes = command.get_envs().peekable();
    changes.peek()?;
    // Names differ by more than case, and are sorted so.
    let key = |name: &OsStr| OsString::from(name.to_string_lossy().to_uppercase());
    let mut variables: BTreeMap<OsString, (OsString, OsString)> =
        std::env::vars_os().map(|(name, value)| (key(&name), (name, value))).collect();
    for (name, value) in changes {
        match value {
            Some(value) => drop(variables.insert(key(name), (name.to_owned(), value.to_owned()))),
            None => drop(variables.remove(&key(name))),
        }
    }
    let mut block = Vec::new();
    for (name, value) in variables.into_values() {
        block.extend(name.encode_wide().chain([u16::from(b'=')]).chain(value.encode_wide()).filter(|&unit| unit != 0));
        block.push(0);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    Some(block)
}

#[cfg(test)]
mod tests {
    use std::os::windows::ffi::OsStringExt;

    use super::*;

    #[test]
    fn arguments_are_quoted_as_the_c_library_reads_them() {
        let mut line = Vec::new();
        for word in ["program", "a b", r"c:\x\", r"c:\x y\", r#"say "no""#, "", r#"\""#] {
            quote(OsStr::new(word), &mut line);
            line.push(u16::from(b' '));
        }
        let line = OsString::from_wide(&line).into_string().unwrap();
        assert_eq!(line, r#""program" "a b" c:\x\ "c:\x y\\" "say \"no\"" "" "\\\"" "#);
    }

    #[test]
    fn a_child_has_its_arguments_its_input_and_a_status() {
        let mut command = Command::new(r"C:\windows\system32\cmd.exe");
        command.args(["/c", "exit", "7"]);
        let mut child = Process::start(&command, None, None).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7));
        child.kill().unwrap();
        let (ours, theirs) = crate::pipe::Pipe::pair().unwrap();
        let mut command = Command::new(r"C:\windows\system32\cmd.exe");
        command.args(["/c", "echo", "%TICKETAPI_TEST%"]).env("TICKETAPI_TEST", "from the environment");
        let mut child = Process::start(&command, None, Some(theirs.as_handle())).unwrap();
        drop(theirs);
        assert!(child.wait().unwrap().success());
        let mut buffer = [0; 100];
        ours.until_readable(&[], None).unwrap();
        let count = ours.receive(&mut buffer).unwrap();
        assert!(String::from_utf8_lossy(&buffer[..count]).contains("from the environment"));
    }
}
