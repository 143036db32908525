//! A PIV card in software, for the virtual reader of `vsmartcard-vpcd`: real PC/SC without hardware.
//!
//! It supports the commands of NIST SP 800-73-4, part 2, that OpenSC needs to log in and sign. Commands are
//! counted by kind; their bytes are never shown, because they contain PINs.

mod apdu;
mod objects;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use openssl::pkey::{PKey, Private};
use openssl::rsa::Padding;

use crate::ca::CardIdentity;
use crate::error::{Context, Result};
use apdu::{Apdu, Status};

/// A card's PIN unless [`PivCard::set_pin`] changes it.
pub const DEFAULT_PIN: &str = "123456";

const MAX_TRIES: u8 = 3;

/// The kinds of commands that a card receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SELECT: selects the application; used to identify the card.
    Select,
    /// GET DATA: reads an object, such as a certificate.
    GetData,
    /// GET RESPONSE: reads the rest of a long response.
    GetResponse,
    /// VERIFY with a PIN: uses up a try.
    Verify,
    /// VERIFY without a PIN: reads the tries left.
    VerifyQuery,
    /// CHANGE REFERENCE DATA: changes the PIN; uses up a try.
    ChangePin,
    /// GENERAL AUTHENTICATE, last of its chain: signs.
    Sign,
    /// The beginning of a chained command, or an unknown command.
    Other,
}

/// How many commands of each kind the card has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the count of the command of its name")]
pub struct Counts {
    pub select: u32,
    pub get_data: u32,
    pub get_response: u32,
    pub verify: u32,
    pub verify_query: u32,
    pub change_pin: u32,
    pub sign: u32,
    pub other: u32,
    /// Resets and losses of power. Each ends the card's login.
    pub resets: u32,
}

impl Counts {
    /// The sum of all commands, without resets.
    pub fn commands(&self) -> u32 {
        let reading = self.select + self.get_data + self.get_response;
        reading + self.verify + self.verify_query + self.change_pin + self.sign + self.other
    }

    fn count(&mut self, command: Command) {
        *match command {
            Command::Select => &mut self.select,
            Command::GetData => &mut self.get_data,
            Command::GetResponse => &mut self.get_response,
            Command::Verify => &mut self.verify,
            Command::VerifyQuery => &mut self.verify_query,
            Command::ChangePin => &mut self.change_pin,
            Command::Sign => &mut self.sign,
            Command::Other => &mut self.other,
        } += 1;
    }
}

/// A fault of a card, which lasts until [`PivCard::set_fault`] removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Leaves the reader instead of answering a command of this kind.
    RemovedAt(Command),
    /// Leaves the reader instead of making the signature of this number; 1 is its first.
    RemovedAtSignature(u32),
    /// Leaves the reader instead of answering this many commands later; 1 is the next.
    RemovedAfter(u32),
    /// Answers commands of this kind with an error (6F 00).
    FailsAt(Command),
    /// Does not answer commands of this kind until it is removed.
    HangsAt(Command),
    /// Its authentication certificate cannot be read (65 81); other objects can.
    CertificateUnreadable,
    /// It is another kind of card: it does not have the PIV application (6A 82).
    NotPiv,
}

/// A card. It starts outside any reader. Dropping it removes it from its reader.
///
/// All methods may be called from any thread.
pub struct PivCard {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    objects: Vec<objects::Object>,
    authentication_key: PKey<Private>,
    signature_key: Option<PKey<Private>>,
    pin: String,
    tries_left: u8,
    counts: Counts,
    delay: Duration,
    fault: Option<Fault>,
    /// The connection to the reader while the card is in it.
    reader: Option<Arc<TcpStream>>,
    seen: bool,
    login: Login,
}

/// The state that a reset clears.
#[derive(Default)]
struct Login {
    selected: bool,
    verified: bool,
    /// The last command was VERIFY: the signature key needs the PIN each time.
    just_verified: bool,
    chain: Vec<u8>,
    rest_of_answer: Vec<u8>,
}

