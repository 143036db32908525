//! The server certificate and TLS settings of the simulators.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::error::{Context, Error, Result, lock_folder, write_file, write_key};

/// Which TLS versions the simulator speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// What is wrong with the server's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerCertificate {
    /// None: it is valid for `localhost` and `127.0.0.1`.
    #[default]
    Good,
    /// It is for this name instead.
    ForName(String),
    /// It expired in 2020.
    Expired,
    /// It is of another CA than the one in [`Spine::ca_file`](crate::Spine::ca_file).
    OtherCa,
}

/// A CA for the server, with a key on the curve P-256.
pub(crate) struct ServerCa {
    params: CertificateParams,
    key: KeyPair,
}

impl ServerCa {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { params: ca_params()?, key: KeyPair::generate().map_err(certificate_error)? })
    }

    /// The CA kept in `folder` as `spine-ca.pem` and `spine-ca.key`, made there when it is not.
    /// Returns where its certificate is.
    pub(crate) fn load_or_create(folder: &Path) -> Result<(Self, std::path::PathBuf)> {
        let (certificate, key) = (folder.join("spine-ca.pem"), folder.join("spine-ca.key"));
        // Two simulators may start at the same moment.
        let _lock = lock_folder(folder)?;
        if certificate.exists() && key.exists() {
            let pem = std::fs::read_to_string(&key).context(|| format!("cannot read {}", key.display()))?;
            let key = KeyPair::from_pem(&pem).map_err(certificate_error)?;
            return Ok((Self { params: ca_params()?, key }, certificate));
        }
        let ca = Self::new()?;
        write_key(&key, ca.key.serialize_pem())?;
        write_file(&certificate, ca.certificate()?.pem())?;
        Ok((ca, certificate))
    }

    fn certificate(&self) -> Result<Certificate> {
        self.params.self_signed(&self.key).map_err(certificate_error)
    }

    pub(crate) fn server_config(&self, what: &ServerCertificate, versions: TlsVersions) -> Result<Arc<ServerConfig>> {
        let (certificate, key) = self.issue(what)?;
        let versions: &[&SupportedProtocolVersion] = match versions {
            TlsVersions::Both => &[&rustls::version::TLS12, &rustls::version::TLS13],
            TlsVersions::Tls12 => &[&rustls::version::TLS12],
            TlsVersions::Tls13 => &[&rustls::version::TLS13],
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| Error::ServerCertificate(e.into()))?;
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
            .map(Arc::new)
            .map_err(|error| Error::ServerCertificate(error.to_string()))
    }

    /// A good certificate and its key, as PEM, for another program's server.
    #[cfg(unix)]
    pub(crate) fn issue_pem(&self) -> Result<(String, String)> {
        let (certificate, key) = self.issue(&ServerCertificate::Good)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn issue(&self, what: &ServerCertificate) -> Result<(Certificate, KeyPair)> {
        let names = match what {
            ServerCertificate::ForName(name) => vec![name.clone()],
            _ => vec!["localhost".into(), "127.0.0.1".into()],
        };
        let mut params = CertificateParams::new(names).map_err(certificate_error)?;
        params.distinguished_name.push(DnType::CommonName, "spine-simulator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(if *what == ServerCertificate::Expired { 2020 } else { 2120 }, 1, 1);
        let key = KeyPair::generate().map_err(certificate_error)?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(certificate_error)?;
        Ok((certificate, key))
    }
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(certificate_error)?;
    params.distinguished_name.push(DnType::OrganizationName, "ticketapi testkit");
    params.distinguished_name.push(DnType::CommonName, "Spine simulator CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

fn certificate_error(error: rcgen::Error) -> Error {
    Error::ServerCertificate(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn simulators_that_start_at_the_same_moment_share_one_ca() {
        let folder = tempfile::tempdir().unwrap();
        let start = Barrier::new(16);
        let keys: Vec<_> = thread::scope(|scope| {
            let load = || {
                start.wait();
                ServerCa::load_or_create(folder.path()).unwrap().0.key.serialize_pem()
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}
