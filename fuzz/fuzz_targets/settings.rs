//! Settings that users write, and responses of a pinentry. The first byte selects one.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use ticketapi::{Config, fuzzing};

fuzz_target!(init: read_from_everywhere(), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => read_file(data),
        1 => set(data),
        _ => read_pinentry(data),
    }
});

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// Reads settings from all sources other than the file, once.
fn read_from_everywhere() {
    let set = |name: &str, value: &OsStr| {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(name, value) };
    };
    for name in ["XDG_CONFIG_HOME", "TICKETAPI_CONFIG"] {
        set(name, "".as_ref());
    }
    set("HOME", FOLDER.path().as_os_str());
    Config::load().unwrap();
    set("XDG_CONFIG_HOME", FOLDER.path().as_os_str());
    set("TICKETAPI_ROLE", OsStr::from_bytes(b"\xff"));
    Config::load().unwrap_err();
    set("TICKETAPI_ROLE", "5".as_ref());
    assert_eq!(Config::load().unwrap().role.as_deref(), Some("5"));
    set("TICKETAPI_ENVIRONMENT", "moon".as_ref());
    Config::load().unwrap_err();
    let long = FOLDER.path().join("long.toml");
    std::fs::write(&long, "#".repeat((1 << 20) + 1)).unwrap();
    Config::from_file(&long).unwrap_err();
    Config::from_file(FOLDER.path()).unwrap_err();
}

fn read_file(data: &[u8]) {
    let path = FOLDER.path().join("config.toml");
    std::fs::write(&path, data).unwrap();
    match Config::from_file(&path) {
        Ok(config) => drop(config.broker()),
        Err(error) => assert!(error.detail().contains("config.toml"), "{error}"),
    }
}

/// A key, selected by the first byte, and a value.
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
    if let Some(text) = str::from_utf8(bytes).ok().filter(|text| text.len() < 300) {
        let echo = fuzzing::pinentry_line("D ", text) + "OK\n";
        assert_eq!(fuzzing::pinentry_answers(echo.as_bytes(), usize::MAX), [Ok(text.as_bytes().to_vec())]);
    }
}
