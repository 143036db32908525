//! OpenSC keeps the PIN, and enters it again by itself when another program has reset the card: at a PIN that
//! has been changed that costs a try. Its settings forbid it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::os::fs::read_trusted;
use crate::os::ipc::above_stdio;
use crate::os::privilege::variable;

/// What OpenSC reads for programs in place of its own file, and where that is.
const VARIABLE: &str = "OPENSC_CONF";
/// More than any configuration needs.
const LIMIT: u64 = 1 << 20;
const PLACES: [&str; 2] = ["/etc/opensc/opensc.conf", "/etc/opensc.conf"];

/// The settings of the module, which come before those of all of OpenSC.
const MODULE: &str = "app opensc-pkcs11";
const KEEP_NO_PIN: &str = "framework pkcs15 {\n\tuse_pin_caching = false;\n}\n";

/// Has OpenSC keep no PIN in the helper that `helper` starts. Other modules do not look at it.
///
/// The settings are standard output, which no module has a use for: they have to be a file with a name,
/// and this one leaves nothing behind.
pub(super) fn keep_no_pin(helper: &mut Command) {
    match write(&settings(variable(VARIABLE))) {
        Ok(file) => drop(helper.stdout(Stdio::from(file)).env(VARIABLE, "/proc/self/fd/1")),
        Err(error) => tracing::warn!(%error, "OpenSC may cache the PIN"),
    }
}

fn write(settings: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("opensc.conf", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(above_stdio(file)?);
    file.write_all(settings)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file.into())
}

/// The settings of this computer, with ours among them.
fn settings(configured: Option<OsString>) -> Vec<u8> {
    // A file that OpenSC would not find either is no reason to say something.
    let read = |place: &Path| match read_trusted(place, LIMIT) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %place.display(), %error, "OpenSC's configuration is not used");
            None
        }
        read => read.ok(),
    };
    let own = match configured {
        Some(place) => read(Path::new(&place)),
        None => PLACES.iter().find_map(|place| read(Path::new(place))),
    };
    with_ours(own.unwrap_or_default())
}

fn with_ours(mut settings: Vec<u8>) -> Vec<u8> {
    // OpenSC takes the first block of each name.
    let block = memchr::memmem::find(&settings, MODULE.as_bytes());
    let inside = block.and_then(|block| Some(block + memchr::memchr(b'{', &settings[block..])? + 1));
    match inside {
        Some(at) => drop(settings.splice(at..at, format!("\n{KEEP_NO_PIN}").into_bytes())),
        None => drop(settings.splice(0..0, format!("{MODULE} {{\n{KEEP_NO_PIN}}}\n").into_bytes())),
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: &str) -> String {
        String::from_utf8(with_ours(settings.into())).unwrap()
    }

    #[test]
    fn the_settings_of_the_computer_are_kept_and_ours_come_first() {
        let ours = "app opensc-pkcs11 {\nframework pkcs15 {\n\tuse_pin_caching = false;\n}\n}\n";
        assert_eq!(text(""), ours);
        assert_eq!(text("app default {\n}\n"), format!("{ours}app default {{\n}}\n"));
        let own = "app default {\n}\napp opensc-pkcs11 {\n\tpkcs11 { slots_per_card = 1; }\n}\n";
        let (before, after) = own.split_at(own.find("\n\tpkcs11").unwrap());
        assert_eq!(text(own), format!("{before}\n{KEEP_NO_PIN}{after}"));
    }

    #[test]
    fn the_file_that_the_environment_names_is_the_one_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("opensc.conf");
        std::fs::write(&file, "app default { debug = 0; }").unwrap();
        assert!(settings(Some(file.into())).ends_with(b"app default { debug = 0; }"));
        assert_eq!(settings(Some(folder.path().join("nowhere").into())), with_ours(Vec::new()));
    }
}
