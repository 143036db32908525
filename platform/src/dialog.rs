//! Dialogs of a program that has no other window.

mod list;
mod template;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io;
use std::mem;
use std::ptr;

use windows_sys::Win32::Foundation::{HWND, LPARAM, RECT, WPARAM};
use windows_sys::Win32::Graphics::Gdi::{GetMonitorInfoW, MONITOR_DEFAULTTOPRIMARY, MONITORINFO, MonitorFromWindow};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::UI::Controls::{
    EM_EMPTYUNDOBUFFER, EM_SETLIMITTEXT, ICC_LISTVIEW_CLASSES, INITCOMMONCONTROLSEX, InitCommonControlsEx,
};
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{EnableWindow, GetKeyState, SetFocus, VK_CAPITAL};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    BS_DEFPUSHBUTTON, DS_MODALFRAME, DS_SETFONT, DialogBoxIndirectParamW, EN_CHANGE, ES_AUTOHSCROLL, ES_PASSWORD,
    EndDialog, FLASHW_ALL, FLASHW_TIMERNOFG, FLASHWINFO, FlashWindowEx, GetDlgItem, GetForegroundWindow, GetPropW,
    GetWindowRect, GetWindowTextLengthW, GetWindowTextW, HWND_NOTOPMOST, HWND_TOPMOST, IDCANCEL, IDOK, PostMessageW,
    SWP_NOMOVE, SWP_NOSIZE, SWP_NOZORDER, SendMessageW, SetForegroundWindow, SetPropW, SetTimer, SetWindowPos,
    SetWindowTextW, WM_APP, WM_COMMAND, WM_DPICHANGED, WM_INITDIALOG, WM_NOTIFY, WM_TIMER, WS_BORDER, WS_CAPTION,
    WS_CHILD, WS_EX_APPWINDOW, WS_POPUP, WS_SYSMENU, WS_TABSTOP, WS_VISIBLE,
};
use zeroize::Zeroizing;

use self::template::{Class, Place, Template, lines};

/// A dialog.
pub struct Dialog<'a> {
    /// The title.
    pub title: &'a str,
    /// What it says, above everything else.
    pub text: &'a str,
    /// A window of another process, which it is shown above. It does not become the owner: Windows would tie the
    /// input of both, and that process may be waiting for the answer.
    pub above: Option<u64>,
    /// The buttons' texts: one that accepts, if there is one, and one that closes.
    pub buttons: (Option<&'a str>, &'a str),
    /// What it asks for.
    pub body: Body<'a>,
}

/// What a dialog asks for.
pub enum Body<'a> {
    /// Nothing but a button. The button that closes is the default.
    Nothing,
    /// A text that is not shown.
    Secret {
        /// The field's label; `&` stands before its access key.
        label: &'a str,
        /// Shown while Caps Lock is on.
        caps_lock: &'a str,
    },
    /// A row of a table.
    Row {
        /// The columns' headings.
        headings: [&'a str; 3],
        /// The rows.
        rows: &'a [[String; 3]],
        /// Without it all are shown.
        search: Option<Search<'a>>,
    },
}

/// The label of a field for words, and which rows are shown for them.
pub type Search<'a> = (&'a str, &'a dyn Fn(&str) -> Vec<usize>);

/// What the user did.
pub enum Answer {
    /// Closed it.
    Closed,
    /// Accepted it.
    Accepted,
    /// Typed this.
    Typed(Zeroizing<String>),
    /// Chose the row of this index.
    Chosen(usize),
}

const FIELD: u16 = 100;
const HINT: u16 = 101;
const TABLE: u16 = 102;
const COUNT: u16 = 103;
const OTHER: u16 = 0xffff;
const OK: u16 = IDOK as u16;
const CANCEL: u16 = IDCANCEL as u16;

/// Dialog units: the margin, the distance of controls, and heights.
const MARGIN: i16 = 8;
const LINE: i16 = 9;
const EDIT: i16 = 13;
const BUTTON: (i16, i16) = (60, 15);

/// In characters: longer than any PIN.
const LONGEST_SECRET: usize = 256;

/// Static text in which `&` is a character; a constant of another part of Windows' headers.
const SS_NOPREFIX: u32 = 0x80;

/// Raises the window, once it is there.
const RAISE: u32 = WM_APP + 1;
/// Fits the columns, once the resolution has changed.
const FIT: u32 = WM_APP + 2;

/// How often to look at Caps Lock, in milliseconds.
const CAPS_LOCK_INTERVAL: u32 = 200;

/// The dialog's state, in a property of the window.
const STATE: windows_sys::core::PCWSTR = windows_sys::core::w!("ticketapi");

