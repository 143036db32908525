//! Decrypts the parts of a PKCS#12 file that are encrypted with the password: PBES2, the algorithms of PKCS#12
//! itself, and those of PKCS#5 version 1.5.

use ::pkcs12::kdf::Pkcs12KeyType;
use ::pkcs12::{
    PKCS_12_PBE_WITH_SHAAND2_KEY_TRIPLE_DES_CBC, PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC,
    PKCS_12_PBE_WITH_SHAAND40_BIT_RC4, PKCS_12_PBE_WITH_SHAAND128_BIT_RC2_CBC, PKCS_12_PBE_WITH_SHAAND128_BIT_RC4,
    PKCS_12_PBEWITH_SHAAND40_BIT_RC2_CBC,
};
use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipher, BlockDecryptMut, InnerIvInit, KeyInit, StreamCipher};
use der::Sequence;
use der::asn1::{AnyRef, OctetStringRef};
use der::oid::ObjectIdentifier;
use der::oid::db::rfc5911;
use des::{Des, TdesEde2, TdesEde3};
use rc2::Rc2;
use rc4::Rc4;
use rc4::consts::{U5, U16};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::password::{Hash, Password, PbeParameters};
use super::pkcs12::{Result, damaged, unsupported};
use crate::secret::SecretBytes;

/// The plaintext, or `None` if it cannot be right because the password differs or has another encoding.
type Plain = Option<SecretBytes>;

/// Decrypts `data` with one encoding of the password.
pub(super) fn decrypt(
    algorithm: &AlgorithmIdentifierRef<'_>,
    data: &[u8],
    password: &mut Password<'_>,
    form: usize,
) -> Result<Plain> {
    let parameters = algorithm.parameters.ok_or_else(damaged)?;
    let mut pkcs12 = |purpose, size| -> Result<SecretBytes> {
        password.derive_pkcs12(form, Hash::Sha1, purpose, &parameters.decode_as()?, size)
    };
    match algorithm.oid {
        PBES2 => decrypt_pbes2(&parameters.decode_as()?, data, password),
        PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC => decrypt_pkcs12::<TdesEde3>(24, pkcs12, data),
        PKCS_12_PBE_WITH_SHAAND2_KEY_TRIPLE_DES_CBC => decrypt_pkcs12::<TdesEde2>(16, pkcs12, data),
        PKCS_12_PBE_WITH_SHAAND128_BIT_RC2_CBC => decrypt_pkcs12::<Rc2>(16, pkcs12, data),
        PKCS_12_PBEWITH_SHAAND40_BIT_RC2_CBC => decrypt_pkcs12::<Rc2>(5, pkcs12, data),
        PKCS_12_PBE_WITH_SHAAND128_BIT_RC4 => {
            decrypt_stream::<Rc4<U16>>(&pkcs12(Pkcs12KeyType::EncryptionKey, 16)?, data)
        }
        PKCS_12_PBE_WITH_SHAAND40_BIT_RC4 => decrypt_stream::<Rc4<U5>>(&pkcs12(Pkcs12KeyType::EncryptionKey, 5)?, data),
        PBE_WITH_MD5_AND_DES => decrypt_pkcs5::<Des>(Hash::Md5, parameters, data, password),
        PBE_WITH_MD5_AND_RC2 => decrypt_pkcs5::<Rc2>(Hash::Md5, parameters, data, password),
        PBE_WITH_SHA1_AND_DES => decrypt_pkcs5::<Des>(Hash::Sha1, parameters, data, password),
        PBE_WITH_SHA1_AND_RC2 => decrypt_pkcs5::<Rc2>(Hash::Sha1, parameters, data, password),
        other => Err(unsupported("encryption", other)),
    }
}

#[derive(Sequence)]
struct Pbes2Parameters<'a> {
    kdf: AlgorithmIdentifierRef<'a>,
    encryption: AlgorithmIdentifierRef<'a>,
}

