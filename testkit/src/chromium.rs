//! A real Chromium without a window, driven by W3C WebDriver.
//!
//! Needs Debian's `chromium` and `chromium-driver`.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::{Browser, Sent};
use crate::error::{Context, Error, Result};
use crate::leash::{Ending, Leash};

/// How long it looks for an element that is not there yet.
const PATIENCE: Duration = Duration::from_secs(60);

/// The member that holds an element's id, by the specification.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with an empty profile. Dropping it ends the browser and removes the profile.
pub struct Chromium {
    session: String,
    driver: Leash,
}

impl Chromium {
    /// Starts a browser. It takes any server's certificate: what it shows is on this computer.
    pub fn start() -> Result<Self> {
        Self::start_with(&[], |_| Ok(()))
    }

    /// As [`Chromium::start`], with arguments, and with a profile that `prepare` has put files into.
    pub fn start_with(arguments: &[String], prepare: impl FnOnce(&Path) -> io::Result<()>) -> Result<Self> {
        let problem = || "cannot make a folder for Chromium".into();
        let folder = TempDir::with_prefix("ticketapi-chromium-").context(problem)?;
        let profile = folder.path().join("profile");
        std::fs::create_dir(&profile).and_then(|()| prepare(&profile)).context(problem)?;
        let profile = format!("--user-data-dir={}", profile.display());
        // The browser is in the driver's process group, and ends with it.
        let driver = Leash::start(["chromedriver".into(), "--port=0".into()], &[], folder, Ending::Kill)?;
        let port: u16 = driver.wait_for(Duration::from_secs(60), |line| {
            line.rsplit_once("successfully on port ").and_then(|line| line.1.trim_end_matches('.').parse().ok())
        })?;
        let url = format!("http://127.0.0.1:{port}/session");
        // Root has no sandbox.
        let mut all = vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &profile];
        all.extend(arguments.iter().map(String::as_str));
        // Also the windows of an extension can be entered.
        let options = json!({ "args": all, "enableExtensionTargets": true });
        let capabilities = json!({
            "browserName": "chrome", "acceptInsecureCerts": true, "goog:chromeOptions": options,
            "timeouts": {
                "implicit": PATIENCE.as_millis() as u64, "pageLoad": PATIENCE.as_millis() as u64,
                "script": PATIENCE.as_millis() as u64,
            },
        });
        let session = command("POST", &url, &json!({ "capabilities": { "alwaysMatch": capabilities } }))?;
        let id = session["sessionId"].as_str().unwrap_or_default();
        Ok(Self { session: format!("{url}/{id}"), driver })
    }

    /// Opens an address. Returns when the page is loaded, and where it redirects to.
    pub fn open(&self, address: &str) -> Result<()> {
        self.post("url", &json!({ "url": address })).map(drop)
    }

    /// Logs in at the Keycloak page with this address, and returns to the program that waits for it. Returns the
    /// title of that program's page.
    pub fn log_in(&self, address: &str, username: &str, password: &str, role: Option<&str>) -> Result<String> {
        self.open(address)?;
        self.type_into("#username", username)?;
        self.type_into("#password", password)?;
        self.click("#kc-login")?;
        if let Some(role) = role {
            self.click(&format!("#cis2-roles button[value='{role}']"))?;
        }
        // The program's page has none of Keycloak's parts.
        self.text("body:not([data-page-id])")?;
        self.title()
    }

    /// The address of the page.
    pub fn url(&self) -> Result<String> {
        self.get("url")
    }

    /// The title of the page.
    pub fn title(&self) -> Result<String> {
        self.get("title")
    }

    /// What can be read in the first element of this CSS selector. Waits for it.
    pub fn text(&self, selector: &str) -> Result<String> {
        self.get(&format!("element/{}/text", self.find(selector)?))
    }

    /// Types into the first element of this CSS selector. Waits for it.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        self.post(&format!("element/{}/value", self.find(selector)?), &json!({ "text": text })).map(drop)
    }

    /// Clicks the first element of this CSS selector. Waits for it.
    pub fn click(&self, selector: &str) -> Result<()> {
        self.post(&format!("element/{}/click", self.find(selector)?), &json!({})).map(drop)
    }

    /// Runs a script in the page, and returns the text that the script passes to its last argument.
    pub fn run(&self, script: &str) -> Result<String> {
        let value = self.post("execute/async", &json!({ "script": script, "args": [] }))?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// A picture of the page, as PNG.
    pub fn screenshot(&self) -> Result<Vec<u8>> {
        Ok(openssl::base64::decode_block(&self.get("screenshot")?)?)
    }

    /// Lets what follows happen in the page's first frame.
    pub fn enter_frame(&self) -> Result<()> {
        let frame = self.find("iframe")?;
        self.post("frame", &json!({ "id": { ELEMENT: frame } })).map(drop)
    }

    /// Opens a tab, and returns its name for [`Chromium::enter_window`].
    pub fn new_window(&self) -> Result<String> {
        let window = self.post("window/new", &json!({ "type": "tab" }))?;
        Ok(window["handle"].as_str().unwrap_or_default().to_owned())
    }

    /// The names of all windows and tabs.
    pub fn windows(&self) -> Result<Vec<String>> {
        let windows = command("GET", &format!("{}/window/handles", self.session), &Value::Null)?;
        Ok(serde_json::from_value(windows).unwrap_or_default())
    }

    /// The name of the window that the browser is controlled in.
    pub fn window(&self) -> Result<String> {
        self.get("window")
    }

    /// Lets what follows happen in this window.
    pub fn enter_window(&self, window: &str) -> Result<()> {
        self.post("window", &json!({ "handle": window })).map(drop)
    }

    /// Whether an extension's service worker runs.
    pub fn has_worker(&self) -> Result<bool> {
        let targets = self.post("goog/cdp/execute", &json!({ "cmd": "Target.getTargets", "params": {} }))?;
        let all = targets["targetInfos"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(all.iter().any(|target| target["type"] == "service_worker"))
    }

    /// Closes the browser as its user would.
    pub fn quit(self) -> Result<()> {
        command("DELETE", &self.session, &Value::Null).map(drop)
    }

    /// The folder with the browser's profile.
    pub fn folder(&self) -> &Path {
        self.driver.folder()
    }

    fn find(&self, selector: &str) -> Result<String> {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }))?;
        Ok(found[ELEMENT].as_str().unwrap_or_default().to_owned())
    }

    fn get(&self, what: &str) -> Result<String> {
        let value = command("GET", &format!("{}/{what}", self.session), &Value::Null)?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value> {
        command("POST", &format!("{}/{what}", self.session), body)
    }
}

fn command(method: &str, url: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let sent = Sent { content_type: Some("application/json"), body: &body, ..Sent::default() };
    let page = Browser::default().send(method, url, &sent)?;
    let mut answer: Value = serde_json::from_str(&page.text).unwrap_or_default();
    let value = answer["value"].take();
    if page.status != 200 {
        return Err(Error::Program { program: "chromedriver".into(), problem: value["message"].to_string() });
    }
    Ok(value)
}
