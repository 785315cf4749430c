//! Foreign hosts and origins.
//!
//! Duty: whether a request's `Host` is one of ours, and whether a page of another site sent it. Guarantee: a name that
//! was bound to our address by someone else's DNS (rebinding) is no host of ours. Left to others: reading headers
//! (`web`).

use std::net::{IpAddr, SocketAddr};

/// Values of `Host` that are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    allowed: Vec<String>,
}

impl Hosts {
    /// Loopback names, the address that was connected to, and `allowed`: names with or without a port.
    pub fn new(allowed: &[String]) -> Self {
        Self { allowed: allowed.iter().map(|host| host.trim().to_ascii_lowercase()).collect() }
    }

    /// Whether `host` (a header's value) names us, for a connection to `local`.
    pub fn allows(&self, host: &str, local: SocketAddr) -> bool {
        let host = host.trim().to_ascii_lowercase();
        let Some((name, _)) = split(&host) else { return false };
        if self.allowed.iter().any(|allowed| *allowed == host || (*allowed == name && split(allowed).is_some())) {
            return true;
        }

        if name == "localhost" {
            return true;
        }
        match address(name) {
            Some(ip) => ip.is_loopback() || ip == canonical(local.ip()),
            None => false,
        }
    }
}

/// Whether a request comes from a page of another site. Another port of our host is one: whoever serves it is not us.
///
/// `origin`, `site` and `host` are the values of `Origin`, `Sec-Fetch-Site` and `Host`. Programs send neither of the
/// first two, and an address that was typed has the site `none`.
pub fn is_cross_site(origin: Option<&str>, site: Option<&str>, host: &str) -> bool {
    let foreign = |site: &str| ["cross-site", "same-site"].iter().any(|of| site.trim().eq_ignore_ascii_case(of));
    if site.is_some_and(foreign) {
        return true;
    }
    let Some(origin) = origin else { return false };
    let authority = origin.trim().split_once("://").map(|(_, authority)| authority.trim_end_matches('/'));
    match authority {
        Some(authority) => !authority.eq_ignore_ascii_case(host.trim()),
        // `null`: a sandboxed frame or a local file.
        None => true,
    }
}

/// Name and port of `host`; `None` if it is neither.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => Some((name, Some(port.parse().ok()?))),
            None => port.is_empty().then_some((name, None)),
        };
    }
    match host.split_once(':') {
        Some((name, port)) if !name.is_empty() => Some((name, Some(port.parse().ok()?))),
        Some(_) => None,
        None => (!host.is_empty()).then_some((host, None)),
    }
}

fn address(name: &str) -> Option<IpAddr> {
    name.parse().ok().map(canonical)
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
