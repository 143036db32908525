//! The settings, and how the user is asked.

use std::path::Path;

use ticketapi::agent::{self, AgentUse};
use ticketapi::engine::server;
use ticketapi::prompt::{PrompterKind, SystemPrompter, locate};
use ticketapi::{ErrorKind, Result};

use super::{Chain, Finding, sources, words};
use crate::settings;

pub fn configuration(chain: &mut Chain<'_>) -> Finding {
    let look = |chain: &mut Chain<'_>| -> Result<Finding> {
        let (config, from) = settings(chain.common)?;
        chain.config = config;
        server(&chain.config)?;
        Ok(Finding::ok(sources::sentence(&from, &chain.common.settings)))
    };
    look(chain).into()
}

pub fn prompt(chain: &mut Chain<'_>) -> Finding {
    let config = &chain.config;
    let asks = match SystemPrompter::new(config).pin_program() {
        _ if chain.in_browser() => words::browser_asks(),
        Ok(None) => words::prompt_terminal(),
        Ok(Some(program)) => match locate(&program) {
            Ok(found) => words::prompt(&found),
            Err(error) => {
                let sentence = words::no_prompt(&program, &error);
                return Finding::failed(ErrorKind::NoPrompter, sentence).with_remedy(words::PROMPT_REMEDY);
            }
        },
        Err(error) => return error.into(),
    };
    let in_windows = matches!(config.prompter, PrompterKind::Auto | PrompterKind::Desktop);
    let chooser =
        config.role_command.first().filter(|_| in_windows).map(|chooser| (chooser, locate(Path::new(chooser))));
    if let Some((chooser, Err(error))) = chooser {
        let sentence = words::no_chooser(chooser, &error);
        return Finding::failed(ErrorKind::NoPrompter, sentence).with_remedy(words::CHOOSER_REMEDY);
    }
    Finding::ok(asks)
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
