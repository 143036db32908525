//! An HTTP proxy that leads every name to one server: `test-proxy PORT`, where 127.0.0.1 serves at that port. Writes
//! its own address and the requests that come to standard output.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/support/proxy.rs"]
mod proxy;

use std::net::{Ipv4Addr, SocketAddr};

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap();
    let server: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let proxy = proxy::TestProxy::serving(move |head, client| {
        println!("{}", head.lines().next().unwrap_or_default());
        proxy::relay(client, server);
    });
    println!("address={}", proxy.address);
    loop {
        std::thread::park();
    }
}
