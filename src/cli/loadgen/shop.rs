//! The recipe `shop`: orders in a shop of 7 services.
//!
//! Duty: traces that look like a real application's: a browse or an order enters at `frontend`, calls go client to
//! server, payment sometimes fails with an exception, mail is sent through a queue. Guarantee: every failure stands on a
//! span of its own, so the share of errors is the share asked for. Left to others: how it is sent (`send`, `demo`).

use super::recipe::{Chance, Event, Service, Span, Trace, Value, text};

/// Share of failed spans.
pub const ERROR_SHARE: f64 = 0.02;

const SERVICES: [(&str, &str); 7] = [
    ("frontend", "nodejs"),
    ("catalog", "go"),
    ("cart", "dotnet"),
    ("checkout", "go"),
    ("payment", "java"),
    ("shipping", "rust"),
    ("email", "python"),
];
const FRONTEND: usize = 0;
const CATALOG: usize = 1;
const CART: usize = 2;
const CHECKOUT: usize = 3;
const PAYMENT: usize = 4;
const SHIPPING: usize = 5;
const EMAIL: usize = 6;

const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

/// The services with their resources.
pub fn services() -> Vec<Service> {
    let resource = |index: usize, name: &'static str, language: &'static str| {
        vec![
            ("service.name", text(name)),
            ("service.namespace", text("shop")),
            ("service.version", Value::Text(format!("2.{index}.1").into())),
            ("service.instance.id", Value::Text(format!("{name}-0").into())),
            ("telemetry.sdk.language", text(language)),
            ("host.name", Value::Text(format!("shop-{}", index % 3).into())),
        ]
    };
    let of = |(index, (name, language)): (usize, &(&'static str, &'static str))| Service {
        name,
        resource: resource(index, name, language),
    };
    SERVICES.iter().enumerate().map(of).collect()
}

/// One trace that begins at `at`: two browses to one order.
pub fn trace(chance: &mut Chance, at: u64, error_share: f64) -> Trace {
    let id = chance.trace_id();
    let mut shop = Shop { chance, error_share, spans: Vec::with_capacity(12) };
    if shop.chance.happens(0.6) {
        shop.browse(at)
    } else {
        shop.order(at)
    }
    Trace { id, spans: shop.spans }
}

struct Shop<'a> {
    chance: &'a mut Chance,
    error_share: f64,
    spans: Vec<Span>,
}

