//! `ticketapi.Native`: what sessions at an employer's Nuts node have.

use jni::EnvUnowned;
use jni::objects::{JObject, JObjectArray, JString};
use jni::refs::IntoAuto as _;
use jni::sys::{jboolean, jint, jlong};
use ticketapi::session::Employee;

use super::handle;
use super::modern::answering;
use crate::nuts::{number, required_level};
use crate::process::Process;
use crate::status::{Failure, TCK_API_ERR_INVALID_PARAMETER};

/// `boolean employee(long handle, String[] texts, Answer answer)`: identifier, initials, family name, and role or null.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_employee<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    texts: JObjectArray<'l, JString<'l>>,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    let set = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        let mut text = |index| {
            let text = texts.get_element(env, index)?.auto();
            Ok::<_, Failure>(if text.is_null() { None } else { Some(text.try_to_string(env)?) })
        };
        let [Some(identifier), Some(initials), Some(family_name)] = [text(0)?, text(1)?, text(2)?] else {
            return Err(Failure::new(TCK_API_ERR_INVALID_PARAMETER));
        };
        let mut employee = Employee::new(identifier, initials, family_name);
        employee.role = text(3)?;
        Ok(call.engine.set_employee(&employee)?)
    });
    set.is_some()
}

/// `int assuranceLevel(long handle, Answer answer)`: as `ticketapi_assurance_level`; -1 on failure.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_assuranceLevel<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    answer: JObject<'l>,
) -> jint {
    let instance = handle(instance);
    let level =
        answering(&mut env, instance, &answer, |_| Ok(number(Process::call(instance)?.engine.assurance_level()?)));
    level.unwrap_or(-1)
}

/// `int requiredLevel(String resource, Answer answer)`: as `ticketapi_required_level`; -1 on failure.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_requiredLevel<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    resource: JString<'l>,
    answer: JObject<'l>,
) -> jint {
    let level = answering(&mut env, 0, &answer, |env| required_level(&resource.try_to_string(env)?));
    level.unwrap_or(-1)
}

/// `String accessToken(long handle, String authorizer, String service, Answer answer)`: null on failure.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_accessToken<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    authorizer: JString<'l>,
    service: JString<'l>,
    answer: JObject<'l>,
) -> JString<'l> {
    let instance = handle(instance);
    let token = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        let (authorizer, service) = (authorizer.try_to_string(env)?, service.try_to_string(env)?);
        Ok(env.new_string(call.engine.access_token(&authorizer, &service)?.expose())?)
    });
    token.unwrap_or_default()
}

/// `String introspect(long handle, String token, Answer answer)`: JSON; null on failure.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_introspect<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    token: JString<'l>,
    answer: JObject<'l>,
) -> JString<'l> {
    let instance = handle(instance);
    let said = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        let token = token.try_to_string(env)?;
        Ok(env.new_string(call.engine.introspect(&token)?)?)
    });
    said.unwrap_or_default()
}
