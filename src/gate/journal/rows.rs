//! Rows of `gates.redb` (gates.md 7).
//!
//! Duty: their types and their bytes: postcard behind a version byte. Guarantee: rows of earlier versions are read as what
//! they are now; bytes of a later version are an error, never misread. Left to others: tables and transactions (the parent).

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::health::HealthKind;
use super::super::identity::AlertId;
use super::super::result::Window;
use super::super::state::{Cause, Downtime, Level, Phase, State};
use super::super::verdict::Outcome;
use super::Error;
use super::past::PastTick;

/// Longest evidence kept with a verdict, in bytes of JSON.
pub const EVIDENCE_BYTES: usize = 8 << 10;
/// Longest run of equal outcomes in one row.
pub const RUN_NS: i64 = 5 * 60 * 1_000_000_000;

/// What stands behind a version byte.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// First byte of the rows that are written.
    const VERSION: u8 = 1;

    /// Reads what stands behind the byte of an earlier version; `None` = there was no such version.
    fn older(_version: u8, _row: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

impl Row for u32 {}
impl Row for u64 {}
impl Row for i64 {}
impl Row for Vec<Downtime> {}
impl Row for BTreeSet<String> {}
impl Row for BTreeMap<String, u64> {}
impl Row for EpisodeRow {}
impl Row for OutboxRow {}
impl Row for StartRow {}
impl Row for HealthRow {}

pub(super) fn encode<T: Row>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![T::VERSION]).expect("rows hold nothing that postcard cannot write")
}

pub(super) fn decode<T: Row>(bytes: &[u8]) -> Result<T, Error> {
    let Some((version, row)) = bytes.split_first() else { return Err(Error::Damaged("an empty row".to_owned())) };
    let read = if *version == T::VERSION { Some(postcard::from_bytes(row)) } else { T::older(*version, row) };
    read.ok_or(Error::Format(u32::from(*version)))?.map_err(|e| Error::Damaged(e.to_string()))
}

/// Table `gate`, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRow {
    /// Counts questions, from 1.
    pub generation: u64,
    /// Hash of the question.
    pub question: [u8; 32],
    /// Its group.
    pub group: String,
    /// The last closed tick, ns since 1970.
    pub last_tick_ns: i64,
    /// No episode below or at it is given out again.
    pub floor: u64,
    /// Errors in a row.
    pub errors: u32,
    /// Whether it is loaded.
    pub loaded: bool,
    /// With `on: ingest`: store position up to which spans were looked at, µs.
    pub seen_us: Option<i64>,
}

/// Key of the tables `state` and `running`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId {
    /// Name of the gate.
    pub gate: String,
    /// Its generation.
    pub generation: u64,
    /// Alert key.
    pub key: String,
}

/// Table `state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// `by` values by name.
    pub labels: BTreeMap<String, String>,
    /// §5.
    pub state: State,
    /// Evaluations in a row in which other keys were there and this one was not.
    pub missing: u32,
    /// Outcome and value of the last verdict.
    pub last: Option<(Outcome, Option<f64>)>,
    /// What receivers were told when the open episode fired or was raised.
    pub told: Option<Told>,
    /// With `on: ingest`, of a key whose episode is over: spans that came since and began no other, for there was no room.
    pub untold: Option<Untold>,
}

/// Spans that nobody was told of: their first and last event times, ns since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untold {
    /// Of the first.
    pub first_ns: i64,
    /// Of the last.
    pub last_ns: i64,
}

impl Untold {
    /// These and those of `other`.
    pub(in crate::gate) fn and(self, other: Self) -> Self {
        Self { first_ns: self.first_ns.min(other.first_ns), last_ns: self.last_ns.max(other.last_ns) }
    }

    /// Those from `from_ns` on, if there are any.
    pub(in crate::gate) fn since(self, from_ns: i64) -> Option<Self> {
        (from_ns <= self.last_ns).then(|| Self { first_ns: self.first_ns.max(from_ns), ..self })
    }

