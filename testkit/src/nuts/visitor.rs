//! Plays the user's browser on a node's page, over plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::error::{Context, Error, Result};

/// A page in the browser.
#[derive(Debug)]
pub struct Page {
    url: String,
    /// The status of the answer.
    pub status: u16,
    /// Where it redirects to, with the host where the path is absolute; empty where it does not.
    pub location: String,
    /// The page's text.
    pub html: String,
}

/// Opens `url`, which is plain http, as a browser does.
pub fn visit(url: &str) -> Result<Page> {
    send("GET", url, None)
}

impl Page {
    /// Presses the page's accept or reject button.
    pub fn press(&self, accept: bool) -> Result<Page> {
        let secret = self.html.split_once("name=\"secret\" value=\"").and_then(|parts| parts.1.split_once('"'));
        let secret = secret.ok_or_else(|| Error::Usage(format!("{} has no form: {}", self.url, self.html)))?.0;
        self.submit(&format!("secret={secret}&accept={accept}"))
    }

    /// Sends this form.
    pub fn submit(&self, form: &str) -> Result<Page> {
        send("POST", &self.url, Some(("application/x-www-form-urlencoded", form)))
    }

    /// The text of the page's `<main>`, on one line.
    pub fn main(&self) -> String {
        let start = self.html.find("<main>").unwrap_or_default();
        let end = self.html.find("</main>").map_or(self.html.len(), |end| end + "</main>".len());
        self.html[start..end].split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Sends a request, with a body of a type.
pub(super) fn send(method: &str, url: &str, body: Option<(&str, &str)>) -> Result<Page> {
    let what = || format!("cannot open {url}");
    let wrong = || Error::Usage(format!("{url} is no plain http address"));
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    let mut stream = TcpStream::connect(host).context(what)?;
    let head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let request = match body {
        None => format!("{head}\r\n"),
        Some((kind, body)) => {
            format!("{head}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    };
    stream.write_all(request.as_bytes()).context(what)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context(what)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| Error::Usage(format!("{url} gave no answer")))?;
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
    Ok(Page {
        url: url.to_owned(),
        status: head.split(' ').nth(1).and_then(|digits| digits.parse().ok()).unwrap_or_default(),
        location: if location.starts_with('/') { format!("http://{host}{location}") } else { location.to_owned() },
        html: body.to_owned(),
    })
}
