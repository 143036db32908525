//! A card in a virtual reader, for tests in other languages.
//!
//! `virtual-card --state-dir DIR --helper FILE` starts a PC/SC service of its own with a card of the CA in
//! DIR (see `spine-simulator`) in a reader. It prints `config=FILE`, a configuration of ticketapi for that
//! card, whose PIN is 1234. For each line that it reads it takes the card out, and prints `out=TIME`
//! when a watcher has been told, in nanoseconds of the monotonic clock. It ends with its input.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::events::Snapshot;
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard, TestCa};

const PIN: &str = "1234";
const PATIENCE: Duration = Duration::from_secs(30);
const OPENSC: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
    "/usr/lib/aarch64-linux-gnu/opensc-pkcs11.so",
    "/usr/lib64/opensc-pkcs11.so",
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state, helper] = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--state-dir", state, "--helper", helper] => [PathBuf::from(state), PathBuf::from(helper)],
        _ => return Err("usage: virtual-card --state-dir DIR --helper FILE".into()),
    };
    let module = OPENSC.into_iter().find(|path| Path::new(path).exists()).ok_or("OpenSC is not installed")?;
    let identity = TestCa::load_or_create(&state)?.issue(&CardSpec::default())?;
    let pcscd = Pcscd::start()?;
    let card = PivCard::new(&identity)?;
    card.set_pin(PIN);
    let helper = pcscd.helper_wrapper(&helper)?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    std::fs::write(&config, format!("pkcs11_module = {module:?}\nhelper = {helper:?}\n"))?;

    let settings = HelperSettings { program: helper, card: CardSettings::default(), deadline: DEADLINE };
    let mut watch = HelperReader::new(settings).watch()?.ok_or("the readers cannot be watched")?;
    let mut wait_until = |there: bool| -> Result<i128, Box<dyn Error>> {
        loop {
            let snapshot = watch.next(Some(std::time::Instant::now() + PATIENCE), &CancelToken::new())?;
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
            match snapshot.ok_or("nothing happens")? {
                Snapshot::Readers(readers) if readers.iter().any(|reader| reader.card) == there => {
                    return Ok(i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec()));
                }
                _ => {}
            }
        }
    };
    card.insert(pcscd.port())?;
    wait_until(true)?;
    println!("config={}", config.display());
    stdout().flush()?;
    let mut line = String::new();
    while stdin().read_line(&mut line)? > 0 {
        card.remove();
        println!("out={}", wait_until(false)?);
        stdout().flush()?;
    }
    Ok(())
}
