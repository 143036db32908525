//! What only logins at an OpenID provider need: the browser, the provider, the client, and room for the ticket.

use ticketapi::engine::examination;
use ticketapi::prompt::SystemBrowser;
use ticketapi::{Engine, ErrorKind, Result};

use super::{Chain, Finding, words};

/// What programs that were written for the SSB's tickets offer, with its name for the user.
const OLD_BUFFERS: [(usize, &str); 2] = [(1024, "1,024"), (254, "254")];

pub fn browser(chain: &mut Chain<'_>) -> Finding {
    match SystemBrowser::new(chain.config.browser.clone()).program() {
        Ok(Some(program)) => Finding::ok(words::browser(&program)),
        Ok(None) => Finding::ok(words::browser_prints()),
        Err(error) => error.into(),
    }
}

pub fn provider(chain: &mut Chain<'_>) -> Finding {
    let mut look = || -> Result<Finding> {
        let mut provider = examination(&chain.config)?;
        provider.discover(chain.cancel)?;
        let finding = Finding::ok(words::provider(provider.issuer()));
        chain.provider = Some(provider);
        Ok(finding)
    };
    look().into()
}

pub fn client(chain: &mut Chain<'_>) -> Finding {
    let Some(provider) = &mut chain.provider else { return Finding::blocked_by("provider") };
    let client_id = chain.config.client_id.as_deref().unwrap_or_default();
    provider.check_client(chain.cancel).map(|server| Finding::ok(words::client(&server, client_id))).into()
}

/// Takes the ticket of a session that is there already.
pub fn ticket(chain: &mut Chain<'_>) -> Finding {
    let engine = Engine::builder(chain.config.clone()).build();
    match engine.and_then(|engine| engine.get_ticket_no_auth()) {
        Ok(ticket) => judge(ticket.expose().len()),
        Err(error) if *error.kind() == ErrorKind::TicketNotAvailable => Finding::not_needed(words::ticket_unknown()),
        Err(error) => error.into(),
    }
}

fn judge(size: usize) -> Finding {
    match OLD_BUFFERS.into_iter().find(|(room, _)| size > *room) {
        Some((_, room)) => Finding::warning(words::ticket_too_large(size, room), words::TICKET_REMEDY),
        None => Finding::ok(words::ticket_size(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_ticket_larger_than_the_buffers_of_old_programs_is_reported_with_its_size() {
        assert_eq!((judge(254).verdict, judge(255).verdict), (Verdict::Ok, Verdict::Warning));
        assert_eq!(
            judge(1024).sentence,
            "the ticket has 1,024 bytes; old programs that offer 254 bytes get BUFFER_TOO_SMALL"
        );
        assert_eq!(
            judge(1412).sentence,
            "the ticket has 1,412 bytes; old programs that offer 1,024 bytes get BUFFER_TOO_SMALL"
        );
    }
}
