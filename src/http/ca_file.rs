//! The certificates of a PEM file, and the words for files of other forms.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The form that a file has instead, and what makes PEM of it.
const OTHER_FORMS: [(&str, &str); 6] = [
    ("-----BEGIN TRUSTED CERTIFICATE-----", "it is in OpenSSL's TRUSTED form; convert it with: openssl x509 -in FILE"),
    ("-----BEGIN X509 CERTIFICATE-----", "it is in an old form of PEM; convert it with: openssl x509 -in FILE"),
    ("-----BEGIN PKCS7-----", "it is in PKCS#7 form; convert it with: openssl pkcs7 -print_certs -in FILE"),
    ("-----BEGIN CMS-----", "it is in PKCS#7 form; convert it with: openssl pkcs7 -print_certs -in FILE"),
    ("-----BEGIN CERTIFICATE REQUEST-----", "it contains a request for a certificate, not a certificate in PEM form"),
    ("PRIVATE KEY-----", "it contains a private key; it must contain the certificates of CAs in PEM form"),
];

/// The certificates that a file holds in PEM form, one at least.
///
/// # Errors
///
/// What the file holds instead, as a sentence.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    // Editors begin UTF-8 with a mark that hides the first line of PEM.
    let pem = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(other_form(pem)),
        Err(_) => Err("it is not in PEM form"),
    }
}

fn other_form(file: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(file);
    match file {
        [] => "it is empty; it must contain the certificates of CAs in PEM form",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'-', 0, ..] | [0, b'-', ..] => {
            "it is UTF-16 text; save it as UTF-8 or ASCII, in PEM form"
        }
        [0x30, 0x80..=0xff, ..] => {
            "it is in binary form (DER); convert it to PEM with: openssl x509 -inform DER -in FILE"
        }
        _ => OTHER_FORMS
            .iter()
            .find(|(mark, _)| text.contains(mark))
            .map_or("it contains no certificate in PEM form", |(_, words)| words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    fn utf16(unit: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(PEM.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn certificates_are_found_among_other_text_and_with_any_line_ends() {
        for file in [
            PEM.to_owned(),
            format!("\u{feff}{PEM}"),
            PEM.replace('\n', "\r\n"),
            format!("subject=CN=Caf\u{e9} CA\n{PEM}\ntrailing"),
        ] {
            assert_eq!(certificates(file.as_bytes()).unwrap(), [CertificateDer::from(&[0x30, 0][..])], "{file:?}");
        }
        assert_eq!(certificates(PEM.repeat(3).as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn another_form_is_told_with_what_converts_it() {
        let labelled = |label: &str| PEM.replace("CERTIFICATE", label).into_bytes();
        for (file, says) in [
            (labelled("TRUSTED CERTIFICATE"), "TRUSTED form; convert it with: openssl x509"),
            (labelled("X509 CERTIFICATE"), "old form of PEM"),
            (labelled("PKCS7"), "PKCS#7 form; convert it with: openssl pkcs7 -print_certs"),
            (labelled("CMS"), "PKCS#7"),
            (labelled("CERTIFICATE REQUEST"), "request"),
            (labelled("PRIVATE KEY"), "private key"),
            (labelled("RSA PRIVATE KEY"), "private key"),
            (utf16(u16::to_le_bytes), "UTF-16"),
            (utf16(u16::to_be_bytes), "UTF-16"),
            (utf16(u16::to_le_bytes)[2..].to_vec(), "UTF-16"),
            (vec![0x30, 0x82, 3, 0xe8, 0x30], "DER"),
            (Vec::new(), "empty"),
            (b"hello".to_vec(), "no certificate in PEM form"),
            (PEM.replace("MAA=", "!").into_bytes(), "not in PEM form"),
        ] {
            let words = certificates(&file).unwrap_err();
            assert!(words.contains(says), "{words}");
        }
    }
}
