//! Which files are trusted: those that only root and the user can change.
//!
//! A program that others can replace would get the PIN, and a configuration that others can write could name such
//! a program.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{getegid, geteuid};

use super::privilege::variable;

/// The kernel's number for users that a user namespace does not map.
const OVERFLOW: u32 = 65534;

#[cfg(any(feature = "nuts", feature = "oidc"))]
const READ_GROUP: u32 = 0o040;
#[cfg(any(feature = "nuts", feature = "oidc"))]
const READ_OTHERS: u32 = 0o004;
const WRITE_GROUP: u32 = 0o020;
const WRITE_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Resolves `path` and checks that only root and this user can change the file and each folder above it. Use the
/// returned path, not `path`, because links may change.
///
/// # Errors
///
/// If it does not exist; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if it is not trusted.
pub fn trusted(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    let me = User::of_this_process();
    for part in real.ancestors() {
        let metadata = fs::symlink_metadata(part)?;
        // In a sticky folder others cannot replace files that are not theirs; the files below were checked.
        let sticky = part != real && metadata.mode() & STICKY != 0;
        if let Some(fault) = me.fault(part, &metadata, sticky) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, fault));
        }
    }
    Ok(real)
}

/// As [`trusted`], for programs and libraries that will run. On Windows they must also be on this computer.
///
/// # Errors
///
/// As [`trusted`].
pub fn trusted_program(path: &Path) -> io::Result<PathBuf> {
    trusted(path)
}

/// Reads the trusted file at `path`, of at most `limit` bytes. Does not block on a pipe or a device.
///
/// # Errors
///
/// Those of [`trusted`]; also if it is not a regular file or too large.
pub(crate) fn read_trusted(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    TrustedFile::open(path, limit)?.read()
}

/// A trusted file that is open for reading.
pub(crate) struct TrustedFile {
    /// For one byte more than `limit`.
    file: io::Take<File>,
    metadata: fs::Metadata,
    limit: u64,
}

impl TrustedFile {
    /// Opens it as [`read_trusted`] does.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let (file, metadata) = open_trusted(path, limit)?;
        Ok(Self { file, metadata, limit })
    }

    pub(crate) fn version(&self) -> FileVersion {
        let file = &self.metadata;
        FileVersion {
            place: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Reads it all.
    pub(crate) fn read(mut self) -> io::Result<Vec<u8>> {
        within(self.limit, self.metadata.len())?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.metadata.len()).unwrap_or(0) + 1);
        self.file.read_to_end(&mut bytes)?;
        within(self.limit, bytes.len() as u64)?;
        Ok(bytes)
    }
}

/// Differs after a change of a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct FileVersion {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Does the same as [`read_trusted`] for a file with a secret: other users must not be able to read it either.
#[cfg(any(feature = "nuts", feature = "oidc"))]
pub(crate) fn read_secret(path: &Path, limit: u64) -> io::Result<crate::secret::SecretBytes> {
    let (mut file, metadata) = open_trusted(path, limit)?;
    if metadata.mode() & READ_OTHERS != 0 || User::of_this_process().group_has(READ_GROUP, path, &metadata) {
        let path = path.display();
        let fault = format!("other users can read it; take their right to (chmod go-rwx {path})");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, fault));
    }
    within(limit, metadata.len())?;
    // Allocated at its full size, with room for noticing the end: a buffer that grows leaves copies behind.
    let mut bytes = crate::secret::secret_buffer(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(32));
    file.read_to_end(&mut bytes)?;
    within(limit, bytes.len() as u64)?;
    Ok(bytes)
}

