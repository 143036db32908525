//! Which settings a login at an OpenID provider needs.

use super::Config;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::Url;
use crate::service::choices::{ClientAuth, ServiceKind};

impl Config {
    /// Checks that nothing is missing for a login at an OpenID provider. Settings of other services are
    /// ignored: one file may hold the settings of several.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming the key.
    pub(crate) fn check_openid(&self) -> Result<()> {
        let (service, client_auth) = (self.service, self.client_auth);
        if service == ServiceKind::Oidc && self.issuer.is_none() {
            return Err(missing("issuer", "service = oidc needs the address of the provider"));
        }
        if self.client_id.is_none() {
            let why = format!("service = {service} needs the id that the provider has given this program");
            return Err(missing("client_id", &why));
        }
        let (key, is_set, what) = match client_auth {
            ClientAuth::None => ("client_id", true, ""),
            ClientAuth::ClientSecret => {
                ("client_secret_file", self.client_secret_file.is_some(), "the file of the secret")
            }
            ClientAuth::PrivateKeyJwt => {
                ("client_key_file", self.client_key_file.is_some(), "the file of the private key")
            }
            ClientAuth::BackEnd => {
                ("exchange_url", self.exchange_url.is_some(), "the address of the supplier's server")
            }
        };
        if !is_set {
            return Err(missing(key, &format!("client_auth = {client_auth} needs {what}")));
        }
        if self.care_team_id.is_none() && (self.patient_id.is_some() || self.episode_of_care_id.is_some()) {
            return Err(missing("care_team_id", "a context with patient_id or episode_of_care_id needs a care team"));
        }
        let is_plain = |address: &&String| Url::parse(address).is_ok_and(|url| !url.origin().is_tls());
        for (key, address) in [("issuer", &self.issuer), ("exchange_url", &self.exchange_url)] {
            if let Some(address) = address.as_ref().filter(is_plain).filter(|_| !self.allow_http) {
                return Err(invalid(format!("{key}: {address} is plain http, and allow_http is not set")));
            }
        }
        Ok(())
    }
}

fn missing(key: &str, why: &str) -> Error {
    invalid(format!("{key} is not set: {why}"))
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(settings: &[(&str, &str)]) -> String {
        let mut config = Config::default();
        settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        config.check_openid().err().map_or_else(String::new, |error| error.detail().to_owned())
    }

    #[test]
    fn an_issuer_and_a_client_id_are_enough_and_a_preset_knows_its_issuer() {
        assert_eq!(problem(&[("service", "oidc"), ("issuer", "https://id.example"), ("client_id", "a")]), "");
        assert_eq!(problem(&[("service", "cis2"), ("client_id", "a")]), "");
        assert_eq!(problem(&[("service", "ehealth_dk"), ("client_id", "a")]), "");
    }

    #[test]
    fn what_a_login_cannot_do_without_is_named() {
        let cis2 = [("service", "cis2"), ("client_id", "a")];
        let with = |more: &[(&'static str, &'static str)]| problem(&[&cis2, more].concat());
        for (problem, expected) in [
            (
                problem(&[("service", "oidc"), ("client_id", "a")]),
                "issuer is not set: service = oidc needs the address of the provider",
            ),
            (
                problem(&[("service", "ehealth_dk")]),
                "client_id is not set: service = ehealth_dk needs the id that the provider has given this program",
            ),
            (
                with(&[("client_auth", "client_secret"), ("client_key_file", "/k")]),
                "client_secret_file is not set: client_auth = client_secret needs the file of the secret",
            ),
            (
                with(&[("client_auth", "private_key_jwt")]),
                "client_key_file is not set: client_auth = private_key_jwt needs the file of the private key",
            ),
            (
                with(&[("client_auth", "back_end")]),
                "exchange_url is not set: client_auth = back_end needs the address of the supplier's server",
            ),
            (
                with(&[("patient_id", "https://fhir.example/Patient/1")]),
                "care_team_id is not set: a context with patient_id or episode_of_care_id needs a care team",
            ),
            (
                with(&[("issuer", "http://127.0.0.1:8080/a")]),
                "issuer: http://127.0.0.1:8080/a is plain http, and allow_http is not set",
            ),
        ] {
            assert_eq!(problem, expected);
        }
        assert!(with(&[("issuer", "HTTP://LOCALHOST/a")]).ends_with("is plain http, and allow_http is not set"));
        assert_eq!(with(&[("issuer", "http://[::1]:8080/a"), ("allow_http", "true")]), "");
    }

    #[test]
    fn an_issuer_is_an_address_and_stays_as_it_is_written() {
        for issuer in ["https://id.example:443/a", "https://ID.example/a/", "http://localhost", "https://[::1]:1/a"] {
            let mut config = Config::default();
            config.set("issuer", issuer).unwrap();
            assert_eq!(config.issuer.as_deref(), Some(issuer));
        }
        for issuer in [
            "",
            "id.example",
            "http://id.example",
            "ftp://id.example",
            "https://",
            "https://:443/",
            "https://id.example:/",
            "https://u@id.example",
            "https://id.example/a?b",
            "https://id.example/#a",
            "https://id example",
            "https://id.example/\u{e4}",
        ] {
            let error = Config::default().set("issuer", issuer).expect_err(issuer);
            assert!(error.detail().starts_with(&format!("issuer: {issuer:?}: it ")), "{error}");
        }
    }
}
