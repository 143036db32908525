//! Readers and cards that PC/SC sees but that cannot be used.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ticketapi::card::examination::{Examination, Holds, Reader};
use ticketapi::card::protocol::{Channel, Hello, MAX_FRAME, Request, VERSION};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::{CardSpec, Pcscd};

use crate::Visit;
use crate::card::{PATIENCE, ReaderDesk};
use crate::support::{Desk, UID, script};

const READER: &str = "Virtual PCD 00 00";

/// Runs the doctor until it says this about the card.
fn visit_once(reader: &ReaderDesk, says: impl Fn(&str) -> bool) -> Visit {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let visit = Visit::to(&reader.desk);
        if says(&visit.told("card").sentence) {
            return visit;
        }
        assert!(Instant::now() < give_up, "{:?}", visit.told("card"));
    }
}

#[test]
fn a_missing_reader_is_reported() {
    let pcscd = Pcscd::without_readers().unwrap();
    let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
    let desk = Desk::new().without("software_card").set("helper", helper.to_str().unwrap());
    let visit = Visit::to(&desk.set("pkcs11_module", opensc_module()));
    visit.assert_only_failure("reader", 3, "there is no card reader");
    assert_eq!(visit.told("service").sentence, "it answers");
    assert_eq!(
        visit.told("reader").remedy,
        "Plug the card reader in and check that the PC/SC service (pcscd) is running."
    );
    visit.assert_skipped(&["card", "token", "certificate", "pin"], "card reader");
}

/// Another program, which uses the card in the first reader exclusively until it is killed.
fn takes_the_card(pcscd: &Pcscd) -> Child {
    let program = "import ctypes, sys\n\
                   pcsc = ctypes.CDLL('libpcsclite.so.1')\n\
                   context, card, protocol = ctypes.c_long(), ctypes.c_long(), ctypes.c_ulong()\n\
                   assert pcsc.SCardEstablishContext(ctypes.c_ulong(0), None, None, ctypes.byref(context)) == 0\n\
                   exclusive, any_protocol = ctypes.c_ulong(1), ctypes.c_ulong(3)\n\
                   code = pcsc.SCardConnect(context, sys.argv[1].encode(), exclusive, any_protocol,\n\
                   \x20                        ctypes.byref(card), ctypes.byref(protocol))\n\
                   print(hex(code & 0xffffffff), flush=True)\n\
                   sys.stdin.read()\n";
    let mut command = Command::new("python3");
    command.args(["-c", program, READER]).env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut code = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut code).unwrap();
    assert_eq!(code, "0x0\n");
    child
}

#[test]
fn a_card_in_exclusive_use_by_another_program_is_a_warning() {
    let reader = ReaderDesk::with_card(&CardSpec::new(UID));
    let mut other = takes_the_card(&reader.pcscd);
    let visit = Visit::to(&reader.desk);
    let told = visit.told("card");
    let sentence = format!("another program uses the card in {READER} exclusively");
    assert_eq!((told.state.as_str(), told.sentence), ("warning", sentence));
    assert_eq!(told.remedy, "Close the other program if the login fails.");
    other.kill().unwrap();
    other.wait().unwrap();
    // The service releases the card a moment later.
    visit_once(&reader, |told| told.starts_with("in Virtual PCD 00 00, with the ATR "));
}

/// Makes a copy of this test act as the card helper.
const HELPER: &str = "TICKETAPI_TEST_HELPER";

/// Not a test: a helper that reports what no driver here can, a broken reader or a card that does not answer.
#[test]
fn a_helper() {
    let Ok(sees) = std::env::var(HELPER) else { return };
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let channel = Channel::new(UnixStream::from(socket), MAX_FRAME);
    let Hello { version } = channel.receive(None).unwrap().message().unwrap();
    assert_eq!(version, VERSION);
    channel.send(&Hello { version }, None).unwrap();
    let frame = channel.receive(None).unwrap();
    let Request::Examine { module, .. } = frame.message().unwrap() else { panic!("it is asked for something else") };
    let holds = if sees == "mute" { Holds::Mute } else { Holds::Broken };
    let readers = vec![Reader { name: READER.into(), holds }];
    let seen = if module.is_none() { Examination::Readers(readers) } else { Examination::Slots(Vec::new()) };
    channel.send(&seen, None).unwrap();
}

/// Runs the doctor with that helper.
fn visit_where_it_sees(what: &str) -> Visit {
    let desk = Desk::new().without("software_card").set("pkcs11_module", opensc_module());
    let this = std::env::current_exe().unwrap();
    let copy = format!("export {HELPER}={what}\nexec {this:?} reader::a_helper --exact --nocapture >/dev/null\n");
    script(&desk.path("helper"), &copy);
    let helper = desk.text("helper");
    Visit::to(&desk.set("helper", &helper))
}

#[test]
fn a_broken_reader_is_reported() {
    let visit = visit_where_it_sees("broken");
    visit.assert_only_failure("reader", 3, &format!("{READER} does not work"));
    assert_eq!(visit.told("reader").remedy, "Unplug the card reader and plug it in again.");
    visit.assert_skipped(&["card", "token", "certificate", "pin"], "card reader");
}

#[test]
fn a_card_that_does_not_answer_is_reported() {
    let visit = visit_where_it_sees("mute");
    visit.assert_only_failure("card", 3, &format!("the card in {READER} does not answer"));
    assert_eq!(visit.told("card").remedy, "Take the card out, wipe its contacts and put it in the right way round.");
    visit.assert_skipped(&["token", "certificate", "pin"], "card");
}
