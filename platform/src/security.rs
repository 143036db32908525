//! Users, and who may change files.

use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{
    ERROR_CANT_OPEN_ANONYMOUS, ERROR_INSUFFICIENT_BUFFER, ERROR_NO_TOKEN, GENERIC_ALL, GENERIC_READ, GENERIC_WRITE,
    HANDLE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, GetAce, GetKernelObjectSecurity,
    GetSecurityDescriptorDacl, GetSecurityDescriptorOwner, GetTokenInformation, INHERIT_ONLY_ACE,
    OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
    SID_AND_ATTRIBUTES, TOKEN_GROUPS, TOKEN_INFORMATION_CLASS, TOKEN_MANDATORY_LABEL, TOKEN_QUERY, TOKEN_USER,
    TokenGroups, TokenIntegrityLevel, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_APPEND_DATA, FILE_DELETE_CHILD, FILE_FLAG_BACKUP_SEMANTICS, FILE_READ_DATA, FILE_WRITE_DATA,
    READ_CONTROL, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::SystemServices::SE_GROUP_LOGON_ID;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcess, OpenProcessToken, OpenThreadToken,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

use crate::check;
use crate::pipe::is;

/// Administrators, SYSTEM, TrustedInstaller, and the owner's own rights: the owner is checked by itself.
const TRUSTED: [&str; 4] =
    ["S-1-5-32-544", "S-1-5-18", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", "S-1-3-4"];

/// The user of a token for impersonation that says nothing more.
const ANONYMOUS: &str = "S-1-5-7";

/// Kinds of access lists' entries that grant rights; see `ACE_HEADER`.
const ALLOWED: u8 = 0;
const ALLOWED_CALLBACK: u8 = 9;

/// Rights that matter if others have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Changing a file.
    Change,
    /// Adding files to a folder, or replacing those in it.
    Add,
    /// Replacing what is in a folder, or the folder.
    Replace,
    /// Reading a file.
    Read,
}

impl Rights {
    fn mask(self) -> u32 {
        let control = DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_ALL;
        match self {
            Self::Change => control | GENERIC_WRITE | FILE_WRITE_DATA | FILE_APPEND_DATA,
            // The number is also that of FILE_ADD_FILE.
            Self::Add => control | GENERIC_WRITE | FILE_DELETE_CHILD | FILE_WRITE_DATA,
            Self::Replace => control | FILE_DELETE_CHILD,
            Self::Read => control | GENERIC_READ | FILE_READ_DATA,
        }
    }
}

/// Why a file is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It belongs to neither this user, Administrators, SYSTEM nor TrustedInstaller.
    Owner,
    /// Others have the right.
    Others,
}

/// Returns the security identifier of this process's user.
///
/// # Errors
///
/// If the system does not tell.
pub fn user_sid() -> io::Result<&'static str> {
    /// A process keeps its user.
    static USER: OnceLock<String> = OnceLock::new();
    if let Some(user) = USER.get() {
        return Ok(user);
    }
    let user = Token::of_this_process()?.user()?;
    Ok(USER.get_or_init(|| user))
}

/// Returns the security identifier of the user that this thread impersonates, if it is another one than the process's.
///
/// # Errors
///
/// If the system does not tell.
pub fn impersonated_user() -> io::Result<Option<String>> {
    let mut token = ptr::null_mut();
    // SAFETY: `token` is writable. The process's own rights decide whether the token may be opened.
    let opened = unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &mut token) };
    match check(opened) {
        Err(error) if is(&error, ERROR_NO_TOKEN) => return Ok(None),
        // One that says nothing about its user.
        Err(error) if is(&error, ERROR_CANT_OPEN_ANONYMOUS) => return Ok(Some(ANONYMOUS.to_owned())),
        opened => opened?,
    }
    // SAFETY: the handle is new and belongs to nobody else.
    let user = Token(unsafe { OwnedHandle::from_raw_handle(token) }).user()?;
    Ok(Some(user).filter(|user| user_sid().ok() != Some(user)))
}

/// The user that a process runs as, and how far the system trusts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's security identifier.
    pub user: String,
    /// The integrity level: 8192 for ordinary programs, less for confined ones.
    pub integrity: u32,
}

impl Identity {
    /// Returns this process's.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn of_this_process() -> io::Result<Self> {
        Token::of_this_process()?.identity()
    }

    /// Returns that of the process with the number `process`.
    ///
    /// # Errors
    ///
    /// If it has ended, or if this process has no right to know.
    pub fn of_process(process: u32) -> io::Result<Self> {
        // SAFETY: the call only takes numbers.
        let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process) };
        if process.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is new and belongs to nobody else.
        let process = unsafe { OwnedHandle::from_raw_handle(process) };
        Token::of(process.as_raw_handle())?.identity()
    }
}

