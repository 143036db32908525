//! Signing 250 documents with a token, against a bare C program that makes the same PKCS#11 calls.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::env;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use peak_alloc::PeakAlloc;
use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::sign::{Algorithm, MAX_BYTES, MAX_PAYLOADS, SignRequest};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, Pin};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardSpec, SoftHsm, TestCa};

use support::{Comparisons, time};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const PIN: &str = "4821";

/// The size of a document.
const SIZE: usize = 4 << 10;

/// The size of an RSA-2048 signature.
const SIGNATURE: usize = 256;

/// How much the heap may grow while documents of 16 MiB are signed.
const MAX_GROWTH: usize = 8 << 20;

/// Answers at once.
struct User;

impl Prompter for User {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> ticketapi::Result<Pin> {
        Ok(Pin::new(PIN.into()))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> ticketapi::Result<bool> {
        Ok(false)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> ticketapi::Result<usize> {
        Ok(0)
    }
}

/// Passes this run's folder to the process that measures.
const FOLDER: &str = "TICKETAPI_BENCH_FOLDER";

fn main() -> ExitCode {
    match env::var_os(FOLDER) {
        Some(folder) => compare(Path::new(&folder)),
        None => run_again(),
    }
}

/// Runs this program again with the environment in which the helper and the floor find the tokens. A wrapper
/// script would be measured too.
fn run_again() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(FOLDER, folder.path())
        .env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"))
        .status()
        .unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compare(folder: &Path) -> ExitCode {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::new("123456789012").for_signing()).unwrap();
    let tokens = SoftHsm::new().unwrap();
    tokens.add_card("NHS signature", PIN, &card).unwrap();
    std::fs::copy(tokens.conf(), folder.join("softhsm2.conf")).unwrap();
    let bare = Bare::compile(folder);
    let (engine, request) = (engine(tokens.module()), request(SIZE));
    let hashes = hashes(&request);
    check_calls(folder, tokens.module(), &bare, &request, &hashes);
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

/// Checks that both make the same calls; otherwise they cannot be compared.
fn check_calls(folder: &Path, module: &Path, bare: &Bare, request: &SignRequest, hashes: &[Vec<u8>]) {
    let (logging, log) = (folder.join("logging.so"), folder.join("calls"));
    std::fs::copy(scripted_module(), &logging).unwrap();
    let script = format!("module {}\nlog {}\n", module.display(), log.display());
    std::fs::write(folder.join("logging.so.script"), script).unwrap();
    let calls = || {
        let calls = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        calls
    };
    sign(&engine(&logging), request);
    let ours = calls();
    assert!(ours.contains("C_Login") && ours.ends_with("C_Finalize\n"), "{ours}");
    bare.sign(&logging, hashes);
    let floor = calls();
    assert!(ours == floor, "they differ: {}", differ(&ours, &floor));
}

/// Shows the first calls that differ.
fn differ(ours: &str, floor: &str) -> String {
    let mut pairs = ours.lines().zip(floor.lines()).enumerate();
    let differs = pairs.find(|(_, (ours, floor))| ours != floor);
    differs.map_or_else(|| "one makes more calls".to_owned(), |(at, pair)| format!("call {at}: {pair:?}"))
}

/// The compiled `bare.c`.
struct Bare(PathBuf);

impl Bare {
    fn compile(folder: &Path) -> Self {
        let path = folder.join("bare");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/sign/bare.c");
        let compiled = Command::new("cc").args(["-std=c11", "-O2", "-o"]).arg(&path).arg(source).arg("-ldl").status();
        assert!(compiled.unwrap().success());
        Self(path)
    }

    /// Starts it as the helper is started, and has it sign.
    fn sign(&self, module: &Path, hashes: &[Vec<u8>]) -> Vec<u8> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut child = Command::new(&self.0)
            .arg(module)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
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
