//! The exchange of the code for tokens, on a thread of its own.
//!
//! The thread begins before the browser opens, and asks for the provider's keys while the user logs in. If the login is
//! cancelled during the exchange, it still waits for the tokens: only they can end the session that has begun.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zeroize::Zeroizing;

use super::provider::Provider;
use super::secret::Secret;
use super::token::NoTokens;
use super::{Begun, ClientAuth, Once, defect, end};
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::service::{Call, Desk};
use crate::sync::mpsc;

const STAGE: Stage = Stage::Authentication;

/// A thread that waits for the code. Dropping this ends it.
pub(super) struct Exchange<'a> {
    desk: &'a Desk<'a>,
    /// Until the code is sent.
    code: Option<mpsc::Sender<Secret>>,
    tell: mpsc::Sender<Option<Result<Begun>>>,
    told: mpsc::Receiver<Option<Result<Begun>>>,
    cancel: CancelToken,
}

/// What the thread has to do.
struct Work {
    provider: Provider,
    verifier: Zeroizing<String>,
    nonce: Zeroizing<String>,
    redirect_uri: String,
    owner: ForkGuard,
    cancel: CancelToken,
}

impl<'a> Exchange<'a> {
    pub(super) fn prepare(desk: &'a Desk<'a>, provider: Provider, once: &Once) -> Result<Self> {
        let ((code, codes), (tell, told), cancel) = (mpsc::channel(), mpsc::channel(), CancelToken::new());
        let mut work = Work {
            provider,
            verifier: once.verifier.clone(),
            nonce: once.nonce.clone(),
            redirect_uri: once.redirect_uri.clone(),
            owner: ForkGuard::this_process(),
            cancel: cancel.clone(),
        };
        let outcome = tell.clone();
        let run = move || {
            let keys = work.fetch_keys();
            let Ok(code) = codes.recv() else { return };
            let exchanged = catch_unwind(AssertUnwindSafe(|| keys.and_then(|()| work.exchange(&code))));
            // If the receiver is gone, dropping the session ends it.
            drop(outcome.send(Some(exchanged.unwrap_or_else(|_| Err(defect("the answer could not be read"))))));
        };
        desk.cancel.check(STAGE)?;
        desk.threads.spawn("ticketapi-login", cancel.clone(), run).map_err(|error| Error::no_thread(STAGE, error))?;
        Ok(Self { desk, code: Some(code), tell, told, cancel })
    }

    /// Exchanges the code.
    pub(super) fn run(mut self, code: Secret) -> Result<Begun> {
        self.desk.cancel.check(STAGE)?;
        let over = self.tell.clone();
        let _guard = self.desk.cancel.on_cancel(move || drop(over.send(None)));
        let sent = self.code.take().is_some_and(|to| to.send(code).is_ok());
        if !sent {
            return Err(defect("the thread for the exchange has ended"));
        }
        match self.told.recv() {
            Ok(Some(exchanged)) => exchanged,
            Ok(None) | Err(_) => Err(Error::cancelled(STAGE)),
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.code.take().is_some() {
            self.cancel.cancel();
        }
    }
}

impl Work {
    fn fetch_keys(&mut self) -> Result<()> {
        let call = Call::within(self.provider.settings().https.request_deadline, &self.cancel);
        self.provider.fetch_keys(STAGE, &call)
    }

    fn exchange(mut self, code: &Secret) -> Result<Begun> {
        let Self { provider, verifier, nonce, redirect_uri, cancel, .. } = &mut self;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
            // For a supplier's server, which may check the ID token itself.
            ("nonce", nonce),
        ];
        let back_end = matches!(provider.settings().client_auth, ClientAuth::BackEnd(_));
        let fields = if back_end { &fields[..] } else { &fields[..4] };
        let call = Call::within(provider.settings().https.request_deadline, cancel);
        let proof = provider.proof()?;
        match provider.tokens(STAGE, fields, &proof, &mut false, &call)? {
            Ok(tokens) => Ok(Begun::new(self.provider, tokens, self.owner)),
            Err(no) => {
                let server = provider.token_server().to_string();
                // Without a token nothing ends a session that has begun: a code is sent once.
                if let NoTokens::Malformed(_, ending) | NoTokens::Incomplete(_, ending) = &no {
                    end(provider, ending);
                }
                Err(no.into_error(&server, STAGE))
            }
        }
    }
}
