//! The body of an `otlp` receiver (otlp.md 12).

use std::time::Duration;

use super::http::percent_decoded;
use crate::otlp::Limits;
use crate::yaml::{Code, Endpoint, Section};

/// Settings of one `otlp` receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Component id as written, e.g. `otlp/edge`: the label of its metrics.
    pub id: String,
    /// `protocols.grpc`, if present.
    pub grpc: Option<Grpc>,
    /// `protocols.http`, if present.
    pub http: Option<Http>,
    /// `weavergen.max_inflight_bytes`; `None` = the share that all receivers have.
    pub max_inflight_bytes: Option<u64>,
    /// `weavergen.admission_wait`
    pub admission_wait: Duration,
    /// `weavergen.retry_delay`: the shortest delay told to a refused sender.
    pub retry_delay: Duration,
    /// `weavergen.grpc_read_timeout`; `None` switches it off.
    pub grpc_read_timeout: Option<Duration>,
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
    /// Path of the trace endpoint, without escapes.
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
            grpc_read_timeout: Some(Duration::from_secs(30)),
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

impl Config {
    /// Reads the body of the receiver `id`. A null body means every protocol with its defaults (D3); one that
    /// says anything has to name a protocol, as in a Collector.
    pub fn read(id: &str, section: &Section<'_>) -> Self {
        let default = Self::default();
        let protocols = section.block("protocols");
        let (grpc, http) = if section.is_given() {
            (Grpc::read(&protocols), Http::read(&protocols))
        } else {
            (default.grpc.clone(), default.http.clone())
        };
        // What is no mapping has been reported.
        let is_wrong = section.is_set("protocols") && !protocols.is_given();
        if grpc.is_none() && http.is_none() && !is_wrong {
            protocols.check_self("must specify at least one protocol, grpc or http");
        }
        let config = Self { id: id.to_owned(), grpc, http, ..default };
        config.with_ours(&section.block("weavergen").with_days())
    }

    fn with_ours(self, ours: &Section<'_>) -> Self {
        let choices = [("reject_span", false), ("reject_request", true)];
        if ours.size("max_inflight_bytes") == Some(0) {
            ours.check("max_inflight_bytes", "must be above 0");
        }
        Self {
            max_inflight_bytes: ours.size("max_inflight_bytes"),
            admission_wait: ours.duration("admission_wait").unwrap_or(self.admission_wait),
            retry_delay: ours.duration("retry_delay").unwrap_or(self.retry_delay),
            grpc_read_timeout: timeout(ours, "grpc_read_timeout", self.grpc_read_timeout),
            max_connections: count(ours, "max_connections").unwrap_or(self.max_connections),
            max_connections_per_ip: count(ours, "max_connections_per_ip").unwrap_or(self.max_connections_per_ip),
            reject_request: ours.choice("on_invalid_span", &choices).unwrap_or(self.reject_request),
            partial_success_warnings: ours.boolean("partial_success_warnings").unwrap_or(false),
            json_strict: ours.boolean("json_strict").unwrap_or(false),
            limits: limits(&ours.block("limits"), self.limits),
            ..self
        }
    }
}

/// H10: 0 switches a timeout off.
fn timeout(section: &Section<'_>, key: &'static str, default: Option<Duration>) -> Option<Duration> {
    section.duration(key).map_or(default, |time| Some(time).filter(|time| !time.is_zero()))
}

fn count(section: &Section<'_>, key: &'static str) -> Option<usize> {
    section.number(key, 1..=u64::from(u32::MAX)).and_then(|count| usize::try_from(count).ok())
}

fn limits(section: &Section<'_>, default: Limits) -> Limits {
    let size = |key| section.size(key).and_then(|bytes| usize::try_from(bytes).ok());
    // L11: 1..=32, the ceiling of the wire reader.
    let depth = section.number("max_value_depth", 1..=32).and_then(|depth| usize::try_from(depth).ok());
    Limits {
        max_value_depth: depth.unwrap_or(default.max_value_depth),
        max_span_bytes: size("max_span_bytes").unwrap_or(default.max_span_bytes),
        max_attributes: count(section, "max_attributes").unwrap_or(default.max_attributes),
        max_events: count(section, "max_events").unwrap_or(default.max_events),
        max_links: count(section, "max_links").unwrap_or(default.max_links),
        max_key_bytes: size("max_key_bytes").unwrap_or(default.max_key_bytes),
    }
}