struct State<'a> {
    dialog: &'a Dialog<'a>,
    /// The indices of the rows that are shown.
    shown: RefCell<Vec<usize>>,
    caps_lock: Cell<Option<bool>>,
    answer: Cell<Answer>,
}

/// Shows `dialog` until it is answered.
///
/// # Errors
///
/// If there is no desktop to show it on.
pub fn show(dialog: &Dialog<'_>) -> io::Result<Answer> {
    let classes =
        INITCOMMONCONTROLSEX { dwSize: mem::size_of::<INITCOMMONCONTROLSEX>() as u32, dwICC: ICC_LISTVIEW_CLASSES };
    let template = layout(dialog).aligned();
    let state =
        State { dialog, shown: RefCell::default(), caps_lock: Cell::new(None), answer: Cell::new(Answer::Closed) };
    // SAFETY: the template is complete and aligned, `procedure` is a dialog procedure, and the state, which only it
    // uses, outlives the call.
    let ended = unsafe {
        InitCommonControlsEx(&classes);
        DialogBoxIndirectParamW(
            GetModuleHandleW(ptr::null()),
            template.as_ptr().cast(),
            ptr::null_mut(),
            Some(procedure),
            ptr::from_ref(&state) as LPARAM,
        )
    };
    if ended <= 0 { Err(io::Error::last_os_error()) } else { Ok(state.answer.into_inner()) }
}

/// Returns the template. Labels come right before their fields: that is how screen readers find the names.
fn layout(dialog: &Dialog<'_>) -> Template {
    let width: i16 = if matches!(dialog.body, Body::Row { .. }) { 380 } else { 250 };
    let inner = width - 2 * MARGIN;
    let mut controls: Vec<(Class, u16, &str, Place, u32)> = Vec::new();
    let mut y = MARGIN;
    let mut add = |class, id, text, height, style, gap| {
        controls.push((class, id, text, Place { x: MARGIN, y, width: inner, height }, style));
        y += height + gap;
    };
    // Words are a little narrower than letters at random, so this has room for all lines.
    let text_height = LINE * lines(dialog.text, inner);
    match &dialog.body {
        Body::Nothing => add(Class::Static, OTHER, dialog.text, text_height, SS_NOPREFIX, MARGIN),
        Body::Secret { label, .. } => {
            add(Class::Static, OTHER, dialog.text, text_height, SS_NOPREFIX, MARGIN);
            add(Class::Static, OTHER, label, LINE, 0, 1);
            let style = WS_BORDER | WS_TABSTOP | (ES_PASSWORD | ES_AUTOHSCROLL) as u32;
            add(Class::Edit, FIELD, "", EDIT, style, 2);
            add(Class::Static, HINT, "", LINE, SS_NOPREFIX, MARGIN / 2);
        }
        Body::Row { search, .. } => {
            if let Some((label, _)) = search {
                add(Class::Static, OTHER, label, LINE, 0, 1);
                add(Class::Edit, FIELD, "", EDIT, WS_BORDER | WS_TABSTOP | ES_AUTOHSCROLL as u32, MARGIN);
            }
            add(Class::Static, OTHER, dialog.text, text_height, SS_NOPREFIX, 1);
            add(Class::List, TABLE, dialog.text, 160, list::STYLE | WS_BORDER | WS_TABSTOP, 2);
            add(Class::Static, COUNT, "", LINE, SS_NOPREFIX, MARGIN / 2);
        }
    }
    let (accept, close) = dialog.buttons;
    let closes = matches!(dialog.body, Body::Nothing);
    let wide = |text: &str| BUTTON.0.max(text.chars().count() as i16 * 4 + 16);
    let mut x = width - MARGIN;
    let mut places = Vec::new();
    for (id, text) in [(CANCEL, Some(close)), (OK, accept)] {
        let Some(text) = text else { continue };
        x -= wide(text);
        let default = if closes == (id == CANCEL) { BS_DEFPUSHBUTTON as u32 } else { 0 };
        places.push((
            Class::Button,
            id,
            text,
            Place { x, y, width: wide(text), height: BUTTON.1 },
            default | WS_TABSTOP,
        ));
        x -= 4;
    }
    // In the order in which the tabulator goes through them.
    controls.extend(places.into_iter().rev());
    let style = WS_POPUP | WS_CAPTION | WS_SYSMENU | (DS_SETFONT | DS_MODALFRAME) as u32;
    let mut template = Template::new(dialog.title, (width, y + BUTTON.1 + MARGIN), style, WS_EX_APPWINDOW);
    for (class, id, text, place, style) in controls {
        template.add(class, id, text, place, style | WS_CHILD | WS_VISIBLE);
    }
    template
}

