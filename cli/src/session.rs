//! The commands that use a session.
//!
//! Without an agent a session cannot outlive the process: `login`, `roles`, `assertion` and `claims` end theirs,
//! `ticket` leaves it to the program that uses the ticket.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use ticketapi::agent::{self, AgentStatus, AgentUse};
use ticketapi::cancel::CancelToken;
use ticketapi::engine::Status;
use ticketapi::prompt::{LoginPage, Notice, PinRequest, Prompter};
use ticketapi::session::{Context, Session};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, Error, ErrorKind, Pin, Result, Stage};

use crate::interrupt::Interrupt;
use crate::options::Common;
use crate::progress::{Clearing, Progress, Telling};
use crate::settings;
use crate::show;

/// An engine and its terminal.
pub struct Desk {
    pub engine: Arc<Engine>,
    interrupt: Interrupt,
    pub progress: Progress,
}

impl Desk {
    pub fn new(common: &Common) -> Result<Self> {
        Self::with(settings(common)?.0, |prompter| prompter)
    }

    fn with<P: Prompter + 'static>(config: Config, prompter: impl FnOnce(Telling) -> P) -> Result<Self> {
        let progress = Progress::new();
        let prompter = prompter(Telling::new(&config, progress.clone()));
        let browser = Clearing::new(&config, progress.clone());
        let engine = Arc::new(Engine::builder(config).prompter(prompter).browser(browser).build()?);
        let cancelled = Arc::clone(&engine);
        let interrupt = Interrupt::watch(move || cancelled.cancel_login())?;
        Ok(Self { engine, interrupt, progress })
    }

    /// For a session that is there already: only an agent can hold one.
    fn of_agent(common: &Common) -> Result<Self> {
        let (config, _) = settings(common)?;
        if let Err(why) = find_agent(&config)? {
            let detail = format!("nobody is logged in: {why}");
            return Err(Error::new(ErrorKind::TicketNotAvailable, Stage::Session, detail));
        }
        Self::new(common)
    }

    fn log_in(&self) -> Result<Arc<Session>> {
        self.progress.say("Logging in …");
        let session = self.engine.log_in();
        self.progress.clear();
        let session = session?;
        if self.interrupt.requested() {
            if self.engine.keeps_session() {
                self.engine.destroy_ticket()?;
            }
            return Err(Error::cancelled(Stage::Session));
        }
        Ok(session)
    }
}

pub fn login(common: &Common) -> Result<()> {
    let desk = Desk::new(common)?;
    let session = desk.log_in()?;
    let kept = !desk.engine.keeps_session();
    let shown = if common.json {
        let mut shown = show::session(&session);
        shown["kept"] = kept.into();
        show::json(&shown)
    } else {
        show::out(&show::session_words(&session))
    };
    if !kept {
        desk.engine.destroy_ticket()?;
        show::note("There is no agent to keep the session, so it has been ended again.");
    }
    shown
}

pub fn ticket(common: &Common, no_auth: bool) -> Result<()> {
    let desk = Desk::new(common)?;
    if no_auth {
        return print_ticket(desk.engine.get_ticket_no_auth()?.expose(), common.json);
    }
    let session = desk.log_in()?;
    let printed = print_ticket(session.ticket().expose(), common.json);
    if desk.engine.keeps_session() {
        if printed.is_err() {
            desk.engine.destroy_ticket()?;
            return printed;
        }
        let limit = session.limits().total.map(|time| format!(", after {} minutes", time.as_secs() / 60));
        let limit = limit.unwrap_or_default();
        show::note(&format!("There is no agent to keep the session: it goes on until the service ends it{limit}."));
    }
    printed
}

fn print_ticket(ticket: &str, as_json: bool) -> Result<()> {
    #[derive(Serialize)]
    struct Whole<'a> {
        ticket: &'a str,
    }
    print_secret(ticket, as_json.then_some(&Whole { ticket }))
}

/// Writes a secret, or JSON with it, straight to standard output, without copies.
fn print_secret(text: &str, json: Option<&impl Serialize>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = match json {
        Some(json) => serde_json::to_writer(&mut stdout, json).map_err(std::io::Error::from),
        None => stdout.write_all(text.as_bytes()),
    };
    written.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()).map_err(show::unwritten)
}

pub fn status(common: &Common) -> Result<()> {
    let (config, _) = settings(common)?;
    let agent = match find_agent(&config)? {
        Ok(agent) => agent,
        Err(why) => return nobody(common, &why),
    };
    let session = Engine::builder(config).build()?.session();
    if common.json {
        return show::json(&json!({
            "logged_in": session.is_some(),
            "session": session.as_deref().map(show::session),
            "locked": matches!(agent.stands, Status::Locked { .. }),
            "agent": { "pid": agent.pid, "version": agent.program, "programs": agent.clients, "login": agent.login },
        }));
    }
    show::out(&match (session, agent.stands) {
        (Some(session), _) => show::session_words(&session),
        (None, Status::Locked { .. }) => "The session is locked: it waits for its card and PIN.\n".to_owned(),
        (None, _) if agent.login => "Nobody is logged in; a login is under way.\n".to_owned(),
        (None, _) => "Nobody is logged in.\n".to_owned(),
    })
}

