//! OTLP in, status out.
//!
//! Duty: the listeners on 4317 and 4318, the order of checks of otlp.md 1, admission, and the answers. Guarantee: a
//! success is sent only after [`crate::span::Next`] has taken the spans durably; every refusal says whether to retry and
//! when. Left to others: bytes to columns (`otlp`), what happens to the spans (`graph`).
//!
//! The way of a request: `listen` accepts, `connection` speaks HTTP, `grpc` or `http` checks in order, `admit` makes room,
//! `body` reads (`arriving` takes the room back from who sends nothing), `inflate` decompresses, `ingest` decodes and hands
//! over, `status` and `answer` say how it went.

mod activity;
mod admit;
mod answer;
mod arriving;
mod auth;
mod body;
pub mod config;
mod connection;
mod frames;
mod grpc;
mod http;
mod inflate;
mod ingest;
mod io;
mod listen;
mod metrics;
mod status;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::error::Class;
use crate::otlp::{Decoded, Limits, Room, Undecodable};
use crate::span::Next;

use admit::Admission;
use connection::Ending;
use ingest::Ingest;
use listen::Caps;
use metrics::Metrics;

pub use admit::Share;
pub use answer::Format;
pub use auth::{Authenticate, Caller, Denied};
pub use config::Config;
pub use metrics::Transport;

/// How a message is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The encoding.
    pub format: Format,
    /// What is acceptable.
    pub limits: &'a Limits,
    /// `json_strict`
    pub strict: bool,
    /// Whoever gives room may wait until there is some, as for a flush.
    pub may_wait: bool,
}

/// Bytes of one request to columns: how, the (decompressed) message, room for the columns.
#[derive(Clone)]
pub struct Decode(Arc<DecodeFn>);

type DecodeFn = dyn Fn(Reading<'_>, &[u8], &mut Room<'_>) -> Result<Decoded, Undecodable> + Send + Sync;

impl Decode {
    /// Wraps a decoder; it is called by several threads at once.
    pub fn new(
        decode: impl Fn(Reading<'_>, &[u8], &mut Room<'_>) -> Result<Decoded, Undecodable> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(decode))
    }
}

impl std::fmt::Debug for Decode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decode")
    }
}

/// Spans that were rejected while the rest of their request was acknowledged: a row of the drop ledger (P4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Id of the receiver.
    pub component: String,
    /// How they came.
    pub transport: Transport,
    /// From where.
    pub peer: SocketAddr,
    /// Row of the table at P2.
    pub reason: &'static str,
    /// `resourceSpans[0].scopeSpans[1].spans[4]`; empty when the row stands for many.
    pub path: String,
    /// As received, in hex, any length.
    pub trace_id: String,
    /// As received, in hex, any length.
    pub span_id: String,
    /// Number of spans.
    pub spans: u64,
    /// Their size on the wire.
    pub bytes: u64,
}

/// Takes the rows of one request; must not block.
#[derive(Clone)]
pub struct OnSetAside(Arc<dyn Fn(Vec<SetAside>) + Send + Sync>);

impl OnSetAside {
    /// Wraps a function that keeps rows.
    pub fn new(keep: impl Fn(Vec<SetAside>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(keep))
    }
}

impl std::fmt::Debug for OnSetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnSetAside")
    }
}

/// What a receiver is connected to.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Takes the spans.
    pub next: Next,
    /// Reads them.
    pub decode: Decode,
    /// Keeps what was rejected.
    pub set_aside: OnSetAside,
    /// For jitter.
    pub clock: Clock,
    /// Knows senders; `None` = anyone may send.
    pub authenticate: Option<Authenticate>,
}

/// Why a receiver did not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(
        "receiver otlp: {transport} endpoint `{endpoint}` does not resolve: {source}; set an address of this machine, \
         e.g. `--set receivers::otlp::protocols::{transport}::endpoint=localhost:0`"
    )]
    Resolve { endpoint: String, transport: Transport, source: std::io::Error },
    #[error(
        "receiver otlp: cannot listen on {address} for {transport}: {source}; stop what listens there or choose another \
         port: `--set receivers::otlp::protocols::{transport}::endpoint=localhost:0`"
    )]
    Bind { address: SocketAddr, transport: Transport, source: std::io::Error },
    #[error("receiver {id}: neither grpc nor http is present at receivers::{id}::protocols; name at least one")]
    NoProtocol { id: String },
    #[error("receiver metrics: {0}")]
    Metrics(prometheus::Error),
}

impl Error {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Resolve { .. } | Self::Bind { .. } => Class::Unavailable,
            Self::NoProtocol { .. } => Class::Invalid,
            Self::Metrics(_) => Class::Internal,
        }
    }
}

/// Where a receiver listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: Vec<SocketAddr>,
    /// OTLP/HTTP.
    pub http: Vec<SocketAddr>,
}

/// One `otlp` receiver, bound.
#[derive(Debug)]
pub struct Receiver {
    ingest: Arc<Ingest>,
    addresses: Addresses,
    listeners: Mutex<Vec<(Transport, TcpListener)>>,
}

