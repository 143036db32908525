//! The table of a dialog.

use std::ffi::OsStr;
use std::ptr;

use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, RECT, WPARAM};
use windows_sys::Win32::UI::Controls::{
    LVCF_TEXT, LVCF_WIDTH, LVCOLUMNW, LVIF_STATE, LVIF_TEXT, LVIS_FOCUSED, LVIS_SELECTED, LVITEMW, LVM_DELETEALLITEMS,
    LVM_ENSUREVISIBLE, LVM_GETNEXTITEM, LVM_INSERTCOLUMNW, LVM_INSERTITEMW, LVM_SETCOLUMNWIDTH,
    LVM_SETEXTENDEDLISTVIEWSTYLE, LVM_SETITEMSTATE, LVM_SETITEMTEXTW, LVNI_SELECTED, LVS_EX_FULLROWSELECT,
    LVS_EX_LABELTIP, LVS_REPORT, LVS_SHOWSELALWAYS, LVS_SINGLESEL, NM_DBLCLK, NMHDR,
};
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{VK_DOWN, VK_NEXT, VK_PRIOR, VK_UP};
use windows_sys::Win32::UI::Shell::{DefSubclassProc, SetWindowSubclass};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    GetClientRect, GetSystemMetrics, SM_CXVSCROLL, WM_KEYDOWN, WM_KEYUP, WM_SETREDRAW,
};

use super::send;

pub(super) const STYLE: u32 = LVS_REPORT | LVS_SINGLESEL | LVS_SHOWSELALWAYS;

/// The columns' shares of the width, in hundredths.
const SHARES: [i32; 3] = [38, 44, 18];

/// Gives the table its columns.
pub(super) fn prepare(table: HWND, headings: [&str; 3]) {
    send(table, LVM_SETEXTENDEDLISTVIEWSTYLE, 0, (LVS_EX_FULLROWSELECT | LVS_EX_LABELTIP) as LPARAM);
    for (index, heading) in headings.into_iter().enumerate() {
        let mut heading = wide(heading);
        let column =
            LVCOLUMNW { mask: LVCF_TEXT | LVCF_WIDTH, cx: 100, pszText: heading.as_mut_ptr(), ..LVCOLUMNW::default() };
        send(table, LVM_INSERTCOLUMNW, index, ptr::from_ref(&column) as LPARAM);
    }
    fit(table);
}

/// Fits the columns into the table, with room for a scroll bar.
pub(super) fn fit(table: HWND) {
    let mut area = RECT::default();
    // SAFETY: the table is this thread's, and `area` is writable.
    let width = unsafe {
        GetClientRect(table, &mut area);
        area.right - area.left - GetSystemMetrics(SM_CXVSCROLL)
    };
    for (index, share) in SHARES.into_iter().enumerate() {
        send(table, LVM_SETCOLUMNWIDTH, index, (width * share / 100) as LPARAM);
    }
}

/// Shows these rows instead of all others, and chooses the first.
pub(super) fn fill<'a>(table: HWND, rows: impl Iterator<Item = &'a [String; 3]>) {
    send(table, WM_SETREDRAW, 0, 0);
    send(table, LVM_DELETEALLITEMS, 0, 0);
    for (row, cells) in rows.enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let mut text = wide(cell);
            let item = LVITEMW {
                mask: LVIF_TEXT,
                iItem: row as i32,
                iSubItem: column as i32,
                pszText: text.as_mut_ptr(),
                ..LVITEMW::default()
            };
            let item = ptr::from_ref(&item) as LPARAM;
            if column == 0 {
                send(table, LVM_INSERTITEMW, 0, item);
            } else {
                send(table, LVM_SETITEMTEXTW, row, item);
            }
        }
    }
    let state = LVIS_SELECTED | LVIS_FOCUSED;
    let first = LVITEMW { mask: LVIF_STATE, state, stateMask: state, ..LVITEMW::default() };
    send(table, LVM_SETITEMSTATE, 0, ptr::from_ref(&first) as LPARAM);
    send(table, LVM_ENSUREVISIBLE, 0, 0);
    send(table, WM_SETREDRAW, 1, 0);
}

/// Returns the number of the row that is chosen.
pub(super) fn chosen(table: HWND) -> Option<usize> {
    usize::try_from(send(table, LVM_GETNEXTITEM, usize::MAX, LVNI_SELECTED as LPARAM)).ok()
}

/// Returns `true` for the parameter of a notice that a row was clicked twice.
pub(super) fn is_double_click(notice: LPARAM) -> bool {
    // SAFETY: the parameter of WM_NOTIFY points to this structure, whatever follows it.
    let notice = unsafe { &*(notice as *const NMHDR) };
    notice.idFrom == usize::from(super::TABLE) && notice.code == NM_DBLCLK
}

/// Has the arrow keys in `field` move within `table`, so that a user who searches need not change the focus.
pub(super) fn take_arrows(field: HWND, table: HWND) {
    // SAFETY: both windows are this thread's, and end together.
    unsafe { SetWindowSubclass(field, Some(pass_arrows), 1, table as usize) };
}

unsafe extern "system" fn pass_arrows(
    field: HWND,
    message: u32,
    wparam: WPARAM,
    lparam: LPARAM,
    _: usize,
    table: usize,
) -> LRESULT {
    let is_arrow = [VK_UP, VK_DOWN, VK_PRIOR, VK_NEXT].iter().any(|&key| usize::from(key) == wparam);
    if is_arrow && (message == WM_KEYDOWN || message == WM_KEYUP) {
        return send(table as HWND, message, wparam, lparam);
    }
    // SAFETY: the parameters are those that came.
    unsafe { DefSubclassProc(field, message, wparam, lparam) }
}

/// For controls; a text with a zero ends there.
fn wide(text: &str) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt;
    OsStr::new(text).encode_wide().chain([0]).collect()
}
