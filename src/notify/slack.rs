//! Messages of Slack (gates.md 9; incoming webhooks).
//!
//! Duty: from a notice to bytes. Guarantee: text of others is escaped, so that it can neither call people nor make links.
//! Left to others: sending, at most one a second (`follower`).

use serde_json::json;

use super::shown::{cut, line, page, rfc3339};
use crate::gate::journal::{Notice, Status};

/// Characters of the first line; Slack cuts a text behind 40,000.
const LINE: usize = 3_000;

/// The message.
pub(super) fn body(notice: &Notice, external_url: &str) -> String {
    let sign = match notice.status {
        Status::Firing => ":red_circle:",
        Status::Resolved => ":large_green_circle:",
    };
    let mut facts = Vec::new();
    if let Some(value) = notice.value {
        facts.push(format!("value {value}"));
    }
    if let Some(n) = notice.n {
        facts.push(format!("n {n}"));
    }
    if notice.window.start_ns < notice.window.end_ns {
        facts.push(format!("{} to {}", rfc3339(notice.window.start_ns), rfc3339(notice.window.end_ns)));
    }
    facts.push(format!("episode {}", notice.episode));
    if notice.status == Status::Resolved || notice.reason == "raised" {
        facts.push(notice.reason.clone());
    }
    let facts = escaped(&facts.join(", "));
    let link = escaped(&page(notice, external_url));
    json!({ "text": format!("{sign} {}\n{facts}\n<{link}|Open the gate>", escaped(&cut(&line(notice), LINE))) })
        .to_string()
}

/// Slack: these three are control characters; everything else is itself.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::webhook::tests::notice;
    use super::*;

    fn text(notice: &Notice) -> String {
        let body: serde_json::Value = serde_json::from_str(&body(notice, "http://w")).unwrap();
        body["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_message_says_what_happened_and_links_to_the_gate() {
        let got = text(&notice(1, 0, Status::Firing));
        let lines: Vec<&str> = got.lines().collect();
        assert_eq!(lines[0], ":red_circle: FIRING fail: span_completeness{service_name=cart}: cart: 0.5 complete");
        assert_eq!(lines[1], "value 0.5, n 480, 2026-01-01T00:00:00Z to 2026-01-01T00:05:00Z, episode 3");
        assert!(lines[2].starts_with("<http://w/gates/span_completeness?key=service_name%3Dcart&amp;window_start="));
        assert!(lines[2].ends_with("|Open the gate>"));
        let ended = text(&Notice { reason: "passed".into(), ..notice(1, 1, Status::Resolved) });
        assert!(ended.starts_with(":large_green_circle: RESOLVED: ") && ended.contains("episode 3, passed"), "{ended}");
    }

    #[test]
    fn text_of_others_calls_nobody_and_makes_no_links() {
        let annotations = [("summary".to_owned(), "<!channel> a & b <http://evil|click>".to_owned())].into();
        let got = text(&Notice { annotations, key: "k=<@U1>|x".into(), ..notice(1, 0, Status::Firing) });
        assert!(got.contains("&lt;!channel&gt; a &amp; b &lt;http://evil|click&gt;"), "{got}");
        assert_eq!(got.matches('<').count(), 1, "only the link is ours: {got}");
        assert_eq!(got.lines().last().unwrap().matches('|').count(), 1, "{got}");
    }
}
