//! Our own spans, handed to the store like everybody's.
//!
//! Duty: turn `tracing` spans of target [`TARGET`] into OTLP requests of resource `weavergen.origin=self`, once a
//! second. Guarantee: at most [`PER_SECOND`] spans a second and name, a bounded queue, and no span about handling own
//! spans: the delivery runs outside any span. Left to others: which work makes a span (`receive`, `store`, `query` open
//! one with `tracing::info_span!(target: "weavergen::own", …)`), and the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::{IntCounter, Registry};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::span::from_hex;

/// Target of the `tracing` spans that become own spans. One whose ids others must know beforehand gives them in hex, in
/// the fields `own.trace_id` and `own.span_id`.
pub const TARGET: &str = "weavergen::own";
/// Spans kept a second and name; more are counted and left out.
pub const PER_SECOND: u32 = 100;
const QUEUE: usize = 4_096;
const SECOND_NS: i64 = 1_000_000_000;

/// A finished span of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnSpan {
    /// Operation.
    pub name: &'static str,
    /// Never all zero.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// The enclosing own span.
    pub parent_span_id: Option<[u8; 8]>,
    /// ns since 1970.
    pub start_ns: i64,
    /// ns since 1970.
    pub end_ns: i64,
    /// Fields of the `tracing` span; `error`, `otel.kind` and its ids are taken out.
    pub attributes: Vec<(&'static str, Value)>,
    /// Text of the field `error`: the span failed.
    pub error: Option<String>,
    /// The field `otel.kind` is `server`.
    pub is_server: bool,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, and whatever is only printable.
    Text(String),
    /// Integers.
    Int(i64),
    /// Doubles.
    Double(f64),
    /// True or false.
    Bool(bool),
}

/// Spans of each name in a second, or since they were taken, whichever is shorter: a delivery may last. Counted before they
/// are queued: else those of a frequent name would leave no room for the others.
type Counts = Arc<Mutex<Counted>>;

#[derive(Debug, Default)]
struct Counted {
    /// When the second began, in ns since 1970.
    since_ns: i64,
    by_name: HashMap<&'static str, u32>,
}

/// The layer that collects own spans.
#[derive(Debug)]
pub struct OwnSpans {
    clock: Clock,
    queue: mpsc::Sender<OwnSpan>,
    counts: Counts,
    dropped: IntCounter,
}

/// The spans collected, to be taken once a second.
#[derive(Debug)]
pub struct Collected {
    queue: mpsc::Receiver<OwnSpan>,
    counts: Counts,
    handed_over: IntCounter,
    dropped: IntCounter,
}

/// A layer, and the other end of its queue.
pub fn collect(clock: Clock, registry: &Registry) -> prometheus::Result<(OwnSpans, Collected)> {
    let handed_over = IntCounter::new("weavergen_self_spans", "Own spans that the store has taken.")?;
    let dropped = IntCounter::new(
        "weavergen_self_spans_dropped",
        "Own spans left out by the cap a second and name, or refused by the store.",
    )?;
    registry.register(Box::new(handed_over.clone()))?;
    registry.register(Box::new(dropped.clone()))?;
    let (sender, queue) = mpsc::channel(QUEUE);
    let counts = Counts::default();
    let layer = OwnSpans { clock, queue: sender, counts: counts.clone(), dropped: dropped.clone() };
    Ok((layer, Collected { queue, counts, handed_over, dropped }))
}

impl Collected {
    /// Hands what was collected to `deliver`, which tells how many were taken, once a second and a last time when `stop` is
    /// cancelled.
    pub async fn run<F, D>(mut self, stop: CancellationToken, deliver: D)
    where
        D: Fn(Vec<OwnSpan>) -> F,
        F: Future<Output = u64>,
    {
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(Duration::from_secs(1)) => false,
            };
            if last {
                // What ends from now on finds the queue closed, and is counted as dropped.
                self.queue.close();
            }
            let spans = self.take();
            if !spans.is_empty() {
                let count = spans.len() as u64;
                let taken = deliver(spans).await.min(count);
                self.handed_over.inc_by(taken);
                self.dropped.inc_by(count - taken);
            }
            if last {
                return;
            }
        }
    }

    fn take(&mut self) -> Vec<OwnSpan> {
        // Held meanwhile: what ends now belongs to the second that begins.
        let mut counts = self.counts.lock().expect("no holder of this lock panics");
        counts.by_name.clear();
        std::iter::from_fn(|| self.queue.try_recv().ok()).collect()
    }
}