/// The dialog procedure.
unsafe extern "system" fn procedure(window: HWND, message: u32, wparam: WPARAM, lparam: LPARAM) -> isize {
    if message == WM_INITDIALOG {
        // SAFETY: the window is the one that is being made.
        unsafe { SetPropW(window, STATE, lparam as *mut _) };
    }
    // SAFETY: as above; a window that has no state yet gives null.
    let state = unsafe { GetPropW(window, STATE) }.cast::<State<'_>>();
    // SAFETY: `show` keeps the state until the window is gone, and only shares it: this function may be called within
    // itself.
    let Some(state) = (unsafe { state.as_ref() }) else { return 0 };
    isize::from(state.handle(window, message, wparam, lparam))
}

impl State<'_> {
    /// Returns `true` for a message that needs no other handling.
    fn handle(&self, window: HWND, message: u32, wparam: WPARAM, lparam: LPARAM) -> bool {
        match message {
            WM_INITDIALOG => {
                self.begin(window);
                // The focus is where `begin` has put it.
                return false;
            }
            RAISE => raise(window),
            FIT => list::fit(control(window, TABLE)),
            // SAFETY: the window is this dialog.
            WM_DPICHANGED => drop(unsafe { PostMessageW(window, FIT, 0, 0) }),
            WM_TIMER => self.watch_caps_lock(window),
            WM_COMMAND => match (wparam as u16, (wparam >> 16) as u32) {
                (OK, _) => self.accept(window),
                (CANCEL, _) => self.end(window, Answer::Closed),
                (FIELD, EN_CHANGE) => self.changed(window),
                _ => return false,
            },
            WM_NOTIFY if list::is_double_click(lparam) => self.accept(window),
            _ => return false,
        }
        message != WM_DPICHANGED && message != WM_NOTIFY
    }

    fn begin(&self, window: HWND) {
        place(window, self.dialog.above);
        let first = match &self.dialog.body {
            Body::Nothing => CANCEL,
            Body::Secret { .. } => {
                send(control(window, FIELD), EM_SETLIMITTEXT, LONGEST_SECRET, 0);
                self.watch_caps_lock(window);
                // SAFETY: the window is this dialog, and the messages of the timer go to it.
                unsafe { SetTimer(window, 1, CAPS_LOCK_INTERVAL, None) };
                FIELD
            }
            Body::Row { headings, search, .. } => {
                list::prepare(control(window, TABLE), *headings);
                if search.is_some() {
                    list::take_arrows(control(window, FIELD), control(window, TABLE));
                }
                search.map_or(TABLE, |_| FIELD)
            }
        };
        self.changed(window);
        // SAFETY: both windows belong to this thread.
        unsafe {
            SetFocus(control(window, first));
            PostMessageW(window, RAISE, 0, 0);
        }
    }

    /// Shows the rows that fit the words, and allows to accept what is there.
    fn changed(&self, window: HWND) {
        let ready = match &self.dialog.body {
            Body::Nothing => true,
            Body::Secret { .. } => length(control(window, FIELD)) > 0,
            Body::Row { rows, search, .. } => {
                let found = match search {
                    Some((_, find)) => find(&text(control(window, FIELD))),
                    None => (0..rows.len()).collect(),
                };
                list::fill(control(window, TABLE), found.iter().filter_map(|&index| rows.get(index)));
                set_text(control(window, COUNT), &format!("{} of {}", found.len(), rows.len()));
                self.shown.replace(found);
                !self.shown.borrow().is_empty()
            }
        };
        // SAFETY: the button belongs to this thread; null does nothing.
        unsafe { EnableWindow(control(window, OK), i32::from(ready)) };
    }

    fn accept(&self, window: HWND) {
        match &self.dialog.body {
            Body::Nothing => self.end(window, Answer::Accepted),
            Body::Secret { .. } => {
                let field = control(window, FIELD);
                let typed = text(field);
                if typed.is_empty() {
                    return;
                }
                // A text of the same length takes the place of what was typed.
                set_text(field, &"0".repeat(typed.encode_utf16().count()));
                set_text(field, "");
                send(field, EM_EMPTYUNDOBUFFER, 0, 0);
                self.end(window, Answer::Typed(typed));
            }
            Body::Row { .. } => {
                let row = list::chosen(control(window, TABLE));
                let index = row.and_then(|row| self.shown.borrow().get(row).copied());
                if let Some(index) = index {
                    self.end(window, Answer::Chosen(index));
                }
            }
        }
    }

    fn end(&self, window: HWND, answer: Answer) {
        self.answer.set(answer);
        // SAFETY: the window is this dialog.
        unsafe { EndDialog(window, 1) };
    }

    fn watch_caps_lock(&self, window: HWND) {
        let Body::Secret { caps_lock, .. } = &self.dialog.body else { return };
        // SAFETY: the call only takes a number.
        let on = unsafe { GetKeyState(VK_CAPITAL.into()) } & 1 != 0;
        // Only changes are announced.
        if self.caps_lock.replace(Some(on)) != Some(on) {
            set_text(control(window, HINT), if on { caps_lock } else { "" });
        }
    }
}

