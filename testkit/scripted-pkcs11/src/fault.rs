//! The faults that a script can ask for.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::script::Fault;

/// Produces the fault. Returns the code that ends the call, for faults that let it end.
pub fn run(fault: Fault) -> Option<CK_RV> {
    match fault {
        Fault::Error(code) => Some(code),
        Fault::Hang => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        Fault::Crash => {
            // SAFETY: unsound on purpose: this is the crash that the script asks for.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(0) };
            None
        }
        Fault::Exit => std::process::exit(3),
        Fault::Wrong => None,
        Fault::Print => {
            // As printf does it: there may be nobody who reads it.
            let _ = writeln!(io::stdout(), "printed by the module");
            let _ = writeln!(io::stderr(), "printed by the module");
            None
        }
        Fault::Corrupt => {
            // SAFETY: unsound on purpose: this is the corruption that the script asks for.
            unsafe {
                let block = libc::malloc(24).cast::<u8>();
                std::hint::black_box(block).write_bytes(0x41, 1024);
                libc::free(block.cast());
            }
            None
        }
    }
}

/// Waits until the file exists, or the helper is killed.
pub fn wait_for(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Lists this process's descriptors, arguments and environment.
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