impl PivCard {
    /// Creates a card with this identity for logging in (key 9A), the PIN [`DEFAULT_PIN`] and three tries.
    pub fn new(authentication: &CardIdentity) -> Result<Self> {
        Self::with_signature(authentication, None)
    }

    /// Creates a card with a second identity, for signing documents (key 9C), not for logging in.
    pub fn with_signature(authentication: &CardIdentity, signature: Option<&CardIdentity>) -> Result<Self> {
        let state = State {
            objects: objects::all(authentication, signature)?,
            authentication_key: authentication.key().clone(),
            signature_key: signature.map(|identity| identity.key().clone()),
            pin: DEFAULT_PIN.into(),
            tries_left: MAX_TRIES,
            counts: Counts::default(),
            delay: Duration::ZERO,
            fault: None,
            reader: None,
            seen: false,
            login: Login::default(),
        };
        Ok(Self {
            shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }),
            thread: Mutex::new(None),
        })
    }

    /// Inserts the card into the reader that listens on this port (see [`Pcscd::port`](crate::Pcscd::port)).
    /// Removes it from its reader first.
    ///
    /// PC/SC looks for cards about twice a second; [`PivCard::wait_until_seen`] waits until it has found this one.
    pub fn insert(&self, port: u16) -> Result<()> {
        self.remove();
        let reader = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .and_then(|reader| reader.set_nodelay(true).map(|()| Arc::new(reader)))
            .context(|| format!("cannot reach the virtual reader on port {port}"))?;
        let mut state = self.shared.lock();
        state.seen = false;
        state.login = Login::default();
        state.reader = Some(Arc::clone(&reader));
        let shared = Arc::clone(&self.shared);
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::spawn(move || {
            // However this ends, the card has then left the reader.
            let _ = shared.serve(&reader);
            shared.leave();
        }));
        Ok(())
    }

    /// Removes the card at once, even during a command. Does nothing if it is in no reader.
    pub fn remove(&self) {
        self.shared.leave();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Returns `true` if the card is in a reader. It leaves the reader when the service ends.
    pub fn is_inserted(&self) -> bool {
        self.shared.lock().reader.is_some()
    }

    /// Waits until the reader has powered up the card. Returns `false` after `timeout`.
    #[must_use]
    pub fn wait_until_seen(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |state| state.seen)
    }

    /// Waits until the card has left its reader, because of a fault or because the service ended. Returns `false`
    /// after `timeout`.
    #[must_use]
    pub fn wait_until_out(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |state| state.reader.is_none())
    }

    /// Waits until the counts satisfy `wanted`. Returns `false` after `timeout`. A command is counted when it
    /// arrives, before it is answered.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&Counts) -> bool) -> bool {
        self.wait_until(timeout, |state| wanted(&state.counts))
    }

    fn wait_until(&self, timeout: Duration, wanted: impl Fn(&State) -> bool) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, |state| !wanted(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many commands the card has received.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// How many tries the PIN has left.
    pub fn tries_left(&self) -> u8 {
        self.shared.lock().tries_left
    }

    /// Sets the tries left, 0 to 3; 0 locks the card.
    pub fn set_tries_left(&self, tries: u8) {
        self.shared.lock().tries_left = tries.min(MAX_TRIES);
    }

    /// Changes the PIN (8 bytes at most), as an administrator would.
    pub fn set_pin(&self, pin: &str) {
        pin.clone_into(&mut self.shared.lock().pin);
    }

    /// Returns `true` while somebody is logged in to the card.
    pub fn is_verified(&self) -> bool {
        self.shared.lock().login.verified
    }

    /// Delays the answer to each command.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Sets a fault; `None` removes it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.lock().fault = fault;
    }
}

