//! A USB reader that can be plugged in and out; see `usb.c`.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{DRIVER, compile, failed};
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
    // The copy has its own name, by which the driver that is compiled below finds it.
    let reader = code.join("libifdvpcd.so.0");
    std::fs::copy(DRIVER, &reader).context(|| format!("cannot copy {DRIVER}"))?;
    let definitions = [format!("-DEVENTS=\"{}\"", folder.join("usb").display()), format!("-DPORT={port}")];
    let links = ["-Wl,--no-as-needed".into(), "-Wl,-rpath,$ORIGIN".into(), reader.into_os_string()];
    compile(SOURCE, &code.join("usb.so"), definitions.map(Into::into).into_iter().chain(links))?;
    let pipe = folder.join("usb");
    let _ = std::fs::remove_file(&pipe);
    let made = Command::new("mkfifo").arg(&pipe).status().context(|| "cannot run mkfifo".into())?;
    if made.success() { Ok(()) } else { Err(failed(format!("{} could not be made", pipe.display()))) }
}

/// Plugs the device in or out.
pub(super) fn send(folder: &Path, event: u8) -> Result<()> {
    let pipe = folder.join("usb");
    let open = std::fs::OpenOptions::new().write(true).open(&pipe);
    open.and_then(|mut open| open.write_all(&[event])).context(|| format!("cannot write to {}", pipe.display()))
}
