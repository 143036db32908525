//! A user at a browser that keeps its cookies, so that the provider knows it again.

use std::sync::{Arc, Condvar, Mutex};

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, Opened};
use ticketapi_testkit::Page;

use crate::support::PATIENCE;

type Visit = dyn FnMut(&mut ticketapi_testkit::Browser, &str) -> Result<Page, String> + Send;

/// A user at a browser, which keeps its cookies. Opens what it is asked to, unless the test says otherwise.
#[derive(Clone)]
pub struct Person(Arc<Inner>);

struct Inner {
    browser: Mutex<(ticketapi_testkit::Browser, Box<Visit>)>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    addresses: Vec<String>,
    pages: Vec<Result<Page, String>>,
}

impl Person {
    pub fn new(browser: ticketapi_testkit::Browser) -> Self {
        let open: Box<Visit> = Box::new(|browser, address| browser.open(address).map_err(|error| error.to_string()));
        Self(Arc::new(Inner { browser: Mutex::new((browser, open)), seen: Mutex::default(), changed: Condvar::new() }))
    }

    /// From now on does this with each address.
    pub fn visits(
        &self,
        visit: impl FnMut(&mut ticketapi_testkit::Browser, &str) -> Result<Page, String> + Send + 'static,
    ) {
        self.0.browser.lock().unwrap().1 = Box::new(visit);
    }

    /// The addresses that were to be opened so far.
    pub fn addresses(&self) -> Vec<String> {
        self.0.seen.lock().unwrap().addresses.clone()
    }

    /// The page that the `number`th visit ended with, from 0. Waits for it.
    pub fn page(&self, number: usize) -> Result<Page, String> {
        let seen = self.0.seen.lock().unwrap();
        let (seen, waited) =
            self.0.changed.wait_timeout_while(seen, PATIENCE, |seen| seen.pages.len() <= number).unwrap();
        assert!(!waited.timed_out(), "there were {} pages", seen.pages.len());
        seen.pages[number].clone()
    }
}

impl Browser for Person {
    fn open(&self, page: &LoginPage<'_>, _: &CancelToken) -> ticketapi::Result<Opened> {
        let (person, address) = (self.clone(), page.address.to_owned());
        person.0.seen.lock().unwrap().addresses.push(address.clone());
        std::thread::spawn(move || {
            let mut browser = person.0.browser.lock().unwrap();
            let (browser, visit) = &mut *browser;
            let page = visit(browser, &address);
            person.0.seen.lock().unwrap().pages.push(page);
            person.0.changed.notify_all();
        });
        Ok(Opened::default())
    }
}