impl Receiver {
    /// Binds every port of `config`; connections wait in the kernel until [`Receiver::serve`]. Room for requests is taken
    /// from `share`, unless `config` gives the receiver a pool of its own.
    ///
    /// Errors: a port in use or a name without an address (`Unavailable`), no protocol (`Invalid`).
    pub async fn bind(config: Config, wiring: Wiring, share: &Share, registry: &Registry) -> Result<Self, Error> {
        if config.grpc.is_none() && config.http.is_none() {
            return Err(Error::NoProtocol { id: config.id });
        }
        let mut listeners = Vec::new();
        let mut addresses = Addresses::default();
        let endpoints = [
            (Transport::Grpc, config.grpc.as_ref().map(|grpc| &grpc.endpoint), &mut addresses.grpc),
            (Transport::Http, config.http.as_ref().map(|http| &http.endpoint), &mut addresses.http),
        ];
        for (transport, endpoint, bound) in endpoints {
            let Some(endpoint) = endpoint else { continue };
            for listener in listen::bind(endpoint, transport).await? {
                bound.extend(listener.local_addr());
                listeners.push((transport, listener));
            }
        }
        let metrics = Metrics::register(registry, &config.id)?;
        let share = config.max_inflight_bytes.map_or_else(|| share.clone(), Share::new);
        let admission = Admission::new(share, config.admission_wait, config.retry_delay, wiring.clock);
        let limit_bytes = admission.pool().limit_bytes();
        metrics.inflight_bytes_limit.set(i64::try_from(limit_bytes).unwrap_or(i64::MAX));
        let configured = [
            config.grpc.as_ref().map(|grpc| grpc.max_recv_bytes),
            config.http.as_ref().map(|http| http.max_body_bytes),
        ];
        for configured in configured.into_iter().flatten() {
            let limit = admission.message_limit(configured);
            if limit < configured {
                tracing::warn!(
                    receiver = config.id,
                    configured_bytes = configured,
                    limit_bytes = limit,
                    "message limit lowered to a quarter of max_inflight_bytes; raise memory.limit"
                );
            }
        }
        let taken = (wiring.next, wiring.decode, wiring.set_aside);
        let ingest = Arc::new(Ingest::new(config, admission, metrics, taken, wiring.authenticate));
        Ok(Self { ingest, addresses, listeners: Mutex::new(listeners) })
    }

    /// The bound addresses, in the order tried.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether new requests are turned away because of a shutdown.
    pub fn is_draining(&self) -> bool {
        self.ingest.is_draining()
    }

    /// Serves until `shutdown`, then drains: stops accepting, says GOAWAY or `Connection: close`, lets requests in hand
    /// run to their ack for at most `drain_timeout`, and resets what is left (X1 to X3). A second call returns at once.
    pub async fn serve(&self, shutdown: CancellationToken, drain_timeout: Duration) {
        let listeners = std::mem::take(&mut *self.listeners.lock().expect("no holder of this lock panics"));
        if listeners.is_empty() {
            return;
        }
        let ending = Ending::default();
        // However this future ends, also by being dropped, no connection outlives it.
        let _kill = ending.kill.clone().drop_guard();
        let (connections, accepting) = (TaskTracker::new(), TaskTracker::new());
        let config = &self.ingest.config;
        let caps = || Caps::new(config.max_connections, config.max_connections_per_ip);
        let (grpc_caps, http_caps) = (caps(), caps());
        for (transport, listener) in listeners {
            let caps = if transport == Transport::Grpc { grpc_caps.clone() } else { http_caps.clone() };
            let (ingest, connections, ending) = (self.ingest.clone(), connections.clone(), ending.clone());
            accepting.spawn(listen::accept(listener, ending.drain.clone(), move |tcp, peer| {
                let Some(counted) = caps.admit(peer.ip()) else {
                    Metrics::of(&ingest.metrics.connections_refused, transport).inc();
                    return;
                };
                let (ingest, ending) = (ingest.clone(), ending.clone());
                connections.spawn(async move {
                    let _counted = counted;
                    let open = ingest.metrics.connections.with_label_values(&[transport.as_str(), "open"]);
                    let _gauge = Raised::new(open);
                    connection::serve(ingest, tcp, peer, transport, ending).await;
                });
            }));
        }
        accepting.close();
        let gauge = self.watch_pool();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = gauge => {}
        }
        self.ingest.drain();
        ending.drain.cancel();
        accepting.wait().await;
        connections.close();
        if tokio::time::timeout(drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "drain time is over, open requests are reset");
            ending.kill.cancel();
            connections.wait().await;
        }
    }

    /// Keeps the gauge of reserved bytes current; never ends.
    async fn watch_pool(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            let reserved = self.ingest.admission.pool().reserved_bytes();
            self.ingest.metrics.inflight_bytes.set(i64::try_from(reserved).unwrap_or(i64::MAX));
        }
    }
}

/// A gauge that is one higher while this lives.
struct Raised(prometheus::IntGauge);

impl Raised {
    fn new(gauge: prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}
