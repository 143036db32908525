//! Another login of the user of a session: to unlock it, or for another role.
//!
//! Only the session's own user succeeds. In all other cases the session and its tokens stay as they were.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::id_token::{BadIdToken, IdToken};
use super::session::{Kept, OidcSession};
use super::{Begun, LoggedIn, Login, LoginRequest, cis2, no_id_token, refused, session};
use crate::cancel::CancelToken;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::service::{Replacement, ServiceSession};
use crate::session::{Context, Role, Session};

impl Login<'_> {
    pub(super) fn unlock(&self, locked: &Session) -> Result<Replacement> {
        let session = own(locked)?;
        let scope = &self.shared.settings.scope;
        let logged_in = self.log_in_at_provider(LoginRequest { scope, new_login: true }, Some(session))?;
        if self.shared.settings.bind_card {
            self.desk.bind_card()?;
        }
        // The role stays, unless the user has chosen another on the provider's page.
        let info = logged_in.info.as_ref();
        let mut roles = info.map_or_else(|| locked.roles().to_vec(), |info| info.roles.clone());
        let selected = info.and_then(|info| info.selected_role.clone());
        let role = match selected.as_deref().or(locked.role().map(|role| &*role.id)) {
            Some(id) => self.take_role(&mut roles, Some(id))?,
            None => None,
        };
        let replacement = self.replace(session, logged_in, roles, role)?;
        let context = session.kept(|kept| kept.context.clone());
        if context == Context::default() { Ok(replacement) } else { session.switch_context(&context, &self.call()) }
    }

    /// Lets the user choose on the provider's page.
    pub(super) fn change_role(&self, live: &Session) -> Result<Replacement> {
        let session = own(live)?;
        let words = self.shared.settings.scope.split(' ').filter(|scope| *scope != "selectedrole");
        let scope = words.chain([cis2::CHANGED_ROLE]).collect::<Vec<_>>().join(" ");
        let mut logged_in = self.log_in_at_provider(LoginRequest { scope: &scope, new_login: true }, Some(session))?;
        let info = logged_in.info.take();
        let selected = info.as_ref().and_then(|info| info.selected_role.clone());
        let mut roles = info.map(|info| info.roles).unwrap_or_default();
        let role = self.take_role(&mut roles, selected.as_deref())?;
        self.replace(session, logged_in, roles, role)
    }

    /// Lets the user choose among the session's roles.
    pub(super) fn choose_again(&self, live: &Session) -> Result<Replacement> {
        let session = own(live)?;
        let roles: Vec<Role> = live.roles().to_vec();
        if roles.len() < 2 {
            let detail = "the user has no other role";
            return Err(Error::new(ErrorKind::UserNotValid, Stage::RoleSelection, detail));
        }
        let role = self.shared.settings.roles.ask(&roles, self.desk)?;
        let expiry = session.kept(|kept| kept.expiry());
        Ok(Replacement { ticket: live.ticket().clone(), expiry, roles, role: Some(role) })
    }

    /// Gives the session the tokens of the new login.
    fn replace(
        &self,
        session: &OidcSession,
        logged_in: LoggedIn,
        roles: Vec<Role>,
        role: Option<usize>,
    ) -> Result<Replacement> {
        let LoggedIn { mut begun, id_token, .. } = logged_in;
        self.desk.cancel.check(Stage::RoleSelection)?;
        let ticket = session::ticket(self.shared, &begun.tokens, Some(&id_token)).ok_or_else(no_id_token)?;
        let kept = Kept::new(self.shared, &begun.tokens, &id_token);
        let expiry = kept.expiry();
        begun.kept = true;
        let home = kept.home.clone();
        let ending = session.replace(kept);
        let is_same = home.zip(ending.home.as_ref()).is_some_and(|(now, before)| now.is_same(before));
        if !is_same && let Err(error) = begun.provider.end(&ending, &self.call()) {
            warn!(%error, "the session before could not be ended at the provider");
        }
        info!("the same user has logged in again");
        Ok(Replacement { ticket, expiry, roles, role })
    }
}

impl OidcSession {
    /// Waits until another login differs from the last one: `auth_time` has a resolution of a second.
    pub(super) fn wait_for_another_second(&self, cancel: &CancelToken) -> Result<()> {
        let next = self.kept(|kept| kept.logged_in).saturating_add(Duration::from_secs(1));
        match cancel.wait(next.saturating_sub(SystemClock.now())) {
            true => Err(Error::cancelled(Stage::Browser)),
            false => Ok(()),
        }
    }
}

impl Begun {
    /// Checks that the user of `session` has logged in anew. From now on these tokens are known to belong to that
    /// session at the provider, or to another one that must not be left behind.
    pub(super) fn is_again(&mut self, id_token: &IdToken, session: &OidcSession) -> Result<()> {
        let (browser_session, auth_time) = session.kept(|kept| (kept.session.clone(), kept.auth_time));
        let is_same_user = session.subject.as_deref() == Some(&id_token.subject);
        self.kept = browser_session.is_some() && browser_session == id_token.session;
        if !is_same_user {
            return Err(refused(&BadIdToken::OtherUser));
        }
        // Without times only `prompt=login` is checked.
        if auth_time.zip(id_token.auth_time).is_some_and(|(before, now)| now <= before) {
            return Err(refused(&BadIdToken::NoNewLogin));
        }
        Ok(())
    }
}

fn own(session: &Session) -> Result<&OidcSession> {
    let service: &dyn Any = Arc::as_ref(&session.grant.service) as &dyn ServiceSession;
    let other = || Error::new(ErrorKind::Internal, Stage::Session, "the session is at another service");
    service.downcast_ref().ok_or_else(other)
}
