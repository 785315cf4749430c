//! Alerts of Alertmanager's API v2 (gates.md 9).
//!
//! Duty: what a message says to an Alertmanager that knows certain label sets, what it knows then, and the alerts' JSON.
//! Guarantee: pure; `startsAt` of an episode is always the same, and no `endsAt` lies before it; a change of labels ends the
//! old set in the same message that begins the new one. Left to others: POSTs, halving and re-sends (`follower`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::shown::{page, rfc3339};
use crate::gate::journal::{LabelSet, Notice, Resend, ResendRow, Status};
use crate::gate::window::nanos;

/// Behind the address of an Alertmanager.
pub(super) const PATH: &str = "/api/v2/alerts";
/// Alerts of one POST.
pub(super) const MOST: usize = 64;
/// For how long an end is told again.
const ENDS_TOLD_NS: i64 = 15 * 60 * 1_000_000_000;
/// How far ahead the end of what fires lies, in re-sends.
const AHEAD: u32 = 4;

/// What a message does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Alerts to send, ends first; none = there is nothing to say.
    pub(super) alerts: Vec<ResendRow>,
    /// What is known once they arrived.
    pub(super) changes: Vec<Resend>,
}

/// What `notice`, written at `written_ns`, says to one that knows `known` of its alert.
pub(super) fn plan(notice: &Notice, written_ns: i64, known: &[ResendRow], send_resolved: bool, now_ns: i64) -> Plan {
    let place = |notice: &Notice| (notice.episode, notice.number);
    // A neighbour's knowledge was taken over, or the message was tried again by hand.
    if known.iter().any(|row| place(&row.notice) > place(notice)) {
        return Plan::default();
    }
    let until_ns = now_ns.saturating_add(ENDS_TOLD_NS);
    let firing = || known.iter().filter(|row| row.until_ns.is_none());
    let ended = |row: &ResendRow| {
        let (episode, number, reason) = (notice.episode, notice.number, notice.reason.clone());
        let ends_at_ns = Some(notice.ends_at_ns.unwrap_or(notice.window.end_ns));
        let notice = Notice { episode, number, reason, status: Status::Resolved, ends_at_ns, ..row.notice.clone() };
        ResendRow { notice, until_ns: Some(until_ns), ..row.clone() }
    };
    // A sender's clock may run ahead of the one that the tick went by.
    let starts_at_ns = notice.starts_at_ns.min(written_ns);
    let alerts: Vec<ResendRow> = match notice.status {
        Status::Firing => {
            let same = firing().find(|row| row.notice.episode == notice.episode);
            let starts_at_ns = same.map_or(starts_at_ns, |row| row.starts_at_ns);
            let old = firing().filter(|row| row.notice.labels != notice.labels).map(ended);
            old.chain([ResendRow { notice: notice.clone(), starts_at_ns, until_ns: None }]).collect()
        }
        Status::Resolved if !send_resolved => {
            // It ends there by its own `endsAt`, as nobody repeats it any more.
            return Plan { alerts: Vec::new(), changes: vec![Resend::ForgetAll(notice.alert)] };
        }
        Status::Resolved => {
            let mut ends: Vec<ResendRow> = firing().map(ended).collect();
            if ends.is_empty() {
                ends.push(ResendRow { notice: notice.clone(), starts_at_ns, until_ns: Some(until_ns) });
            }
            ends
        }
    };
    let changes = alerts.iter().map(|row| Resend::Put(Box::new(row.clone()))).collect();
    Plan { alerts, changes }
}

/// What alerts say beside their notice.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) external_url: String,
    /// `notify.resend_interval`
    pub(super) resend: Duration,
    /// Of each gate's group.
    pub(super) intervals: BTreeMap<String, Duration>,
}

impl Terms {
    /// `row` at the time `now_ns` at which it is sent.
    pub(super) fn alert(&self, row: &ResendRow, now_ns: i64) -> Value {
        let notice = &row.notice;
        let ends_at_ns = match row.until_ns {
            Some(_) => notice.ends_at_ns.unwrap_or(now_ns).min(now_ns).max(row.starts_at_ns),
            None => now_ns.saturating_add(self.ahead_ns(&notice.gate)).max(row.starts_at_ns),
        };
        json!({
            "labels": notice.labels,
            "annotations": notice.annotations,
            "startsAt": rfc3339(row.starts_at_ns),
            "endsAt": rfc3339(ends_at_ns),
            "generatorURL": page(notice, &self.external_url),
        })
    }

    /// So that it ends by itself if we fall silent, and never between two re-sends.
    fn ahead_ns(&self, gate: &str) -> i64 {
        let interval = self.intervals.get(gate).copied().unwrap_or_default();
        nanos(self.resend.max(interval).saturating_mul(AHEAD))
    }
}

/// The change after `row` was told again at `now_ns` for the last time; `None` = it goes on.
pub(super) fn over(row: &ResendRow, now_ns: i64) -> Option<Resend> {
    let is_over = row.until_ns.is_some_and(|until_ns| until_ns <= now_ns);
    is_over.then(|| Resend::Forget(row.notice.alert, LabelSet::of(&row.notice.labels)))
}

#[cfg(test)]
mod tests {
    use super::super::webhook::tests::notice;
    use super::*;