/// A process's rights.
struct Token(OwnedHandle);

impl Token {
    fn of_this_process() -> io::Result<Self> {
        // SAFETY: the call has no preconditions.
        Self::of(unsafe { GetCurrentProcess() })
    }

    /// The handle must be a process's.
    fn of(process: HANDLE) -> io::Result<Self> {
        let mut token = ptr::null_mut();
        // SAFETY: `token` is writable; a handle that is no process's is an error.
        check(unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) })?;
        // SAFETY: the handle is new and belongs to nobody else.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(token) }))
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity { user: self.user()?, integrity: self.integrity()? })
    }

    fn user(&self) -> io::Result<String> {
        let buffer = self.information(TokenUser)?;
        // SAFETY: the call has written this structure; the identifier that it points at is in the buffer too.
        sid_text(unsafe { (*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid })
    }

    fn integrity(&self) -> io::Result<u32> {
        let buffer = self.information(TokenIntegrityLevel)?;
        // SAFETY: as in `user`.
        let level = sid_text(unsafe { (*buffer.as_ptr().cast::<TOKEN_MANDATORY_LABEL>()).Label.Sid })?;
        // Its last number is the level.
        level.rsplit('-').next().and_then(|level| level.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns the identifier of the logon session; `None` for some services.
    fn logon(&self) -> io::Result<Option<String>> {
        let buffer = self.information(TokenGroups)?;
        let groups = buffer.as_ptr().cast::<TOKEN_GROUPS>();
        // SAFETY: the call has written this structure with `GroupCount` entries; the identifiers are in the buffer too.
        let entries: &[SID_AND_ATTRIBUTES] =
            unsafe { std::slice::from_raw_parts((*groups).Groups.as_ptr(), (*groups).GroupCount as usize) };
        let logon = SE_GROUP_LOGON_ID as u32;
        entries.iter().find(|entry| entry.Attributes & logon == logon).map(|entry| sid_text(entry.Sid)).transpose()
    }

    /// Returns the structure of this class and what follows it, aligned for both.
    fn information(&self, class: TOKEN_INFORMATION_CLASS) -> io::Result<Vec<u64>> {
        let mut length = 0;
        // SAFETY: null asks for the length, and the call fails.
        unsafe { GetTokenInformation(self.0.as_raw_handle(), class, ptr::null_mut(), 0, &mut length) };
        let mut buffer = vec![0_u64; (length as usize).div_ceil(8).max(8)];
        // SAFETY: the buffer has the given size.
        check(unsafe {
            let size = mem::size_of_val(&*buffer) as u32;
            GetTokenInformation(self.0.as_raw_handle(), class, buffer.as_mut_ptr().cast(), size, &mut length)
        })?;
        Ok(buffer)
    }
}

/// Returns the security identifier of the owner of a pipe, event or similar object.
///
/// # Errors
///
/// If the handle does not give the right to know.
pub(crate) fn owner(handle: HANDLE) -> io::Result<String> {
    owner_in(&descriptor(handle, OWNER_SECURITY_INFORMATION)?)
}

/// Returns why others than this user and the system's administrators have `rights` to the file at `path`.
///
/// # Errors
///
/// If its owner and access list cannot be read.
pub fn fault(path: &Path, rights: Rights) -> io::Result<Option<Fault>> {
    let me = user_sid()?;
    let is_trusted = |sid: &str| sid == me || TRUSTED.contains(&sid);
    // With this flag folders can be opened too.
    let file = OpenOptions::new().access_mode(READ_CONTROL).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)?;
    let descriptor = descriptor(file.as_raw_handle(), OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION)?;
    if !is_trusted(&owner_in(&descriptor)?) {
        return Ok(Some(Fault::Owner));
    }
    let mut list: *mut ACL = ptr::null_mut();
    let (mut present, mut defaulted) = (0, 0);
    // SAFETY: the system has written the descriptor, and all results are writable.
    check(unsafe { GetSecurityDescriptorDacl(pointer(&descriptor), &mut present, &mut list, &mut defaulted) })?;
    // A file without a list is everybody's.
    if present == 0 || list.is_null() {
        return Ok(Some(Fault::Others));
    }
    // SAFETY: the list is in the descriptor, which lives until the end of this function.
    let count = u32::from(unsafe { (*list).AceCount });
    for index in 0..count {
        let mut entry: *mut c_void = ptr::null_mut();
        // SAFETY: the list has an entry of this index, and `entry` is writable.
        check(unsafe { GetAce(list, index, &mut entry) })?;
        // SAFETY: each entry begins with a header.
        let header = unsafe { *entry.cast::<ACE_HEADER>() };
        let for_this_file = u32::from(header.AceFlags) & INHERIT_ONLY_ACE == 0;
        if !for_this_file || !matches!(header.AceType, ALLOWED | ALLOWED_CALLBACK) {
            continue;
        }
        let entry = entry.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: entries of these kinds have this form, and the identifier begins at the last field.
        let (mask, sid) = unsafe { ((*entry).Mask, ptr::addr_of_mut!((*entry).SidStart).cast::<c_void>()) };
        if mask & rights.mask() != 0 && !is_trusted(&sid_text(sid)?) {
            return Ok(Some(Fault::Others));
        }
    }
    Ok(None)
}

/// Returns the parts `what` of an object's security descriptor, aligned.
fn descriptor(handle: HANDLE, what: OBJECT_SECURITY_INFORMATION) -> io::Result<Vec<u64>> {
    let mut buffer = vec![0_u64; 64];
    loop {
        let size = mem::size_of_val(&*buffer) as u32;
        let mut needed = 0;
        // SAFETY: a handle that is not open is an error, and the buffer has the given size.
        let read =
            check(unsafe { GetKernelObjectSecurity(handle, what, buffer.as_mut_ptr().cast(), size, &mut needed) });
        match read {
            Err(error) if is(&error, ERROR_INSUFFICIENT_BUFFER) && needed > size => {
                buffer.resize((needed as usize).div_ceil(8), 0);
            }
            read => return read.map(|()| buffer),
        }
    }
}

fn owner_in(descriptor: &[u64]) -> io::Result<String> {
    let mut owner: PSID = ptr::null_mut();
    let mut defaulted = 0;
    // SAFETY: the system has written the descriptor, and both results are writable.
    check(unsafe { GetSecurityDescriptorOwner(pointer(descriptor), &mut owner, &mut defaulted) })?;
    sid_text(owner)
}

/// The calls that take it only read.
fn pointer(descriptor: &[u64]) -> PSECURITY_DESCRIPTOR {
    descriptor.as_ptr().cast_mut().cast()
}

fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the callers' identifiers are valid, and `text` is writable.
    check(unsafe { ConvertSidToStringSidW(sid, &mut text) })?;
    let text = Local(text.cast());
    let start = text.0.cast::<u16>();
    // SAFETY: the text ends with a zero.
    let units = unsafe {
        let length = (0..).take_while(|&at| *start.add(at) != 0).count();
        std::slice::from_raw_parts(start, length)
    };
    Ok(String::from_utf16_lossy(units))
}

