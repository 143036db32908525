//! Everything that a host can emit, on standard output.

use std::fmt::Debug;
use std::io;

use log::{Log, Metadata, Record};
use ticketapi::Error;
use tracing_subscriber::fmt::format::FmtSpan;

/// Prints what `Debug` shows.
pub fn print(value: &(impl Debug + ?Sized)) {
    println!("{value:?}\n{value:#?}");
}

/// Prints everything that an error and its sources show.
pub fn print_error(error: &Error) {
    println!("{error}\n{error:?}\n{error:#?}\n{}\n{}\n{:?}", error.detail(), error.remedy(), error.tries_left());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        println!("{cause}\n{cause:?}");
        source = cause.source();
    }
}

/// Records everything that the host's loggers get at the finest level, from every dependency on every thread.
pub fn log_everything() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(io::stdout)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        println!("{} {} {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}