    /// Whether one of them may lie in `window`: surely if it holds the first or the last.
    pub(in crate::gate) const fn may_lie_in(self, window: Window) -> bool {
        self.first_ns < window.end_ns && window.start_ns <= self.last_ns
    }
}

/// Who was told what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Names of receivers.
    pub receivers: Vec<String>,
    /// The last notice that says firing.
    pub notice: Notice,
}

/// Table `episode`, by alert id and number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeRow {
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Tick at which it fired.
    pub opened_ns: i64,
    /// Tick at which it was resolved.
    pub closed_ns: Option<i64>,
    /// The highest level.
    pub level_max: Level,
    /// Why it was resolved.
    pub closed_by: Option<Cause>,
    /// Run that its start made.
    pub pipeline_run: Option<i64>,
}

/// Table `journal`, by sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRow {
    /// Wall time, ns since 1970.
    pub at_ns: i64,
    /// The tick, ns since 1970.
    pub t_ns: i64,
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Before.
    pub from: Phase,
    /// After.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
    /// Number of the episode.
    pub episode: Option<u64>,
    /// Transition id.
    pub transition: Option<String>,
    /// Who closed it by hand.
    pub actor: Option<String>,
    /// What else happened, e.g. `suppressed: dry_run`.
    pub summary: String,
    /// Of what was found between two ticks: the store position up to which spans counted, µs. Of what was closed by hand: the
    /// one up to which arrivals had been looked at. `None` = a tick or a load decided it, or an earlier version did not say.
    pub looked_us: Option<i64>,
    /// Of what was found between two ticks: the instant as of which it was looked for, ns since 1970. `t_ns` may lie behind it,
    /// for it is not before what is known of the key.
    pub looked_ns: Option<i64>,
}

/// Why a tick, or one gate of it, was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Missed {
    /// Too many were due.
    Overrun,
    /// Its window overlaps a time at which the daemon did not run, and there was not enough to judge.
    Downtime,
    /// The query took too long.
    Timeout,
}

impl Missed {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overrun => "overrun",
            Self::Downtime => "downtime",
            Self::Timeout => "timeout",
        }
    }
}

/// Table `tick`, by group and tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickRow {
    /// Store position up to which spans counted, µs; `None` = the tick was not evaluated.
    pub cut_us: Option<i64>,
    /// Gates that missed it, wholly or for one key.
    pub missed: BTreeSet<(String, Missed)>,
    /// Wall time at which it was taken in, ns since 1970; `None` = it was not evaluated, or an earlier version did not say.
    pub closed_ns: Option<i64>,
    /// Whose it is; `None` = an earlier version did not say.
    pub of: Option<TickOf>,
    /// Spans that had come too late for the ticks before; `None` = they were not counted.
    pub late: Option<u64>,
    /// Time that the queries of its gates took, ns.
    pub cost_ns: u64,
    /// What lay in the outbox when it was written; `None` = it was not evaluated, or nobody sends.
    pub outbox: Option<Waiting>,
}

/// What lies in the outbox, of all receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Waiting {
    /// Messages that wait.
    pub messages: u64,
    /// Messages that were given up.
    pub dead: u64,
}

/// The group of a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickOf {
    /// Its name.
    pub group: String,
    /// How many gates it has.
    pub gates: u64,
    /// Whether they are derived gates, which close ticks of their own.
    pub is_derived: bool,
}

/// Tables `result` and `running`: a run of equal outcomes of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRun {
    /// Name of the gate.
    pub gate: String,
    /// Its generation.
    pub generation: u64,
    /// Its group.
    pub group: String,
    /// Alert key.
    pub key: String,
    /// Of every tick of the run.
    pub outcome: Outcome,
    /// Ticks, ns since 1970.
    pub first_tick_ns: i64,
    /// The last of them.
    pub last_tick_ns: i64,
    /// How many; none of those that were filled in.
    pub evaluations: u64,
    /// Value at the last tick.
    pub value: Option<f64>,
    /// Sum of the values, and how many there were.
    pub values: (f64, u64),
    /// Samples at the last tick.
    pub n: Option<u64>,
    /// Window of the last tick.
    pub window: Window,
    /// Cut of the last tick.
    pub cut_us: i64,
    /// Evidence of the last tick, JSON of at most [`EVIDENCE_BYTES`]; an error's text for outcome error.
    pub evidence: String,
    /// Trace ids of the last tick.
    pub trace_ids: Vec<[u8; 16]>,
    /// `mode: dry_run`
    pub dry_run: bool,
    /// Time that all its evaluations took, the gate's share included once a key.
    pub cost_ns: u64,
    /// Baseline at the last tick.
    pub baseline: Option<f64>,
    /// Values of its ticks, of a gate with a `baseline`; not in complete rows, whose values are in a table of their own.
    pub ticks: Vec<PastTick>,
}

