//! What a card, a PKCS#12 file or the helper returns; certificates also as a server sends them. The first byte selects one.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use der::asn1::{Any, AnyRef};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc5911, rfc5912};
use der::{Decode, Encode, Tag, TagNumber};
use hmac::{Hmac, Mac};
use libfuzzer_sys::fuzz_target;
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use sha1::Sha1;
use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::card::certificate::{Candidate, PrivateKey, Signed, Signer, SignerChoice, chain, choose, choose_signer};
use ticketapi::card::protocol::{Channel, ChannelError, Hello, MAX_FRAME, Reply, Request, WireError};
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::card::{CardReader, Certificate};
use ticketapi::challenge::{self, Digest};
use ticketapi::framing::Frame;
use ticketapi::sign::{Algorithm, KeyUse};
use ticketapi::{Pin, fuzzing};

/// The password of tests/data/pkcs12.
const PASSWORD: &str = "password";

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 6 {
        0 => read_certificates(data),
        1 => read_cms(data),
        2 => read_response(data),
        3 => open_file(data),
        4 => open_file(&with_mac(data)),
        _ => read_frames(data),
    }
});

fn read_certificates(data: &[u8]) {
    // Certificates are separated by their own lengths.
    let mut candidates = Vec::new();
    let mut rest = data;
    while let Some((one, after)) = split_first(rest) {
        candidates.push(Candidate {
            der: one.to_vec(),
            private_key: PrivateKey::known(after.len() % 2 == 0),
            key_can_decrypt: true,
        });
        rest = after;
    }
    fuzzing::chain(candidates.iter().map(|candidate| &*candidate.der));
    candidates.push(Candidate { der: rest.to_vec(), private_key: PrivateKey::There, key_can_decrypt: false });
    for candidate in &candidates {
        if let Ok(certificate) = Certificate::from_der(&candidate.der) {
            let is_der = AnyRef::from_der(&candidate.der).is_ok();
            assert!(certificate.der() == candidate.der || !is_der);
            assert_eq!(Certificate::from_der(certificate.der()).unwrap(), certificate);
            assert!(!certificate.uid().is_empty() && !certificate.uid().contains(char::is_control));
            assert!((1024..=4096).contains(&certificate.key_bits()));
            let end = fuzzing::issuer_and_end_of(&candidate.der).map(|(_, end)| end);
            assert!(end.is_none_or(|end| end == certificate.valid_until()));
            let _ = certificate.issuer_name();
            assert!(certificate.verify(Digest::Sha1, b"message", &[0; 128]).is_err());
        }
    }
    read_signers(&candidates);
    for issuers in [&[][..], &["Issuing CA".to_owned()]] {
        let _ = choose(&candidates, SystemTime::UNIX_EPOCH, issuers);
        if let Ok((index, certificate)) = choose(&candidates, now(), issuers) {
            assert!(candidates[index].private_key == PrivateKey::There);
            assert_eq!(Certificate::from_der(&candidates[index].der).unwrap(), certificate);
        }
    }
}

/// Reads the same certificates as those of signers.
fn read_signers(candidates: &[Candidate]) {
    let certificates: Vec<_> = candidates.iter().map(|candidate| candidate.der.clone()).collect();
    for der in &certificates {
        let issuers = chain(der, &certificates);
        assert!(issuers.len() < certificates.len() && issuers.iter().all(|issuer| certificates.contains(issuer)));
        let Ok(signer) = Signer::from_der(der) else { continue };
        assert_eq!(Signer::from_der(signer.der()).unwrap(), signer);
        assert!(!signer.uid().is_empty() && !signer.uid().contains(char::is_control));
        for algorithm in Algorithm::ALL {
            assert!(signer.verify(algorithm, Signed::Message(b"message"), &[0; 64]).is_err());
            assert!(signer.verify(algorithm, Signed::Hash(&algorithm.hash(b"message")), &[0; 128]).is_err());
        }
    }
    let keys: Vec<_> = candidates.iter().map(|candidate| (candidate.der.clone(), candidate.private_key)).collect();
    for key in [KeyUse::ContentCommitment, KeyUse::Login] {
        for algorithm in Algorithm::ALL {
            if let Ok((index, signer)) = choose_signer(&keys, now(), &SignerChoice::new(key, algorithm)) {
                assert!(keys[index].1 != PrivateKey::Absent && signer.point().is_some() == algorithm.is_ecdsa());
                assert_eq!(Signer::from_der(&keys[index].0).unwrap(), signer);
            }
        }
    }
}

/// A fixed time, so that findings can be reproduced.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Splits off the first DER element by its own length.
fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = der::Header::decode(&mut der::SliceReader::new(bytes).ok()?).ok()?;
    let size = (header.encoded_len().ok()? + header.length).ok()?;
    bytes.split_at_checked(usize::try_from(size).ok()?)
}

