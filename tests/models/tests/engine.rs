//! The engine under shuttle: callers in thousands of orders, each of which switches threads at every lock.
//!
//! Everything is real except the broker, a thread that responds over plain HTTP and counts the tickets that it
//! issues and ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config as ShuttleConfig, Runner, thread};
use ticketapi::cancel::CancelToken;
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, ErrorKind, Pin, Result};

/// Open sessions on the broker, by their tickets.
struct Broker {
    url: String,
    begun: AtomicUsize,
    live: Mutex<BTreeSet<String>>,
}

static BROKER: LazyLock<&'static Broker> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let broker: &'static Broker =
        Box::leak(Box::new(Broker { url, begun: AtomicUsize::new(0), live: Mutex::default() }));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || while broker.answer(stream.as_ref().unwrap()).is_some() {});
        }
    });
    broker
});

impl Broker {
    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if let Some(value) = head[start..].strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut message = vec![0; length];
        reader.read_exact(&mut message).ok()?;
        let answer = if head.contains("authactivate") {
            parameters(&[("challenge", "QUFBQQ=="), ("signature", "QQ==")])
        } else if head.contains("authvalidate") {
            // A ticket of 8 characters, then one of 16: the sizes of the cell's buffers in this build.
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            let ticket = if number % 2 == 0 { format!("{number:08}") } else { format!("{number:016}") };
            self.live.lock().unwrap().insert(ticket.clone());
            parameters(&[("sso_ticket", &ticket)])
        } else {
            let message = String::from_utf8(message).unwrap();
            let ticket = message.split("\"sso_ticket\">").nth(1).unwrap().split('<').next().unwrap();
            assert!(self.live.lock().unwrap().remove(ticket), "{ticket} was ended twice");
            "<HTML><STATUS>OK</STATUS></HTML>".to_owned()
        };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        stream.write_all(answer.as_bytes()).ok()
    }

    fn live(&self) -> Vec<String> {
        self.live.lock().unwrap().iter().cloned().collect()
    }
}

fn parameters(all: &[(&str, &str)]) -> String {
    let all: String = all.iter().map(|(name, value)| format!("<gpPARAM name=\"{name}\">{value}</gpPARAM>")).collect();
    format!("<gpOBJECT>{all}</gpOBJECT>")
}

/// A user who knows the PIN, and is slow enough for other threads to run in between.
struct User {
    asked: Arc<AtomicUsize>,
    panics: bool,
}

impl Prompter for User {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        thread::yield_now();
        assert!(!self.panics, "as the test asked");
        Ok(Pin::new("password".into()))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Ok(true)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Ok(0)
    }
}

struct Desk {
    engine: Arc<Engine>,
    asked: Arc<AtomicUsize>,
}

impl Desk {
    fn new(panics: bool) -> Self {
        let mut config = Config::default();
        for (key, value) in
            [("base_url", &*BROKER.url), ("allow_http", "true"), ("require_role", "false"), ("agent", "never")]
        {
            config.set(key, value).unwrap();
        }
        let card = SoftwareCardReader::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/card.p12").into());
        let asked = Arc::<AtomicUsize>::default();
        let user = User { asked: Arc::clone(&asked), panics };
        let engine = Engine::builder(config).card_reader(card).prompter(user).build().unwrap();
        Self { engine: Arc::new(engine), asked }
    }

    fn spawn<T: 'static>(&self, work: impl FnOnce(&Engine) -> T + Send + 'static) -> thread::JoinHandle<T>
    where
        T: Send,
    {
        let engine = Arc::clone(&self.engine);
        thread::spawn(move || work(&engine))
    }

    /// Checks that broker and engine have the same session, or none.
    fn agrees_with_the_broker(&self) {
        // Logouts that are still on their way to the broker.
        self.engine.rest();
        self.engine.wake();
        let known: Vec<_> = self.engine.session().iter().map(|kept| kept.ticket().expose().to_owned()).collect();
        assert_eq!(BROKER.live(), known);
        assert_eq!(self.engine.with_ticket(|ticket| String::from_utf8(ticket.to_vec()).unwrap()).as_slice(), known);
    }
}

/// Runs `body` in many orders, half of them chosen to find rare ones.
fn check(body: impl Fn() + Send + Sync + 'static) {
    // One test at a time, because all use one broker.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let orders = std::env::var("TICKETAPI_TEST_ORDERS").ok().map_or(300, |count| count.parse().unwrap());
    let body = Arc::new(move || {
        BROKER.live.lock().unwrap().clear();
        body();
    });
    let mut config = ShuttleConfig::new();
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(orders), config.clone()).run({
        let body = Arc::clone(&body);
        move || body()
    });
    Runner::new(PctScheduler::new(3, orders), config).run(move || body());
}

