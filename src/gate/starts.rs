//! Pipelines that episodes ask for (gates.md 11).
//!
//! Duty: the handle by which the engine sees due starts and answers them. Guarantee: a start stays due until it is answered
//! or its episode ends (of `on_resolve`: the next one begins); of one alert id and occasion no two begin within `cooldown`,
//! and at most `max_runs` in their time. Left to others: asking for a start (`book`), starting and refusing loops (`engine`).

use tokio::sync::watch;

use super::journal::{Error, Journal, Occasion, StartRequest, StartRow, StartState};
use super::metrics::Metrics;
use crate::clock::Clock;

/// The engine's answer to a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The run with this key began (or had begun: the answer may be repeated).
    Started(i64),
    /// A run of its key is active: offer it again.
    Busy,
    /// It will never be taken, for this reason.
    Refused(String),
}

/// Due starts, for the engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Starts {
    journal: Journal,
    clock: Clock,
    metrics: Metrics,
}

/// What is due now, and when to look again if nothing changes before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// In order.
    pub requests: Vec<StartRequest>,
    /// The first moment at which a start that is held now may begin, ns since 1970.
    pub next_ns: Option<i64>,
}

impl Starts {
    /// Over `journal`.
    pub fn new(journal: Journal, clock: Clock, metrics: Metrics) -> Self {
        Self { journal, clock, metrics }
    }

    /// Starts that may begin now, in the order in which they were asked for. Blocks on the disk's cache only.
    ///
    /// Errors: see [`Error`].
    pub fn due(&self) -> Result<Due, Error> {
        let now_ns = self.clock.now_ns();
        let mut due = Due { requests: Vec::new(), next_ns: None };
        for (row, began) in self.journal.snapshot()?.due_starts()? {
            match held_until(&row.request, &began, now_ns) {
                Some(until) => due.next_ns = Some(due.next_ns.map_or(until.at_ns, |next| next.min(until.at_ns))),
                None => due.requests.push(row.request),
            }
        }
        Ok(due)
    }

    /// Changes when starts were asked for or answered.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.journal.start_changes()
    }

    /// The start that `on_fail` asked for in the episode of `request` and that lapsed: its run may have begun all the same.
    ///
    /// Errors: see [`Error`].
    pub fn lapsed_failure(&self, request: &StartRequest) -> Result<Option<StartRequest>, Error> {
        let row = self.journal.snapshot()?.start(request.alert, request.episode)?;
        Ok(row.filter(|row| row.state == StartState::Lapsed).map(|row| row.request))
    }

    /// Answers a start. Durable when it returns; blocks for one sync of the disk.
    ///
    /// `false`: it was answered before, or its episode ended meanwhile; nothing was changed. A run that `on_fail` began is
    /// taken also when the episode has ended.
    /// Errors: see [`Error`]; then ask again, for the start is still due.
    pub fn answer(&self, request: &StartRequest, answer: &Answer) -> Result<bool, Error> {
        let at_ns = self.clock.now_ns();
        let change = |row: &mut StartRow| match answer {
            Answer::Started(run) => row.state = StartState::Started { run: *run, at_ns },
            Answer::Busy => row.busy += 1,
            Answer::Refused(reason) => row.state = StartState::Refused(reason.clone()),
        };
        let changed = self.journal.answer_start(request.occasion, request.alert, request.episode, change)?;
        if changed {
            let result = match answer {
                Answer::Started(_) => "started",
                Answer::Busy => "busy",
                Answer::Refused(_) => "refused",
            };
            self.metrics.pipeline_starts.with_label_values(&[request.gate.as_str(), result]).inc();
        }
        Ok(changed)
    }
}

/// Message id of a start: the engine drops repeats by it.
pub fn message_id(request: &StartRequest) -> String {
    let StartRequest { alert, episode, occasion, .. } = request;
    match occasion {
        Occasion::Failed => format!("{alert}#{episode}"),
        Occasion::Resolved => format!("{alert}#{episode}#resolved"),
    }
}

/// Why a start may not begin yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// `cooldown` or `max_runs`.
    pub(super) by: &'static str,
    /// Until when, ns since 1970.
    pub(super) at_ns: i64,
}

/// Whether `request` has to wait at `now_ns`, the earlier starts of its alert id having begun at `began`.
pub(super) fn held_until(request: &StartRequest, began: &[i64], now_ns: i64) -> Option<Held> {
    let cooldown = began.iter().max().map(|last| last.saturating_add(request.cooldown_ns));
    let mut recent: Vec<i64> = began.iter().map(|at| at.saturating_add(request.max_runs_in_ns)).collect();
    recent.retain(|out_ns| *out_ns > now_ns);
    recent.sort_unstable();
    // As many as are too many must have left the sliding time.
    let surplus = (recent.len() + 1).saturating_sub(request.max_runs as usize);
    let runs = surplus.checked_sub(1).and_then(|i| recent.get(i)).copied();
    let held = [("cooldown", cooldown), ("max_runs", runs)];
    held.into_iter()
        .filter_map(|(by, at)| at.map(|at_ns| Held { by, at_ns }))
        .filter(|held| held.at_ns > now_ns)
        .max_by_key(|held| held.at_ns)
}

#[cfg(test)]
mod tests {
    use super::super::identity::AlertId;
    use super::*;

    fn request(cooldown_ns: i64, max_runs: u32, max_runs_in_ns: i64) -> StartRequest {
        StartRequest {
            alert: AlertId([1; 16]),
            episode: 1,
            gate: "g".into(),
            key: String::new(),
            pipeline: "p".into(),
            t_ns: 0,
            variables: "{}".into(),
            cooldown_ns,
            max_runs,
            max_runs_in_ns,
            occasion: Occasion::Failed,
        }
    }

    #[test]
    fn a_start_waits_for_its_cooldown_and_for_room_in_the_sliding_time() {
        let asked = request(60, 3, 1_000);
        assert_eq!(held_until(&asked, &[], 500), None);
        assert_eq!(held_until(&asked, &[450], 500), Some(Held { by: "cooldown", at_ns: 510 }));
        assert_eq!(held_until(&asked, &[440], 500), None);
        assert_eq!(held_until(&asked, &[100, 200, 300], 500), Some(Held { by: "max_runs", at_ns: 1_100 }));
        assert_eq!(held_until(&asked, &[50, 100, 200, 300], 500), Some(Held { by: "max_runs", at_ns: 1_100 }));
        assert_eq!(held_until(&asked, &[100, 200, 300], 1_100), None, "the first has left");
    }

    #[test]
    fn a_message_id_names_alert_episode_and_occasion() {
        let failed = StartRequest { alert: AlertId([0xab; 16]), episode: 7, ..request(0, 1, 1) };
        assert_eq!(message_id(&failed), format!("{}#7", "ab".repeat(16)));
        let resolved = StartRequest { occasion: Occasion::Resolved, ..failed };
        assert_eq!(message_id(&resolved), format!("{}#7#resolved", "ab".repeat(16)));
    }
}
