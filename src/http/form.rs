//! Names and values as the queries of URLs and the bodies of forms have them.

use std::fmt::Write;

use zeroize::Zeroizing;

use crate::secret::SecretBytes;

/// Returns the body of a form POST.
pub fn form(fields: &[(&str, &str)]) -> SecretBytes {
    // Allocated at its full size: a reallocation would leave a copy of a secret.
    let mut body = Zeroizing::new(String::with_capacity(size(fields)));
    push(&mut body, fields);
    Zeroizing::new(std::mem::take(&mut *body).into_bytes())
}

/// Escapes a single text.
#[cfg(feature = "oidc")]
pub(crate) fn escape(text: &str) -> Zeroizing<String> {
    let mut to = Zeroizing::new(String::with_capacity(escaped(text)));
    push_escaped(&mut to, text);
    to
}

/// Returns how many bytes [`push`] adds.
pub(crate) fn size(fields: &[(&str, &str)]) -> usize {
    let sizes = fields.iter().map(|(name, value)| escaped(name) + 1 + escaped(value));
    sizes.sum::<usize>() + fields.len().saturating_sub(1)
}

/// Appends `name=value&…`, with all but letters, digits and `-._~` escaped.
pub(crate) fn push(to: &mut String, fields: &[(&str, &str)]) {
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            to.push('&');
        }
        push_escaped(to, name);
        to.push('=');
        push_escaped(to, value);
    }
}

fn push_escaped(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_plain(byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

fn escaped(text: &str) -> usize {
    text.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a form as a server does.
    pub(crate) fn read(form: &[u8]) -> Vec<(String, String)> {
        let unescaped = |text: &str| {
            let mut bytes = text.bytes();
            let digit = |bytes: &mut std::str::Bytes<'_>| char::from(bytes.next().unwrap()).to_digit(16).unwrap();
            let mut read = Vec::new();
            while let Some(byte) = bytes.next() {
                let byte = if byte == b'%' { (digit(&mut bytes) * 16 + digit(&mut bytes)) as u8 } else { byte };
                read.push(byte);
            }
            String::from_utf8(read).unwrap()
        };
        let fields = std::str::from_utf8(form).unwrap().split('&').filter(|field| !field.is_empty());
        let fields = fields.map(|field| field.split_once('=').unwrap());
        fields.map(|(name, value)| (unescaped(name), unescaped(value))).collect()
    }

    #[test]
    fn a_form_escapes_what_is_not_plain_and_has_its_whole_size_at_once() {
        let form = form(&[("grant_type", "authorization_code"), ("code", "a+b/c=d&e f~"), ("empty", "")]);
        assert_eq!(&**form, b"grant_type=authorization_code&code=a%2Bb%2Fc%3Dd%26e%20f~&empty=");
        assert_eq!(form.capacity(), form.len());
    }

    proptest! {
        #[test]
        fn any_fields_are_read_as_the_same(fields in prop::collection::vec((any::<String>(), any::<String>()), 0..4)) {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let written = form(&fields);
            prop_assert_eq!(written.capacity(), written.len());
            prop_assert!(written.iter().all(u8::is_ascii_graphic));
            let read = read(&written);
            prop_assert!(read.iter().map(|(name, value)| (&**name, &**value)).eq(fields));
        }
    }
}
