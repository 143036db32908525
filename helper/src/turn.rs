//! Programs that log in at the same moment take turns with the cards.
//!
//! A card tells how many tries are left, and then it is asked to check a PIN: two programs that both
//! see two left, and whose users are both wrong, would lock it. Who resets the card after a login would
//! end the one that another program has just begun. And OpenSC 0.23 waits for itself, for ever, when a
//! card is reset while it finds out which one it is.
//!
//! The holder of a turn listens on a name of the kernel's own (unix(7), abstract sockets). Nothing
//! stays behind when it is killed, and who waits is told by the end of a connection. Programs on other
//! systems than Linux, in another network namespace, and of other users do not wait.

use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::{Error, ErrorKind, Result, Stage};

#[cfg(target_os = "linux")]
use linux::{Holds, take};

/// How long to wait for another program: signing and a reset take less than a second, and so do
/// most searches. A PIN that is entered at the reader takes longer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The turn of this process, until it is dropped.
pub struct Turn {
    _holds: Option<Holds>,
}

impl Turn {
    /// Waits until no other program uses the PIN of this card, which is known by the end of `card`: its certificate,
    /// or else its serial number and label.
    ///
    /// # Errors
    ///
    /// [`CardFailed`](ErrorKind::CardFailed) when one has used it for too long;
    /// [`Cancelled`](ErrorKind::Cancelled).
    pub fn with_pin(card: &[u8], cancel: &CancelToken) -> Result<Self> {
        Self::take(&format!("ticketapi-pin-{}", end(card)), cancel, PATIENCE)
    }

    /// Waits until no other program searches or resets the cards; for `patience` at most, as that is
    /// only in the way.
    pub fn with_cards(patience: Duration) -> Self {
        // Each service has cards of its own.
        let service = std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap_or_default();
        let name = format!("ticketapi-cards-{}", end(service.as_encoded_bytes()));
        Self::take(&name, &CancelToken::new(), patience).unwrap_or(Self { _holds: None })
    }

    fn take(name: &str, cancel: &CancelToken, patience: Duration) -> Result<Self> {
        take(name, cancel, patience).map(|holds| Self { _holds: holds })
    }
}

/// The last bytes in hexadecimal: of a certificate, they are its issuer's signature, which is like no
/// other.
fn end(bytes: &[u8]) -> String {
    bytes[bytes.len().saturating_sub(32)..].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(not(target_os = "linux"))]
type Holds = ();

#[cfg(not(target_os = "linux"))]
fn take(_: &str, _: &CancelToken, _: Duration) -> Result<Option<Holds>> {
    Ok(None)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, Read};
    use std::net::Shutdown;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::thread;
    use std::time::Instant;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
    use ticketapi::agent::socket::is_same_user;

    use super::{CancelToken, Duration, Error, ErrorKind, Result, Stage};

    pub(super) type Holds = UnixListener;

    /// How long a holder may have the name before it listens.
    const SOON: Duration = Duration::from_millis(1);

    /// Nothing where nobody is to be waited for.
    pub(super) fn take(name: &str, cancel: &CancelToken, patience: Duration) -> Result<Option<Holds>> {
        // It fails for names that are longer than 107 bytes.
        let Ok(address) = SocketAddr::from_abstract_name(name) else { return Ok(None) };
        let until = Instant::now() + patience;
        loop {
            if let Ok(turn) = UnixListener::bind_addr(&address) {
                return Ok(Some(turn));
            }
            cancel.check(Stage::Pin)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = "another program is using the PIN of the card, so it was not tried";
                return Err(Error::new(ErrorKind::CardFailed, Stage::Pin, text));
            }
            // It has just gone, does not listen yet, or has no room for one more who waits.
            let Ok(holder) = connect(name) else {
                thread::sleep(SOON);
                continue;
            };
            if !is_same_user(&holder).unwrap_or(false) {
                return Ok(None);
            }
            wait_for_end(&holder, left, cancel);
        }
    }

    /// At once or not at all: a holder that lets nobody in would keep who waits for ever.
    fn connect(name: &str) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        let holder = UnixStream::from(socket);
        holder.set_nonblocking(false)?;
        Ok(holder)
    }

    /// Waits until the holder lets go, which ends the connection that it never takes.
    fn wait_for_end(holder: &UnixStream, time: Duration, cancel: &CancelToken) {
        if let (Ok(()), Ok(other)) = (holder.set_read_timeout(Some(time)), holder.try_clone()) {
            let _guard = cancel.on_cancel(move || drop(other.shutdown(Shutdown::Both)));
            let _ = (&*holder).read(&mut [0]);
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    /// One of this test alone.
    fn name(test: &str) -> String {
        format!("ticketapi-test-{test}-{}", std::process::id())
    }

    fn take(name: &str, patience: Duration) -> Result<Turn> {
        Turn::take(name, &CancelToken::new(), patience)
    }

    /// The connection of who waits for the holder's end.
    fn waits_for(turn: &Turn, gave_up: impl Fn() -> bool) -> UnixStream {
        let listener = turn._holds.as_ref().unwrap();
        listener.set_nonblocking(true).unwrap();
        loop {
            match listener.accept() {
                Ok((waits, _)) => return waits,
                Err(error) => assert!(!gave_up(), "{error}"),
            }
            thread::yield_now();
        }
    }

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn the_next_one_has_its_turn_when_the_first_has_ended() {
        let name = name("next");
        let first = take(&name, PATIENCE).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| take(&name, PATIENCE).unwrap());
            let waits = waits_for(&first, || second.is_finished());
            // It does not ask again and again.
            thread::sleep(SHORT);
            assert!(first._holds.as_ref().unwrap().accept().is_err() && !second.is_finished());
            drop((waits, first));
            assert!(second.join().unwrap()._holds.is_some());
        });
    }

    #[test]
    fn one_that_is_kept_too_long_is_no_reason_to_try_the_pin() {
        let name = name("long");
        let _first = take(&name, PATIENCE).unwrap();
        let error = take(&name, SHORT).err().unwrap();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Pin));
    }

    #[test]
    fn waiting_for_a_turn_can_be_cancelled() {
        let (name, cancel) = (name("cancelled"), CancelToken::new());
        let first = take(&name, PATIENCE).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| Turn::take(&name, &cancel, PATIENCE).err().unwrap());
            let _waits = waits_for(&first, || second.is_finished());
            cancel.cancel();
            assert_eq!(*second.join().unwrap().kind(), ErrorKind::Cancelled);
        });
    }

    #[test]
    fn a_holder_that_does_not_listen_yet_is_waited_for() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};
        let name = name("silent");
        let holder = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&holder, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
        assert_eq!(*take(&name, SHORT).err().unwrap().kind(), ErrorKind::CardFailed);
    }

    #[test]
    fn a_holder_that_lets_nobody_in_keeps_nobody_for_ever() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
        let name = name("full");
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        let [holder, first] = [(); 2].map(|()| socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap());
        bind(&holder, &address).unwrap();
        listen(&holder, 0).unwrap();
        connect(&first, &address).unwrap();
        assert_eq!(*take(&name, SHORT).err().unwrap().kind(), ErrorKind::CardFailed);
    }

    #[test]
    fn each_certificate_has_a_turn_of_its_own() {
        assert_eq!(end(b"\x01\xfe"), "01fe");
        let certificate: Vec<u8> = (0..100).collect();
        assert_eq!(end(&certificate), end(&certificate[68..]));
        assert_eq!(end(&certificate).len(), 64);
    }
}
