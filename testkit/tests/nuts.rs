//! The Nuts simulator answers as two real nodes did: line by line of `tests/data/nuts/cases-*.txt`.
//!
//! Compared by their shape only: the session's id, host, DID, times, the order of a presentation's `@context`,
//! access tokens and the lengths of presentations and tokens (within a few bytes). The last line, timings, is not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nuts_client;

use std::fmt::Write;

use nuts_client::{Answer, Client, compared};
use serde_json::{Value, json};
use ticketapi_testkit::Nuts;
use ticketapi_testkit::nuts::{Credential, Version, visit};

/// The lines of one node, made one after the other.
struct Recording {
    nuts: Nuts,
    client: Client,
    version: Version,
    lines: String,
}

impl Recording {
    fn add(&mut self, what: &str, answer: &Answer) {
        let line = self.client.described(what, answer, &self.nuts);
        writeln!(self.lines, "{line}").unwrap();
    }

    fn draw_up(&mut self, what: &str, change: Value) -> Answer {
        let body = json!({"type": "PractitionerLogin", "language": "EN", "version": "v3", "legalEntity": self.nuts.employer()});
        let answer = self.client.put("/internal/auth/v1/contract/drawup", &changed(body, change));
        self.add(what, &answer);
        answer
    }

    fn request(&self, payload: &str) -> Value {
        let employee = json!({
            "identifier": "481", "initials": "J", "familyName": "van Dijk", "roleName": "Verpleegkundige niveau 2",
        });
        let params = json!({"employer": self.nuts.employer(), "employee": employee});
        json!({"means": "employeeid", "params": params, "payload": payload})
    }

    fn begin(&self, body: &Value) -> Answer {
        self.client.post("/internal/auth/v1/signature/session", body)
    }

    /// A session of `body`; returns its id and the page's address.
    fn session(&self, body: &Value) -> (String, String) {
        let answer = self.begin(body).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&answer["sessionID"]), text(&answer["sessionPtr"]["url"]))
    }

    fn poll(&mut self, what: &str, id: &str) -> Answer {
        let answer = self.client.get(&format!("/internal/auth/v1/signature/session/{id}"));
        self.add(what, &answer);
        answer
    }

    /// A presentation of the contract in `payload`, signed for `employer`.
    fn presentation(&self, payload: &str, employer: &str) -> Value {
        let mut body = self.request(payload);
        body["params"]["employer"] = employer.into();
        let (id, url) = self.session(&body);
        visit(&url).unwrap().press(true).unwrap();
        self.client.get(&format!("/internal/auth/v1/signature/session/{id}")).json()["verifiablePresentation"].take()
    }

    fn page(&mut self, what: &str, url: &str) {
        let answer = self.client.fetch("GET", url, &[], "");
        self.add(what, &answer);
    }

    fn submit(&mut self, what: &str, url: &str, form: &str) {
        let answer = self.client.form(url, form);
        self.add(&what.replace("<LOCATION>", &answer.header("Location").replace(id_of(url), "<SID>")), &answer);
    }

    /// The secret of the page's form, which is opened for it.
    fn open(&self, url: &str) -> String {
        let page = visit(url).unwrap().html;
        page.split_once("name=\"secret\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
    }
}

fn id_of(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

/// `body` with the members of `change`; null removes one.
fn changed(mut body: Value, change: Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        let members = body.as_object_mut().unwrap();
        if value.is_null() { drop(members.remove(name)) } else { drop(members.insert(name.clone(), value.clone())) }
    }
    body
}