impl Drop for PivCard {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) {
        let mut state = self.lock();
        if let Some(reader) = state.reader.take() {
            let _ = reader.shutdown(Shutdown::Both);
        }
        state.login = Login::default();
        drop(state);
        self.changed.notify_all();
    }

    /// Answers the reader until the card leaves. The messages are vpcd's: a length in two bytes, big-endian, and
    /// that many bytes. A message of one byte controls the card's power.
    fn serve(&self, reader: &TcpStream) -> io::Result<()> {
        let (mut input, mut output) = (reader, reader);
        loop {
            let mut length = [0; 2];
            acknowledge_at_once(reader);
            input.read_exact(&mut length)?;
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            input.read_exact(&mut message)?;
            let answer = match *message {
                [4] => {
                    self.lock().seen = true;
                    objects::ATR.to_vec()
                }
                [_] => {
                    let mut state = self.lock();
                    state.login = Login::default();
                    state.counts.resets += 1;
                    drop(state);
                    self.changed.notify_all();
                    continue;
                }
                _ => match self.answer(&message) {
                    Some(answer) => answer,
                    None => return Ok(()),
                },
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?.to_be_bytes();
            output.write_all(&[&length, &*answer].concat())?;
            self.changed.notify_all();
        }
    }

    /// Answers a command. Returns `None` if the card leaves instead.
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let Some(apdu) = Apdu::read(message) else {
            state.counts.count(Command::Other);
            return Some(Status::WRONG_LENGTH.to_vec());
        };
        let command = apdu.command();
        state.counts.count(command);
        self.changed.notify_all();
        let delay = state.delay;
        let gone = |state: &mut State| state.reader.is_none();
        if !delay.is_zero() {
            state = self
                .changed
                .wait_timeout_while(state, delay, |state| !gone(state))
                .map_or_else(|e| e.into_inner().0, |w| w.0);
        }
        match state.fault {
            Some(Fault::HangsAt(kind)) if kind == command => {
                drop(self.changed.wait_while(state, |state| !gone(state)));
                return None;
            }
            Some(Fault::RemovedAt(kind)) if kind == command => return None,
            Some(Fault::RemovedAtSignature(number)) if command == Command::Sign && state.counts.sign == number => {
                return None;
            }
            Some(Fault::RemovedAfter(0 | 1)) => {
                state.fault = None;
                return None;
            }
            Some(Fault::RemovedAfter(count)) => state.fault = Some(Fault::RemovedAfter(count - 1)),
            Some(Fault::FailsAt(kind)) if kind == command => return Some(Status::FAILED.to_vec()),
            _ => {}
        }
        if gone(&mut state) { None } else { Some(state.process(command, &apdu)) }
    }
}

/// Sends acknowledgements without delay. vpcd sends length and message separately, and the second waits up to 40
/// ms for the acknowledgement of the first. Linux resets the option with each packet.
fn acknowledge_at_once(reader: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_quickack(reader, true);
    #[cfg(not(target_os = "linux"))]
    let _ = reader;
}

impl State {
    fn process(&mut self, command: Command, apdu: &Apdu<'_>) -> Vec<u8> {
        let just_verified = std::mem::take(&mut self.login.just_verified);
        if apdu.is_chained() {
            self.login.chain.extend_from_slice(apdu.data);
            self.login.just_verified = just_verified;
            return Status::OK.to_vec();
        }
        let data = [&*std::mem::take(&mut self.login.chain), apdu.data].concat();
        if command != Command::GetResponse {
            self.login.rest_of_answer.clear();
        }
        if command != Command::Select && !self.login.selected {
            return Status::NOT_SUPPORTED.to_vec();
        }
        let done = match command {
            Command::Select => self.select(&data),
            Command::GetData => self.get_data(&data),
            Command::GetResponse => Ok(std::mem::take(&mut self.login.rest_of_answer)),
            Command::VerifyQuery => {
                if self.login.verified {
                    Ok(Vec::new())
                } else {
                    Err(self.tries())
                }
            }
            Command::Verify => self.verify(&data),
            Command::ChangePin => self.change_pin(&data),
            Command::Sign => self.sign(apdu.p2, &data, just_verified),
            Command::Other => Err(Status::NOT_SUPPORTED),
        };
        match done {
            Ok(answer) => self.send(answer, apdu.expected),
            Err(status) => status.to_vec(),
        }
    }

