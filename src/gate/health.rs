//! Health alerts: about gates and receivers, not about spans (gates.md 4.3).
//!
//! Duty: turn one on or off, with what receivers are told. Guarantee: it fires on the first tick of its condition, resolves
//! on the first without it, and starts no pipeline; between, its sentence is that of the last tick, of which nobody gets a
//! message; it has an identity of its own; who heard its begin hears its end, also where receivers change between. Left to others: when the condition holds (`book`, `notify`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::{AlertId, TENANT, alert_key};
use super::journal::{HealthRow, Notice, Status, Told};
use super::result::Window;
use super::state::Level;

/// The annotation that holds the sentence for people.
const SUMMARY: &str = "summary";

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HealthKind {
    /// The query failed `error_limit` times in a row.
    GateError,
    /// `no_data: alert`
    GateNoData,
    /// `inconclusive: alert`
    GateInconclusive,
    /// More keys than `limit`.
    GateOverflow,
    /// A receiver refuses messages, or did not take them for a day.
    DeliveryFailing,
}

impl HealthKind {
    /// Label `alertname`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GateError => "GateError",
            Self::GateNoData => "GateNoData",
            Self::GateInconclusive => "GateInconclusive",
            Self::GateOverflow => "GateOverflow",
            Self::DeliveryFailing => "DeliveryFailing",
        }
    }

    /// Name of the label that says what it is about.
    const fn label(self) -> &'static str {
        match self {
            Self::DeliveryFailing => "receiver",
            _ => "gate",
        }
    }
}

/// The row after receivers changed while `row` fires, with the begin for those that did not hear it; `None` = nobody is new.
/// Who is not told of what begins now still hears the end of this.
pub fn follow(row: &HealthRow, receivers: &[String]) -> Option<(HealthRow, Vec<(String, Notice)>)> {
    let told = row.told.as_ref()?;
    let newcomers: Vec<&String> = receivers.iter().filter(|receiver| !told.receivers.contains(receiver)).collect();
    if newcomers.is_empty() {
        return None;
    }
    let messages = newcomers.iter().map(|receiver| ((*receiver).clone(), told.notice.clone())).collect();
    let receivers = told.receivers.iter().chain(newcomers).cloned().collect();
    let told = Told { receivers, notice: told.notice.clone() };
    Some((HealthRow { told: Some(told), ..row.clone() }, messages))
}

/// A condition and whether it holds.
#[derive(Clone, Debug)]
pub struct Condition<'a> {
    /// What may be wrong.
    pub kind: HealthKind,
    /// Gate or receiver.
    pub about: &'a str,
    /// Key of that gate.
    pub key: &'a BTreeMap<String, String>,
    /// Who is told.
    pub receivers: &'a [String],
    /// One sentence for people.
    pub summary: String,
    /// The tick, ns since 1970.
    pub t_ns: i64,
}