    const S: i64 = 1_000_000_000;
    /// The tick at which the notices fired.
    const TICK: i64 = 1_767_225_900 * S;

    fn terms() -> Terms {
        let intervals = [("span_completeness".to_owned(), Duration::from_secs(30))].into();
        Terms { external_url: "http://w".into(), resend: Duration::from_secs(60), intervals }
    }

    fn at(level: &str, number: u32, status: Status) -> Notice {
        let mut notice = notice(1, number, status);
        notice.labels.insert("level".into(), level.into());
        notice
    }

    /// Label `level`, start and end of each alert.
    fn told(rows: &[ResendRow], now_ns: i64) -> Vec<(String, String, String)> {
        let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
        let alert = |row: &ResendRow| terms().alert(row, now_ns);
        let of = |alert: Value| (text(&alert["labels"], "level"), text(&alert, "startsAt"), text(&alert, "endsAt"));
        rows.iter().map(alert).map(of).collect()
    }

    fn texts(level: &str, starts: &str, ends: &str) -> (String, String, String) {
        (level.to_owned(), format!("2026-01-01T{starts}Z"), format!("2026-01-01T{ends}Z"))
    }

    #[test]
    fn what_fires_ends_four_re_sends_ahead_and_begins_when_it_fired() {
        let now_ns = TICK + 20 * S;
        let first = plan(&at("warn", 0, Status::Firing), now_ns, &[], true, now_ns);
        assert_eq!(told(&first.alerts, now_ns), [texts("warn", "00:05:00", "00:09:20")]);
        assert_eq!(told(&first.alerts, now_ns + 60 * S), [texts("warn", "00:05:00", "00:10:20")], "a re-send");
        let slow = Terms { intervals: [("span_completeness".to_owned(), Duration::from_secs(600))].into(), ..terms() };
        assert_eq!(slow.alert(&first.alerts[0], now_ns)["endsAt"], "2026-01-01T00:45:20Z");
        let alert = terms().alert(&first.alerts[0], now_ns);
        let link = "http://w/gates/span_completeness?key=service_name%3Dcart&window_start=";
        assert!(alert["generatorURL"].as_str().unwrap().starts_with(link), "{alert}");
        assert_eq!(alert["annotations"]["summary"], "cart: 0.5 complete");
    }

    #[test]
    fn another_level_ends_the_old_label_set_and_begins_the_new_one_at_the_same_start() {
        let first = plan(&at("warn", 0, Status::Firing), TICK, &[], true, TICK).alerts;
        let mut raised = at("fail", 1, Status::Firing);
        raised.window.end_ns = TICK + 60 * S;
        let now_ns = TICK + 80 * S;
        let second = plan(&raised, now_ns, &first, true, now_ns);
        let expected = [texts("warn", "00:05:00", "00:06:00"), texts("fail", "00:05:00", "00:10:20")];
        assert_eq!(told(&second.alerts, now_ns), expected);
        assert_eq!(second.changes.len(), 2);
        // Its end names the set that fires, not again the one that has ended.
        let end = Notice { ends_at_ns: Some(TICK + 120 * S), ..at("fail", 2, Status::Resolved) };
        let third = plan(&end, now_ns, &second.alerts, true, TICK + 140 * S);
        assert_eq!(told(&third.alerts, TICK + 140 * S), [texts("fail", "00:05:00", "00:07:00")]);
    }

    #[test]
    fn times_hold_whatever_the_clocks_say() {
        // The tick lies ahead of the clock.
        let now_ns = TICK - 40 * S;
        let first = plan(&at("fail", 0, Status::Firing), now_ns, &[], true, now_ns);
        assert_eq!(told(&first.alerts, now_ns)[0].1, "2026-01-01T00:04:20Z");
        let end = Notice { ends_at_ns: Some(TICK + 60 * S), ..at("fail", 1, Status::Resolved) };
        let ended = plan(&end, now_ns, &first.alerts, true, now_ns + S);
        assert_eq!(told(&ended.alerts, now_ns + S), [texts("fail", "00:04:20", "00:04:21")], "no end in the future");
        assert_eq!(
            told(&ended.alerts, now_ns - 9 * S),
            [texts("fail", "00:04:20", "00:04:20")],
            "none before the start"
        );
        assert_eq!(told(&ended.alerts, TICK + 90 * S), [texts("fail", "00:04:20", "00:06:00")]);
    }

    #[test]
    fn an_end_is_told_for_fifteen_minutes_and_what_was_overtaken_never() {
        let end = Notice { ends_at_ns: Some(TICK), ..at("fail", 1, Status::Resolved) };
        let alone = plan(&end, TICK, &[], true, TICK);
        assert_eq!(alone.alerts.len(), 1, "whoever missed the begin is told the end");
        assert_eq!(over(&alone.alerts[0], TICK + 899 * S), None);
        assert!(matches!(over(&alone.alerts[0], TICK + 900 * S), Some(Resend::Forget(..))));
        assert_eq!(plan(&at("fail", 0, Status::Firing), TICK, &alone.alerts, true, TICK), Plan::default());
        let silent = plan(&end, TICK, &[], false, TICK);
        assert_eq!((silent.alerts.len(), silent.changes), (0, vec![Resend::ForgetAll(end.alert)]));
    }
}
