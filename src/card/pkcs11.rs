//! PKCS#11 modules as settings and as files in known places; loads none.

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

/// Returns the known modules on this machine, best first, each once.
pub fn known_modules() -> Vec<PathBuf> {
    NAMES
        .iter()
        .filter_map(|name| {
            DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
        })
        .collect()
}

/// The places and names that [`known_modules`] searches, for a message to the user.
pub(super) fn known_places() -> String {
    format!("searched for {} in {}", NAMES.join(", "), DIRECTORIES.join(", "))
}
