//! Logins at OpenID providers.

mod loopback;
