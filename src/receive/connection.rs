//! One connection: which protocol is spoken, its limits, its end.
//!
//! Duty: tell HTTP/1.1 from HTTP/2 by the first bytes, set every limit and timeout of otlp.md L3, L5, L7, L10 and H10 by
//! hand (hyper has none unless told), and drain on shutdown (X1). Guarantee: a connection ends by itself: idle, slow,
//! broken, drained or cut off. Left to others: requests (`grpc`, `http`), stalled writes and lingering closes (`io`).

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Limit};
use super::ingest::Ingest;
use super::io::Socket;
use super::metrics::Transport;
use super::{grpc, http as otlp_http};

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// L5 on the gRPC port.
const GRPC_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A gRPC client that does not read its small answers.
const GRPC_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const HTTP1_HEAD_BYTES: usize = 24 << 10;
/// hyper's own limit alone would let a longer head pass when it arrives in one read.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;
const HTTP1_FIELDS: usize = 100;
const HTTP2_HEADER_LIST_BYTES: u32 = 16 << 10;
/// What a peer may send ahead of our reading, by stream and by connection: enough for 1 GiB/s at 1 ms, and all that a
/// connection can hold beyond its reservations.
const HTTP2_WINDOW_BYTES: u32 = 1 << 20;
const HTTP2_FRAME_BYTES: u32 = 64 << 10;
const HTTP2_PENDING_RESETS: usize = 20;
/// `keepalive.server_parameters`, the defaults of otlp.md 12.
const KEEPALIVE_TIME: Duration = Duration::from_secs(2 * 3600);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// After GOAWAY or a last answer the peer has this long to go: a client that is there answers in a round trip, and of one
/// that is gone a drain need not wait.
const GOODBYE: Duration = Duration::from_secs(2);

/// The two ways all connections are told to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    /// Finish what is in hand.
    pub(super) drain: CancellationToken,
    /// Reset at once (X3).
    pub(super) kill: CancellationToken,
}

struct Timeouts {
    header: Option<Duration>,
    idle: Option<Duration>,
    write: Option<Duration>,
}

