//! The recipe `std`: the load that every measurement uses (sql.md 11).
//!
//! Duty: 20 services of 50 operations, 10 spans a trace, 11 span attributes of 97 keys (8 on every span, two of them
//! with high cardinality; 86 now and then; 3 rare), 8 resource attributes, 5 % failed spans, 2 % with an exception
//! event. Guarantee: the names that the canonical queries ask for occur. Left to others: how it is sent.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::recipe::{Chance, Event, Service, Span, Trace, Value, text};

/// Share of failed spans.
pub const ERROR_SHARE: f64 = 0.05;
const EXCEPTION_SHARE: f64 = 0.02;
const RARE_SHARE: f64 = 0.002;
const SPANS: usize = 10;
const OPERATIONS: usize = 50;

const SERVICES: [&str; 20] = [
    "frontend",
    "checkout",
    "payment",
    "cart",
    "catalog",
    "shipping",
    "email",
    "currency",
    "ads",
    "recommendation",
    "inventory",
    "pricing",
    "search",
    "reviews",
    "accounts",
    "fraud",
    "ledger",
    "quotes",
    "images",
    "gateway",
];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const NOUNS: [&str; 24] = [
    "cart",
    "pay",
    "orders",
    "products",
    "users",
    "quotes",
    "prices",
    "stock",
    "reviews",
    "images",
    "ads",
    "search",
    "sessions",
    "coupons",
    "returns",
    "refunds",
    "labels",
    "rates",
    "alerts",
    "carts",
    "wishlists",
    "gifts",
    "taxes",
    "feeds",
];
const PLANS: [&str; 4] = ["free", "basic", "pro", "enterprise"];
const DATABASES: [&str; 3] = ["postgresql", "redis", "mongodb"];
const COUPONS: [&str; 3] = ["SPRING", "SUMMER", "WELCOME"];
const EXCEPTIONS: [(&str, &str); 4] = [
    ("TimeoutException", "deadline of 2 s passed"),
    ("ConnectionRefused", "peer closed the port"),
    ("ValidationError", "field `amount` is negative"),
    ("NullPointerException", "value was null"),
];

/// Keys that a span has now and then: 3 of these, or the 3 of a database call.
static SOMETIMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let topics = ["queue", "cache", "feature", "tenant", "retry", "batch", "shard", "region"];
    let facts = ["name", "size", "hit", "age_ms", "owner", "mode", "limit", "version", "stage", "count"];
    let keys: Vec<String> = topics.iter().flat_map(|t| facts.iter().map(move |f| format!("app.{t}.{f}"))).collect();
    let mut keys: Vec<&'static str> = keys.into_iter().map(|key| &*Box::leak(key.into_boxed_str())).collect();
    keys.extend(["network.peer.address", "code.function.name", "thread.id"]);
    keys
});
const RARE: [&str; 3] = ["app.coupon", "app.debug.token", "app.experiment.arm"];

/// The services, each with 8 resource attributes.
pub fn services() -> Vec<Service> {
    SERVICES
        .iter()
        .enumerate()
        .map(|(index, name)| Service {
            name,
            resource: vec![
                ("service.name", text(name)),
                ("service.version", Value::Text(format!("1.{}.0", index % 7).into())),
                ("service.namespace", text("std")),
                ("service.instance.id", Value::Text(format!("{name}-{:04x}", index * 7919).into())),
                ("deployment.environment.name", text("bench")),
                ("host.name", Value::Text(format!("node-{:02}", index % 6).into())),
                ("k8s.pod.name", Value::Text(format!("{name}-6d5f7c9b4-{index:05}").into())),
                ("telemetry.sdk.language", text(["go", "java", "python", "nodejs"][index % 4])),
            ],
        })
        .collect()
}

/// The name and the route of operation `index` of a service.
fn operation(service: usize, index: usize) -> (Cow<'static, str>, Cow<'static, str>, &'static str) {
    static NAMES: LazyLock<Vec<(String, String, &'static str)>> = LazyLock::new(|| {
        let of = |service: usize, index: usize| {
            // Two operations that the canonical queries name.
            match (service, index) {
                (1, 0) => ("POST /pay".to_owned(), "/pay".to_owned(), "POST"),
                (0, 0) => ("GET /api/cart".to_owned(), "/api/cart".to_owned(), "GET"),
                _ => {
                    let (method, noun) = (METHODS[index % 4], NOUNS[(index + service) % NOUNS.len()]);
                    let route = format!("/api/{noun}/{}", if index < 24 { "{id}" } else { "items" });
                    (format!("{method} {route}"), route, method)
                }
            }
        };
        (0..SERVICES.len() * OPERATIONS).map(|at| of(at / OPERATIONS, at % OPERATIONS)).collect()
    });
    let (name, route, method) = &NAMES[service * OPERATIONS + index];
    (Cow::Borrowed(name.as_str()), Cow::Borrowed(route.as_str()), method)
}

