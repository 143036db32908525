//! What the Java program does for a login: it asks the user, and shows pages.
//!
//! `ticketapi.Asking` runs each task on its own daemon thread, which passes the answer to `ticketapi.Native`.
//! The login waits here, so that a timeout or a cancellation ends the wait whatever the task does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jni::objects::{JCharArray, JObject, JString, JValue};
use jni::refs::Global;
use jni::sys::{jchar, jint, jlong};
use jni::{Env, EnvUnowned, JavaVM, jni_sig, jni_str};
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};
use zeroize::Zeroizing;

use super::{ASKS, with_env};
use crate::boundary::{Outcome, export_quietly};
use crate::prompter::Wait;

/// The longest PIN that Java may return, in UTF-16 units.
const PIN_ROOM: usize = 256;

/// The value of `answer` if the user cancels.
const CANCELLED: jint = -1;

/// How many local references one prompt has at once.
const FRAME: usize = 16;

/// The prompts that wait for an answer, by the numbers under which Java knows them.
static WAITING: Mutex<BTreeMap<jlong, Arc<Prompt>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicI64 = AtomicI64::new(1);

/// A question to the user, and its result.
#[derive(Default)]
struct Prompt {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

pub(super) enum Answer {
    Pin(Pin),
    Number(jint),
    Cancelled,
    /// The program's object threw this.
    Failed(String),
}

/// A `ticketapi.Asking`.
pub(super) struct JavaAsking {
    vm: JavaVM,
    object: Global<JObject<'static>>,
    /// What the program has set, in words.
    name: &'static str,
}

impl JavaAsking {
    pub(super) fn new(env: &mut Env<'_>, object: &JObject<'_>, name: &'static str) -> Outcome<Self> {
        Ok(Self { vm: env.get_java_vm()?, object: env.new_global_ref(object)?, name })
    }

    /// Starts a prompt in Java with `begin`, and waits for its answer.
    pub(super) fn ask(
        &self,
        stage: Stage,
        wait: Wait<'_>,
        begin: impl FnOnce(&mut Env<'_>, &JObject<'_>, jlong) -> Outcome,
    ) -> Result<Answer> {
        let waiting = Waiting::begin();
        let _guard = wait.cancel.on_cancel({
            let prompt = Arc::clone(&waiting.prompt);
            move || prompt.end(Answer::Cancelled)
        });
        if self.in_java(|env, object| begin(env, object, waiting.number)).is_err() {
            return Err(Error::new(
                ErrorKind::NoPrompter,
                stage,
                format!("the program's {} cannot be started", self.name),
            ));
        }
        let answer = waiting.prompt.wait(wait.timeout);
        if matches!(answer, None | Some(Answer::Cancelled)) {
            // Nothing waits for it any more, so there is nothing to report.
            let _ = self.in_java(|env, object| abandon(env, object, waiting.number));
        }
        match answer {
            Some(Answer::Failed(what)) => {
                Err(Error::new(ErrorKind::NoPrompter, stage, format!("the program's {} failed: {what}", self.name)))
            }
            Some(Answer::Cancelled) => Err(Error::cancelled(stage)),
            Some(answer) => Ok(answer),
            None => {
                let detail = format!("the program's {} did not answer in time", self.name);
                Err(Error::new(ErrorKind::Cancelled, stage, detail))
            }
        }
    }

    /// Has Java show a message. A failed message does not fail the login.
    pub(super) fn tell(&self, message: jint, text: &str) {
        let _ = self.in_java(|env, object| {
            let text = env.new_string(text)?;
            let parameters = [JValue::Int(message), JValue::Object(&text)];
            env.call_method(object, jni_str!("tell"), jni_sig!("(ILjava/lang/String;)V"), &parameters)?;
            Ok(())
        });
    }

