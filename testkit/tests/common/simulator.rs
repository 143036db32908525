//! A simulator's program, as a supplier runs it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub struct Simulator {
    child: Child,
    output: BufReader<ChildStdout>,
    temporary: tempfile::TempDir,
}

impl Simulator {
    pub fn start(program: &str, arguments: &[&str], input: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, temporary }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    /// Returns the value of the next line, which must have this name.
    pub fn value(&mut self, name: &str) -> String {
        let line = self.line();
        line.strip_prefix(&format!("{name}=")).unwrap_or_else(|| panic!("{name}: {line:?}")).into()
    }

    pub fn skip_to(&mut self, what: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Ends it with a signal. It must exit by itself, with an empty temporary folder.
    pub fn end(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(std::fs::read_dir(self.temporary.path()).unwrap().count(), 0);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
