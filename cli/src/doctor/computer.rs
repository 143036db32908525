//! The settings, and the programs that ask the user.

use std::path::{Path, PathBuf};

use ticketapi::agent::{self, AgentUse};
use ticketapi::{ErrorKind, Result};

use super::{Chain, Finding, words};
use crate::settings;

pub fn configuration(chain: &mut Chain<'_>) -> Finding {
    let look = |chain: &mut Chain<'_>| -> Result<Finding> {
        let (config, sources) = settings(chain.common)?;
        config.broker()?;
        chain.config = config;
        Ok(Finding::ok(words::configuration(&sources, &chain.common.settings)))
    };
    look(chain).into()
}

pub fn prompt(chain: &mut Chain<'_>) -> Finding {
    let pinentry = chain.config.pinentry.as_deref().unwrap_or(Path::new("pinentry"));
    let Some(found) = on_path(pinentry) else {
        return Finding::failed(ErrorKind::NoPrompter, words::no_prompt(pinentry)).with_remedy(words::PROMPT_REMEDY);
    };
    if let Some(chooser) = chain.config.role_command.first().filter(|program| on_path(Path::new(program)).is_none()) {
        return Finding::failed(ErrorKind::NoPrompter, words::no_chooser(chooser)).with_remedy(words::CHOOSER_REMEDY);
    }
    Finding::ok(words::prompt(&found))
}

pub fn agent(chain: &mut Chain<'_>) -> Finding {
    if chain.config.agent == AgentUse::Never {
        return Finding::not_needed(words::agent_never());
    }
    match agent::status(&chain.config) {
        Ok(status) => Finding::ok(words::agent(&status)),
        Err(error) if chain.config.agent == AgentUse::Require => error.into(),
        // Programs log in by themselves then, each for itself.
        Err(error) => Finding::warning(error.detail().to_owned(), error.remedy()),
    }
}

/// Where a program is that is started by this name.
fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(|program| program.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
