//! The virtual card in a private PC/SC service, as OpenSC sees it.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use ticketapi_testkit::piv::{DEFAULT_PIN, Fault};
use ticketapi_testkit::{CardIdentity, CardSpec, Pcscd, PivCard, TestCa, piv};

const LONG: Duration = Duration::from_secs(30);

struct Desk {
    // First, so that the card is removed before the service ends.
    card: PivCard,
    pcscd: Pcscd,
    identity: CardIdentity,
    folder: tempfile::TempDir,
}

impl Desk {
    /// A card in the first reader, with a second certificate for signing documents as a decoy.
    fn new() -> Self {
        Self::with_key_bits(2048)
    }

    fn with_key_bits(bits: u32) -> Self {
        let ca = TestCa::new().unwrap();
        let identity = ca.issue(&CardSpec::default().key_bits(bits)).unwrap();
        let decoy = ca.issue(&CardSpec::default().key_number(1).for_signing()).unwrap();
        let pcscd = Pcscd::start().unwrap();
        let card = PivCard::with_signature(&identity, Some(&decoy)).unwrap();
        card.insert(pcscd.port()).unwrap();
        assert!(card.wait_until_seen(LONG));
        Self { card, pcscd, identity, folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("PCSCLITE_CSOCK_NAME", self.pcscd.socket());
        command
    }

    fn pkcs11(&self, arguments: &[&str]) -> Output {
        self.command("pkcs11-tool", arguments).output().unwrap()
    }

    fn start_signing(&self, pin: &str) -> (Child, PathBuf) {
        let (message, signature) = (self.folder.path().join("message"), self.folder.path().join("signature"));
        std::fs::write(&message, "challenge").unwrap();
        let child = self
            .command("pkcs11-tool", &["--login", "--pin", pin, "--id", "01", "--sign", "-m", "SHA1-RSA-PKCS"])
            .args(["-i".as_ref(), message.as_os_str(), "-o".as_ref(), signature.as_os_str()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (child, signature)
    }

    /// Returns the signature or the error.
    fn sign(&self, pin: &str) -> Result<Vec<u8>, String> {
        let (child, signature) = self.start_signing(pin);
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(std::fs::read(signature).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn readers(&self) -> String {
        text(&self.command("opensc-tool", &["-l"]).output().unwrap())
    }

    fn flags(&self) -> String {
        text(&self.pkcs11(&["-L"]))
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn opensc_lists_both_certificates_and_signs_with_keys_of_each_length() {
    for bits in [1024, 2048, 3072] {
        let desk = Desk::with_key_bits(bits);
        let objects = text(&desk.pkcs11(&["--login", "--pin", DEFAULT_PIN, "-O"]));
        assert_eq!(objects.matches("Certificate Object").count(), 2, "{objects}");
        assert_eq!(objects.matches("Private Key Object").count(), 2, "{objects}");
        let signature = desk.sign(DEFAULT_PIN).unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha1(), desk.identity.key()).unwrap();
        assert!(verifier.verify_oneshot(&signature, b"challenge").unwrap(), "{bits}");
    }
}

#[test]
fn each_wrong_pin_uses_up_one_try_and_the_third_locks_the_card() {
    let desk = Desk::new();
    for left in [2, 1, 0] {
        assert!(desk.sign("654321").unwrap_err().contains("CKR_PIN_"));
        assert_eq!(desk.card.tries_left(), left);
    }
    assert_eq!(desk.card.counts().verify, 3);
    assert!(desk.flags().contains("user PIN locked"), "{}", desk.flags());
    assert!(desk.sign(DEFAULT_PIN).unwrap_err().contains("CKR_PIN_LOCKED"));
    desk.card.set_tries_left(1);
    assert!(desk.flags().contains("final user PIN try"), "{}", desk.flags());
    desk.sign(DEFAULT_PIN).unwrap();
    assert_eq!(desk.card.tries_left(), 3);
}

#[test]
fn the_pin_can_be_changed_by_its_owner_and_by_the_test() {
    let desk = Desk::new();
    let change = ["--login", "--pin", DEFAULT_PIN, "--change-pin", "--new-pin", "87654321"];
    let output = desk.pkcs11(&change);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(desk.card.counts().change_pin, 1);
    desk.sign("87654321").unwrap();
    desk.card.set_pin("1234");
    assert!(desk.sign("87654321").is_err());
}

#[test]
fn insertion_and_removal_are_seen_in_both_readers() {
    let desk = Desk::new();
    assert!(desk.readers().contains("0    Yes             Virtual PCD 00 00"), "{}", desk.readers());
    desk.card.remove();
    let until = std::time::Instant::now() + LONG;
    while desk.readers().contains("Yes") {
        assert!(std::time::Instant::now() < until, "the removal went unseen");
    }
    desk.card.insert(desk.pcscd.second_port()).unwrap();
    assert!(desk.card.wait_until_seen(LONG));
    assert!(desk.readers().contains("1    Yes             Virtual PCD 00 01"), "{}", desk.readers());
}

#[test]
fn a_card_that_is_removed_while_it_signs_fails_the_signature() {
    let desk = Desk::new();
    desk.card.set_fault(Some(Fault::RemovedAt(piv::Command::Sign)));
    assert!(desk.sign(DEFAULT_PIN).is_err());
    assert!(desk.card.wait_until_out(LONG));
    assert!(!desk.card.is_inserted());
    desk.card.set_fault(None);
    desk.card.insert(desk.pcscd.port()).unwrap();
    assert!(desk.card.wait_until_seen(LONG));
    desk.sign(DEFAULT_PIN).unwrap();
}

#[test]
fn a_card_that_hangs_does_so_until_it_is_removed() {
    let desk = Desk::new();
    desk.card.set_fault(Some(Fault::HangsAt(piv::Command::Sign)));
    let (mut signing, _) = desk.start_signing(DEFAULT_PIN);
    assert!(desk.card.wait_for(LONG, |counts| counts.sign == 1));
    assert!(signing.try_wait().unwrap().is_none());
    desk.card.remove();
    assert!(!signing.wait().unwrap().success());
}

#[test]
fn other_faults_are_seen_by_the_host() {
    let desk = Desk::new();
    desk.card.set_fault(Some(Fault::FailsAt(piv::Command::Sign)));
    assert!(desk.sign(DEFAULT_PIN).is_err());
    desk.card.set_fault(Some(Fault::CertificateUnreadable));
    let objects = text(&desk.pkcs11(&["-O"]));
    assert_eq!(objects.matches("Certificate Object").count(), 1, "{objects}");
    desk.card.set_fault(Some(Fault::RemovedAfter(3)));
    let before = desk.card.counts().commands();
    let _ = desk.pkcs11(&["-O"]);
    assert!(desk.card.wait_until_out(LONG));
    assert_eq!(desk.card.counts().commands() - before, 3);
}

#[test]
fn a_delay_postpones_responses() {
    let desk = Desk::new();
    desk.card.set_delay(Duration::from_millis(50));
    let (commands, began) = (desk.card.counts().commands(), std::time::Instant::now());
    desk.sign(DEFAULT_PIN).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50) * (desk.card.counts().commands() - commands));
}

#[test]
fn a_login_outlives_its_program_while_another_holds_the_card_and_a_reset_ends_it() {
    let desk = Desk::new();
    let mut holder = desk
        .command("opensc-explorer", &["-r", "0", "-m", ""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first output comes when it has connected to the card.
    holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    desk.sign(DEFAULT_PIN).unwrap();
    assert!(desk.card.is_verified());
    let resets = desk.card.counts().resets;
    assert!(desk.command("opensc-tool", &["-r", "0", "--reset=warm"]).status().unwrap().success());
    assert!(desk.card.counts().resets > resets);
    assert!(!desk.card.is_verified());
    assert!(holder.try_wait().unwrap().is_none(), "nobody held the card");
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[test]
fn the_service_can_be_killed_and_restarted_and_ends_with_its_owner() {
    let mut desk = Desk::new();
    desk.pcscd.kill();
    assert!(desk.card.wait_until_out(LONG), "the card did not notice");
    assert!(!desk.readers().contains("Virtual"), "{}", desk.readers());
    desk.pcscd.restart().unwrap();
    desk.card.insert(desk.pcscd.port()).unwrap();
    assert!(desk.card.wait_until_seen(LONG));
    desk.sign(DEFAULT_PIN).unwrap();

    let (socket, card) = (desk.pcscd.socket(), desk.card);
    drop(desk.pcscd);
    assert!(card.wait_until_out(LONG));
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn two_services_run_at_once() {
    let (one, other) = (Desk::new(), Desk::new());
    assert_ne!(one.pcscd.port(), other.pcscd.port());
    one.card.remove();
    other.sign(DEFAULT_PIN).unwrap();
}

#[test]
fn a_wrapped_program_uses_the_service() {
    let desk = Desk::new();
    let wrapper = desk.pcscd.helper_wrapper(Path::new("/usr/bin/opensc-tool")).unwrap();
    assert!(common::output_of(wrapper.to_str().unwrap(), &["-l"], &[]).contains("Virtual PCD 00 00"));
}

#[test]
fn virtual_readers_listen_only_on_the_loopback_interface() {
    let pcscd = Pcscd::start().unwrap();
    // The service accepts connections before all its readers exist.
    let open = |port| std::iter::from_fn(move || Some(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
    assert!([pcscd.port(), pcscd.second_port()].iter().all(|port| open(*port).take(1000).any(|open| open)));
    let mut listening = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap().lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (address, port) = fields[1].rsplit_once(':').unwrap();
            let port = u16::from_str_radix(port, 16).unwrap();
            if fields[3] == "0A" && (port == pcscd.port() || port == pcscd.second_port()) {
                assert_eq!(address, "0100007F", "{line}");
                listening += 1;
            }
        }
    }
    assert_eq!(listening, 2);
}
