//! An XML-DSig `Signature` element, made of a canonical `SignedInfo` element (W3C, XML Signature 1.1). Pure.
//!
//! The caller makes the `SignedInfo`, or has it from a service such as the prescription service's `$prepare`. It is
//! never changed: its bytes are what is signed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use roxmltree::{Document, Node, ParsingOptions};

use super::Algorithm;
use super::format::invalid;
use crate::error::{Error, ErrorKind, Result, Stage};

const NAMESPACE: &str = "http://www.w3.org/2000/09/xmldsig#";

/// Of a `SignedInfo`; real ones have a thousand bytes.
const LONGEST: usize = 1 << 16;

/// A `Signature` that lacks its value.
pub(super) struct Draft {
    signed_info: String,
    /// That of the `SignedInfo`, with its colon.
    prefix: String,
    certificate: String,
}

impl Draft {
    /// Checks `signed_info`, XML or its base64. The first certificate is the signer's, the only one that the element
    /// gets.
    pub(super) fn new(algorithm: Algorithm, certificates: &[&[u8]], signed_info: &[u8]) -> Result<Self> {
        let signed_info = text(signed_info)?;
        let prefix = check(&signed_info, algorithm)?;
        let certificate = certificates
            .first()
            .ok_or_else(|| Error::new(ErrorKind::Internal, Stage::Signing, "there is no certificate of the signer"))?;
        Ok(Self { signed_info, prefix, certificate: BASE64_STANDARD.encode(certificate) })
    }

    pub(super) fn to_sign(&self) -> &[u8] {
        self.signed_info.as_bytes()
    }

    pub(super) fn signed(self, signature: &[u8]) -> Vec<u8> {
        let Self { signed_info, prefix, certificate } = self;
        let value = BASE64_STANDARD.encode(signature);
        // With the prefix of the `SignedInfo`, no other namespace becomes part of its canonical form.
        let declaration = match prefix.strip_suffix(':') {
            Some(prefix) => format!("xmlns:{prefix}"),
            None => "xmlns".to_owned(),
        };
        format!(
            "<{prefix}Signature {declaration}=\"{NAMESPACE}\">{signed_info}\
             <{prefix}SignatureValue>{value}</{prefix}SignatureValue>\
             <{prefix}KeyInfo><{prefix}X509Data><{prefix}X509Certificate>{certificate}</{prefix}X509Certificate>\
             </{prefix}X509Data></{prefix}KeyInfo></{prefix}Signature>"
        )
        .into_bytes()
    }
}

/// Checks a payload.
pub(super) fn check_payload(algorithm: Algorithm, signed_info: &[u8]) -> Result<()> {
    check(&text(signed_info)?, algorithm).map(drop)
}

/// Returns the element as text, without white space around it.
fn text(signed_info: &[u8]) -> Result<String> {
    let given = signed_info.trim_ascii();
    // Base64 has a third more, and line ends.
    if given.len() > 2 * LONGEST {
        return Err(too_long());
    }
    let xml = if given.starts_with(b"<") {
        given.to_vec()
    } else {
        let base64: Vec<u8> = given.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        BASE64_STANDARD.decode(base64).map_err(|_| invalid("the SignedInfo is neither XML nor base64"))?
    };
    if xml.len() > LONGEST {
        return Err(too_long());
    }
    String::from_utf8(xml).map_err(|_| invalid("the SignedInfo is not UTF-8"))
}

/// Checks that `xml` is a canonical `SignedInfo` for `algorithm`. Returns its prefix.
fn check(xml: &str, algorithm: Algorithm) -> Result<String> {
    if !xml.starts_with('<') {
        return Err(invalid("the SignedInfo is neither XML nor base64"));
    }
    if xml.contains("<!DOCTYPE") {
        return Err(invalid("the SignedInfo has a DOCTYPE"));
    }
    // What verifiers hash is the canonical form, which has none of these; comments could hide something.
    if !xml.ends_with('>') || ["<?", "<!", "/>", "\r"].iter().any(|other| xml.contains(other)) {
        return Err(invalid(
            "the SignedInfo is not in canonical form: it has a declaration, a comment, an empty-element tag or the like",
        ));
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: LONGEST as u32 / 4, ..ParsingOptions::default() };
    let document = Document::parse_with_options(xml, options)
        .map_err(|error| invalid("the SignedInfo is not XML").because(error.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name((NAMESPACE, "SignedInfo")) {
        return Err(invalid("the payload is not a SignedInfo element of XML-DSig"));
    }
    let method = |name| algorithm_of(root, name);
    if method("CanonicalizationMethod").is_none() || !root.children().any(|child| is(child, "Reference")) {
        return Err(invalid("the SignedInfo has no CanonicalizationMethod or no Reference"));
    }
    let wanted = method_of(algorithm);
    match method("SignatureMethod") {
        Some(method) if method == wanted => {}
        Some(_) => {
            let detail = format!("the SignedInfo's SignatureMethod is not that of {algorithm}, which is {wanted}");
            return Err(invalid(&detail));
        }
        None => return Err(invalid("the SignedInfo has no SignatureMethod, or several")),
    }
    let name = xml.split([' ', '>', '\n', '\t']).next().unwrap_or_default();
    Ok(name.trim_start_matches('<').strip_suffix("SignedInfo").unwrap_or_default().to_owned())
}

/// Returns the `Algorithm` of the only child with this name.
fn algorithm_of<'a>(signed_info: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut children = signed_info.children().filter(|child| is(*child, name));
    let method = children.next()?.attribute("Algorithm");
    if children.next().is_some() { None } else { method }
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.has_tag_name((NAMESPACE, name))
}

fn method_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rs1 => "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        Algorithm::Rs256 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        Algorithm::Rs384 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
        Algorithm::Rs512 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
        Algorithm::Ps256 => "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
        Algorithm::Es256 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        Algorithm::Es384 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    }
}

fn too_long() -> Error {
    invalid("the SignedInfo has more than 65,536 bytes")
}