    /// Returns as much of the response as was asked for, and a status with the length of the rest.
    fn send(&mut self, mut answer: Vec<u8>, expected: usize) -> Vec<u8> {
        let rest = answer.split_off(expected.min(answer.len()));
        let status = if rest.is_empty() { Status::OK } else { Status::more(rest.len()) };
        self.login.rest_of_answer = rest;
        [answer, status.to_vec()].concat()
    }

    fn select(&mut self, name: &[u8]) -> std::result::Result<Vec<u8>, Status> {
        // Names may be truncated, down to the issuer's part.
        if self.fault == Some(Fault::NotPiv) || name.len() < 5 || !objects::APPLICATION.starts_with(name) {
            return Err(Status::NOT_FOUND);
        }
        self.login.selected = true;
        Ok(objects::application_template())
    }

    fn get_data(&self, data: &[u8]) -> std::result::Result<Vec<u8>, Status> {
        let [0x5c, length, tag @ ..] = data else { return Err(Status::WRONG_DATA) };
        if usize::from(*length) != tag.len() {
            return Err(Status::WRONG_DATA);
        }
        if self.fault == Some(Fault::CertificateUnreadable) && tag == objects::AUTHENTICATION_CERTIFICATE {
            return Err(Status::MEMORY_FAILURE);
        }
        let object = self.objects.iter().find(|object| object.tag == tag);
        object.map(|object| object.content.clone()).ok_or(Status::NOT_FOUND)
    }

    fn tries(&self) -> Status {
        if self.tries_left == 0 { Status::BLOCKED } else { Status::tries_left(self.tries_left) }
    }

    fn verify(&mut self, padded: &[u8]) -> std::result::Result<Vec<u8>, Status> {
        self.login.verified = false;
        if self.tries_left == 0 {
            return Err(Status::BLOCKED);
        }
        if padded != objects::padded_pin(&self.pin) {
            self.tries_left -= 1;
            return Err(Status::tries_left(self.tries_left));
        }
        self.tries_left = MAX_TRIES;
        self.login.verified = true;
        self.login.just_verified = true;
        Ok(Vec::new())
    }

    fn change_pin(&mut self, data: &[u8]) -> std::result::Result<Vec<u8>, Status> {
        let (old, new) = data.split_at_checked(8).ok_or(Status::WRONG_DATA)?;
        let new = objects::unpadded_pin(new).ok_or(Status::WRONG_DATA)?;
        self.verify(old)?;
        self.pin = new;
        Ok(Vec::new())
    }

    /// A raw RSA private-key operation; the host has padded the digest (SP 800-73-4, part 2, 3.2.4).
    fn sign(&self, key: u8, data: &[u8], just_verified: bool) -> std::result::Result<Vec<u8>, Status> {
        let (key, allowed) = match (key, &self.signature_key) {
            (0x9a, _) => (&self.authentication_key, self.login.verified),
            (0x9c, Some(key)) => (key, self.login.verified && just_verified),
            _ => return Err(Status::NOT_FOUND),
        };
        if !allowed {
            return Err(Status::NOT_ALLOWED);
        }
        let padded = objects::value_to_sign(data).ok_or(Status::WRONG_DATA)?;
        let rsa = key.rsa().map_err(|_| Status::FAILED)?;
        let mut signature = vec![0; rsa.size() as usize];
        rsa.private_encrypt(padded, &mut signature, Padding::NONE).map_err(|_| Status::WRONG_DATA)?;
        Ok(objects::tlv(0x7c, &objects::tlv(0x82, &signature)))
    }
}
