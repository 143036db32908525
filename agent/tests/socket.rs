//! The socket belongs to one agent and one user.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use support::{Desk, InProcess, InThread, User, kind, program, settings, socket, wait_until};
use ticketapi::agent::{self, AgentUse};
use ticketapi::{Engine, ErrorKind};
use ticketapi_agent::Agent;

fn refusal(desk: &Desk) -> ticketapi::Error {
    let config = settings(desk, AgentUse::Never);
    Agent::listen(Engine::builder(config.clone()), &config).err().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn other_users_cannot_access_the_socket_and_its_folder_whatever_the_umask() {
    let desk = Desk::new();
    let home = desk.path("home");
    let sockets = [("XDG_RUNTIME_DIR", home.join("ticketapi")), ("HOME", home.join(".local/state/ticketapi"))];
    for (variable, folder) in sockets {
        if variable == "HOME" && Path::new(&format!("/run/user/{}", rustix::process::getuid())).exists() {
            // The system has created a better place.
            continue;
        }
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "umask 0; exec \"$0\"", env!("CARGO_BIN_EXE_ticketapi-agent")]).env_clear();
        support::environment(&desk, &mut command);
        command
            .env_remove("TICKETAPI_AGENT_SOCKET")
            .env(variable, &home)
            .env("PATH", std::env::var_os("PATH").unwrap());
        let mut child = command.spawn().unwrap();
        let socket = folder.join("agent.sock");
        wait_until(|| fs::metadata(&socket).is_ok_and(|_| mode(&socket) == 0o600));
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("agent.lock")), 0o600);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn of_agents_that_start_at_once_one_serves_and_the_others_report_that() {
    let desk = Desk::new();
    let config = settings(&desk, AgentUse::Never);
    for _ in 0..20 {
        let agents: Vec<_> = thread::scope(|scope| {
            let start = || Agent::listen(Engine::builder(config.clone()), &config);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (served, refused): (Vec<_>, Vec<_>) = agents.into_iter().partition(Result::is_ok);
        assert_eq!(served.len(), 1);
        for error in refused.into_iter().map(|refused| refused.err().unwrap()) {
            assert_eq!(*error.kind(), ErrorKind::AgentRunning);
            assert!(error.detail().starts_with("an agent is running already"), "{error}");
        }
    }
}

#[test]
fn a_second_agent_leaves_the_first_agents_socket_and_session_alone() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let ticket = program(&desk).get_ticket().unwrap();
    let error = refusal(&desk);
    assert_eq!(*error.kind(), ErrorKind::AgentRunning);
    assert_eq!(error.detail(), format!("an agent is running already (process {})", std::process::id()));
    assert_eq!(program(&desk).get_ticket_no_auth().unwrap(), ticket);
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_a_wrong_setting() {
    let desk = Desk::new();
    let mut config = settings(&desk, AgentUse::Never);
    let folder = desk.path(&"x".repeat(100));
    config.agent_socket = Some(folder.join("agent.sock"));
    let error = Agent::listen(Engine::builder(config.clone()), &config).err().unwrap();
    assert_eq!(*error.kind(), ErrorKind::Configuration);
    assert!(error.detail().starts_with("agent_socket: a socket cannot have a path as long as /"), "{error}");
    assert!(!folder.exists());
}

#[test]
fn the_socket_of_a_crashed_agent_is_replaced() {
    let desk = Desk::new();
    let mut crashed = InProcess::start(&desk, "");
    crashed.signal(Signal::KILL);
    crashed.child.wait().unwrap();
    assert!(socket(&desk).exists());
    assert_eq!(kind(program(&desk).get_ticket_no_auth()), ErrorKind::AgentNotAvailable);
    let _agent = InThread::start(&desk, &User::new());
    program(&desk).get_ticket().unwrap();
}

#[test]
fn a_file_planted_at_the_sockets_path_is_neither_used_nor_removed() {
    let desk = Desk::new();
    let (socket, elsewhere) = (socket(&desk), desk.path("elsewhere"));
    let _other = UnixListener::bind(&elsewhere).unwrap();
    for planted in ["a link to a socket", "a link to nothing", "a file", "a folder"] {
        match planted {
            "a link to a socket" => symlink(&elsewhere, &socket).unwrap(),
            "a link to nothing" => symlink("/nowhere", &socket).unwrap(),
            "a file" => fs::write(&socket, "").unwrap(),
            _ => fs::create_dir(&socket).unwrap(),
        }
        let problem = format!("{} is not a socket", socket.display());
        for error in [refusal(&desk), agent::status(&settings(&desk, AgentUse::Auto)).unwrap_err()] {
            assert_eq!(*error.kind(), ErrorKind::AgentNotAvailable);
            assert!(error.detail().contains(&problem), "{planted}: {error}");
        }
        assert!(fs::symlink_metadata(&socket).is_ok(), "{planted} was removed");
        fs::remove_file(&socket).or_else(|_| fs::remove_dir(&socket)).unwrap();
    }
}

#[test]
fn a_lock_file_that_is_a_link_is_not_followed() {
    let desk = Desk::new();
    let precious = desk.path("precious");
    fs::write(&precious, "kept").unwrap();
    symlink(&precious, socket(&desk).with_extension("lock")).unwrap();
    assert_eq!(*refusal(&desk).kind(), ErrorKind::AgentNotAvailable);
    assert_eq!(fs::read_to_string(precious).unwrap(), "kept");
}

#[test]
fn a_folder_that_is_a_link_or_accessible_to_others_is_not_used() {
    let desk = Desk::new();
    let folder = socket(&desk).parent().unwrap().to_owned();
    for bits in [0o710, 0o701, 0o770, 0o777, 0o740] {
        fs::set_permissions(&folder, Permissions::from_mode(bits)).unwrap();
        for error in [refusal(&desk), agent::status(&settings(&desk, AgentUse::Auto)).unwrap_err()] {
            let problem = format!("{} is open to other users", folder.display());
            assert!(error.detail().contains(&problem), "{bits:o}: {error}");
        }
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let moved = desk.path("moved");
    fs::rename(&folder, &moved).unwrap();
    symlink(&moved, &folder).unwrap();
    for error in [refusal(&desk), agent::status(&settings(&desk, AgentUse::Auto)).unwrap_err()] {
        assert!(error.detail().contains(&format!("{} is not a folder", folder.display())), "{error}");
    }
}

#[test]
fn a_socket_that_is_accessible_to_others_is_not_used() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    fs::set_permissions(socket(&desk), Permissions::from_mode(0o666)).unwrap();
    let error = agent::status(&settings(&desk, AgentUse::Auto)).unwrap_err();
    assert!(error.detail().contains("is open to other users"), "{error}");
}

/// Runs `script` as another user, who can enter the folder as if the system were misconfigured.
fn as_another_user(desk: &Desk, script: &str) -> String {
    for folder in [desk.folder.path(), socket(desk).parent().unwrap()] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(socket(desk), Permissions::from_mode(0o777)).unwrap();
    // Root becomes another user; other users become one in their own user namespace.
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new("setpriv"),
        false => Command::new("unshare"),
    };
    match rustix::process::geteuid().is_root() {
        true => command.args(["--reuid", "65534", "--clear-groups", "--regid", "65534"]),
        false => command.args(["--user", "--map-auto", "--setuid", "65534"]),
    };
    // A search path without root's folders.
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let output = command.args(["python3", "-c", script]).arg(socket(desk)).stderr(Stdio::inherit()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn another_user_gets_no_ticket_and_does_not_disturb_the_agent() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let engine = program(&desk);
    engine.get_ticket().unwrap();
    let ticket = engine.get_ticket_no_auth().unwrap();
    let ask = "import socket, sys\n\
               s = socket.socket(socket.AF_UNIX)\n\
               s.connect(sys.argv[1])\n\
               try:\n\
               \x20   s.sendall(bytes([3, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]))\n\
               \x20   print('got', s.recv(1000))\n\
               except ConnectionError:\n\
               \x20   print('refused')\n";
    let answer = as_another_user(&desk, ask);
    assert!(["got b''\n", "refused\n"].contains(&&*answer), "{answer}");
    // The engine's open connection still works.
    assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
}

#[test]
fn the_same_request_of_the_same_user_is_answered() {
    // Shows that the test above is refused because of its user and not because of its request.
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let ticket = program(&desk).get_ticket().unwrap();
    let mut stream = UnixStream::connect(socket(&desk)).unwrap();
    std::io::Write::write_all(&mut stream, &[3, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]).unwrap();
    let mut answer = [0; 200];
    let mut filled = 0;
    while !String::from_utf8_lossy(&answer).contains(ticket.expose()) {
        let count = stream.read(&mut answer[filled..]).unwrap();
        assert!(count > 0, "the agent closed the connection");
        filled += count;
    }
}

#[test]
fn an_agent_uses_the_socket_that_the_service_manager_passes() {
    let desk = Desk::with(|spine| spine.roles(1));
    support::pinentry(&desk.path("pinentry"), "");
    let listener = UnixListener::bind(socket(&desk)).unwrap();
    fs::set_permissions(socket(&desk), Permissions::from_mode(0o600)).unwrap();
    // A program connects before the agent runs, which socket activation allows.
    let early = thread::spawn({
        let engine = program(&desk);
        move || engine.get_ticket()
    });
    let mut command = Command::new("sh");
    let start = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\"";
    command.args(["-c", start, env!("CARGO_BIN_EXE_ticketapi-agent")]).env_clear();
    support::environment(&desk, &mut command);
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("TICKETAPI_AGENT_SOCKET", "/nowhere/agent.sock");
    command.stdin(std::os::fd::OwnedFd::from(listener));
    let mut agent = InProcess::run(&desk, &mut command);
    drop(command);
    let ticket = early.join().unwrap().unwrap();
    assert_eq!(program(&desk).get_ticket_no_auth().unwrap(), ticket);
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    assert!(socket(&desk).exists(), "the socket is the service manager's");
    assert_eq!(desk.spine.open_sessions(), 0);
}