fn read_cms(data: &[u8]) {
    if let Ok(parts) = challenge::decode(data) {
        let again = challenge::encode(&parts.challenge, &parts.certificate, parts.digest, &parts.signature);
        assert_eq!(again.unwrap(), data);
    }
    assert_eq!(challenge::from_smime(&challenge::to_smime(data)).ok().as_deref(), Some(data).filter(|d| !d.is_empty()));
}

fn read_response(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let _ = challenge::from_smime(text);
    if let Ok(parts) = challenge::from_response(text) {
        let again = challenge::response(&parts.challenge, &parts.certificate, parts.digest, &parts.signature).unwrap();
        assert_eq!(challenge::from_response(&again).unwrap(), parts);
    }
}

fn open_file(file: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let path = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path().join("card.p12");
    std::fs::write(&path, file).unwrap();
    log_in_with(&path, PASSWORD);
    log_in_with(&path, "a wrong one");
}

fn log_in_with(path: &Path, pin: &str) {
    let cancel = CancelToken::new();
    let reader = SoftwareCardReader::new(path.to_owned());
    let Ok(mut card) = reader.wait_for_card(Duration::ZERO, &mut |_| {}, &cancel) else { return };
    if let Ok(signature) = card.sign(Some(Pin::new(pin.to_owned())), Digest::Sha256, b"message", &cancel) {
        assert_eq!(pin, PASSWORD);
        card.certificate().unwrap().verify(Digest::Sha256, b"message", &signature).unwrap();
    }
}

/// A file with these contents and a valid MAC, because nothing is parsed after an invalid one.
fn with_mac(safe: &[u8]) -> Vec<u8> {
    let key = derive_key_utf8::<Sha1>(PASSWORD, b"salt", Pkcs12KeyType::Mac, 1, 20).unwrap();
    let mac = Hmac::<Sha1>::new_from_slice(&key).unwrap().chain_update(safe).finalize().into_bytes();
    let value = |tag, parts: &[&[u8]]| Any::new(tag, parts.concat()).unwrap().to_der().unwrap();
    let sequence = |parts: &[&[u8]]| value(Tag::Sequence, parts);
    let octets = |bytes: &[u8]| value(Tag::OctetString, &[bytes]);
    let oid = |oid: ObjectIdentifier| oid.to_der().unwrap();
    let explicit = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    let content = sequence(&[&oid(rfc5911::ID_DATA), &value(explicit, &[&octets(safe)])]);
    let digest = sequence(&[&sequence(&[&oid(rfc5912::ID_SHA_1), &[5, 0]]), &octets(&mac)]);
    sequence(&[&[2, 1, 3], &content, &sequence(&[&digest, &octets(b"salt")])])
}

/// What either side of the helper's socket receives.
fn read_frames(data: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    if data.is_empty() {
        return misuse_the_channel(ours, theirs);
    }
    // More than the socket's buffer would block.
    theirs.write_all(&data[..data.len().min(16 << 10)]).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let channel = Channel::new(ours, MAX_FRAME);
    while let Ok(frame) = channel.receive(None) {
        let _ = frame.message::<Hello>();
        if let Ok(request) = frame.message::<Request<'_>>() {
            assert_eq!(echo(&request, |frame| frame.message::<Request<'_>>().is_ok()), Some(true));
        }
        if let Ok(reply) = frame.message::<Reply>() {
            let heard = echo(&reply, |frame| format!("{:?}", frame.message::<Reply>().unwrap()));
            assert_eq!(heard, Some(format!("{reply:?}")));
            if let Reply::Failed(failure) = reply {
                let error = ticketapi::Error::from(failure);
                let _ = (error.to_string(), error.remedy());
                let again = ticketapi::Error::from(WireError::from(&error));
                assert_eq!((again.kind(), again.detail()), (error.kind(), error.detail()));
            }
        }
    }
}

/// Sends a message, and passes what arrives to `hear`.
fn echo<T>(message: &impl serde::Serialize, hear: impl Fn(&Frame) -> T) -> Option<T> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    Channel::new(ours, MAX_FRAME).send(message, Some(std::time::Instant::now() + Duration::from_secs(1))).ok()?;
    Some(hear(&Channel::new(theirs, MAX_FRAME).receive(None).ok()?))
}

fn misuse_the_channel(ours: UnixStream, theirs: UnixStream) {
    let channel = Channel::new(ours, MAX_FRAME);
    let now = Some(std::time::Instant::now());
    assert!(matches!(channel.receive(now), Err(ChannelError::Timeout)));
    let long = vec![0; 3 << 20];
    assert!(matches!(
        channel.send(&Reply::Signature { signature: long, certificate: Vec::new() }, now),
        Err(ChannelError::Malformed(_))
    ));
    let filling = Reply::Signature { signature: vec![0; 1 << 20], certificate: Vec::new() };
    assert!(matches!(channel.send(&filling, now), Err(ChannelError::Timeout)));
    drop(theirs);
    assert!(matches!(channel.send(&Reply::Detached, None), Err(ChannelError::Closed)));
    let _ = channel.socket();
}
