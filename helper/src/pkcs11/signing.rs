//! Cards to sign documents with: the token with the certificate, and signatures of hashes.

use std::time::SystemTime;

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ticketapi::cancel::CancelToken;
use ticketapi::card::certificate::{PrivateKey, chain, choose_signer};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::protocol::Reset;
use ticketapi::card::{Signer, SignerChoice};
use ticketapi::sign::{Algorithm, KeyUse};
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};

use super::card::{Pkcs11Card, SignError};
use super::error::{failed, is_lost};
use super::module::Module;
use super::objects::{self, CertificateObject, Key};
use super::token::{Missing, Token, chosen, is_wanted};
use super::{Loaded, load, lock_for_search};
use crate::pcsc::Readers;

/// A card with a certificate to sign documents with.
pub struct SigningCard {
    card: Pkcs11Card,
    signer: Signer,
    /// `CKA_ID` of the certificate.
    id: Vec<u8>,
    chain: Vec<Vec<u8>>,
    algorithm: Algorithm,
}

/// The result of a search.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub enum Search {
    Found(SigningCard),
    Absent(Missing),
}

/// Searches every token of every module for the certificate, once.
pub fn search(settings: &CardSettings, choice: &SignerChoice) -> Result<Search> {
    let _lock = lock_for_search();
    let before = Readers::now();
    let modules = match load(settings, true, &before)? {
        Loaded::Modules(modules) => modules,
        Loaded::Absent(missing) => return Ok(Search::Absent(missing)),
    };
    let (mut tokens, mut objects, mut candidates, mut problem) = (Vec::new(), Vec::new(), Vec::new(), None);
    for module in &modules {
        let slots = module.context.get_all_slots().unwrap_or_else(|error| {
            // Another module may have the card.
            problem.get_or_insert_with(|| failed(Stage::Card, &error));
            Vec::new()
        });
        for slot in slots {
            let (token, certificates, keys) = match read(module, slot, settings, choice) {
                Ok(Some(token)) => token,
                Ok(None) => continue,
                Err(error) => {
                    problem = problem.or(Some(error));
                    continue;
                }
            };
            for object in certificates {
                let has_key = |signer: Signer| keys.iter().any(|key| key.signs_for(&signer, &object.id));
                // Keys may be visible only after the login.
                let there = Signer::from_der(&object.der).is_ok_and(has_key);
                candidates.push((object.der.clone(), if there { PrivateKey::There } else { PrivateKey::Hidden }));
                objects.push((tokens.len(), object));
            }
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        modules.into_iter().for_each(Module::end);
        let no_card = || Error::new(ErrorKind::NoCard, Stage::Card, "none that signs documents was found");
        return problem.map_or_else(|| Ok(Search::Absent(Missing::without_reader(no_card(), &before))), Err);
    }
    let (index, signer) = choose_signer(&candidates, SystemTime::now(), choice)?;
    let certificates: Vec<_> = candidates.into_iter().map(|(der, _)| der).collect();
    let chain = chain(signer.der(), &certificates);
    let (token, CertificateObject { id, .. }) = objects.swap_remove(index);
    let mut token = tokens.swap_remove(token);
    // Ends their sessions.
    drop(tokens);
    token.name_reader(&before);
    let card = Pkcs11Card::new(token, modules, settings.after_login, None);
    Ok(Search::Found(SigningCard { card, signer, id, chain, algorithm: choice.algorithm }))
}

type Contents = (Token, Vec<CertificateObject>, Vec<Key>);

/// Reads the token in a slot, if there is one that may have the certificate.
fn read(module: &Module, slot: Slot, settings: &CardSettings, choice: &SignerChoice) -> Result<Option<Contents>> {
    let Ok(info) = module.context.get_token_info(slot) else { return Ok(None) };
    // The settings name the token to log in with.
    let is_chosen = choice.key != KeyUse::Login || is_wanted(settings, &info);
    if !info.token_initialized() || !is_chosen {
        return Ok(None);
    }
    let (mut token, certificates, keys) = Token::read(module, slot, &info)?;
    // The certificate to log in with gives its name to the lock of the card, which logins have too.
    token.certificate = chosen(&certificates, &keys, true, &settings.issuers).ok().map(|(certificate, _)| certificate);
    Ok(Some((token, certificates, keys)))
}

impl SigningCard {
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The card as a login knows it.
    pub fn card(&self) -> &Pkcs11Card {
        &self.card
    }

    /// Logs in and has `serve` sign hashes. The PIN is kept meanwhile, for keys that need it at each signature.
    pub fn log_in<T>(&mut self, pin: Option<Pin>, serve: impl FnOnce(&mut SigningKey<'_>) -> T) -> Result<T> {
        let Self { card, signer, id, algorithm, .. } = self;
        card.with_login(pin, &CancelToken::new(), |card, pin| {
            let keys = objects::private_keys(&card.token()?.session).map_err(|error| failed(Stage::Signing, &error))?;
            // Keys of other types may have the same id.
            let key = keys.into_iter().filter(|key| key.signs_for(signer, id)).max_by_key(|key| key.modulus.is_some());
            let key = key.ok_or_else(|| {
                let text = "the card has no private key for its certificate to sign with";
                Error::new(ErrorKind::NoKey, Stage::Signing, text)
            })?;
            Ok(serve(&mut SigningKey { card, key, pin, algorithm: *algorithm, ended: None }))
        })
    }

    /// Returns `true` if another PIN may be tried after this error.
    pub fn may_sign_again(&self, pin_pad: bool, error: &Error) -> bool {
        self.card.may_sign_again(pin_pad, error)
    }

    /// Releases the card as after a login.
    pub fn end(self) -> Reset {
        self.card.end()
    }
}

/// A key that signs, after the login.
pub struct SigningKey<'a> {
    card: &'a mut Pkcs11Card,
    key: Key,
    pin: Option<&'a AuthPin>,
    algorithm: Algorithm,
    /// Why it signs nothing more.
    ended: Option<Error>,
}

impl SigningKey<'_> {
    /// Returns the raw signature of a hash. After the card has been lost, or has refused the PIN for one signature,
    /// all others fail: the PIN is tried neither again nor with another card that has come meanwhile.
    pub fn sign(&mut self, hash: &[u8]) -> Result<Vec<u8>> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let (mechanism, data) = input(self.algorithm, hash);
        let login = self.key.always_authenticate.then_some(self.pin);
        self.card.sign_as(&mechanism, &self.key, login, &data).map_err(|error| {
            let lost = matches!(&error, SignError::Call(error) if is_lost(error));
            let error = Error::from(error);
            self.card.may_be_gone();
            if lost || error.stage() == Stage::Pin {
                self.ended = Some(error.clone());
            } else {
                // The next hash must not find this one's operation.
                self.card.renew_session();
            }
            error
        })
    }
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
