//! The settings of logins at OpenID providers. Those of other services are ignored: one file may hold the settings
//! of several.

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::Url;
use crate::service::choices::{self, ServiceKind};
use crate::service::oidc::{ClientAuth, OidcSettings, Preset};
use crate::session::Context;

/// Checks that nothing is missing for a login, and puts the settings together.
pub(super) fn settings(config: &Config) -> Result<OidcSettings> {
    let preset = Preset::of(config.service, config.environment, config.role_selection);
    let scope = config.scope.as_deref().unwrap_or(preset.scope);
    let acr_values = config.acr_values.as_deref().unwrap_or(preset.acr_values);
    Ok(OidcSettings {
        kind: config.service,
        issuer: issuer(config, &preset)?,
        client_id: required(&config.client_id, "client_id", || {
            format!("service = {} needs the id that the provider has given this program", config.service)
        })?,
        client_auth: client_auth(config)?,
        redirect_uri: config.redirect_uri.clone(),
        scope: scope.to_owned(),
        acr_values: acr_values.split_whitespace().map(str::to_owned).collect(),
        role_selection: config.role_selection,
        ticket: config.ticket.unwrap_or(preset.ticket),
        login_timeout: config.login_timeout,
        idle_timeout: config.idle_timeout,
        max_session: config.max_session,
        bind_card: config.bind_card,
        context: context(config)?,
        roles: config.into(),
        https: config.into(),
    })
}

fn issuer(config: &Config, preset: &Preset) -> Result<Url> {
    let issuer = config.issuer.clone().or_else(|| preset.issuer.map(str::to_owned));
    let issuer = required(&issuer, "issuer", || match config.service {
        ServiceKind::Oidc => "service = oidc needs the address of the provider".to_owned(),
        service => format!("the issuer of {service} is not known for this environment"),
    })?;
    url("issuer", &issuer, config)
}

fn client_auth(config: &Config) -> Result<ClientAuth> {
    let needs = |what| move || format!("client_auth = {} needs {what}", config.client_auth);
    Ok(match config.client_auth {
        choices::ClientAuth::None => ClientAuth::None,
        choices::ClientAuth::ClientSecret => ClientAuth::Secret(required(
            &config.client_secret_file,
            "client_secret_file",
            needs("the file of the secret"),
        )?),
        choices::ClientAuth::PrivateKeyJwt => ClientAuth::PrivateKey {
            file: required(&config.client_key_file, "client_key_file", needs("the file of the private key"))?,
            id: config.client_key_id.clone(),
            algorithm: config.client_key_algorithm,
        },
        choices::ClientAuth::BackEnd => {
            let needs = needs("the address of the supplier's server");
            ClientAuth::BackEnd(url("exchange_url", &required(&config.exchange_url, "exchange_url", needs)?, config)?)
        }
    })
}

fn context(config: &Config) -> Result<Context> {
    let mut context = Context::new();
    context.organization_id.clone_from(&config.organization_id);
    context.care_team_id.clone_from(&config.care_team_id);
    context.patient_id.clone_from(&config.patient_id);
    context.episode_of_care_id.clone_from(&config.episode_of_care_id);
    context.check().map_err(|error| {
        let keys = "organization_id, care_team_id, patient_id and episode_of_care_id";
        invalid(format!("{keys} make no context: {}", error.detail()))
    })?;
    Ok(context)
}

fn url(key: &str, text: &str, config: &Config) -> Result<Url> {
    let url = Url::parse(text).map_err(|bad| invalid(format!("{key}: {text:?}: {bad}")))?;
    if !url.origin().is_tls() && !config.allow_http {
        return Err(invalid(format!("{key}: {url} is plain http, and allow_http is not set")));
    }
    Ok(url)
}

fn required<T: Clone>(value: &Option<T>, key: &str, why: impl FnOnce() -> String) -> Result<T> {
    value.clone().ok_or_else(|| invalid(format!("{key} is not set: {}", why())))
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::choices::TicketKind;

    fn of(all: &[(&str, &str)]) -> Result<OidcSettings> {
        let mut config = Config::default();
        all.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        settings(&config)
    }

    fn problem(settings: &[(&str, &str)]) -> String {
        let error = of(settings).unwrap_err();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Configuration, Stage::Configuration));
        error.detail().to_owned()
    }

    #[test]
    fn an_issuer_and_a_client_id_are_enough_and_a_preset_knows_its_issuer() {
        let oidc = of(&[("service", "oidc"), ("issuer", "https://id.example:443/a"), ("client_id", "a")]).unwrap();
        assert_eq!((oidc.issuer.as_str(), oidc.ticket), ("https://id.example:443/a", TicketKind::AccessToken));
        assert!(matches!(oidc.client_auth, ClientAuth::None) && oidc.acr_values.is_empty());
        let cis2 = of(&[("service", "cis2"), ("client_id", "a")]).unwrap();
        assert!(cis2.issuer.as_str().contains(":443/") && !cis2.acr_values.is_empty());
        assert_eq!(cis2.ticket, TicketKind::IdToken);
        let more = [("service", "cis2"), ("client_id", "a"), ("ticket", "access_token"), ("acr_values", "a  b")];
        let cis2 = of(&[&more[..], &[("scope", "openid x"), ("issuer", "https://id.example")]].concat()).unwrap();
        assert_eq!((cis2.issuer.as_str(), &*cis2.scope), ("https://id.example", "openid x"));
        assert_eq!((cis2.ticket, &*cis2.acr_values), (TicketKind::AccessToken, &["a".to_owned(), "b".to_owned()][..]));
    }

    #[test]
    fn what_a_login_cannot_do_without_is_named() {
        let with = |more: &[(&'static str, &'static str)]| {
            problem(&[&[("service", "cis2"), ("client_id", "a")], more].concat())
        };
        for (problem, expected) in [
            (
                problem(&[("service", "oidc"), ("client_id", "a")]),
                "issuer is not set: service = oidc needs the address of the provider",
            ),
            (
                problem(&[("service", "ehealth_dk"), ("environment", "live"), ("client_id", "a")]),
                "issuer is not set: the issuer of ehealth_dk is not known for this environment",
            ),
            (
                problem(&[("service", "ehealth_dk"), ("environment", "int")]),
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
                "organization_id, care_team_id, patient_id and episode_of_care_id make no context: the context has a \
                 patient but no care team",
            ),
            (
                with(&[("issuer", "http://127.0.0.1:8080/a")]),
                "issuer: http://127.0.0.1:8080/a is plain http, and allow_http is not set",
            ),
            (
                with(&[("client_auth", "back_end"), ("exchange_url", "HTTP://localhost/x")]),
                "exchange_url: HTTP://localhost/x is plain http, and allow_http is not set",
            ),
        ] {
            assert_eq!(problem, expected);
        }
        let plain =
            [("service", "oidc"), ("issuer", "http://[::1]:8080/a"), ("client_id", "a"), ("allow_http", "true")];
        assert!(of(&plain).is_ok());
    }
}