fn contracts(r: &mut Recording) -> String {
    let bare = r.nuts.add_organization("CareBears", "CareTown", Credential::None, &[]).unwrap();
    let untrusted = r.nuts.add_organization("CareBears", "CareTown", Credential::Untrusted, &[]).unwrap();
    let inline = json!({"credentialSubject": {"organization": {"name": "CareBears", "city": "CareTown"}}});
    r.draw_up("drawup: no org credential", json!({"legalEntity": bare}));
    let message = r.draw_up("drawup: ok", json!({})).json()["message"].as_str().unwrap().to_owned();
    r.draw_up("drawup: unknown DID", json!({"legalEntity": "did:nuts:B8PUHs2AUHbFF1xLLK4eZjgErEcMXHxs68FteY7NDtCY"}));
    r.draw_up("drawup: not a DID", json!({"legalEntity": "acme"}));
    r.draw_up("drawup: no legalEntity", json!({"legalEntity": null}));
    r.draw_up("drawup: EN v1", json!({"version": "v1"}));
    r.draw_up("drawup: lower-case language", json!({"language": "en"}));
    r.draw_up("drawup: no version", json!({"version": null}));
    r.draw_up("drawup: no type", json!({"type": null}));
    r.draw_up("drawup: bad validFrom", json!({"validFrom": "x"}));
    r.draw_up("drawup: bad validDuration", json!({"validDuration": "2"}));
    r.draw_up("drawup: validFrom 2020", json!({"validFrom": "2020-01-01T00:00:00Z"}));
    r.draw_up("drawup: org credential untrusted", json!({"legalEntity": untrusted}));
    let change = json!({"legalEntity": untrusted, "organizationCredential": inline});
    r.draw_up("drawup: untrusted, credential given inline", change);
    message
}

fn sessions(r: &mut Recording, message: &str) {
    let base = r.request(message);
    let with = |path: &str, value: Value| {
        let mut body = base.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        let members = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            drop(members.remove(name))
        } else {
            drop(members.insert(name.into(), value))
        }
        body
    };
    let employee = base["params"]["employee"].clone();
    let mut emplopyee = with("/params/employee", Value::Null);
    emplopyee["params"]["emplopyee"] = employee;
    let other_means = with("/means", "employeeIdentity".into());
    let no_description = with("/payload", "free text".into());
    let unknown = message.replace(":v3", ":v1");
    for (what, body) in [
        ("ok", base.clone()),
        ("seed spelling emplopyee", emplopyee),
        ("seed means employeeIdentity", other_means),
        ("with email", with("/params/employee/email", "j@example.com".into())),
        ("no roleName", with("/params/employee/roleName", Value::Null)),
        ("prefix field", with("/params/employee/prefix", "van".into())),
        ("no identifier", with("/params/employee/identifier", Value::Null)),
        ("identifier number", with("/params/employee/identifier", 481.into())),
        ("empty initials", with("/params/employee/initials", "".into())),
        ("no familyName", with("/params/employee/familyName", Value::Null)),
        ("no employer", with("/params/employer", Value::Null)),
        ("employer not a DID", with("/params/employer", "acme".into())),
        ("employer a number", with("/params/employer", 42.into())),
        ("unknown employer DID", with("/params/employer", "did:nuts:unknown".into())),
        ("empty payload", with("/payload", "".into())),
        ("no means", with("/means", Value::Null)),
        ("no params", with("/params", Value::Null)),
        ("free text payload", no_description),
        ("unknown template", with("/payload", unknown.into())),
        ("template not matching", with("/payload", "EN:PractitionerLogin:v3 I hereby declare nothing.".into())),
        ("means dummy", with("/means", "dummy".into())),
        ("means irma", with("/means", "irma".into())),
    ] {
        let answer = r.begin(&body);
        r.add(&format!("session: {what}"), &answer);
    }
    let path = "/internal/auth/v1/signature/session";
    let json = ("Content-Type", "application/json");
    let answer = r.client.send("POST", path, &[json], "{\"means\":");
    r.add("session: broken JSON", &answer);
    let answer = r.client.send("POST", path, &[], &base.to_string());
    r.add("session: no content type", &answer);
}

