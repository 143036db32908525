//! Logins at OpenID providers.
#![expect(dead_code, reason = "the login that uses these comes next")]

mod cis2;
mod client_auth;
mod client_key;
mod discovery;
mod ehealth_dk;
mod id_token;
mod json;
mod jws;
mod keys;
mod loopback;
mod secret;
mod token;
mod user_info;
