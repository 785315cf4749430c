//! Binding an endpoint.
//!
//! Duty: one listener for every address that `host:port` resolves to, for all that listens but receivers. Guarantee: with
//! port 0 all of them get the same port where possible; a family of addresses that this machine lacks keeps nothing else
//! from listening. Left to others: whether the address may be open (`access::check_listener`), and the text of an error.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

const BACKLOG: i32 = 1024;
const SAME_PORT_TRIES: usize = 16;

/// Why nothing listens on an endpoint.
#[derive(Debug)]
pub enum Unbound {
    /// It names no address.
    Unresolved(io::Error),
    /// An address of it is taken, or may not be bound.
    Refused(SocketAddr, io::Error),
}

/// Listens on `endpoint` (`host:port`). `localhost` is 127.0.0.1 and `[::1]`; an empty host is every address.
pub async fn listen(endpoint: &str) -> Result<Vec<TcpListener>, Unbound> {
    let addresses = resolve(endpoint).await.map_err(Unbound::Unresolved)?;
    let any_port = addresses.first().is_some_and(|first| first.port() == 0);
    let mut tries = if any_port { SAME_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match all(&addresses) {
            Err(_) if tries > 0 => {}
            outcome => return outcome,
        }
    }
}

async fn resolve(endpoint: &str) -> io::Result<Vec<SocketAddr>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "it is not host:port");
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    if host.is_empty() {
        return Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)]);
    }
    let mut addresses = Vec::new();
    if host == "localhost" {
        addresses.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        addresses.push(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port));
        return Ok(addresses);
    }
    for address in tokio::net::lookup_host(endpoint).await? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addresses),
    }
}

/// `addresses` has one at least.
fn all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Unbound> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut absent = None;
    for address in addresses {
        let mut address = *address;
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr().map_or(0, |local| local.port()));
        }
        match one(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 has `localhost` in one family only.
            Err(error) if is_absent(&error) => absent = Some((address, error)),
            Err(error) => return Err(Unbound::Refused(address, error)),
        }
    }
    match absent {
        Some((address, error)) if listeners.is_empty() => match address {
            // Every address, on a machine without IPv6.
            SocketAddr::V6(every) if every.ip().is_unspecified() => {
                let every = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), every.port());
                one(every).map(|listener| vec![listener]).map_err(|error| Unbound::Refused(every, error))
            }
            address => Err(Unbound::Refused(address, error)),
        },
        _ => Ok(listeners),
    }
}

fn is_absent(error: &io::Error) -> bool {
    let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(family)
}

fn one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart within the TIME_WAIT of old connections fails; a live listener still makes it fail.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` serves both families.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_without_a_host_is_every_address() {
        let listeners = listen(":0").await.unwrap();
        let bound = listeners[0].local_addr().unwrap();
        assert!(listeners.len() == 1 && bound.ip().is_unspecified() && bound.port() != 0, "{bound}");
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, bound.port())).await.unwrap();
    }

    #[tokio::test]
    async fn localhost_is_one_port_in_every_family_and_a_taken_address_is_named() {
        let listeners = listen("localhost:0").await.unwrap();
        let bound: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(
            bound.iter().all(|address| address.ip().is_loopback() && address.port() == bound[0].port()),
            "{bound:?}"
        );
        let again = listen(&format!("localhost:{}", bound[0].port())).await.unwrap_err();
        assert!(matches!(again, Unbound::Refused(address, _) if address == bound[0]), "{again:?}");
        assert!(matches!(listen("localhost").await, Err(Unbound::Unresolved(_))));
    }
}
