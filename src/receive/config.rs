//! The body of an `otlp` receiver (otlp.md 12).

use std::time::Duration;

use crate::otlp::Limits;

/// Settings of one `otlp` receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Component id as written, e.g. `otlp/edge`: the label of its metrics.
    pub id: String,
    /// `protocols.grpc`, if present.
    pub grpc: Option<Grpc>,
    /// `protocols.http`, if present.
    pub http: Option<Http>,
    /// `weavergen.max_inflight_bytes`; `None` = the share of the memory limit.
    pub max_inflight_bytes: Option<u64>,
    /// `weavergen.admission_wait`
    pub admission_wait: Duration,
    /// `weavergen.retry_delay`: the shortest delay told to a refused sender.
    pub retry_delay: Duration,
    /// `weavergen.grpc_read_timeout`
    pub grpc_read_timeout: Duration,
    /// `weavergen.max_connections`, per listener.
    pub max_connections: usize,
    /// `weavergen.max_connections_per_ip`
    pub max_connections_per_ip: usize,
    /// `weavergen.on_invalid_span: reject_request`
    pub reject_request: bool,
    /// `weavergen.partial_success_warnings`
    pub partial_success_warnings: bool,
    /// `weavergen.json_strict`
    pub json_strict: bool,
    /// `weavergen.limits`
    pub limits: Limits,
}

/// `protocols.grpc`
#[derive(Clone, Debug, PartialEq)]
pub struct Grpc {
    /// `host:port`; `localhost` binds every address it resolves to.
    pub endpoint: String,
    /// Largest message in bytes.
    pub max_recv_bytes: u64,
    /// HTTP/2 streams a connection may have open.
    pub max_concurrent_streams: u32,
}

/// `protocols.http`
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// `host:port`; `localhost` binds every address it resolves to.
    pub endpoint: String,
    /// Largest body in bytes, on the wire and decompressed.
    pub max_body_bytes: u64,
    /// Path of the trace endpoint.
    pub traces_path: String,
    /// `None` switches a timeout off.
    pub read_header_timeout: Option<Duration>,
    /// For the whole request.
    pub read_timeout: Option<Duration>,
    /// For the answer.
    pub write_timeout: Option<Duration>,
    /// Between requests.
    pub idle_timeout: Option<Duration>,
    /// `keep_alives_enabled`
    pub keep_alive: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: "otlp".to_owned(),
            grpc: Some(Grpc::default()),
            http: Some(Http::default()),
            max_inflight_bytes: None,
            admission_wait: Duration::from_millis(100),
            retry_delay: Duration::from_secs(1),
            grpc_read_timeout: Duration::from_secs(30),
            max_connections: 8192,
            max_connections_per_ip: 1024,
            reject_request: false,
            partial_success_warnings: false,
            json_strict: false,
            limits: Limits::default(),
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self { endpoint: "localhost:4317".to_owned(), max_recv_bytes: 64 << 20, max_concurrent_streams: 128 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4318".to_owned(),
            max_body_bytes: 64 << 20,
            traces_path: "/v1/traces".to_owned(),
            read_header_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(60)),
            keep_alive: true,
        }
    }
}
