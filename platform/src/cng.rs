//! Keys of smartcards through Windows' own smartcard stack: the key storage provider for them, which uses the cards'
//! minidrivers. Never opens a window of Windows' own.

use std::ffi::{OsStr, c_void};
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::Foundation::NTE_NO_MORE_ITEMS;
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_PKCS1_PADDING_INFO, BCRYPT_PSS_PADDING_INFO, BCRYPT_SHA1_ALGORITHM, BCRYPT_SHA256_ALGORITHM,
    BCRYPT_SHA384_ALGORITHM, BCRYPT_SHA512_ALGORITHM, MS_SMART_CARD_KEY_STORAGE_PROVIDER, NCRYPT_CERTIFICATE_PROPERTY,
    NCRYPT_FLAGS, NCRYPT_HANDLE, NCRYPT_PAD_PKCS1_FLAG, NCRYPT_PAD_PSS_FLAG, NCRYPT_PIN_PROPERTY, NCRYPT_SILENT_FLAG,
    NCRYPT_SMARTCARD_GUID_PROPERTY, NCryptEnumKeys, NCryptFreeBuffer, NCryptFreeObject, NCryptGetProperty,
    NCryptKeyName, NCryptOpenKey, NCryptOpenStorageProvider, NCryptSetProperty, NCryptSignHash,
};
use windows_sys::core::PCWSTR;
use zeroize::Zeroizing;

/// A call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The call's name.
    pub call: &'static str,
    /// Its `HRESULT`.
    pub code: u32,
}

/// The hash algorithm that a signature names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a hash is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Not at all, for elliptic keys.
    None,
    /// PKCS#1 v1.5.
    Pkcs1(Hash),
    /// PSS, with a salt as long as the hash, of this many bytes.
    Pss(Hash, u32),
}

/// Larger values are no certificates.
const LARGEST_VALUE: usize = 1 << 20;

/// The size of the longest signature: that of an RSA key of 4096 bits.
const LONGEST_SIGNATURE: usize = 512;

/// The provider for smartcards.
pub struct Provider(Arc<Object>);

/// A private key on a card.
pub struct Key {
    object: Object,
    /// Is freed after the key.
    _provider: Arc<Object>,
}

struct Object(NCRYPT_HANDLE);

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: a call below returned the handle, and nobody else frees it.
        unsafe { NCryptFreeObject(self.0) };
    }
}

fn check(call: &'static str, code: i32) -> Result<(), Failed> {
    if code == 0 { Ok(()) } else { Err(Failed { call, code: code as u32 }) }
}

impl Provider {
    /// Opens the provider. Needs neither a reader nor a card.
    ///
    /// # Errors
    ///
    /// If Windows does not have it.
    pub fn open() -> Result<Self, Failed> {
        let mut handle = 0;
        // SAFETY: the name ends with a zero, and `handle` is writable.
        let code = unsafe { NCryptOpenStorageProvider(&mut handle, MS_SMART_CARD_KEY_STORAGE_PROVIDER, 0) };
        check("NCryptOpenStorageProvider", code)?;
        Ok(Self(Arc::new(Object(handle))))
    }

