//! Checks every step from the settings to the identity service, in the order of a login.

mod card;
mod computer;
mod node;
mod provider;
mod server;
mod sources;
mod words;

use std::collections::HashMap;
use std::process::ExitCode;

use anstyle::Style;
use serde_json::{Value, json};
use ticketapi::cancel::CancelToken;
use ticketapi::choices::ServiceKind;
use ticketapi::config::Config;
use ticketapi::engine::Examination;
use ticketapi::{Error, ErrorKind};

use crate::interrupt::Interrupt;
use crate::options::Common;
use crate::progress::Progress;
use crate::{exit, show};

/// One step.
struct Check {
    name: &'static str,
    /// Its name for the user.
    title: &'static str,
    of: Of,
    /// The names of the steps it needs.
    needs: &'static [&'static str],
    look: fn(&mut Chain<'_>) -> Finding,
}

/// Which logins have a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Every,
    /// Those with the card, at the broker.
    Card,
    /// Those in the browser.
    Browser,
    /// Those in the browser, at an OpenID provider.
    Provider,
    /// Those in the browser, at an employer's Nuts node.
    Node,
    /// As `Every`; but in the browser the card is only what binds the session.
    Binding,
}

const CHECKS: &[Check] = &[
    Check { name: "configuration", title: "configuration", of: Of::Every, needs: &[], look: computer::configuration },
    Check { name: "prompt", title: "prompt", of: Of::Every, needs: &["configuration"], look: computer::prompt },
    Check { name: "browser", title: "browser", of: Of::Browser, needs: &["configuration"], look: provider::browser },
    Check { name: "helper", title: "card helper", of: Of::Binding, needs: &["configuration"], look: card::helper },
    Check { name: "service", title: "PC/SC service", of: Of::Binding, needs: &["helper"], look: card::service },
    Check { name: "reader", title: "card reader", of: Of::Binding, needs: &["service"], look: card::reader },
    Check { name: "card", title: "card", of: Of::Binding, needs: &["reader"], look: card::card },
    Check { name: "module", title: "PKCS#11 module", of: Of::Card, needs: &["helper"], look: card::module },
    Check { name: "token", title: "token", of: Of::Card, needs: &["card", "module"], look: card::token },
    Check { name: "certificate", title: "certificate", of: Of::Card, needs: &["token"], look: card::certificate },
    Check { name: "pin", title: "PIN counter", of: Of::Card, needs: &["token"], look: card::pin },
    Check { name: "name", title: "server's name", of: Of::Every, needs: &["configuration"], look: server::name },
    Check { name: "connection", title: "connection", of: Of::Every, needs: &["name"], look: server::connection },
    Check { name: "tls", title: "TLS", of: Of::Every, needs: &["connection"], look: server::tls },
    Check { name: "clock", title: "clock", of: Of::Every, needs: &["tls"], look: server::clock },
    Check { name: "provider", title: "provider", of: Of::Provider, needs: &["tls"], look: provider::provider },
    Check { name: "client", title: "client", of: Of::Provider, needs: &["provider"], look: provider::client },
    Check { name: "node", title: "Nuts node", of: Of::Node, needs: &["tls"], look: node::node },
    Check { name: "employee", title: "employee", of: Of::Node, needs: &["configuration"], look: node::employee },
    Check { name: "agent", title: "agent", of: Of::Every, needs: &["configuration"], look: computer::agent },
    Check { name: "ticket", title: "ticket", of: Of::Provider, needs: &["configuration"], look: provider::ticket },
];

/// The results that later steps use.
struct Chain<'a> {
    common: &'a Common,
    cancel: &'a CancelToken,
    config: Config,
    card: card::CardFacts,
    server: server::ServerFacts,
    provider: Option<Examination>,
}

