//! PINs and tickets are nowhere but where they belong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/secrets/search.rs"]
mod search;
mod support;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use rustix::process::Signal;
use search::form_in;
use support::{Desk, InProcess, command, program, script, socket};
use ticketapi::TicketApi;
use ticketapi_testkit::CardSpec;

/// With all that could be escaped.
const PIN: &str = "q7<Kp&x\"2M%>t'v9&R+<wB/>nH\"y6:jD";

/// For the tests of the search: the broker gives out its own.
const TICKET: &str = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#";

/// All that lies in `folder`, but for what the test itself put there.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(files(&path));
        } else if metadata.is_file() && !path.ends_with("pinentry") {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn neither_pin_nor_ticket_is_in_logs_arguments_environment_or_files() {
    let mut desk = Desk::with(|spine| spine.roles(1));
    let card = desk.path("canary.p12");
    desk.ca.issue(&CardSpec::new("123456789012")).unwrap().write_pkcs12(&card, PIN).unwrap();
    desk.config.software_card = Some(card);
    // What the pinentry sees of its own start is kept too.
    let pinentry = desk.path("pinentry");
    let kept = desk.path("kept");
    fs::create_dir(&kept).unwrap();
    let typed: String = PIN.replace('%', "%25").bytes().map(|byte| format!("\\{byte:03o}")).collect();
    let body = format!(
        "env > {0}/env; echo \"$0 $*\" > {0}/arguments\necho OK\nwhile read -r line; do\n\
         if [ \"$line\" = GETPIN ]; then printf 'D {typed}\\n'; fi\necho OK\ndone\n",
        kept.display()
    );
    script(&pinentry, &body);

    let mut agent = command(&desk);
    let mut agent = InProcess::run(&desk, agent.arg("-v").stdout(Stdio::piped()));
    let mut logs = [
        Box::new(agent.child.stderr.take().unwrap()) as Box<dyn Read + Send>,
        Box::new(agent.child.stdout.take().unwrap()),
    ]
    .map(|mut log| {
        thread::spawn(move || {
            let mut text = Vec::new();
            log.read_to_end(&mut text).unwrap();
            text
        })
    });
    let engine = program(&desk);
    let tickets = [engine.get_ticket().unwrap(), engine.get_new_ticket().unwrap()];
    engine.log_in().unwrap();
    // What it cannot read may be logged, too.
    let mut raw = UnixStream::connect(socket(&desk)).unwrap();
    std::io::Write::write_all(&mut raw, format!("\u{20}\0\0\0\0\0{PIN}, or so").as_bytes()).unwrap();
    drop(raw);
    let process = format!("/proc/{}", agent.child.id());
    let seen = |name: &str| fs::read(format!("{process}/{name}")).unwrap_or_default();
    let mut emitted = vec![("cmdline".to_owned(), seen("cmdline")), ("environ".to_owned(), seen("environ"))];
    assert!(!emitted[0].1.is_empty());
    engine.destroy_ticket().unwrap();
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    for log in logs.each_mut().map(|log| std::mem::replace(log, thread::spawn(Vec::new))) {
        emitted.push(("log".to_owned(), log.join().unwrap()));
    }
    assert!(String::from_utf8_lossy(&emitted[2].1).contains("DEBUG"), "it did not log everything");
    emitted.extend(files(desk.folder.path()));
    emitted.push(("arguments of the pinentry".to_owned(), fs::read(kept.join("arguments")).unwrap()));

    let secrets = [PIN, tickets[0].expose(), tickets[1].expose()];
    for secret in secrets {
        for (place, text) in &emitted {
            assert_eq!(form_in(text, secret.as_bytes()), None, "a secret is in {place}");
        }
        // The search would find it.
        let planted = [b"level=DEBUG ticket=".as_slice(), secret.as_bytes()].concat();
        assert_eq!(form_in(&planted, secret.as_bytes()), Some("raw"));
    }
}