    /// Opens every key of the card in a reader. Those that cannot be opened are left out, unless none can.
    ///
    /// # Errors
    ///
    /// If Windows has no minidriver for the card, or cannot read it.
    pub fn keys(&self, reader: &str) -> Result<Vec<Key>, Failed> {
        let scope = format!(r"\\.\{reader}\");
        let (mut keys, mut problem) = (Vec::new(), None);
        for (name, spec) in self.names(&scope)? {
            let name = if name.starts_with(r"\\.\") { name } else { format!("{scope}{name}") };
            match self.key(&name, spec) {
                Ok(key) => keys.push(key),
                Err(failed) => problem = problem.or(Some(failed)),
            }
        }
        match problem {
            Some(failed) if keys.is_empty() => Err(failed),
            _ => Ok(keys),
        }
    }

    fn names(&self, scope: &str) -> Result<Vec<(String, u32)>, Failed> {
        let scope = wide("NCryptEnumKeys", scope)?;
        let mut names = Vec::new();
        let mut state = ptr::null_mut();
        let ended = loop {
            let mut found: *mut NCryptKeyName = ptr::null_mut();
            // SAFETY: the scope ends with a zero, and the results are writable; `state` is null or from the last call.
            let code = unsafe { NCryptEnumKeys(self.0.0, scope.as_ptr(), &mut found, &mut state, NCRYPT_SILENT_FLAG) };
            if let Err(failed) = check("NCryptEnumKeys", code) {
                break if code == NTE_NO_MORE_ITEMS { Ok(()) } else { Err(failed) };
            }
            // SAFETY: the call has returned a key's name, which remains until it is freed here.
            unsafe {
                names.push((text((*found).pszName), (*found).dwLegacyKeySpec));
                NCryptFreeBuffer(found.cast());
            }
        };
        if !state.is_null() {
            // SAFETY: a call above returned it, and it is not used any more.
            unsafe { NCryptFreeBuffer(state) };
        }
        ended.map(|()| names)
    }

    fn key(&self, name: &str, spec: u32) -> Result<Key, Failed> {
        const CALL: &str = "NCryptOpenKey";
        let name = wide(CALL, name)?;
        let mut handle = 0;
        // SAFETY: the name ends with a zero, and `handle` is writable.
        let code = unsafe { NCryptOpenKey(self.0.0, &mut handle, name.as_ptr(), spec, NCRYPT_SILENT_FLAG) };
        check(CALL, code)?;
        Ok(Key { object: Object(handle), _provider: Arc::clone(&self.0) })
    }
}

impl Key {
    /// Returns the certificate, in DER.
    ///
    /// # Errors
    ///
    /// If there is none, or the card is gone.
    pub fn certificate(&self) -> Result<Vec<u8>, Failed> {
        self.property(NCRYPT_CERTIFICATE_PROPERTY)
    }

    /// Returns the identifier of the card.
    ///
    /// # Errors
    ///
    /// If it has none, or is gone.
    pub fn card(&self) -> Result<Vec<u8>, Failed> {
        self.property(NCRYPT_SMARTCARD_GUID_PROPERTY)
    }

    fn property(&self, name: PCWSTR) -> Result<Vec<u8>, Failed> {
        let read = |buffer: *mut u8, size: usize| {
            let mut length = 0;
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            // SAFETY: the name ends with a zero; the buffer has the given size, or is null and of size zero.
            let code = unsafe { NCryptGetProperty(self.object.0, name, buffer, size, &mut length, NCRYPT_SILENT_FLAG) };
            check("NCryptGetProperty", code).map(|()| length as usize)
        };
        let mut value = vec![0; read(ptr::null_mut(), 0)?.min(LARGEST_VALUE)];
        let length = read(value.as_mut_ptr(), value.len())?;
        value.truncate(length);
        Ok(value)
    }

    /// Gives Windows the PIN for this key, which it may try at once or at the next signature.
    ///
    /// # Errors
    ///
    /// If the card refuses the PIN, or is gone.
    pub fn set_pin(&self, pin: &str) -> Result<(), Failed> {
        let mut wide = Zeroizing::new(Vec::with_capacity(pin.len() + 1));
        wide.extend(pin.encode_utf16());
        wide.push(0);
        let size = 2 * wide.len() as u32;
        // SAFETY: the PIN ends with a zero, and has the given size in bytes.
        let code = unsafe {
            let flags: NCRYPT_FLAGS = NCRYPT_SILENT_FLAG;
            NCryptSetProperty(self.object.0, NCRYPT_PIN_PROPERTY, wide.as_ptr().cast(), size, flags)
        };
        check("NCryptSetProperty", code)
    }

    /// Signs a hash.
    ///
    /// # Errors
    ///
    /// If the card refuses it, or is gone.
    pub fn sign(&self, hash: &[u8], padding: Padding) -> Result<Vec<u8>, Failed> {
        match padding {
            Padding::None => self.sign_as(hash, ptr::null(), 0),
            Padding::Pkcs1(algorithm) => {
                let padding = BCRYPT_PKCS1_PADDING_INFO { pszAlgId: name(algorithm) };
                self.sign_as(hash, ptr::from_ref(&padding).cast(), NCRYPT_PAD_PKCS1_FLAG)
            }
            Padding::Pss(algorithm, salt) => {
                let padding = BCRYPT_PSS_PADDING_INFO { pszAlgId: name(algorithm), cbSalt: salt };
                self.sign_as(hash, ptr::from_ref(&padding).cast(), NCRYPT_PAD_PSS_FLAG)
            }
        }
    }

    /// `padding` is what `flags` say.
    fn sign_as(&self, hash: &[u8], padding: *const c_void, flags: NCRYPT_FLAGS) -> Result<Vec<u8>, Failed> {
        let mut signature = vec![0; LONGEST_SIGNATURE];
        let mut length = 0;
        // SAFETY: hash and signature have the given sizes, and the padding is of the kind that the flags name.
        let code = unsafe {
            let size = signature.len() as u32;
            let (from, to) = (hash.as_ptr(), signature.as_mut_ptr());
            let flags = flags | NCRYPT_SILENT_FLAG;
            NCryptSignHash(self.object.0, padding, from, hash.len() as u32, to, size, &mut length, flags)
        };
        check("NCryptSignHash", code)?;
        signature.truncate(length as usize);
        Ok(signature)
    }
}

fn name(hash: Hash) -> PCWSTR {
    match hash {
        Hash::Sha1 => BCRYPT_SHA1_ALGORITHM,
        Hash::Sha256 => BCRYPT_SHA256_ALGORITHM,
        Hash::Sha384 => BCRYPT_SHA384_ALGORITHM,
        Hash::Sha512 => BCRYPT_SHA512_ALGORITHM,
    }
}

/// Returns `text` with a zero at its end, for a call.
fn wide(call: &'static str, text: &str) -> Result<Vec<u16>, Failed> {
    const E_INVALIDARG: u32 = 0x8007_0057;
    crate::wide(OsStr::new(text)).map_err(|_| Failed { call, code: E_INVALIDARG })
}

/// # Safety
///
/// `text` is null, or ends with a zero.
unsafe fn text(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller promises that every unit up to the zero can be read.
    let units = unsafe {
        let length = (0..).take_while(|&at| *text.add(at) != 0).count();
        std::slice::from_raw_parts(text, length)
    };
    String::from_utf16_lossy(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_reader_that_is_not_there_are_refused_by_a_call_that_is_named() {
        let keys = Provider::open().and_then(|provider| provider.keys("No such reader").map(|keys| keys.len()));
        let failed = keys.unwrap_err();
        assert!(failed.call.starts_with("NCrypt") && failed.code >= 0x8000_0000, "{failed:x?}");
    }
}
