//! The doctor: every check, passing and failing, and the sentence for each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod card;
mod computer;
mod node;
mod provider;
mod reader;
mod server;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::Desk;

/// What the doctor says about one check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub state: String,
    pub sentence: String,
    pub remedy: String,
}

/// One run of the doctor.
pub(crate) struct Visit {
    pub code: i32,
    pub answer: Value,
}

impl Visit {
    pub fn to(desk: &Desk) -> Self {
        let run = desk.run(&["doctor", "--json"]);
        Self { code: run.code, answer: run.json() }
    }

    pub fn told(&self, name: &str) -> Told {
        let checks = self.answer["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}"));
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        Told { state: text("state"), sentence: text("sentence"), remedy: text("remedy") }
    }

    /// The state of every check, in order.
    pub fn states(&self) -> Vec<(String, String)> {
        let checks = self.answer["checks"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        checks.map(|check| (text(&check["name"]), text(&check["state"]))).collect()
    }

    pub fn failed(&self) -> Vec<String> {
        self.states().into_iter().filter(|(_, state)| state == "failed").map(|(name, _)| name).collect()
    }

    /// Asserts that only `name` failed, with this sentence and this exit code, and that there is a remedy.
    #[track_caller]
    pub fn assert_only_failure(&self, name: &str, code: i32, sentence: &str) {
        let told = self.told(name);
        assert_eq!((told.sentence.as_str(), told.state.as_str()), (sentence, "failed"));
        assert_eq!(self.failed(), [name]);
        assert!(told.remedy.ends_with('.'), "{told:?}");
        assert_eq!(self.code, code);
        assert_eq!(self.answer["ok"], false);
    }

    /// Asserts that the checks `names` were skipped because of the check of this title.
    #[track_caller]
    pub fn assert_skipped(&self, names: &[&str], title: &str) {
        for name in names {
            let told = self.told(name);
            let sentence = format!("needs: {title}");
            assert_eq!((told.state.as_str(), told.sentence.as_str()), ("skipped", sentence.as_str()), "{name}");
        }
    }
}
