//! Cookies of one session with one server: a load balancer sends every request to the same node by them.
//!
//! A session's cookie is its ticket on some servers, so all of them are wiped and none is shown.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secret::SecretBytes;

/// Bounds what a server can have a client keep and send.
const MAX_COOKIES: usize = 20;
const MAX_BYTES: usize = 4 << 10;

/// Where a server's cookies are kept while its session lives, over several connections. Clones share them.
#[derive(Clone, Default)]
pub struct CookieJar(Arc<Mutex<Cookies>>);

impl CookieJar {
    pub(super) fn lock(&self) -> MutexGuard<'_, Cookies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().fmt(f)
    }
}

/// As `name=value`, in the order in which they were set first.
#[derive(Clone, Default)]
pub(crate) struct Cookies(Vec<SecretBytes>);

impl Cookies {
    /// Takes the value of a `Set-Cookie` header. Only `Max-Age` counts among the attributes: one
    /// host is asked, by one path, for as long as a session lives.
    pub(crate) fn set(&mut self, header: &[u8]) {
        let mut parts = header.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let Some(pair) = parts.next().filter(|pair| is_pair(pair)) else { return };
        let ended = parts.any(is_ended);
        let known = self.0.iter().position(|known| name(known) == name(pair));
        match known {
            Some(known) if ended => {
                self.0.remove(known);
            }
            Some(known) if self.len() - self.0[known].len() + pair.len() <= MAX_BYTES => {
                self.0[known] = pair.to_vec().into();
            }
            None if !ended && self.0.len() < MAX_COOKIES && self.len() + pair.len() <= MAX_BYTES => {
                self.0.push(pair.to_vec().into());
            }
            _ => {}
        }
    }

    /// Takes what another answer set.
    pub(crate) fn extend(&mut self, others: Self) {
        for cookie in others.0 {
            self.set(&cookie);
        }
    }

    /// The cookies, in the form of a request header.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|cookie| cookie.as_slice())
    }

    fn len(&self) -> usize {
        self.0.iter().map(|cookie| cookie.len()).sum()
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cookies", self.0.len())
    }
}

fn name(pair: &[u8]) -> &[u8] {
    pair.split(|&byte| byte == b'=').next().unwrap_or_default()
}

/// RFC 6265, 4.1.1, and spaces, which servers put into values.
fn is_pair(pair: &[u8]) -> bool {
    pair.contains(&b'=') && !name(pair).is_empty() && pair.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_ended(attribute: &[u8]) -> bool {
    let Some((name, value)) = str::from_utf8(attribute).ok().and_then(|text| text.split_once('=')) else {
        return false;
    };
    name.trim().eq_ignore_ascii_case("max-age") && value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(headers: &[&str]) -> String {
        let mut cookies = Cookies::default();
        headers.iter().for_each(|header| cookies.set(header.as_bytes()));
        let pairs: Vec<_> = cookies.iter().map(|pair| String::from_utf8(pair.to_vec()).unwrap()).collect();
        pairs.join("; ")
    }

    #[test]
    fn a_cookie_is_kept_until_it_is_set_again_or_ends() {
        assert_eq!(after(&["node=1; Path=/; HttpOnly", "b=x=y", "node=2"]), "node=2; b=x=y");
        assert_eq!(after(&["a=1", "b=2", "a=; max-age=0"]), "b=2");
        assert_eq!(after(&["a=1; Max-Age=60"]), "a=1");
        assert_eq!(after(&["a=1; Max-Age=-1", "b=\"q r\"; Secure"]), "b=\"q r\"");
    }

    #[test]
    fn what_is_no_cookie_or_could_break_a_request_is_left_out() {
        for header in ["", ";", "a", "=1", "a=1\r\nX: y", "a=\0", "a=\u{e9}", "a=\x7f"] {
            assert_eq!(after(&[header]), "", "{header:?}");
        }
    }

    #[test]
    fn a_server_has_bounded_room() {
        let many: Vec<_> = (0..100).map(|number| format!("c{number}=x")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(after(&many).matches('=').count(), MAX_COOKIES);
        let large = format!("a={}", "x".repeat(MAX_BYTES));
        assert_eq!(after(&[&large]), "");
        assert_eq!(after(&["a=1", &large]), "a=1");
    }

    #[test]
    fn cookies_are_not_shown() {
        let mut cookies = Cookies::default();
        cookies.set(b"iPlanetDirectoryPro=AQIC5w");
        assert_eq!(format!("{cookies:?}"), "1 cookies");
    }
}