fn within(limit: u64, size: u64) -> io::Result<()> {
    if size > limit {
        let text = format!("it is too large (more than {limit} bytes)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(())
}

/// Opens a trusted regular file, for reading at most one byte more than `limit`.
fn open_trusted(path: &Path, limit: u64) -> io::Result<(io::Take<File>, fs::Metadata)> {
    let real = trusted(path)?;
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    // Opening a device may already have an effect.
    if !fs::metadata(&real)?.is_file() {
        return Err(no_file());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(&real, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(no_file());
    }
    // Files in /proc have no size, and any file may grow meanwhile.
    Ok((file.take(limit + 1), metadata))
}

/// Returns `true` if `file` is a program that somebody may run.
pub(crate) fn can_be_run(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

/// The user's own folder for sockets and locks: the one in `$XDG_RUNTIME_DIR`; or else in `/run/user/UID`, if the
/// system has created it for this user (programs of `cron` and `su` do not have the variable); or else in the
/// user's home. It may not exist or not be private yet.
pub fn own_folder() -> Option<PathBuf> {
    // The XDG base directory specification requires relative paths to be ignored.
    let folder = |name| variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let me = geteuid().as_raw();
    let systems = || {
        let folder = PathBuf::from(format!("/run/user/{me}"));
        let metadata = fs::symlink_metadata(&folder).ok()?;
        (metadata.is_dir() && metadata.uid() == me && metadata.mode() & 0o777 == 0o700).then_some(folder)
    };
    let folder = folder("XDG_RUNTIME_DIR").or_else(systems).or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(folder.join("ticketapi"))
}

/// The user for whom files must be safe.
struct User {
    uid: u32,
    gid: u32,
    /// Root is not mapped in this user namespace, so that its files belong to nobody. Seldom asked for.
    root_is_nobody: OnceCell<bool>,
}

impl User {
    fn of_this_process() -> Self {
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), root_is_nobody: OnceCell::new() }
    }

    fn root_is_nobody(&self) -> bool {
        let read = || fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !maps_root(&map));
        *self.root_is_nobody.get_or_init(read)
    }

    fn fault(&self, path: &Path, metadata: &fs::Metadata, sticky: bool) -> Option<String> {
        let (owner, mode) = (metadata.uid(), metadata.mode());
        // These may also be other users' files, but this user has named them.
        let nobodys = owner == OVERFLOW && self.root_is_nobody();
        if owner != 0 && owner != self.uid && !nobodys {
            return Some(format!("{} belongs to another user; it must belong to you or to root", path.display()));
        }
        let by_group = self.group_has(WRITE_GROUP, path, metadata);
        if !sticky && (by_group || mode & WRITE_OTHERS != 0) {
            let path = path.display();
            return Some(format!(
                "{path} can be changed by other users; take their right to write (chmod go-w {path})"
            ));
        }
        None
    }

    /// Returns `true` if users other than this one have the right through the file's group.
    fn group_has(&self, right: u32, path: &Path, metadata: &fs::Metadata) -> bool {
        // By convention a private group has the number of its only user. An access list is visible in the group's
        // bits.
        let private = metadata.gid() == 0 || metadata.gid() == self.uid && metadata.gid() == self.gid;
        metadata.mode() & right != 0 && (!private || has_access_list(path))
    }
}

fn has_access_list(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0]).is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// Returns `true` if root of the parent namespace is mapped here (`user_namespaces(7)`: number here, number there,
/// count).
fn maps_root(map: &str) -> bool {
    map.lines().any(|line| line.split_whitespace().nth(1) == Some("0"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::time::Duration;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        folder
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn problem(path: &Path) -> String {
        let error = trusted(path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        error.to_string()
    }

    #[test]
    fn a_file_of_the_users_below_a_sticky_folder_is_trusted() {
        let folder = folder();
        let file = folder.path().join("file");
        assert_eq!(trusted(&file).unwrap(), file.canonicalize().unwrap());
        assert_eq!(read_trusted(&file, 4).unwrap(), b"text");
        set(folder.path(), 0o1777);
        trusted(&file).unwrap();
    }

    #[test]
    fn files_that_others_can_write_and_files_below_are_not_trusted() {
        let folder = folder();
        let file = folder.path().join("file");
        for (path, mode) in [(file.as_path(), 0o602), (&file, 0o1602), (folder.path(), 0o702)] {
            let before = path.metadata().unwrap().mode();
            set(path, mode);
            assert!(problem(&file).starts_with(&format!("{} can be changed by other users", path.display())));
            set(path, before);
        }
        trusted(&file).unwrap();
    }

    #[test]
    fn the_group_of_root_or_of_the_user_may_write() {
        let folder = folder();
        let file = folder.path().join("file");
        set(&file, 0o660);
        let metadata = file.metadata().unwrap();
        let user = |uid, gid| User { uid, gid, root_is_nobody: false.into() };
        let own = metadata.gid() == 0 || metadata.gid() == metadata.uid();
        assert_eq!(user(metadata.uid(), metadata.gid()).fault(&file, &metadata, false).is_none(), own);
        if geteuid().is_root() {
            chown(&file, Some(5000), Some(5000)).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!(user(5000, 5000).fault(&file, &metadata, false), None);
            assert!(user(5000, 100).fault(&file, &metadata, false).is_some());
            chown(&file, Some(0), Some(100)).unwrap();
            assert!(problem(&file).contains("chmod go-w"));
        }
    }

    #[test]
    fn only_a_file_that_somebody_may_run_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zenity");
        assert!(!can_be_run(&file));
        fs::write(&file, "").unwrap();
        for (mode, can) in [(0o644, false), (0o700, true), (0o645, true)] {
            set(&file, mode);
            assert_eq!(can_be_run(&file), can, "{mode:o}");
        }
        assert!(!can_be_run(folder.path()));
    }

    #[test]
    fn files_of_another_user_and_files_below_are_not_trusted() {
        if !geteuid().is_root() {
            return;
        }
        let folder = folder();
        let file = folder.path().join("file");
        for path in [file.as_path(), folder.path()] {
            chown(path, Some(OVERFLOW), None).unwrap();
            assert!(problem(&file).starts_with(&format!("{} belongs to another user", path.display())));
            chown(path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn the_path_that_is_checked_is_the_one_that_is_returned() {
        let (here, there) = (folder(), folder());
        let link = here.path().join("link");
        symlink(there.path().join("file"), &link).unwrap();
        assert_eq!(trusted(&link).unwrap(), there.path().canonicalize().unwrap().join("file"));
        set(there.path(), 0o777);
        problem(&link);
    }

    #[test]
    fn nobodys_files_are_trusted_only_if_root_is_not_mapped() {
        let folder = folder();
        let file = folder.path().join("file");
        let metadata = file.metadata().unwrap();
        let me = User { uid: 1, gid: 1, root_is_nobody: true.into() };
        if geteuid().is_root() {
            chown(&file, Some(OVERFLOW), None).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!(me.fault(&file, &metadata, false), None);
            assert!(User { root_is_nobody: false.into(), ..me }.fault(&file, &metadata, false).is_some());
        }
        let known = metadata.uid() == 0;
        assert_eq!(me.fault(&file, &metadata, false).is_none(), known);
        assert!(maps_root("         0          0 4294967295\n"));
        assert!(!maps_root("         0       1000          1\n"));
        assert!(!maps_root("      1000       1000          1\n"));
    }

    /// Sets an access list that gives user 5000 `rights` and limits all but the owner to `mask`. Returns `false` on a
    /// file system that has none.
    #[cfg(target_os = "linux")]
    fn set_access_list(path: &Path, rights: u16, mask: u16) -> bool {
        use rustix::fs::{XattrFlags, setxattr};
        use rustix::io::Errno;

        const NO_ID: u32 = u32::MAX;
        // acl(5) as the kernel stores it: version 2; then kind, rights and number of owner, user, group, mask, others.
        let entries = [(1, 6, NO_ID), (2, rights, 5000), (4, 4, NO_ID), (0x10, mask, NO_ID), (0x20, 0, NO_ID)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (kind, rights, id) in entries {
            list.extend([u16::to_le_bytes(kind), u16::to_le_bytes(rights)].concat());
            list.extend(u32::to_le_bytes(id));
        }
        match setxattr(path, "system.posix_acl_access", &list, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => false,
            done => done.map(|()| true).unwrap(),
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_user_whom_an_access_list_lets_write_is_another_user() {
        let folder = folder();
        let file = folder.path().join("file");
        if !set_access_list(&file, 6, 6) {
            return;
        }
        // `setfacl -m u:5000:rw`: also where the group is root's or private.
        assert!(problem(&file).starts_with(&format!("{} can be changed by other users", file.display())));
        // The mask takes the right away; or the list only lets them read.
        for (rights, mask) in [(6, 4), (4, 4)] {
            assert!(set_access_list(&file, rights, mask));
            trusted(&file).unwrap();
        }
        #[cfg(any(feature = "nuts", feature = "oidc"))]
        {
            read_secret(&file, 4).unwrap_err();
            assert!(set_access_list(&file, 4, 0));
            read_secret(&file, 4).unwrap();
        }
        assert!(set_access_list(folder.path(), 7, 7));
        assert!(problem(&file).starts_with(&format!("{} can be changed by other users", folder.path().display())));
    }

    #[cfg(any(feature = "nuts", feature = "oidc"))]
    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = folder();
        let file = folder.path().join("file");
        for mode in [0o600, 0o400] {
            set(&file, mode);
            assert_eq!(*read_secret(&file, 4).unwrap(), b"text");
        }
        for mode in [0o604, 0o644] {
            set(&file, mode);
            assert!(read_secret(&file, 4).unwrap_err().to_string().contains("other users can read it"));
        }
        set(&file, 0o600);
        assert!(read_secret(&file, 3).unwrap_err().to_string().contains("too large"));
        if geteuid().is_root() {
            set(&file, 0o640);
            chown(&file, Some(0), Some(100)).unwrap();
            assert!(read_secret(&file, 4).is_err());
        }
    }

    #[test]
    fn only_a_regular_file_of_a_moderate_size_is_read() {
        let folder = folder();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (done, result) = std::sync::mpsc::channel();
        let paths = [pipe, "/dev/zero".into(), folder.path().to_owned()];
        std::thread::spawn(move || {
            for path in paths {
                done.send(read_trusted(&path, 10).unwrap_err().to_string()).unwrap();
            }
        });
        for _ in 0..3 {
            let text = result.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(text.contains("not a regular file") || text.contains("/dev/zero"), "{text}");
        }
        let text = read_trusted(&folder.path().join("file"), 3).unwrap_err().to_string();
        assert!(text.contains("too large"), "{text}");
        // It has no size.
        assert!(read_trusted(Path::new("/proc/self/maps"), 3).is_err());
    }
}
