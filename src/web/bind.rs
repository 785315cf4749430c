//! Binding the API's endpoint.
//!
//! Duty: one listener for every address that `host:port` resolves to. Guarantee: with port 0 all of them get the same
//! port where possible. Left to others: whether the address may be open (`access::check_listener`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::Error;

const BACKLOG: i32 = 1024;
const SAME_PORT_TRIES: usize = 16;

/// Binds `endpoint` (`host:port`). `localhost` is 127.0.0.1 and `[::1]`; an empty host is every address.
///
/// Errors: [`Error::Resolve`], [`Error::Bind`] with the port and the setting that moves it.
pub async fn bind(endpoint: &str) -> Result<Vec<TcpListener>, Error> {
    let addresses = resolve(endpoint)
        .await
        .map_err(|error| Error::Resolve { endpoint: endpoint.to_owned(), detail: error.to_string() })?;
    let Some(first) = addresses.first().copied() else {
        return Err(Error::Resolve { endpoint: endpoint.to_owned(), detail: "it has no address".to_owned() });
    };
    let mut tries = if first.port() == 0 { SAME_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let outcome = bind_all(&addresses);
        match outcome {
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
    Ok(addresses)
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut absent = None;
    for address in addresses {
        let mut address = *address;
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr().map_or(0, |local| local.port()));
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 has `localhost` in one family only.
            Err(error) if addresses.len() > 1 && is_absent(&error) => absent = Some((address, error)),
            Err(error) => return Err(Error::Bind { address, detail: error.to_string() }),
        }
    }
    match (listeners.is_empty(), absent) {
        (true, Some((address, error))) => Err(Error::Bind { address, detail: error.to_string() }),
        _ => Ok(listeners),
    }
}

fn is_absent(error: &io::Error) -> bool {
    let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(family)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && !address.ip().is_unspecified() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
