//! A browser without a screen: opens an address, follows redirects, keeps cookies, sends forms.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};

use crate::error::{Context, Error, Result};
use crate::http::encode_form;

/// How long a page may take.
const TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 10;

/// Plays the user's browser in tests: the session cookies of one user, who opens one page after the other.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    ca_file: Option<PathBuf>,
    /// Host, name and value.
    cookies: Vec<(String, String, String)>,
    /// Hosts and their ports on 127.0.0.1.
    hosts: Vec<(String, u16)>,
}

/// A page that a [`Browser`] has opened.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its address, after redirects.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers, names as they came.
    pub headers: Vec<(String, String)>,
    /// Its text.
    pub text: String,
}

impl Page {
    /// The value of a header; its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }

    /// Where its first form is sent.
    pub fn form_action(&self) -> Option<String> {
        let form = &self.text[self.text.find("<form")?..];
        let action = form.split_once("action=\"")?.1.split_once('"')?.0;
        resolve(&self.url, &action.replace("&amp;", "&"))
    }

    /// Where Keycloak's button "Restart login" leads, on the page of a known user who is another one.
    fn restart_for(&self, username: &str) -> Option<String> {
        let known = self.text.split_once("id=\"kc-attempted-username\" value=\"")?.1.split('"').next()?;
        let link = self.text.split_once("id=\"reset-login\"")?.1.split_once("location.href='")?.1.split('\'').next()?;
        (known != username).then(|| resolve(&self.url, &link.replace("&amp;", "&")))?
    }

    /// Whether it has an element with this id.
    pub fn has(&self, id: &str) -> bool {
        self.text.contains(&format!("id=\"{id}\""))
    }
}

/// What a request carries besides cookies.
#[derive(Default)]
pub(crate) struct Sent<'a> {
    pub(crate) bearer: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) body: &'a str,
}

impl Browser {
    /// A browser without cookies that trusts the CAs in this file, and no others.
    pub fn new(ca_file: &Path) -> Self {
        Self { ca_file: Some(ca_file.into()), ..Self::default() }
    }

    /// Finds `host` at this port of 127.0.0.1, whatever port its addresses have.
    #[must_use]
    pub fn find_at(mut self, host: impl Into<String>, port: u16) -> Self {
        self.hosts.push((host.into(), port));
        self
    }

    /// Opens an address and follows redirects.
    pub fn open(&mut self, url: &str) -> Result<Page> {
        let page = self.request("GET", url, "")?;
        self.follow(page)
    }

    /// Opens an address; a redirect is returned and not followed.
    pub fn open_only(&mut self, url: &str) -> Result<Page> {
        self.request("GET", url, "")
    }

    /// Opens an address and follows redirects up to the one that leaves its host and port, and returns that
    /// one's address: what the program that waits for the login would get.
    pub fn redirect_of(&mut self, url: &str) -> Result<String> {
        let mut page = self.request("GET", url, "")?;
        for _ in 0..REDIRECTS {
            let Some(target) = page.redirect() else { break };
            if origin(&target) != origin(url) {
                return Ok(target);
            }
            page = self.request("GET", &target, "")?;
        }
        Err(Error::Usage(format!("{url} leads to a page with status {}", page.status)))
    }

    /// Sends the page's first form with these fields, and follows redirects.
    pub fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Result<Page> {
        let action = page.form_action().ok_or_else(|| Error::Usage(format!("no form on {}", page.url)))?;
        let page = self.request("POST", &action, &encode_form(fields.iter().copied()))?;
        self.follow(page)
    }

    /// Opens an address, logs in on the login page and chooses a role on the role page, where they come. The marks
    /// are those of Keycloak's pages and the simulator's.
    pub fn log_in(&mut self, url: &str, username: &str, password: &str, role: Option<&str>) -> Result<Page> {
        let mut page = self.open(url)?;
        if let Some(restart) = page.restart_for(username) {
            page = self.open(&restart)?;
        }
        if page.has("password") {
            let mut fields = vec![("password", password), ("credentialId", "")];
            if page.has("username") {
                fields.push(("username", username));
            }
            page = self.submit(&page, &fields)?;
        }
        match role {
            Some(role) if page.has("cis2-role-form") => self.submit(&page, &[("roleid", role)]),
            _ => Ok(page),
        }
    }

    fn follow(&mut self, mut page: Page) -> Result<Page> {
        for _ in 0..REDIRECTS {
            let Some(target) = page.redirect() else { return Ok(page) };
            page = self.request("GET", &target, "")?;
        }
        Err(Error::Usage(format!("too many redirects: {}", page.url)))
    }

    fn request(&mut self, method: &str, url: &str, body: &str) -> Result<Page> {
        let content_type = (method == "POST").then_some("application/x-www-form-urlencoded");
        self.send(method, url, &Sent { bearer: None, content_type, body })
    }

