//! Connections of the API.
//!
//! Duty: accept, speak HTTP/1.1 and HTTP/2, stop. Guarantee: a client that sends no head is cut after 10 s, one that asks
//! nothing more or does not take its answer after 2 min (`idle`), also where the answer is in one piece; at most 1024
//! connections are open, and a stop waits for running answers, but not for ever. Left to others: what is answered
//! (`router`).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::AppState;
use super::door::Local;
use super::idle::{Activity, NEXT};
use crate::access;
use crate::telemetry::Socket;

const MAX_CONNECTIONS: usize = 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What is not done by then is dropped (sql.md 7, Cancel).
const DRAIN: Duration = Duration::from_secs(1);
/// A client of HTTP/2 that is told to leave may take this long.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves on `listeners` until `shutdown`, then lets running answers end for up to 1 s.
pub async fn serve(listeners: Vec<TcpListener>, state: AppState, shutdown: CancellationToken) {
    let router = super::router(state);
    let loopback = access::is_on_loopback(&listeners);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept((listener, loopback), router.clone(), slots.clone(), shutdown.clone()));
    }
    while let Some(ended) = accepting.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener of the API ended");
        }
    }
}

async fn accept(
    (listener, loopback): (TcpListener, bool),
    router: Router,
    slots: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, or the client left: the listener goes on.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Over the cap the connection is closed at once: it costs nothing to try again.
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            connections.spawn(connection((stream, loopback), router.clone(), slot, shutdown.clone()));
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    (stream, loopback): (TcpStream, bool),
    router: Router,
    _slot: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) {
    let Ok(address) = stream.local_addr() else { return };
    // Answers are written in pieces; waiting for more would delay the last one.
    let _ = stream.set_nodelay(true);
    let activity = Activity::new();
    let of_service = activity.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let in_hand = of_service.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Local { address, loopback });
        let answering = router.clone().oneshot(request);
        async move { answering.await.map(|answer| answer.map(|body| in_hand.until_the_end_of(body))) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).keep_alive_interval(Duration::from_secs(30));
    let served = builder.serve_connection(TokioIo::new(Socket::within(stream, NEXT)), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = activity.over() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                // Whoever is silent does not answer to that either. A request that came meanwhile is answered.
                () = async { tokio::time::sleep(GOODBYE).await; activity.over().await } => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection of the API ended early");
    }
}
