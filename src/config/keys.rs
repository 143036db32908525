//! Every setting: its key, and how its value is checked and kept.

use std::path::Path;

use super::Config;
use super::values::{
    absolute, did, keep, list, minutes, module, one_of, origin, path, program, seconds, some, subject, text, url,
    words, yes_or_no,
};
use crate::agent::AgentUse;
use crate::card::Digest;
use crate::card::pkcs11::AfterLogin;
use crate::http::BadProxy;
use crate::prompt::{BrowserChoice, PrompterKind};
use crate::service::choices::{ClientAuth, KeyAlgorithm, NutsApi, RedirectUri, RoleSelection, ServiceKind, TicketKind};
use crate::session::Mode;
use crate::ssb::Environment;

/// Checks a value and keeps it. A relative path starts from the folder.
type Apply = fn(&mut Config, &str, &Path) -> Result<(), String>;

/// The settings, in the order of docs/settings.md. The variable of a key is `TICKETAPI_` and the key in
/// capitals.
pub(super) const KEYS: &[(&str, Apply)] = &[
    ("service", |config, value, _| keep(&mut config.service, one_of(value, &ServiceKind::NAMES))),
    ("environment", |config, value, _| keep(&mut config.environment, one_of(value, &Environment::NAMES))),
    // Whether http is allowed is known when every setting is: see `Config::broker`.
    ("base_url", |config, value, _| some(&mut config.base_url, origin(value))),
    ("allow_http", |config, value, _| keep(&mut config.allow_http, yes_or_no(value))),
    ("ca_file", |config, value, folder| some(&mut config.ca_file, path(value, folder))),
    ("proxy", |config, value, _| keep(&mut config.proxy, value.parse().map_err(|bad: BadProxy| bad.to_string()))),
    ("connect_timeout", |config, value, _| keep(&mut config.connect_timeout, seconds(value, 1))),
    ("request_timeout", |config, value, _| keep(&mut config.request_timeout, seconds(value, 1))),
    ("pkcs11_module", |config, value, _| some(&mut config.pkcs11_module, module(value))),
    ("helper", |config, value, folder| some(&mut config.helper, path(value, folder))),
    ("card_after_login", |config, value, _| {
        keep(&mut config.card_after_login, one_of(value, &[("reset", AfterLogin::Reset), ("leave", AfterLogin::Leave)]))
    }),
    ("card_timeout", |config, value, _| keep(&mut config.card_timeout, seconds(value, 1))),
    ("card_wait", |config, value, _| keep(&mut config.card_wait, seconds(value, 0))),
    ("token_label", |config, value, _| some(&mut config.token_label, text(value))),
    ("token_serial", |config, value, _| some(&mut config.token_serial, text(value))),
    ("certificate_issuers", |config, value, _| keep(&mut config.certificate_issuers, Ok(list(value)))),
    ("signing_issuers", |config, value, _| keep(&mut config.signing_issuers, Ok(list(value)))),
    ("software_card", |config, value, folder| some(&mut config.software_card, path(value, folder))),
    ("prompter", |config, value, _| {
        let kinds = [
            ("auto", PrompterKind::Auto),
            ("desktop", PrompterKind::Desktop),
            ("terminal", PrompterKind::Terminal),
            ("none", PrompterKind::None),
        ];
        keep(&mut config.prompter, one_of(value, &kinds))
    }),
    // A bare name is looked up on the PATH.
    ("pinentry", |config, value, folder| some(&mut config.pinentry, program(value, folder))),
    ("prompt_timeout", |config, value, _| keep(&mut config.prompt_timeout, seconds(value, 0))),
    ("role", |config, value, _| some(&mut config.role, text(value))),
    ("role_command", |config, value, _| keep(&mut config.role_command, words(value))),
    ("require_role", |config, value, _| keep(&mut config.require_role, yes_or_no(value))),
    ("check_session", |config, value, _| keep(&mut config.check_session, minutes(value, 0))),
    ("digest", |config, value, _| {
        keep(&mut config.digest, one_of(value, &[("sha1", Digest::Sha1), ("sha256", Digest::Sha256)]))
    }),
    ("agent", |config, value, _| {
        let uses = [("auto", AgentUse::Auto), ("require", AgentUse::Require), ("never", AgentUse::Never)];
        keep(&mut config.agent, one_of(value, &uses))
    }),
    ("agent_socket", |config, value, _| some(&mut config.agent_socket, absolute(value))),
    ("offer_login", |config, value, _| keep(&mut config.offer_login, yes_or_no(value))),
    ("mode", |config, value, _| {
        let modes = [("normal", Mode::Normal), ("session_lock", Mode::SessionLock), ("mobility", Mode::Mobility)];
        keep(&mut config.mode, one_of(value, &modes))
    }),
    ("lock_timeout", |config, value, _| keep(&mut config.lock_timeout, minutes(value, 1))),
    ("reauthentication", |config, value, _| keep(&mut config.reauthentication, minutes(value, 1))),
    ("issuer", |config, value, _| some(&mut config.issuer, url(value, false))),
    ("client_id", |config, value, _| some(&mut config.client_id, text(value))),
    ("client_auth", |config, value, _| keep(&mut config.client_auth, one_of(value, &ClientAuth::NAMES))),
    ("client_secret_file", |config, value, folder| some(&mut config.client_secret_file, path(value, folder))),
    ("client_key_file", |config, value, folder| some(&mut config.client_key_file, path(value, folder))),
    ("client_key_id", |config, value, _| some(&mut config.client_key_id, text(value))),
    ("client_key_algorithm", |config, value, _| {
        keep(&mut config.client_key_algorithm, one_of(value, &KeyAlgorithm::NAMES))
    }),
    ("exchange_url", |config, value, _| some(&mut config.exchange_url, url(value, true))),
    ("redirect_uri", |config, value, _| {
        keep(&mut config.redirect_uri, value.parse::<RedirectUri>().map_err(|bad| format!("{value:?}: {bad}")))
    }),
    ("scope", |config, value, _| some(&mut config.scope, text(value))),
    ("acr_values", |config, value, _| some(&mut config.acr_values, text(value))),
    ("role_selection", |config, value, _| keep(&mut config.role_selection, one_of(value, &RoleSelection::NAMES))),
    ("ticket", |config, value, _| some(&mut config.ticket, one_of(value, &TicketKind::NAMES))),
    ("browser", |config, value, folder| {
        let program = |value| program(value, folder).map(BrowserChoice::Program);
        keep(&mut config.browser, if value == "none" { Ok(BrowserChoice::None) } else { program(value) })
    }),
    ("login_timeout", |config, value, _| keep(&mut config.login_timeout, seconds(value, 1))),
    ("idle_timeout", |config, value, _| keep(&mut config.idle_timeout, minutes(value, 1))),
    ("max_session", |config, value, _| keep(&mut config.max_session, minutes(value, 1))),
    ("bind_card", |config, value, _| keep(&mut config.bind_card, yes_or_no(value))),
    ("organization_id", |config, value, _| some(&mut config.organization_id, text(value))),
    ("care_team_id", |config, value, _| some(&mut config.care_team_id, text(value))),
    ("patient_id", |config, value, _| some(&mut config.patient_id, text(value))),
    ("episode_of_care_id", |config, value, _| some(&mut config.episode_of_care_id, text(value))),
    ("nuts_node", |config, value, _| some(&mut config.nuts_node, url(value, false))),
    ("nuts_token_key", |config, value, folder| some(&mut config.nuts_token_key, path(value, folder))),
    ("nuts_token_user", |config, value, _| some(&mut config.nuts_token_user, text(value))),
    ("nuts_token_audience", |config, value, _| some(&mut config.nuts_token_audience, text(value))),
    ("nuts_api", |config, value, _| keep(&mut config.nuts_api, one_of(value, &NutsApi::NAMES))),
    ("nuts_subject", |config, value, _| some(&mut config.nuts_subject, subject(value))),
    ("employer", |config, value, _| some(&mut config.employer, did(value))),
    ("employee_identifier", |config, value, _| some(&mut config.employee_identifier, text(value))),
    ("employee_initials", |config, value, _| some(&mut config.employee_initials, text(value))),
    ("employee_family_name", |config, value, _| some(&mut config.employee_family_name, text(value))),
    ("employee_role", |config, value, _| some(&mut config.employee_role, text(value))),
    ("contract", |config, value, _| keep(&mut config.contract, text(value))),
    ("contract_language", |config, value, _| keep(&mut config.contract_language, text(value))),
    ("contract_version", |config, value, _| keep(&mut config.contract_version, text(value))),
];
