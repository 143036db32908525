//! Keeps OpenSC from caching the PIN. It would enter the PIN again after another program has reset the card, which
//! uses up a try if the PIN was changed meanwhile.

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

/// The variable with the file that OpenSC reads instead of its own.
const VARIABLE: &str = "OPENSC_CONF";
/// More than any configuration needs.
const LIMIT: u64 = 1 << 20;
const PLACES: [&str; 2] = ["/etc/opensc/opensc.conf", "/etc/opensc.conf"];

/// The module's block, which overrides the settings for all of OpenSC.
const MODULE: &str = "app opensc-pkcs11";
const CACHE_NO_PIN: &str = "framework pkcs15 {\n\tuse_pin_caching = false;\n}\n";

/// Makes OpenSC cache no PIN in the helper that `helper` starts. Other modules ignore these settings.
///
/// The settings are the helper's standard output, which no module uses: they must be a file with a name, and this
/// one leaves nothing behind.
pub(super) fn cache_no_pin(helper: &mut Command) {
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

/// Returns this computer's settings, extended by ours.
fn settings(configured: Option<OsString>) -> Vec<u8> {
    // A file that OpenSC would not find either needs no warning.
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
    // OpenSC uses the first block of each name.
    let block = memchr::memmem::find(&settings, MODULE.as_bytes());
    let inside = block.and_then(|block| Some(block + memchr::memchr(b'{', &settings[block..])? + 1));
    match inside {
        Some(at) => drop(settings.splice(at..at, format!("\n{CACHE_NO_PIN}").into_bytes())),
        None => drop(settings.splice(0..0, format!("{MODULE} {{\n{CACHE_NO_PIN}}}\n").into_bytes())),
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
    fn the_computers_settings_are_kept_and_ours_come_first() {
        let ours = "app opensc-pkcs11 {\nframework pkcs15 {\n\tuse_pin_caching = false;\n}\n}\n";
        assert_eq!(text(""), ours);
        assert_eq!(text("app default {\n}\n"), format!("{ours}app default {{\n}}\n"));
        let own = "app default {\n}\napp opensc-pkcs11 {\n\tpkcs11 { slots_per_card = 1; }\n}\n";
        let (before, after) = own.split_at(own.find("\n\tpkcs11").unwrap());
        assert_eq!(text(own), format!("{before}\n{CACHE_NO_PIN}{after}"));
    }

    #[test]
    fn the_file_in_the_environment_variable_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("opensc.conf");
        std::fs::write(&file, "app default { debug = 0; }").unwrap();
        assert!(settings(Some(file.into())).ends_with(b"app default { debug = 0; }"));
        assert_eq!(settings(Some(folder.path().join("nowhere").into())), with_ours(Vec::new()));
    }
}
