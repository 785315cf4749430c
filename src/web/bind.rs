//! Binding the API's endpoint.
//!
//! Duty: tell why it is not bound, with the setting that moves it. Guarantee: as [`telemetry::listen`]. Left to others:
//! whether the address may be open (`access::check_listener`).

use tokio::net::TcpListener;

use super::Error;
use crate::telemetry::{self, Unbound};

/// Binds `endpoint` (`host:port`). `localhost` is 127.0.0.1 and `[::1]`; an empty host is every address.
///
/// Errors: [`Error::Resolve`], [`Error::Bind`] with the port and the setting that moves it.
pub async fn bind(endpoint: &str) -> Result<Vec<TcpListener>, Error> {
    telemetry::listen(endpoint).await.map_err(|unbound| match unbound {
        Unbound::Unresolved(error) => Error::Resolve { endpoint: endpoint.to_owned(), detail: error.to_string() },
        Unbound::Refused(address, error) => Error::Bind { address, detail: error.to_string() },
    })
}
