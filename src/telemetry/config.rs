//! `service::telemetry` and the extension `health_check` (collector_config.md 7, 8, 16).

use crate::yaml::{Code, Endpoint, Section};

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

impl Config {
    /// Reads `service::telemetry`.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let logs = section.block("logs");
        let levels = [("debug", Level::Debug), ("info", Level::Info), ("warn", Level::Warn), ("error", Level::Error)];
        logs.not_yet(&["sampling", "output_paths", "error_output_paths", "initial_fields", "processors"]);
        logs.no_effect(&["development", "disable_caller", "disable_stacktrace", "disable_zap_resource"]);
        let traces = section.block("traces");
        traces.not_yet(&["processors", "propagators"]);
        section.not_yet(&["resource"]);
        Self {
            level: logs.choice_any_case("level", &levels).unwrap_or(default.level),
            json: logs.choice("encoding", &[("console", false), ("json", true)]).unwrap_or(default.json),
            own_spans: traces.choice_any_case("level", LEVELS).unwrap_or(default.own_spans),
            metrics_endpoint: metrics_endpoint(&section.block("metrics")),
        }
    }
}

/// The Collector's levels of telemetry; `false` = off.
const LEVELS: &[(&str, bool)] = &[("none", false), ("basic", true), ("normal", true), ("detailed", true)];

fn metrics_endpoint(metrics: &Section<'_>) -> Option<String> {
    let on = metrics.choice_any_case("level", LEVELS).unwrap_or(true);
    metrics.not_yet(&["views"]);
    if metrics.is_set("address") {
        metrics.warn("address", Code::KeyIgnored, "is ignored; set the reader's host and port instead");
    }
    let endpoint = match metrics.blocks("readers") {
        None => Config::default().metrics_endpoint,
        Some(readers) => {
            if readers.is_empty() && on {
                metrics.check("readers", "must not be empty while level is not none");
            }
            if readers.len() > 1 {
                metrics.check("readers", "one pull reader is supported by weavergen yet");
            }
            let endpoints: Vec<String> = readers.iter().map(pull_endpoint).collect();
            endpoints.into_iter().next()
        }
    };
    endpoint.filter(|_| on)
}

fn pull_endpoint(reader: &Section<'_>) -> String {
    reader.not_yet(&["periodic"]);
    if !reader.has("pull") && !reader.has("periodic") {
        reader.check_self("must have a pull reader");
    }
    let prometheus = reader.block("pull").block("exporter").block("prometheus");
    for key in ["without_scope_info", "without_units", "without_type_suffix"] {
        if prometheus.boolean(key) == Some(false) {
            prometheus.check(key, "only true is supported by weavergen yet");
        }
    }
    prometheus.not_yet(&["with_resource_constant_labels"]);
    let host = prometheus.text("host").unwrap_or_else(|| "localhost".to_owned());
    let port = prometheus.number("port", 0..=65535).unwrap_or(8888);
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let endpoint = format!("{host}:{port}");
    if let Err(why) = endpoint.parse::<Endpoint>() {
        prometheus.check("host", format!("invalid host \"{host}\": {why}"));
    }
    endpoint
}

impl HealthCheck {
    /// Reads the body of a `health_check` extension.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        section.not_yet(&["tls", "cors", "auth", "response_headers", "compression_algorithms"]);
        section.refuse("middlewares", "is not supported by weavergen");
        section.no_effect(&["check_collector_pipeline", "include_metadata", "max_request_body_size"]);
        section.no_effect(&["read_timeout", "read_header_timeout", "write_timeout", "idle_timeout"]);
        section.no_effect(&["keep_alives_enabled"]);
        if section.text("transport").is_some_and(|transport| transport != "tcp") {
            section.check("transport", "only \"tcp\" is supported by weavergen yet");
        }
        let path = section.text("path").unwrap_or(default.path);
        if !path.starts_with('/') {
            section.check("path", format!("must start with /, got \"{path}\""));
        } else if path.contains(['?', '#', ' ']) {
            section.check("path", format!("must be a path without query or fragment, got \"{path}\""));
        }
        let body = section.block("response_body");
        Self {
            endpoint: section.endpoint("endpoint").unwrap_or(default.endpoint),
            path,
            healthy_body: body.text("healthy"),
            unhealthy_body: body.text("unhealthy"),
        }
    }
}
