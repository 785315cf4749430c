//! The shop's work as one service sees it: the recipe's traces in real time, each span with a type.
//!
//! Duty: which spans this service ends until now, with the attributes that its instrumentation sets. Guarantee: all
//! services with one seed work on the same traces, so their spans join. Left to others: sending (`export`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::instrumentation::Instrumentation;
use crate::cli::loadgen::{Recipe, Span, Trace, Value};

/// Between the starts of two traces: 40 a second, of which 16 are orders.
const DISTANCE_NS: u64 = 25_000_000;
/// Traces that take longer are left out: a demo has no time for them.
const LONGEST_NS: u64 = 1_500_000_000;

/// The work of one service.
#[derive(Debug)]
pub(super) struct Work {
    service: usize,
    seed: u64,
    instrumentation: Instrumentation,
    /// Number of the next trace to begin; `None` = no more begin.
    next: Option<u64>,
    /// Spans begun, by their end.
    begun: BTreeMap<(u64, [u8; 8]), SpanData>,
}

/// Names of the services.
pub(super) fn names() -> Vec<&'static str> {
    Recipe::Shop.services().iter().map(|service| service.name).collect()
}

impl Work {
    /// The work of `name`; `None` if the shop has no such service.
    pub(super) fn of(name: &str, seed: u64, instrumentation: Instrumentation) -> Option<Self> {
        let service = names().iter().position(|known| *known == name)?;
        Some(Self { service, seed, instrumentation, next: None, begun: BTreeMap::new() })
    }

    /// Resource attributes of the service.
    pub(super) fn resource(&self) -> Vec<KeyValue> {
        let services = Recipe::Shop.services();
        services[self.service].resource.iter().map(|(key, value)| attribute(key, value)).collect()
    }

    /// Begins with the traces that start from `now_ns` on.
    pub(super) fn open(&mut self, now_ns: i64) {
        self.next = Some(u64::try_from(now_ns).unwrap_or(0) / DISTANCE_NS);
    }

    /// Takes `count` traces in which this service has a part, all beginning at about `now_ns`.
    pub(super) fn take(&mut self, count: u64, now_ns: i64) {
        let at = u64::try_from(now_ns).unwrap_or(0);
        let (mut taken, mut index) = (0, at / DISTANCE_NS);
        while taken < count {
            taken += u64::from(self.begin(index, at + taken * 1_000_000));
            index += 1;
        }
    }

    /// Whether every span has ended and no trace begins any more.
    pub(super) fn is_done(&self) -> bool {
        self.next.is_none() && self.begun.is_empty()
    }

    /// The spans that ended up to `now_ns` since the last call.
    pub(super) fn ended(&mut self, now_ns: i64) -> Vec<SpanData> {
        let now = u64::try_from(now_ns).unwrap_or(0);
        while let Some(next) = self.next.filter(|next| next * DISTANCE_NS <= now) {
            self.begin(next, next * DISTANCE_NS);
            self.next = Some(next + 1);
        }
        let later = self.begun.split_off(&(now + 1, [0; 8]));
        std::mem::replace(&mut self.begun, later).into_values().collect()
    }

    /// Begins trace `index` at `at`; whether this service has a part in it.
    fn begin(&mut self, index: u64, at: u64) -> bool {
        let trace = Recipe::Shop.trace_at(self.seed, index, at, None);
        if trace.spans.iter().any(|span| span.end_ns > at + LONGEST_NS) {
            return false;
        }
        let own = trace.spans.iter().filter(|span| span.service == self.service);
        let spans: Vec<_> = own.map(|span| ((span.end_ns, span.id), self.data(&trace, span))).collect();
        let has_part = !spans.is_empty();
        self.begun.extend(spans);
        has_part
    }

    fn data(&self, trace: &Trace, span: &Span) -> SpanData {
        let span_type = span_type(span);
        let known = known(trace, span);
        let mut attributes = vec![KeyValue::new("otel.span.type", span_type)];
        for (key, from) in self.instrumentation.spans.get(span_type).into_iter().flatten() {
            if let Some(value) = known.get(from.as_str()) {
                attributes.push(attribute_of(key.clone(), value));
            }
        }
        let context = |id: [u8; 8]| {
            let (trace, span) = (TraceId::from_bytes(trace.id), SpanId::from_bytes(id));
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
            span_kind: kind(span.kind),
            name: span.name.clone(),
            start_time: time(span.start_ns),
            end_time: time(span.end_ns),
            attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("weavergen.demo").build(),
        }
    }
}

/// Which definition of the registry `shop` a span follows.
fn span_type(span: &Span) -> &'static str {
    match (names()[span.service], span.kind) {
        ("frontend", 2) if span.name.starts_with("GET") => "shop.frontend.view_product",
        ("frontend", 2) => "shop.frontend.checkout",
        ("frontend", _) => "shop.frontend.call",
        ("catalog", 2) => "shop.catalog.get_product",
        ("cart", 2) => "shop.cart.get_cart",
        ("catalog" | "cart", _) => "shop.database.query",
        ("checkout", 2) => "shop.checkout.place_order",
        ("checkout", 1) => "shop.checkout.prepare_order",
        ("checkout", 3) => "shop.checkout.call",
        ("checkout", _) => "shop.checkout.publish_order",
        ("payment", _) => "shop.payment.charge",
        ("shipping", _) => "shop.shipping.ship_order",
        _ => "shop.email.confirm_order",
    }
}