/// Drives a connection to its end. A macro, because hyper's two connection types share no trait.
macro_rules! supervise {
    ($connection:ident, $activity:ident, $limits:ident, $ending:ident) => {{
        let (header, idle) = $limits;
        let (mut draining, mut told_at) = (false, None::<Instant>);
        let next = |told_at: Option<Instant>| match told_at {
            None => $activity.next_limit(header, idle),
            // Its time to go begins when it was told and anew after each request that still came.
            Some(told) => $activity.next_limit(header, Some(GOODBYE)).map(|(at, of)| (at.max(told + GOODBYE), of)),
        };
        loop {
            let wake_at = next(told_at).map(|(at, _)| at);
            // A request that began meanwhile has put the limit off.
            let reached = || next(told_at).filter(|(at, _)| *at <= Instant::now());
            tokio::select! {
                biased;
                () = $ending.kill.cancelled() => return,
                () = $ending.drain.cancelled(), if !draining => {
                    draining = true;
                    told_at.get_or_insert_with(Instant::now);
                    $connection.as_mut().graceful_shutdown();
                }
                outcome = $connection.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                () = $activity.changed() => {}
                () = sleep_until(wake_at), if wake_at.is_some() => match reached() {
                    None => {}
                    Some((_, Limit::Idle)) if told_at.is_none() => {
                        $connection.as_mut().graceful_shutdown();
                        told_at = Some(Instant::now());
                    }
                    // The time of a head, or of a goodbye, is over.
                    Some(_) => return,
                },
            }
        }
    }};
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(ingest: Arc<Ingest>, tcp: TcpStream, peer: SocketAddr, transport: Transport, ending: Ending) {
    let timeouts = match (transport, &ingest.config.http) {
        (Transport::Http, Some(http)) => {
            Timeouts { header: http.read_header_timeout, idle: http.idle_timeout, write: http.write_timeout }
        }
        _ => Timeouts { header: Some(GRPC_HEADER_TIMEOUT), idle: None, write: Some(GRPC_WRITE_TIMEOUT) },
    };
    let mut tcp = tcp;
    let mut ahead = BytesMut::new();
    let is_http2 = tokio::select! {
        biased;
        () = ending.kill.cancelled() => return,
        () = ending.drain.cancelled() => return,
        first = tell_apart(&mut tcp, &mut ahead, &timeouts) => match first {
            Some(is_http2) => is_http2,
            None => return,
        },
    };
    let ahead = ahead.freeze();
    let activity = Arc::new(if is_http2 { Activity::of_frames() } else { Activity::new() });
    match (transport, is_http2) {
        // G15: no answer that an HTTP client could take for one.
        (Transport::Grpc, false) => ingest.not_grpc(peer),
        (_, true) => http2(ingest, tcp, ahead, activity, peer, transport, timeouts, ending).await,
        (Transport::Http, false) => http1(ingest, tcp, ahead, activity, peer, timeouts, ending).await,
    }
}

/// Reads until the bytes are, or can no longer become, the HTTP/2 preface; `None` when the peer is too slow or gone.
async fn tell_apart(tcp: &mut TcpStream, ahead: &mut BytesMut, timeouts: &Timeouts) -> Option<bool> {
    let read = async {
        loop {
            let n = ahead.len().min(HTTP2_PREFACE.len());
            if ahead[..n] != HTTP2_PREFACE[..n] {
                return Some(false);
            }
            if n == HTTP2_PREFACE.len() {
                return Some(true);
            }
            if tcp.read_buf(ahead).await.ok()? == 0 {
                return None;
            }
        }
    };
    // Where heads have no limit, a connection without any byte is idle.
    match timeouts.header.or(timeouts.idle) {
        Some(limit) => tokio::time::timeout(limit, read).await.ok()?,
        None => read.await,
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of one connection, named once")]
async fn http2(
    ingest: Arc<Ingest>,
    tcp: TcpStream,
    ahead: Bytes,
    activity: Arc<Activity>,
    peer: SocketAddr,
    transport: Transport,
    timeouts: Timeouts,
    ending: Ending,
) {
    let io = TokioIo::new(Socket::new(tcp, ahead, activity.clone(), timeouts.write).with_frames());
    let streams = ingest.config.grpc.as_ref().filter(|_| transport == Transport::Grpc);
    let streams = streams.map_or(128, |grpc| grpc.max_concurrent_streams);
    let of_service = activity.clone();
    let service = service_fn(move |request| {
        let (ingest, activity) = (ingest.clone(), of_service.clone());
        async move {
            let _in_hand = activity.begin();
            match transport {
                Transport::Grpc => Ok(grpc::answer(&ingest, request, peer).await),
                Transport::Http => otlp_http::answer(&ingest, request, peer, &activity).await,
            }
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .max_header_list_size(HTTP2_HEADER_LIST_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .keep_alive_interval(KEEPALIVE_TIME)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let limits = (timeouts.header, timeouts.idle);
    supervise!(connection, activity, limits, ending);
}

async fn http1(
    ingest: Arc<Ingest>,
    tcp: TcpStream,
    ahead: Bytes,
    activity: Arc<Activity>,
    peer: SocketAddr,
    timeouts: Timeouts,
    ending: Ending,
) {
    // The bytes read ahead are the beginning of a head, and its time runs.
    activity.bytes_arrived();
    let io = TokioIo::new(Socket::new(tcp, ahead, activity.clone(), timeouts.write));
    let keep_alive = ingest.config.http.as_ref().is_none_or(|http| http.keep_alive);
    let of_service = activity.clone();
    let service = service_fn(move |request| {
        let (ingest, activity) = (ingest.clone(), of_service.clone());
        async move {
            let _in_hand = activity.begin();
            otlp_http::answer(&ingest, request, peer, &activity).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .keep_alive(keep_alive)
        .max_headers(HTTP1_FIELDS)
        .max_header_size(HTTP1_HEAD_BYTES)
        .max_buf_size(HTTP1_BUFFER_BYTES)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let limits = (timeouts.header, timeouts.idle);
    supervise!(connection, activity, limits, ending);
}
