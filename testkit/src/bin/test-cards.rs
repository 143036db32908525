//! Runs a program with test cards in every state that a test needs, as configurations of ticketapi.
//!
//! `test-cards --state-dir DIR --helper FILE --scripted-module FILE -- PROGRAM [ARGUMENT]...` runs PROGRAM with
//! three variables: `TEST_MODULE` and `TEST_MODULE_CONF` name the PKCS#11 module and configuration of the good
//! card, `TEST_CARDS` a folder with:
//!
//! - `good.p12` and `expired.p12`, software cards with the PIN 1234, and `signs.p12`, which signs documents;
//! - a configuration `<name>.toml` for each card of [`CARDS`], through PKCS#11, with the same PIN; `signature` and those
//!   whose names begin so appear as two tokens, one to log in with and one to sign documents with, with the PIN 735519;
//! - `canary.p12` and `canary.toml`, a software card and a token whose PIN can be searched for.
//!
//! The CA in DIR issues the cards; `spine-simulator --state-dir DIR` accepts them. The exit status is PROGRAM's.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use lexopt::prelude::*;
use ticketapi_testkit::{CardIdentity, CardSpec, SoftHsm, TestCa, Token};

const PIN: &str = "1234";
const SIGNING_PIN: &str = "735519";
const CANARY_PIN: &str = "Kestrel*7391:Bittern*5528";

/// The contents of a token, and lines for the script of its module.
struct Card {
    name: &'static str,
    fill: fn(&Token<'_>, &Identities) -> ticketapi_testkit::Result<()>,
    script: &'static [&'static str],
}

struct Identities {
    good: CardIdentity,
    signature: CardIdentity,
    expired: CardIdentity,
}

const CARDS: &[Card] = &[
    Card { name: "good", fill: |token, cards| token.add_identity(&cards.good, 1), script: &[] },
    scripted("signature", &[]),
    scripted("signature-removed", &["fault C_Sign 2 error 0x32"]),
    scripted("signature-wrong", &["fault C_Sign 2 wrong"]),
    Card { name: "canary", fill: |token, cards| token.add_identity(&cards.good, 1), script: &[] },
    Card { name: "expired", fill: |token, cards| token.add_identity(&cards.expired, 1), script: &[] },
    Card { name: "no-certificate", fill: |token, cards| token.add_key(&cards.good, 1), script: &[] },
    Card { name: "no-key", fill: |token, cards| token.add_certificate(&cards.good, 1), script: &[] },
    scripted("locked", &["flag USER_PIN_LOCKED C_Login 0"]),
    scripted("locks", &["flag USER_PIN_LOCKED C_Login 1", "fault C_Login 1 error 0xa4"]),
    scripted("unknown", &["fault C_GetTokenInfo 1 error 0xe1"]),
    scripted("no-reader", &["no-slots"]),
    scripted("crashes", &["fault C_Sign 1 crash"]),
    scripted("removed", &["fault C_Sign 1 error 0x32"]),
    scripted("hangs", &["fault C_Sign 1 hang"]),
    // Tests overwrite its script.
    scripted("faulty", &["fault C_Sign 1 error 0x30"]),
];

const fn scripted(name: &'static str, script: &'static [&'static str]) -> Card {
    Card { name, fill: |token, cards| token.add_identity(&cards.good, 1), script }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut state, mut helper, mut module, mut program) = (None, None, None, Vec::<OsString>::new());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("state-dir") => state = Some(PathBuf::from(arguments.value()?)),
            Long("helper") => helper = Some(PathBuf::from(arguments.value()?)),
            Long("scripted-module") => module = Some(PathBuf::from(arguments.value()?)),
            Value(first) => {
                program.push(first);
                program.extend(arguments.raw_args()?);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let (Some(state), Some(helper), Some(module), [program, arguments @ ..]) = (state, helper, module, &program[..])
    else {
        return Err("usage: test-cards --state-dir DIR --helper FILE --scripted-module FILE -- PROGRAM".into());
    };

    let folder = tempfile::TempDir::with_prefix("test-cards-")?;
    let ca = TestCa::load_or_create(&state)?;
    let cards = Identities {
        good: ca.issue(&CardSpec::default())?,
        signature: ca.issue(&CardSpec::default().for_signing().key_number(1))?,
        expired: ca.issue(&CardSpec::default().expired())?,
    };
    cards.good.write_pkcs12(&folder.path().join("good.p12"), PIN)?;
    cards.expired.write_pkcs12(&folder.path().join("expired.p12"), PIN)?;
    cards.good.write_pkcs12(&folder.path().join("canary.p12"), CANARY_PIN)?;
    ca.issue(&CardSpec::default().for_signing())?.write_pkcs12(&folder.path().join("signs.p12"), PIN)?;
    let tokens =
        CARDS.iter().map(|card| make(card, &cards, &helper, &module, folder.path())).collect::<Result<Vec<_>, _>>()?;

    let good = tokens.first().ok_or("there are no cards")?;
    let status = Command::new(program)
        .args(arguments)
        .env("TEST_CARDS", folder.path())
        .env("TEST_MODULE", good.module())
        .env("TEST_MODULE_CONF", good.conf())
        .status()?;
    drop(tokens);
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

fn make(
    card: &Card,
    cards: &Identities,
    helper: &Path,
    scripted: &Path,
    folder: &Path,
) -> Result<SoftHsm, Box<dyn Error>> {
    let hsm = SoftHsm::new()?;
    (card.fill)(&hsm.add_token("TEST CARD", if card.name == "canary" { CANARY_PIN } else { PIN })?, cards)?;
    if card.name.starts_with("signature") {
        hsm.add_card("TEST SIGNATURE", SIGNING_PIN, &cards.signature)?;
    }
    let mut module = hsm.module().to_owned();
    if !card.script.is_empty() {
        let copy = folder.join(format!("{}.so", card.name));
        std::fs::copy(scripted, &copy)?;
        let script = format!("module {}\n{}\n", module.display(), card.script.join("\n"));
        std::fs::write(folder.join(format!("{}.so.script", card.name)), script)?;
        module = copy;
    }
    std::fs::copy(hsm.conf(), folder.join(format!("{}.conf", card.name)))?;
    let helper = hsm.helper_wrapper(helper)?;
    let config =
        format!("pkcs11_module = {module:?}\nhelper = {helper:?}\ncard_wait = 0\ncard_after_login = \"leave\"\n");
    std::fs::write(folder.join(format!("{}.toml", card.name)), config)?;
    Ok(hsm)
}
