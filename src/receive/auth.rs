//! Who sends a request (otlp.md G11, H11, T8, and "Denied" of S8).
//!
//! Duty: [`Authenticate`], which an extension gives a receiver, and what it answers. Guarantee: it is asked with all
//! headers before a byte of the body is read, and has five seconds. Left to others: how a caller proves who it is (the
//! extension), statuses (`status`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::HeaderMap;

use super::status::Failure;

/// T8
const LIMIT: Duration = Duration::from_secs(5);

/// A sender whose name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the extension names it.
    pub name: String,
}

/// A sender that is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who it is; `None` = that is what is missing.
    pub caller: Option<Caller>,
    /// English, without secrets.
    pub reason: String,
    /// Value of `WWW-Authenticate`.
    pub challenge: Option<String>,
}

type Ask = dyn Fn(&HeaderMap, SocketAddr) -> BoxFuture<'static, Result<Caller, Denied>> + Send + Sync;

/// Tells from the headers of a request and its peer who sends it; cheap to clone.
#[derive(Clone)]
pub struct Authenticate(Arc<Ask>);

impl Authenticate {
    /// Wraps what an extension does.
    pub fn new(
        ask: impl Fn(&HeaderMap, SocketAddr) -> BoxFuture<'static, Result<Caller, Denied>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ask))
    }

    pub(super) async fn caller(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Caller, Failure> {
        match tokio::time::timeout(LIMIT, (self.0)(headers, peer)).await {
            Ok(outcome) => outcome.map_err(Failure::denied),
            Err(_) => Err(Failure::unavailable("who sends this could not be found out in time; send it again later")),
        }
    }
}

impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticate")
    }
}
