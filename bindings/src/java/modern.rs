//! `ticketapi.Native`: what the modern API is made of. Each method but the last ones returns whether
//! it succeeded; why not is told to the `Answer` that it was given.

use std::ffi::c_long;
use std::sync::Arc;

use jni::objects::{JCharArray, JObject, JObjectArray, JString, JValue};
use jni::refs::IntoAuto as _;
use jni::sys::{jboolean, jint, jlong};
use jni::{Env, EnvUnowned, jni_sig, jni_str};
use ticketapi::Error;
use ticketapi::session::{Context, Session};

use super::{JavaBrowser, JavaPrompter, handle, may_log_in, native, utf16, with_env};
use crate::boundary::{Outcome, export_quietly, export_result};
use crate::browser::ProgramBrowser;
use crate::process::Process;
use crate::prompter::{Callbacks, ProgramPrompter};
use crate::session::contexts_json;
use crate::status::{Failure, TCK_API_ERR_INVALID_PARAMETER, words};

/// Raised with every change of the native methods that an older jar or library does not know.
const INTERFACE: jint = 1;

/// For `session`: the current session.
const EXISTING: jint = 0;
/// For `session`: that one, or else a new one.
const ANY: jint = 1;
/// For `session`: a new one.
const NEW: jint = 2;

/// Texts of a role, in the order in which `Role` reads them.
const ROLE_TEXTS: usize = 7;

/// `int interfaceVersion()`
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_interfaceVersion(_: EnvUnowned<'_>, _: JObject<'_>) -> jint {
    INTERFACE
}

/// `long open(Answer answer)`: a handle, or 0.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_open<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    answer: JObject<'l>,
) -> jlong {
    answering(&mut env, 0, &answer, |_| Process::this().open()).map_or(0, |handle| handle as jlong)
}

/// `void close(long handle)`: the session goes on.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_close<'l>(mut env: EnvUnowned<'l>, _: JObject<'l>, instance: jlong) {
    let instance = handle(instance);
    native(&mut env, instance, (), |_| Process::close(instance));
}

/// `boolean set(String key, String value, Answer answer)`: see `ticketapi_set`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_set<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    key: JString<'l>,
    value: JString<'l>,
    answer: JObject<'l>,
) -> jboolean {
    let set = answering(&mut env, 0, &answer, |env| {
        if key.is_null() || value.is_null() {
            return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
        }
        Process::this().set(&key.try_to_string(env)?, &value.try_to_string(env)?)
    });
    set.is_some()
}

/// `boolean setPrompter(Prompts prompts, Answer answer)`: null goes back to the configured programs.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_setPrompter<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    prompts: JObject<'l>,
    answer: JObject<'l>,
) -> jboolean {
    let set = answering(&mut env, 0, &answer, |env| {
        let prompter: Arc<dyn ProgramPrompter> = match prompts.is_null() {
            true => Arc::new(Callbacks::default()),
            false => Arc::new(JavaPrompter::new(env, &prompts)?),
        };
        Process::this().set_prompter(prompter)
    });
    set.is_some()
}

/// `boolean setBrowser(Pages pages, Answer answer)`: null goes back to the configured browser.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_setBrowser<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    pages: JObject<'l>,
    answer: JObject<'l>,
) -> jboolean {
    let set = answering(&mut env, 0, &answer, |env| {
        let browser: Option<Arc<dyn ProgramBrowser>> = match pages.is_null() {
            true => None,
            false => Some(Arc::new(JavaBrowser::new(env, &pages)?)),
        };
        Process::this().set_browser(browser)
    });
    set.is_some()
}

/// `boolean session(long handle, int which, Answer answer)`: tells it the session.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_session<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    which: jint,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    let told = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        let session = match which {
            EXISTING => call.engine.live_session()?,
            ANY | NEW => {
                may_log_in()?;
                if which == NEW { call.engine.log_in_again()? } else { call.engine.log_in()? }
            }
            _ => return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER)),
        };
        tell_session(env, &answer, &session)
    });
    told.is_some()
}

/// `boolean changeRole(long handle, Answer answer)`: tells it the session.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_changeRole<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    let changed = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        may_log_in()?;
        tell_session(env, &answer, &*call.engine.change_role()?)
    });
    changed.is_some()
}

/// `boolean switchContext(long handle, String[] ids, Answer answer)`: tells it the session. The ids are those of
/// organisation, care team, patient and episode of care.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_switchContext<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    ids: JObjectArray<'l, JString<'l>>,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    let switched = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        let mut context = Context::new();
        let [organization, care_team, patient, episode] = [
            &mut context.organization_id,
            &mut context.care_team_id,
            &mut context.patient_id,
            &mut context.episode_of_care_id,
        ];
        for (index, id) in [organization, care_team, patient, episode].into_iter().enumerate() {
            let text = ids.get_element(env, index)?.auto();
            *id = if text.is_null() { None } else { Some(text.try_to_string(env)?) };
        }
        tell_session(env, &answer, &*call.engine.switch_context(&context)?)
    });
    switched.is_some()
}

