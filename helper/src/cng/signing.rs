//! Cards to sign documents with.

use std::sync::Arc;
use std::time::SystemTime;

use ticketapi::cancel::CancelToken;
use ticketapi::card::certificate::{PrivateKey, chain, choose_signer};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::protocol::Reset;
use ticketapi::card::{PinStatus, Signer, SignerChoice};
use ticketapi::sign::{Algorithm, KeyUse};
use ticketapi::{Error, Pin, Result, Stage};

use super::card::Held;
use super::error::{failed, is_lost, needs_pin};
use super::{Cards, Provider, cards, lock};
use crate::cards::{DocumentCard, Search};
use crate::hash_key::{HashKey, Refused, Signed};

/// A card with a certificate to sign documents with.
pub struct CngSigner {
    held: Held,
    choice: SignerChoice,
    signer: Signer,
    chain: Vec<Vec<u8>>,
}

/// Searches every card for the certificate, once. The serial number of the settings chooses the card to log in with
/// only.
///
/// # Errors
///
/// Those of a search through PKCS#11.
pub fn search(
    provider: Arc<dyn Provider>,
    settings: &CardSettings,
    choice: &SignerChoice,
) -> Result<Search<CngSigner>> {
    let _lock = lock(&*provider);
    let before = provider.readers();
    let every = CardSettings { token_serial: None, token_label: None, ..settings.clone() };
    let settings = if choice.key == KeyUse::Login { settings } else { &every };
    let cards = match cards(&*provider, settings, &before)? {
        Cards::Readable(cards) => cards,
        Cards::Absent(missing) => return Ok(Search::Absent(missing)),
    };
    let mut keys: Vec<_> =
        cards.into_iter().flat_map(|card| card.keys.into_iter().map(move |key| (card.reader.clone(), key))).collect();
    let candidates: Vec<_> = keys.iter().map(|(_, (_, der))| (der.clone(), PrivateKey::There)).collect();
    let (index, signer) = choose_signer(&candidates, SystemTime::now(), choice)?;
    let certificates: Vec<_> = candidates.into_iter().map(|(der, _)| der).collect();
    let (reader, (key, _)) = keys.swap_remove(index);
    let held = Held::new(provider, key, reader, signer.der(), settings.after_login, &before);
    let chain = chain(signer.der(), &certificates);
    Ok(Search::Found(CngSigner { held, choice: choice.clone(), signer, chain }))
}

impl DocumentCard for CngSigner {
    fn label(&self) -> &str {
        &self.held.reader
    }

    fn pin_status(&self) -> PinStatus {
        self.held.pin
    }

    fn reader(&self) -> Option<&str> {
        Some(&self.held.reader)
    }

    fn reset_afterwards(&self) -> Option<String> {
        self.held.reset_afterwards()
    }

    fn signer(&self) -> Option<&Signer> {
        Some(&self.signer)
    }

    fn log_in(&mut self, pin: Option<Pin>, serve: &mut dyn FnMut(&mut HashKey<'_>)) -> Result<()> {
        let Self { held, choice, signer, chain } = self;
        held.with_pin(pin.as_ref(), &CancelToken::new(), |held| {
            let mut sign = |hash: &[u8]| sign(held, pin.as_ref(), choice.algorithm, hash);
            serve(&mut HashKey::new(signer, chain, choice.verify, &mut sign));
            Ok(())
        })
    }

    fn may_sign_again(&self, _: bool, error: &Error) -> bool {
        Held::may_sign_again(error)
    }

    fn end(self) -> Reset {
        self.held.end()
    }
}

/// Signs a hash by the card's key.
fn sign(held: &mut Held, pin: Option<&Pin>, algorithm: Algorithm, hash: &[u8]) -> Signed {
    let refused = |error| Refused::new(error, false);
    let mut signed = held.key().map_err(refused)?.sign(algorithm, hash);
    // Some keys need the PIN at each signature. This one was right before.
    if let (Some(pin), true) = (pin, signed.as_ref().is_err_and(needs_pin)) {
        held.try_pin(pin).map_err(refused)?;
        signed = held.key().map_err(refused)?.sign(algorithm, hash);
    }
    signed.map_err(|error| Refused::new(failed(Stage::Signing, &error), is_lost(&error)))
}