/// Memory that a call has allocated.
struct Local(*mut c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the calls whose results are kept here allocate with LocalAlloc, and nobody else frees it.
        unsafe { LocalFree(self.0) };
    }
}

/// Who may use an object of this process.
pub(crate) struct Descriptor(Local);

impl Descriptor {
    /// Only this user.
    pub(crate) fn of_this_user() -> io::Result<Self> {
        Self::from_text(&format!("D:P(A;;GA;;;{})", user_sid()?))
    }

    /// Only programs of this logon session. The owner is this user, also where a program of an administrator would
    /// make it that of all of them.
    pub(crate) fn of_this_logon() -> io::Result<Self> {
        let token = Token::of_this_process()?;
        let user = token.user()?;
        let logon = token.logon()?;
        Self::from_text(&format!("O:{user}D:P(A;;GA;;;{})", logon.as_deref().unwrap_or(&user)))
    }

    pub(crate) fn from_text(text: &str) -> io::Result<Self> {
        let text = crate::wide(text.as_ref())?;
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a zero, and `descriptor` is writable; the size is not asked for.
        check(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(Local(descriptor)))
    }

    /// Valid while this lives. The object is not inherited.
    pub(crate) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: mem::size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }
}

/// Returns a number that nobody can guess.
pub(crate) fn random() -> io::Result<u128> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The keys come from the system's generator for cryptography.
    let half = || u128::from(RandomState::new().build_hasher().finish());
    Ok(half() << 64 | half())
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::Security::{ImpersonateSelf, RevertToSelf, SecurityImpersonation};

    use super::*;

    #[test]
    fn a_thread_that_impersonates_its_own_user_is_no_stranger() {
        assert_eq!(impersonated_user().unwrap(), None);
        // SAFETY: the call only takes a number.
        check(unsafe { ImpersonateSelf(SecurityImpersonation) }).unwrap();
        let impersonated = impersonated_user();
        // SAFETY: the call has no preconditions.
        check(unsafe { RevertToSelf() }).unwrap();
        assert_eq!(impersonated.unwrap(), None);
    }

    #[test]
    fn a_new_file_of_this_user_is_trusted_and_one_that_is_not_there_is_an_error() {
        assert!(user_sid().unwrap().starts_with("S-1-"));
        let file = std::env::temp_dir().join(format!("ticketapi-{}", std::process::id()));
        std::fs::write(&file, "text").unwrap();
        assert_eq!(fault(&file, Rights::Change).unwrap(), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(fault(&file, Rights::Change).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