/// `String contexts(long handle, Answer answer)`: as `ticketapi_contexts`; null on failure.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_contexts<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    answer: JObject<'l>,
) -> JString<'l> {
    let instance = handle(instance);
    let contexts = answering(&mut env, instance, &answer, |env| {
        let contexts = Process::call(instance)?.engine.contexts()?;
        Ok(env.new_string(contexts_json(&contexts)?)?)
    });
    contexts.unwrap_or_default()
}

/// `String claims(long handle, Answer answer)`: as `ticketapi_claims`; null on failure.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_claims<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    answer: JObject<'l>,
) -> JString<'l> {
    let instance = handle(instance);
    let claims = answering(&mut env, instance, &answer, |env| {
        let claims = Process::call(instance)?.engine.claims()?;
        Ok(env.new_string(&claims)?)
    });
    claims.unwrap_or_default()
}

/// `boolean logOut(long handle, Answer answer)`
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_logOut<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    answering(&mut env, instance, &answer, |_| Ok(Process::call(instance)?.engine.destroy_ticket()?)).is_some()
}

/// `boolean cancel(long handle, Answer answer)`: does not wait.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_cancel<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    let cancelled = answering(&mut env, instance, &answer, |_| {
        Process::engine(instance)?.cancel_login();
        Ok(())
    });
    cancelled.is_some()
}

/// Runs `body` as an export does; an error goes to `answer`.
pub(super) fn answering<'l, T>(
    env: &mut EnvUnowned<'l>,
    handle: c_long,
    answer: &JObject<'l>,
    body: impl FnOnce(&mut Env<'l>) -> Outcome<T>,
) -> Option<T> {
    match export_result(handle, || with_env(env, body)) {
        Ok(value) => Some(value),
        Err(failure) => {
            export_quietly((), || with_env(env, |env| tell_failure(env, answer, &failure)));
            None
        }
    }
}

fn tell_failure<'l>(env: &mut Env<'l>, answer: &JObject<'l>, failure: &Failure) -> Outcome {
    let cause = failure.cause.as_deref();
    let detail = cause.map_or(words(failure.code).unwrap_or_default(), Error::detail);
    let stage = match cause {
        Some(error) => env.new_string(error.stage().as_str())?,
        None => JString::null(),
    };
    let remedy = match cause {
        Some(error) => env.new_string(error.remedy())?,
        None => JString::null(),
    };
    let detail = env.new_string(detail)?;
    let tries = cause.and_then(Error::tries_left).map_or(-1, jint::from);
    env.call_method(
        answer,
        jni_str!("failed"),
        jni_sig!("(JLjava/lang/String;Ljava/lang/String;Ljava/lang/String;I)V"),
        &[
            JValue::Long(failure.code.into()),
            JValue::Object(&stage),
            JValue::Object(&detail),
            JValue::Object(&remedy),
            JValue::Int(tries),
        ],
    )?;
    Ok(())
}

fn tell_session<'l>(env: &mut Env<'l>, answer: &JObject<'l>, session: &Session) -> Outcome {
    let units = utf16(session.ticket().expose());
    let ticket = JCharArray::new(env, units.len())?;
    ticket.set_region(env, 0, &units)?;
    let user = session.user();
    let chosen = session.role().and_then(|chosen| session.roles().iter().position(|role| role.id == chosen.id));
    let lines: Vec<_> = session.roles().iter().map(ToString::to_string).collect();
    let mut texts = vec![user.uid.as_str(), &user.name];
    for (role, line) in session.roles().iter().zip(&lines) {
        texts.extend(role_texts(role, line));
    }
    let texts = string_array(env, &texts)?;
    env.call_method(
        answer,
        jni_str!("session"),
        jni_sig!("([C[Ljava/lang/String;I)V"),
        &[JValue::Object(&ticket), JValue::Object(&texts), JValue::Int(chosen.map_or(-1, |index| index as jint))],
    )?;
    Ok(())
}

pub(super) fn role_texts<'a>(role: &'a ticketapi::ssb::Role, line: &'a str) -> [&'a str; ROLE_TEXTS] {
    [line, &role.id, &role.organisation_code, &role.organisation, &role.role_type, &role.sub_type, &role.name]
}

pub(super) fn string_array<'l>(env: &mut Env<'l>, texts: &[&str]) -> Outcome<JObjectArray<'l, JString<'l>>> {
    let array = JObjectArray::<JString>::new(env, texts.len(), JString::null())?;
    for (index, text) in texts.iter().enumerate() {
        let string = env.new_string(text)?.auto();
        array.set_element(env, index, &string)?;
    }
    Ok(array)
}