impl Condition<'_> {
    /// Its alert id.
    pub fn alert(&self) -> AlertId {
        AlertId::of_health(TENANT, self.kind.as_str(), self.about, self.key)
    }

    /// The row and the messages after the condition `holds` or not; `None` = nothing changes.
    pub fn turn(&self, before: Option<&HealthRow>, holds: bool) -> Option<(HealthRow, Vec<(String, Notice)>)> {
        let told = before.and_then(|row| row.told.as_ref());
        let row = |episode, told| HealthRow {
            kind: self.kind,
            about: self.about.to_owned(),
            key: self.key.clone(),
            episode,
            told,
        };
        match (told, holds) {
            (None, true) => {
                let episode = before.map_or(0, |row| row.episode) + 1;
                let told = Told { receivers: self.receivers.to_vec(), notice: self.notice(episode) };
                let messages = told.receivers.iter().map(|r| (r.clone(), told.notice.clone())).collect();
                Some((row(episode, Some(told)), messages))
            }
            (Some(told), false) => {
                let notice = Notice {
                    number: told.notice.number + 1,
                    status: Status::Resolved,
                    reason: "resolved".to_owned(),
                    ends_at_ns: Some(self.t_ns),
                    ..told.notice.clone()
                };
                let messages = told.receivers.iter().map(|r| (r.clone(), notice.clone())).collect();
                Some((row(notice.episode, None), messages))
            }
            (Some(told), true) if told.notice.annotations.get(SUMMARY) != Some(&self.summary) => {
                // No transition: it is for those who look, or are told again.
                let mut told = told.clone();
                told.notice.annotations.insert(SUMMARY.to_owned(), self.summary.clone());
                Some((row(told.notice.episode, Some(told)), Vec::new()))
            }
            (None, false) | (Some(_), true) => None,
        }
    }

    /// The name under which a label of the key is sent: what the alert itself sets is not taken from it.
    fn label_of(&self, name: &str) -> String {
        let own = ["alertname", "severity", "level", self.kind.label()];
        let mut sent = name.to_owned();
        while own.contains(&sent.as_str()) || (sent != name && self.key.contains_key(&sent)) {
            sent.insert_str(0, "exported_");
        }
        sent
    }

    fn notice(&self, episode: u64) -> Notice {
        let mut labels: BTreeMap<String, String> =
            self.key.iter().map(|(name, value)| (self.label_of(name), value.clone())).collect();
        labels.insert("alertname".to_owned(), self.kind.as_str().to_owned());
        labels.insert(self.kind.label().to_owned(), self.about.to_owned());
        labels.insert("severity".to_owned(), "warning".to_owned());
        labels.insert("level".to_owned(), Level::Warn.as_str().to_owned());
        Notice {
            alert: self.alert(),
            episode,
            number: 0,
            status: Status::Firing,
            health: true,
            gate: self.about.to_owned(),
            key: alert_key(self.key),
            by: self.key.clone(),
            labels,
            annotations: BTreeMap::from([(SUMMARY.to_owned(), self.summary.clone())]),
            level: Level::Warn,
            outcome: None,
            reason: "health".to_owned(),
            value: None,
            n: None,
            window: Window { start_ns: self.t_ns, end_ns: self.t_ns },
            trace_ids: Vec::new(),
            pipeline: None,
            starts_at_ns: self.t_ns,
            ends_at_ns: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_alert_fires_once_resolves_once_and_counts_its_episodes() {
        let key = BTreeMap::new();
        let receivers = ["hook".to_owned()];
        let about = |t_ns| Condition {
            kind: HealthKind::GateError,
            about: "g",
            key: &key,
            receivers: &receivers,
            summary: "broken".into(),
            t_ns,
        };
        assert!(about(10).turn(None, false).is_none());
        let (row, told) = about(10).turn(None, true).unwrap();
        assert_eq!((told.len(), told[0].1.status, told[0].1.episode, told[0].1.number), (1, Status::Firing, 1, 0));
        assert_eq!(told[0].1.labels["alertname"], "GateError");
        assert!(about(20).turn(Some(&row), true).is_none());
        let (row, told) = about(30).turn(Some(&row), false).unwrap();
        assert_eq!((told[0].1.status, told[0].1.number, told[0].1.ends_at_ns), (Status::Resolved, 1, Some(30)));
        let (_, told) = about(40).turn(Some(&row), true).unwrap();
        assert_eq!((told[0].1.episode, told[0].1.number), (2, 0));
    }

    #[test]
    fn while_it_fires_its_sentence_is_that_of_the_last_tick_and_nobody_gets_a_message() {
        let (key, receivers) = (BTreeMap::new(), ["hook".to_owned()]);
        let turn = |summary: &str, before: Option<&HealthRow>, holds| {
            let (kind, summary) = (HealthKind::GateOverflow, summary.to_owned());
            Condition { kind, about: "g", key: &key, receivers: &receivers, summary, t_ns: 10 }.turn(before, holds)
        };
        let (first, _) = turn("2 keys", None, true).unwrap();
        let (second, messages) = turn("5 keys", Some(&first), true).unwrap();
        assert!(messages.is_empty() && turn("5 keys", Some(&second), true).is_none());
        let summary = |row: &HealthRow| row.told.as_ref().unwrap().notice.annotations["summary"].clone();
        assert_eq!([summary(&first), summary(&second)], ["2 keys", "5 keys"]);
        assert_eq!(second.told.as_ref().unwrap().notice.number, 0, "the transition is the same");
        let (_, ended) = turn("", Some(&second), false).unwrap();
        assert_eq!((ended[0].1.number, ended[0].1.annotations["summary"].as_str()), (1, "5 keys"));
    }

    #[test]
    fn receivers_that_change_while_it_fires_hear_its_begin_and_all_hear_its_end() {
        let key = BTreeMap::new();
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let turn = |receivers: &[String], before: Option<&HealthRow>, holds| {
            let (kind, summary) = (HealthKind::GateError, "broken".to_owned());
            Condition { kind, about: "g", key: &key, receivers, summary, t_ns: 10 }.turn(before, holds).unwrap()
        };
        let (row, begun) = turn(&names(&["hook"]), None, true);
        assert!(follow(&row, &names(&["hook"])).is_none() && follow(&row, &[]).is_none());
        let (row, told) = follow(&row, &names(&["other", "hook"])).unwrap();
        assert_eq!(told, [("other".to_owned(), begun[0].1.clone())], "the same transition");
        assert!(follow(&row, &names(&["other"])).is_none(), "once");
        let (row, ended) = turn(&[], Some(&row), false);
        let heard: Vec<_> = ended.iter().map(|(receiver, notice)| (receiver.as_str(), notice.status)).collect();
        assert_eq!(heard, [("hook", Status::Resolved), ("other", Status::Resolved)]);
        assert!(follow(&row, &names(&["third"])).is_none(), "what is over begins for nobody");
    }

    #[test]
    fn a_label_of_the_key_takes_no_label_of_the_alert() {
        let names = ["gate", "exported_gate", "level", "severity", "alertname", "receiver"];
        let key = names.iter().map(|name| ((*name).to_owned(), format!("own {name}"))).collect();
        let condition = Condition {
            kind: HealthKind::GateNoData,
            about: "g",
            key: &key,
            receivers: &["hook".to_owned()],
            summary: String::new(),
            t_ns: 10,
        };
        let (_, told) = condition.turn(None, true).unwrap();
        let notice = &told[0].1;
        let label = |name: &str| notice.labels.get(name).map(String::as_str);
        assert_eq!([label("alertname"), label("gate"), label("level")], [Some("GateNoData"), Some("g"), Some("warn")]);
        assert_eq!(label("severity"), Some("warning"));
        for (sent, own) in [
            ("exported_exported_gate", "gate"),
            ("exported_gate", "exported_gate"),
            ("exported_level", "level"),
            ("exported_severity", "severity"),
            ("exported_alertname", "alertname"),
            ("receiver", "receiver"),
        ] {
            assert_eq!(label(sent), Some(format!("own {own}").as_str()), "{sent}");
        }
        assert_eq!(notice.by, key, "what it is about stays as it is");
    }
}