#[test]
fn requests_during_a_login_share_it() {
    check(|| {
        let desk = Desk::new(false);
        let callers = [(); 3].map(|()| desk.spawn(|engine| engine.get_ticket().unwrap().expose().to_owned()));
        let glance = desk.spawn(|engine| engine.get_ticket_no_auth().ok().map(|ticket| ticket.expose().to_owned()));
        let tickets: BTreeSet<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        assert_eq!((tickets.len(), desk.asked.load(Ordering::SeqCst)), (1, 1));
        assert!(glance.join().unwrap().is_none_or(|seen| tickets.contains(&seen)));
        desk.agrees_with_the_broker();
    });
}

#[test]
fn destroying_the_ticket_ends_every_begun_session() {
    check(|| {
        let desk = Desk::new(false);
        let callers = [(); 2].map(|()| desk.spawn(|engine| engine.get_ticket().map(drop)));
        let destroyers = [(); 2].map(|()| desk.spawn(Engine::destroy_ticket));
        for caller in callers {
            if let Err(error) = caller.join().unwrap() {
                assert_eq!(*error.kind(), ErrorKind::Cancelled);
            }
        }
        destroyers.into_iter().for_each(|destroyer| destroyer.join().unwrap().unwrap());
        desk.agrees_with_the_broker();
        desk.engine.destroy_ticket().unwrap();
        desk.agrees_with_the_broker();
        assert!(BROKER.live().is_empty());
    });
}

#[test]
fn a_login_that_is_destroyed_meanwhile_leaves_no_session() {
    check(|| {
        let desk = Desk::new(false);
        let caller = desk.spawn(|engine| engine.get_ticket().map_err(|error| error.kind().clone()).map(drop));
        let asked = Arc::clone(&desk.asked);
        let destroyer = desk.spawn(move |engine| {
            while asked.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            engine.destroy_ticket()
        });
        assert!([Ok(()), Err(ErrorKind::Cancelled)].contains(&caller.join().unwrap()));
        destroyer.join().unwrap().unwrap();
        desk.agrees_with_the_broker();
        assert!(desk.engine.session().is_none());
    });
}

#[test]
fn a_new_login_replaces_the_session_everywhere() {
    check(|| {
        let desk = Desk::new(false);
        desk.engine.get_ticket().unwrap();
        let renewing = [(); 2].map(|()| desk.spawn(|engine| engine.get_new_ticket().unwrap().expose().to_owned()));
        let reading = desk.spawn(|engine| engine.with_ticket(<[u8]>::len));
        let cancelling = desk.spawn(|engine| engine.session().map(|_| ()));
        let tickets = renewing.map(|renewing| renewing.join().unwrap());
        assert!([Some(8), Some(16)].contains(&reading.join().unwrap()), "there was a session all the time");
        cancelling.join().unwrap().unwrap();
        desk.agrees_with_the_broker();
        assert!(tickets.contains(&BROKER.live()[0]));
    });
}

#[test]
fn cancelling_ends_the_login_for_every_thread_or_comes_too_late() {
    check(|| {
        let desk = Desk::new(false);
        let callers =
            [(); 3].map(|()| desk.spawn(|engine| engine.get_ticket().map(|ticket| ticket.expose().to_owned())));
        let canceller = desk.spawn(Engine::cancel_login);
        let outcomes = callers.map(|caller| caller.join().unwrap().map_err(|error| error.kind().clone()));
        canceller.join().unwrap();
        assert!(outcomes.iter().all(|outcome| !matches!(outcome, Err(kind) if *kind != ErrorKind::Cancelled)));
        desk.agrees_with_the_broker();
    });
}

#[test]
fn a_panic_in_a_login_is_an_error_for_every_waiting_thread_and_the_next_login_works() {
    check(|| {
        let desk = Desk::new(true);
        let callers = [(); 2].map(|()| {
            desk.spawn(|engine| {
                catch_unwind(AssertUnwindSafe(|| engine.get_ticket().map_err(|error| error.kind().clone())))
            })
        });
        for caller in callers {
            match caller.join().unwrap() {
                // Its own login panicked, or the one that it waited for.
                Err(_) | Ok(Err(ErrorKind::Internal)) => {}
                Ok(other) => panic!("{other:?}"),
            }
        }
        assert!(desk.engine.session().is_none() && BROKER.live().is_empty());
        desk.engine.destroy_ticket().unwrap();
    });
}
