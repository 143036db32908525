//! A user at a terminal, who reads the screen and presses keys.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{read, write};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, LocalModes, Winsize, tcflow, tcgetattr, tcsetwinsize};
use tempfile::TempDir;

use crate::host::host_on_terminal;
use crate::support::PATIENCE;

pub struct Person {
    pub folder: TempDir,
    master: OwnedFd,
    /// Kept open, so that the terminal exists longer than the host.
    terminal: OwnedFd,
    screen: vt100::Parser,
    /// Everything that was written to the screen.
    written: Vec<u8>,
    host: Option<Child>,
    modes: String,
}

/// Differs from the size that is assumed for a terminal without one.
pub const ROWS: u16 = 20;
const COLUMNS: u16 = 90;

impl Person {
    /// A user at a terminal where the host asks `question`.
    pub fn asked(question: &str) -> Self {
        Self::asked_with(question, &[])
    }

    /// The same, with settings.
    pub fn asked_with(question: &str, settings: &[(&str, &str)]) -> Self {
        // The host's standard input must not matter.
        Self::at_terminal(|folder| {
            let mut host = host_on_terminal(question, folder, "exec \"$@\" </dev/null");
            host.envs(settings.iter().copied());
            host
        })
    }

    /// A user at a terminal where this is started, with the terminal as its standard input.
    pub fn at_terminal(started: impl FnOnce(&std::path::Path) -> Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = PathBuf::from(std::ffi::OsString::from_vec(ptsname(&master, []).unwrap().into_bytes()));
        let terminal = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut host = started(folder.path());
        let modes = modes_of(&terminal);
        let input = Stdio::from(terminal.try_clone().unwrap());
        let host = host.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let screen = vt100::Parser::new(ROWS.try_into().unwrap(), COLUMNS.try_into().unwrap(), 0);
        Self { folder, master, terminal, screen, written: Vec::new(), host: Some(host), modes }
    }

    pub fn press(&self, keys: &str) {
        let mut keys = keys.as_bytes();
        while !keys.is_empty() {
            keys = &keys[write(&self.master, keys).unwrap()..];
        }
    }

    /// Waits until the screen is as wanted.
    pub fn sees(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(&self.screen()) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} is not on the screen:\n{}", self.screen());
            self.read(left);
        }
    }

    pub fn sees_text(&mut self, text: &str) {
        self.sees(text, |screen| screen.contains(text));
    }

    pub fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    pub fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub fn makes(&self, file: &str) {
        fs::write(self.folder.path().join(file), "").unwrap();
    }

    /// Makes the terminal hold back output.
    pub fn holds_output(&self) {
        tcflow(&self.terminal, Action::OOff).unwrap();
    }

    /// Closes the window. Returns what the host printed.
    pub fn closes_window(mut self) -> String {
        let host = self.host.take().unwrap();
        drop(self);
        String::from_utf8(host.wait_with_output().unwrap().stdout).unwrap()
    }

    /// Returns what the host printed, after it has ended and restored the terminal.
    pub fn outcome(&mut self) -> String {
        let output = self.host.take().unwrap().wait_with_output().unwrap();
        while self.read(std::time::Duration::ZERO) {}
        assert_eq!(modes_of(&self.terminal), self.modes, "the terminal is not as it was");
        assert!(!self.screen.screen().hide_cursor(), "the cursor is hidden");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Reads what arrives within this time. Returns `false` if nothing does.
    fn read(&mut self, left: std::time::Duration) -> bool {
        let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut ready, Some(&Timespec::try_from(left).unwrap())).unwrap_or(0) == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let length = read(&self.master, &mut buffer).unwrap();
        self.screen.process(&buffer[..length]);
        self.written.extend_from_slice(&buffer[..length]);
        true
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(mut host) = self.host.take() {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

fn modes_of(terminal: impl AsFd) -> String {
    let modes = tcgetattr(terminal).unwrap();
    format!("{:?} {:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes, modes.special_codes)
}
