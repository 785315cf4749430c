//! Small HTTP servers: answering GET requests.
//!
//! Duty: what `/metrics` and health have in common. Guarantee: an address in use is told with the setting that moves it; a
//! client that says nothing for 10 s, asks nothing more for 2 min or does not read for 30 s is cut, and at most 128
//! connections are open on an address. Left to others: the answers, and the sockets (`bind`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::bind::{Unbound, listen};
use super::socket::Socket;

/// To the first byte: a probe asks at once.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);
/// To the head of a request, from the one before too: who scrapes comes more often.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_CONNECTIONS: usize = 128;

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

/// Listens on `endpoint` (`host:port`) as [`listen`] does, for `what`; `setting` moves it.
pub async fn bind(endpoint: &str, what: &'static str, setting: &'static str) -> Result<Vec<TcpListener>, BindError> {
    listen(endpoint).await.map_err(|unbound| {
        let why = match unbound {
            Unbound::Unresolved(error) => format!("it does not resolve: {error}"),
            Unbound::Refused(address, error) => format!("{address}: {error}"),
        };
        BindError { endpoint: endpoint.to_owned(), what, why, setting }
    })
}

/// The addresses that are bound.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// Serves `router` on every listener until `stop` is cancelled.
pub fn serve(listeners: Vec<TcpListener>, router: &Router, stop: &CancellationToken) {
    for listener in listeners {
        tokio::spawn(accept(listener, router.clone(), HEAD_TIMEOUT, stop.clone()));
    }
}

async fn accept(listener: TcpListener, router: Router, head: Duration, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Over the bound it is closed at once: it costs nothing to try again.
            Ok((stream, _)) => {
                if let Ok(slot) = slots.clone().try_acquire_owned() {
                    let (router, stop) = (router.clone(), stop.clone());
                    tokio::spawn(async move {
                        let _slot = slot;
                        connection(stream, router, head, stop).await;
                    });
                }
            }
            Err(error) => {
                // Out of file handles, or the client left: the listener goes on.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

// axum's own loop sets no time, and hyper has none unless told.
async fn connection(stream: TcpStream, router: Router, head: Duration, stop: CancellationToken) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head);
    let said = tokio::select! {
        said = tokio::time::timeout(FIRST_TIMEOUT.min(head), stream.readable()) => said,
        () = stop.cancelled() => return,
    };
    if !matches!(said, Ok(Ok(()))) {
        return;
    }
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(Socket::new(stream)), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_asks_nothing_is_cut_and_who_asks_is_answered() {
        let listener = bind("127.0.0.1:0", "metrics", "x").await.unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        tokio::spawn(accept(listener, router, Duration::from_millis(200), CancellationToken::new()));
        let request = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..];
        for (said, answered) in [(&b""[..], false), (request, true), (&request[..9], false)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said).await.unwrap();
            let mut answer = Vec::new();
            tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
                .await
                .expect("it is closed")
                .unwrap();
            assert_eq!(answer.ends_with(b"here"), answered, "{}", String::from_utf8_lossy(&answer));
        }
    }
}
