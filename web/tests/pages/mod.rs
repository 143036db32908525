//! Servers of pages, and the host as a browser finds it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod story;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};

use ticketapi_testkit::CardSpec;

use super::support::{Desk, UID, pinentry, script};

const SCRIPT: &str = include_str!("../../../examples/web/ticketapi.js");

/// Sends pages: `/ticketapi.js`, `/frame?ADDRESS` with a frame, `/sandboxed`, and empty ones, all with the script.
pub fn answer(stream: impl std::io::Read + Write) {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
        if request.is_empty() {
            request.clone_from(&line);
        }
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head = "<!doctype html><title>page</title><script src=/ticketapi.js></script>";
    let (kind, policy, body) = match path.split_once('?') {
        Some((_, address)) => ("text/html", "", format!("{head}<iframe src='{address}'></iframe>")),
        None if path == "/example/" => ("text/html", "", include_str!("../../../examples/web/index.html").into()),
        None if path == "/example/app.js" => {
            ("text/javascript", "", include_str!("../../../examples/web/app.js").into())
        }
        // Both the extension and its twin for the bare host, in the benchmark.
        None if path == "/both" => {
            let bare =
                SCRIPT.replace("\"ticketapi\"", "\"ticketapi-bare\"").replace("navigator.ticketapi", "window.bare");
            ("text/html", "", format!("{head}<script>{bare}</script>"))
        }
        None if path.ends_with("/ticketapi.js") => ("text/javascript", "", SCRIPT.into()),
        None if path == "/sandboxed" => {
            ("text/html", "Content-Security-Policy: sandbox allow-scripts\r\n", head.into())
        }
        None => ("text/html", "", head.into()),
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{policy}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    // The browser may have closed the connection.
    let _ = stream.get_mut().write_all(text.as_bytes());
}

/// A server on a free port, which it returns. It ends with the test's process.
pub fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

pub fn serve_tls(folder: &Path) -> u16 {
    let (key, certificate) = (folder.join("server.key"), folder.join("server.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success());
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key_file(key, SslFiletype::PEM).unwrap();
    acceptor.set_certificate_chain_file(certificate).unwrap();
    let acceptor = acceptor.build();
    serve(move |stream| {
        if let Ok(stream) = acceptor.accept(stream) {
            answer(stream);
        }
    })
}

/// Installs the host's manifest in `folder`, for a page of `origin`, which may also have documents signed. The host
/// writes its process's number to `pid`.
pub fn install(folder: &Path, manifest: &str, desk: &Desk, origin: &str) -> std::io::Result<()> {
    // The one to measure, for the benchmark.
    let program =
        std::env::var_os("WEB_HOST").map_or_else(|| env!("CARGO_BIN_EXE_ticketapi-web").into(), PathBuf::from);
    let (host, list, settings) = (desk.path("host"), desk.path("web.toml"), desk.path("settings"));
    std::fs::write(&list, format!("origins = [{origin:?}]\nsigning = [{origin:?}]"))?;
    let lines = [
        format!("echo $$ >{}", desk.path("pid").display()),
        format!("HOME={}", desk.folder.path().display()),
        format!("set -a; . {}", settings.display()),
        format!("exec {} --origins {} \"$@\"\n", program.display(), list.display()),
    ];
    script(&host, &lines.join("\n"));
    set(desk, &settings_of(desk))?;
    std::fs::create_dir_all(folder)?;
    let manifest = manifest.replace("@PREFIX@/libexec/ticketapi/ticketapi-web", &host.display().to_string());
    std::fs::write(folder.join("org.ticketapi.web.json"), manifest)
}

/// The settings of a host for the agent of `desk`, with a card of the same user to sign with.
pub fn settings_of(desk: &Desk) -> Vec<(&'static str, String)> {
    let card = desk.quick_card(&CardSpec::new(UID).for_signing());
    pinentry(&desk.path("pinentry"), "");
    vec![
        ("AGENT_SOCKET", desk.path("run/agent.sock").display().to_string()),
        ("BASE_URL", desk.spine.url()),
        ("CA_FILE", desk.path("ca.pem").display().to_string()),
        ("SOFTWARE_CARD", card.display().to_string()),
        ("PINENTRY", desk.path("pinentry").display().to_string()),
    ]
}

/// Gives these settings to hosts that start from now on.
pub fn set(desk: &Desk, settings: &[(&str, String)]) -> std::io::Result<()> {
    let lines: String = settings.iter().map(|(name, value)| format!("TICKETAPI_{name}='{value}'\n")).collect();
    std::fs::write(desk.path("settings"), lines)
}
