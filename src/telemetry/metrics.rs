//! `/metrics`: every counter of the daemon in Prometheus' text form.
//!
//! Duty: the endpoint, and the metrics of the process itself. Guarantee: names are exactly those registered. Left to
//! others: all other metrics, which the modules register.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Gauge, Opts, Registry, TextEncoder};

use crate::clock::Clock;

/// The routes of the metrics endpoint.
pub fn router(registry: Registry) -> Router {
    // Some collectors read files.
    let scraped = move || {
        let registry = registry.clone();
        async move { tokio::task::spawn_blocking(move || scrape(&registry)).await.map_err(failed) }
    };
    Router::new().route("/metrics", get(scraped))
}

fn scrape(registry: &Registry) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => failed(error),
    }
}

fn failed(error: impl std::fmt::Display) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

/// `otelcol_process_{uptime,cpu_seconds,memory_rss}`, read at every scrape.
#[derive(Debug)]
pub struct Process {
    clock: Clock,
    began_ns: i64,
    uptime: Gauge,
    cpu_seconds: Gauge,
    memory_rss: Gauge,
}

impl Process {
    /// Registers the metrics of this process; uptime counts from now.
    pub fn register(registry: &Registry, clock: Clock) -> prometheus::Result<()> {
        let gauge = |name: &str, help: &str| Gauge::with_opts(Opts::new(name, help));
        let process = Self {
            began_ns: clock.now_ns(),
            clock,
            uptime: gauge("otelcol_process_uptime", "Seconds since the daemon started.")?,
            cpu_seconds: gauge("otelcol_process_cpu_seconds", "User and system time of the process in seconds.")?,
            memory_rss: gauge("otelcol_process_memory_rss", "Resident memory of the process in bytes.")?,
        };
        registry.register(Box::new(process))
    }

    fn gauges(&self) -> [&Gauge; 3] {
        [&self.uptime, &self.cpu_seconds, &self.memory_rss]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        self.uptime.set((self.clock.now_ns() - self.began_ns) as f64 / 1e9);
        if let Some((cpu_seconds, rss_bytes)) = usage() {
            self.cpu_seconds.set(cpu_seconds);
            self.memory_rss.set(rss_bytes);
        }
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}

/// CPU seconds and resident bytes of this process, from Linux' `/proc`; `None` elsewhere.
fn usage() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces; fields are counted behind its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let pages: f64 = fields.get(21)?.parse().ok()?;
    #[allow(clippy::cast_precision_loss, reason = "page sizes are small")]
    let (tick, page) = (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as f64);
    Some((ticks / tick, pages * page))
}

/// Memory of this process that no file backs, in bytes: what a limit kills for. From Linux' `/proc`; `None` elsewhere.
pub fn held_bytes() -> Option<u64> {
    held_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn held_in(status: &str) -> Option<u64> {
    let kib = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim_end().parse().ok()
    };
    Some((kib("RssAnon:")? + kib("RssShmem:").unwrap_or(0)) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_holds_is_read_without_what_files_back() {
        let status = "VmRSS:\t   9000 kB\nRssAnon:\t   1024 kB\nRssFile:\t   7000 kB\nRssShmem:\t      2 kB\n";
        assert_eq!((held_in(status), held_in("VmRSS:\t 9 kB\n")), (Some(1_026 << 10), None));
        let kept = vec![1_u8; 8 << 20];
        assert!(held_bytes().is_none_or(|bytes| bytes > kept.len() as u64), "{:?}", held_bytes());
    }

    #[test]
    fn a_scrape_shows_the_process_under_the_collectors_names() {
        let registry = Registry::new();
        Process::register(&registry, Clock::os()).unwrap();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let rss = text.lines().find_map(|l| l.strip_prefix("otelcol_process_memory_rss ")).unwrap();
        assert!(rss.parse::<f64>().unwrap() > 1e6, "{text}");
        assert!(text.contains("\notelcol_process_uptime "), "{text}");
        assert!(!text.contains("_total"));
    }
}