/// What the service's code knows while it works on the span, by name.
fn known(trace: &Trace, span: &Span) -> BTreeMap<&'static str, Value> {
    let text = |text: String| Value::Text(Cow::Owned(text));
    let mut known: BTreeMap<&'static str, Value> = BTreeMap::new();
    // What the order carries is known to whoever works on it.
    for other in &trace.spans {
        for (key, value) in &other.attributes {
            if key.starts_with("app.") || *key == "user.id" {
                known.insert(key, value.clone());
            }
        }
    }
    let number = u64::from_be_bytes(trace.id[8..].try_into().expect("a trace id has 16 bytes"));
    let currency = if number.is_multiple_of(3) { "USD" } else { "EUR" };
    known.insert("app.cart.id", text(format!("cart-{:08x}", number >> 32)));
    known.insert("app.order.currency", Value::Text(currency.into()));
    known.insert("app.payment.currency", Value::Text(currency.into()));
    known.extend(span.attributes.iter().map(|(key, value)| (*key, value.clone())));
    let (host, port) = match span.kind {
        3 if known.contains_key("db.system.name") => (format!("{}-db", names()[span.service]), 5432),
        3 => (span.name.split('.').next().unwrap_or("shop").to_owned(), 50051),
        _ => (names()[span.service].to_owned(), if span.service == 0 { 443 } else { 50051 }),
    };
    known.insert("server.address", text(format!("{host}.shop.local")));
    known.insert("server.port", Value::Int(port));
    if let Some(Value::Text(route)) = known.get("http.route").cloned() {
        known.insert("url.path", text(route.replace("{id}", &(number % 500).to_string())));
    }
    match span.kind {
        4 => known.insert("messaging.operation.type", Value::Text("send".into())),
        5 => known.insert("messaging.operation.type", Value::Text("process".into())),
        _ => None,
    };
    if span.error.is_some() {
        let of_event = span.events.iter().flat_map(|event| &event.attributes).find(|(key, _)| *key == "exception.type");
        let value = of_event.map_or(Value::Text("_OTHER".into()), |(_, value)| value.clone());
        known.insert("error.type", value);
    }
    known
}

fn kind(number: u8) -> SpanKind {
    match number {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

fn time(ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(ns)
}

fn attribute(key: &'static str, value: &Value) -> KeyValue {
    attribute_of(key, value)
}

fn attribute_of(key: impl Into<opentelemetry::Key>, value: &Value) -> KeyValue {
    match value {
        Value::Text(Cow::Borrowed(text)) => KeyValue::new(key, *text),
        Value::Text(Cow::Owned(text)) => KeyValue::new(key, text.clone()),
        Value::Int(value) => KeyValue::new(key, *value),
        Value::Double(value) => KeyValue::new(key, *value),
        Value::Bool(value) => KeyValue::new(key, *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 1_790_000_000_000_000_000;

    fn all_of(name: &str) -> Instrumentation {
        // Each key of the registry's required attributes of the demo's two candidates.
        let keys = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), (*key).to_owned())).collect();
        let mut spans = BTreeMap::new();
        if name == "checkout" {
            let order = ["rpc.system", "rpc.method", "server.address", "app.order.id", "app.order.items"];
            spans.insert("shop.checkout.place_order".to_owned(), keys(&order));
        } else {
            let charge = ["rpc.system", "rpc.method", "app.order.id", "app.payment.amount", "app.payment.card"];
            spans.insert("shop.payment.charge".to_owned(), keys(&charge));
        }
        Instrumentation { spans }
    }

    #[test]
    fn services_of_one_seed_work_on_the_same_traces() {
        let spans = |name: &str| {
            let mut work = Work::of(name, 1, all_of(name)).unwrap();
            work.open(NOW_NS);
            work.ended(NOW_NS + 20_000_000_000)
        };
        let (checkout, payment) = (spans("checkout"), spans("payment"));
        for span in &payment {
            let caller = checkout.iter().find(|other| other.span_context.span_id() == span.parent_span_id);
            let caller = caller.expect("the call that the charge answers");
            assert_eq!(caller.span_context.trace_id(), span.span_context.trace_id());
        }
        // At least 10 spans a second of each service.
        assert!(payment.len() > 180, "{}", payment.len());
    }

    #[test]
    fn exactly_the_attributes_of_the_file_are_set_and_each_span_has_its_type() {
        for (name, named) in [("checkout", 5), ("payment", 5)] {
            let mut work = Work::of(name, 1, all_of(name)).unwrap();
            work.take(40, NOW_NS);
            let spans = work.ended(NOW_NS + 5_000_000_000);
            assert!(work.is_done());
            let traces: std::collections::BTreeSet<_> =
                spans.iter().map(|s| s.span_context.trace_id().to_bytes()).collect();
            assert_eq!(traces.len(), 40);
            for span in &spans {
                assert_eq!(span.attributes[0].key.as_str(), "otel.span.type");
                let listed = span.attributes.len() - 1;
                let is_listed = span.attributes[0].value.as_str().ends_with(if name == "checkout" {
                    "place_order"
                } else {
                    "charge"
                });
                assert_eq!(listed, if is_listed { named } else { 0 }, "{span:?}");
                assert!(span.start_time >= time(NOW_NS.unsigned_abs()), "newer than the process");
            }
        }
    }

    #[test]
    fn there_is_no_service_that_the_shop_lacks() {
        assert!(Work::of("billing", 1, Instrumentation::default()).is_none());
    }
}
