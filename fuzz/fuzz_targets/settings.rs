//! What people write into settings, and what a pinentry answers. The first byte tells which.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use ticketapi::{Config, fuzzing};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => read_file(data),
        1 => set(data),
        _ => read_pinentry(data),
    }
});

fn read_file(data: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let path = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path().join("config.toml");
    std::fs::write(&path, data).unwrap();
    match Config::from_file(&path) {
        Ok(config) => drop(config.broker()),
        Err(error) => assert!(error.detail().contains("config.toml"), "{error}"),
    }
}

/// A key, chosen by the first byte, and a value.
fn set(data: &[u8]) {
    let Some((&which, value)) = data.split_first() else { return };
    let Ok(value) = str::from_utf8(value) else { return };
    let count = Config::keys().count();
    let key = Config::keys().nth(usize::from(which) % (count + 1)).unwrap_or("no_such_key");
    let mut config = Config::default();
    match config.set(key, value) {
        Ok(()) => {
            let mut again = config.clone();
            again.set(key, value).unwrap();
            assert_eq!(again, config);
            let _ = config.broker();
        }
        Err(error) => assert!(error.detail().starts_with(key) && config == Config::default(), "{error}"),
    }
}

fn read_pinentry(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else { return };
    let whole = fuzzing::pinentry_answers(bytes, usize::MAX);
    assert_eq!(fuzzing::pinentry_answers(bytes, usize::from(size) + 1), whole);
    assert!(whole.iter().flatten().all(|typed| typed.len() <= 4096));
}