    /// Calls Java on this thread, which may not be attached to the JVM. Frees references and clears exceptions
    /// afterwards.
    fn in_java(&self, call: impl FnOnce(&mut Env<'_>, &JObject<'_>) -> Outcome) -> Outcome {
        self.vm.attach_current_thread_for_scope(|env| {
            env.with_local_frame(FRAME, |env| {
                let result = call(env, &self.object);
                if result.is_err() {
                    env.exception_clear();
                }
                result
            })
        })
    }
}

fn abandon(env: &mut Env<'_>, object: &JObject<'_>, number: jlong) -> Outcome {
    env.call_method(object, jni_str!("abandon"), jni_sig!("(J)V"), &[JValue::Long(number)])?;
    Ok(())
}

/// A prompt that Java can answer while this lives.
struct Waiting {
    number: jlong,
    prompt: Arc<Prompt>,
}

impl Waiting {
    fn begin() -> Self {
        let (number, prompt) = (NEXT.fetch_add(1, Ordering::Relaxed), Arc::default());
        waiting().insert(number, Arc::clone(&prompt));
        Self { number, prompt }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        waiting().remove(&self.number);
    }
}

fn waiting() -> MutexGuard<'static, BTreeMap<jlong, Arc<Prompt>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Prompt {
    /// Only the first answer counts.
    fn end(&self, answer: Answer) {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(answer);
        self.answered.notify_all();
    }

    /// Returns the answer, or `None` after `timeout`.
    fn wait(&self, timeout: Option<Duration>) -> Option<Answer> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        while answer.is_none() {
            answer = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.answered.wait(answer).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.answered.wait_timeout(answer, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        answer.take()
    }
}

/// `void asking()`: marks this thread as running a prompt.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_asking(_: EnvUnowned<'_>, _: JObject<'_>) {
    ASKS.set(true);
}

/// `void answerPin(long prompt, char[] pin)`: null if the user cancels. The caller wipes the array.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_answerPin<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    prompt: jlong,
    pin: JCharArray<'l>,
) {
    answer(&mut env, prompt, |env| {
        if pin.is_null() {
            return Ok(Answer::Cancelled);
        }
        let mut units = Zeroizing::new([0; PIN_ROOM]);
        let length = pin.len(env)?;
        let Some(units) = units.get_mut(..length) else {
            return Ok(Answer::Failed("a PIN of more than 256 characters".into()));
        };
        pin.get_region(env, 0, units)?;
        Ok(decode(units).map_or_else(|| Answer::Failed("a PIN that is not text".into()), Answer::Pin))
    });
}

/// `void answer(long prompt, int value)`: a role's index, 1 for yes, -1 if the user cancels.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_answer<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    prompt: jlong,
    value: jint,
) {
    answer(&mut env, prompt, |_| Ok(if value == CANCELLED { Answer::Cancelled } else { Answer::Number(value) }));
}

/// `void fail(long prompt, String what)`: the prompter threw an exception with this name.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_fail<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    prompt: jlong,
    what: JString<'l>,
) {
    answer(&mut env, prompt, |env| Ok(Answer::Failed(what.try_to_string(env)?)));
}

/// Ends the wait for `number`, even if the answer cannot be read. Drops a late answer.
fn answer<'l>(env: &mut EnvUnowned<'l>, number: jlong, read: impl FnOnce(&mut Env<'l>) -> Outcome<Answer>) {
    let unreadable = Answer::Failed("its answer cannot be read".into());
    let answer = export_quietly(unreadable, || with_env(env, read));
    export_quietly((), || {
        let prompt = waiting().get(&number).map(Arc::clone);
        if let Some(prompt) = prompt {
            prompt.end(answer);
        }
        Ok(())
    });
}

fn decode(units: &[jchar]) -> Option<Pin> {
    // A UTF-16 unit needs at most three bytes; a string that grows leaves copies.
    let mut text = Zeroizing::new(String::with_capacity(units.len() * 3));
    for character in char::decode_utf16(units.iter().copied()) {
        text.push(character.ok()?);
    }
    Some(Pin::from(text))
}
