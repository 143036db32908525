//! From the card helper to the PIN counter. Everything here is seen by the helper; nothing of a card
//! maker's is loaded into this process.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ticketapi::card::examination::{Examination, Holds, Reader, Slot, SlotHolds, examine};
use ticketapi::card::helper::{HelperReader, HelperSettings, find_helper, lock_fault};
use ticketapi::card::pkcs11::{AfterLogin, CardSettings, modules_for};
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::card::{CardReader, Certificate, PinStatus, PinTries, SmartCard};
use ticketapi::{Config, Error, ErrorKind, Result, Stage};

use super::{Chain, Finding, words};

/// How many days before a certificate's end it should be renewed.
const RENEWAL_DAYS: u64 = 90;

const DAY: u64 = 24 * 60 * 60;

/// What has been seen so far.
#[derive(Default)]
pub struct CardFacts {
    helper: PathBuf,
    readers: Vec<Reader>,
    modules: Option<Vec<Module>>,
    token: Option<Token>,
}

/// The token that a login uses.
struct Token {
    label: String,
    /// `None` if it is visible only after the login.
    certificate: Result<Option<Certificate>>,
    pin: PinStatus,
}

struct Module {
    path: PathBuf,
    slots: Result<Vec<Slot>>,
}

impl Chain<'_> {
    fn examine(&self, module: Option<&Path>) -> Result<Examination> {
        let Config { certificate_issuers, card_timeout, .. } = &self.config;
        examine(&self.card.helper, module, certificate_issuers, *card_timeout, self.cancel)
    }

    /// The modules that a login uses, each examined once.
    fn modules(&mut self) -> &[Module] {
        let seen = self.card.modules.take().unwrap_or_else(|| {
            modules(&self.config).into_iter().map(|path| Module { slots: self.slots(&path), path }).collect()
        });
        self.card.modules.insert(seen)
    }

    /// Searches for the card as a login does, by the same rules.
    fn search(&mut self) -> Result<Box<dyn SmartCard>> {
        let modules = self.modules().iter().map(|module| module.path.clone()).collect();
        let config = &self.config;
        let card = CardSettings {
            modules,
            token_label: config.token_label.clone(),
            token_serial: config.token_serial.clone(),
            issuers: config.certificate_issuers.clone(),
            after_login: AfterLogin::Leave,
        };
        let settings = HelperSettings { program: self.card.helper.clone(), card, deadline: config.card_timeout };
        HelperReader::new(settings).wait_for_card(Duration::ZERO, &mut |_| {}, self.cancel)
    }

    fn slots(&self, module: &Path) -> Result<Vec<Slot>> {
        match self.examine(Some(module))? {
            Examination::Slots(slots) => Ok(slots),
            other => Err(unexpected(&other)),
        }
    }

    /// What is wrong with the reader does not matter to a token in software.
    fn unless_in_software(&mut self, finding: Finding) -> Finding {
        let in_software = |slot: &Slot| !slot.may_be_reader && matches!(slot.holds, SlotHolds::Token(_));
        if self.modules().iter().flat_map(|module| &module.slots).flatten().any(in_software) {
            return Finding::not_needed(words::not_needed(&finding.sentence));
        }
        finding
    }

    fn card_in_file(&self) -> Option<Finding> {
        self.config.software_card.as_ref().map(|_| Finding::not_needed(words::software_card()))
    }
}

/// The paths of the modules.
fn modules(config: &Config) -> Vec<PathBuf> {
    modules_for(config.pkcs11_module.as_deref())
}

fn unexpected(examination: &Examination) -> Error {
    let detail = format!("the card helper told something else than it was asked for: {examination:?}");
    Error::new(ErrorKind::Internal, Stage::Card, detail)
}

pub fn helper(chain: &mut Chain<'_>) -> Finding {
    if let Some(finding) = chain.card_in_file() {
        return finding;
    }
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
    match find_helper(chain.config.helper.as_deref(), &modules(&chain.config), beside.as_slice()) {
        Ok(helper) => {
            let found = words::path(&helper);
            chain.card.helper = helper;
            match lock_fault() {
                None => Finding::ok(found),
                Some(fault) => Finding::warning(words::no_turns(&fault), words::TURNS_REMEDY),
            }
        }
        Err(error) => error.into(),
    }
}

pub fn service(chain: &mut Chain<'_>) -> Finding {
    if let Some(finding) = chain.card_in_file() {
        return finding;
    }
    match chain.examine(None) {
        Ok(Examination::Readers(readers)) => {
            chain.card.readers = readers;
            Finding::ok(words::service())
        }
        Ok(other) => unexpected(&other).into(),
        Err(error) if *error.kind() == ErrorKind::ReaderNotAvailable => chain.unless_in_software(error.into()),
        Err(error) => error.into(),
    }
}

pub fn reader(chain: &mut Chain<'_>) -> Finding {
    if let Some(finding) = chain.card_in_file() {
        return finding;
    }
    let readers = &chain.card.readers;
    if let Some(broken) = readers.iter().find(|reader| reader.holds == Holds::Broken) {
        let sentence = words::reader_broken(&broken.name);
        return Finding::failed(ErrorKind::ReaderNotAvailable, sentence).with_remedy(words::BROKEN_REMEDY);
    }
    if readers.is_empty() {
        return chain.unless_in_software(Finding::failed(ErrorKind::ReaderNotAvailable, words::no_reader()));
    }
    let names: Vec<_> = readers.iter().map(|reader| reader.name.as_str()).collect();
    Finding::ok(words::readers(&names))
}

