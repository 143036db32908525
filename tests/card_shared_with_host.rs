//! The host uses the card's module and the card itself in its own process while the library logs in with them
//! through the helper. Alone in its test program, because the module is loaded into it.
//!
//! `TICKETAPI_TEST_ROUNDS=50` makes it 1,000 logins.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::types::AuthPin;
use support::{Desk, PIN, UID, User};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardSpec, SoftHsm};

const THREADS: usize = 8;

/// A session of the host, with the key that it found at its start.
struct HostSession {
    session: Session,
    key: ObjectHandle,
}

impl HostSession {
    fn begin(module: &Pkcs11) -> Self {
        let slot = module.get_slots_with_initialized_token().unwrap()[0];
        let session = module.open_ro_session(slot).unwrap();
        // A login is for all sessions: the first one does it for the others.
        if session.get_session_info().unwrap().session_state() == SessionState::RoPublic {
            session.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
        }
        let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
        Self { session, key }
    }

    /// Checks that the session is still logged in, and its handles valid, by signing.
    fn sign(&self) {
        assert_eq!(self.session.get_session_info().unwrap().session_state(), SessionState::RoUser);
        let signature = self.session.sign(&Mechanism::Sha256RsaPkcs, self.key, b"a prescription").unwrap();
        assert_eq!(signature.len(), 256);
    }
}

#[test]
fn logins_and_a_host_that_uses_the_same_card_do_not_disturb_each_other() {
    let rounds = std::env::var("TICKETAPI_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let (desk, hsm) = (Desk::new(), SoftHsm::new().unwrap());
    hsm.add_card("card", PIN, &desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
    // The same module in the host and in the helper. Its script sets the variable that names the token.
    let module = desk.path("module.so");
    fs::copy(scripted_module(), &module).unwrap();
    let script = format!("module {}\nenv SOFTHSM2_CONF {}\n", hsm.module().display(), hsm.conf().display());
    fs::write(desk.path("module.so.script"), script).unwrap();
    let mut desk = desk.set("pkcs11_module", module.to_str().unwrap());
    desk.config.software_card = None;
    desk.config.helper = Some(helper_program());

    let host = Pkcs11::new(&module).unwrap();
    host.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let sessions: Vec<_> = (0..THREADS).map(|_| HostSession::begin(&host)).collect();

    let (ended, signatures) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // The sessions move to their threads and stay open until the last login.
        let threads: Vec<_> = sessions
            .into_iter()
            .map(|session| {
                scope.spawn(|| {
                    let session = session;
                    while !ended.load(Ordering::Relaxed) {
                        session.sign();
                        signatures.fetch_add(1, Ordering::Relaxed);
                    }
                    session
                })
            })
            .collect();
        let end = EndOnDrop(&ended);
        let engine = desk.engine(&User::typing(&vec![PIN; 20 * rounds]));
        for _ in 0..20 * rounds {
            engine.get_ticket().unwrap();
            engine.destroy_ticket().unwrap();
        }
        drop(end);
        for thread in threads {
            thread.join().unwrap().sign();
        }
    });
    assert!(signatures.into_inner() > THREADS);
    assert_eq!(desk.spine.open_sessions(), 0);
    host.finalize().unwrap();
}

/// Ends the threads even if the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
