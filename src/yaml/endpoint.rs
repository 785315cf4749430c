//! `host:port` of a listener.
//!
//! Duty: check the text and tell whether it is loopback. Guarantee: the port is a number from 0 to 65535. Left to
//! others: resolving names and binding (`receive`, `web`, `telemetry`).

use std::net::IpAddr;

/// A checked `host:port`; port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidEndpoint {
    #[error("it has no port; write host:port, e.g. `localhost:4317`")]
    NoPort,
    #[error("its port is not a number from 0 to 65535")]
    BadPort,
    #[error("an IPv6 address stands in brackets, e.g. `[::1]:4317`")]
    Brackets,
    #[error("a listener has no scheme or path; write host:port, e.g. `localhost:4317`")]
    Scheme,
}

impl std::str::FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if text.contains(['/', ' ', '@']) {
            return Err(InvalidEndpoint::Scheme);
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidEndpoint::NoPort)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|v6| v6.parse::<IpAddr>().is_ok()),
            None => (!host.contains([':', '[', ']'])).then_some(host),
        };
        let host = host.ok_or(InvalidEndpoint::Brackets)?.to_owned();
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidEndpoint::BadPort);
        }
        Ok(Self { host, port: port.parse().map_err(|_| InvalidEndpoint::BadPort)? })
    }
}

impl Endpoint {
    /// Host without brackets; empty = every address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 0 = any.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it. A name other than `localhost` is taken as reachable from outside: it is
    /// not resolved here.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        for (text, want) in [
            ("localhost:4317", Ok(true)),
            ("127.0.0.1:0", Ok(true)),
            ("[::1]:4317", Ok(true)),
            ("0.0.0.0:4317", Ok(false)),
            (":4317", Ok(false)),
            ("[::]:4317", Ok(false)),
            ("collector:4317", Ok(false)),
            ("localhost", Err(InvalidEndpoint::NoPort)),
            ("localhost:", Err(InvalidEndpoint::BadPort)),
            ("localhost:70000", Err(InvalidEndpoint::BadPort)),
            ("localhost:+1", Err(InvalidEndpoint::BadPort)),
            ("::1:4317", Err(InvalidEndpoint::Brackets)),
            ("http://localhost:4317", Err(InvalidEndpoint::Scheme)),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.is_loopback()), want, "{text}");
        }
    }
}
