//! Pages in a real Chromium with the extension: who gets the ticket of the agent's session.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/oidc/house.rs"]
#[allow(dead_code)]
mod house;
mod pages;
mod support;

use pages::story::{Browser, Site, tell};
use ticketapi_testkit::chromium::Chromium;

const EXTENSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/extension");

impl Browser for Chromium {
    fn open(&self, address: &str) {
        self.open(address).unwrap();
    }

    fn enter_frame(&self) {
        self.enter_frame().unwrap();
    }

    fn new_window(&self) -> String {
        self.new_window().unwrap()
    }

    fn window(&self) -> String {
        self.window().unwrap()
    }

    fn windows(&self) -> Vec<String> {
        self.windows().unwrap()
    }

    fn enter_window(&self, window: &str) {
        self.enter_window(window).unwrap();
    }

    fn text(&self, selector: &str) -> String {
        self.text(selector).unwrap()
    }

    fn run(&self, script: &str) -> String {
        self.run(&format!("const done = arguments[arguments.length - 1]; {script}")).unwrap()
    }
}

fn start(site: &Site) -> Chromium {
    let arguments = [
        format!("--load-extension={EXTENSION}"),
        format!("--disable-extensions-except={EXTENSION}"),
        "--disable-features=DisableLoadExtensionCommandLineSwitch".into(),
    ];
    let manifest = include_str!("../install/chromium.json.in");
    let install = |profile: &std::path::Path| {
        pages::install(&profile.join("NativeMessagingHosts"), manifest, &site.desk, &site.allowed)
    };
    Chromium::start_with(&arguments, install).unwrap()
}

#[test]
fn only_a_page_of_an_allowed_origin_is_served_in_chromium_until_it_is_closed() {
    let site = Site::new();
    tell(&site, start(&site), |browser| browser.quit().unwrap());
}

#[test]
fn the_example_page_shows_a_part_of_the_ticket() {
    let site = Site::new();
    let browser = start(&site);
    let ticket = pages::story::first_ticket(&site, &browser);
    Browser::open(&browser, &format!("{}/example/", site.allowed));
    browser.click("#login").unwrap();
    let shown = Browser::run(
        &browser,
        "setInterval(() => { const text = document.getElementById('output').textContent; \
         if (text.startsWith('Logged in.')) done(text); }, 20)",
    );
    assert!(shown.contains(&ticket[..4]) && !shown.contains(&ticket[..8]), "{shown}");
    if let Some(file) = std::env::var_os("TICKETAPI_SCREENSHOT") {
        std::fs::write(file, browser.screenshot().unwrap()).unwrap();
    }
}
