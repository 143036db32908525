//! Sockets that no child inherits, and learning of their data.

use std::io;
use std::os::windows::io::{AsRawSocket, BorrowedSocket, FromRawSocket, OwnedSocket, RawSocket};
use std::ptr;

use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, FD_CLOSE, FD_READ, INVALID_SOCKET, IPPROTO_TCP, SOCK_STREAM, SOCKET, WSA_FLAG_NO_HANDLE_INHERIT,
    WSA_FLAG_OVERLAPPED, WSAEVENT, WSAEventSelect, WSAGetLastError, WSASocketW,
};

use crate::event::Event;

/// Returns a new socket for TCP, over IPv6 or IPv4. The system's sockets must have been started.
///
/// # Errors
///
/// If the system has no room for it.
pub fn tcp(v6: bool) -> io::Result<OwnedSocket> {
    let family = i32::from(if v6 { AF_INET6 } else { AF_INET });
    // SAFETY: null stands for the system's own provider.
    let socket = unsafe {
        let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
        WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, ptr::null(), 0, flags)
    };
    if socket == INVALID_SOCKET {
        return Err(last_error());
    }
    // SAFETY: the socket is new and belongs to nobody else.
    Ok(unsafe { OwnedSocket::from_raw_socket(socket as RawSocket) })
}

/// Has `event` set when data or the end of the connection arrives at `socket`, or if it is there already. Ends this for
/// the event that was given before, and has the socket not block.
///
/// # Errors
///
/// If the system has no room for it.
pub fn set_on_data(socket: BorrowedSocket<'_>, event: &Event) -> io::Result<()> {
    // SAFETY: the socket and the event are open. The system keeps the event as long as it needs it.
    let result = unsafe {
        let what = (FD_READ | FD_CLOSE) as i32;
        WSAEventSelect(socket.as_raw_socket() as SOCKET, event.raw() as WSAEVENT, what)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> io::Error {
    // SAFETY: the call has no preconditions.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::windows::io::{AsHandle, AsSocket};
    use std::time::{Duration, Instant};

    use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE, HANDLE_FLAG_INHERIT};

    use super::*;

    #[test]
    fn no_child_inherits_a_socket() {
        drop(std::net::UdpSocket::bind("127.0.0.1:0"));
        let socket = tcp(false).unwrap();
        let mut flags = 0;
        // SAFETY: the socket is open, and `flags` is writable.
        crate::check(unsafe { GetHandleInformation(socket.as_raw_socket() as HANDLE, &mut flags) }).unwrap();
        assert_eq!(flags & HANDLE_FLAG_INHERIT, 0);
    }

    #[test]
    fn an_event_is_set_by_data_and_by_the_end_also_by_those_of_before() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let event = Event::new().unwrap();
        let is_set = |time| {
            let until = Some(Instant::now() + Duration::from_secs(time));
            let set = crate::event::wait_any(&[event.as_handle()], until).unwrap().is_some();
            event.reset();
            set
        };
        set_on_data(client.as_socket(), &event).unwrap();
        assert!(!is_set(0));
        server.write_all(b"one").unwrap();
        assert!(is_set(60));
        // Nothing was read.
        set_on_data(client.as_socket(), &event).unwrap();
        assert!(is_set(60));
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 3);
        set_on_data(client.as_socket(), &event).unwrap();
        assert!(!is_set(0));
        drop(server);
        assert!(is_set(60));
        set_on_data(client.as_socket(), &event).unwrap();
        assert!(is_set(60));
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    }
}
