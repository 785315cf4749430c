//! Spans of a test in the order in which they arrive.
//!
//! Duty: generators and files to spans with an instant of arrival, shuffled by seed, cut into requests. Guarantee: the same
//! test gives the same spans, ids and order. Left to others: taking them (`stage`).

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};

use super::input::{self, Taken};
use crate::gate::suite::{Spans, Test};
use crate::otlp::{self, Limits, SpanBuilder};
use crate::span::SpanBatch;

/// One span that comes.
#[derive(Debug)]
enum Span {
    /// Of a generator: `ResourceSpans` of OTLP JSON.
    Made(Value),
    /// Of a file.
    Read(SpanBatch),
}

/// What is still to come.
#[derive(Debug)]
pub(super) struct Arrivals {
    left: VecDeque<(i64, Span)>,
    /// Spans of one request; `None` = those that arrive at one instant.
    at_once: Option<usize>,
    last_end_ns: i64,
    builder: SpanBuilder,
    taken: Taken,
}

impl Arrivals {
    /// All spans of `test`.
    ///
    /// Errors: its input file cannot be read.
    pub(super) async fn of(test: &Test) -> anyhow::Result<Self> {
        let mut all: Vec<(i64, Span)> = Vec::new();
        let mut last_end_ns = test.start_ns;
        for (rule, spans) in test.spans.iter().enumerate() {
            let each = spans.instants.iter().flat_map(|at| (0..spans.count).map(move |_| *at));
            for (nth, start_ns) in each.enumerate() {
                let end_ns = start_ns + spans.duration_ns;
                last_end_ns = last_end_ns.max(end_ns);
                all.push((end_ns + spans.delay_ns, Span::Made(made(spans, rule, nth, start_ns))));
            }
        }
        let mut taken = Taken::default();
        if let Some(path) = &test.input {
            let (batches, beside) = input::rows(path).await?;
            taken = beside;
            for batch in batches {
                for row in 0..batch.rows() {
                    let end_ns = batch.start_times().value(row) + batch.durations_ns().value(row);
                    last_end_ns = last_end_ns.max(end_ns);
                    let rows: RecordBatch = batch.as_record_batch().slice(row, 1);
                    all.push((end_ns, Span::Read(SpanBatch::try_new(rows)?)));
                }
            }
        }
        let mut at_once = None;
        if let Some(order) = test.order {
            let mut chance = ChaCha12Rng::seed_from_u64(order.shuffle);
            let within = u64::try_from(order.within_ns).unwrap_or(0).saturating_add(1);
            for (at_ns, _) in &mut all {
                // A few of 2^64 more for the first ones change no test.
                *at_ns += i64::try_from(chance.next_u64() % within).unwrap_or(0);
            }
            at_once = Some(all.len().div_ceil(order.batches.max(1)).max(1));
        }
        // Stable: what arrives together keeps the order in which it was written.
        all.sort_by_key(|(at_ns, _)| *at_ns);
        Ok(Self { left: all.into(), at_once, last_end_ns, builder: SpanBuilder::default(), taken })
    }

    /// What became of the input file beside spans.
    pub(super) fn taken(&self) -> Taken {
        self.taken.clone()
    }

    /// When the last span ends, ns since 1970; the start of the test without spans.
    pub(super) fn last_end_ns(&self) -> i64 {
        self.last_end_ns
    }

    /// When the last span of the next request arrives; `None`: all have.
    pub(super) fn next_ns(&self) -> Option<i64> {
        let first_ns = self.left.front()?.0;
        let Some(most) = self.at_once else { return Some(first_ns) };
        let last = most.min(self.left.len()).saturating_sub(1);
        Some(self.left.get(last).map_or(first_ns, |(at_ns, _)| *at_ns))
    }

    /// The next request of what arrives up to `t_ns`, and when its last span arrives.
    ///
    /// Errors: a generator makes what is no span, e.g. one without a name.
    pub(super) fn next_until(&mut self, t_ns: i64) -> anyhow::Result<Option<(i64, Vec<SpanBatch>)>> {
        let (mut made, mut batches, mut last_ns) = (Vec::new(), Vec::new(), None);
        while let Some((at_ns, _)) = self.left.front()
            && *at_ns <= t_ns
            && match self.at_once {
                Some(most) => made.len() + batches.len() < most,
                None => last_ns.is_none_or(|last_ns| last_ns == *at_ns),
            }
            && let Some((at_ns, span)) = self.left.pop_front()
        {
            last_ns = Some(at_ns);
            match span {
                Span::Made(span) => made.push(span),
                Span::Read(batch) => batches.push(batch),
            }
        }
        let Some(last_ns) = last_ns else { return Ok(None) };
        if !made.is_empty() {
            let body = json!({ "resourceSpans": made }).to_string();
            let decoded = otlp::decode_json(body.as_bytes(), &Limits::fixed(), true, &mut self.builder)?;
            if let Some(rejected) = decoded.rejected.first() {
                anyhow::bail!("a generator of spans makes one that is set aside: {}", rejected.detail);
            }
            batches.extend(decoded.batches);
        }
        Ok(Some((last_ns, batches)))
    }
}

fn made(spans: &Spans, rule: usize, nth: usize, start_ns: i64) -> Value {
    let trace = match &spans.trace {
        Some(name) => format!("trace {name} {nth}"),
        None => format!("rule {rule} {nth}"),
    };
    let trace_id = twox_hash::XxHash3_128::oneshot(trace.as_bytes());
    let id =
        |name: &str| format!("{:016x}", twox_hash::XxHash3_64::oneshot(format!("{trace}/{name}").as_bytes()).max(1));
    // Two rules may fill one trace without naming their spans.
    let own = spans.id.clone().unwrap_or_else(|| format!("rule {rule}"));
    let pairs = |all: &std::collections::BTreeMap<String, Value>| {
        all.iter().map(|(key, value)| json!({ "key": key, "value": numbered(value, nth) })).collect::<Vec<_>>()
    };
    let mut resource = pairs(&spans.resource);
    resource.push(json!({ "key": "service.name", "value": { "stringValue": spans.service } }));
    let mut span = json!({
        "traceId": format!("{:032x}", trace_id.max(1)),
        "spanId": id(&own),
        "name": spans.name,
        "kind": spans.kind,
        "startTimeUnixNano": start_ns.to_string(),
        "endTimeUnixNano": (start_ns + spans.duration_ns).to_string(),
        "attributes": pairs(&spans.attributes),
        "status": { "code": spans.status },
    });
    if let Some(parent) = &spans.parent {
        span["parentSpanId"] = Value::from(id(parent));
    }
    if let Some(of_type) = &spans.of_type {
        span["type"] = Value::from(of_type.as_str());
    }
    let scope = spans.scope.as_ref().map_or_else(|| json!({}), |name| json!({ "name": name }));
    json!({ "resource": { "attributes": resource }, "scopeSpans": [{ "scope": scope, "spans": [span] }] })
}

/// The value with `{n}` in texts as the number of the span among those of its rule: so that each can have an id of its own, and
/// spans of two rules the same.
fn numbered(value: &Value, nth: usize) -> Value {
    match value.get("stringValue").and_then(Value::as_str) {
        Some(text) if text.contains("{n}") => json!({ "stringValue": text.replace("{n}", &nth.to_string()) }),
        _ => value.clone(),
    }
}