/// One trace that begins at `at`.
pub fn trace(chance: &mut Chance, at: u64, error_share: f64) -> Trace {
    let id = chance.trace_id();
    let at = at + chance.below(21_600_000);
    let user = chance.below(200_000);
    let session = chance.bits();
    let mut spans: Vec<Span> = Vec::with_capacity(SPANS);
    for index in 0..SPANS {
        let parent = (index > 0).then(|| chance.index(index));
        let (parent_service, parent_id, parent_start, parent_end) = match parent {
            None => (0, None, at, at + chance.duration_ns(120_000_000)),
            Some(p) => (spans[p].service, Some(spans[p].id), spans[p].start_ns, spans[p].end_ns),
        };
        // 0 server (in another service), 1 client, 2 internal (both in the parent's)
        let role = if index == 0 { 0 } else { chance.index(3) };
        let service = match role {
            0 if index > 0 => 1 + chance.index(SERVICES.len() - 1),
            _ => parent_service,
        };
        let room = (parent_end - parent_start).max(2_000);
        let (start_ns, end_ns) = if index == 0 {
            (parent_start, parent_end)
        } else {
            let start = parent_start + chance.below(room / 2);
            (start, start + chance.duration_ns(room / 4).min(room / 2))
        };
        let failed = chance.happens(error_share);
        let (name, route, method) = operation(service, chance.index(OPERATIONS));
        let mut attributes = Vec::with_capacity(11);
        attributes.extend([
            ("http.request.method", text(method)),
            ("http.route", Value::Text(route)),
            ("http.response.status_code", Value::Int(status(chance, failed))),
            ("server.address", text(SERVICES[service])),
            ("user.id", Value::Text(format!("user-{user:06}").into())),
            ("session.id", Value::Text(format!("{:016x}", session ^ (index as u64) << 7).into())),
            ("app.plan", text(chance.pick(&PLANS))),
            ("app.retries", Value::Int(i64::from(chance.happens(0.1)) * 4)),
        ]);
        sometimes(chance, role == 1, &mut attributes);
        let events = if chance.happens(EXCEPTION_SHARE) { vec![exception(chance, end_ns)] } else { Vec::new() };
        spans.push(Span {
            service,
            id: chance.span_id(),
            parent: parent_id,
            name,
            kind: [2, 3, 1][role],
            start_ns,
            end_ns,
            attributes,
            events,
            error: failed.then_some("operation failed"),
        });
    }
    Trace { id, spans }
}

fn status(chance: &mut Chance, failed: bool) -> i64 {
    if failed { chance.pick(&[500, 503, 504]) } else { chance.pick(&[200, 200, 200, 201, 204, 404]) }
}

/// Three attributes of those that only some spans have; a database's for client spans, rarely a rare one.
fn sometimes(chance: &mut Chance, client: bool, attributes: &mut Vec<(&'static str, Value)>) {
    if client && chance.happens(0.5) {
        attributes.extend([
            ("db.system.name", text(chance.pick(&DATABASES))),
            ("db.operation.name", text(chance.pick(&["SELECT", "INSERT", "UPDATE"]))),
            ("db.collection.name", text(chance.pick(&NOUNS))),
        ]);
        return;
    }
    let first = chance.index(SOMETIMES.len());
    for step in 0..3 {
        if step == 2 && chance.happens(RARE_SHARE * 3.0) {
            let rare = chance.pick(&RARE);
            let value = if rare == "app.coupon" { text(chance.pick(&COUPONS)) } else { text("on") };
            attributes.push((rare, value));
            return;
        }
        // 83 keys, a prime, so the three differ.
        let key = SOMETIMES[(first + step * 29) % SOMETIMES.len()];
        let number = chance.below(1_000);
        let value = match key.rsplit(['.', '_']).next() {
            Some("size" | "count" | "limit" | "ms" | "id") => Value::Int(i64::try_from(number).expect("below 1000")),
            Some("hit") => Value::Bool(number < 800),
            Some("age") => Value::Double(number as f64 / 8.0),
            _ => Value::Text(format!("value-{}", number % 40).into()),
        };
        attributes.push((key, value));
    }
}

fn exception(chance: &mut Chance, time_ns: u64) -> Event {
    let (of, message) = chance.pick(&EXCEPTIONS);
    let attributes = vec![("exception.type", text(of)), ("exception.message", text(message))];
    Event { time_ns, name: "exception", attributes }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn spans(traces: u64) -> Vec<Span> {
        (0..traces).flat_map(|i| trace(&mut Chance::new(1, i), 0, ERROR_SHARE).spans).collect()
    }

    #[test]
    fn the_load_has_the_shape_that_the_benchmarks_state() {
        let spans = spans(3_000);
        assert_eq!(spans.len(), 30_000);
        let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
        for span in &spans {
            assert_eq!(span.attributes.len(), 11);
            let distinct: BTreeSet<_> = span.attributes.iter().map(|a| a.0).collect();
            assert_eq!(distinct.len(), 11, "{:?}", span.attributes);
            distinct.into_iter().for_each(|key| *keys.entry(key).or_default() += 1);
        }
        assert_eq!(keys.len(), 97);
        assert_eq!(keys.values().filter(|n| **n == spans.len()).count(), 8);
        assert!(keys["app.coupon"] < spans.len() / 100, "one rare key is never promoted");
        let exceptions = spans.iter().filter(|s| !s.events.is_empty()).count() as f64 / spans.len() as f64;
        assert!((exceptions - 0.02).abs() < 0.005, "{exceptions}");
        let operations: BTreeSet<_> = spans.iter().map(|s| (s.service, s.name.clone())).collect();
        assert!(operations.len() > 900, "{}", operations.len());
        assert!(spans.iter().any(|s| s.service == 1 && s.name == "POST /pay"));
        assert_eq!(services().len(), 20);
        assert!(services().iter().all(|s| s.resource.len() == 8));
    }
}
