//! Cards to sign documents with: the token with the certificate, and signatures of hashes.

use std::time::SystemTime;

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ticketapi::cancel::CancelToken;
use ticketapi::card::certificate::{PrivateKey, chain, choose_signer};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::protocol::Reset;
use ticketapi::card::{PinStatus, Signer, SignerChoice, SmartCard};
use ticketapi::sign::{Algorithm, KeyUse};
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};

use super::card::{Pkcs11Card, SignError};
use super::error::{failed, is_lost};
use super::module::Module;
use super::objects::{self, CertificateObject, Key};
use super::token::{Token, chosen, is_wanted};
use super::{Loaded, load, lock_for_search};
use crate::cards::{DocumentCard, LoginCard, Missing, Search};
use crate::hash_key::{HashKey, Refused, Signed};
use crate::pcsc::Readers;

/// A card with a certificate to sign documents with.
pub struct SigningCard {
    card: Pkcs11Card,
    choice: SignerChoice,
    /// `None` before the login if reading it needs the PIN.
    chosen: Option<Chosen>,
}

/// The certificate to sign with.
struct Chosen {
    signer: Signer,
    /// `CKA_ID` of the certificate.
    id: Vec<u8>,
    chain: Vec<Vec<u8>>,
}

/// Searches every token of every module for the certificate, once.
pub fn search(settings: &CardSettings, choice: &SignerChoice) -> Result<Search<SigningCard>> {
    let _lock = lock_for_search();
    let before = Readers::now();
    let modules = match load(settings, true, &before)? {
        Loaded::Modules(modules) => modules,
        Loaded::Absent(missing) => return Ok(Search::Absent(missing)),
    };
    let (mut tokens, mut objects, mut candidates, mut problem) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut hidden = Vec::new();
    for module in &modules {
        let slots = module.context.get_all_slots().unwrap_or_else(|error| {
            // Another module may have the card.
            problem.get_or_insert_with(|| failed(Stage::Card, &error));
            Vec::new()
        });
        for slot in slots {
            let Contents { token, certificates, keys, is_for_login } = match read(module, slot, settings, choice) {
                Ok(Some(contents)) => contents,
                Ok(None) => continue,
                Err(error) => {
                    problem = problem.or(Some(error));
                    continue;
                }
            };
            if certificates.is_empty() {
                hidden.push((tokens.len(), is_for_login));
            }
            for object in certificates {
                // Keys may be visible only after the login.
                candidates.push(candidate(&object, &keys, PrivateKey::Hidden));
                objects.push((tokens.len(), object.id));
            }
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        modules.into_iter().for_each(Module::end);
        let no_card = || Error::new(ErrorKind::NoCard, Stage::Card, "none that signs documents was found");
        return problem.map_or_else(|| Ok(Search::Absent(Missing::without_reader(no_card(), &before))), Err);
    }
    let (token, chosen) = match choose_signer(&candidates, SystemTime::now(), choice) {
        Ok((index, signer)) => {
            let (token, id) = objects.swap_remove(index);
            (token, Some(Chosen::new(signer, id, candidates)))
        }
        Err(error) if *error.kind() == ErrorKind::NoCertificate => (hidden_token(&tokens, hidden)?.ok_or(error)?, None),
        Err(error) => return Err(error),
    };
    let mut token = tokens.swap_remove(token);
    // Ends their sessions.
    drop(tokens);
    token.name_reader(&before);
    let card = Pkcs11Card::new(token, modules, settings.after_login, None);
    Ok(Search::Found(SigningCard { card, choice: choice.clone(), chosen }))
}

/// What a token shows before the login.
struct Contents {
    token: Token,
    certificates: Vec<CertificateObject>,
    keys: Vec<Key>,
    /// The settings name it as the one to log in with.
    is_for_login: bool,
}

/// Reads the token in a slot, if there is one that may have the certificate.
fn read(module: &Module, slot: Slot, settings: &CardSettings, choice: &SignerChoice) -> Result<Option<Contents>> {
    let Ok(info) = module.context.get_token_info(slot) else { return Ok(None) };
    let is_wanted = is_wanted(settings, &info);
    if !info.token_initialized() || choice.key == KeyUse::Login && !is_wanted {
        return Ok(None);
    }
    let (mut token, certificates, keys) = Token::read(module, slot, &info)?;
    // The certificate to log in with gives its name to the lock of the card, which logins have too.
    token.certificate = chosen(&certificates, &keys, true, &settings.issuers).ok().map(|(certificate, _)| certificate);
    let is_for_login = is_wanted && (settings.token_label.is_some() || settings.token_serial.is_some());
    Ok(Some(Contents { token, certificates, keys, is_for_login }))
}

/// Returns the token that shows no certificate before the login. If there are several, the one that the settings
/// name to log in with does not count: a PIN must not be tried with the wrong token.
fn hidden_token(tokens: &[Token], mut hidden: Vec<(usize, bool)>) -> Result<Option<usize>> {
    if hidden.len() > 1 {
        hidden.retain(|(_, is_for_login)| !is_for_login);
    }
    if hidden.len() > 1 {
        let labels: Vec<_> = hidden.iter().map(|(index, _)| format!("\"{}\"", tokens[*index].label)).collect();
        let detail = format!("several cards show no certificate before the PIN is entered: {}", labels.join(", "));
        return Err(Error::new(ErrorKind::SeveralCards, Stage::Card, detail));
    }
    Ok(hidden.first().map(|(index, _)| *index))
}

/// Returns a certificate as a candidate to sign with. A key that is missing from `keys` is `otherwise`.
fn candidate(object: &CertificateObject, keys: &[Key], otherwise: PrivateKey) -> (Vec<u8>, PrivateKey) {
    let has_key = |signer: Signer| keys.iter().any(|key| key.signs_for(&signer, &object.id));
    let there = Signer::from_der(&object.der).is_ok_and(has_key);
    (object.der.clone(), if there { PrivateKey::There } else { otherwise })
}

impl Chosen {
    fn new(signer: Signer, id: Vec<u8>, candidates: Vec<(Vec<u8>, PrivateKey)>) -> Self {
        let certificates: Vec<_> = candidates.into_iter().map(|(der, _)| der).collect();
        Self { chain: chain(signer.der(), &certificates), signer, id }
    }

    /// Chooses among the certificates that are visible after the login.
    fn after_login(session: &Session, keys: &[Key], choice: &SignerChoice) -> Result<Self> {
        let objects = objects::certificates(session).map_err(|error| failed(Stage::Signing, &error))?;
        let candidates: Vec<_> = objects.iter().map(|object| candidate(object, keys, PrivateKey::Absent)).collect();
        let (index, signer) = choose_signer(&candidates, SystemTime::now(), choice)
            .map_err(|error| Error::new(error.kind().clone(), Stage::Signing, error.detail()))?;
        Ok(Self::new(signer, objects[index].id.clone(), candidates))
    }
}

impl DocumentCard for SigningCard {
    fn label(&self) -> &str {
        self.card.label()
    }

    fn pin_status(&self) -> PinStatus {
        self.card.pin_status()
    }

    fn reader(&self) -> Option<&str> {
        self.card.reader()
    }

    fn reset_afterwards(&self) -> Option<String> {
        self.card.reset_afterwards()
    }

    fn signer(&self) -> Option<&Signer> {
        self.chosen.as_ref().map(|chosen| &chosen.signer)
    }

    fn log_in(&mut self, pin: Option<Pin>, serve: &mut dyn FnMut(&mut HashKey<'_>)) -> Result<()> {
        let Self { card, choice, chosen } = self;
        card.with_login(pin, &CancelToken::new(), |card, pin| {
            let session = &card.token()?.session;
            let keys = objects::private_keys(session).map_err(|error| failed(Stage::Signing, &error))?;
            let Chosen { signer, id, chain } = match chosen {
                Some(chosen) => chosen,
                None => chosen.insert(Chosen::after_login(session, &keys, choice)?),
            };
            // Keys of other types may have the same id.
            let key = keys.into_iter().filter(|key| key.signs_for(signer, id)).max_by_key(|key| key.modulus.is_some());
            let key = key.ok_or_else(|| {
                let text = "the card has no private key for its certificate to sign with";
                Error::new(ErrorKind::NoKey, Stage::Signing, text)
            })?;
            let login = key.always_authenticate.then_some(pin);
            let mut sign = |hash: &[u8]| sign(card, &key, login, choice.algorithm, hash);
            serve(&mut HashKey::new(signer, chain, choice.verify, &mut sign));
            Ok(())
        })
    }

    fn may_sign_again(&self, pin_pad: bool, error: &Error) -> bool {
        self.card.may_sign_again(pin_pad, error)
    }

    fn end(self) -> Reset {
        self.card.end()
    }
}

/// Signs a hash by a key of the card. `login` is the PIN for a key that needs it at each signature.
fn sign(
    card: &mut Pkcs11Card,
    key: &Key,
    login: Option<Option<&AuthPin>>,
    algorithm: Algorithm,
    hash: &[u8],
) -> Signed {
    let (mechanism, data) = input(algorithm, hash);
    card.sign_as(&mechanism, key, login, &data).map_err(|error| {
        let lost = matches!(&error, SignError::Call(error) if is_lost(error));
        let refused = Refused::new(error.into(), lost);
        card.may_be_gone();
        if !refused.is_last() {
            // The next hash must not find this one's operation.
            card.renew_session();
        }
        refused
    })
}

/// Returns the mechanism and what it signs.
fn input(algorithm: Algorithm, hash: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    match algorithm {
        Algorithm::Ps256 => {
            let parameters =
                PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32.into() };
            (Mechanism::RsaPkcsPss(parameters), hash.to_vec())
        }
        _ if algorithm.is_ecdsa() => (Mechanism::Ecdsa, hash.to_vec()),
        _ => (Mechanism::RsaPkcs, algorithm.digest_info(hash)),
    }
}
