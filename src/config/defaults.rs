//! What was taken by default.
//!
//! Duty: one line for each thing that a start chose without being told, with the way to change it. Guarantee: a thing
//! that was set has no line. Left to others: printing them.

use std::time::Duration;

use super::{Config, Request};
use crate::yaml::{Node, Value};

pub(super) fn lines(config: &Config, tree: &Node, request: &Request, built_in_graph: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let is_set = |path: &[&str]| {
        let node = tree.at(path);
        node.is_some_and(|node| !matches!(node.value, Value::Null))
    };
    let mut took = |what: String, how: &str| lines.push(format!("took {what} by default; change it with {how}"));
    if built_in_graph {
        let what = if request.sources.is_empty() { "the built-in configuration" } else { "the built-in pipelines" };
        took(what.to_owned(), "--config FILE");
    }
    if request.data.is_none() && !is_set(&["storage", "path"]) {
        took(format!("the data folder {}", config.store.path.display()), "--data DIR");
    }
    if !is_set(&["storage", "durability"]) {
        let what = format!("durability {}", config.store.durability.as_str());
        took(what, "--set storage.durability=os");
    }
    if !is_set(&["memory", "limit"]) {
        let mib = config.memory_limit_bytes >> 20;
        took(format!("a memory limit of {mib} MiB (75% of what there is)"), "--set memory.limit=SIZE");
    }
    for receiver in &config.receivers {
        let endpoints = [
            ("grpc", "gRPC", receiver.grpc.as_ref().map(|grpc| &grpc.endpoint)),
            ("http", "HTTP", receiver.http.as_ref().map(|http| &http.endpoint)),
        ];
        for (key, word, endpoint) in endpoints {
            let Some(endpoint) = endpoint else { continue };
            if !is_set(&["receivers", &receiver.id, "protocols", key, "endpoint"]) {
                let how = format!("--set {}", flag(&["receivers", &receiver.id, "protocols", key, "endpoint"]));
                took(format!("{endpoint} for OTLP over {word}"), &how);
            }
        }
    }
    if config.web.enabled && !is_set(&["web", "endpoint"]) {
        took(format!("{} for the API", config.web.endpoint), "--set web.endpoint=HOST:PORT");
    }
    let readers_set = is_set(&["service", "telemetry", "metrics", "readers"]);
    if let Some(endpoint) = config.telemetry.metrics_endpoint.as_ref().filter(|_| !readers_set) {
        let reader = "--set 'service.telemetry.metrics.readers=[{pull: {exporter: {prometheus: {port: PORT}}}}]'";
        took(format!("{endpoint} for our own metrics"), reader);
    }
    if built_in_graph {
        for health in &config.health {
            if !is_set(&["extensions", "health_check", "endpoint"]) {
                took(format!("{} for health", health.endpoint), "--set extensions.health_check.endpoint=HOST:PORT");
            }
        }
    }
    lines
}

/// Values in force of settings that people ask for, under the names of the file.
pub(super) fn values(config: &Config) -> Vec<(&'static str, String)> {
    let time = |time: Duration| match time.as_millis() {
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    };
    let query = &config.query;
    vec![
        ("memory.limit", config.memory_limit_bytes.to_string()),
        ("query.flight.enabled", query.flight_enabled.to_string()),
        ("query.max_bytes", query.max_bytes.to_string()),
        ("query.max_rows", query.max_rows.to_string()),
        ("query.planning_timeout", time(query.planning_timeout)),
        ("query.threads", query.threads.to_string()),
        ("query.timeout", time(query.timeout)),
        ("query.trace_window", time(query.trace_window)),
        ("service.weavergen.shutdown_timeout", time(config.shutdown_timeout)),
        ("storage.durability", config.store.durability.as_str().to_owned()),
        ("storage.path", config.store.path.display().to_string()),
        ("web.enabled", config.web.enabled.to_string()),
        ("web.endpoint", config.web.endpoint.clone()),
    ]
}

fn flag(path: &[&str]) -> String {
    format!("{}=HOST:PORT", path.join("."))
}
