//! The original `TicketApiDll.dll` in the system's folders, where old programs look: the installer has the libraries of
//! this package put in its place, and the original put back. Each step leaves something from which the next run goes on.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const LIBRARY: &str = "TicketApiDll.dll";
/// Where the original is while it is replaced.
const KEPT: &str = "TicketApiDll.dll.original";
const NEW: &str = "TicketApiDll.dll.new";
/// What every version of ours exports, and no original.
const OWN_EXPORT: &[u8] = b"ticketapi_set_prompter\0";

/// Replaces the originals by the libraries in `x64` and `x86` beside this program, or puts them back.
#[cfg(windows)]
pub fn run(replaces: bool) -> std::process::ExitCode {
    use ticketapi_platform::system;

    let outcome = || -> io::Result<()> {
        let program = std::env::current_exe()?;
        let own = program.parent().unwrap_or(Path::new(""));
        let places = [("x64", Some(system::folder()?)), ("x86", system::folder_for_32_bits())];
        for (width, folder) in places {
            let Some(folder) = folder else { continue };
            let outcome = if replaces {
                replace(&folder, &own.join(width).join(LIBRARY))
            } else {
                put_back(&folder, system::delete_at_restart)
            };
            outcome.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
        }
        Ok(())
    };
    match outcome() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ticketapi: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Keeps the original in `folder` aside and copies `ours` to its place. Does nothing where there is no original.
fn replace(folder: &Path, ours: &Path) -> io::Result<()> {
    let (library, kept, new) = (folder.join(LIBRARY), folder.join(KEPT), folder.join(NEW));
    let wanted = fs::read(ours)?;
    let there = read(&library)?;
    let is_original = there.as_deref().is_some_and(|bytes| !is_ours(bytes));
    if there.as_ref() == Some(&wanted) || !is_original && !kept.try_exists()? {
        return Ok(());
    }
    fs::write(&new, wanted)?;
    File::options().write(true).open(&new)?.sync_all()?;
    // A library can be renamed while programs have it loaded, but neither written nor deleted.
    let aside = if is_original { kept } else { unused(folder)? };
    if there.is_some() {
        fs::rename(&library, &aside)?;
    }
    fs::rename(&new, &library).inspect_err(|_| {
        if there.is_some() {
            let _ = fs::rename(&aside, &library);
        }
    })?;
    if !is_original {
        let _ = fs::remove_file(&aside);
    }
    Ok(())
}

/// Puts the original of `folder` back. One that somebody else has put there meanwhile stays. What a program has loaded
/// is left to `delete_later`.
fn put_back(folder: &Path, delete_later: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let (library, kept) = (folder.join(LIBRARY), folder.join(KEPT));
    let _ = fs::remove_file(folder.join(NEW));
    if !kept.try_exists()? {
        return Ok(());
    }
    match read(&library)? {
        Some(bytes) if !is_ours(&bytes) => fs::remove_file(&kept),
        None => fs::rename(&kept, &library),
        Some(_) => {
            let aside = unused(folder)?;
            fs::rename(&library, &aside)?;
            fs::rename(&kept, &library).inspect_err(|_| drop(fs::rename(&aside, &library)))?;
            fs::remove_file(&aside).or_else(|_| delete_later(&aside))
        }
    }
}

fn is_ours(library: &[u8]) -> bool {
    library.windows(OWN_EXPORT.len()).any(|bytes| bytes == OWN_EXPORT)
}

fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name for what is deleted as soon as no program uses it.
fn unused(folder: &Path) -> io::Result<PathBuf> {
    for number in 0..100 {
        let file = folder.join(format!("{LIBRARY}.old{number}"));
        if fs::remove_file(&file).is_ok() || !file.try_exists()? {
            return Ok(file);
        }
    }
    Err(io::Error::other(format!("{LIBRARY}.old0 to .old99 are in use: end the programs that use them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &[u8] = b"MZ the original";

    struct System {
        folder: tempfile::TempDir,
        ours: PathBuf,
    }

    impl System {
        fn with(library: Option<&[u8]>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let ours = folder.path().join("ours");
            fs::write(&ours, version(1)).unwrap();
            let system = Self { folder, ours };
            if let Some(library) = library {
                fs::write(system.file(LIBRARY), library).unwrap();
            }
            system
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn replace(&self) {
            replace(self.folder.path(), &self.ours).unwrap();
        }

        fn put_back(&self) {
            put_back(self.folder.path(), |file| panic!("{} is not in use", file.display())).unwrap();
        }

        /// What the library and the kept original contain. There is nothing else.
        fn contents(&self) -> [Option<Vec<u8>>; 2] {
            let others = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let others: Vec<_> =
                others.filter(|name| ![LIBRARY, KEPT, "ours"].contains(&name.to_str().unwrap())).collect();
            assert!(others.is_empty(), "{others:?}");
            [LIBRARY, KEPT].map(|name| read(&self.file(name)).unwrap())
        }
    }

    fn version(number: u8) -> Vec<u8> {
        [b"MZ", OWN_EXPORT, &[number]].concat()
    }

    fn some(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_owned())
    }

    #[test]
    fn the_original_is_kept_aside_and_put_back() {
        let system = System::with(Some(ORIGINAL));
        for _repair in 0..2 {
            system.replace();
            assert_eq!(system.contents(), [Some(version(1)), some(ORIGINAL)]);
        }
        for _again in 0..2 {
            system.put_back();
            assert_eq!(system.contents(), [some(ORIGINAL), None]);
        }
    }

    #[test]
    fn where_there_is_no_original_nothing_is_put() {
        for library in [None, Some(version(1)), Some(version(2))] {
            let system = System::with(library.as_deref());
            system.replace();
            system.put_back();
            assert_eq!(system.contents(), [library, None]);
        }
    }

    #[test]
    fn an_older_version_of_ours_is_replaced_and_the_original_stays_the_kept_one() {
        let system = System::with(Some(ORIGINAL));
        system.replace();
        fs::write(&system.ours, version(2)).unwrap();
        system.replace();
        assert_eq!(system.contents(), [Some(version(2)), some(ORIGINAL)]);
        system.put_back();
        assert_eq!(system.contents(), [some(ORIGINAL), None]);
    }

    #[test]
    fn a_newer_original_is_the_one_that_is_put_back() {
        let newer = b"MZ the next original";
        let system = System::with(Some(ORIGINAL));
        system.replace();
        fs::write(system.file(LIBRARY), newer).unwrap();
        system.replace();
        assert_eq!(system.contents(), [Some(version(1)), some(newer)]);
        fs::write(system.file(LIBRARY), ORIGINAL).unwrap();
        system.put_back();
        assert_eq!(system.contents(), [some(ORIGINAL), None]);
    }

    #[test]
    fn what_was_interrupted_is_finished_by_the_next_run() {
        // After the original was renamed, before ours has its name.
        let interrupted = || {
            let system = System::with(None);
            fs::write(system.file(KEPT), ORIGINAL).unwrap();
            fs::write(system.file(NEW), b"MZ half").unwrap();
            system
        };
        let system = interrupted();
        system.replace();
        assert_eq!(system.contents(), [Some(version(1)), some(ORIGINAL)]);
        let system = interrupted();
        system.put_back();
        assert_eq!(system.contents(), [some(ORIGINAL), None]);

        // Before the original was renamed.
        let system = System::with(Some(ORIGINAL));
        fs::write(system.file(NEW), b"MZ half").unwrap();
        system.put_back();
        assert_eq!(system.contents(), [some(ORIGINAL), None]);
    }

    #[test]
    fn the_name_of_what_cannot_be_deleted_yet_is_not_used() {
        let system = System::with(Some(ORIGINAL));
        system.replace();
        // A folder of that name cannot be deleted as a file, as a loaded library cannot.
        fs::create_dir(system.file("TicketApiDll.dll.old0")).unwrap();
        system.put_back();
        fs::remove_dir(system.file("TicketApiDll.dll.old0")).unwrap();
        assert_eq!(system.contents(), [some(ORIGINAL), None]);
    }

    #[test]
    fn the_original_stays_if_ours_is_not_there() {
        let system = System::with(Some(ORIGINAL));
        fs::remove_file(&system.ours).unwrap();
        assert!(replace(system.folder.path(), &system.ours).is_err());
        assert_eq!(system.contents(), [some(ORIGINAL), None]);
    }
}
