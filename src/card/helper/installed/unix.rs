//! Unix.

use std::path::{Path, PathBuf};

/// The program for some modules.
pub struct Program {
    /// Its names, best first.
    pub names: &'static [&'static str],
    /// Precedes the error if it is not there.
    pub hint: String,
}

/// There is one for all modules.
pub fn program(_: &[PathBuf]) -> Program {
    Program { names: &["ticketapi-card"], hint: String::new() }
}

/// Where the helper is if it is neither beside the library nor in its prefix.
pub fn installed_folders() -> Vec<PathBuf> {
    ["/usr/local/libexec/ticketapi", "/usr/libexec/ticketapi"].map(PathBuf::from).into()
}

/// Returns the folder for programs of the prefix whose `bin`, `lib`, `lib64`, or `lib/<machine>` as in Debian, is
/// `folder`. Folders above any other folder are not searched, because they may belong to anybody.
pub fn in_prefix(folder: &Path) -> Option<PathBuf> {
    let is =
        |folder: &Path, names: &[&str]| names.iter().any(|name| folder.file_name().is_some_and(|own| own == *name));
    let above = folder.parent()?;
    let prefix = match folder {
        _ if is(folder, &["bin", "lib", "lib64"]) => above,
        _ if is(above, &["lib"]) => above.parent()?,
        _ => return None,
    };
    Some(prefix.join("libexec/ticketapi"))
}
