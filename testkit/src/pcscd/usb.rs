//! A USB reader that comes and goes: see `usb.c`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{DRIVER, failed};
use crate::error::{Context, Result, write_file};

const SOURCE: &str = include_str!("usb.c");

const DESCRIPTION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
<key>CFBundleName</key> <string>TEST</string>
<key>CFBundleExecutable</key> <string>usb.so</string>
<key>ifdVendorID</key> <array><string>0x1234</string></array>
<key>ifdProductID</key> <array><string>0x1234</string></array>
<key>ifdFriendlyName</key> <array><string>USB Reader</string></array>
</dict></plist>
"#;

/// Writes drivers for USB devices to `folder`, in the layout of `/usr/lib/pcsc/drivers`.
pub(super) fn write_driver(folder: &Path, port: u16) -> Result<()> {
    let contents = folder.join("drivers/usb.bundle/Contents");
    let code = contents.join("Linux");
    std::fs::create_dir_all(&code).context(|| format!("cannot make {}", code.display()))?;
    write_file(&contents.join("Info.plist"), DESCRIPTION)?;
    // Its own name, by which the other finds it.
    let reader = code.join("libifdvpcd.so.0");
    std::fs::copy(DRIVER, &reader).context(|| format!("cannot copy {DRIVER}"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-x", "c", "-", "-x", "none"]);
    compiler.arg(format!("-DEVENTS=\"{}\"", folder.join("usb").display())).arg(format!("-DPORT={port}"));
    compiler.arg("-o").arg(code.join("usb.so"));
    compiler.args(["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN"]).arg(&reader).stdin(Stdio::piped());
    let mut compiler = compiler.spawn().context(|| "cannot run cc".into())?;
    if let Some(mut input) = compiler.stdin.take() {
        input.write_all(SOURCE.as_bytes()).context(|| "cannot run cc".into())?;
    }
    if !compiler.wait().context(|| "cannot run cc".into())?.success() {
        return Err(failed("cc could not compile the driver of its USB reader".into()));
    }
    let pipe = folder.join("usb");
    let _ = std::fs::remove_file(&pipe);
    let made = Command::new("mkfifo").arg(&pipe).status().context(|| "cannot run mkfifo".into())?;
    if made.success() { Ok(()) } else { Err(failed(format!("{} could not be made", pipe.display()))) }
}

/// Has the device come or go.
pub(super) fn tell(folder: &Path, event: u8) -> Result<()> {
    let pipe = folder.join("usb");
    let open = std::fs::OpenOptions::new().write(true).open(&pipe);
    open.and_then(|mut open| open.write_all(&[event])).context(|| format!("cannot write to {}", pipe.display()))
}
