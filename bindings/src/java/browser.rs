//! Pages of identity services, shown by the Java program.

use std::sync::Arc;

use jni::objects::{JObject, JValue};
use jni::sys::jint;
use jni::{Env, jni_sig, jni_str};
use ticketapi::prompt::{LoginPage, Opened};
use ticketapi::{Result, Stage};

use super::asking::JavaAsking;
use crate::boundary::Outcome;
use crate::browser::ProgramBrowser;
use crate::prompter::Wait;

/// For `Pages.tell`: the login has ended.
const CLOSE: jint = 1;

/// Shows pages through `ticketapi.Pages`.
pub(crate) struct JavaBrowser(JavaAsking);

impl JavaBrowser {
    pub(super) fn new(env: &mut Env<'_>, pages: &JObject<'_>) -> Outcome<Self> {
        JavaAsking::new(env, pages, "browser").map(Self)
    }
}

impl ProgramBrowser for JavaBrowser {
    fn open(self: Arc<Self>, page: &LoginPage<'_>, wait: Wait<'_>) -> Result<Opened> {
        // From now on: what fails or is cancelled may have opened a window.
        let shown = Shown(Arc::clone(&self));
        self.0.ask(Stage::Browser, wait, |env, pages, number| {
            let address = env.new_string(page.address)?;
            let parameters = [JValue::Long(number), JValue::Object(&address)];
            env.call_method(pages, jni_str!("open"), jni_sig!("(JLjava/lang/String;)V"), &parameters)?;
            Ok(())
        })?;
        Ok(Opened::new(shown))
    }
}

/// A page, until the login has ended.
struct Shown(Arc<JavaBrowser>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.0.tell(CLOSE, "");
    }
}
