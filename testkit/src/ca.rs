//! A test's own card CA, and the cards it issues.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Integer, Asn1Time, Asn1Type};
use openssl::bn::{BigNum, MsbOption};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage as EkuExtension, KeyUsage as KuExtension,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

use crate::error::{Result, lock_folder, read_file, write_file, write_key};

/// A certificate authority for test cards: `O=nhs, OU=CA, CN=…`.
///
/// Each has its own key, so it does not verify cards of another. The key is on the curve P-256, which is generated
/// fast; the cards have RSA keys.
#[derive(Clone)]
pub struct TestCa {
    certificate: X509,
    key: PKey<Private>,
}

impl TestCa {
    /// Creates a CA with the name of the issuer of the captured test card, `SubCA02`.
    pub fn new() -> Result<Self> {
        Self::named("SubCA02")
    }

    /// Creates a CA with this common name, for programs that choose certificates by their issuer.
    pub fn named(common_name: &str) -> Result<Self> {
        let key = PKey::ec_gen("prime256v1")?;
        let name = subject("CA", common_name, Asn1Type::PRINTABLESTRING)?;
        let mut builder = X509Builder::new()?;
        builder.set_version(2)?;
        let serial = random_serial()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_pubkey(&key)?;
        set_validity(&mut builder, (-1, 3650))?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KuExtension::new().critical().key_cert_sign().crl_sign().build()?)?;
        let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(id)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// Loads the CA from `card-ca.pem` and `card-ca.key` in `folder`, or creates these files.
    pub fn load_or_create(folder: &Path) -> Result<Self> {
        let (certificate, key) = (folder.join("card-ca.pem"), folder.join("card-ca.key"));
        // Two programs may start at the same moment.
        let _lock = lock_folder(folder)?;
        if certificate.exists() && key.exists() {
            return Ok(Self {
                certificate: X509::from_pem(&read_file(&certificate)?)?,
                key: PKey::private_key_from_pem(&read_file(&key)?)?,
            });
        }
        let ca = Self::new()?;
        write_key(&key, ca.key.private_key_to_pem_pkcs8()?)?;
        write_file(&certificate, ca.certificate_pem()?)?;
        Ok(ca)
    }

    /// The CA's certificate as PEM, for [`SpineBuilder::card_ca_pem`](crate::SpineBuilder::card_ca_pem).
    pub fn certificate_pem(&self) -> Result<Vec<u8>> {
        Ok(self.certificate.to_pem()?)
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// Issues a card as `spec` describes.
    ///
    /// Keys come from a store of this process; see [`CardSpec::key_number`].
    pub fn issue(&self, spec: &CardSpec) -> Result<CardIdentity> {
        let key = match spec.curve {
            Some(curve) => PKey::ec_gen(curve)?,
            None => stored_key(spec.key_bits, spec.key_number)?,
        };
        let mut builder = X509Builder::new()?;
        builder.set_version(2)?;
        let serial = match &spec.serial {
            Some(bytes) => BigNum::from_slice(bytes)?.to_asn1_integer()?,
            None => random_serial()?,
        };
        builder.set_serial_number(&serial)?;
        let name = subject(&spec.unit, &spec.uid, spec.string_type)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.set_pubkey(&key)?;
        set_validity(&mut builder, spec.valid_days)?;
        self.add_extensions(&mut builder, spec)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(CardIdentity { uid: spec.uid.clone(), certificate: builder.build(), key })
    }

    fn add_extensions(&self, builder: &mut X509Builder, spec: &CardSpec) -> Result<()> {
        if !spec.key_usage.is_empty() {
            let mut usage = KuExtension::new();
            for bit in &spec.key_usage {
                match bit {
                    KeyUsage::DigitalSignature => usage.digital_signature(),
                    KeyUsage::NonRepudiation => usage.non_repudiation(),
                    KeyUsage::KeyEncipherment => usage.key_encipherment(),
                };
            }
            builder.append_extension(usage.build()?)?;
        }
        if !spec.extended_key_usage.is_empty() {
            let mut usage = EkuExtension::new();
            for purpose in &spec.extended_key_usage {
                match purpose {
                    ExtendedKeyUsage::ClientAuth => usage.client_auth(),
                    ExtendedKeyUsage::SmartcardLogon => usage.other("1.3.6.1.4.1.311.20.2.2"),
                    ExtendedKeyUsage::EmailProtection => usage.email_protection(),
                };
            }
            builder.append_extension(usage.build()?)?;
        }
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let ids =
            [SubjectKeyIdentifier::new().build(&context)?, AuthorityKeyIdentifier::new().keyid(true).build(&context)?];
        for id in ids {
            builder.append_extension(id)?;
        }
        Ok(())
    }
}

fn subject(unit: &str, common_name: &str, string_type: Asn1Type) -> Result<X509Name> {
    let mut name = X509Name::builder()?;
    for (field, value) in [("O", "nhs"), ("OU", unit), ("CN", common_name)] {
        name.append_entry_by_text_with_type(field, value, string_type)?;
    }
    Ok(name.build())
}

/// Describes a card. The default is valid: `O=nhs, OU=people, CN=555021935107`, 2,048 bits, issued yesterday for
/// two years, digitalSignature and clientAuth.
#[derive(Clone, Debug)]
pub struct CardSpec {
    uid: String,
    unit: String,
    string_type: Asn1Type,
    key_bits: u32,
    curve: Option<&'static str>,
    key_number: u32,
    valid_days: (i64, i64),
    serial: Option<Vec<u8>>,
    key_usage: Vec<KeyUsage>,
    extended_key_usage: Vec<ExtendedKeyUsage>,
}

/// A bit of the certificate's key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 5280, 4.2.1.3")]
pub enum KeyUsage {
    DigitalSignature,
    NonRepudiation,
    KeyEncipherment,
}

/// A purpose of the certificate's extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 5280, 4.2.1.12, and Microsoft's")]
pub enum ExtendedKeyUsage {
    ClientAuth,
    SmartcardLogon,
    EmailProtection,
}

impl Default for CardSpec {
    fn default() -> Self {
        Self::new("555021935107")
    }
}

impl CardSpec {
    /// Describes a card of the user with this id (12 digits on real cards).
    pub fn new(uid: impl Into<String>) -> Self {
        Self {
            uid: uid.into(),
            unit: "people".into(),
            string_type: Asn1Type::PRINTABLESTRING,
            key_bits: 2048,
            curve: None,
            key_number: 0,
            valid_days: (-1, 730),
            serial: None,
            key_usage: vec![KeyUsage::DigitalSignature],
            extended_key_usage: vec![ExtendedKeyUsage::ClientAuth],
        }
    }

