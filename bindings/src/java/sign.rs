//! `ticketapi.Native`: signatures with the card.

use jni::objects::{JByteArray, JObject, JObjectArray, JString, JValue};
use jni::refs::IntoAuto as _;
use jni::sys::{jboolean, jlong};
use jni::{Env, EnvUnowned, jni_sig, jni_str};
use ticketapi::sign::{KeyUse, SignRequest};

use super::modern::{answering, string_array};
use super::{handle, may_log_in};
use crate::boundary::Outcome;
use crate::process::Process;
use crate::sign::Signed;
use crate::status::Failure;

/// `boolean sign(long handle, String[] texts, boolean loginKey, boolean hashes, String[] ids, byte[][] payloads,
/// Answer answer)`: title or null, algorithm, format. Tells it the signatures.
#[unsafe(no_mangle)]
pub extern "system" fn Java_ticketapi_Native_sign<'l>(
    mut env: EnvUnowned<'l>,
    _: JObject<'l>,
    instance: jlong,
    texts: JObjectArray<'l, JString<'l>>,
    login_key: jboolean,
    hashes: jboolean,
    ids: JObjectArray<'l, JString<'l>>,
    payloads: JObjectArray<'l, JByteArray<'l>>,
    answer: JObject<'l>,
) -> jboolean {
    let instance = handle(instance);
    let signed = answering(&mut env, instance, &answer, |env| {
        let call = Process::call(instance)?;
        may_log_in()?;
        let mut request = SignRequest::new();
        let title = texts.get_element(env, 0)?.auto();
        request.title = if title.is_null() { None } else { Some(title.try_to_string(env)?) };
        request.algorithm = texts.get_element(env, 1)?.auto().try_to_string(env)?.parse()?;
        request.format = texts.get_element(env, 2)?.auto().try_to_string(env)?.parse()?;
        request.key = if login_key { KeyUse::Login } else { KeyUse::ContentCommitment };
        for index in 0..ids.len(env)? {
            let id = ids.get_element(env, index)?.auto().try_to_string(env)?;
            let payload = payloads.get_element(env, index)?.auto();
            let bytes = env.convert_byte_array(&payload)?;
            request = if hashes { request.hash(id, bytes) } else { request.payload(id, bytes) };
        }
        let ids: Vec<_> = request.payloads.iter().map(|payload| payload.id.clone()).collect();
        let signed = Signed::new(ids.clone(), call.engine.sign(&request)?);
        tell(env, &answer, &ids, signed)
    });
    signed.is_some()
}

fn tell<'l>(env: &mut Env<'l>, answer: &JObject<'l>, ids: &[String], signed: Signed) -> Outcome {
    let certificates = byte_arrays(env, signed.certificates.iter().map(|der| Some(der.as_slice())))?;
    let signatures = byte_arrays(env, signed.results.iter().map(|result| result.as_deref().ok()))?;
    let ids = string_array(env, &ids.iter().map(String::as_str).collect::<Vec<_>>())?;
    let time = signed.seconds() as jlong;
    env.call_method(
        answer,
        jni_str!("signatures"),
        jni_sig!("([[BJ[Ljava/lang/String;[[B)V"),
        &[JValue::Object(&certificates), JValue::Long(time), JValue::Object(&ids), JValue::Object(&signatures)],
    )?;
    for (index, result) in signed.results.into_iter().enumerate() {
        let Err(error) = result else { continue };
        let failure = Failure::from(error);
        let cause = failure.cause.as_deref();
        let stage = env.new_string(cause.map_or("", |error| error.stage().as_str()))?.auto();
        let detail = env.new_string(cause.map_or("", ticketapi::Error::detail))?.auto();
        let remedy = env.new_string(cause.map_or("", ticketapi::Error::remedy))?.auto();
        env.call_method(
            answer,
            jni_str!("notSigned"),
            jni_sig!("(IJLjava/lang/String;Ljava/lang/String;Ljava/lang/String;)V"),
            &[
                JValue::Int(index as jni::sys::jint),
                JValue::Long(failure.code.into()),
                JValue::Object(&stage),
                JValue::Object(&detail),
                JValue::Object(&remedy),
            ],
        )?;
    }
    Ok(())
}

/// Creates a `byte[][]`; null for each `None`.
fn byte_arrays<'l, 'a>(
    env: &mut Env<'l>,
    items: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
) -> Outcome<JObjectArray<'l, JByteArray<'l>>> {
    let array = JObjectArray::<JByteArray>::new(env, items.len(), JByteArray::null())?;
    for (index, item) in items.enumerate() {
        if let Some(bytes) = item {
            let bytes = env.byte_array_from_slice(bytes)?.auto();
            array.set_element(env, index, &bytes)?;
        }
    }
    Ok(array)
}
