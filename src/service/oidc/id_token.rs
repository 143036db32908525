//! ID tokens (OpenID Connect Core, 3.1.3.7 and 12.2).
//!
//! [`UnverifiedIdToken`] gives nothing away but its text; only its [`check`](UnverifiedIdToken::check) makes an
//! [`IdToken`], whose claims hold.

use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::base64url::to_base64url;
use super::cis2;
use super::json::{self, Loose, OneOrMany, Seconds};
use super::jws::{BadJws, UnverifiedJws};
use super::keys::KeySet;
use super::secret::Secret;

/// How far this computer's clock and the provider's may be apart.
const SKEW: i64 = 60;

/// An ID token as it was received.
#[derive(Clone, Debug)]
pub(super) struct UnverifiedIdToken(pub(super) Secret);

/// An ID token whose signature and claims are right.
#[derive(Clone, Debug)]
pub(super) struct IdToken {
    pub(super) text: Secret,
    pub(super) subject: String,
    /// Seconds since 1970.
    pub(super) expires: i64,
    pub(super) auth_time: Option<i64>,
    /// The provider's id of the browser session.
    pub(super) session: Option<String>,
    pub(super) name: Option<String>,
    pub(super) user_name: Option<String>,
    pub(super) nhs_uid: Option<String>,
}

/// What an ID token must say. Times are seconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: i64,
    /// The token must not be older than this.
    pub(super) since: Option<i64>,
    /// The value of this login; `None` after a renewal, where it may be missing.
    pub(super) nonce: Option<&'a str>,
    /// The access token that came along.
    pub(super) access_token: Option<&'a Secret>,
    /// The classes that were asked for; any if empty.
    pub(super) acr_values: &'a [String],
    /// The user must have logged in after this time, because the provider was asked to have them do so.
    pub(super) login_since: Option<i64>,
    /// The user that the session belongs to.
    pub(super) subject: Option<&'a str>,
}

/// Why an ID token is refused. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadIdToken {
    #[error("{0}")]
    Jws(#[from] BadJws),
    #[error("its claims cannot be read")]
    Claims,
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("it is from another issuer (iss)")]
    Issuer,
    #[error("it is for another program (aud)")]
    Audience,
    #[error("it was issued to another program (azp)")]
    AuthorizedParty,
    #[error("it has expired (exp); check this computer's clock")]
    Expired,
    #[error("it is from the future (iat, nbf); check this computer's clock")]
    FromTheFuture,
    #[error("it is older than this login (iat); check this computer's clock")]
    Old,
    #[error("it is of another login (nonce)")]
    Nonce,
    #[error("it is of another access token (at_hash)")]
    AccessToken,
    #[error("the user has logged in by a weaker way than was asked for (acr)")]
    Acr,
    #[error("the user has not logged in again (auth_time)")]
    NoNewLogin,
    #[error("it is about another user (sub)")]
    OtherUser,
}

#[derive(Deserialize)]
struct Claims<'a> {
    iss: Option<String>,
    sub: Option<String>,
    #[serde(default)]
    aud: OneOrMany<String>,
    azp: Option<String>,
    exp: Option<Seconds>,
    iat: Option<Seconds>,
    nbf: Option<Seconds>,
    auth_time: Option<Seconds>,
    nonce: Option<String>,
    at_hash: Option<String>,
    acr: Option<String>,
    #[serde(borrow, default)]
    sid: Loose<'a>,
    #[serde(borrow, default)]
    name: Loose<'a>,
    #[serde(borrow, default)]
    preferred_username: Loose<'a>,
    #[serde(borrow, default)]
    nhsid_useruid: Loose<'a>,
}

impl UnverifiedIdToken {
    /// Verifies the signature with `keys`, then checks each claim. After [`BadJws::UnknownKey`] newer keys may help.
    pub(super) fn check(&self, keys: &KeySet, expected: &Expected<'_>) -> Result<IdToken, BadIdToken> {
        let payload = UnverifiedJws::read(self.0.expose())?.verify(keys)?;
        let claims: Claims<'_> = json::read(&payload).map_err(|_| BadIdToken::Claims)?;
        claims.check(expected, &self.0)
    }
}