impl Grpc {
    fn read(protocols: &Section<'_>) -> Option<Self> {
        if !protocols.has("grpc") {
            return None;
        }
        let section = protocols.block("grpc");
        let default = Self::default();
        transport(&section);
        section.block("dialer").no_effect(&["timeout"]);
        buffers(&section);
        let keepalive = section.block("keepalive");
        keepalive.not_yet(&["server_parameters"]);
        keepalive.no_effect(&["enforcement_policy"]);
        section.not_yet(&["tls", "auth"]);
        section.refuse("middlewares", "is not supported by weavergen");
        if section.boolean("include_metadata") == Some(true) {
            section.no_effect(&["include_metadata"]);
        }
        let streams = section.number("max_concurrent_streams", 0..=u64::from(u32::MAX)).filter(|streams| *streams > 0);
        // L1: MiB; 0 = default; what overflows the u32 lengths of gRPC is refused.
        let mib = section.number("max_recv_msg_size_mib", 0..=4095).filter(|mib| *mib > 0);
        Some(Self {
            endpoint: listener(&section).unwrap_or(default.endpoint),
            max_recv_bytes: mib.map_or(default.max_recv_bytes, |mib| mib << 20),
            max_concurrent_streams: streams
                .and_then(|streams| u32::try_from(streams).ok())
                .unwrap_or(default.max_concurrent_streams),
        })
    }
}

impl Http {
    fn read(protocols: &Section<'_>) -> Option<Self> {
        if !protocols.has("http") {
            return None;
        }
        let section = protocols.block("http");
        let default = Self::default();
        transport(&section);
        section.not_yet(&["tls", "cors", "auth", "response_headers", "compression_algorithms"]);
        section.refuse("middlewares", "is not supported by weavergen");
        section.no_effect(&["metrics_url_path", "logs_url_path"]);
        if section.boolean("include_metadata") == Some(true) {
            section.no_effect(&["include_metadata"]);
        }
        // L2: <= 0 = default.
        let body = section.integer("max_request_body_size").and_then(|bytes| u64::try_from(bytes).ok());
        let timeout = |key, default| timeout(&section, key, default);
        Some(Self {
            endpoint: listener(&section).unwrap_or(default.endpoint),
            max_body_bytes: body.filter(|bytes| *bytes > 0).unwrap_or(default.max_body_bytes),
            traces_path: traces_path(&section).unwrap_or(default.traces_path),
            read_header_timeout: timeout("read_header_timeout", default.read_header_timeout),
            read_timeout: timeout("read_timeout", default.read_timeout),
            write_timeout: timeout("write_timeout", default.write_timeout),
            idle_timeout: timeout("idle_timeout", default.idle_timeout),
            keep_alive: section.boolean("keep_alives_enabled").unwrap_or(default.keep_alive),
        })
    }
}

fn traces_path(section: &Section<'_>) -> Option<String> {
    let path = section.text("traces_url_path").filter(|path| !path.is_empty())?;
    // The Collector puts the slash in front itself.
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    if path.contains(['?', '#', ' ']) {
        section.check("traces_url_path", format!("must be a path without query or fragment, got \"{path}\""));
        return None;
    }
    // H1: that of a request is compared after decoding, so one with an escape would never be asked for.
    let decoded = percent_decoded(&path).and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.filter(|path| !path.chars().any(char::is_control));
    if decoded.is_none() {
        let text = format!("must be text without control characters, its escapes (%XX) as well, got {path:?}");
        section.check("traces_url_path", text);
    }
    decoded
}

/// The endpoint, with the warning of T7.
fn listener(section: &Section<'_>) -> Option<String> {
    let endpoint = section.endpoint("endpoint")?;
    if endpoint.parse::<Endpoint>().is_ok_and(|parsed| !parsed.is_loopback()) {
        section.warn("endpoint", Code::PlainText, format!("takes plain text from other machines on {endpoint}"));
    }
    Some(endpoint)
}

fn transport(section: &Section<'_>) {
    if section.text("transport").is_some_and(|transport| transport != "tcp") {
        section.check("transport", "only \"tcp\" is supported by weavergen yet");
    }
}

fn buffers(section: &Section<'_>) {
    for key in ["read_buffer_size", "write_buffer_size"] {
        if section.number(key, 0..=u64::MAX).is_some() {
            section.no_effect(&[key]);
        }
    }
}
