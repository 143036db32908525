//! The Java program's own prompts.

use std::sync::Arc;

use jni::objects::{JObject, JString, JValue};
use jni::sys::jint;
use jni::{Env, jni_sig, jni_str};
use ticketapi::card::{Absence, PinTries};
use ticketapi::prompt::{Notice, PinRequest};
use ticketapi::ssb::Role;
use ticketapi::{Error, Pin, Result, Stage};

use super::asking::{Answer, JavaAsking};
use super::modern::{role_texts, string_array};
use crate::boundary::Outcome;
use crate::prompter::{ProgramPrompter, Wait, problem, tries_left};

/// For `Prompts.tell`: a login waits for a card.
const INSERT_CARD: jint = 1;
/// For `Prompts.tell`: the PIN must be entered on the reader.
const PIN_ON_READER: jint = 2;
/// For `Prompts.tell`: the wait for a card is over.
const CARD_WAIT_IS_OVER: jint = 3;
/// For `Prompts.tell`: a login waits for the browser.
const BROWSER_OPENED: jint = 4;
/// For `Prompts.tell`: the wait for the browser is over.
const BROWSER_WAIT_IS_OVER: jint = 5;

/// Prompts through `ticketapi.Prompts`.
pub(crate) struct JavaPrompter(JavaAsking);

impl JavaPrompter {
    pub(super) fn new(env: &mut Env<'_>, prompts: &JObject<'_>) -> Outcome<Self> {
        JavaAsking::new(env, prompts, "prompter").map(Self)
    }

    fn ask_about_pin(&self, last_try: bool, request: &PinRequest<'_>, wait: Wait<'_>) -> Result<Answer> {
        self.0.ask(Stage::Pin, wait, |env, prompts, number| {
            let card = env.new_string(request.label)?;
            let uid = match request.uid {
                Some(uid) => env.new_string(uid)?,
                None => JString::null(),
            };
            let purpose = match request.purpose {
                Some(purpose) => env.new_string(purpose)?,
                None => JString::null(),
            };
            let status = &request.status;
            env.call_method(
                prompts,
                jni_str!("pin"),
                jni_sig!("(JZLjava/lang/String;Ljava/lang/String;IZIIILjava/lang/String;)V"),
                &[
                    JValue::Long(number),
                    JValue::Bool(last_try),
                    JValue::Object(&card),
                    JValue::Object(&uid),
                    JValue::Int(tries_left(request)),
                    JValue::Bool(status.tries != PinTries::Unknown),
                    JValue::Int(status.min_len.max(1) as jint),
                    JValue::Int(status.max_len as jint),
                    JValue::Int(problem(request)),
                    JValue::Object(&purpose),
                ],
            )?;
            Ok(())
        })
    }

    fn ask_for_role(&self, roles: &[Role], wait: Wait<'_>) -> Result<usize> {
        let lines: Vec<_> = roles.iter().map(ToString::to_string).collect();
        let texts: Vec<_> = roles.iter().zip(&lines).flat_map(|(role, line)| role_texts(role, line)).collect();
        let answer = self.0.ask(Stage::RoleSelection, wait, |env, prompts, number| {
            let texts = string_array(env, &texts)?;
            env.call_method(
                prompts,
                jni_str!("role"),
                jni_sig!("(J[Ljava/lang/String;)V"),
                &[JValue::Long(number), JValue::Object(&texts)],
            )?;
            Ok(())
        })?;
        match answer {
            Answer::Number(chosen) => usize::try_from(chosen)
                .ok()
                .filter(|&chosen| chosen < roles.len())
                .ok_or_else(|| Error::cancelled(Stage::RoleSelection)),
            _ => Err(Error::cancelled(Stage::RoleSelection)),
        }
    }
}

impl ProgramPrompter for JavaPrompter {
    fn pin(&self, request: &PinRequest<'_>, wait: Wait<'_>) -> Option<Result<Pin>> {
        Some(self.ask_about_pin(false, request, wait).and_then(|answer| match answer {
            Answer::Pin(pin) => Ok(pin),
            _ => Err(Error::cancelled(Stage::Pin)),
        }))
    }

    fn use_last_try(&self, request: &PinRequest<'_>, wait: Wait<'_>) -> Option<Result<bool>> {
        Some(self.ask_about_pin(true, request, wait).map(|answer| matches!(answer, Answer::Number(1))))
    }

    fn role(&self, roles: &[Role], wait: Wait<'_>) -> Option<Result<usize>> {
        Some(self.ask_for_role(roles, wait))
    }

    fn enter_pin_on_reader(&self, _: &PinRequest<'_>) -> Option<Notice> {
        self.0.tell(PIN_ON_READER, "");
        Some(Notice::default())
    }

    fn insert_card(self: Arc<Self>, absence: &Absence) -> Option<Notice> {
        let why = match absence {
            Absence::NoCard => "no card is in the reader",
            Absence::NotRecognised(why) => why,
            Absence::NoReader => "there is no card reader",
            Absence::NoService => "the card reader service does not answer",
            _ => "no card can be used",
        };
        self.0.tell(INSERT_CARD, why);
        Some(Notice::new(Waits { prompter: self, over: CARD_WAIT_IS_OVER }))
    }

    fn browser_opened(self: Arc<Self>) -> Option<Notice> {
        self.0.tell(BROWSER_OPENED, "");
        Some(Notice::new(Waits { prompter: self, over: BROWSER_WAIT_IS_OVER }))
    }
}

/// A message that a login waits, shown until this is dropped.
struct Waits {
    prompter: Arc<JavaPrompter>,
    over: jint,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.prompter.0.tell(self.over, "");
    }
}
