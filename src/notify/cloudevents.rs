//! A webhook's message as a CloudEvent (gates.md 9; CloudEvents 1.0, structured JSON).
//!
//! Duty: from a notice to bytes. Guarantee: `source` and `id` name one transition, the same at every try. Left to others:
//! the data (`webhook`), sending (`follower`).

use serde_json::{Value, json};

use super::shown::{at_ns, rfc3339, transition};
use super::webhook;
use crate::gate::journal::{Notice, Status};

/// Of the structured mode.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The event; `instance` names this daemon.
pub(super) fn body(notice: &Notice, receiver: &str, external_url: &str, instance: &str) -> String {
    let mut event = json!({
        "specversion": "1.0",
        "id": transition(notice),
        "source": source(instance, &notice.gate),
        "type": format!("dev.weavergen.gate.{}", word(notice)),
        "time": rfc3339(at_ns(notice)),
        "datacontenttype": "application/json",
        "data": webhook::message(notice, receiver, external_url),
    });
    // CloudEvents: an attribute that is there is not empty.
    if !notice.key.is_empty() {
        event["subject"] = Value::from(notice.key.as_str());
    }
    event.to_string()
}

fn word(notice: &Notice) -> &str {
    match (notice.health, notice.status, notice.reason.as_str()) {
        (true, ..) => "health",
        (false, Status::Resolved, _) => "resolved",
        (false, Status::Firing, reason @ ("raised" | "lowered")) => reason,
        (false, Status::Firing, _) => "firing",
    }
}

/// `/weavergen/<instance>/gates/<gate>`, a URI reference.
fn source(instance: &str, gate: &str) -> String {
    let mut url = reqwest::Url::parse("http://h").expect("it is an address");
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().extend(["weavergen", instance, "gates", gate]);
    }
    url.path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::webhook::tests::notice;
    use super::*;

    #[test]
    fn an_event_bears_the_webhooks_body() {
        let firing = notice(0xcd, 0, Status::Firing);
        let got: Value = serde_json::from_str(&body(&firing, "bus", "http://w", "01J")).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": format!("{}/3/0", "cd".repeat(16)),
            "source": "/weavergen/01J/gates/span_completeness",
            "type": "dev.weavergen.gate.firing",
            "subject": "service_name=cart",
            "time": "2026-01-01T00:05:00Z",
            "datacontenttype": "application/json",
            "data": webhook::message(&firing, "bus", "http://w"),
        });
        assert_eq!(got, expected);
    }

    #[test]
    fn the_type_says_what_happened_and_an_empty_key_is_no_subject() {
        let of = |notice: &Notice| -> Value { serde_json::from_str(&body(notice, "bus", "http://w", "i")).unwrap() };
        let raised = Notice { reason: "raised".into(), ..notice(1, 1, Status::Firing) };
        let ended = Notice {
            ends_at_ns: Some(1_767_226_200_000_000_000),
            reason: "stale".into(),
            ..notice(1, 2, Status::Resolved)
        };
        let health = Notice { health: true, gate: "a b/c".into(), key: String::new(), ..notice(1, 0, Status::Firing) };
        assert_eq!(of(&raised)["type"], "dev.weavergen.gate.raised");
        assert_eq!(
            (&of(&ended)["type"], &of(&ended)["time"]),
            (&"dev.weavergen.gate.resolved".into(), &"2026-01-01T00:10:00Z".into())
        );
        let health = of(&health);
        assert_eq!((&health["type"], health.get("subject")), (&"dev.weavergen.gate.health".into(), None));
        assert_eq!(health["source"], "/weavergen/i/gates/a%20b%2Fc");
    }
}
