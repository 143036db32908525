//! Calls of the C library in any order, with any handle, size, code and text, against a small broker.
#![no_main]

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_long, c_uint, c_void};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use libfuzzer_sys::fuzz_target;
use ticketapi::Config;
use ticketapi_bindings::c::*;
use ticketapi_bindings::prompter::*;
use ticketapi_bindings::session::*;
use ticketapi_bindings::status::*;

const SLOTS: usize = 4;
const ROOM: usize = 1100;
const UNTOUCHED: u8 = 0xa5;

fuzz_target!(init: set_up(), |data: &[u8]| run(data));

/// The remaining input, from which the calls and the prompts within them take their values.
struct Input(Vec<u8>);

thread_local! {
    static INPUT: RefCell<Input> = const { RefCell::new(Input(Vec::new())) };
}

fn byte() -> u8 {
    INPUT.with_borrow_mut(|input| input.0.pop().unwrap_or(0))
}

fn number() -> u32 {
    u32::from_le_bytes([byte(), byte(), byte(), byte()])
}

fn text() -> CString {
    let length = usize::from(byte()) % 40;
    CString::new((0..length).map(|_| byte().max(1)).collect::<Vec<_>>()).unwrap()
}

fn run(data: &[u8]) {
    INPUT.set(Input(data.iter().rev().copied().collect()));
    MOOD.store(byte(), Ordering::Relaxed);
    set_prompter();
    let mut handles = [0; SLOTS];
    for _ in 0..40 {
        if INPUT.with_borrow(|input| input.0.is_empty()) {
            break;
        }
        call(&mut handles);
    }
    MOOD.store(0, Ordering::Relaxed);
    // Restores the initial state for the next run.
    let last = TcktApi_Initialize();
    assert_ne!(last, 0);
    assert_eq!(TcktApi_destroyTicket(last), 0);
    handles.iter().chain([&last]).for_each(|&handle| TcktApi_Finalize(handle));
    for (key, value) in [("require_role", "true"), ("digest", "sha1"), ("token_label", "x")] {
        let (key, value) = (CString::new(key).unwrap(), CString::new(value).unwrap());
        assert_eq!(unsafe { ticketapi_set(key.as_ptr(), value.as_ptr()) }, 0);
    }
}

fn call(handles: &mut [c_long; SLOTS]) {
    let which = byte();
    let slot = usize::from(byte()) % (SLOTS + 1);
    let handle = handles.get(slot).copied().unwrap_or_else(|| c_long::from(number() as i32) << (byte() % 33));
    match which % 18 {
        0 | 1 => {
            let new = TcktApi_Initialize();
            if let Some(slot) = handles.get_mut(slot) {
                TcktApi_Finalize(std::mem::replace(slot, new));
            } else {
                TcktApi_Finalize(new);
            }
        }
        2 => TcktApi_Finalize(handle),
        3 => with_buffer(handle, |buffer, size, used| unsafe { TcktApi_getTicket(handle, buffer, size, used) }),
        4 => with_buffer(handle, |buffer, size, used| unsafe { TcktApi_getTicketNoAuth(handle, buffer, size, used) }),
        5 => with_buffer(handle, |buffer, size, used| unsafe { TcktApi_getNewTicket(handle, buffer, size, used) }),
        6 => {
            let code =
                if byte() % 2 == 0 { number() } else { TCK_ERR_GRP_MASK | 1 << (20 + byte() % 5) | u32::from(byte()) };
            with_buffer(0, |buffer, size, used| unsafe {
                TcktApi_getErrorDescription(handle, code, buffer, size, used)
            });
        }
        7 => check(handle, TcktApi_destroyTicket(handle)),
        8 => assert!([0, 1].contains(&TcktApi_isTerminalServiceSession(handle))),
        9 => drop(TcktApi_GetGAVersion(handle, c_int::from(byte()) - 1)),
        10 => known(TcktApi_getLastError(handle)),
        11 => {
            let (index, field) = (u32::from(byte()) % 64, c_int::from(byte()) % 9 - 1);
            with_buffer(handle, |buffer, size, used| unsafe {
                ticketapi_role(handle, index, field, buffer, size, used)
            });
        }
        12 => with_buffer(handle, |buffer, size, used| unsafe { ticketapi_user_name(handle, buffer, size, used) }),
        13 => with_buffer(handle, |buffer, size, used| unsafe { ticketapi_user_uid(handle, buffer, size, used) }),
        14 => with_number(handle, |out| unsafe { ticketapi_role_count(handle, out) }),
        15 => with_number(handle, |out| unsafe { ticketapi_chosen_role(handle, out) }),
        16 => check(handle, ticketapi_cancel(handle)),
        _ => set(),
    }
}