fn accepted(r: &mut Recording, message: &str) -> Value {
    let (id, url) = r.session(&r.request(message));
    r.poll("flow accept: poll 1", &id);
    let page = r.client.fetch("GET", &url, &[], "");
    let (kind, encoding) = (page.header("Content-Type"), page.header("Transfer-Encoding"));
    let headers = format!("page headers {{'Content-Type': '{kind}', 'Transfer-Encoding': '{encoding}'}}");
    writeln!(r.lines, "{headers}").unwrap();
    let secret = page.body.split_once("name=\"secret\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    r.poll("flow accept: poll after page", &id);
    r.page("flow accept: page again", &url);
    r.submit("flow accept: POST (Location <LOCATION>)", &url, &format!("secret={secret}&accept=true"));
    r.page("flow accept: page after", &url);
    r.submit("flow accept: POST again", &url, &format!("secret={secret}&accept=true"));
    let answer = r.poll("flow accept: poll", &id);
    let presentation = answer.json()["verifiablePresentation"].take();
    let (bytes, keys) = (presentation.to_string().len(), nuts_client::keys(&presentation));
    let base64 = bytes.div_ceil(3) * 4;
    let proof = nuts_client::keys(&presentation["proof"]);
    let size = answer.body.len();
    let line = format!(
        "VP compact bytes {bytes} answer bytes {size} base64 {base64} keys {keys} vc type dict proof keys {proof}"
    );
    writeln!(r.lines, "{line}").unwrap();
    r.poll("flow accept: poll 2nd", &id);
    r.poll("flow accept: poll 3rd", &id);
    r.page("flow accept: page after end", &url);
    presentation
}

fn not_accepted(r: &mut Recording, message: &str) {
    let (id, url) = r.session(&r.request(message));
    let secret = r.open(&url);
    r.submit("flow reject: POST", &url, &format!("secret={secret}&accept=false"));
    r.page("flow reject: page", &url);
    r.poll("flow reject: poll", &id);
    r.poll("flow reject: poll 2nd", &id);

    let (id, url) = r.session(&r.request(message));
    r.open(&url);
    r.submit("wrong secret: POST", &url, "secret=wrong&accept=true");
    r.page("wrong secret: page", &url);
    r.poll("wrong secret: poll", &id);
    r.poll("wrong secret: poll 2nd", &id);

    let (id, url) = r.session(&r.request(message));
    let secret = r.open(&url);
    r.submit("accept missing: POST", &url, &format!("secret={secret}"));
    r.page("accept missing: page", &url);
    r.poll("accept missing: poll", &id);
    r.submit("accept missing: POST right one after", &url, &format!("secret={secret}&accept=true"));

    let (id, url) = r.session(&r.request(message));
    let secret = r.open(&url);
    r.submit("choice=confirm (OpenAPI): POST", &url, &format!("secret={secret}&choice=confirm"));
    r.poll("choice=confirm: poll", &id);

    let (id, url) = r.session(&r.request(message));
    r.submit("POST before page", &url, "secret=unknown&accept=true");
    r.poll("POST before page: poll", &id);

    let mut body = r.request(message);
    body["params"]["ExpiresAt"] = "2020-01-01T00:00:00Z".into();
    let (id, url) = r.session(&body);
    r.poll("expired (params.ExpiresAt): poll", &id);
    let secret = r.open(&url);
    r.poll("expired: poll after page", &id);
    r.submit("expired: POST", &url, &format!("secret={secret}&accept=true"));
    r.page("expired: page", &url);
    r.poll("expired: poll", &id);
    r.poll("expired: poll 2nd", &id);

    let mut body = r.request(message);
    body["params"]["employer"] = "did:nuts:unknown".into();
    let (id, url) = r.session(&body);
    visit(&url).unwrap().press(true).unwrap();
    r.poll("unknown employer, accepted: poll", &id);
    r.poll("unknown employer, accepted: poll 2nd", &id);
    r.poll("unknown employer, accepted: poll 3rd", &id);

    let unknown = "0123456789abcdef0123456789abcdef";
    let url = url.replace(&id, unknown);
    r.poll("unknown session: poll", unknown);
    r.page("unknown session: page", &url);
    r.submit("unknown session: POST", &url, "secret=x&accept=true");
}

fn verifications(r: &mut Recording, presentation: &Value, message: &str) {
    let in_seconds = |ahead: i64| {
        let now = std::time::SystemTime::now();
        let distance = std::time::Duration::from_secs(ahead.unsigned_abs());
        humantime::format_rfc3339_seconds(if ahead < 0 { now - distance } else { now + distance }).to_string()
    };
    let untrusted = r.nuts.add_organization("CareBears", "CareTown", Credential::Untrusted, &[]).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut presentation = presentation.clone();
        change(&mut presentation);
        presentation
    };
    let unknown = "did:nuts:B8PUHs2AUHbFF1xLLK4eZjgErEcMXHxs68FteY7NDtCY";
    let of_unknown = serde_json::from_str(&presentation.to_string().replace(r.nuts.employer(), unknown)).unwrap();
    let name_changed =
        with(&|p| p["verifiableCredential"]["credentialSubject"]["member"]["member"]["familyName"] = "X".into());
    for (what, presentation, time) in [
        ("ok", presentation.clone(), None),
        ("-1 day", presentation.clone(), Some(in_seconds(-24 * 3600))),
        ("+2 h", presentation.clone(), Some(in_seconds(2 * 3600))),
        ("+2 days", presentation.clone(), Some(in_seconds(48 * 3600))),
        ("bad checkTime", presentation.clone(), Some("x".to_owned())),
        ("name changed", name_changed, None),
        (
            "challenge changed",
            with(&|p| p["proof"]["challenge"] = message.replace("CareTown", "Elsewhere").into()),
            None,
        ),
        ("no proof", with(&|p| drop(p.as_object_mut().unwrap().remove("proof"))), None),
        ("unknown type", with(&|p| p["type"] = json!(["VerifiablePresentation", "Foo"])), None),
        ("{}", json!({}), None),
        ("string", "abc".into(), None),
        ("VC in a list", with(&|p| p["verifiableCredential"] = json!([p["verifiableCredential"]])), None),
        ("signer DID unknown", of_unknown, None),
        ("org credential untrusted", r.presentation(message, &untrusted), None),
    ] {
        let mut body = json!({"verifiablePresentation": presentation});
        if let Some(time) = time {
            body["checkTime"] = time.into();
        }
        let answer = r.client.put("/internal/auth/v1/signature/verify", &body);
        r.add(&format!("verify: {what}"), &answer);
    }
}

