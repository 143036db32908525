//! Pages in a real Chromium with the extension: who gets the ticket of the agent's session.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use support::{Desk, InThread, User, program, script};
use ticketapi_testkit::chromium::Chromium;

const EXTENSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/extension");
const SCRIPT: &str = include_str!("../../examples/web/ticketapi.js");

/// Sends pages: `/ticketapi.js`, `/frame?ADDRESS` with a frame, `/sandboxed`, and empty ones, all with the script.
fn answer(stream: impl std::io::Read + Write) {
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
        None if path == "/example/" => ("text/html", "", include_str!("../../examples/web/index.html").into()),
        None if path == "/example/app.js" => ("text/javascript", "", include_str!("../../examples/web/app.js").into()),
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
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
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

fn serve_tls(folder: &Path) -> u16 {
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

/// Installs the host's manifest in the profile. The host writes its process's number to `pid`.
fn install(profile: &Path, desk: &Desk, origin: &str) -> std::io::Result<()> {
    let (host, list) = (desk.path("host"), desk.path("web.toml"));
    std::fs::write(&list, format!("origins = [{origin:?}]"))?;
    let lines = [
        format!("echo $$ >{}", desk.path("pid").display()),
        format!("export HOME={}", desk.folder.path().display()),
        format!("export TICKETAPI_AGENT_SOCKET={}", desk.path("run/agent.sock").display()),
        format!("export TICKETAPI_BASE_URL={}", desk.spine.url()),
        format!("export TICKETAPI_CA_FILE={}", desk.path("ca.pem").display()),
        format!("exec {} --origins {} \"$@\"\n", env!("CARGO_BIN_EXE_ticketapi-web"), list.display()),
    ];
    script(&host, &lines.join("\n"));
    let folder = profile.join("NativeMessagingHosts");
    std::fs::create_dir_all(&folder)?;
    let manifest = include_str!("../install/chromium.json.in");
    let manifest = manifest.replace("@PREFIX@/libexec/ticketapi/ticketapi-web", &host.display().to_string());
    std::fs::write(folder.join("org.ticketapi.web.json"), manifest)
}

/// What a call of the page gives.
fn call(browser: &Chromium, call: &str) -> String {
    let script = format!(
        "const done = arguments[arguments.length - 1]; \
         {call}.then((value) => done(String(value)), (error) => done(error.name + ': ' + error.message))"
    );
    browser.run(&script).unwrap()
}

fn start(desk: &Desk, origin: &str) -> Chromium {
    let arguments = [
        format!("--load-extension={EXTENSION}"),
        format!("--disable-extensions-except={EXTENSION}"),
        "--disable-features=DisableLoadExtensionCommandLineSwitch".into(),
    ];
    Chromium::start_with(&arguments, |profile| install(profile, desk, origin)).unwrap()
}

/// Opens the page, and logs in. On a busy computer the extension may not be there in time for the first page.
fn first_ticket(browser: &Chromium, address: &str) -> String {
    for _ in 0..10 {
        browser.open(address).unwrap();
        let ticket = call(browser, "navigator.ticketapi.getTicket()");
        if ticket != REFUSED {
            return ticket;
        }
    }
    panic!("an allowed page gets no ticket");
}

const REFUSED: &str = "NotAllowedError: not allowed";

#[test]
fn only_a_page_of_an_allowed_origin_gets_the_ticket_in_chromium() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let (tls, plain) = (serve_tls(desk.folder.path()), serve(answer));
    let allowed = format!("https://127.0.0.1:{tls}");
    let browser = start(&desk, &allowed);

    let ticket = first_ticket(&browser, &format!("{allowed}/"));
    assert_eq!(program(&desk).get_ticket_no_auth().unwrap().expose(), ticket);

    let thousand = "(async () => { const all = new Set(); \
        for (let n = 0; n < 1000; n++) all.add(await navigator.ticketapi.getTicketNoAuth()); return [...all].join(); })()";
    assert_eq!(call(&browser, thousand), ticket);
    let many = "Promise.allSettled(Array.from({ length: 10000 }, () => navigator.ticketapi.getTicketNoAuth())) \
        .then((all) => all.every((one) => one.status === 'fulfilled' || one.reason.kind === 'Busy'))";
    assert_eq!(call(&browser, many), "true");

    // The host is killed; the page goes on with another.
    let pid = std::fs::read_to_string(desk.path("pid")).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let until_it_works = "(async () => { for (;;) try { return await navigator.ticketapi.getTicketNoAuth(); } \
        catch { } })()";
    assert_eq!(call(&browser, until_it_works), ticket);

    // A page that makes up messages of its own.
    browser.open(&format!("https://localhost:{tls}/")).unwrap();
    let forged = format!(
        "new Promise((resolve) => {{ const {{ port1, port2 }} = new MessageChannel(); port1.onmessage = (event) => \
         resolve(JSON.stringify(event.data)); window.postMessage('ticketapi', '/', [port2]); \
         port1.postMessage({{ origin: '{allowed}' }}); port1.postMessage({{ id: 1, call: 'getTicketNoAuth', origin: '{allowed}' }}); \
         navigator.ticketapi.getTicket().catch((error) => resolve(error.name + ': ' + error.message)); }})"
    );
    assert_eq!(call(&browser, &forged), REFUSED);
    for address in
        [format!("https://localhost:{tls}/"), format!("http://127.0.0.1:{plain}/"), format!("{allowed}/sandboxed")]
    {
        browser.open(&address).unwrap();
        assert_eq!(call(&browser, "navigator.ticketapi.getTicketNoAuth()"), REFUSED, "{address}");
    }
    for (top, frame) in [
        (allowed.clone(), format!("https://localhost:{tls}/")),
        (format!("https://localhost:{tls}"), format!("{allowed}/")),
        (allowed.clone(), format!("{allowed}/sandboxed")),
    ] {
        browser.open(&format!("{top}/frame?{frame}")).unwrap();
        browser.enter_frame().unwrap();
        assert_eq!(call(&browser, "navigator.ticketapi.getTicketNoAuth()"), REFUSED, "{frame} in {top}");
    }
    browser.open(&format!("{allowed}/frame?{allowed}/")).unwrap();
    browser.enter_frame().unwrap();
    assert_eq!(call(&browser, "top.navigator.ticketapi.getTicketNoAuth()"), ticket);
}

#[test]
fn the_example_page_shows_a_part_of_the_ticket() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let allowed = format!("https://127.0.0.1:{}", serve_tls(desk.folder.path()));
    let browser = start(&desk, &allowed);
    let ticket = first_ticket(&browser, &format!("{allowed}/"));
    browser.open(&format!("{allowed}/example/")).unwrap();
    browser.click("#login").unwrap();
    let shown = "new Promise((resolve) => setInterval(() => { const text = document.getElementById('output').textContent; \
        if (text.startsWith('Logged in.')) resolve(text); }, 20))";
    let shown = call(&browser, shown);
    assert!(shown.contains(&ticket[..4]) && !shown.contains(&ticket[..8]), "{shown}");
    if let Some(file) = std::env::var_os("TICKETAPI_SCREENSHOT") {
        std::fs::write(file, browser.screenshot().unwrap()).unwrap();
    }
}
