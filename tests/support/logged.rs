//! Everything that the loggers of a host get at the finest level, from every test of this program.
#![allow(dead_code, clippy::unwrap_used)]

use std::io;
use std::sync::{Mutex, Once};

use log::{Log, Metadata, Record};
use tracing_subscriber::fmt::MakeWriter;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}\n", record.target(), record.args());
        LOGGED.lock().unwrap().extend_from_slice(line.as_bytes());
    }

    fn flush(&self) {}
}

impl io::Write for &Logger {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logger {
    type Writer = &'a Logger;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Begins to keep what is logged, at the finest level. Called first in a test.
pub fn keep() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(Logger).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        // Tests on other threads may have reached an event before there was a subscriber.
        tracing::callsite::rebuild_interest_cache();
    });
}

/// How much was logged so far.
pub fn length() -> usize {
    LOGGED.lock().unwrap().len()
}

/// What was logged after the first `length` bytes.
pub fn after(length: usize) -> Vec<u8> {
    LOGGED.lock().unwrap()[length..].to_vec()
}
