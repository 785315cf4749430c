//! `service::telemetry` and the extension `health_check` (collector_config.md 7, 8, 16).

/// Settings of logs, metrics and own spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `logs.level`
    pub level: Level,
    /// `logs.encoding: json`
    pub json: bool,
    /// `traces.level` is not `none`: own spans are made.
    pub own_spans: bool,
    /// `host:port` of `/metrics`; `None` with `metrics.level: none`.
    pub metrics_endpoint: Option<String>,
}

/// Least severity of a log line that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: Level::Info, json: false, own_spans: true, metrics_endpoint: Some("localhost:8888".to_owned()) }
    }
}

/// Settings of the health endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `host:port`
    pub endpoint: String,
    /// Path that answers like `/ready`.
    pub path: String,
    /// `response_body.healthy`
    pub healthy_body: Option<String>,
    /// `response_body.unhealthy`
    pub unhealthy_body: Option<String>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { endpoint: "localhost:13133".to_owned(), path: "/".to_owned(), healthy_body: None, unhealthy_body: None }
    }
}