fn decrypt_pbes2(parameters: &Pbes2Parameters<'_>, data: &[u8], password: &mut Password<'_>) -> Result<Plain> {
    let Pbes2Parameters { kdf, encryption } = parameters;
    let parameters = encryption.parameters.ok_or_else(damaged)?;
    let iv = || parameters.decode_as::<OctetStringRef<'_>>().map(|iv| iv.as_bytes());
    let mut key = |size| password.derive_pbkdf2(kdf, Some(size));
    match encryption.oid {
        rfc5911::ID_AES_128_CBC => decrypt_cbc::<Aes128>(&key(16)?, iv()?, data),
        rfc5911::ID_AES_192_CBC => decrypt_cbc::<Aes192>(&key(24)?, iv()?, data),
        rfc5911::ID_AES_256_CBC => decrypt_cbc::<Aes256>(&key(32)?, iv()?, data),
        rfc5911::DES_EDE_3_CBC => decrypt_cbc::<TdesEde3>(&key(24)?, iv()?, data),
        DES_CBC => decrypt_cbc::<Des>(&key(8)?, iv()?, data),
        rfc5911::RC_2_CBC => {
            let Rc2Parameters { version, iv } = parameters.decode_as()?;
            // RFC 8018 §B.2.3.
            let bits = match version {
                None => 32,
                Some(160) => 40,
                Some(120) => 64,
                Some(58) => 128,
                Some(bits @ 256..=1024) => bits.into(),
                _ => return Err(damaged()),
            };
            let key = key(16)?;
            decrypt_blocks(Rc2::new_with_eff_key_len(&key, bits), iv.as_bytes(), data)
        }
        other => Err(unsupported("encryption", other)),
    }
}

#[derive(Sequence)]
struct Rc2Parameters<'a> {
    version: Option<u16>,
    iv: OctetStringRef<'a>,
}

fn decrypt_pkcs12<C: BlockCipher + BlockDecryptMut + KeyInit>(
    size: usize,
    mut derive: impl FnMut(Pkcs12KeyType, usize) -> Result<SecretBytes>,
    data: &[u8],
) -> Result<Plain> {
    let key = derive(Pkcs12KeyType::EncryptionKey, size)?;
    let iv = derive(Pkcs12KeyType::Iv, 8)?;
    decrypt_cbc::<C>(&key, &iv, data)
}

fn decrypt_pkcs5<C: BlockCipher + BlockDecryptMut + KeyInit>(
    hash: Hash,
    parameters: AnyRef<'_>,
    data: &[u8],
    password: &mut Password<'_>,
) -> Result<Plain> {
    let key = password.derive_pkcs5(hash, &parameters.decode_as::<PbeParameters<'_>>()?)?;
    let (key, iv) = key.split_at_checked(8).ok_or_else(damaged)?;
    decrypt_cbc::<C>(key, iv, data)
}

fn decrypt_cbc<C: BlockCipher + BlockDecryptMut + KeyInit>(key: &[u8], iv: &[u8], data: &[u8]) -> Result<Plain> {
    decrypt_blocks(C::new_from_slice(key).map_err(|_| damaged())?, iv, data)
}

fn decrypt_blocks<C: BlockCipher + BlockDecryptMut>(cipher: C, iv: &[u8], data: &[u8]) -> Result<Plain> {
    let cipher = cbc::Decryptor::inner_iv_slice_init(cipher, iv).map_err(|_| damaged())?;
    let mut buffer = Zeroizing::new(data.to_vec());
    let Ok(length) = cipher.decrypt_padded_mut::<Pkcs7>(&mut buffer).map(|plain| plain.len()) else { return Ok(None) };
    buffer.truncate(length);
    Ok(Some(buffer))
}

fn decrypt_stream<C: StreamCipher + KeyInit>(key: &[u8], data: &[u8]) -> Result<Plain> {
    let mut buffer = Zeroizing::new(data.to_vec());
    C::new_from_slice(key).map_err(|_| damaged())?.apply_keystream(&mut buffer);
    Ok(Some(buffer))
}

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBE_WITH_MD5_AND_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.3");
const PBE_WITH_MD5_AND_RC2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.6");
const PBE_WITH_SHA1_AND_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.10");
const PBE_WITH_SHA1_AND_RC2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.11");
const DES_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.7");
