//! Foreign hosts and origins: DNS rebinding and cross-site posts (collector_config.md 4, `web`).
//!
//! Duty: whether a request's `Host`, `Origin` and `Sec-Fetch-Site` fit a listener. Guarantee: a page from elsewhere
//! that a person's browser shows cannot use their loopback. Left to others: the status of a refusal.

use std::net::SocketAddr;

/// Names that a request may be addressed to.
#[derive(Clone, Debug)]
pub struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Loopback names, the bound addresses, and those configured.
    pub fn new(bound: &[SocketAddr], configured: &[String]) -> Self {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
        names.extend(bound.iter().map(|address| match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        }));
        names.extend(configured.iter().map(|name| name.to_ascii_lowercase()));
        Self { names }
    }

    /// Whether a `Host` (or the host of an `Origin`) is one of them, with any port.
    pub fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = match host.rfind(':') {
            // The colons of a bare IPv6 address stand in brackets.
            Some(at) if !host[at..].contains(']') => &host[..at],
            _ => &host,
        };
        self.names.iter().any(|allowed| allowed == name || *allowed == host)
    }
}

/// Whether a mutating request comes from a page of another site.
pub fn is_cross_site(hosts: &Hosts, origin: Option<&str>, fetch_site: Option<&str>) -> bool {
    if fetch_site == Some("cross-site") {
        return true;
    }
    match origin {
        None => false,
        Some(origin) => !origin.split_once("://").is_some_and(|(_, host)| hosts.allows(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let hosts = Hosts::new(&["10.0.0.5:8080".parse().unwrap()], &["Spans.example".to_owned()]);
        for ours in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "10.0.0.5:8080", "spans.example:443"] {
            assert!(hosts.allows(ours), "{ours}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "10.0.0.6:8080", "", "127.0.0.1.evil:80"] {
            assert!(!hosts.allows(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_may_not_post() {
        let hosts = Hosts::new(&[], &[]);
        assert!(!is_cross_site(&hosts, None, None));
        assert!(!is_cross_site(&hosts, Some("http://localhost:8080"), Some("same-origin")));
        assert!(is_cross_site(&hosts, Some("https://evil.example"), None));
        assert!(is_cross_site(&hosts, Some("null"), None));
        assert!(is_cross_site(&hosts, None, Some("cross-site")));
    }
}
