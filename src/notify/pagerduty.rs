//! Events of PagerDuty (gates.md 9; Events API v2).
//!
//! Duty: from a notice to bytes. Guarantee: `dedup_key` is the alert id, so that an episode is one incident; the body has at
//! most 512 KB, and the evidence goes first. Left to others: sending (`follower`).

use serde_json::{Value, json};

use super::shown::{at_ns, cut, line, page, rfc3339, transition};
use crate::gate::identity::hex;
use crate::gate::journal::{Notice, Status};
use crate::gate::state::Level;

/// Behind the address of the API.
pub(super) const PATH: &str = "/v2/enqueue";
/// Characters of a summary.
const SUMMARY: usize = 1_024;
/// Bytes of a body: PagerDuty says 512 KB.
const BODY: usize = 512_000;
/// Characters of the other texts of the payload.
const TEXT: usize = 255;
/// Severities that PagerDuty knows.
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
/// What goes, in this order, when the body is too large: evidence before what names the alert.
const EVIDENCE: [&str; 4] = ["trace_ids", "annotations", "labels", "by"];

/// The event for `/v2/enqueue`.
pub(super) fn body(notice: &Notice, routing_key: &str, external_url: &str) -> String {
    let action = match notice.status {
        Status::Firing => "trigger",
        Status::Resolved => "resolve",
    };
    let name = notice.labels.get("alertname").unwrap_or(&notice.gate);
    let source = if notice.key.is_empty() { &notice.gate } else { &notice.key };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": notice.alert.to_string(),
        "client": "weavergen",
        "client_url": page(notice, external_url),
        "payload": {
            "summary": cut(&line(notice), SUMMARY),
            "source": cut(source, TEXT),
            "severity": severity(notice),
            "timestamp": rfc3339(at_ns(notice)),
            "component": cut(&notice.gate, TEXT),
            "group": cut(notice.labels.get("gate_group").map_or("", String::as_str), TEXT),
            "class": cut(name, TEXT),
            "custom_details": {
                "transition": transition(notice),
                "level": notice.level.as_str(),
                "outcome": notice.outcome.map(|outcome| outcome.as_str()),
                "reason": notice.reason,
                "value": notice.value,
                "n": notice.n,
                "window_start": rfc3339(notice.window.start_ns),
                "window_end": rfc3339(notice.window.end_ns),
                "by": notice.by,
                "labels": notice.labels,
                "annotations": notice.annotations,
                "trace_ids": notice.trace_ids.iter().map(|id| Value::from(hex(id))).collect::<Vec<_>>(),
            },
        },
    });
    let mut text = event.to_string();
    let mut evidence = EVIDENCE.iter();
    while text.len() > BODY
        && let Some(name) = evidence.next()
    {
        if let Some(details) = event.pointer_mut("/payload/custom_details").and_then(Value::as_object_mut) {
            details.remove(*name);
            details.insert("dropped".to_owned(), format!("`{name}` and before, for the size of the message").into());
        }
        text = event.to_string();
    }
    if text.len() > BODY {
        // A key of such a length stands in the address of its page.
        event["client_url"] = Value::from(external_url);
        text = event.to_string();
    }
    text
}

/// The gate's own, where it is one of PagerDuty's, else that of the level.
fn severity(notice: &Notice) -> &str {
    let set = notice.labels.get("severity").map(String::as_str).filter(|set| SEVERITIES.contains(set));
    set.unwrap_or(match notice.level {
        Level::Warn => "warning",
        Level::Fail => "critical",
    })
}

#[cfg(test)]
mod tests {
    use super::super::webhook::tests::notice;
    use super::*;

    fn of(notice: &Notice) -> Value {
        serde_json::from_str(&body(notice, "R0", "http://w")).unwrap()
    }

    #[test]
    fn an_episode_is_one_incident() {
        let firing = of(&notice(0xcd, 0, Status::Firing));
        assert_eq!((&firing["routing_key"], &firing["event_action"]), (&"R0".into(), &"trigger".into()));
        assert_eq!(firing["dedup_key"], "cd".repeat(16));
        let payload = &firing["payload"];
        assert_eq!(payload["summary"], "FIRING fail: span_completeness{service_name=cart}: cart: 0.5 complete");
        assert_eq!((&payload["severity"], &payload["source"]), (&"critical".into(), &"service_name=cart".into()));
        assert_eq!(payload["timestamp"], "2026-01-01T00:05:00Z");
        assert_eq!(payload["custom_details"]["trace_ids"][0], "ab".repeat(16));
        let resolved = of(&notice(0xcd, 2, Status::Resolved));
        assert_eq!((&resolved["event_action"], &resolved["dedup_key"]), (&"resolve".into(), &firing["dedup_key"]));
    }

    #[test]
    fn severity_is_that_of_the_level_or_set() {
        let with = |level, set: &str| {
            let labels = [("severity".to_owned(), set.to_owned())].into();
            of(&Notice { level, labels, ..notice(1, 0, Status::Firing) })["payload"]["severity"].clone()
        };
        assert_eq!(with(Level::Warn, "page"), "warning", "no word of PagerDuty");
        assert_eq!(with(Level::Fail, "page"), "critical");
        assert_eq!(with(Level::Fail, "info"), "info");
    }

    #[test]
    fn a_long_summary_is_cut_and_of_a_large_body_the_evidence_goes_first() {
        let summary = |text: String| [("summary".to_owned(), text)].into();
        let long = of(&Notice { annotations: summary("ü".repeat(5_000)), ..notice(1, 0, Status::Firing) });
        assert_eq!(long["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY);
        assert_eq!(long["payload"]["custom_details"]["labels"]["service_name"], "cart");

        let large = Notice { annotations: summary("x".repeat(BODY)), ..notice(1, 0, Status::Firing) };
        assert!(body(&large, "R0", "http://w").len() <= BODY);
        let details = of(&large)["payload"]["custom_details"].clone();
        assert_eq!((details.get("trace_ids"), details.get("annotations")), (None, None));
        assert_eq!(details["labels"]["service_name"], "cart");

        let key = "k".repeat(BODY);
        let labels = [("service_name".to_owned(), key.clone())];
        let huge = Notice { key, by: labels.clone().into(), labels: labels.into(), ..large };
        assert!(body(&huge, "R0", "http://w").len() <= BODY);
    }
}
