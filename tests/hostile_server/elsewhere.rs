//! Servers and files that a login must not use, and which notice if it does.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A listening port of the loopback address.
pub struct Elsewhere(TcpListener);

impl Elsewhere {
    pub fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/login/elsewhere", self.0.local_addr().unwrap())
    }

    pub fn saw_nobody(&self) {
        let came = self.0.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(came, Err(ErrorKind::WouldBlock), "somebody connected");
    }
}

/// A file that notices being opened.
pub struct Fifo {
    path: PathBuf,
    opened: Arc<AtomicBool>,
    writer: JoinHandle<File>,
}

impl Fifo {
    pub fn make(path: &Path) -> Self {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        let opened = Arc::<AtomicBool>::default();
        let writer = std::thread::spawn({
            let (path, opened) = (path.to_owned(), Arc::clone(&opened));
            move || {
                // Waits until somebody opens it for reading.
                let file = OpenOptions::new().write(true).open(path).unwrap();
                opened.store(true, Ordering::SeqCst);
                file
            }
        });
        Self { path: path.to_owned(), opened, writer }
    }

    pub fn was_not_opened(self) {
        assert!(!self.opened.load(Ordering::SeqCst), "somebody opened {}", self.path.display());
        // Opened for reading and writing, which is the only way not to wait for the other end.
        let _reader = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        self.writer.join().unwrap();
        assert!(self.opened.load(Ordering::SeqCst), "the check itself sees nothing");
    }
}
