//! PKCS#11 modules as settings and as files in known places; loads none.

#[cfg(any(windows, test))]
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which modules and which card to use, and how to leave the card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSettings {
    /// The modules, tried in this order; by default those of [`known_modules`].
    pub modules: Vec<PathBuf>,
    /// The token's label, to choose among several (`CK_TOKEN_INFO`).
    pub token_label: Option<String>,
    /// The token's serial number, to choose among several (`CK_TOKEN_INFO`).
    pub token_serial: Option<String>,
    /// Names of the issuers whose certificates may be used; empty means any.
    pub issuers: Vec<String>,
    /// How to leave the card.
    pub after_login: AfterLogin,
}

/// How to leave the card after a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AfterLogin {
    /// Reset it. Otherwise another program could use this login's PIN while any program holds the
    /// card.
    #[default]
    Reset,
    /// Leave it as it is, for hosts that keep their own login on the card.
    Leave,
}

/// The modules of the makers whose cards are in use, then OpenSC, then SoftHSM.
#[cfg(unix)]
const NAMES: [&str; 6] = [
    "libgclib.so",
    "libOcsCryptoki.so",
    "libOcsPKCS11Wrapper.so",
    "libidop11.so",
    "opensc-pkcs11.so",
    "libsofthsm2.so",
];

#[cfg(unix)]
const DIRECTORIES: [&str; 13] = [
    "/usr/lib/pkcs11",
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64/pkcs11",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/softhsm",
    "/usr/local/lib",
    "/usr/local/AWP/lib",
    "/Library/OpenSC/lib",
    "/opt/homebrew/lib",
];

/// The modules of two makers whose cards are in use, then OpenSC, where their installers put them.
#[cfg(windows)]
const NAMES: [&str; 3] = ["gclib.dll", "OcsCryptoki.dll", "opensc-pkcs11.dll"];

#[cfg(windows)]
const DIRECTORIES: [&str; 4] = [
    r"C:\Program Files\Gemalto\Classic Client\BIN",
    r"C:\Program Files (x86)\Gemalto\Classic Client\BIN",
    r"C:\Program Files\Oberthur Technologies\AWP\DLLs",
    r"C:\Program Files\OpenSC Project\OpenSC\pkcs11",
];

/// In place of a module's path: Windows' own smartcard stack. It is used where no module is set and none is found.
#[doc(hidden)]
pub const WINDOWS: &str = "windows";

/// Returns the modules to use: the one that is set, or the known ones.
#[doc(hidden)]
pub fn modules_for(set: Option<&Path>) -> Vec<PathBuf> {
    let modules = set.map_or_else(known_modules, |module| vec![module.to_owned()]);
    if cfg!(windows) && modules.is_empty() { vec![WINDOWS.into()] } else { modules }
}

/// Returns the known modules on this machine, best first, each once.
pub fn known_modules() -> Vec<PathBuf> {
    NAMES
        .iter()
        .filter_map(|name| {
            DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
        })
        .collect()
}

/// The processor that a program or library of Windows is for.
#[cfg(any(windows, test))]
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// It is a 32-bit one.
    X86,
    /// It is a 64-bit one.
    X64,
    /// Neither.
    Other,
}

#[cfg(any(windows, test))]
impl Machine {
    /// This program's.
    pub const OWN: Self = match () {
        () if cfg!(target_arch = "x86") => Self::X86,
        () if cfg!(target_arch = "x86_64") => Self::X64,
        () => Self::Other,
    };

    /// Reads it from the header of the file at `path`.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it is neither a program nor a library of Windows.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let mut start = [0; 0x40];
        file.read_exact(&mut start)?;
        let header = u32::from_le_bytes([start[0x3c], start[0x3d], start[0x3e], start[0x3f]]);
        let mut signature = [0; 6];
        file.seek(SeekFrom::Start(header.into()))?;
        file.read_exact(&mut signature)?;
        match (&start, signature) {
            ([b'M', b'Z', ..], [b'P', b'E', 0, 0, 0x4c, 0x01]) => Ok(Self::X86),
            ([b'M', b'Z', ..], [b'P', b'E', 0, 0, 0x64, 0x86]) => Ok(Self::X64),
            ([b'M', b'Z', ..], [b'P', b'E', 0, 0, ..]) => Ok(Self::Other),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The places and names that [`known_modules`] searches, for a message to the user.
pub(super) fn known_places() -> String {
    format!("searched for {} in {}", NAMES.join(", "), DIRECTORIES.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_of_a_module_is_in_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module.dll");
        let of = |start: &[u8], header: &[u8]| {
            let mut bytes = vec![0; 0x80];
            bytes[..start.len()].copy_from_slice(start);
            bytes[0x3c] = 0x80;
            bytes.extend_from_slice(header);
            std::fs::write(&path, bytes).unwrap();
            Machine::of(&path)
        };
        assert_eq!(of(b"MZ", b"PE\0\0\x4c\x01").unwrap(), Machine::X86);
        assert_eq!(of(b"MZ", b"PE\0\0\x64\x86").unwrap(), Machine::X64);
        assert_eq!(of(b"MZ", b"PE\0\0\x64\xaa").unwrap(), Machine::Other);
        for (start, header) in [(b"MZ", &b"NE\0\0\x4c\x01"[..]), (b"\x7fE", b"PE\0\0\x4c\x01"), (b"MZ", b"PE")] {
            assert!(of(start, header).is_err());
        }
    }
}