fn access_tokens(r: &mut Recording, presentation: &Value) {
    let employer = r.nuts.employer().to_owned();
    let no_service = r.nuts.add_organization("CareBears", "CareTown", Credential::Trusted, &[]).unwrap();
    let base = json!({
        "authorizer": employer, "requester": employer, "service": "test", "identity": presentation, "credentials": [],
    });
    let ask = |r: &mut Recording, what: &str, change: Value| {
        let answer = r.client.post("/internal/auth/v1/request-access-token", &changed(base.clone(), change));
        r.add(what, &answer);
        answer
    };
    ask(r, "token: no service registered", json!({"authorizer": no_service}));
    let answer = ask(r, "token: ok", json!({}));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let line = format!("keys {} bytes {}", nuts_client::keys(&answer.json()), answer.body.len());
    writeln!(r.lines, "{line}").unwrap();
    for (what, token) in [("introspect: ok", token.as_str()), ("introspect: junk", "junk")] {
        let url = format!("{}/internal/auth/v1/accesstoken/introspect", r.nuts.url());
        let answer = r.client.form(&url, &format!("token={token}"));
        r.add(what, &answer);
    }
    let header = |token: &str| format!("Bearer {token}");
    for (what, token) in [("ok", Some(header(&token))), ("junk", Some(header("junk"))), ("none", None)] {
        let headers: Vec<_> = token.iter().map(|token| ("Authorization", token.as_str())).collect();
        let answer = r.client.send("HEAD", "/internal/auth/v1/accesstoken/verify", &headers, "");
        r.add(&format!("HEAD verify: {what}"), &answer);
    }
    let unknown = "did:nuts:B8PUHs2AUHbFF1xLLK4eZjgErEcMXHxs68FteY7NDtCY";
    let mut tampered = presentation.clone();
    tampered["verifiableCredential"]["credentialSubject"]["member"]["member"]["familyName"] = "X".into();
    ask(r, "token: no identity", json!({"identity": null}));
    ask(r, "token: unknown authorizer", json!({"authorizer": unknown}));
    ask(r, "token: unknown requester", json!({"requester": unknown}));
    ask(r, "token: unknown service", json!({"service": "unknown"}));
    ask(r, "token: identity a string", json!({"identity": "abcd"}));
    ask(r, "token: identity tampered", json!({"identity": tampered}));
    between_nodes(r, presentation, &tampered);
}