pub fn card(chain: &mut Chain<'_>) -> Finding {
    if let Some(file) = &chain.config.software_card {
        let reader = SoftwareCardReader::new(file.clone());
        let found = reader.wait_for_card(Duration::ZERO, &mut |_| {}, chain.cancel);
        return found.map(|_| Finding::ok(words::card_in_file(file))).into();
    }
    let readers = &chain.card.readers;
    if let Some(mute) = readers.iter().find(|reader| reader.holds == Holds::Mute) {
        let sentence = words::card_mute(&mute.name);
        return Finding::failed(ErrorKind::CardNotSupported, sentence).with_remedy(words::MUTE_REMEDY);
    }
    if let Some(taken) = readers.iter().find(|reader| matches!(reader.holds, Holds::Taken(_))) {
        return Finding::warning(words::card_taken(&taken.name), words::TAKEN_REMEDY);
    }
    let cards: Vec<_> = readers
        .iter()
        .filter_map(|reader| match &reader.holds {
            Holds::Card(atr) => Some(words::card(&reader.name, atr)),
            _ => None,
        })
        .collect();
    if cards.is_empty() {
        return chain.unless_in_software(Finding::failed(ErrorKind::NoCard, words::no_card()));
    }
    Finding::ok(cards.join("; "))
}

pub fn module(chain: &mut Chain<'_>) -> Finding {
    if let Some(finding) = chain.card_in_file() {
        return finding;
    }
    let modules = chain.modules();
    if modules.is_empty() {
        return Finding::failed(ErrorKind::NotInstalled, words::no_module());
    }
    let (mut loaded, mut others, mut worst) = (Vec::new(), Vec::new(), None);
    for Module { path, slots } in modules {
        match slots {
            Ok(_) => loaded.push(words::module(path)),
            Err(error) => {
                others.push(words::module_failed(path, error.detail()));
                // One that hangs or crashes takes the others along in a login.
                if worst.is_none() || *error.kind() != ErrorKind::NotInstalled {
                    worst = Some(error.kind().clone());
                }
            }
        }
    }
    match worst {
        Some(kind) if loaded.is_empty() || kind != ErrorKind::NotInstalled => Finding::failed(kind, others.join("; ")),
        _ => Finding::ok(words::modules(&loaded, &others)),
    }
}

pub fn token(chain: &mut Chain<'_>) -> Finding {
    if let Some(finding) = chain.card_in_file() {
        return finding;
    }
    let searched = chain.search();
    let config = &chain.config;
    let allowed = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted.trim() == is);
    let label = searched.as_ref().ok().map(|card| card.label().to_owned());
    let label = label.or_else(|| config.token_label.clone());
    let slots = chain.card.modules.iter().flatten().flat_map(|module| &module.slots).flatten();
    let mut tokens = slots.filter_map(|slot| match &slot.holds {
        SlotHolds::Token(token) => Some(token),
        _ => None,
    });
    let shown = tokens.find(|token| allowed(&label, &token.label) && allowed(&config.token_serial, &token.serial));
    let token = match (searched, shown) {
        (Ok(card), _) => Token {
            label: card.label().to_owned(),
            certificate: Ok(card.certificate().cloned()),
            pin: card.pin_status(),
        },
        // The token is there. What is wrong with its certificate is the next check's.
        (Err(error), Some(shown)) if is_about_certificate(error.kind()) => {
            Token { label: shown.label.clone(), certificate: Err(error), pin: shown.pin }
        }
        (Err(error), _) => return error.into(),
    };
    let finding = Finding::ok(words::token(&token.label, shown.map(|shown| shown.serial.as_str())));
    chain.card.token = Some(token);
    finding
}

fn is_about_certificate(kind: &ErrorKind) -> bool {
    use ErrorKind::{CertificateNotValid, KeyNotSupported, NoCertificate, NoKey};
    matches!(kind, CertificateNotValid | KeyNotSupported | NoCertificate | NoKey)
}

pub fn certificate(chain: &mut Chain<'_>) -> Finding {
    let Some(token) = &mut chain.card.token else { return Finding::not_needed(words::only_with_pin()) };
    // Only here is it asked for.
    match std::mem::replace(&mut token.certificate, Ok(None)) {
        Ok(Some(certificate)) => judge(&certificate, SystemTime::now()),
        Ok(None) => Finding::warning(words::certificate_hidden(), words::HIDDEN_REMEDY),
        Err(error) => error.into(),
    }
}

fn judge(certificate: &Certificate, now: SystemTime) -> Finding {
    let left = certificate.valid_until().duration_since(now).unwrap_or_default();
    match left.as_secs() / DAY {
        days @ ..RENEWAL_DAYS => Finding::warning(words::certificate_ends(certificate, days), words::RENEWAL_REMEDY),
        _ => Finding::ok(words::certificate(certificate)),
    }
}

pub fn pin(chain: &mut Chain<'_>) -> Finding {
    let Some(Token { label, pin, .. }) = &chain.card.token else { return Finding::not_needed(words::only_with_pin()) };
    match pin.tries {
        PinTries::Locked => Finding::failed(ErrorKind::PinLocked, words::pin_locked(label)),
        PinTries::Last => Finding::warning(words::pin_last(label), words::LAST_TRY_REMEDY),
        PinTries::Low => Finding::warning(words::pin_low(label), words::TRIES_REMEDY),
        _ => Finding::ok(words::pin_unknown()),
    }
}
