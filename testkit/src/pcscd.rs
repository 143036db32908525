//! A private PC/SC service with two virtual readers, for tests.
//!
//! Needs Linux, Debian's `pcscd` and `vsmartcard-vpcd`, a C compiler, and either root or user namespaces. The
//! service runs in its own mount namespace, where the fixed folder `/run/pcscd` is a folder of the test: so it
//! does not disturb others, and tests can run in parallel. Its readers listen only on the loopback interface.

mod usb;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::error::{Context, Error, Result, write_file};
use crate::script::write_wrapper;

const SERVICE: &str = "/usr/sbin/pcscd";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";

const LOOPBACK: &str = include_str!("pcscd/loopback.c");

/// Starts the service, prints its process id, and kills it when standard input ends: when this object is dropped,
/// or when the test's process dies in any way.
const SCRIPT: &str = r#"
mount -t tmpfs none /run && mkdir /run/pcscd && mount --bind "$1/run" /run/pcscd || exit 1
preload=$1/loopback.so
if [ -d "$1/drivers" ]; then
    mount --bind "$1/drivers" /usr/lib/pcsc/drivers || exit 1
    preload=$preload:$1/drivers/usb.bundle/Contents/Linux/usb.so
fi
LD_PRELOAD=$preload "$2" --foreground --config "$1/readers" --error </dev/null >"$1/log" 2>&1 &
echo $!
read -r _
kill -KILL $! 2>/dev/null
wait
"#;

/// A running service. Dropping it ends the service.
pub struct Pcscd {
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

struct Running {
    shell: Child,
    service: Pid,
}

impl Pcscd {
    /// Starts a service with empty readers. The service is ready when this returns.
    pub fn start() -> Result<Self> {
        Self::start_with(Self::write_readers)
    }

    /// Starts a service without readers. [`Pcscd::plug_in`] adds two, which are one USB device.
    pub fn start_with_usb() -> Result<Self> {
        Self::start_with(|pcscd| usb::write_driver(pcscd.folder.path(), pcscd.port))
    }

    /// Starts a service without readers.
    pub fn without_readers() -> Result<Self> {
        Self::start_with(|_| Ok(()))
    }

    fn start_with(set_up: impl Fn(&Self) -> Result<()>) -> Result<Self> {
        for program in [SERVICE, DRIVER] {
            if !Path::new(program).exists() {
                return Err(failed(format!("{program} is missing (Debian packages pcscd and vsmartcard-vpcd)")));
            }
        }
        let folder = TempDir::with_prefix("ticketapi-pcscd-").context(|| "cannot make a folder for pcscd".into())?;
        for name in ["run", "readers"] {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).context(|| format!("cannot make {}", path.display()))?;
        }
        compile(LOOPBACK, &folder.path().join("loopback.so"), [])?;
        let mut pcscd = Self { folder, port: 0, running: None };
        // Another process may take a port after it was found free.
        for _ in 0..5 {
            pcscd.port = free_ports()?;
            set_up(&pcscd)?;
            pcscd.restart()?;
            if !pcscd.log().contains("Open Port") {
                return Ok(pcscd);
            }
        }
        Err(failed(format!("its readers did not start: {}", pcscd.log())))
    }

    fn write_readers(&self) -> Result<()> {
        let readers = format!(
            "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:0x{0:X}\nLIBPATH {DRIVER}\nCHANNELID 0x{0:X}\n",
            self.port
        );
        write_file(&self.folder.path().join("readers/vpcd"), readers)
    }

    /// The port of the first reader, `Virtual PCD 00 00`, for [`PivCard::insert`](crate::PivCard::insert).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the second reader, `Virtual PCD 00 01`.
    pub fn second_port(&self) -> u16 {
        self.port + 1
    }

    /// Plugs in the USB device, which adds the readers `USB Reader 00 00` and `USB Reader 00 01` on the ports of
    /// the others. Only with [`Pcscd::start_with_usb`]. The service notices a moment later.
    pub fn plug_in(&self) -> Result<()> {
        usb::send(self.folder.path(), b'+')
    }

    /// Unplugs the USB device. Cards in its readers have to be inserted again.
    pub fn unplug(&self) -> Result<()> {
        usb::send(self.folder.path(), b'-')
    }

    /// The service's socket, for `PCSCLITE_CSOCK_NAME`.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/pcscd.comm")
    }

    /// Writes a script that runs `program` with this service and with the script's arguments, for the setting
    /// `helper`.
    pub fn helper_wrapper(&self, program: &Path) -> Result<PathBuf> {
        write_wrapper(self.folder.path(), "PCSCLITE_CSOCK_NAME", &self.socket(), program)
    }

    /// Kills the service, like a crash. Its readers and their cards are gone.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = kill_process(running.service, Signal::KILL);
            // The shell's input ends, so it reaps the service and ends too.
            drop(running.shell.stdin.take());
            let _ = running.shell.wait();
        }
        // A service that is ended properly removes these files itself.
        for name in ["run/pcscd.comm", "run/pcscd.pid"] {
            let _ = std::fs::remove_file(self.folder.path().join(name));
        }
    }

    /// Ends the service and starts it again with the same socket and ports. Cards have to be inserted again.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut arguments: Vec<OsString> = vec!["--mount".into()];
        if !geteuid().is_root() {
            arguments.extend(["--user".into(), "--map-root-user".into()]);
        }
        arguments.extend(["sh", "-c", SCRIPT, "sh"].map(Into::into));
        arguments.extend([self.folder.path().into(), SERVICE.into()]);
        let mut shell = Command::new("unshare")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "cannot run unshare".into())?;
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        let service = line.trim().parse().ok().and_then(Pid::from_raw);
        let Some(service) = service else {
            let _ = shell.wait();
            return Err(failed("no mount namespace could be made for it (not root, and no user namespaces?)".into()));
        };
        self.running = Some(Running { shell, service });
        self.wait_until_ready()
    }

    /// Connects to the socket until the service accepts, because the service does not report that it is ready.
    fn wait_until_ready(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(self.socket()).is_err() {
            if Instant::now() > give_up {
                return Err(failed(format!("it did not start: {}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What the service printed: errors only, without card commands.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Compiles a shared library from `source`.
fn compile(source: &str, library: &Path, arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-x", "c", "-", "-x", "none", "-o"])
        .arg(library)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .context(|| "cannot run cc".into())?;
    if let Some(mut input) = compiler.stdin.take() {
        input.write_all(source.as_bytes()).context(|| "cannot run cc".into())?;
    }
    if compiler.wait().context(|| "cannot run cc".into())?.success() {
        Ok(())
    } else {
        Err(failed(format!("cc could not compile {}", library.display())))
    }
}

fn failed(problem: String) -> Error {
    Error::Program { program: "pcscd".into(), problem }
}

/// Returns the first of two consecutive ports without a listener, below the range that systems assign. The reader
/// driver cannot choose a free port itself.
fn free_ports() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const PAIRS: u16 = 5_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(PAIRS)) as u16;
    for _ in 0..PAIRS {
        let step = NEXT.fetch_add(7, Ordering::Relaxed);
        let port = FIRST + 2 * ((start + step % PAIRS) % PAIRS);
        if [port, port + 1].iter().all(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()) {
            return Ok(port);
        }
    }
    Err(failed("there are no free ports".into()))
}
