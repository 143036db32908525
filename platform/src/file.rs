//! What Windows says of a file by its name.

use std::io;
use std::mem;
use std::path::Path;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, GetFileAttributesExW, GetFileExInfoStandard, WIN32_FILE_ATTRIBUTE_DATA,
};

use crate::check;

/// A file's attributes. The standard library's come with the number of the file's volume, which Wine asks another
/// process for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// It is a folder.
    pub is_folder: bool,
    /// The length in bytes.
    pub size: u64,
    /// When it was created, in units of 100 ns.
    pub created: u64,
    /// When it was last written, likewise.
    pub written: u64,
}

impl Attributes {
    /// Returns those of the file at `path`; of a link, its own.
    ///
    /// # Errors
    ///
    /// If it does not exist, or if this user may not know.
    pub fn of(path: &Path) -> io::Result<Self> {
        let wide = crate::wide(path.as_os_str())?;
        let mut data = mem::MaybeUninit::<WIN32_FILE_ATTRIBUTE_DATA>::uninit();
        // SAFETY: the path ends with a zero, and `data` is a writable structure of the kind that is asked for.
        check(unsafe { GetFileAttributesExW(wide.as_ptr(), GetFileExInfoStandard, data.as_mut_ptr().cast()) })?;
        // SAFETY: the call has succeeded and so has written it.
        let data = unsafe { data.assume_init() };
        let time = |time: FILETIME| joined(time.dwHighDateTime, time.dwLowDateTime);
        Ok(Self {
            is_folder: data.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY != 0,
            size: joined(data.nFileSizeHigh, data.nFileSizeLow),
            created: time(data.ftCreationTime),
            written: time(data.ftLastWriteTime),
        })
    }
}

fn joined(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use std::os::windows::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_attributes_are_those_that_the_standard_library_tells() {
        let file = std::env::temp_dir().join(format!("ticketapi-attributes-{}", std::process::id()));
        std::fs::write(&file, "text").unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        let attributes = Attributes {
            is_folder: false,
            size: 4,
            created: metadata.creation_time(),
            written: metadata.last_write_time(),
        };
        assert_eq!(Attributes::of(&file).unwrap(), attributes);
        std::fs::remove_file(&file).unwrap();
        assert!(Attributes::of(&std::env::temp_dir()).unwrap().is_folder);
        assert_eq!(Attributes::of(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
