//! What the script makes happen.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::script::Fault;

/// Does it. An answer ends the call; most faults never get that far.
pub fn run(fault: Fault) -> Option<CK_RV> {
    match fault {
        Fault::Error(code) => Some(code),
        Fault::Hang => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        Fault::Crash => {
            // SAFETY: none: this is the crash that the script asks for.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(0) };
            None
        }
        Fault::Exit => std::process::exit(3),
        Fault::Corrupt => {
            // SAFETY: none: writing past a block is the corruption that the script asks for.
            unsafe {
                let block = libc::malloc(24).cast::<u8>();
                std::hint::black_box(block).write_bytes(0x41, 1024);
                libc::free(block.cast());
            }
            None
        }
    }
}

/// Waits until this file is there, or the helper is ended.
pub fn wait_for(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// What this process holds and was given: descriptors, arguments, environment.
pub fn report() -> Vec<u8> {
    let mut report = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        report.extend(format!("{} {}\n", entry.file_name().display(), target.display()).bytes());
    }
    report.extend(fs::read("/proc/self/cmdline").unwrap_or_default());
    report.extend(fs::read("/proc/self/environ").unwrap_or_default());
    report
}