impl Chain<'_> {
    /// Returns `true` if the user logs in in the browser.
    fn in_browser(&self) -> bool {
        self.config.service != ServiceKind::Ssb
    }

    fn has(&self, check: &Check) -> bool {
        match check.of {
            Of::Every | Of::Binding => true,
            Of::Card => !self.in_browser(),
            Of::Browser => self.in_browser(),
            Of::Provider => self.in_browser() && self.config.service != ServiceKind::Nuts,
            Of::Node => self.config.service == ServiceKind::Nuts,
        }
    }

    fn look(&mut self, check: &Check) -> Finding {
        if check.of != Of::Binding || !self.in_browser() {
            return (check.look)(self);
        }
        if !self.config.bind_card {
            return Finding::not_needed(words::bind_card_off());
        }
        match (check.look)(self) {
            Finding { verdict: Verdict::Failed, sentence, remedy, .. } => {
                let finding = Finding::warning(words::not_bound(&sentence), &remedy.unwrap_or_default());
                Finding { blocks: Some(check.title), ..finding }
            }
            other => other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// The result of one step.
struct Finding {
    verdict: Verdict,
    sentence: String,
    remedy: Option<String>,
    kind: Option<ErrorKind>,
    /// Why the steps that need this one are skipped.
    blocks: Option<&'static str>,
}

impl Finding {
    fn ok(sentence: String) -> Self {
        Self { verdict: Verdict::Ok, sentence, remedy: None, kind: None, blocks: None }
    }

    fn warning(sentence: String, remedy: &str) -> Self {
        Self { verdict: Verdict::Warning, remedy: Some(remedy.to_owned()), ..Self::ok(sentence) }
    }

    /// A login does not need this step.
    fn not_needed(sentence: String) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(sentence) }
    }

    fn failed(kind: ErrorKind, sentence: String) -> Self {
        let remedy = Some(kind.remedy().to_owned());
        Self { verdict: Verdict::Failed, remedy, kind: Some(kind), ..Self::ok(sentence) }
    }

    fn with_remedy(self, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..self }
    }

    fn blocked_by(title: &'static str) -> Self {
        Self { blocks: Some(title), ..Self::not_needed(words::blocked(title)) }
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        Self::failed(error.kind().clone(), error.detail().to_owned())
    }
}

/// A check's result; an error is a finding too.
impl From<Result<Finding, Error>> for Finding {
    fn from(result: Result<Finding, Error>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}

/// Runs the command.
pub fn run(common: &Common) -> ExitCode {
    let cancel = CancelToken::new();
    let cancelled = cancel.clone();
    let findings = Interrupt::watch(move || cancelled.cancel()).and_then(|_| walk(common, &cancel));
    match findings {
        Ok(findings) => {
            let first = findings.iter().find_map(|(_, finding)| finding.kind.as_ref());
            first.map_or(ExitCode::SUCCESS, exit::code)
        }
        Err(error) => {
            show::error(&error, common.json);
            exit::code(error.kind())
        }
    }
}

/// Runs the checks in order, and shows each result at once.
fn walk(common: &Common, cancel: &CancelToken) -> ticketapi::Result<Vec<(&'static Check, Finding)>> {
    let progress = Progress::new();
    let mut chain = Chain {
        common,
        cancel,
        config: Config::default(),
        card: card::CardFacts::default(),
        server: server::ServerFacts::default(),
        provider: None,
    };
    let mut blocking: HashMap<&str, &str> = HashMap::new();
    let mut findings = Vec::new();
    for check in CHECKS {
        if !chain.has(check) {
            continue;
        }
        let finding = match check.needs.iter().find_map(|need| blocking.get(need)) {
            Some(title) => Finding::blocked_by(title),
            None => {
                progress.say(&words::looking(check.title));
                chain.look(check)
            }
        };
        progress.clear();
        cancel.check(ticketapi::Stage::Session)?;
        if finding.verdict == Verdict::Failed {
            blocking.insert(check.name, check.title);
        } else if let Some(title) = finding.blocks {
            blocking.insert(check.name, title);
        }
        if !common.json {
            show::out(&in_words(check, &finding))?;
        }
        findings.push((check, finding));
    }
    if common.json {
        let ok = findings.iter().all(|(_, finding)| finding.verdict != Verdict::Failed);
        let checks: Vec<_> = findings.iter().map(|(check, finding)| as_json(check, finding)).collect();
        show::json(&json!({ "ok": ok, "checks": checks }))?;
    }
    Ok(findings)
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Ok => show::GOOD,
            Self::Warning => show::DOUBTFUL,
            Self::Failed => show::BAD,
            Self::Skipped => show::FAINT,
        }
    }
}

fn in_words(check: &Check, finding: &Finding) -> String {
    let style = finding.verdict.style();
    let (verdict, title, sentence) = (finding.verdict.name(), check.title, show::printable(&finding.sentence));
    let mut text = format!("{style}{verdict:<9}{style:#}{title:<16}{sentence}\n");
    if let Some(remedy) = &finding.remedy {
        text += &format!("{:25}→ {remedy}\n", "");
    }
    text
}

fn as_json(check: &Check, finding: &Finding) -> Value {
    json!({
        "name": check.name,
        "state": finding.verdict.name(),
        "sentence": finding.sentence,
        "remedy": finding.remedy,
        "kind": finding.kind.as_ref().map(ErrorKind::name),
        "group": finding.kind.as_ref().map(|kind| kind.group().as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_needs_only_earlier_checks() {
        for (index, check) in CHECKS.iter().enumerate() {
            for need in check.needs {
                let is_first = |earlier: &&Check| earlier.name == *need;
                let earlier = CHECKS[..index].iter().find(is_first);
                let earlier = earlier.unwrap_or_else(|| panic!("{}: {need}", check.name));
                let is_looked_at = matches!(earlier.of, Of::Every | Of::Binding) || earlier.of == check.of;
                assert!(is_looked_at, "{}: {need}", check.name);
            }
        }
    }
}
