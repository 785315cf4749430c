//! Who calls: tokens, the loopback rule, foreign hosts and origins.
//!
//! Duty: decide for a request of the API whether its caller may make it (design.md, ports and access;
//! collector_config.md 4, `web` and `access`). Guarantee: no answer without an identity, and a listener beyond loopback
//! never starts open by accident. Left to others: HTTP itself (`web`), OTLP authentication (a later issue).

pub mod config;
mod hosts;
mod tokens;

use std::net::SocketAddr;

pub use config::{Config, Role};
pub use hosts::{Hosts, is_cross_site};
pub use tokens::{Tokens, TokensError};

use crate::error::Class;

/// The rules for one listener; cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Tokens,
    anonymous: Option<Role>,
}

/// A listener would be open to strangers.
#[derive(Debug, thiserror::Error)]
#[error(
    "the API would listen on {address}, which others can reach, without asking who calls: set `access.tokens_file` to a \
     file of tokens (it is made if it is missing), or say `access.anonymous: viewer` to let everybody read"
)]
pub struct OpenListener {
    address: SocketAddr,
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token where one is needed.
    #[error("no token was sent: add the header `Authorization: Bearer <token>`")]
    NoToken,
    /// A token that is not in the file.
    #[error("the token is not known: it may have been removed from the tokens file")]
    UnknownToken,
}

impl Denied {
    /// Always [`Class::Denied`].
    pub fn class(&self) -> Class {
        Class::Denied
    }
}

impl Access {
    /// The rules for listeners at `addresses`.
    ///
    /// Errors: [`OpenListener`] if one is not loopback and callers would not be asked.
    pub fn try_new(config: &Config, tokens: Tokens, addresses: &[SocketAddr]) -> Result<Self, OpenListener> {
        let outside = addresses.iter().find(|address| !address.ip().is_loopback());
        let anonymous = match (config.anonymous, outside) {
            (Some(Some(Role::Admin)), Some(address)) => return Err(OpenListener { address: *address }),
            (None, Some(address)) if config.tokens_file.is_none() => return Err(OpenListener { address: *address }),
            (Some(anonymous), _) => anonymous,
            (None, Some(_)) => None,
            (None, None) => Some(Role::Admin),
        };
        Ok(Self { tokens, anonymous })
    }

    /// The role of a caller who sent this `Authorization` header.
    pub fn role(&self, authorization: Option<&str>) -> Result<Role, Denied> {
        let Some(header) = authorization else {
            return self.anonymous.ok_or(Denied::NoToken);
        };
        let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return self.anonymous.ok_or(Denied::NoToken);
        };
        self.tokens.role(token.trim()).ok_or(Denied::UnknownToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:8080";
    const OUTSIDE: &str = "0.0.0.0:8080";

    fn access(config: &Config, address: &str) -> Result<Access, OpenListener> {
        Access::try_new(config, Tokens::parse("secret admin\nread viewer\n").unwrap(), &[address.parse().unwrap()])
    }

    #[test]
    fn loopback_needs_no_token_unless_anonymous_is_none() {
        let open = access(&Config::default(), LOOPBACK).unwrap();
        assert_eq!(open.role(None), Ok(Role::Admin));
        assert_eq!(open.role(Some("Bearer wrong")), Err(Denied::UnknownToken));
        let closed = access(&Config { anonymous: Some(None), ..Config::default() }, LOOPBACK).unwrap();
        assert_eq!(closed.role(None), Err(Denied::NoToken));
    }

    #[test]
    fn a_listener_that_others_reach_is_refused_unless_callers_are_asked() {
        let text = access(&Config::default(), OUTSIDE).unwrap_err().to_string();
        assert!(text.contains("access.tokens_file") && text.contains("access.anonymous: viewer"), "{text}");
        assert!(access(&Config { anonymous: Some(Some(Role::Admin)), ..Config::default() }, OUTSIDE).is_err());
        let viewer = access(&Config { anonymous: Some(Some(Role::Viewer)), ..Config::default() }, OUTSIDE).unwrap();
        assert_eq!(viewer.role(None), Ok(Role::Viewer));
        let config = Config { tokens_file: Some("tokens".into()), ..Config::default() };
        let tokens = access(&config, OUTSIDE).unwrap();
        assert_eq!(tokens.role(None), Err(Denied::NoToken));
        assert_eq!(tokens.role(Some("bearer read")), Ok(Role::Viewer));
    }
}
