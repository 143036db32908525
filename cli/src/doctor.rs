//! Checks every step from the settings to the broker, in the order of a login.

mod broker;
mod card;
mod computer;
mod words;

use std::collections::HashMap;
use std::process::ExitCode;

use anstyle::Style;
use serde_json::{Value, json};
use ticketapi::cancel::CancelToken;
use ticketapi::config::Config;
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
    /// The names of the steps it needs.
    needs: &'static [&'static str],
    look: fn(&mut Chain<'_>) -> Finding,
}

const CHECKS: &[Check] = &[
    Check { name: "configuration", title: "configuration", needs: &[], look: computer::configuration },
    Check { name: "prompt", title: "prompt", needs: &["configuration"], look: computer::prompt },
    Check { name: "helper", title: "card helper", needs: &["configuration"], look: card::helper },
    Check { name: "service", title: "PC/SC service", needs: &["helper"], look: card::service },
    Check { name: "reader", title: "card reader", needs: &["service"], look: card::reader },
    Check { name: "card", title: "card", needs: &["reader"], look: card::card },
    Check { name: "module", title: "PKCS#11 module", needs: &["helper"], look: card::module },
    Check { name: "token", title: "token", needs: &["card", "module"], look: card::token },
    Check { name: "certificate", title: "certificate", needs: &["token"], look: card::certificate },
    Check { name: "pin", title: "PIN counter", needs: &["token"], look: card::pin },
    Check { name: "name", title: "broker's name", needs: &["configuration"], look: broker::name },
    Check { name: "connection", title: "connection", needs: &["name"], look: broker::connection },
    Check { name: "tls", title: "TLS", needs: &["connection"], look: broker::tls },
    Check { name: "clock", title: "clock", needs: &["tls"], look: broker::clock },
    Check { name: "agent", title: "agent", needs: &["configuration"], look: computer::agent },
];

/// The results that later steps use.
struct Chain<'a> {
    common: &'a Common,
    cancel: &'a CancelToken,
    config: Config,
    card: card::Found,
    broker: broker::Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// The result of one step.
struct Finding {
    state: State,
    sentence: String,
    remedy: Option<String>,
    kind: Option<ErrorKind>,
    /// Why the steps that need this one are skipped.
    blocks: Option<&'static str>,
}

impl Finding {
    fn ok(sentence: String) -> Self {
        Self { state: State::Ok, sentence, remedy: None, kind: None, blocks: None }
    }

    fn warning(sentence: String, remedy: &str) -> Self {
        Self { state: State::Warning, remedy: Some(remedy.to_owned()), ..Self::ok(sentence) }
    }

    /// A login does not need this step.
    fn not_needed(sentence: String) -> Self {
        Self { state: State::Skipped, ..Self::ok(sentence) }
    }

    fn failed(kind: ErrorKind, sentence: String) -> Self {
        let remedy = Some(kind.remedy().to_owned());
        Self { state: State::Failed, remedy, kind: Some(kind), ..Self::ok(sentence) }
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
            let first = findings.iter().find_map(|finding| finding.kind.as_ref());
            first.map_or(ExitCode::SUCCESS, exit::code)
        }
        Err(error) => {
            show::error(&error, common.json);
            exit::code(error.kind())
        }
    }
}

/// Runs the checks in order, and shows each result at once.
fn walk(common: &Common, cancel: &CancelToken) -> ticketapi::Result<Vec<Finding>> {
    let progress = Progress::new();
    let mut chain = Chain {
        common,
        cancel,
        config: Config::default(),
        card: card::Found::default(),
        broker: broker::Found::default(),
    };
    let mut blocking: HashMap<&str, &str> = HashMap::new();
    let mut findings = Vec::new();
    for check in CHECKS {
        let finding = match check.needs.iter().find_map(|need| blocking.get(need)) {
            Some(title) => Finding::blocked_by(title),
            None => {
                progress.say(&words::looking(check.title));
                (check.look)(&mut chain)
            }
        };
        progress.clear();
        cancel.check(ticketapi::Stage::Session)?;
        if finding.state == State::Failed {
            blocking.insert(check.name, check.title);
        } else if let Some(title) = finding.blocks {
            blocking.insert(check.name, title);
        }
        if !common.json {
            show::out(&in_words(check, &finding))?;
        }
        findings.push(finding);
    }
    if common.json {
        let ok = findings.iter().all(|finding| finding.state != State::Failed);
        let checks: Vec<_> = CHECKS.iter().zip(&findings).map(|(check, finding)| as_json(check, finding)).collect();
        show::json(&json!({ "ok": ok, "checks": checks }))?;
    }
    Ok(findings)
}

impl State {
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
    let style = finding.state.style();
    let (state, title, sentence) = (finding.state.name(), check.title, show::printable(&finding.sentence));
    let mut text = format!("{style}{state:<9}{style:#}{title:<16}{sentence}\n");
    if let Some(remedy) = &finding.remedy {
        text += &format!("{:25}→ {remedy}\n", "");
    }
    text
}

fn as_json(check: &Check, finding: &Finding) -> Value {
    json!({
        "name": check.name,
        "state": finding.state.name(),
        "sentence": finding.sentence,
        "remedy": finding.remedy,
        "kind": finding.kind.as_ref().map(show::kind),
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
                assert!(CHECKS[..index].iter().any(|earlier| earlier.name == *need), "{}: {need}", check.name);
            }
        }
    }
}
