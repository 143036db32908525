//! The settings of logins at an OpenID provider.

use std::time::Duration;

use super::client_auth::ClientAuth;
use crate::http::{HttpsSettings, Url};
use crate::service::choices::{RedirectUri, RoleSelection, ServiceKind, TicketKind};
use crate::service::roles::RoleSettings;
use crate::session::Context;
use crate::ssb::Environment;

use super::{cis2, ehealth_dk};

/// The settings of a service.
#[derive(Clone, Debug)]
pub(crate) struct OidcSettings {
    pub(crate) kind: ServiceKind,
    pub(crate) issuer: Url,
    pub(crate) client_id: String,
    pub(crate) client_auth: ClientAuth,
    pub(crate) redirect_uri: RedirectUri,
    /// Separated by blanks.
    pub(crate) scope: String,
    pub(crate) acr_values: Vec<String>,
    pub(crate) role_selection: RoleSelection,
    pub(crate) ticket: TicketKind,
    pub(crate) login_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_session: Duration,
    pub(crate) bind_card: bool,
    /// What a session begins with.
    pub(crate) context: Context,
    pub(crate) roles: RoleSettings,
    pub(crate) https: HttpsSettings,
}

/// What a service asks for where the settings say nothing.
pub(crate) struct Preset {
    pub(crate) issuer: Option<&'static str>,
    pub(crate) scope: &'static str,
    pub(crate) acr_values: &'static str,
    pub(crate) ticket: TicketKind,
}

impl Preset {
    /// Returns the preset of a service.
    pub(crate) fn of(kind: ServiceKind, environment: Environment, selection: RoleSelection) -> Self {
        match kind {
            ServiceKind::Cis2 => Self {
                issuer: cis2::issuer(environment),
                scope: cis2::scope(selection),
                acr_values: cis2::ACR_VALUES,
                ticket: TicketKind::IdToken,
            },
            ServiceKind::EhealthDk => Self {
                issuer: ehealth_dk::issuer(environment),
                scope: ehealth_dk::SCOPE,
                acr_values: "",
                ticket: TicketKind::AccessToken,
            },
            _ => Self { issuer: None, scope: "openid profile", acr_values: "", ticket: TicketKind::AccessToken },
        }
    }
}