impl OutcomeRun {
    /// Mean of the values.
    #[allow(clippy::cast_precision_loss, reason = "a run has a few hundred ticks")]
    pub fn value_avg(&self) -> Option<f64> {
        (self.values.1 > 0).then(|| self.values.0 / self.values.1 as f64)
    }

    /// Whether each of its values is known.
    fn has_ticks(&self) -> bool {
        self.ticks.len() as u64 == self.values.1
    }

    /// Takes in the tick that follows. Gives it back if it starts a new run.
    pub fn extend(&mut self, next: Self) -> Option<Self> {
        let same = self.outcome == next.outcome
            && self.generation == next.generation
            && self.dry_run == next.dry_run
            && self.group == next.group
            && self.has_ticks() == next.has_ticks()
            && next.last_tick_ns - self.first_tick_ns < RUN_NS;
        if !same {
            return Some(next);
        }
        let mut ticks = std::mem::take(&mut self.ticks);
        let later_ms = u32::try_from((next.first_tick_ns - self.first_tick_ns) / 1_000_000).unwrap_or(u32::MAX);
        let later = |tick: &PastTick| PastTick { after_ms: tick.after_ms.saturating_add(later_ms), ..*tick };
        ticks.extend(next.ticks.iter().map(later));
        *self = Self {
            ticks,
            first_tick_ns: self.first_tick_ns,
            evaluations: self.evaluations + next.evaluations,
            values: (self.values.0 + next.values.0, self.values.1 + next.values.1),
            cost_ns: self.cost_ns.saturating_add(next.cost_ns),
            ..next
        };
        None
    }
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It does, newly or at a higher level.
    Firing,
    /// It did.
    Resolved,
}

/// What a receiver is told: everything but its own settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Alert id.
    pub alert: AlertId,
    /// Number of the episode.
    pub episode: u64,
    /// Number of the transition inside it.
    pub number: u32,
    /// Firing or resolved.
    pub status: Status,
    /// A health alert: about the daemon, not about spans.
    pub health: bool,
    /// Name of the gate, or what the health alert is about.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// `by` values by name.
    pub by: BTreeMap<String, String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations, rendered.
    pub annotations: BTreeMap<String, String>,
    /// Level of the episode; of its end: its highest. `labels` hold the one it was told with last.
    pub level: Level,
    /// Of the tick; `None` for what no tick decided.
    pub outcome: Option<Outcome>,
    /// The journal's cause.
    pub reason: String,
    /// Value judged.
    pub value: Option<f64>,
    /// Samples.
    pub n: Option<u64>,
    /// Window judged.
    pub window: Window,
    /// At most five.
    pub trace_ids: Vec<[u8; 16]>,
    /// Process id of the pipeline that the episode asks for, with its run once it is known.
    pub pipeline: Option<(String, Option<i64>)>,
    /// Tick at which it fired.
    pub starts_at_ns: i64,
    /// Tick at which it was resolved.
    pub ends_at_ns: Option<i64>,
}

/// Table `outbox`, by receiver and sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// What to tell.
    pub notice: Notice,
    /// When it was written, ns since 1970.
    pub written_ns: i64,
    /// Tries so far.
    pub attempts: u32,
    /// Not before, ns since 1970.
    pub next_try_ns: i64,
    /// Why it is not tried any more.
    pub dead: Option<String>,
}

