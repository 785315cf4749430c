//! Listening sockets and connection caps.
//!
//! Duty: bind every address an endpoint resolves to (otlp.md G1), accept on all of them alike, and hold the caps of L9.
//! Guarantee: a connection over a cap is closed at once and costs nothing more; an accept error never ends a listener.
//! Left to others: what is spoken on a connection (`connection`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::metrics::Transport;

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 1024;
/// A client whose machine has gone is found out so.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Tries to find one free port in both address families.
const SAME_PORT_TRIES: usize = 16;

/// Binds `endpoint` (`host:port`; an empty host is every address). With port 0 all addresses get the same free port
/// where possible.
pub(super) async fn bind(endpoint: &str, transport: Transport) -> Result<Vec<TcpListener>, Error> {
    let addresses = resolve(endpoint).await.map_err(|source| Error::Resolve {
        endpoint: endpoint.to_owned(),
        transport,
        source,
    })?;
    let in_use = |(address, source)| Error::Bind { address, transport, source };
    if addresses.iter().all(|a| a.port() != 0) || addresses.len() == 1 {
        return bind_all(&addresses).map_err(in_use);
    }
    for _ in 0..SAME_PORT_TRIES {
        let first = bind_all(&addresses[..1]).map_err(in_use)?;
        let port = first[0].local_addr().map_err(|source| in_use((addresses[0], source)))?.port();
        let others: Vec<_> = addresses[1..].iter().map(|a| SocketAddr::new(a.ip(), port)).collect();
        if let Ok(others) = bind_rest(&others) {
            return Ok(first.into_iter().chain(others).collect());
        }
    }
    bind_all(&addresses).map_err(in_use)
}

async fn resolve(endpoint: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some(port) = endpoint.strip_prefix(':') {
        let port = port.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the port is not a number"))?;
        return Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)]);
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in tokio::net::lookup_host(endpoint).await? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // A hosts file that knows `localhost` in one family only would leave clients of the other outside.
    if let Some(("localhost", port)) = endpoint.rsplit_once(':')
        && let Ok(port) = port.parse()
    {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            if !addresses.iter().any(|a| a.is_ipv4() == ip.is_ipv4()) {
                addresses.push(SocketAddr::new(ip, port));
            }
        }
    }
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

type Failed = (SocketAddr, io::Error);

/// Binds all; an address family this machine lacks is left out as long as one address remains.
fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failed> {
    let mut listeners = bind_rest(addresses)?;
    if listeners.is_empty() {
        let fallback = match addresses[0] {
            // `:4317` on a machine without IPv6.
            SocketAddr::V6(a) if a.ip().is_unspecified() => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), a.port()),
            address => address,
        };
        listeners.push(bind_one(fallback).map_err(|e| (fallback, e))?);
    }
    Ok(listeners)
}

fn bind_rest(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failed> {
    let mut listeners = Vec::new();
    for &address in addresses {
        match bind_one(address) {
            Ok(listener) => listeners.push(listener),
            Err(e) if family_is_missing(&e) => {
                tracing::info!(%address, error = %e, "address family not available, address left out");
            }
            Err(e) => return Err((address, e)),
        }
    }
    Ok(listeners)
}

fn family_is_missing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| code == Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let SocketAddr::V6(v6) = address {
        // The wildcard serves both families, as the Collector's does.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    // Without it a restart within the TIME_WAIT of old connections fails; a live listener still makes it fail.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connections open on one port, in total and by peer address.
#[derive(Debug)]
pub(super) struct Caps {
    total: usize,
    per_ip: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// One counted connection.
#[derive(Debug)]
pub(super) struct Counted {
    caps: Arc<Caps>,
    ip: IpAddr,
}

impl Caps {
    pub(super) fn new(total: usize, per_ip: usize) -> Arc<Self> {
        Arc::new(Self { total, per_ip, open: Mutex::default() })
    }

    /// Counts a connection from `ip`; `None` when a cap is reached.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Counted> {
        let ip = ip.to_canonical();
        let mut open = self.open.lock().expect("no holder of this lock panics");
        if open.total >= self.total || open.by_ip.get(&ip).is_some_and(|n| *n >= self.per_ip) {
            return None;
        }
        open.total += 1;
        *open.by_ip.entry(ip).or_default() += 1;
        Some(Counted { caps: self.clone(), ip })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock().expect("no holder of this lock panics");
        open.total -= 1;
        if let Some(n) = open.by_ip.get_mut(&self.ip) {
            *n -= 1;
            if *n == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
    }
}

/// Accepts until `stop`, and hands each connection on.
pub(super) async fn accept(
    listener: TcpListener,
    stop: CancellationToken,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Answers are small and written at once: waiting for more to send only adds latency.
                if let Err(e) = stream.set_nodelay(true) {
                    tracing::debug!(error = %e, "set_nodelay failed");
                }
                if let Err(e) = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)) {
                    tracing::debug!(error = %e, "set_tcp_keepalive failed");
                }
                take(stream, peer);
            }
            Err(e) if is_of_one_connection(&e) => {}
            Err(e) => {
                // Out of file descriptors or memory: waiting is all that helps.
                tracing::warn!(error = %e, "accept failed, trying again in 100 ms");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_with_port_0_listens_on_one_port_in_every_family() {
        let listeners = bind("localhost:0", Transport::Grpc).await.unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == addresses[0].port()), "{addresses:?}");
        assert!(addresses[0].is_ipv4(), "{addresses:?}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_the_way_out() {
        let taken = bind("127.0.0.1:0", Transport::Http).await.unwrap();
        let address = taken[0].local_addr().unwrap();
        let text = bind(&address.to_string(), Transport::Http).await.unwrap_err().to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains("--set receivers::otlp::protocols::http::endpoint="), "{text}");
    }

    #[test]
    fn connections_are_capped_in_total_and_by_address_and_come_back() {
        let caps = Caps::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = caps.admit(a).unwrap();
        let mapped = caps.admit("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(caps.admit(a).is_none(), "two of one address, in either spelling");
        let _third = caps.admit(b).unwrap();
        assert!(caps.admit(b).is_none(), "three in total");
        drop((first, mapped));
        assert!(caps.admit(a).is_some());
    }
}