impl Claims<'_> {
    fn check(self, expected: &Expected<'_>, text: &Secret) -> Result<IdToken, BadIdToken> {
        let subject = self.sub.filter(|subject| !subject.is_empty()).ok_or(BadIdToken::Missing("sub"))?;
        if self.iss.ok_or(BadIdToken::Missing("iss"))? != expected.issuer {
            return Err(BadIdToken::Issuer);
        }

        let OneOrMany(audiences) = self.aud;
        if !audiences.iter().any(|audience| audience == expected.client_id) {
            return Err(if audiences.is_empty() { BadIdToken::Missing("aud") } else { BadIdToken::Audience });
        }
        match self.azp {
            Some(party) if party != expected.client_id => return Err(BadIdToken::AuthorizedParty),
            None if audiences.len() > 1 => return Err(BadIdToken::Missing("azp")),
            Some(_) | None => {}
        }

        let Seconds(expires) = self.exp.ok_or(BadIdToken::Missing("exp"))?;
        let Seconds(issued) = self.iat.ok_or(BadIdToken::Missing("iat"))?;
        if expires.saturating_add(SKEW) <= expected.now {
            return Err(BadIdToken::Expired);
        }
        let not_before = self.nbf.map_or(issued, |Seconds(time)| time.max(issued));
        if not_before.saturating_sub(SKEW) > expected.now {
            return Err(BadIdToken::FromTheFuture);
        }
        if expected.since.is_some_and(|since| issued.saturating_add(SKEW) < since) {
            return Err(BadIdToken::Old);
        }

        match (self.nonce, expected.nonce) {
            (Some(nonce), Some(expected)) if nonce != expected => return Err(BadIdToken::Nonce),
            (None, Some(_)) => return Err(BadIdToken::Missing("nonce")),
            _ => {}
        }
        if let (Some(hash), Some(token)) = (self.at_hash, expected.access_token)
            && hash != access_token_hash(token)
        {
            return Err(BadIdToken::AccessToken);
        }

        if !expected.acr_values.is_empty() {
            let acr = self.acr.ok_or(BadIdToken::Missing("acr"))?;
            if !expected.acr_values.iter().any(|requested| cis2::acr_meets(&acr, requested)) {
                return Err(BadIdToken::Acr);
            }
        }
        let auth_time = self.auth_time.map(|Seconds(time)| time);
        if let Some(since) = expected.login_since {
            let time = auth_time.ok_or(BadIdToken::Missing("auth_time"))?;
            if time.saturating_add(SKEW) < since {
                return Err(BadIdToken::NoNewLogin);
            }
        }
        if expected.subject.is_some_and(|expected| expected != subject) {
            return Err(BadIdToken::OtherUser);
        }

        let shown = |text: &Loose<'_>| text.get().map(str::to_owned);
        Ok(IdToken {
            text: text.clone(),
            subject,
            expires,
            auth_time,
            session: shown(&self.sid),
            name: shown(&self.name),
            user_name: shown(&self.preferred_username),
            nhs_uid: shown(&self.nhsid_useruid),
        })
    }
}

/// Checks claims as if a key of the provider had signed them.
#[cfg(fuzzing)]
pub(super) fn check_payload(payload: &[u8], expected: &Expected<'_>) -> Result<IdToken, BadIdToken> {
    let claims: Claims<'_> = json::read(payload).map_err(|_| BadIdToken::Claims)?;
    claims.check(expected, &Secret::new(String::new()))
}

