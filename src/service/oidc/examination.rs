//! What a diagnosis asks a provider. It logs nobody in, and spends no code.

use std::sync::Arc;

use super::OidcSettings;
use super::client_auth::random;
use super::provider::{Provider, Shared};
use super::token::NoTokens;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::Origin;
use crate::service::Call;

/// A provider, as a diagnosis sees it.
pub struct Examination {
    shared: Arc<Shared>,
    provider: Option<Provider>,
}

impl Examination {
    pub(crate) fn new(settings: OidcSettings) -> Self {
        Self { shared: Arc::new(Shared::new(settings)), provider: None }
    }

    /// Returns the server with the provider's metadata.
    pub fn server(&self) -> &Origin {
        self.shared.settings.issuer.origin()
    }

    /// Returns the provider's issuer.
    pub fn issuer(&self) -> &str {
        self.shared.settings.issuer.as_str()
    }

    /// Reads the provider's metadata, as a login does.
    ///
    /// # Errors
    ///
    /// Those of a login.
    pub fn discover(&mut self, cancel: &CancelToken) -> Result<()> {
        self.provider = Some(Provider::discover(&self.shared, &self.call(cancel))?);
        Ok(())
    }

    /// Asks for tokens, with a code that no login had, and returns the server that has refused it. It looks at the
    /// code of a client that it accepts only.
    ///
    /// # Errors
    ///
    /// Those of a login: [`Configuration`](ErrorKind::Configuration) for client settings that are not accepted.
    pub fn check_client(&mut self, cancel: &CancelToken) -> Result<String> {
        let stage = Stage::Authentication;
        if self.provider.is_none() {
            self.discover(cancel)?;
        }
        let call = self.call(cancel);
        let redirect_uri = self.shared.settings.redirect_uri.to_string();
        let (code, verifier) = (random(), random());
        let Some(provider) = &mut self.provider else { return Err(no_metadata()) };
        let proof = provider.proof()?;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", &**code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", &**verifier),
        ];
        let server = provider.token_server().to_string();
        match provider.tokens(stage, &fields, &proof, &mut false, &call)? {
            Err(NoTokens::Refused(refusal)) if refusal.code == "invalid_grant" => Ok(server),
            Err(other) => Err(other.into_error(&server, stage)),
            Ok(_) => {
                let detail = format!("{server} gives out tokens for a code that nobody has");
                Err(Error::new(ErrorKind::BadAnswer, stage, detail))
            }
        }
    }

    fn call<'a>(&self, cancel: &'a CancelToken) -> Call<'a> {
        Call::within(self.shared.settings.https.request_deadline, cancel)
    }
}

fn no_metadata() -> Error {
    Error::new(ErrorKind::Internal, Stage::Activation, "the provider's metadata was not kept")
}
