//! `ticketapi sign`, with a software card: what it writes is verified by others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Desk, PIN, Run, UID};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardSpec, SoftHsm};

const PAYLOAD: &[u8] = b"two tablets\r\n";

fn desk() -> Desk {
    let desk = Desk::new();
    let card = desk.path("signing.p12");
    desk.identity(&CardSpec::new(UID).for_signing()).write_pkcs12(&card, PIN).unwrap();
    fs::write(desk.path("authority.pem"), desk.ca.certificate().to_pem().unwrap()).unwrap();
    fs::write(desk.path("document"), PAYLOAD).unwrap();
    desk.set("software_card", card.to_str().unwrap())
}

fn run_with(desk: &Desk, arguments: &[&str], input: &[u8]) -> Run {
    let mut command = desk.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    Run::of(child.wait_with_output().unwrap())
}

fn openssl(arguments: &[&str]) -> bool {
    Command::new("openssl").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

fn base64(bytes: &[u8]) -> String {
    openssl::base64::encode_block(bytes)
}

#[test]
fn a_signature_is_written_beside_its_document_and_never_over_another_file() {
    let desk = desk();
    let document = desk.text("document");
    let signature = format!("{document}.p7s");
    let verified = || {
        let authority = desk.text("authority.pem");
        openssl(&[
            "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-purpose", "any", "-in", &signature, "-content",
            &document, "-CAfile", &authority,
        ])
    };
    let run = desk.run(&["sign", "--format", "cms", "--title", "Prescription", &document]);
    assert_eq!((run.code, &*run.stdout), (0, &*format!("{signature}\n")), "{}", run.stderr);
    assert!(verified());
    fs::write(&document, b"ten tablets").unwrap();
    assert!(!verified());
    let before = fs::read(&signature).unwrap();
    let asked = desk.path("asked");
    desk.answering_pin(&format!("touch {}; echo 'D {PIN}'", asked.display()));
    let run = desk.run(&["sign", "--format", "cms", &document]);
    assert_eq!((run.code, &*run.stdout), (1, ""));
    assert!(run.stderr.contains("document.p7s exists; --overwrite replaces it"), "{}", run.stderr);
    assert!(!asked.exists() && fs::read(&signature).unwrap() == before);
    assert_eq!(desk.run(&["sign", "--format", "cms", "--overwrite", &document]).code, 0);
    assert!(verified() && asked.exists());
}

#[test]
fn many_documents_are_signed_with_one_pin_into_a_folder() {
    let desk = desk();
    let counted = desk.path("pins");
    desk.answering_pin(&format!("echo >>{}; echo 'D {PIN}'", counted.display()));
    let files: Vec<_> = (0..8).map(|number| desk.text(&format!("document{number}"))).collect();
    files.iter().for_each(|file| fs::write(file, file).unwrap());
    let out = desk.text("out");
    fs::create_dir(&out).unwrap();
    let arguments: Vec<_> = ["sign", "--out", &out].into_iter().chain(files.iter().map(String::as_str)).collect();
    let run = desk.run(&arguments);
    assert_eq!((run.code, run.stdout.lines().count(), &*run.stderr), (0, 8, ""));
    assert_eq!(fs::read_to_string(counted).unwrap().lines().count(), 1);
    let certificate = desk.text("certificate.pem");
    let key = desk.text("key.pem");
    let source = desk.text("signing.p12");
    assert!(openssl(&["pkcs12", "-in", &source, "-passin", &format!("pass:{PIN}"), "-nokeys", "-out", &certificate]));
    let pem = Command::new("openssl").args(["x509", "-in", &certificate, "-pubkey", "-noout"]).output().unwrap().stdout;
    fs::write(&key, pem).unwrap();
    for (number, file) in files.iter().enumerate() {
        let signature = format!("{out}/document{number}.sig");
        assert!(openssl(&["dgst", "-sha256", "-verify", &key, "-signature", &signature, file]), "{signature}");
    }
}

#[test]
fn the_progress_of_more_than_five_documents_is_shown_on_a_terminal() {
    let desk = desk();
    for (count, shown) in [(5, false), (6, true)] {
        let files: Vec<_> = (0..count).map(|number| desk.text(&format!("{count}-{number}"))).collect();
        files.iter().for_each(|file| fs::write(file, file).unwrap());
        let arguments: Vec<_> = ["sign"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let command = desk.command(&arguments);
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let line: String = words.map(|word| format!("'{}' ", word.to_str().unwrap())).collect();
        // Gives it a terminal.
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env_clear().stdin(Stdio::null());
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = Run::of(script.output().unwrap());
        assert_eq!((run.code, run.stdout.contains(&format!("of {count} …"))), (0, shown), "{}", run.stdout);
    }
}

/// Verifies a JWS with the certificate in its header, and writes its payload.
const VERIFY_JWS: &str = "
import base64, json, sys
from jwcrypto import jwk, jws
token = open(sys.argv[1]).read()
header = token.split('.')[0]
header = json.loads(base64.urlsafe_b64decode(header + '=' * (-len(header) % 4)))
pem = '-----BEGIN CERTIFICATE-----\\n' + header['x5c'][0] + '\\n-----END CERTIFICATE-----\\n'
verified = jws.JWS()
verified.allowed_algs = ['PS256']
verified.deserialize(token, jwk.JWK.from_pem(pem.encode()))
sys.stdout.buffer.write(verified.payload)
";

#[test]
fn a_python_library_verifies_a_jws_that_was_written() {
    let desk = desk();
    let document = desk.text("document");
    let run = desk.run(&["sign", "--format", "jws", "--algorithm", "PS256", &document]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // The one that has Debian's packages, whatever else is on the path.
    let system = Path::new("/usr/bin/python3");
    let python = if system.exists() { system } else { Path::new("python3") };
    let verified = Command::new(python).args(["-c", VERIFY_JWS]).arg(format!("{document}.jws")).output().unwrap();
    assert_eq!(verified.stdout, PAYLOAD, "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn xmlsec_verifies_a_signature_element_that_was_written() {
    let desk = desk();
    let document = "<Prescription><line>two tablets</line></Prescription>";
    let digest = base64(&openssl::sha::sha256(document.as_bytes()));
    let signed_info = format!(
        "<SignedInfo xmlns=\"http://www.w3.org/2000/09/xmldsig#\">\
         <CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></CanonicalizationMethod>\
         <SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"></SignatureMethod>\
         <Reference URI=\"\"><Transforms>\
         <Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></Transform>\
         <Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></Transform></Transforms>\
         <DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></DigestMethod>\
         <DigestValue>{digest}</DigestValue></Reference></SignedInfo>"
    );
    // As $prepare gives it.
    fs::write(desk.path("digest"), base64(signed_info.as_bytes())).unwrap();
    let run = desk.run(&["sign", "--format", "xmldsig", &desk.text("digest")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let signature = fs::read_to_string(desk.path("digest.signature.xml")).unwrap();
    assert!(signature.contains(&signed_info));
    let verifies = |document: &str| {
        let file = desk.path("signed.xml");
        fs::write(&file, document.replace("</P", &format!("{signature}</P"))).unwrap();
        let mut command = Command::new("xmlsec1");
        command.args(["--verify", "--trusted-pem", &desk.text("authority.pem")]).arg(file);
        command.output().unwrap().status.success()
    };
    assert!(verifies(document) && !verifies(&document.replace("two", "ten")));
}

#[test]
fn standard_input_is_signed_to_standard_output() {
    let desk = desk();
    let run = run_with(&desk, &["sign", "--format", "jws", "-"], PAYLOAD);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout.split('.').count(), 3, "{}", run.stdout);
}

fn request(payloads: &[(&str, &[u8])]) -> Vec<u8> {
    let payloads: Vec<_> = payloads.iter().map(|(id, bytes)| json!({ "id": id, "payload": base64(bytes) })).collect();
    let request = json!({ "algorithm": "RS1", "requestType": 1, "version": 1, "flags": 0, "payloads": payloads });
    request.to_string().into_bytes()
}

#[test]
fn a_request_of_credential_management_gets_an_answer_of_its_form() {
    let desk = desk();
    let run = run_with(&desk, &["sign", "--json"], &request(&[("a", PAYLOAD), ("b", b"x")]));
    let answer = run.json();
    assert_eq!((run.code, &answer["status_code"], &answer["status_string"]), (0, &json!(0), &json!("Success")));
    assert_eq!((&answer["failed_signatures"], &answer["message"]), (&json!([]), &json!("")));
    let ids: Vec<_> = answer["signatures"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, ["a", "b"]);
    let bytes = |value: &Value| openssl::base64::decode_block(value.as_str().unwrap()).unwrap();
    let certificate = openssl::x509::X509::from_der(&bytes(&answer["certificate"])).unwrap();
    let key = certificate.public_key().unwrap();
    let mut verifier = openssl::sign::Verifier::new(openssl::hash::MessageDigest::sha1(), &key).unwrap();
    assert!(verifier.verify_oneshot(&bytes(&answer["signatures"][0]["signature"]), PAYLOAD).unwrap());
    assert!(answer["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn sha_1_signs_only_where_it_is_asked_for_by_name() {
    let desk = desk();
    for (asked, signed) in [(json!({}), "RS256"), (json!({ "algorithm": "RS1" }), "RS1")] {
        let mut request = json!({ "payloads": [{ "id": "a", "payload": base64(PAYLOAD) }] });
        request.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        let run = run_with(&desk, &["sign", "--json"], request.to_string().as_bytes());
        assert_eq!((run.code, &run.json()["algorithm"]), (0, &json!(signed)));
    }
}

#[test]
fn a_request_that_cannot_be_served_gets_an_answer_with_the_reason_and_no_signatures() {
    let desk = desk();
    let twice = request(&[("a", PAYLOAD), ("a", PAYLOAD)]);
    for (input, kind) in [
        (&b"{"[..], "InvalidParameter"),
        (b"{\"payloads\": []}", "InvalidParameter"),
        (b"{\"payloads\": [{\"id\": \"a\", \"payload\": \"?\"}]}", "InvalidParameter"),
        (b"{\"algorithm\": \"none\", \"payloads\": [{\"id\": \"a\", \"payload\": \"eA==\"}]}", "InvalidParameter"),
        (&twice, "InvalidParameter"),
    ] {
        let run = run_with(&desk, &["sign", "--json"], input);
        let answer = run.json();
        assert_eq!((run.code, &answer["status_string"], &answer["signatures"]), (1, &json!(kind), &json!([])));
        assert_eq!(answer["error"]["kind"], kind);
        assert_ne!(answer["message"], "");
    }
    desk.answering_pin("echo 'ERR 83886179 cancelled'; continue");
    let run = run_with(&desk, &["sign", "--json"], &request(&[("a", PAYLOAD)]));
    assert_eq!(
        (run.code, &run.json()["status_string"], &run.json()["status_code"]),
        (4, &json!("Cancelled"), &json!(4))
    );
}

#[test]
fn the_card_to_log_in_with_signs_only_when_its_key_is_asked_for() {
    let desk = desk();
    let login = desk.text("card.p12");
    let desk = desk.set("software_card", &login);
    let document = desk.text("document");
    let run = desk.run(&["sign", &document]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("no certificate for signatures"), "{}", run.stderr);
    assert_eq!(desk.run(&["sign", "--login-key", &document]).code, 0);
}

#[test]
fn files_that_cannot_be_signed_together_are_refused_before_the_pin() {
    let desk = desk();
    desk.answering_pin("echo 'ERR 83886179 cancelled'; continue");
    fs::create_dir(desk.path("other")).unwrap();
    let (one, other, out) = (desk.text("document"), desk.text("other/document"), desk.text("out"));
    fs::copy(&one, &other).unwrap();
    for (arguments, words) in [
        (&["sign", &one, "missing"][..], "missing cannot be read"),
        (&["sign", &one, "-"], "standard input (-) is signed alone"),
        (&["sign", "--out", &out, &one], "is not a folder"),
        (&["sign", "--out", &desk.text("other"), &one, &other], "two signatures would be written to"),
        (&["sign", &one, &one], "two signatures would be written to"),
        (&["sign", "--format", "xmldsig", &one], "neither XML nor base64"),
        (&["sign", &desk.text("other")], "cannot be read"),
    ] {
        let run = desk.run(arguments);
        assert_eq!((run.code, &*run.stdout), (1, ""), "{arguments:?}");
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_written_loses_no_other_signature() {
    let desk = desk();
    let files: Vec<_> = ["a", "b", "c", "d"]
        .map(|folder| {
            fs::create_dir(desk.path(folder)).unwrap();
            fs::write(desk.path(folder).join("document"), folder).unwrap();
            desk.text(&format!("{folder}/document"))
        })
        .into();
    // Meanwhile one folder is removed, and somebody else writes a file.
    let gone = format!("rm -r {}; echo other >{}.sig; echo 'D {PIN}'", desk.text("b"), files[2]);
    desk.answering_pin(&gone);
    let arguments: Vec<_> = ["sign"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let run = desk.run(&arguments);
    assert_eq!((run.code, &*run.stdout), (1, &*format!("{}.sig\n{}.sig\n", files[0], files[3])), "{}", run.stderr);
    for file in &files[1..3] {
        assert!(run.stderr.contains(&format!("{file} was signed, but not written: ")), "{}", run.stderr);
    }
    assert_eq!(fs::read(format!("{}.sig", files[2])).unwrap(), b"other\n");
    for file in [&files[0], &files[3]] {
        assert_eq!(fs::read(format!("{file}.sig")).unwrap().len(), 256);
    }
    assert!(fs::read_dir(desk.path("a")).unwrap().count() == 2, "nothing else is left");
}

#[test]
fn an_answer_has_the_signature_of_a_file_that_cannot_be_written() {
    let desk = desk();
    let (document, other, out) = (desk.text("document"), desk.text("other"), desk.text("out"));
    fs::write(&other, "x").unwrap();
    fs::create_dir(&out).unwrap();
    desk.answering_pin(&format!("echo other >{out}/document.sig; echo 'D {PIN}'"));
    let run = desk.run(&["sign", "--json", "--out", &out, &document, &other]);
    let answer = run.json();
    assert_eq!((run.code, &answer["status_code"], &answer["status_string"]), (1, &json!(1), &json!("NotWritten")));
    assert_eq!(answer["signatures"].as_array().unwrap().len(), 2);
    assert_eq!((&answer["unwritten_files"][0]["id"], &answer["failed_signatures"]), (&json!(document), &json!([])));
    assert!(answer["message"].as_str().unwrap().contains("document.sig cannot be written: "), "{answer}");
    assert!(answer["unwritten_files"][0]["remedy"].as_str().unwrap().contains("the disk has room"), "{answer}");
    assert_eq!(fs::read(desk.path("out/other.sig")).unwrap().len(), 256);
}

/// The card of `desk` as a token whose module fails as `fault` says.
fn failing_token(desk: Desk, fault: &str) -> (Desk, SoftHsm) {
    let hsm = SoftHsm::new().unwrap();
    hsm.add_card("signature", PIN, &desk.identity(&CardSpec::new(UID).for_signing())).unwrap();
    let module = desk.path("scripted.so");
    fs::copy(scripted_module(), &module).unwrap();
    let script = format!("module {}\n{fault}\n", hsm.module().display());
    fs::write(desk.path("scripted.so.script"), script).unwrap();
    let helper = hsm.helper_wrapper(&helper_program()).unwrap();
    let desk = desk.without("software_card");
    let desk = desk.set("pkcs11_module", module.to_str().unwrap()).set("helper", helper.to_str().unwrap());
    (desk, hsm)
}

#[test]
fn what_was_signed_before_a_card_failed_is_kept_and_the_rest_told_apart() {
    for (fault, signed, failed) in
        [("fault C_Sign 2 error 0x32", &["a"][..], &["b", "c"][..]), ("fault C_Sign 2 wrong", &["a", "c"], &["b"])]
    {
        let (desk, _hsm) = failing_token(desk(), fault);
        let input = request(&[("a", PAYLOAD), ("b", b"x"), ("c", b"y")]);
        let run = run_with(&desk, &["sign", "--json"], &input);
        let answer = run.json();
        assert_eq!((run.code, &answer["status_code"], &answer["status_string"]), (3, &json!(3), &json!("CardFailed")));
        let ids = |list: &str| {
            answer[list].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((&*ids("signatures"), &*ids("failed_signatures")), (signed, failed));
        assert_eq!(answer["failed_signatures"][0]["status_code"], 3);

        // The files of those that were signed, and no others.
        let files: Vec<_> = ["a", "b", "c"].map(|name| desk.text(name)).into();
        files.iter().for_each(|file| fs::write(file, file).unwrap());
        let run = desk.run(&["sign", &files[0], &files[1], &files[2]]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        for name in ["a", "b", "c"] {
            let file = desk.text(name);
            assert_eq!(desk.path(&format!("{name}.sig")).exists(), signed.contains(&name), "{fault}: {name}");
            assert_eq!(
                run.stderr.contains(&format!("{file} was not signed: ")),
                failed.contains(&name),
                "{}",
                run.stderr
            );
        }
    }
}