/// Changes a setting that neither starts a program nor names another broker.
fn set() {
    const HARMLESS: [&str; 4] = ["require_role", "digest", "token_label", "card_wait"];
    let key = match byte() % 6 {
        which @ 0..4 => CString::new(HARMLESS[usize::from(which)]).unwrap(),
        _ => text(),
    };
    let value = match byte() % 4 {
        0 => c"true".to_owned(),
        1 => c"sha256".to_owned(),
        2 => c"false".to_owned(),
        _ => text(),
    };
    let name = key.to_str().unwrap_or_default();
    if Config::keys().any(|known| known == name) && !HARMLESS.contains(&name) {
        return;
    }
    let null = byte() == 255;
    let key = if null { ptr::null() } else { key.as_ptr() };
    check(0, unsafe { ticketapi_set(key, value.as_ptr()) });
}

fn with_buffer(handle: c_long, call: impl Fn(*mut c_char, c_uint, *mut c_uint) -> c_int) {
    let how = byte();
    let size = if how & 1 == 0 { ROOM - 50 } else { usize::from(byte()) };
    let mut buffer = [UNTOUCHED; ROOM];
    let mut used = 4711;
    let wanted = if how & 2 == 0 { &raw mut used } else { ptr::null_mut() };
    let place = if how & 0x1c == 0x1c { ptr::null_mut() } else { buffer.as_mut_ptr().cast() };
    let code = call(place, size as c_uint, wanted);
    if handle != 0 {
        check(handle, code);
    }
    let written = buffer.iter().rposition(|&byte| byte != UNTOUCHED).map_or(0, |last| last + 1);
    if code == 0 {
        let length = buffer.iter().position(|&byte| byte == 0).unwrap();
        assert!(str::from_utf8(&buffer[..length]).is_ok());
        assert!(written <= size && written <= length + 3 && (written == size || written == length + 3));
        assert!(wanted.is_null() || used as usize == length);
    } else {
        assert_eq!((written, used), (0, 4711));
    }
}

fn with_number(handle: c_long, call: impl Fn(*mut c_uint) -> c_int) {
    let mut number = 4711;
    let code = call(if byte() == 255 { ptr::null_mut() } else { &raw mut number });
    check(handle, code);
    assert!((code == 0) == (number != 4711));
}

/// Checks that a call returns a known code, which is also the last error.
fn check(handle: c_long, code: c_int) {
    assert_eq!(TcktApi_getLastError(handle), code as u32);
    known(code as u32);
}

fn known(code: u32) {
    assert_ne!(code, TCK_API_ERR_INTERNAL_ERROR);
    let mut words = [0; 254];
    let told = unsafe { TcktApi_getErrorDescription(0, code, words.as_mut_ptr(), 254, ptr::null_mut()) };
    assert_eq!(told, 0, "{code:#x}");
}

fn set_prompter() {
    let prompter = TicketApiPrompter { pin: Some(ask_pin), last_try: None, role: Some(ask_role), message: Some(tell) };
    assert_eq!(unsafe { ticketapi_set_prompter(&raw const prompter, ptr::null_mut()) }, 0);
}

