//! The receiver's own metrics (otlp.md 14).
//!
//! Duty: register and move the counters under their exact names. Guarantee: at every scrape decoded is the sum of
//! accepted, refused and failed once the requests in hand have ended; nothing is counted twice, and each request once,
//! however it ended. Left to others: when to count (`ingest`), and the scrape itself (`telemetry`).

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::Error;

/// Which of the two protocols; also the port's name in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// OTLP/gRPC, port 4317.
    Grpc,
    /// OTLP/HTTP, port 4318.
    Http,
}

impl Transport {
    /// The label and the configuration key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All metrics of one receiver; its id is their label `receiver`.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) decoded_spans: IntCounterVec,
    pub(super) accepted_spans: IntCounterVec,
    pub(super) refused_spans: IntCounterVec,
    pub(super) failed_spans: IntCounterVec,
    pub(super) rejected_spans: IntCounterVec,
    requests: IntCounterVec,
    pub(super) refused_requests: IntCounterVec,
    pub(super) refused_bytes: IntCounterVec,
    pub(super) undecodable: IntCounterVec,
    pub(super) inflight_bytes: IntGauge,
    pub(super) inflight_bytes_limit: IntGauge,
    pub(super) ack_seconds: HistogramVec,
    pub(super) connections: IntGaugeVec,
    pub(super) connections_refused: IntCounterVec,
    pub(super) advisories: IntCounterVec,
    pub(super) unknown_fields: IntCounterVec,
    pub(super) other_signals: IntCounterVec,
}

impl Metrics {
    /// Registers all under `receiver`; fails when the same receiver is registered already.
    pub(super) fn register(registry: &Registry, receiver: &str) -> Result<Self, Error> {
        let new = Registrar { registry, receiver };
        let metrics = Self {
            decoded_spans: new.counters(
                "weavergen_receiver_decoded_spans",
                "Spans of requests that decoded.",
                &["transport"],
            )?,
            accepted_spans: new.counters(
                "otelcol_receiver_accepted_spans",
                "Spans of acknowledged requests.",
                &["transport"],
            )?,
            refused_spans: new.counters(
                "otelcol_receiver_refused_spans",
                "Spans of decoded requests that the pipeline refused.",
                &["transport"],
            )?,
            failed_spans: new.counters(
                "otelcol_receiver_failed_spans",
                "Spans lost to an error inside the receiver.",
                &["transport"],
            )?,
            rejected_spans: new.counters(
                "weavergen_receiver_rejected_spans",
                "Spans set aside while the rest of their request was stored.",
                &["transport", "reason"],
            )?,
            requests: new.counters(
                "weavergen_receiver_requests",
                "Requests by outcome: gRPC code or HTTP status, `cancelled` if the peer went away before.",
                &["transport", "code"],
            )?,
            refused_requests: new.counters(
                "weavergen_receiver_refused_requests",
                "Requests turned away for a reason that passes.",
                &["transport", "reason"],
            )?,
            refused_bytes: new.counters(
                "weavergen_receiver_refused_bytes",
                "Wire bytes of requests turned away for a reason that passes.",
                &["transport", "reason"],
            )?,
            undecodable: new.counters(
                "weavergen_receiver_undecodable_requests",
                "Requests that are bad data as a whole.",
                &["transport", "kind"],
            )?,
            inflight_bytes: new.gauge(
                "weavergen_receiver_inflight_bytes",
                "Bytes reserved for requests in hand, those of receivers with the same pool included.",
            )?,
            inflight_bytes_limit: new
                .gauge("weavergen_receiver_inflight_bytes_limit", "Size of that reservation pool.")?,
            ack_seconds: new
                .histograms("weavergen_receiver_ack_seconds", "Seconds from a request's head to its ack.")?,
            connections: new.gauges("weavergen_receiver_connections", "Open connections.", &["transport", "state"])?,
            connections_refused: new.counters(
                "weavergen_receiver_connections_refused",
                "Connections closed at once because of a cap.",
                &["transport"],
            )?,
            advisories: new.counters("weavergen_otlp_advisory_total", "Odd input that was stored.", &["kind"])?,
            unknown_fields: new.counters(
                "weavergen_otlp_unknown_fields_total",
                "Unknown fields skipped.",
                &["message"],
            )?,
            other_signals: new.counters(
                "weavergen_other_signal_requests",
                "Requests of signals that are not received here.",
                &["signal", "transport"],
            )?,
        };
        for transport in [Transport::Grpc, Transport::Http] {
            // A rate needs the zero before the first event.
            for counter in
                [&metrics.decoded_spans, &metrics.accepted_spans, &metrics.refused_spans, &metrics.failed_spans]
            {
                counter.with_label_values(&[transport.as_str()]);
            }
        }
        Ok(metrics)
    }

    /// One refused request and the wire bytes known of it (B7).
    pub(super) fn refused(&self, transport: Transport, reason: &str, bytes: u64) {
        self.refused_requests.with_label_values(&[transport.as_str(), reason]).inc();
        self.refused_bytes.with_label_values(&[transport.as_str(), reason]).inc_by(bytes);
    }

    /// The acknowledgement times of one transport.
    pub(super) fn acks(&self, transport: Transport) -> Histogram {
        self.ack_seconds.with_label_values(&[transport.as_str()])
    }

    /// A request has come.
    pub(super) fn request(&self, transport: Transport) -> Request<'_> {
        Request { ended: &self.requests, transport, is_open: true }
    }

    /// A counter of one transport.
    pub(super) fn of(counter: &IntCounterVec, transport: Transport) -> IntCounter {
        counter.with_label_values(&[transport.as_str()])
    }
}

/// A request, counted once with its outcome; as `cancelled` if its peer is gone before there is one.
#[derive(Debug)]
pub(super) struct Request<'a> {
    ended: &'a IntCounterVec,
    transport: Transport,
    is_open: bool,
}

impl Request<'_> {
    /// It is answered, or closed, with `code`.
    pub(super) fn ends(mut self, code: &str) {
        self.is_open = false;
        self.ended.with_label_values(&[self.transport.as_str(), code]).inc();
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.ended.with_label_values(&[self.transport.as_str(), "cancelled"]).inc();
        }
    }
}

struct Registrar<'a> {
    registry: &'a Registry,
    receiver: &'a str,
}

impl Registrar<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_label("receiver", self.receiver)
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> Result<C, Error> {
        let collector = made.map_err(Error::Metrics)?;
        self.registry.register(Box::new(collector.clone())).map_err(Error::Metrics)?;
        Ok(collector)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.register(IntCounterVec::new(self.opts(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.register(IntGaugeVec::new(self.opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.register(IntGauge::with_opts(self.opts(name, help)))
    }

    fn histograms(&self, name: &str, help: &str) -> Result<HistogramVec, Error> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(vec![
            0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ]);
        self.register(HistogramVec::new(opts, &["transport"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_receivers_share_a_registry_and_names_have_no_suffix_of_the_library() {
        let registry = Registry::new();
        let first = Metrics::register(&registry, "otlp").unwrap();
        Metrics::register(&registry, "otlp/edge").unwrap();
        first.refused(Transport::Grpc, "memory", 7);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(
            text.contains("otelcol_receiver_accepted_spans{receiver=\"otlp/edge\",transport=\"http\"} 0"),
            "{text}"
        );
        assert!(
            text.contains("weavergen_receiver_refused_bytes{reason=\"memory\",receiver=\"otlp\",transport=\"grpc\"} 7"),
            "{text}"
        );
        assert!(Metrics::register(&registry, "otlp").is_err());
    }
}