    /// The RSA key's length. Real cards have 1024, 2048, 3072 or 4096 bits.
    pub fn key_bits(mut self, bits: u32) -> Self {
        self.key_bits = bits;
        self
    }

    /// Gives it an elliptic key instead, a new one, on this curve as OpenSSL names it: `prime256v1`.
    pub fn curve(mut self, curve: &'static str) -> Self {
        self.curve = Some(curve);
        self
    }

    /// The number of the key in this process's store (default 0).
    ///
    /// Generating an RSA key is slow, so each is generated once. Cards that must not share a key need different
    /// numbers.
    pub fn key_number(mut self, number: u32) -> Self {
        self.key_number = number;
        self
    }

    /// The validity, in days from now.
    pub fn valid_days(mut self, from: i64, until: i64) -> Self {
        self.valid_days = (from, until);
        self
    }

    /// Makes the card expired since yesterday.
    pub fn expired(self) -> Self {
        self.valid_days(-731, -1)
    }

    /// Makes the card valid from tomorrow.
    pub fn not_yet_valid(self) -> Self {
        self.valid_days(1, 731)
    }

    /// The organisational unit (default `people`).
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Encodes the subject as UTF8String instead of PrintableString.
    pub fn utf8_subject(mut self) -> Self {
        self.string_type = Asn1Type::UTF8STRING;
        self
    }

    /// The serial number, big-endian and not negative (default random).
    pub fn serial(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.serial = Some(bytes.into());
        self
    }

    /// The key usage. None omits the extension.
    pub fn key_usage(mut self, bits: impl Into<Vec<KeyUsage>>) -> Self {
        self.key_usage = bits.into();
        self
    }

    /// The extended key usage. None omits the extension.
    pub fn extended_key_usage(mut self, purposes: impl Into<Vec<ExtendedKeyUsage>>) -> Self {
        self.extended_key_usage = purposes.into();
        self
    }

    /// Makes it the other certificate of a real card, for signing documents, not for logging in.
    pub fn for_signing(self) -> Self {
        self.key_usage([KeyUsage::NonRepudiation]).extended_key_usage([ExtendedKeyUsage::EmailProtection])
    }
}

/// A key and its certificate, to put on a card.
#[derive(Clone)]
pub struct CardIdentity {
    uid: String,
    certificate: X509,
    key: PKey<Private>,
}

impl CardIdentity {
    /// The user's id, as in the certificate.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The certificate.
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// The certificate as DER.
    pub fn certificate_der(&self) -> Result<Vec<u8>> {
        Ok(self.certificate.to_der()?)
    }

    /// The private key.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// The card as a PKCS#12 file whose password is the PIN.
    pub fn to_pkcs12(&self, pin: &str) -> Result<Vec<u8>> {
        Ok(Pkcs12::builder().name(&self.uid).pkey(&self.key).cert(&self.certificate).build2(pin)?.to_der()?)
    }

    /// Writes [`CardIdentity::to_pkcs12`] to a file, for the setting `software_card`.
    pub fn write_pkcs12(&self, path: &Path, pin: &str) -> Result<()> {
        write_file(path, self.to_pkcs12(pin)?)
    }
}

/// The RSA key of this size and number, made once in this process.
pub(crate) fn stored_key(bits: u32, number: u32) -> std::result::Result<PKey<Private>, ErrorStack> {
    type Keys = HashMap<(u32, u32), PKey<Private>>;
    static KEYS: OnceLock<Mutex<Keys>> = OnceLock::new();
    // The lock is held while a key is generated, so that parallel tests generate it only once.
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = keys.get(&(bits, number)) {
        return Ok(key.clone());
    }
    let key = PKey::from_rsa(Rsa::generate(bits)?)?;
    keys.insert((bits, number), key.clone());
    Ok(key)
}

fn random_serial() -> Result<Asn1Integer> {
    let mut serial = BigNum::new()?;
    serial.rand(63, MsbOption::ONE, false)?;
    Ok(serial.to_asn1_integer()?)
}

fn set_validity(builder: &mut X509Builder, (from, until): (i64, i64)) -> Result<()> {
    const DAY: i64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    let (from, until) = (Asn1Time::from_unix(now + from * DAY)?, Asn1Time::from_unix(now + until * DAY)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&until)?;
    Ok(())
}