/// What a span knows of itself while it is open.
struct Open {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_span_id: Option<[u8; 8]>,
    start_ns: i64,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
    is_server: bool,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("own.trace_id", Value::Text(text)) => self.trace_id = id(&text),
            ("own.span_id", Value::Text(text)) => self.span_id = id(&text),
            ("error", Value::Text(text)) => self.error = Some(text),
            ("otel.kind", Value::Text(kind)) => self.is_server = kind == "server",
            (name, value) => self.attributes.push((name, value)),
        }
    }
}

/// An id from its hex digits; all-zero ids name nothing.
fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_hex(text).filter(|id| *id != [0; N])
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Double(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }
}

impl<S> Layer<S> for OwnSpans
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|p| p.extensions().get::<Open>().map(|o| (o.trace_id, o.span_id)));
        let new_trace =
            || ((u128::from(self.clock.random()) << 64) | u128::from(self.clock.random()) | 1).to_be_bytes();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let open = Open {
            trace_id: fields.trace_id.unwrap_or_else(|| parent.map_or_else(new_trace, |p| p.0)),
            span_id: fields.span_id.unwrap_or_else(|| (self.clock.random() | 1).to_be_bytes()),
            // Ids that are given make a trace of their own.
            parent_span_id: parent.filter(|_| fields.trace_id.is_none()).map(|p| p.1),
            start_ns: self.clock.now_ns(),
            fields,
        };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let end_ns = self.clock.now_ns();
        let mut counts = self.counts.lock().expect("no holder of this lock panics");
        // Also when the clock was set back.
        if !(0..SECOND_NS).contains(&end_ns.saturating_sub(counts.since_ns)) {
            counts.since_ns = end_ns;
            counts.by_name.clear();
        }
        let count = counts.by_name.entry(span.name()).or_default();
        if *count >= PER_SECOND {
            return self.dropped.inc();
        }
        *count += 1;
        let own = OwnSpan {
            name: span.name(),
            trace_id: open.trace_id,
            span_id: open.span_id,
            parent_span_id: open.parent_span_id,
            start_ns: open.start_ns,
            end_ns,
            attributes: open.fields.attributes,
            error: open.fields.error,
            is_server: open.fields.is_server,
        };
        if self.queue.try_send(own).is_err() {
            self.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_tracing_span_becomes_an_own_span_with_parent_fields_and_error() {
        let clock = Clock::manual(1_000, 1);
        let (layer, mut collected) = collect(clock.clone(), &Registry::new()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let outer = tracing::info_span!(target: TARGET, "receive.export", otel.kind = "server", spans = 3);
            let _entered = outer.enter();
            clock.advance(Duration::from_nanos(500));
            let inner = tracing::info_span!(target: TARGET, "store.append", error = tracing::field::Empty);
            inner.record("error", "disk is full");
        });
        let spans = collected.take();
        assert_eq!(spans.iter().map(|s| s.name).collect::<Vec<_>>(), ["store.append", "receive.export"]);
        let (inner, outer) = (&spans[0], &spans[1]);
        assert_eq!((inner.parent_span_id, inner.trace_id), (Some(outer.span_id), outer.trace_id));
        assert_eq!(inner.error.as_deref(), Some("disk is full"));
        assert_eq!((outer.start_ns, outer.end_ns, outer.is_server), (1_000, 1_500, true));
        assert_eq!(outer.attributes, [("spans", Value::Int(3))]);
    }

    #[test]
    fn ids_that_are_given_are_kept_and_what_is_inside_belongs_to_them() {
        let (layer, mut collected) = collect(Clock::manual(0, 1), &Registry::new()).unwrap();
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let around = tracing::info_span!(target: TARGET, "around");
            let _around = around.enter();
            let given = tracing::info_span!(target: TARGET, "given", own.trace_id = trace, own.span_id = span, n = 1);
            given.in_scope(|| drop(tracing::info_span!(target: TARGET, "inside")));
            drop(given);
            drop(tracing::info_span!(target: TARGET, "odd", own.trace_id = "4bf9", own.span_id = "0000000000000000"));
        });
        let spans = collected.take();
        let (inside, given, odd) = (&spans[0], &spans[1], &spans[2]);
        assert_eq!(crate::span::hex(&given.trace_id), trace);
        assert_eq!(crate::span::hex(&given.span_id), span);
        assert_eq!((given.parent_span_id, &given.attributes[..]), (None, &[("n", Value::Int(1))][..]));
        assert_eq!((inside.trace_id, inside.parent_span_id), (given.trace_id, Some(given.span_id)));
        assert_ne!(odd.span_id, [0; 8]);
        assert!(odd.parent_span_id.is_some() && odd.attributes.is_empty());
    }

    #[test]
    fn a_second_ends_also_while_a_delivery_lasts() {
        let clock = Clock::manual(0, 1);
        let (layer, mut collected) = collect(clock.clone(), &Registry::new()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..3 {
                (0..150).for_each(|_| drop(tracing::info_span!(target: TARGET, "often")));
                clock.advance(Duration::from_secs(1));
            }
        });
        assert_eq!(collected.take().len(), 300);
    }

    #[tokio::test]
    async fn what_was_refused_is_counted_as_dropped_and_not_as_handed_over() {
        let (layer, collected) = collect(Clock::manual(0, 1), &Registry::new()).unwrap();
        let (handed_over, dropped) = (collected.handed_over.clone(), layer.dropped.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            (0..3).for_each(|_| drop(tracing::info_span!(target: TARGET, "often")));
        });
        let stop = CancellationToken::new();
        stop.cancel();
        collected.run(stop, |spans: Vec<OwnSpan>| async move { spans.len() as u64 - 1 }).await;
        assert_eq!((handed_over.get(), dropped.get()), (2, 1));
    }

    #[tokio::test]
    async fn what_ends_while_the_last_ones_are_handed_over_is_counted_as_dropped() {
        let (layer, collected) = collect(Clock::manual(0, 1), &Registry::new()).unwrap();
        let (handed_over, dropped) = (collected.handed_over.clone(), layer.dropped.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        let _here = tracing::subscriber::set_default(subscriber);
        drop(tracing::info_span!(target: TARGET, "before"));
        let stop = CancellationToken::new();
        stop.cancel();
        let deliver = |spans: Vec<OwnSpan>| {
            drop(tracing::info_span!(target: TARGET, "meanwhile"));
            std::future::ready(spans.len() as u64)
        };
        collected.run(stop, deliver).await;
        assert_eq!((handed_over.get(), dropped.get()), (1, 1));
    }

    #[test]
    fn one_name_is_capped_a_second_and_others_are_not() {
        let (layer, mut collected) = collect(Clock::manual(0, 1), &Registry::new()).unwrap();
        let dropped = layer.dropped.clone();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..QUEUE + 150 {
                drop(tracing::info_span!(target: TARGET, "often"));
            }
            drop(tracing::info_span!(target: TARGET, "seldom"));
        });
        let spans = collected.take();
        assert_eq!(spans.iter().filter(|s| s.name == "often").count(), 100);
        assert_eq!(spans.iter().filter(|s| s.name == "seldom").count(), 1);
        assert_eq!(dropped.get(), (QUEUE + 50) as u64);
        assert_eq!(collected.counts.lock().unwrap().by_name.len(), 0, "a second of its own for what comes next");
    }
}
