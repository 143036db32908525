//! A plain HTTP client for tests of the Nuts simulator, and the form of its answers in the files of cases.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use ticketapi_testkit::Nuts;

/// Sends requests to one address.
pub struct Client {
    base: String,
}

/// An answer; status 0 when there was none.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|header| header.0 == name).map_or("", |header| &header.1)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }
}

impl Client {
    pub fn new(base: &str) -> Self {
        Self { base: base.into() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    pub fn form(&self, url: &str, form: &str) -> Answer {
        self.fetch("POST", url, &[("Content-Type", "application/x-www-form-urlencoded")], form)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.fetch(method, &format!("{}{path}", self.base), headers, body)
    }

    pub fn fetch(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let mut request = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            return Answer { status: 0, headers: Vec::new(), body: String::new() };
        };
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": ").map(|(name, value)| (name.into(), value.into())));
        Answer { status, headers: headers.collect(), body: body.to_owned() }
    }

    /// The line of the files of cases, with everything that differs from run to run replaced.
    pub fn described(&self, what: &str, answer: &Answer, nuts: &Nuts) -> String {
        if answer.status == 0 {
            return format!("{what} | 0  | RemoteDisconnected");
        }
        let kind = answer.header("Content-Type").split(';').next().unwrap_or_default();
        let body = match kind {
            "text/html" => {
                let (start, end) = (answer.body.find("<main>").unwrap(), answer.body.find("</main>").unwrap());
                let main = &answer.body[start..end + "</main>".len()];
                main.split_whitespace().collect::<Vec<_>>().join(" ")
            }
            _ => answer.body.trim_end().to_owned(),
        };
        let host = nuts.public_url().replace("http://", "");
        let body = body.replace(&host, "<HOST>").replace(nuts.employer(), "<DID>");
        format!("{what} | {} {kind} | {}", answer.status, times(&ids(&body)))
    }
}

/// The names of an object's members as Python prints them.
pub fn keys(value: &Value) -> String {
    let names: Vec<_> = value.as_object().unwrap().keys().map(|name| format!("'{name}'")).collect();
    format!("[{}]", names.join(", "))
}

/// Replaces ids of sessions: 32 hexadecimal digits.
fn ids(text: &str) -> String {
    let is_id = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut replaced = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        replaced.push_str(if is_id(word) { "<SID>" } else { word });
        replaced.push_str(&part[word.len()..]);
    }
    replaced
}

/// Replaces times of contracts.
fn times(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, after) in
        [(" is valid from ", " until "), (" until ", "."), ("\"valid_from\":\"", "\""), ("\"valid_to\":\"", "\"")]
    {
        if let Some(start) = text.find(before).map(|at| at + before.len())
            && let Some(length) = text[start..].find(after)
        {
            text.replace_range(start..start + length, "<TIME>");
        }
    }
    text
}

/// Both lines as far as they are to be equal.
pub fn compared(expected: &str, found: &str) -> (String, String) {
    let both = |change: &dyn Fn(&str) -> String| (change(expected), change(found));
    let cut_after = |mark: &str| {
        both(&|line: &str| line.find(mark).map_or_else(|| line.to_owned(), |at| line[..at + mark.len()].to_owned()))
    };
    let what = expected.split(" | ").next().unwrap();
    match what {
        "flow accept: poll" => cut_after("\"verifiablePresentation\":{\"@context\":["),
        // The head of the token, as far as the DID.
        "token: ok" | "token: no identity" | "n2n: usi as JSON object" => {
            cut_after("eyJhbGciOiJFUzI1NiIsImtpZCI6ImRpZDpudXRzO")
        }
        "introspect: ok" => both(&|line| number_after(&number_after(line, "\"exp\":"), "\"iat\":")),
        _ if what.starts_with("VP compact") || what.starts_with("keys") => (expected.to_owned(), near(expected, found)),
        // Long lines were cut in the file.
        _ if expected.len() < found.len() && !expected.ends_with(['}', '>', ' ', '|']) => {
            (expected.to_owned(), found[..expected.len()].to_owned())
        }
        _ => (expected.to_owned(), found.to_owned()),
    }
}

fn number_after(line: &str, mark: &str) -> String {
    let Some((before, after)) = line.split_once(mark) else { return line.to_owned() };
    format!("{before}{mark}<NUMBER>{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The lengths of `found` as expected where they are nearly so: names are of different lengths, and times lose the
/// zeros at their end.
fn near(expected: &str, found: &str) -> String {
    let words = expected.split(' ').zip(found.split(' ')).map(|(expected, found)| {
        match (expected.parse::<usize>(), found.parse::<usize>()) {
            (Ok(wanted), Ok(number)) if wanted.abs_diff(number) <= 48 => expected,
            _ => found,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
