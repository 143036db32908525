//! The virtual card's responses, command by command. The test plays the reader.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use openssl::rsa::Padding;
use ticketapi_testkit::{CardIdentity, CardSpec, PivCard, TestCa};

const SELECT: &[u8] = &[0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8, 0];
const VERIFY: &[u8] = b"\x00\x20\x00\x80\x08123456\xff\xff";
const OK: [u8; 2] = [0x90, 0];
const NOT_ALLOWED: [u8; 2] = [0x69, 0x82];

struct Reader {
    stream: TcpStream,
    card: PivCard,
    identity: CardIdentity,
}

impl Reader {
    /// A reader with a card that has been powered up and selected.
    fn new() -> Self {
        let ca = TestCa::new().unwrap();
        let identity = ca.issue(&CardSpec::default()).unwrap();
        let decoy = ca.issue(&CardSpec::default().key_number(1).for_signing()).unwrap();
        let card = PivCard::with_signature(&identity, Some(&decoy)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        card.insert(listener.local_addr().unwrap().port()).unwrap();
        let mut reader = Self { stream: listener.accept().unwrap().0, card, identity };
        reader.send(&[1]);
        reader.command(SELECT);
        reader
    }

    fn send(&mut self, message: &[u8]) {
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&length, message].concat()).unwrap();
    }

    fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        self.send(message);
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut answer).unwrap();
        answer
    }

    /// Sends a command. Returns the response's data and its status.
    fn command(&mut self, apdu: &[u8]) -> (Vec<u8>, [u8; 2]) {
        let mut answer = self.ask(apdu);
        let status = answer.split_off(answer.len() - 2);
        (answer, status.try_into().unwrap())
    }

    fn status(&mut self, apdu: &[u8]) -> [u8; 2] {
        self.command(apdu).1
    }

    /// Signs `padded`, of the key's length, in two commands. Returns the first bytes and the status of the
    /// response.
    fn sign(&mut self, key: u8, padded: &[u8]) -> (Vec<u8>, [u8; 2]) {
        let template = [&[0x7c, 0x82, 1, 6, 0x82, 0, 0x81, 0x82, 1, 0], padded].concat();
        let (first, rest) = template.split_at(200);
        assert_eq!(self.status(&[&[0x10, 0x87, 7, key, 200], first].concat()), OK);
        let length = u8::try_from(rest.len()).unwrap();
        self.command(&[&[0, 0x87, 7, key, length], rest, &[0]].concat())
    }
}

fn padded() -> Vec<u8> {
    [&[0, 1][..], &[0xff; 220], &[0], &[7; 33]].concat()
}

#[test]
fn a_key_signs_only_after_the_pin() {
    let mut reader = Reader::new();
    assert_eq!(reader.sign(0x9a, &padded()).1, NOT_ALLOWED);
    assert_eq!(reader.status(VERIFY), OK);
    let (first, status) = reader.sign(0x9a, &padded());
    // 264 bytes, of which 256 are sent at once.
    assert_eq!((first.len(), status), (256, [0x61, 8]));
    let (rest, status) = reader.command(&[0, 0xc0, 0, 0, 8]);
    assert_eq!(status, OK);
    let signature = &[first, rest].concat()[8..];
    let mut opened = [0; 256];
    reader.identity.key().rsa().unwrap().public_decrypt(signature, &mut opened, Padding::NONE).unwrap();
    assert_eq!(opened[..], padded()[..]);
    assert_eq!(reader.sign(0x9a, &padded()).0.len(), 256, "one PIN is enough for this key");
}

#[test]
fn the_signature_key_needs_the_pin_each_time() {
    let mut reader = Reader::new();
    reader.command(VERIFY);
    assert_eq!(reader.sign(0x9c, &padded()).0.len(), 256);
    assert_eq!(reader.sign(0x9c, &padded()).1, NOT_ALLOWED);
}

#[test]
fn every_reset_ends_the_login() {
    for power in [&[0][..], &[1], &[2]] {
        let mut reader = Reader::new();
        reader.command(VERIFY);
        assert!(reader.card.is_verified());
        reader.send(power);
        reader.command(SELECT);
        assert!(!reader.card.is_verified());
        assert_eq!(reader.sign(0x9a, &padded()).1, NOT_ALLOWED);
    }
}

#[test]
fn a_query_for_the_tries_left_uses_up_no_try() {
    let mut reader = Reader::new();
    let query = [0, 0x20, 0, 0x80];
    assert_eq!(reader.status(&query), [0x63, 0xc3]);
    assert_eq!(reader.status(b"\x00\x20\x00\x80\x08654321\xff\xff"), [0x63, 0xc2]);
    assert_eq!(reader.status(&query), [0x63, 0xc2]);
    reader.command(VERIFY);
    assert_eq!(reader.status(&query), OK);
    let counts = reader.card.counts();
    assert_eq!((counts.verify, counts.verify_query), (2, 3));
}

#[test]
fn a_response_is_no_longer_than_requested() {
    let mut reader = Reader::new();
    let (whole, status) = reader.command(&[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 5, 0]);
    assert_eq!((whole.len(), status[0]), (256, 0x61));
    let (start, status) = reader.command(&[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 5, 8]);
    assert_eq!((&start[..], status[0]), (&whole[..8], 0x61));
    assert_eq!(reader.status(&[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 1, 0]), [0x6a, 0x82]);
}

#[test]
fn unknown_commands_and_objects_are_refused() {
    let mut reader = Reader::new();
    assert_eq!(reader.status(&[0, 0xb0, 0, 0, 0]), [0x6d, 0]);
    assert_eq!(reader.status(&[0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 9]), [0x6a, 0x82]);
    assert_eq!(reader.status(&[0, 0x20, 0, 0x80, 8, 1]), [0x67, 0]);
}
