//! The webhook's body, headers and signature (gates.md 9).
//!
//! Duty: from a notice to bytes. Guarantee: the same notice gives the same body at every try; only the signature's time
//! differs. Left to others: sending (`follower`).

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::shown::{page, rfc3339, transition};
use crate::gate::identity::hex;
use crate::gate::journal::{Notice, Status};

/// Name of the header that holds the transition id.
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Name of the header that holds the signature.
pub(super) const SIGNATURE: &str = "X-Weavergen-Signature";

/// The body: version 4 of Alertmanager's webhook with one alert, and our own object beside it.
pub(super) fn body(notice: &Notice, receiver: &str, external_url: &str) -> String {
    message(notice, receiver, external_url).to_string()
}

/// The body as a value.
pub(super) fn message(notice: &Notice, receiver: &str, external_url: &str) -> Value {
    let alert = notice.alert.to_string();
    let status = match notice.status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    };
    // Go's zero time, which Alertmanager sends while an alert fires.
    let ends_at = notice.ends_at_ns.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339);
    let pipeline = notice.pipeline.as_ref();
    json!({
        "version": "4",
        "groupKey": alert,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": notice.by,
        "commonLabels": notice.labels,
        "commonAnnotations": notice.annotations,
        "externalURL": external_url,
        "alerts": [{
            "status": status,
            "labels": notice.labels,
            "annotations": notice.annotations,
            "startsAt": rfc3339(notice.starts_at_ns),
            "endsAt": ends_at,
            "generatorURL": page(notice, external_url),
            "fingerprint": alert,
        }],
        "weavergen": {
            "alert_id": alert,
            "episode": notice.episode,
            "transition": transition(notice),
            "level": notice.level.as_str(),
            "outcome": notice.outcome.map(|outcome| outcome.as_str()),
            "reason": notice.reason,
            "value": notice.value,
            "n": notice.n,
            "window_start": rfc3339(notice.window.start_ns),
            "window_end": rfc3339(notice.window.end_ns),
            "trace_ids": notice.trace_ids.iter().map(|id| Value::from(hex(id))).collect::<Vec<_>>(),
            "pipeline": pipeline.map(|(process, run)| json!({ "process": process, "run": run })),
        },
    })
}

/// Value of [`SIGNATURE`] at `unix_s`.
pub(super) fn signature(secret: &[u8], unix_s: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(format!("{unix_s}.{body}").as_bytes());
    format!("t={unix_s},v1={}", hex(&mac.finalize().into_bytes()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gate::identity::AlertId;
    use crate::gate::result::Window;
    use crate::gate::state::Level;
    use crate::gate::verdict::Outcome;

    /// Number `number` of episode 3 of an alert.
    pub(in super::super) fn notice(alert: u8, number: u32, status: Status) -> Notice {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Notice {
            alert: AlertId([alert; 16]),
            episode: 3,
            number,
            status,
            health: false,
            gate: "span_completeness".into(),
            key: "service_name=cart".into(),
            by: labels(&[("service_name", "cart")]),
            labels: labels(&[("service_name", "cart"), ("alertname", "span_completeness"), ("level", "fail")]),
            annotations: labels(&[("summary", "cart: 0.5 complete")]),
            level: Level::Fail,
            outcome: Some(Outcome::Fail),
            reason: "firing".into(),
            value: Some(0.5),
            n: Some(480),
            window: Window { start_ns: 1_767_225_600_000_000_000, end_ns: 1_767_225_900_000_000_000 },
            trace_ids: vec![[0xab; 16]],
            pipeline: Some(("regenerate".into(), None)),
            starts_at_ns: 1_767_225_900_000_000_000,
            ends_at_ns: None,
        }
    }

    #[test]
    fn a_body_is_alertmanagers_with_our_object_beside_it() {
        let text = body(&notice(0xcd, 0, Status::Firing), "hook", "https://w.example/base");
        let got: Value = serde_json::from_str(&text).unwrap();
        let expected: Value = serde_json::from_str(include_str!("../../tests/data/notify/firing.json")).unwrap();
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_resolved_alert_has_its_end() {
        let resolved = Notice { ends_at_ns: Some(1_767_226_200_500_000_000), ..notice(1, 2, Status::Resolved) };
        let got: Value = serde_json::from_str(&body(&resolved, "hook", "http://localhost:8080")).unwrap();
        assert_eq!((&got["status"], &got["alerts"][0]["status"]), (&"resolved".into(), &"resolved".into()));
        assert_eq!(got["alerts"][0]["endsAt"], "2026-01-01T00:10:00.5Z");
        assert_eq!(got["weavergen"]["transition"], format!("{}/3/2", "01".repeat(16)));
    }

    /// Expected by `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret`.
    #[test]
    fn a_signature_is_an_hmac_of_time_and_body() {
        let expected = "t=1700000000,v1=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";
        assert_eq!(signature(b"s3cret", 1_700_000_000, r#"{"a":1}"#), expected);
    }
}
