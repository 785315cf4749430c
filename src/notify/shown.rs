//! What the messages of several kinds show alike.
//!
//! Duty: times, the gate's page, the transition's id, one line for people. Guarantee: pure; the same notice gives the same
//! text. Left to others: the messages (`webhook`, `cloudevents`, `alertmanager`, `pagerduty`, `slack`).

use crate::gate::identity::transition_id;
use crate::gate::journal::{Notice, Status};

/// Names the transition; the same at every try.
pub(super) fn transition(notice: &Notice) -> String {
    transition_id(notice.alert, notice.episode, notice.number)
}

pub(super) fn rfc3339(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |at| at.to_string())
}

/// The gate's page, with key and window; where the daemon is, for what is about no gate.
pub(super) fn page(notice: &Notice, external_url: &str) -> String {
    // A health alert about a gate bears its name as a label.
    if notice.health && notice.labels.get("gate") != Some(&notice.gate) {
        return external_url.to_owned();
    }
    let Ok(mut url) = reqwest::Url::parse(external_url) else { return external_url.to_owned() };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("gates").push(&notice.gate);
    }
    url.query_pairs_mut()
        .append_pair("key", &notice.key)
        .append_pair("window_start", &rfc3339(notice.window.start_ns))
        .append_pair("window_end", &rfc3339(notice.window.end_ns));
    url.into()
}

/// When the transition came to be, ns since 1970: its tick.
pub(super) fn at_ns(notice: &Notice) -> i64 {
    notice.ends_at_ns.unwrap_or(notice.window.end_ns)
}

/// `FIRING fail: span_completeness{service_name=cart}: the summary`.
pub(super) fn line(notice: &Notice) -> String {
    let word = match notice.status {
        Status::Firing => format!("FIRING {}", notice.level.as_str()),
        Status::Resolved => "RESOLVED".to_owned(),
    };
    let name = notice.labels.get("alertname").map_or(notice.gate.as_str(), String::as_str);
    let key = match (notice.health, notice.key.as_str()) {
        (false, "") => String::new(),
        (false, key) => format!("{{{key}}}"),
        (true, "") => format!("{{{}}}", notice.gate),
        (true, key) => format!("{{{}; {key}}}", notice.gate),
    };
    match notice.annotations.get("summary") {
        Some(summary) => format!("{word}: {name}{key}: {summary}"),
        None => format!("{word}: {name}{key}"),
    }
}

/// At most `most` characters of `text`; a cut is shown.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::webhook::tests::notice;
    use super::*;

    #[test]
    fn a_line_says_what_happened_to_whom() {
        let firing = notice(1, 0, Status::Firing);
        assert_eq!(line(&firing), "FIRING fail: span_completeness{service_name=cart}: cart: 0.5 complete");
        let plain = Notice { annotations: [].into(), key: String::new(), ..notice(1, 1, Status::Resolved) };
        assert_eq!(line(&plain), "RESOLVED: span_completeness");
        let health = Notice { health: true, key: String::new(), gate: "hook".into(), ..plain };
        assert_eq!(line(&health), "RESOLVED: span_completeness{hook}");
    }

    #[test]
    fn a_health_alert_links_to_its_gate_and_one_about_a_receiver_to_the_daemon() {
        let labels = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let of = |labels| Notice { health: true, gate: "hook".into(), labels, ..notice(1, 0, Status::Firing) };
        assert_eq!(page(&of(labels("receiver", "hook")), "http://w/base"), "http://w/base");
        assert!(page(&of(labels("gate", "hook")), "http://w/base").starts_with("http://w/base/gates/hook?key="));
    }

    #[test]
    fn a_cut_counts_characters_and_is_shown() {
        assert_eq!((cut("äöü", 3).as_str(), cut("äöüß", 3).as_str()), ("äöü", "äö…"));
    }
}