/// Tables `starts` and `resolve_starts`, by alert id and episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRow {
    /// Order of all starts.
    pub sequence: u64,
    /// What is asked of the engine.
    pub request: StartRequest,
    /// What became of it.
    pub state: StartState,
    /// How often the engine answered busy.
    pub busy: u32,
}

/// At which moment of its episode a pipeline is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Occasion {
    /// `on_fail`: it began, or its level rose.
    #[default]
    Failed,
    /// `on_resolve`: it ended because `clear` held.
    Resolved,
}

/// A pipeline to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequest {
    /// Alert id.
    pub alert: AlertId,
    /// Number of the episode.
    pub episode: u64,
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// BPMN process id.
    pub pipeline: String,
    /// Tick that asks for it, ns since 1970.
    pub t_ns: i64,
    /// JSON object: the variables of bpmn.md S33, with the gate's own `input` among them.
    pub variables: String,
    /// Least time between starts of one alert id, ns.
    pub cooldown_ns: i64,
    /// At most so many …
    pub max_runs: u32,
    /// … in so long, ns.
    pub max_runs_in_ns: i64,
    /// At which moment. Not in the row: each has a table of its own.
    #[serde(skip)]
    pub occasion: Occasion,
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartState {
    /// The engine may take it once cooldown and `max_runs` allow it.
    Due,
    /// It runs or ran.
    Started {
        /// Key of the root instance.
        run: i64,
        /// Wall time, ns since 1970.
        at_ns: i64,
    },
    /// The engine will not take it.
    Refused(String),
    /// The episode ended before; of `on_resolve`: the next one began before.
    Lapsed,
}

/// Table `health`, by alert id: health alerts that fire or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthRow {
    /// What is wrong.
    pub kind: HealthKind,
    /// Gate or receiver that it is about.
    pub about: String,
    /// Key of that gate.
    pub key: BTreeMap<String, String>,
    /// Number of the last episode.
    pub episode: u64,
    /// What was told, while it fires, with the sentence of the last tick.
    pub told: Option<Told>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn run(tick_s: i64, outcome: Outcome, value: f64) -> OutcomeRun {
        let t_ns = tick_s * 1_000_000_000;
        OutcomeRun {
            gate: "g".into(),
            generation: 1,
            group: "gg".into(),
            key: String::new(),
            outcome,
            first_tick_ns: t_ns,
            last_tick_ns: t_ns,
            evaluations: 1,
            value: Some(value),
            values: (value, 1),
            n: Some(3),
            window: Window { start_ns: t_ns - 60, end_ns: t_ns },
            cut_us: tick_s,
            evidence: String::new(),
            trace_ids: vec![],
            dry_run: false,
            cost_ns: 7,
            baseline: None,
            ticks: vec![],
        }
    }

    #[test]
    fn a_run_grows_while_the_outcome_stays_and_for_less_than_five_minutes() {
        let mut first = run(30, Outcome::Pass, 1.0);
        assert_eq!(first.extend(run(60, Outcome::Pass, 3.0)), None);
        assert_eq!((first.evaluations, first.value, first.value_avg(), first.cost_ns), (2, Some(3.0), Some(2.0), 14));
        assert_eq!((first.first_tick_ns, first.last_tick_ns), (30_000_000_000, 60_000_000_000));
        assert!(first.clone().extend(run(90, Outcome::Warn, 3.0)).is_some());
        assert!(first.clone().extend(run(330, Outcome::Pass, 3.0)).is_some());
        assert_eq!(first.extend(run(329, Outcome::Pass, 3.0)), None);
    }

    #[test]
    fn a_row_of_another_version_is_refused() {
        let mut bytes = encode(&run(30, Outcome::Fail, 0.5));
        assert_eq!(decode::<OutcomeRun>(&bytes).unwrap(), run(30, Outcome::Fail, 0.5));
        bytes[0] = 3;
        assert!(matches!(decode::<OutcomeRun>(&bytes), Err(Error::Format(3))));
        assert!(matches!(decode::<OutcomeRun>(&bytes[..0]), Err(Error::Damaged(_))));
        assert!(matches!(decode::<OutcomeRun>(&[2, 5]), Err(Error::Damaged(_))));
    }
}
