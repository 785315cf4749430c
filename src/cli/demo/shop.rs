//! The demo's senders: one exporter of the OpenTelemetry SDK for each service of the shop.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};

use crate::cli::loadgen::{Recipe, Span, Value};
use crate::clock::Clock;

/// The shop, and what it knows to be acknowledged.
#[derive(Debug)]
pub(super) struct Shop {
    exporters: Vec<SpanExporter>,
    seed: u64,
    start_ns: u64,
    /// Spans of exports that were answered with success.
    pub(super) acknowledged: u64,
    /// Exports that got no answer and were sent again.
    pub(super) again: u64,
}

/// How long an export is sent again.
const PATIENCE: Duration = Duration::from_secs(60);

impl Shop {
    /// Connects the services to `endpoint`.
    pub(super) fn open(endpoint: &str, seed: u64) -> anyhow::Result<Self> {
        let mut exporters = Vec::new();
        for service in Recipe::Shop.services() {
            let mut exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(Duration::from_secs(5))
                .build()
                .context("cannot build the exporter")?;
            let attributes = service.resource.iter().map(|(key, value)| attribute(key, value));
            exporter.set_resource(&Resource::builder_empty().with_attributes(attributes).build());
            exporters.push(exporter);
        }
        // An hour ago: the windows of the gate never see these spans.
        let now = u64::try_from(Clock::os().now_ns()).unwrap_or(0);
        let start_ns = now.saturating_sub(3_600_000_000_000);
        Ok(Self { exporters, seed, start_ns, acknowledged: 0, again: 0 })
    }

    /// Exports trace `index`, each service its own spans, again until acknowledged.
    pub(super) async fn export(&mut self, index: u64) -> anyhow::Result<()> {
        let trace = Recipe::Shop.trace(self.seed, index, self.start_ns, None);
        for (service, exporter) in self.exporters.iter().enumerate() {
            let own = trace.spans.iter().filter(|span| span.service == service);
            let batch: Vec<SpanData> = own.map(|span| data(trace.id, span)).collect();
            if batch.is_empty() {
                continue;
            }
            let spans = batch.len() as u64;
            let began = Instant::now();
            while let Err(error) = exporter.export(batch.clone()).await {
                if began.elapsed() > PATIENCE {
                    return Err(error).context("export");
                }
                self.again += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.acknowledged += spans;
        }
        Ok(())
    }
}

fn data(trace: [u8; 16], span: &Span) -> SpanData {
    let context = |id: [u8; 8]| {
        let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(id));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
    };
    let mut events = SpanEvents::default();
    events.events = span
        .events
        .iter()
        .map(|event| {
            let attributes = event.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
            Event::new(event.name, time(event.time_ns), attributes, 0)
        })
        .collect();
    SpanData {
        span_context: context(span.id),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: matches!(span.kind, 2 | 5) && span.parent.is_some(),
        span_kind: [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer]
            [usize::from(span.kind.clamp(1, 5)) - 1]
            .clone(),
        name: span.name.clone(),
        start_time: time(span.start_ns),
        end_time: time(span.end_ns),
        attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("weavergen.demo").build(),
    }
}

fn time(ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(ns)
}

fn attribute(key: &'static str, value: &Value) -> KeyValue {
    match value {
        Value::Text(Cow::Borrowed(text)) => KeyValue::new(key, *text),
        Value::Text(Cow::Owned(text)) => KeyValue::new(key, text.clone()),
        Value::Int(value) => KeyValue::new(key, *value),
        Value::Double(value) => KeyValue::new(key, *value),
        Value::Bool(value) => KeyValue::new(key, *value),
    }
}