    /// Sends a request, and returns its answer.
    pub(crate) fn send(&mut self, method: &str, url: &str, sent: &Sent<'_>) -> Result<Page> {
        let bad = || Error::Usage(format!("not an address that this browser opens: {url}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let default_port = if scheme == "https" { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (authority, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
        let cookies: Vec<String> =
            self.cookies.iter().filter(|cookie| cookie.0 == host).map(|(_, n, v)| format!("{n}={v}")).collect();
        if !cookies.is_empty() {
            text.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        if let Some(token) = sent.bearer {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(content_type) = sent.content_type {
            text.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", sent.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(sent.body);

        let name = || format!("cannot open {scheme}://{authority}");
        let known = self.hosts.iter().find(|known| known.0 == host).map(|known| ("127.0.0.1", known.1));
        let stream = TcpStream::connect(known.unwrap_or((host, port))).context(name)?;
        stream.set_read_timeout(Some(TIMEOUT)).context(name)?;
        let answer = match scheme {
            "http" => exchange(stream, text.as_bytes()).context(name)?,
            "https" => {
                let stream = self.secure(stream, host)?;
                exchange(stream, text.as_bytes()).context(name)?
            }
            _ => return Err(bad()),
        };
        let page = parse(url, &answer).ok_or_else(|| Error::Usage(format!("no HTTP answer from {authority}")))?;
        self.keep_cookies(host, &page);
        Ok(page)
    }

    fn secure(&self, stream: TcpStream, host: &str) -> Result<openssl::ssl::SslStream<TcpStream>> {
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        context.set_verify(SslVerifyMode::PEER);
        if let Some(file) = &self.ca_file {
            context.set_ca_file(file)?;
        }
        let mut ssl = Ssl::new(&context.build())?;
        match host.parse() {
            Ok(address) => ssl.param_mut().set_ip(address)?,
            Err(_) => {
                ssl.set_hostname(host)?;
                ssl.param_mut().set_host(host)?;
            }
        }
        ssl.connect(stream).map_err(|error| Error::Usage(format!("TLS with {host}: {error}")))
    }

    fn keep_cookies(&mut self, host: &str, page: &Page) {
        for (_, header) in page.headers.iter().filter(|header| header.0.eq_ignore_ascii_case("Set-Cookie")) {
            let Some((name, value)) = header.split(';').next().and_then(|pair| pair.split_once('=')) else { continue };
            self.cookies.retain(|cookie| cookie.0 != host || cookie.1 != name);
            if !header.contains("Max-Age=0") {
                self.cookies.push((host.into(), name.into(), value.into()));
            }
        }
    }
}

impl Page {
    /// Where it redirects to.
    pub fn redirect(&self) -> Option<String> {
        let redirects = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.header("Location").filter(|_| redirects).and_then(|target| resolve(&self.url, target))
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
    while !is_whole(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            // A server that closes without TLS's own end has sent what it had.
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(answer)
}

/// Whether all of an answer with a `Content-Length` is there: some servers keep the connection all the same.
fn is_whole(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(answer) else { return false };
    let length = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Content-Length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() - head >= length)
}

fn parse(url: &str, answer: &[u8]) -> Option<Page> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(answer).ok()? else { return None };
    let pair = |header: &httparse::Header<'_>| (header.name.into(), String::from_utf8_lossy(header.value).into_owned());
    let headers = parsed.headers.iter().map(pair).collect();
    let mut page = Page { url: url.into(), status: parsed.code?, headers, text: String::new() };
    let chunked = page.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = if chunked { unchunk(&answer[length..]) } else { answer[length..].to_vec() };
    page.text = String::from_utf8_lossy(&body).into_owned();
    Some(page)
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, length @ 1..))) = httparse::parse_chunk_size(rest) {
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let Some(chunk) = end.and_then(|end| rest.get(start..end)) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(start + chunk.len() + 2..).unwrap_or_default();
    }
    body
}

fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |place| place + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |place| start + place);
    &url[..end]
}

/// An address as a page at `base` means it; as much of RFC 3986 as such pages need.
fn resolve(base: &str, target: &str) -> Option<String> {
    let origin = origin(base);
    if target.contains("://") {
        Some(target.into())
    } else if let Some(rest) = target.strip_prefix("//") {
        Some(format!("{}://{rest}", base.split_once("://")?.0))
    } else if target.starts_with('/') {
        Some(format!("{origin}{target}"))
    } else {
        let path = &base[origin.len()..];
        let folder = &path[..path.split('?').next()?.rfind('/').map_or(0, |slash| slash + 1)];
        Some(format!("{origin}{}{folder}{target}", if folder.is_empty() { "/" } else { "" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved_against_their_page() {
        let base = "https://a.test:1/x/y?z=/1";
        for (target, resolved) in [
            ("http://b.test/", "http://b.test/"),
            ("/q?r", "https://a.test:1/q?r"),
            ("q", "https://a.test:1/x/q"),
            ("//b.test/q", "https://b.test/q"),
        ] {
            assert_eq!(resolve(base, target).as_deref(), Some(resolved));
        }
        assert_eq!(resolve("https://a.test", "q").as_deref(), Some("https://a.test/q"));
    }

    #[test]
    fn chunks_are_put_together() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse("http://a.test/", answer).unwrap().text, "abcde");
    }
}
