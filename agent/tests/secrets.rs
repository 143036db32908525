//! PINs and tickets appear only where they belong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/secrets/search.rs"]
mod search;
mod support;

use std::fs::{self, DirBuilder, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use search::form_in;
use support::{Desk, InProcess, User, command, script, settings, socket};
use ticketapi::Engine;
use ticketapi::agent::AgentUse;
use ticketapi_testkit::CardSpec;

/// Contains every character that could be escaped.
const PIN: &str = "q7<Kp&x\"2M%>t'v9&R+<wB/>nH\"y6:jD";

/// Reads the files in `folder`, except those that the test itself put there.
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

/// A relay to the agent that records everything that passes.
struct Relay {
    socket: PathBuf,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    fn to(agent: PathBuf, folder: &Path) -> Self {
        DirBuilder::new().mode(0o700).create(folder).unwrap();
        let socket = folder.join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let relay = Self { socket, heard: Arc::clone(&heard) };
        let carry = move |mut from: UnixStream, mut to: UnixStream| {
            let heard = Arc::clone(&heard);
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    heard.lock().unwrap().extend_from_slice(&bytes[..count]);
                    let _ = to.write_all(&bytes[..count]);
                }
                let _ = to.shutdown(Shutdown::Both);
            });
        };
        // Ends with the test's process.
        thread::spawn(move || {
            for program in listener.incoming().map(Result::unwrap) {
                let agent = UnixStream::connect(&agent).unwrap();
                carry(program.try_clone().unwrap(), agent.try_clone().unwrap());
                carry(agent, program);
            }
        });
        relay
    }
}

/// Reads a process's writable memory with the administrator's rights.
fn memory(process: u32) -> Vec<u8> {
    let program = "import sys\n\
                   maps, memory = open(f'/proc/{sys.argv[1]}/maps'), open(f'/proc/{sys.argv[1]}/mem', 'rb', 0)\n\
                   for line in maps:\n\
                   \x20   addresses, rights = line.split()[:2]\n\
                   \x20   start, end = (int(address, 16) for address in addresses.split('-'))\n\
                   \x20   if rights.startswith('rw'):\n\
                   \x20       memory.seek(start)\n\
                   \x20       sys.stdout.buffer.write(memory.read(end - start))\n";
    let id = process.to_string();
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("python3")
    } else {
        // The agent's user namespace has its own administrator.
        let mut command = Command::new("nsenter");
        command.args(["--user", "--preserve-credentials", "--target", &id, "python3"]);
        command
    };
    let output = command.args(["-c", program, &id]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns `true` if eight consecutive characters of `secret` are in `memory`.
fn is_in(memory: &[u8], secret: &str) -> bool {
    let pieces = secret.as_bytes().windows(8);
    pieces.into_iter().any(|piece| memchr::memmem::find(memory, piece).is_some())
}

#[test]
fn neither_pin_nor_ticket_is_in_logs_arguments_environment_files_or_memory_and_no_pin_crosses_the_socket() {
    let mut desk = Desk::with(|spine| spine.roles(1));
    let card = desk.path("canary.p12");
    desk.ca.issue(&CardSpec::new("123456789012")).unwrap().write_pkcs12(&card, PIN).unwrap();
    desk.config.software_card = Some(card);
    // Also records what the pinentry gets at its start.
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
    if !rustix::process::geteuid().is_root() {
        let plain = std::mem::replace(&mut agent, Command::new("unshare"));
        agent.args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_ticketapi-agent")]).env_clear();
        agent.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        agent.stdin(Stdio::null()).stderr(Stdio::piped());
    }
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
    let relay = Relay::to(socket(&desk), &desk.path("relay"));
    let mut config = settings(&desk, AgentUse::Require);
    config.agent_socket = Some(relay.socket.clone());
    let engine = Engine::builder(config).prompter(User::typing(&[])).build().unwrap();
    let tickets = [engine.get_ticket().unwrap(), engine.get_new_ticket().unwrap()];
    engine.log_in().unwrap();
    // A malformed message may be logged, too.
    let mut raw = UnixStream::connect(socket(&desk)).unwrap();
    raw.write_all(format!("\u{20}\0\0\0\0\0{PIN}, or so").as_bytes()).unwrap();
    drop(raw);
    let process = format!("/proc/{}", agent.child.id());
    let seen = |name: &str| fs::read(format!("{process}/{name}")).unwrap_or_default();
    let mut emitted = vec![("cmdline".to_owned(), seen("cmdline")), ("environ".to_owned(), seen("environ"))];
    assert!(!emitted[0].1.is_empty());
    let in_session = memory(agent.child.id());
    assert!(is_in(&in_session, tickets[1].expose()), "the ticket of the session is not found");
    assert!(!is_in(&in_session, PIN), "the PIN is in the agent's memory");
    engine.destroy_ticket().unwrap();
    let logged_out = memory(agent.child.id());
    for secret in [PIN, tickets[0].expose(), tickets[1].expose()] {
        assert!(!is_in(&logged_out, secret), "a secret is in the agent's memory after the session");
    }
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    for log in logs.each_mut().map(|log| std::mem::replace(log, thread::spawn(Vec::new))) {
        emitted.push(("log".to_owned(), log.join().unwrap()));
    }
    assert!(String::from_utf8_lossy(&emitted[2].1).contains("DEBUG"), "it did not log everything");
    emitted.extend(files(desk.folder.path()));
    emitted.push(("arguments of the pinentry".to_owned(), fs::read(kept.join("arguments")).unwrap()));

    let heard = std::mem::take(&mut *relay.heard.lock().unwrap());
    assert_eq!(form_in(&heard, PIN.as_bytes()), None, "the PIN has crossed the socket");
    assert_eq!(form_in(&heard, tickets[0].expose().as_bytes()), Some("raw"));
    let secrets = [PIN, tickets[0].expose(), tickets[1].expose()];
    for secret in secrets {
        for (place, text) in &emitted {
            assert_eq!(form_in(text, secret.as_bytes()), None, "a secret is in {place}");
        }
        // Proves that the search would find the secret.
        let planted = [b"level=DEBUG ticket=".as_slice(), secret.as_bytes()].concat();
        assert_eq!(form_in(&planted, secret.as_bytes()), Some("raw"));
    }
}
