//! Sockets that no child inherits.

use std::io;
use std::os::windows::io::{FromRawSocket, OwnedSocket, RawSocket};
use std::ptr;

use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, INVALID_SOCKET, IPPROTO_TCP, SOCK_STREAM, WSA_FLAG_NO_HANDLE_INHERIT, WSA_FLAG_OVERLAPPED,
    WSAGetLastError, WSASocketW,
};

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
        // SAFETY: the call has no preconditions.
        return Err(io::Error::from_raw_os_error(unsafe { WSAGetLastError() }));
    }
    // SAFETY: the socket is new and belongs to nobody else.
    Ok(unsafe { OwnedSocket::from_raw_socket(socket as RawSocket) })
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::AsRawSocket;

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
}