/// Moves `window` into the middle of the window `above`, or of the monitor.
fn place(window: HWND, above: Option<u64>) {
    let above = above.map(|above| above as usize as HWND);
    let mut monitor = MONITORINFO { cbSize: mem::size_of::<MONITORINFO>() as u32, ..MONITORINFO::default() };
    let (mut own, mut other) = (RECT::default(), RECT::default());
    // SAFETY: the window is this thread's, the other one may be gone, then the calls fail; all that is written to is
    // writable and of its size.
    unsafe {
        let near = MonitorFromWindow(above.unwrap_or_else(|| GetForegroundWindow()), MONITOR_DEFAULTTOPRIMARY);
        if GetMonitorInfoW(near, &mut monitor) == 0 || GetWindowRect(window, &mut own) == 0 {
            return;
        }
        let room = monitor.rcWork;
        if above.is_none_or(|above| GetWindowRect(above, &mut other) == 0) {
            other = room;
        }
        let (width, height) = (own.right - own.left, own.bottom - own.top);
        let x = i32::midpoint(other.left, other.right) - width / 2;
        let y = i32::midpoint(other.top, other.bottom) - height / 2;
        let within = |value: i32, low: i32, high: i32| value.min(high).max(low);
        let (x, y) = (within(x, room.left, room.right - width), within(y, room.top, room.bottom - height));
        SetWindowPos(window, ptr::null_mut(), x, y, 0, 0, SWP_NOSIZE | SWP_NOZORDER);
    }
}

/// Brings `window` to the front, once; where Windows does not allow that, its button on the taskbar flashes.
fn raise(window: HWND) {
    let flash = FLASHWINFO {
        cbSize: mem::size_of::<FLASHWINFO>() as u32,
        hwnd: window,
        dwFlags: FLASHW_ALL | FLASHW_TIMERNOFG,
        uCount: 5,
        dwTimeout: 0,
    };
    // SAFETY: the window is this thread's.
    unsafe {
        SetWindowPos(window, HWND_TOPMOST, 0, 0, 0, 0, SWP_NOMOVE | SWP_NOSIZE);
        SetWindowPos(window, HWND_NOTOPMOST, 0, 0, 0, 0, SWP_NOMOVE | SWP_NOSIZE);
        SetForegroundWindow(window);
        if GetForegroundWindow() != window {
            FlashWindowEx(&flash);
        }
    }
}

/// Returns a control of the dialog; null if it has none of this number.
fn control(window: HWND, id: u16) -> HWND {
    // SAFETY: the window is this thread's.
    unsafe { GetDlgItem(window, id.into()) }
}

fn send(control: HWND, message: u32, wparam: WPARAM, lparam: LPARAM) -> isize {
    // SAFETY: the callers pass messages whose parameters are numbers, or point to what outlives the call.
    unsafe { SendMessageW(control, message, wparam, lparam) }
}

fn length(control: HWND) -> usize {
    // SAFETY: the control is this thread's.
    usize::try_from(unsafe { GetWindowTextLengthW(control) }).unwrap_or(0)
}

/// Returns the text of a control, which may be a secret.
fn text(control: HWND) -> Zeroizing<String> {
    let mut wide = Zeroizing::new(vec![0_u16; length(control) + 1]);
    // SAFETY: the buffer has the given size.
    let count = unsafe { GetWindowTextW(control, wide.as_mut_ptr(), wide.len() as i32) };
    let wide = &wide[..usize::try_from(count).unwrap_or(0)];
    // Allocated at its full size: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(3 * wide.len()));
    text.extend(char::decode_utf16(wide.iter().copied()).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    text
}

fn set_text(control: HWND, text: &str) {
    // A text with a zero would be a defect; it is not shown.
    let Ok(wide) = crate::wide(OsStr::new(text)) else { return };
    // SAFETY: the text ends with a zero and outlives the call.
    unsafe { SetWindowTextW(control, wide.as_ptr()) };
}
