//! Signing 250 documents with a token, against a bare C program that makes the same PKCS#11 calls.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/card.rs"]
mod card;
mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use peak_alloc::PeakAlloc;
use ticketapi::sign::{Algorithm, MAX_BYTES, MAX_PAYLOADS, SignRequest};
use ticketapi::{Config, Engine};
use ticketapi_testkit::artifacts::helper_program;
use ticketapi_testkit::{CardSpec, TestCa};

use card::{PIN, User};
use support::{Comparisons, time};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The size of a document.
const SIZE: usize = 4 << 10;

/// The size of an RSA-2048 signature.
const SIGNATURE: usize = 256;

/// How much the heap may grow while documents of 16 MiB are signed.
const MAX_GROWTH: usize = 8 << 20;

fn main() -> ExitCode {
    card::with_tokens(compare)
}

fn compare(folder: &Path) -> ExitCode {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::new("123456789012").for_signing()).unwrap();
    let tokens = card::token(folder, &card);
    let bare = Bare(card::compile(folder, "sign/bare.c"));
    let (engine, request) = (engine(tokens.module()), request(SIZE));
    let hashes = hashes(&request);
    let ours = |module: &Path| sign(&self::engine(module), &request);
    let floor = |module: &Path| {
        bare.sign(module, &hashes);
    };
    card::check_calls(folder, tokens.module(), ours, floor);
    check_heap(&engine);

    let mut comparisons = Comparisons::new();
    comparisons.compare(
        "signing 250 documents of 4 KiB with SoftHSM2, to the bare C program",
        1.2,
        30,
        || time(|| sign(&engine, &request)),
        || time(|| bare.sign(tokens.module(), &hashes)),
    );
    comparisons.finish()
}

fn engine(module: &Path) -> Engine {
    let mut config = Config::default();
    config.set("agent", "never").unwrap();
    config.pkcs11_module = Some(module.to_owned());
    config.helper = Some(helper_program());
    Engine::builder(config).prompter(User).build().unwrap()
}

/// Asks for the most documents, each of this size and different.
fn request(size: usize) -> SignRequest {
    (0..MAX_PAYLOADS).fold(SignRequest::new(), |request, number| {
        request.payload(number.to_string(), vec![u8::try_from(number).unwrap(); size])
    })
}

/// Returns the DigestInfo of each document.
fn hashes(request: &SignRequest) -> Vec<Vec<u8>> {
    let hash = |bytes: &[u8]| Algorithm::Rs256.digest_info(&Algorithm::Rs256.hash(bytes));
    request.payloads.iter().map(|payload| hash(payload.content.bytes())).collect()
}

fn sign(engine: &Engine, request: &SignRequest) {
    let signed = engine.sign(request).unwrap();
    assert_eq!((signed.signatures.len(), signed.failed.len()), (request.payloads.len(), 0));
}

/// Checks how much the heap grows beyond the documents themselves.
fn check_heap(engine: &Engine) {
    let request = request(MAX_BYTES / MAX_PAYLOADS);
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    sign(engine, &request);
    let growth = HEAP.peak_usage() - before;
    println!("signing 250 documents of 16 MiB together: the heap grew by {} KiB", growth >> 10);
    assert!(growth <= MAX_GROWTH);
}

/// The compiled `bare.c`.
struct Bare(PathBuf);

impl Bare {
    /// Starts it as the helper is started, and has it sign.
    fn sign(&self, module: &Path, hashes: &[Vec<u8>]) -> Vec<u8> {
        let (mut child, mut ours) = card::start(&self.0, module);
        let certificate = ours.read(&mut [0; 4096]).unwrap();
        assert!(certificate > 512);
        let lengths = [PIN.len(), hashes.len()].map(|length| u8::try_from(length).unwrap());
        let head = [&lengths[..1], PIN.as_bytes(), &lengths[1..]].concat();
        ours.write_all(&[head, hashes.concat()].concat()).unwrap();
        let mut signatures = vec![0; hashes.len() * SIGNATURE];
        ours.read_exact(&mut signatures).unwrap();
        assert!(child.wait().unwrap().success());
        signatures
    }
}
