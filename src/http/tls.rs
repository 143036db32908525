//! Whether a server is trusted, and the words for a TLS connection that does not come about.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;

use super::path::{self, Refusal, Trust};
use crate::error::{Error, ErrorKind, Result, Stage};

/// What a client offers that is made of rustls with ring.
const OFFER: &str = "TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305";

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// TLS as a login uses it, and by whom its servers are verified. Installs nothing for the process:
/// the host may use TLS in its own way.
pub(super) fn client_config(roots: RootCertStore) -> Result<(ClientConfig, Arc<Verifier>)> {
    let unusable = || Error::new(ErrorKind::Internal, Stage::Configuration, "TLS cannot be set up");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(roots, &provider).map_err(|error| unusable().because(error))?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable().because(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok((config, verifier))
}

/// Takes what rustls takes, and by [`path::validate`] what it does not know of.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> std::result::Result<Self, rustls::client::VerifierBuilderError> {
        let roots = Arc::new(roots);
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        Ok(Self { webpki: builder.build()?, roots, algorithms: provider.signature_verification_algorithms })
    }

    /// Runs a check of a handshake's signature, and says why a key fails every time.
    fn check_signature(
        certificate: &CertificateDer<'_>,
        check: impl Fn(&CertificateDer<'_>) -> std::result::Result<HandshakeSignatureValid, rustls::Error>,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        // What rustls cannot read has been validated without it.
        let plain = ParsedCertificate::try_from(certificate).is_err().then(|| names_only(certificate)).flatten();
        check(plain.as_ref().unwrap_or(certificate))
            .map_err(|error| path::unusable_key(certificate).map_or(error, refused))
    }
}

fn refused(refusal: Refusal) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(refusal))).into()
}

/// The certificate without its extensions but for its names: key and names as rustls reads them.
/// Its signature no longer fits.
fn names_only(certificate: &CertificateDer<'_>) -> Option<CertificateDer<'static>> {
    let mut certificate = Certificate::from_der(certificate).ok()?;
    if let Some(extensions) = &mut certificate.tbs_certificate.extensions {
        extensions.retain(|extension| extension.extn_id == SUBJECT_ALT_NAME);
    }
    certificate.to_der().ok().map(CertificateDer::from)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{BadSignature, Other, UnknownIssuer};
        let error = match self.webpki.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        // Any other refusal, such as an expired certificate, is one by RFC 5280 as well.
        if !matches!(error, rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature | Other(_))) {
            return Err(error);
        }
        let trust = Trust { anchors: &self.roots.roots, algorithms: self.algorithms.all, now };
        path::validate(certificate, intermediates, &trust).map_err(refused)?;
        let plain = names_only(certificate).ok_or(error)?;
        verify_server_name(&ParsedCertificate::try_from(&plain)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(certificate, |it| self.webpki.verify_tls12_signature(message, it, signature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(certificate, |it| self.webpki.verify_tls13_signature(message, it, signature))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// What to say of a failed handshake with `broker` (shown as `host:port`), which was asked for as `host`.
pub(super) fn explain(error: &rustls::Error, broker: &str, host: &str) -> (ErrorKind, String) {
    use AlertDescription::{
        CertificateRequired, HandshakeFailure, InsufficientSecurity, ProtocolVersion, UnrecognisedName,
    };
    use ErrorKind::{Tls, TlsNotSupported};
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, PeerIncompatible as Incompatible};
    let (kind, problem) = match error {
        InvalidCertificate(reason) => {
            let (kind, reason) = explain_certificate(reason, host);
            return (kind, format!("the certificate of {broker} is refused: {reason}"));
        }
        Incompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        )
        | AlertReceived(ProtocolVersion) => {
            (TlsNotSupported, format!("the server offers only older versions of TLS; supported are {OFFER}"))
        }
        Incompatible(_) | AlertReceived(InsufficientSecurity) => (
            TlsNotSupported,
            format!("the server has no cipher suite in common with ticketapi, which supports {OFFER}"),
        ),
        AlertReceived(HandshakeFailure) => (
            TlsNotSupported,
            format!(
                "the server refused the handshake; most often it has no cipher suite or version in common with ticketapi, which supports {OFFER}"
            ),
        ),
        AlertReceived(CertificateRequired) => {
            (TlsNotSupported, "the server requires a client certificate, which is not supported".to_owned())
        }
        AlertReceived(UnrecognisedName) => (Tls, format!("the server says that it is not {host}")),
        AlertReceived(alert) => (Tls, format!("the server refused the handshake with the alert {alert:?}")),
        InvalidMessage(_) => (Tls, "the server does not answer in TLS".to_owned()),
        rustls::Error::PeerMisbehaved(_) => (Tls, "the server breaks the rules of TLS".to_owned()),
        rustls::Error::DecryptError => (Tls, "what came from the server was changed on its way".to_owned()),
        other => (Tls, other.to_string()),
    };
    (kind, format!("no TLS connection to {broker}: {problem}"))
}

fn explain_certificate(reason: &CertificateError, host: &str) -> (ErrorKind, String) {
    use CertificateError as Bad;
    use ErrorKind::{Tls, TlsNotSupported};
    let text = match reason {
        Bad::Other(OtherError(other)) => {
            let refusal = other.downcast_ref::<Refusal>();
            let kind = if refusal.is_some_and(Refusal::is_final) { TlsNotSupported } else { Tls };
            return (kind, other.to_string());
        }
        // Another CA of the same name shows as a bad signature.
        Bad::UnknownIssuer | Bad::BadSignature => "it is not signed by a trusted issuer".to_owned(),
        Bad::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            let text = "it names no host in subjectAltName; a host name in the common name does not count";
            return (TlsNotSupported, text.to_owned());
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => format!("it is not for the name {host}"),
        Bad::Expired | Bad::ExpiredContext { .. } => "it has expired".to_owned(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        Bad::BadEncoding => "it cannot be read".to_owned(),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            "it is not meant for TLS servers (extended key usage)".to_owned()
        }
        Bad::UnsupportedSignatureAlgorithmContext { .. }
        | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            let text =
                "it, or an issuer's certificate, is signed with an algorithm that is not supported, such as SHA-1";
            return (TlsNotSupported, text.to_owned());
        }
        other => other.to_string(),
    };
    (Tls, text)
}