fn between_nodes(r: &mut Recording, presentation: &Value, tampered: &Value) {
    let employer = r.nuts.employer().to_owned();
    let send = |r: &mut Recording, what: &str, assertion: &str| {
        let url = format!("{}/n2n/auth/v1/accesstoken", r.nuts.public_url());
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let answer = r.client.form(&url, &form);
        r.add(what, &answer);
    };
    let grant = |r: &Recording, identity: &Value| r.nuts.sign_grant(&employer, &employer, identity).unwrap();
    send(r, "n2n: identity tampered", &grant(r, tampered));
    let message = presentation["proof"]["challenge"].as_str().unwrap();
    let declaration = message.split_once("valid from").unwrap().0;
    let period = "valid from Monday, 2 January 2006 15:04:05 until Monday, 2 January 2006 16:04:05.";
    let old = r.presentation(&format!("{declaration}{period}"), &employer);
    let answer = r.client.put("/internal/auth/v1/signature/verify", &json!({"verifiablePresentation": old}));
    r.add("verify: contract of 2006", &answer);
    send(r, "n2n: contract of 2006", &grant(r, &old));
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 3600);
    let tomorrow = json!({
        "type": "PractitionerLogin", "language": "EN", "legalEntity": employer,
        "validFrom": humantime::format_rfc3339_seconds(tomorrow).to_string(),
    });
    let later = r.client.put("/internal/auth/v1/contract/drawup", &tomorrow).json();
    let later = r.presentation(later["message"].as_str().unwrap(), &employer);
    send(r, "n2n: contract of tomorrow", &grant(r, &later));
    let untrusted = r.nuts.add_organization("CareBears", "CareTown", Credential::None, &[]).unwrap();
    let of_untrusted = r.nuts.sign_grant(&untrusted, &employer, presentation).unwrap();
    send(r, "n2n: requester without trusted org credential", &of_untrusted);
    send(r, "n2n: not a JWT", "x");
    send(r, "n2n: usi as JSON object", &grant(r, presentation));
    send(r, "n2n: usi as base64", &grant(r, &"e30=".into()));
}

fn answers_as_the_real_node_did(version: Version, cases: &str) {
    let nuts = Nuts::builder().version(version).start().unwrap();
    let client = Client::new(&nuts.url());
    let mut recording = Recording { nuts, client, version, lines: String::new() };
    let r = &mut recording;
    let message = contracts(r);
    sessions(r, &message);
    let presentation = accepted(r, &message);
    not_accepted(r, &message);
    verifications(r, &presentation, &message);
    access_tokens(r, &presentation);

    let expected: Vec<_> = cases.lines().filter(|line| !line.starts_with("timings")).collect();
    let found: Vec<_> = recording.lines.lines().collect();
    for (expected, found) in expected.iter().zip(&found) {
        let (expected, found) = compared(expected, found);
        assert_eq!(found, expected, "version {:?}", recording.version);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn it_answers_line_by_line_as_a_node_of_version_5_did() {
    answers_as_the_real_node_did(Version::V5, include_str!("../../tests/data/nuts/cases-v5.txt"));
}

#[test]
fn it_answers_line_by_line_as_a_node_of_version_6_did() {
    answers_as_the_real_node_did(Version::V6, include_str!("../../tests/data/nuts/cases-v6.txt"));
}

#[test]
fn its_presentations_have_the_form_of_real_ones() {
    for (version, real) in [
        (Version::V5, include_str!("../../tests/data/nuts/presentation-v5.json")),
        (Version::V6, include_str!("../../tests/data/nuts/presentation-v6.json")),
    ] {
        let nuts = Nuts::builder().version(version).start().unwrap();
        let client = Client::new(&nuts.url());
        let recording = Recording { nuts, client, version, lines: String::new() };
        let real: Value = serde_json::from_str(real).unwrap();
        let message = real["proof"]["challenge"].as_str().unwrap();
        let ours = recording.presentation(message, recording.nuts.employer());
        assert_eq!(form(&ours), form(&real));
    }
}

/// A value with its texts replaced by what kind of text they are.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), form(value))).collect(),
        Value::Array(items) => items.clone().into(),
        Value::String(text) if text.starts_with("did:nuts:") => {
            if text.contains('#') { "a DID's part" } else { "a DID" }.into()
        }
        Value::String(text) if text.starts_with("eyJ") => "a JWS".into(),
        Value::String(text) if text.ends_with('Z') => "a time".into(),
        other => other.clone(),
    }
}
