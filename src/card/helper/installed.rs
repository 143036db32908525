//! Where the helper program is installed.

#[cfg(unix)]
mod unix;
#[cfg(any(windows, test))]
#[cfg_attr(not(windows), expect(dead_code, reason = "tested on every system"))]
mod windows;

use std::path::{Path, PathBuf};

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;
use super::not_installed;
use crate::error::Result;
use crate::os::fs::trusted_program;

/// Finds the helper program for `modules`: `configured`, or the first trusted one in `folders`, in the folder for
/// programs of a prefix that one of them is in, or in the system's.
///
/// On Windows the first module decides whether it is the helper for 64-bit or for 32-bit modules.
///
/// # Errors
///
/// [`ErrorKind::NotInstalled`](crate::ErrorKind::NotInstalled) with every place that was searched.
pub fn find_helper(configured: Option<&Path>, modules: &[PathBuf], folders: &[PathBuf]) -> Result<PathBuf> {
    let system::Program { names, hint } = system::program(modules);
    let places: Vec<PathBuf> = match configured {
        Some(path) => vec![path.to_owned()],
        None => {
            let in_prefix = |folder: &PathBuf| [Some(folder.clone()), system::in_prefix(folder)];
            let folders: Vec<_> =
                folders.iter().flat_map(in_prefix).flatten().chain(system::installed_folders()).collect();
            names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).collect()
        }
    };
    let mut not_trusted = Vec::new();
    for path in places.iter().filter(|path| path.is_file()) {
        match trusted_program(path) {
            Ok(found) => return Ok(found),
            Err(error) => not_trusted.push(format!("{} is not trusted: {error}", path.display())),
        }
    }
    let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
    let (name, places) = (names[0], places.join(", "));
    // Descriptions are cut off at their end, so that the reason comes first.
    let reason = match not_trusted.join("; ") {
        none if none.is_empty() => format!("{name} does not exist"),
        reasons => reasons,
    };
    Err(not_installed(format!("{hint}the card helper {reason} (searched: {places})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_configured_helper_is_the_only_one() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(system::program(&[]).names[0]), "").unwrap();
        let elsewhere = directory.path().join("elsewhere");
        let error = find_helper(Some(&elsewhere), &[], &[directory.path().to_owned()]).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotInstalled);
        assert!(error.detail().contains(elsewhere.to_str().unwrap()), "{error}");
    }

    #[cfg(unix)]
    /// Creates a helper in `folder`.
    fn put(folder: &Path) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let helper = folder.join(system::program(&[]).names[0]);
        std::fs::write(&helper, "").unwrap();
        helper
    }

    #[cfg(unix)]
    #[test]
    fn a_helper_is_found_beside_the_library_and_in_its_own_prefix() {
        let prefix = tempfile::tempdir().unwrap();
        let helper = put(&prefix.path().join("libexec/ticketapi"));
        for folder in ["lib", "lib64", "bin", "lib/x86_64-linux-gnu"] {
            let folder = prefix.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            assert_eq!(find_helper(None, &[], std::slice::from_ref(&folder)).unwrap(), helper);
            let beside = put(&folder);
            assert_eq!(find_helper(None, &[], &[folder]).unwrap(), beside);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_helper_beside_the_prefix_is_not_used() {
        let shared = tempfile::tempdir().unwrap();
        put(&shared.path().join("libexec/ticketapi"));
        for folder in ["x", "x/lib", "x/lib/x86_64-linux-gnu", "x/unpacked/1234"] {
            let folder = shared.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            assert!(find_helper(None, &[], std::slice::from_ref(&folder)).is_err(), "{}", folder.display());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_helper_that_others_can_change_is_not_used_and_the_next_one_is() {
        use std::os::unix::fs::PermissionsExt;
        let prefix = tempfile::tempdir().unwrap();
        let lib = prefix.path().join("lib");
        let beside = put(&lib);
        std::fs::set_permissions(&lib, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = find_helper(None, &[], std::slice::from_ref(&lib)).unwrap_err();
        let reason = format!("{} is not trusted: {} can be changed by other users", beside.display(), lib.display());
        assert!(error.detail().contains(&reason), "{error}");
        assert!(find_helper(Some(&beside), &[], &[]).unwrap_err().detail().contains(&reason));
        let next = put(&prefix.path().join("libexec/ticketapi"));
        assert_eq!(find_helper(None, &[], &[lib]).unwrap(), next);
    }
}
