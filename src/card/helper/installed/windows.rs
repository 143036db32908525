//! Windows, where a module can only be loaded by a helper for the same processor.

use std::env;
use std::path::{Path, PathBuf};

use crate::card::pkcs11::Machine;

const FOR_64_BITS: &str = "ticketapi-card.exe";
const FOR_32_BITS: &str = "ticketapi-card32.exe";

/// The program for some modules.
pub struct Program {
    /// Its names, best first.
    pub names: &'static [&'static str],
    /// Precedes the error if it is not there.
    pub hint: String,
}

/// The first module that is one decides.
pub fn program(modules: &[PathBuf]) -> Program {
    let machine = modules.iter().find_map(|path| Some((path, Machine::of(path).ok()?)));
    match machine {
        Some((path, Machine::X86)) => Program {
            names: &[FOR_32_BITS],
            hint: format!(
                "the module {} is for 32-bit programs; install the card helper for them, or set pkcs11_module to \
                the 64-bit module of the same maker: ",
                path.display()
            ),
        },
        Some((_, Machine::X64)) => Program { names: &[FOR_64_BITS], hint: String::new() },
        // The helper says what is wrong with the modules.
        Some((_, Machine::Other)) | None => Program { names: &[FOR_64_BITS, FOR_32_BITS], hint: String::new() },
    }
}

/// Where the installer puts the helpers. For a 32-bit program, `ProgramFiles` is the folder of 32-bit programs.
pub fn installed_folders() -> Vec<PathBuf> {
    let folders = ["ProgramW6432", "ProgramFiles"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join("ticketapi")).collect()
}

/// Returns the folder above `folder` if that is the one for libraries of 64 or of 32 bits.
pub fn in_prefix(folder: &Path) -> Option<PathBuf> {
    let is_libraries =
        folder.file_name().is_some_and(|name| ["x64", "x86"].iter().any(|own| name.eq_ignore_ascii_case(own)));
    folder.parent().filter(|_| is_libraries).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the beginning of a module for a processor.
    fn module(path: &Path, machine: [u8; 2]) {
        let mut bytes = vec![0; 0x40];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes.extend_from_slice(b"PE\0\0");
        bytes.extend_from_slice(&machine);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_first_module_decides_which_helper_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let [long, short, none] = ["64.dll", "32.dll", "none.dll"].map(|name| folder.path().join(name));
        module(&long, [0x64, 0x86]);
        module(&short, [0x4c, 0x01]);
        let names = |modules: &[&PathBuf]| {
            let modules: Vec<_> = modules.iter().map(|&module| module.clone()).collect();
            program(&modules).names
        };
        assert_eq!(names(&[&long, &short]), [FOR_64_BITS]);
        assert_eq!(names(&[&none, &short, &long]), [FOR_32_BITS]);
        assert_eq!(names(&[&none]), [FOR_64_BITS, FOR_32_BITS]);
        assert!(program(&[short]).hint.contains("32.dll is for 32-bit programs"));
    }

    #[test]
    fn the_helpers_are_above_the_folders_of_the_libraries() {
        for (folder, above) in [("a/x64", Some("a")), ("a/X86", Some("a")), ("a/bin", None), ("a/x64/b", None)] {
            assert_eq!(in_prefix(Path::new(folder)), above.map(PathBuf::from), "{folder}");
        }
    }
}
