//! Values of the registry. The crate `windows-registry` cannot open a key in the view of the other width.

use std::ffi::OsStr;
use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS};
use windows_sys::Win32::System::Environment::ExpandEnvironmentStringsW;
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, KEY_WOW64_32KEY, KEY_WOW64_64KEY, REG_DWORD,
    REG_EXPAND_SZ, REG_MULTI_SZ, REG_SAM_FLAGS, REG_SZ, RegCloseKey, RegEnumValueW, RegOpenKeyExW,
};

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `HKEY_LOCAL_MACHINE`.
    Machine,
    /// `HKEY_CURRENT_USER`.
    User,
}

/// What a value contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// `REG_SZ`, or `REG_EXPAND_SZ` with its variables replaced.
    Text(String),
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_MULTI_SZ`.
    List(Vec<String>),
    /// A type that no setting has, by its number.
    Other(u32),
}

/// The longest name of a value, and the zero behind it.
const LONGEST_NAME: usize = 16_384;

/// Larger values are no settings.
const LARGEST_VALUE: usize = 1 << 20;

/// Returns the names and contents of the values of `key`, without its default value. A program of either width gets
/// those of 64-bit programs, then the others of 32-bit programs. A key that does not exist has none.
///
/// # Errors
///
/// If the key cannot be read.
pub fn values(root: Root, key: &str) -> io::Result<Vec<(String, Data)>> {
    let mut values = in_view(root, key, KEY_WOW64_64KEY)?;
    for (name, data) in in_view(root, key, KEY_WOW64_32KEY)? {
        if !values.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            values.push((name, data));
        }
    }
    Ok(values)
}

struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key was opened by `in_view`, and nobody else closes it.
        unsafe { RegCloseKey(self.0) };
    }
}

fn in_view(root: Root, key: &str, view: REG_SAM_FLAGS) -> io::Result<Vec<(String, Data)>> {
    let root = match root {
        Root::Machine => HKEY_LOCAL_MACHINE,
        Root::User => HKEY_CURRENT_USER,
    };
    let path = crate::wide(OsStr::new(key))?;
    let mut opened = ptr::null_mut();
    // SAFETY: the path ends with a zero, and `opened` is writable.
    let code = unsafe { RegOpenKeyExW(root, path.as_ptr(), 0, KEY_QUERY_VALUE | view, &mut opened) };
    match code {
        ERROR_SUCCESS => {}
        ERROR_FILE_NOT_FOUND => return Ok(Vec::new()),
        other => return Err(io::Error::from_raw_os_error(other as i32)),
    }
    let opened = Key(opened);
    let mut name = vec![0_u16; LONGEST_NAME];
    let mut data = vec![0_u8; 1024];
    let mut values = Vec::new();
    let mut index = 0;
    loop {
        let (mut name_length, mut kind, mut length) = (name.len() as u32, 0, data.len() as u32);
        // SAFETY: the buffers have the given sizes, and the results are writable.
        let code = unsafe {
            let none = ptr::null();
            let (name, data) = (name.as_mut_ptr(), data.as_mut_ptr());
            RegEnumValueW(opened.0, index, name, &mut name_length, none, &mut kind, data, &mut length)
        };
        match code {
            ERROR_SUCCESS => {}
            ERROR_NO_MORE_ITEMS => return Ok(values),
            ERROR_MORE_DATA if data.len() < LARGEST_VALUE => {
                data.resize(4 * data.len(), 0);
                continue;
            }
            other => return Err(io::Error::from_raw_os_error(other as i32)),
        }
        let name = String::from_utf16_lossy(&name[..name_length as usize]);
        if !name.is_empty() {
            values.push((name, parsed(kind, &data[..length as usize])?));
        }
        index += 1;
    }
}

fn parsed(kind: u32, data: &[u8]) -> io::Result<Data> {
    let text = || -> Vec<u16> { data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect() };
    Ok(match (kind, data) {
        (REG_SZ, _) => Data::Text(until_zero(&text())),
        (REG_EXPAND_SZ, _) => Data::Text(expanded(&until_zero(&text()))?),
        (REG_MULTI_SZ, _) => {
            Data::List(text().split(|&unit| unit == 0).filter(|item| !item.is_empty()).map(until_zero).collect())
        }
        (REG_DWORD, &[a, b, c, d]) => Data::Number(u32::from_le_bytes([a, b, c, d])),
        (other, _) => Data::Other(other),
    })
}

/// The zero at the end of a text in the registry may be missing, and there may be more behind it.
fn until_zero(text: &[u16]) -> String {
    let end = text.iter().position(|&unit| unit == 0).unwrap_or(text.len());
    String::from_utf16_lossy(&text[..end])
}

fn expanded(text: &str) -> io::Result<String> {
    let wide = crate::wide(OsStr::new(text))?;
    let mut buffer = vec![0_u16; 32_768];
    // SAFETY: the text ends with a zero, and the buffer has the given size.
    let length = unsafe { ExpandEnvironmentStringsW(wide.as_ptr(), buffer.as_mut_ptr(), buffer.len() as u32) };
    if length == 0 {
        return Err(io::Error::last_os_error());
    }
    // With more than fits there is no zero within the buffer's length.
    Ok(until_zero(&buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn a_text_ends_at_its_zero_or_where_the_value_ends() {
        assert_eq!(parsed(REG_SZ, &wide("ä\0rest")).unwrap(), Data::Text("ä".into()));
        assert_eq!(parsed(REG_SZ, &wide("ä")).unwrap(), Data::Text("ä".into()));
        assert_eq!(parsed(REG_SZ, &[]).unwrap(), Data::Text(String::new()));
    }

    #[test]
    fn a_list_has_no_empty_items() {
        assert_eq!(parsed(REG_MULTI_SZ, &wide("a\0b c\0\0")).unwrap(), Data::List(vec!["a".into(), "b c".into()]));
        assert_eq!(parsed(REG_MULTI_SZ, &wide("\0")).unwrap(), Data::List(Vec::new()));
    }

    #[test]
    fn variables_of_an_expandable_text_are_replaced() {
        let root = std::env::var("SystemRoot").unwrap();
        assert_eq!(parsed(REG_EXPAND_SZ, &wide("%SystemRoot%\\x\0")).unwrap(), Data::Text(format!("{root}\\x")));
    }

    #[test]
    fn a_number_of_another_size_is_none() {
        assert_eq!(parsed(REG_DWORD, &[1, 2, 0, 0]).unwrap(), Data::Number(513));
        assert_eq!(parsed(REG_DWORD, &[1, 2]).unwrap(), Data::Other(REG_DWORD));
    }

    #[test]
    fn the_values_of_a_key_are_read_and_a_missing_key_has_none() {
        let key = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
        let values = values(Root::Machine, key).unwrap();
        assert!(values.iter().any(|(name, data)| name == "CurrentVersion" && matches!(data, Data::Text(_))));
        assert_eq!(super::values(Root::User, r"SOFTWARE\ticketapi\none").unwrap(), []);
    }
}
