//! Small HTTP servers: binding an endpoint, answering GET requests.
//!
//! Duty: what `/metrics` and health have in common. Guarantee: `localhost` binds every address it resolves to, and an
//! address in use is told with the setting that moves it. Left to others: the answers.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint} for {what}: {why}; free it, or move it with `--set {setting}`")]
pub struct BindError {
    endpoint: String,
    what: &'static str,
    why: String,
    setting: &'static str,
}

impl BindError {
    /// What the caller can do about it: free the address or choose another.
    pub fn class(&self) -> crate::error::Class {
        crate::error::Class::Unavailable
    }
}

/// Binds all addresses that `endpoint` (`host:port`) resolves to; with port 0 all get the first one's port if it is free.
pub async fn bind(endpoint: &str, what: &'static str, setting: &'static str) -> Result<Vec<TcpListener>, BindError> {
    let failed = |why: String| BindError { endpoint: endpoint.to_owned(), what, why, setting };
    let addresses = tokio::net::lookup_host(endpoint).await.map_err(|error| failed(error.to_string()))?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    for mut address in addresses {
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr().map_err(|error| failed(error.to_string()))?.port());
        }
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 still resolves `localhost` to ::1.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable && !listeners.is_empty() => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    if listeners.is_empty() { Err(failed("it resolves to no address".to_owned())) } else { Ok(listeners) }
}

/// The addresses that are bound.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// Serves `router` on every listener until `stop` is cancelled.
pub fn serve(listeners: Vec<TcpListener>, router: &Router, stop: &CancellationToken) {
    for listener in listeners {
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "listener failed");
            }
        });
    }
}
