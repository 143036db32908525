//! What happens to the desktop session and the console that this program runs in.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::System::RemoteDesktop::{NOTIFY_FOR_THIS_SESSION, WTSRegisterSessionNotification};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DefWindowProcW, DispatchMessageW, GetMessageW, MSG, PBT_APMRESUMEAUTOMATIC, RegisterClassW,
    WM_CLOSE, WM_ENDSESSION, WM_POWERBROADCAST, WM_WTSSESSION_CHANGE, WNDCLASSW, WTS_SESSION_LOCK, WTS_SESSION_UNLOCK,
};

/// What the system says last waits this long for the process to end by itself.
const ENDING: Duration = Duration::from_secs(60);

/// Calls `handler` on a thread of its own for every Ctrl-C and Ctrl-Break, and when the console, the session or the
/// computer is about to end: then the system ends this process within seconds. Can be used once in a process.
///
/// # Errors
///
/// If the system refuses.
pub fn on_control(handler: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    CONTROLS.set(Box::new(handler)).map_err(|_| io::ErrorKind::AlreadyExists)?;
    // SAFETY: the function has the form that the system expects, and remains where it is.
    crate::check(unsafe { SetConsoleCtrlHandler(Some(control), 1) })
}

static CONTROLS: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

unsafe extern "system" fn control(event: u32) -> i32 {
    if let Some(handler) = CONTROLS.get() {
        handler();
    }
    if !matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        // The process would be ended on return.
        thread::sleep(ENDING);
    }
    1
}

/// What happens to a desktop session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesktopEvent {
    /// The user logs off, or somebody closes this program: the system ends this process within seconds.
    Ends,
    /// The computer was suspended and goes on.
    Resumed,
    /// The desk was locked.
    Locked,
    /// The desk was unlocked.
    Unlocked,
}

/// Calls `handler` on a thread of its own for each event. Can be used once in a process.
///
/// # Errors
///
/// If this process has no desktop.
pub fn watch(handler: impl Fn(DesktopEvent) + Send + Sync + 'static) -> io::Result<()> {
    EVENTS.set(Box::new(handler)).map_err(|_| io::ErrorKind::AlreadyExists)?;
    let (report, begun) = mpsc::channel();
    thread::Builder::new().name("desktop".to_owned()).spawn(move || serve_window(&report))?;
    begun.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

static EVENTS: OnceLock<Box<dyn Fn(DesktopEvent) + Send + Sync>> = OnceLock::new();

/// An invisible window, not one for messages only, as those hear nothing of the session's end. The console's events
/// say nothing of it to a program with windows.
fn serve_window(report: &Sender<io::Result<()>>) {
    let created = create_window();
    let goes_on = created.is_ok();
    let _ = report.send(created);
    if !goes_on {
        return;
    }
    let mut message = MSG::default();
    // SAFETY: `message` is writable; null stands for all windows of this thread.
    while unsafe { GetMessageW(&mut message, ptr::null_mut(), 0, 0) } > 0 {
        // SAFETY: the message is the one that was read.
        unsafe { DispatchMessageW(&message) };
    }
}

fn create_window() -> io::Result<()> {
    let name = crate::wide("ticketapi desktop".as_ref())?;
    // SAFETY: null stands for this program; the name and the class live until the calls return, and the function
    // remains where it is. A class that exists is this one.
    unsafe {
        let program = GetModuleHandleW(ptr::null());
        let class = WNDCLASSW {
            lpfnWndProc: Some(window),
            hInstance: program,
            lpszClassName: name.as_ptr(),
            ..WNDCLASSW::default()
        };
        RegisterClassW(&class);
        let (none, title) = (ptr::null_mut(), name.as_ptr());
        let window = CreateWindowExW(0, title, title, 0, 0, 0, 0, 0, none, none, program, ptr::null());
        if window.is_null() {
            return Err(io::Error::last_os_error());
        }
        crate::check(WTSRegisterSessionNotification(window, NOTIFY_FOR_THIS_SESSION))
    }
}

unsafe extern "system" fn window(window: HWND, message: u32, what: WPARAM, more: LPARAM) -> LRESULT {
    let event = match (message, what as u32) {
        (WM_CLOSE, _) => Some(DesktopEvent::Ends),
        (WM_ENDSESSION, 1..) => Some(DesktopEvent::Ends),
        (WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC) => Some(DesktopEvent::Resumed),
        (WM_WTSSESSION_CHANGE, WTS_SESSION_LOCK) => Some(DesktopEvent::Locked),
        (WM_WTSSESSION_CHANGE, WTS_SESSION_UNLOCK) => Some(DesktopEvent::Unlocked),
        _ => None,
    };
    let Some(event) = event else {
        // SAFETY: the arguments are those of this call.
        return unsafe { DefWindowProcW(window, message, what, more) };
    };
    if let Some(handler) = EVENTS.get() {
        handler(event);
    }
    if message == WM_ENDSESSION {
        // As in `control`.
        thread::sleep(ENDING);
    }
    // Of the events above only that of the power has a meaning for its result: yes.
    LRESULT::from(message == WM_POWERBROADCAST)
}
