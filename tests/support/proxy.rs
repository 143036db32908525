//! An HTTP proxy on a real socket that leads every name to one server, or misbehaves.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

type Serve = dyn Fn(&str, &mut TcpStream) + Send + Sync;

/// Serves every connection on a thread of its own, until it is dropped.
pub struct TestProxy {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl TestProxy {
    /// A proxy that connects to `server`, whatever name it is asked for.
    pub fn to(server: SocketAddr) -> Self {
        Self::serving(move |_, client| relay(client, server))
    }

    /// As [`TestProxy::to`], for requests that have this value of `Proxy-Authorization`.
    pub fn for_users(server: SocketAddr, authorization: &str) -> Self {
        let header = format!("\r\nProxy-Authorization: {authorization}\r\n");
        Self::serving(move |head, client| {
            if head.contains(&header) {
                relay(client, server);
            } else {
                let refused = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\
                               Content-Length: 2\r\n\r\nno";
                let _ = client.write_all(refused.as_bytes());
            }
        })
    }

    /// A proxy that gives this answer and closes the connection.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::serving(move |_, client| {
            let _ = client.write_all(&answer);
        })
    }

    /// A proxy that does this with the head of a request and its connection.
    pub fn serving(serve: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stopping): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let serve: Arc<Serve> = Arc::new(serve);
        let accepting = thread::spawn({
            let (asked, stopping) = (Arc::clone(&asked), Arc::clone(&stopping));
            move || {
                let (mut threads, mut open) = (Vec::new(), Vec::new());
                for mut client in listener.incoming().map(Result::unwrap) {
                    if stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    open.push(client.try_clone().unwrap());
                    let (asked, serve) = (Arc::clone(&asked), Arc::clone(&serve));
                    threads.push(thread::spawn(move || {
                        if let Some(head) = read_head(&mut client) {
                            asked.lock().unwrap().push(head.clone());
                            serve(&head, &mut client);
                        }
                        let _ = client.shutdown(Shutdown::Both);
                    }));
                }
                open.iter().for_each(|client| drop(client.shutdown(Shutdown::Both)));
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            }
        });
        Self { address, asked, stopping, accepting: Some(accepting) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests that came.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until that many requests have come.
    pub fn wait_for(&self, count: usize) {
        for _ in 0..15_000 {
            if self.asked().len() >= count {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("only {:?} came", self.asked());
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let ended = self.accepting.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn read_head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Says that the connection is there, and carries bytes both ways until it ends.
pub fn relay(client: &mut TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server) else {
        let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
        return;
    }
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    let _ = io::copy(client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    back.join().unwrap();
}

/// Waits until the client is gone.
pub fn hang(client: &mut TcpStream) {
    let gone = io::copy(client, &mut io::sink());
    assert!(gone.is_ok() || gone.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}