unsafe extern "C" fn ask_pin(_: *mut c_void, _: *const TicketApiPinRequest, pin: *mut c_char, size: c_uint) -> c_int {
    let how = byte();
    let typed = match how % 8 {
        0 => return c_int::from(how) + 1,
        1 => vec![b'9'; size as usize],
        2 => text().into_bytes(),
        3 => {
            // Forbidden calls within a prompt return an error and have no other effect.
            let before = TcktApi_Initialize();
            let mut ticket: [c_char; 8] = [0; 8];
            let code = unsafe { TcktApi_getTicket(before, ticket.as_mut_ptr(), 8, ptr::null_mut()) } as u32;
            assert!([TCK_API_ERR_SERVER_BUSY, TCK_API_ERR_BUFFER_TOO_SMALL].contains(&code), "{code:#x}");
            TcktApi_Finalize(before);
            b"password\0".to_vec()
        }
        4 => {
            let handle = TcktApi_Initialize();
            assert_eq!(ticketapi_cancel(handle), 0);
            TcktApi_Finalize(handle);
            b"password\0".to_vec()
        }
        _ => b"password\0".to_vec(),
    };
    let length = typed.len().min(size as usize);
    unsafe { ptr::copy_nonoverlapping(typed.as_ptr().cast(), pin, length) };
    TICKETAPI_ANSWERED
}

unsafe extern "C" fn ask_role(_: *mut c_void, _: *const TicketApiRole, count: c_uint, chosen: *mut c_uint) -> c_int {
    match byte() {
        255 => TICKETAPI_CANCELLED,
        254 => TICKETAPI_ANSWERED,
        253 => {
            unsafe { *chosen = number() };
            TICKETAPI_ANSWERED
        }
        other => {
            unsafe { *chosen = c_uint::from(other) % count };
            TICKETAPI_ANSWERED
        }
    }
}

unsafe extern "C" fn tell(_: *mut c_void, _: c_int, _: *const c_char) {}

/// How the broker responds; 0 is correctly.
static MOOD: AtomicU8 = AtomicU8::new(0);

fn set_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = [
        ("BASE_URL", format!("http://{}", listener.local_addr().unwrap())),
        ("ALLOW_HTTP", "true".to_owned()),
        ("SOFTWARE_CARD", format!("{}/card.p12", env!("CARGO_MANIFEST_DIR"))),
        ("PINENTRY", "/nowhere/pinentry".to_owned()),
        ("CONFIG", format!("{}/empty.toml", env!("CARGO_MANIFEST_DIR"))),
        ("AGENT", "never".to_owned()),
    ];
    for (key, value) in settings {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(format!("TICKETAPI_{key}"), value) };
    }
    // Always the same threads, because leak checkers report the memory of threads that are just ending.
    let listener = Arc::new(listener);
    for _ in 0..8 {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                while answer(&mut stream).is_some() {}
            }
        });
    }
    // The library silences panics, which this must find.
    TcktApi_Finalize(TcktApi_Initialize());
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
}

/// Answers one request. Returns `None` at the end of the connection.
fn answer(stream: &mut (impl Read + Write)) -> Option<()> {
    let mut request = Vec::new();
    let body = loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).ok().filter(|&count| count > 0)?;
        request.extend_from_slice(&piece[..count]);
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let length =
            head.split("Content-Length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        if request.len() >= end + 4 + length {
            break head;
        }
    };
    let mood = MOOD.load(Ordering::Relaxed);
    let answer: &[u8] = match (mood, &body) {
        (1, _) => return None,
        (2, head) if !head.contains("authactivate") => b"<gpOBJECT><gpPARAM name='error'>no</gpPARAM></gpOBJECT>",
        (3, head) if !head.contains("authactivate") => b"nonsense",
        (_, head) if head.contains("authactivate") => include_bytes!("../../tests/data/authactivate-response.xml"),
        (_, head) if head.contains("authvalidate") => include_bytes!("../../tests/data/authvalidate-response.xml"),
        _ => b"<HTML><STATUS>OK</STATUS></HTML>",
    };
    let status = if mood == 4 { "500 No" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
    stream.write_all(&[head.as_bytes(), answer].concat()).ok()
}
