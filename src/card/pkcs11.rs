//! What there is to say about PKCS#11 modules without loading one: settings and known places.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which modules and which card to use, and how to leave the card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSettings {
    /// The modules, tried in this order; those of [`known_modules`] where none is configured.
    pub modules: Vec<PathBuf>,
    /// The label of the token, where several may be there (`CK_TOKEN_INFO`).
    pub token_label: Option<String>,
    /// The serial number of the token, where several may be there (`CK_TOKEN_INFO`).
    pub token_serial: Option<String>,
    /// Names of the issuers whose certificates may be used; empty means all.
    pub issuers: Vec<String>,
    /// How to leave the card.
    pub after_login: AfterLogin,
}

/// How to leave the card after a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterLogin {
    /// Reset: without it another program could go on using the PIN of this login for as long as
    /// any program holds the card.
    #[default]
    Reset,
    /// Leave it, for hosts that keep a login of their own on the card.
    Leave,
}

/// The modules of the makers whose cards are in use, then OpenSC, then SoftHSM.
const NAMES: [&str; 6] = [
    "libgclib.so",
    "libOcsCryptoki.so",
    "libOcsPKCS11Wrapper.so",
    "libidop11.so",
    "opensc-pkcs11.so",
    "libsofthsm2.so",
];

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

/// The known modules that are on this machine, best first, each once.
pub fn known_modules() -> Vec<PathBuf> {
    NAMES
        .iter()
        .filter_map(|name| {
            DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
        })
        .collect()
}

/// Where [`known_modules`] looks and for what, for a message to the user.
pub(super) fn known_places() -> String {
    format!("looked for {} in {}", NAMES.join(", "), DIRECTORIES.join(", "))
}