impl Shop<'_> {
    fn browse(&mut self, at: u64) {
        let total = self.chance.duration_ns(40_000_000);
        let page = self.http(FRONTEND, None, at, total, "GET", "/product/{id}");
        let call = self.grpc_client(FRONTEND, page, at + total / 20, total / 2, "catalog.Catalog/GetProduct");
        let product = self.grpc_server(CATALOG, call, at + total / 15, total / 3, "catalog.Catalog/GetProduct");
        self.database(CATALOG, product, at + total / 10, total / 6, "SELECT", "products");
        let call = self.grpc_client(FRONTEND, page, at + total / 2, total / 4, "cart.Cart/GetCart");
        let cart = self.grpc_server(CART, call, at + total / 2 + total / 50, total / 6, "cart.Cart/GetCart");
        self.database(CART, cart, at + total / 2 + total / 40, total / 12, "GET", "carts");
    }

    fn order(&mut self, at: u64) {
        let total = self.chance.duration_ns(180_000_000);
        let page = self.http(FRONTEND, None, at, total, "POST", "/checkout");
        let call = self.grpc_client(FRONTEND, page, at + total / 50, total * 9 / 10, "checkout.Checkout/PlaceOrder");
        let order = self.grpc_server(CHECKOUT, call, at + total / 40, total * 8 / 10, "checkout.Checkout/PlaceOrder");
        let id = format!("order-{:08x}", self.chance.bits() >> 32);
        self.attribute(order, "app.order.id", Value::Text(id.into()));
        let items = 1 + i64::try_from(self.chance.below(6)).expect("below 6");
        self.attribute(order, "app.order.items", Value::Int(items));
        self.add(CHECKOUT, Some(order), "prepare order", INTERNAL, at + total / 30, total / 12);
        let call = self.grpc_client(CHECKOUT, order, at + total / 8, total / 2, "payment.Payment/Charge");
        let charge = self.grpc_server(PAYMENT, call, at + total / 7, total * 2 / 5, "payment.Payment/Charge");
        let amount = self.chance.unit() * 300.0;
        self.attribute(charge, "app.payment.amount", Value::Double((amount * 100.0).round() / 100.0));
        let card = self.chance.pick(&["visa", "mastercard", "amex"]);
        self.attribute(charge, "app.payment.card", text(card));
        if self.spans[charge].error.is_some() {
            self.exception(charge, "PaymentDeclined", "card was declined by the issuer");
        }
        let call = self.grpc_client(CHECKOUT, order, at + total * 2 / 3, total / 8, "shipping.Shipping/ShipOrder");
        let ship = self.grpc_server(
            SHIPPING,
            call,
            at + total * 2 / 3 + total / 60,
            total / 10,
            "shipping.Shipping/ShipOrder",
        );
        let express = self.chance.happens(0.3);
        self.attribute(ship, "app.shipping.express", Value::Bool(express));
        let publish = self.add(CHECKOUT, Some(order), "send order.placed", PRODUCER, at + total * 4 / 5, total / 60);
        self.attribute(publish, "messaging.system", text("kafka"));
        self.attribute(publish, "messaging.destination.name", text("order.placed"));
        // The mail goes out after the answer: it is no part of the order's own time.
        let mail = self.add(EMAIL, Some(publish), "process order.placed", CONSUMER, at + total, total / 6);
        self.attribute(mail, "messaging.system", text("kafka"));
        self.attribute(mail, "messaging.destination.name", text("order.placed"));
    }

    fn http(
        &mut self,
        service: usize,
        parent: Option<usize>,
        at: u64,
        ns: u64,
        method: &'static str,
        route: &'static str,
    ) -> usize {
        let span = self.add(service, parent, format!("{method} {route}"), SERVER, at, ns);
        let status = if self.spans[span].error.is_some() { 500 } else { 200 };
        self.attribute(span, "http.request.method", text(method));
        self.attribute(span, "http.route", text(route));
        self.attribute(span, "http.response.status_code", Value::Int(status));
        self.attribute(span, "url.scheme", text("https"));
        let user = self.chance.below(5_000);
        self.attribute(span, "user.id", Value::Text(format!("u{user:05}").into()));
        span
    }

    fn grpc_client(&mut self, service: usize, parent: usize, at: u64, ns: u64, method: &'static str) -> usize {
        self.grpc(service, parent, at, ns, method, CLIENT)
    }

    fn grpc_server(&mut self, service: usize, parent: usize, at: u64, ns: u64, method: &'static str) -> usize {
        self.grpc(service, parent, at, ns, method, SERVER)
    }

    fn grpc(&mut self, service: usize, parent: usize, at: u64, ns: u64, method: &'static str, kind: u8) -> usize {
        let span = self.add(service, Some(parent), method, kind, at, ns);
        let status = if self.spans[span].error.is_some() { 13 } else { 0 };
        self.attribute(span, "rpc.system", text("grpc"));
        self.attribute(span, "rpc.method", text(method));
        self.attribute(span, "rpc.grpc.status_code", Value::Int(status));
        span
    }

    fn database(&mut self, service: usize, parent: usize, at: u64, ns: u64, verb: &'static str, table: &'static str) {
        let system = if verb == "GET" { "redis" } else { "postgresql" };
        let span = self.add(service, Some(parent), format!("{verb} {table}"), CLIENT, at, ns);
        self.attribute(span, "db.system.name", text(system));
        self.attribute(span, "db.operation.name", text(verb));
        self.attribute(span, "db.collection.name", text(table));
    }

    fn add(
        &mut self,
        service: usize,
        parent: Option<usize>,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: u8,
        at: u64,
        ns: u64,
    ) -> usize {
        let failed = self.chance.happens(self.error_share);
        self.spans.push(Span {
            service,
            id: self.chance.span_id(),
            parent: parent.map(|p| self.spans[p].id),
            name: name.into(),
            kind,
            start_ns: at,
            end_ns: at + ns,
            attributes: Vec::new(),
            events: Vec::new(),
            error: failed.then_some("operation failed"),
        });
        self.spans.len() - 1
    }

    fn attribute(&mut self, span: usize, key: &'static str, value: Value) {
        self.spans[span].attributes.push((key, value));
    }

    fn exception(&mut self, span: usize, of: &'static str, message: &'static str) {
        let span = &mut self.spans[span];
        let attributes = vec![("exception.type", text(of)), ("exception.message", text(message))];
        span.events.push(Event { time_ns: span.end_ns, name: "exception", attributes });
        span.error = Some(message);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_seven_services_take_part() {
        let traces: Vec<_> = (0..100).map(|i| trace(&mut Chance::new(1, i), 0, ERROR_SHARE)).collect();
        let services: BTreeSet<_> = traces.iter().flat_map(|t| &t.spans).map(|s| s.service).collect();
        assert_eq!(services.len(), 7);
        assert!(traces.iter().all(|t| (6..=12).contains(&t.spans.len())));
    }
}