/// The left half of the hash, which all algorithms that are accepted make with SHA-256.
fn access_token_hash(token: &Secret) -> String {
    let hash = digest(&SHA256, token.expose().as_bytes());
    to_base64url(&hash.as_ref()[..16]).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::jws::tests::{OTHER_RSA, RSA, key_set, rs256, rsa_jwk, signed};
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://am.example:443/openam";

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "sub": "910000000001", "aud": "client", "exp": NOW + 300, "iat": NOW, "auth_time": NOW - 2,
            "nonce": "n-1", "acr": "AAL3_FIDO2", "sid": "s-1", "name": "SMITH Jane", "azp": "client",
        })
    }

    fn expected() -> Expected<'static> {
        Expected {
            issuer: ISSUER,
            client_id: "client",
            now: NOW,
            since: Some(NOW - 20),
            nonce: Some("n-1"),
            access_token: None,
            acr_values: &[],
            login_since: None,
            subject: None,
        }
    }

    fn check_as(claims: &Value, expected: &Expected<'_>) -> Result<IdToken, BadIdToken> {
        let text = signed(&json!({"alg": "RS256", "kid": "k"}), &claims.to_string(), rs256(&RSA));
        UnverifiedIdToken(Secret::new(text)).check(&key_set(&[rsa_jwk(&RSA, "k")]), expected)
    }

    fn check_with(member: &str, value: Value) -> Result<IdToken, BadIdToken> {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(member);
        } else {
            claims[member] = value;
        }
        check_as(&claims, &expected())
    }

    #[test]
    fn a_right_token_tells_who_the_user_is() {
        let token = check_as(&claims(), &expected()).unwrap();
        assert_eq!((&*token.subject, token.expires, token.auth_time), ("910000000001", NOW + 300, Some(NOW - 2)));
        assert_eq!((token.session.as_deref(), token.name.as_deref()), (Some("s-1"), Some("SMITH Jane")));
    }

    #[test]
    fn each_wrong_or_missing_claim_is_refused() {
        let no = json!(null);
        for (member, value, why) in [
            ("iss", json!("https://am.example/openam"), BadIdToken::Issuer),
            ("iss", json!("https://am.example:443/openam/"), BadIdToken::Issuer),
            ("iss", json!([ISSUER]), BadIdToken::Claims),
            ("iss", no.clone(), BadIdToken::Missing("iss")),
            ("sub", no.clone(), BadIdToken::Missing("sub")),
            ("sub", json!(""), BadIdToken::Missing("sub")),
            ("sub", json!(910000000001_i64), BadIdToken::Claims),
            ("aud", json!("other"), BadIdToken::Audience),
            ("aud", json!(["other", "third"]), BadIdToken::Audience),
            ("aud", json!([]), BadIdToken::Missing("aud")),
            ("aud", no.clone(), BadIdToken::Missing("aud")),
            ("azp", json!("other"), BadIdToken::AuthorizedParty),
            ("exp", json!(NOW - 60), BadIdToken::Expired),
            ("exp", json!(0), BadIdToken::Expired),
            ("exp", json!("soon"), BadIdToken::Claims),
            ("exp", no.clone(), BadIdToken::Missing("exp")),
            ("iat", json!(NOW + 61), BadIdToken::FromTheFuture),
            ("iat", json!(NOW - 81), BadIdToken::Old),
            ("iat", no.clone(), BadIdToken::Missing("iat")),
            ("nonce", json!("n-2"), BadIdToken::Nonce),
            ("nonce", no, BadIdToken::Missing("nonce")),
        ] {
            assert_eq!(check_with(member, value.clone()).map(|_| ()), Err(why), "{member} {value}");
        }
    }

    #[test]
    fn clocks_may_be_a_minute_apart() {
        for (member, value) in [("exp", NOW - 59), ("iat", NOW + 60), ("iat", NOW - 80)] {
            assert!(check_with(member, json!(value)).is_ok(), "{member} {value}");
        }
    }

    #[test]
    fn a_token_for_several_programs_says_which_of_them_it_was_issued_to() {
        let mut claims = claims();
        claims["aud"] = json!(["other", "client"]);
        assert!(check_as(&claims, &expected()).is_ok());
        claims.as_object_mut().unwrap().remove("azp");
        assert_eq!(check_as(&claims, &expected()).unwrap_err(), BadIdToken::Missing("azp"));
        claims["aud"] = json!(["client"]);
        assert!(check_as(&claims, &expected()).is_ok());
    }

    #[test]
    fn an_access_token_that_comes_along_must_be_the_one_that_is_meant() {
        // The example of OpenID Connect Core, A.3.
        let token = Secret::new("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y".into());
        let mut claims = claims();
        let expected = Expected { access_token: Some(&token), ..expected() };
        assert!(check_as(&claims, &expected).is_ok());
        claims["at_hash"] = json!("77QmUPtjPfzWtF2AnpK9RQ");
        assert!(check_as(&claims, &expected).is_ok());
        claims["at_hash"] = json!("77QmUPtjPfzWtF2AnpK9RR");
        assert_eq!(check_as(&claims, &expected).unwrap_err(), BadIdToken::AccessToken);
    }

    #[test]
    fn a_class_that_was_asked_for_must_be_met() {
        let checked = |values: &[&str], acr: Value| {
            let values: Vec<_> = values.iter().map(|&value| value.to_owned()).collect();
            let mut claims = claims();
            claims["acr"] = acr;
            check_as(&claims, &Expected { acr_values: &values, ..expected() }).map(|_| ())
        };
        assert_eq!(checked(&["AAL2_OR_AAL3_ANY"], json!("AAL3_FIDO2")), Ok(()));
        assert_eq!(checked(&["AAL3_ANY", "AAL2_TOTP"], json!("AAL2_TOTP")), Ok(()));
        assert_eq!(checked(&["AAL3_ANY"], json!("AAL2_TOTP")), Err(BadIdToken::Acr));
        assert_eq!(checked(&["gold"], json!("Gold")), Err(BadIdToken::Acr));
        assert_eq!(checked(&["gold"], json!(null)), Err(BadIdToken::Missing("acr")));
        assert_eq!(checked(&[], json!(null)), Ok(()));
    }

    #[test]
    fn a_login_that_was_asked_for_must_be_new() {
        let checked = |auth_time: Value| {
            let mut claims = claims();
            claims["auth_time"] = auth_time;
            check_as(&claims, &Expected { login_since: Some(NOW - 20), ..expected() }).map(|_| ())
        };
        assert_eq!(checked(json!(NOW - 80)), Ok(()));
        assert_eq!(checked(json!(NOW - 81)), Err(BadIdToken::NoNewLogin));
        assert_eq!(checked(json!(null)), Err(BadIdToken::Missing("auth_time")));
    }

    #[test]
    fn after_a_renewal_the_user_is_the_same_and_the_nonce_may_be_missing() {
        let renewal = Expected { nonce: None, since: None, subject: Some("910000000001"), ..expected() };
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("nonce");
        assert!(check_as(&claims, &renewal).is_ok());
        claims["sub"] = json!("910000000002");
        assert_eq!(check_as(&claims, &renewal).unwrap_err(), BadIdToken::OtherUser);
    }

    #[test]
    fn nothing_of_a_token_with_another_signature_counts() {
        let text = signed(&json!({"alg": "RS256", "kid": "k"}), &claims().to_string(), rs256(&OTHER_RSA));
        let token = UnverifiedIdToken(Secret::new(text));
        let keys = key_set(&[rsa_jwk(&RSA, "k")]);
        assert_eq!(token.check(&keys, &expected()).unwrap_err(), BadIdToken::Jws(BadJws::Signature));
    }

    #[test]
    fn claims_that_come_twice_are_refused() {
        let claims = claims().to_string().replacen('{', r#"{"sub":"1","#, 1);
        let text = signed(&json!({"alg": "RS256", "kid": "k"}), &claims, rs256(&RSA));
        let token = UnverifiedIdToken(Secret::new(text));
        assert_eq!(token.check(&key_set(&[rsa_jwk(&RSA, "k")]), &expected()).unwrap_err(), BadIdToken::Claims);
    }
}
