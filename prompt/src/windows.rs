//! One window, and its answer.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use ticketapi::prompt::dialogs::protocol::{
    Answer, Channel, ChannelError, Hello, MAX_FRAME, Question, VERSION, Window,
};
use ticketapi::prompt::search::Search;
use ticketapi::prompt::{table, text};
use ticketapi_platform::dialog::{self, Body, Dialog};
use ticketapi_platform::module;
use ticketapi_platform::pipe::Pipe;
use ticketapi_platform::process::{take_standard_input, vanish};

const PIN_LABEL: &str = "&PIN:";
const CAPS_LOCK: &str = "Caps Lock is on.";
const OK: &str = "OK";

pub fn run() -> ExitCode {
    module::harden_program();
    let Ok(pipe) = take_standard_input().and_then(Pipe::from_handle) else { return ExitCode::FAILURE };
    match serve(&Channel::new(pipe, MAX_FRAME)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(channel: &Channel) -> Result<(), ChannelError> {
    let Hello { version } = channel.receive(None)?.message()?;
    channel.send(&Hello { version: VERSION }, None)?;
    if version != VERSION {
        return Ok(());
    }
    let frame = channel.receive(None)?;
    let window: Window<'_> = frame.message()?;
    // The window ends with the program that asks.
    let pipe = Arc::clone(channel.socket());
    thread::spawn(move || {
        pipe.until_closed(None);
        vanish()
    });
    let rows = match &window.question {
        Question::Role { rows, .. } => rows.as_slice(),
        _ => &[],
    };
    let cells: Vec<_> = rows.iter().map(|row| row.cells.clone()).collect();
    let search = Search::new(rows.iter().map(|row| row.line.as_str()));
    let find = |words: &str| search.find(words);
    let (body, accept) = match window.question {
        Question::Pin => (Body::Secret { label: PIN_LABEL, caps_lock: CAPS_LOCK }, Some(OK)),
        Question::Confirm { yes } => (Body::Nothing, Some(yes)),
        Question::Message => (Body::Nothing, None),
        Question::Role { search, .. } => {
            let search: Option<dialog::Search<'_>> = search.then_some((text::SEARCH_ROLES, &find));
            (Body::Row { headings: table::HEADINGS, rows: &cells, search }, Some(OK))
        }
    };
    let Window { title, text, above, .. } = window;
    let shown = dialog::show(&Dialog { title, text, above, buttons: (accept, text::CANCEL), body });
    match shown {
        Ok(dialog::Answer::Closed) => channel.send(&Answer::Closed, None),
        Ok(dialog::Answer::Accepted) => channel.send(&Answer::Accepted, None),
        Ok(dialog::Answer::Typed(pin)) => channel.send(&Answer::Typed(&pin), None),
        Ok(dialog::Answer::Chosen(index)) => channel.send(&Answer::Chosen(index as u32), None),
        Err(error) => channel.send(&Answer::Failed(&error.to_string()), None),
    }
}
