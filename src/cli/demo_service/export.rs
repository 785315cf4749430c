//! Spans to the daemon by OpenTelemetry's own exporter, again until acknowledged.
//!
//! Guarantee: a batch that got no answer is sent again as it was, so the store recognises it; spans are given up only when
//! the daemon is away for so long that [`KEPT`] batches wait.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

/// Batches that wait at most: half a minute of them.
const KEPT: usize = 150;

/// Sends batches in order.
#[derive(Debug)]
pub(super) struct Exporter {
    exporter: SpanExporter,
    waiting: VecDeque<Vec<SpanData>>,
    acknowledged: u64,
}

impl Exporter {
    /// An exporter to `endpoint` with a resource of `attributes`, what `OTEL_RESOURCE_ATTRIBUTES` says, and `more`.
    pub(super) fn open(endpoint: &str, attributes: Vec<KeyValue>, more: &[(String, String)]) -> anyhow::Result<Self> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(Duration::from_secs(5))
            .build()
            .context("cannot build the exporter")?;
        let more = more.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        // The builder's own detectors read the environment, as every service with an SDK does.
        let resource = Resource::builder().with_attributes(attributes).with_attributes(more).build();
        exporter.set_resource(&resource);
        Ok(Self { exporter, waiting: VecDeque::new(), acknowledged: 0 })
    }

    /// Sends `batch` behind what still waits.
    pub(super) async fn export(&mut self, batch: Vec<SpanData>) {
        if !batch.is_empty() {
            self.waiting.push_back(batch);
        }
        if self.waiting.len() > KEPT {
            self.waiting.pop_front();
        }
        while let Some(batch) = self.waiting.front() {
            if self.exporter.export(batch.clone()).await.is_err() {
                return;
            }
            self.acknowledged += batch.len() as u64;
            self.waiting.pop_front();
        }
    }

    /// Spans acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Spans that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}