pub fn logout(common: &Common) -> Result<()> {
    let (config, _) = settings(common)?;
    if let Err(why) = find_agent(&config)? {
        return nobody(common, &why);
    }
    Engine::builder(config).build()?.destroy_ticket()?;
    if common.json {
        return show::json(&json!({ "logged_in": false }));
    }
    show::out("Logged out.\n")
}

/// Returns the agent, or why the settings do without one.
fn find_agent(config: &Config) -> Result<std::result::Result<AgentStatus, String>> {
    if config.agent == AgentUse::Never {
        return Ok(Err("the setting agent is never".to_owned()));
    }
    match agent::status(config) {
        Ok(status) => Ok(Ok(status)),
        Err(error) if config.agent == AgentUse::Auto => Ok(Err(error.detail().to_owned())),
        Err(error) => Err(error),
    }
}

/// A session ends with its process: without an agent there is none.
fn nobody(common: &Common, why: &str) -> Result<()> {
    if common.json {
        return show::json(
            &json!({ "logged_in": false, "session": null, "locked": false, "agent": null, "reason": why }),
        );
    }
    show::out(&show::printable(&format!("Nobody is logged in: {why}.")))?;
    show::out("\n")
}

pub fn roles(common: &Common) -> Result<()> {
    let (mut config, _) = settings(common)?;
    // A user whose configured role does not exist must see those that do.
    config.role = None;
    config.require_role = false;
    let desk = Desk::with(config, AnyRole)?;
    let session = desk.log_in()?;
    if desk.engine.keeps_session() {
        desk.engine.destroy_ticket()?;
    }
    if common.json {
        return show::json(&json!({ "roles": session.roles().iter().map(show::role).collect::<Vec<_>>() }));
    }
    let lines = session.roles().iter().map(|role| format!("{}\n", show::printable(&show::role_words(role))));
    show::out(&lines.collect::<String>())
}

pub fn assertion(common: &Common) -> Result<()> {
    let desk = Desk::new(common)?;
    desk.log_in()?;
    desk.progress.say("Asking the broker …");
    let assertion = desk.engine.role_assertion();
    desk.progress.clear();
    if desk.engine.keeps_session() {
        desk.engine.destroy_ticket()?;
    }
    let assertion = assertion?;
    if common.json { show::json(&show::assertion(&assertion)) } else { show::out(&show::assertion_words(&assertion)) }
}

pub fn claims(common: &Common) -> Result<()> {
    let desk = Desk::new(common)?;
    desk.log_in()?;
    desk.progress.say("Asking the service …");
    let claims = desk.engine.claims();
    desk.progress.clear();
    if desk.engine.keeps_session() {
        desk.engine.destroy_ticket()?;
    }
    let claims = serde_json::from_str(&claims?).map_err(|error| {
        Error::new(ErrorKind::BadAnswer, Stage::Session, "the service says something about the user that is not JSON")
            .because(error)
    })?;
    // JSON in both forms: the claims are the service's own.
    show::json(&claims)
}

pub fn access_token(common: &Common, authorizer: &str, service: &str) -> Result<()> {
    #[derive(Serialize)]
    struct Whole<'a> {
        access_token: &'a str,
        expires_in: Option<u64>,
    }
    let desk = Desk::new(common)?;
    desk.log_in()?;
    desk.progress.say("Asking for access …");
    let token = desk.engine.access_token(authorizer, service);
    desk.progress.clear();
    if desk.engine.keeps_session() {
        desk.engine.destroy_ticket()?;
    }
    let token = token?;
    let whole = Whole { access_token: token.expose(), expires_in: token.expires_in().map(|time| time.as_secs()) };
    print_secret(token.expose(), common.json.then_some(&whole))
}

pub fn change_role(common: &Common) -> Result<()> {
    let desk = Desk::of_agent(common)?;
    desk.progress.say("Changing the role …");
    let session = desk.engine.change_role();
    desk.progress.clear();
    show_session(common, &*session?)
}

pub fn switch_context(common: &Common, context: &Context) -> Result<()> {
    let desk = Desk::of_agent(common)?;
    desk.progress.say("Switching the context …");
    let session = desk.engine.switch_context(context);
    desk.progress.clear();
    show_session(common, &*session?)
}

fn show_session(common: &Common, session: &Session) -> Result<()> {
    if common.json { show::json(&show::session(session)) } else { show::out(&show::session_words(session)) }
}

pub fn contexts(common: &Common) -> Result<()> {
    let desk = Desk::new(common)?;
    desk.log_in()?;
    desk.progress.say("Asking the service …");
    let contexts = desk.engine.contexts();
    desk.progress.clear();
    if desk.engine.keeps_session() {
        desk.engine.destroy_ticket()?;
    }
    let contexts = contexts?;
    if common.json { show::json(&show::contexts(&contexts)) } else { show::out(&show::contexts_words(&contexts)) }
}

/// Prompts for everything but the role: the session ends before a role matters.
struct AnyRole(Telling);

impl Prompter for AnyRole {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        self.0.pin(request, cancel)
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        self.0.use_last_try(request, cancel)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Ok(0)
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Notice {
        self.0.enter_pin_on_reader(request, cancel)
    }

    fn insert_card(&self, absence: &ticketapi::card::Absence, cancel: &CancelToken) -> Notice {
        self.0.insert_card(absence, cancel)
    }

    fn browser_opened(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Notice {
        self.0.browser_opened(page, cancel)
    }
}
