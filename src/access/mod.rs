//! Who calls: tokens, the loopback rule, foreign hosts and origins.
//!
//! Duty: decide for a request of the API whether its caller may make it (design.md, ports and access;
//! collector_config.md 4, `web` and `access`). Guarantee: no answer without an identity, and a listener beyond loopback
//! never starts open by accident. Left to others: HTTP itself (`web`), OTLP authentication (a later issue).

pub mod config;
mod error;
mod origin;
mod tokens;

pub use config::{Config, Role};
pub use error::Error;
pub use origin::{Hosts, is_cross_site};

use tokio::net::TcpListener;

use crate::clock::Clock;
use tokens::Tokens;

/// Name of a caller without a token.
pub const ANONYMOUS: &str = "anonymous";

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `anonymous`, or the first digits of the token's hash.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Knows the tokens and the rule for callers without one.
#[derive(Clone, Debug, Default)]
pub struct Access {
    config: Config,
    tokens: Tokens,
}

impl Access {
    /// Reads the tokens file; a missing one is made with one random admin token, mode 0600.
    ///
    /// Errors: the file cannot be read, made or understood.
    pub fn open(config: Config, clock: &Clock) -> Result<Self, Error> {
        let tokens = match &config.tokens_file {
            Some(path) => Tokens::open(path, clock)?,
            None => Tokens::default(),
        };
        Ok(Self { config, tokens })
    }

    /// The admin token, if this start has just made the tokens file: for the one line that tells it.
    pub fn fresh_token(&self) -> Option<&str> {
        self.tokens.fresh()
    }

    /// Who sends `authorization` (the header's value) over a listener that is or is not on loopback.
    ///
    /// Errors: [`Error::Unauthenticated`] without a valid token where one is needed. A token that is wrong is refused
    /// even where none is needed: its sender believes to be someone.
    pub fn identify(&self, authorization: Option<&str>, loopback: bool) -> Result<Identity, Error> {
        if let Some(value) = authorization {
            let (scheme, token) = value.trim().split_once(' ').unwrap_or((value, ""));
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Error::Unauthenticated { why: "the scheme of `Authorization` is not Bearer" });
            }
            return self.tokens.identify(token.trim()).ok_or(Error::Unauthenticated { why: "the token is not known" });
        }
        match self.anonymous(loopback) {
            Some(role) => Ok(Identity { name: ANONYMOUS.to_owned(), role }),
            None => Err(Error::Unauthenticated { why: "a token is needed" }),
        }
    }

    /// What a caller without a token may do.
    fn anonymous(&self, loopback: bool) -> Option<Role> {
        match self.config.anonymous {
            Some(role) => role,
            None => loopback.then_some(Role::Admin),
        }
    }
}

/// Whether what listens on `listeners`, the sockets of one endpoint, is on loopback: where one of them is not, none is.
///
/// The address that a connection came to does not tell: one over 127.0.0.1 to a listener on 0.0.0.0 may come from whatever
/// hands on what other machines send.
pub fn is_on_loopback(listeners: &[TcpListener]) -> bool {
    listeners.iter().all(|listener| listener.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback()))
}

/// Whether a listener at `endpoint`, the value of setting `setting`, may start.
///
/// Errors: [`Error::OpenListener`] with the two ways out, for one beyond loopback without tokens or an explicit rule,
/// or with `anonymous: admin`.
pub fn check_listener(config: &Config, setting: &str, endpoint: &str, loopback: bool) -> Result<(), Error> {
    if loopback {
        return Ok(());
    }
    let open = match config.anonymous {
        Some(Some(Role::Admin)) => true,
        Some(_) => false,
        None => config.tokens_file.is_none(),
    };
    match open {
        true => Err(Error::OpenListener {
            setting: setting.to_owned(),
            endpoint: endpoint.to_owned(),
            admin: config.anonymous.is_some(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
