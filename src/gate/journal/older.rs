//! Rows of `gates.redb` as earlier versions wrote them.
//!
//! Duty: their shape, and what they are now. Guarantee: what an earlier version wrote is read and goes on; what it did not know
//! is absent. Left to others: what rows are (`rows`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::result::Window;
use super::super::state::{Cause, Phase, State, StateV1};
use super::super::verdict::Outcome;
use super::rows::{GateRow, JournalRow, KeyRow, Missed, OutcomeRun, Row, TickRow, Told};

impl Row for TickRow {
    const VERSION: u8 = 3;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        let first = |old: TickRowV1| Self { cut_us: old.cut_us, missed: old.missed, ..Self::default() };
        let second = |old: TickRowV2| Self {
            cut_us: old.cut_us,
            missed: old.missed,
            closed_ns: old.closed_ns,
            ..Self::default()
        };
        match version {
            1 => Some(postcard::from_bytes(row).map(first)),
            2 => Some(postcard::from_bytes(row).map(second)),
            _ => None,
        }
    }
}

/// [`TickRow`] before a tick could close later than the clock says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TickRowV1 {
    cut_us: Option<i64>,
    missed: BTreeSet<(String, Missed)>,
}

/// [`TickRow`] before it said whose it is and what came too late.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TickRowV2 {
    cut_us: Option<i64>,
    missed: BTreeSet<(String, Missed)>,
    closed_ns: Option<i64>,
}

impl Row for JournalRow {
    const VERSION: u8 = 2;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        let now = |old: JournalRowV1| Self {
            at_ns: old.at_ns,
            t_ns: old.t_ns,
            gate: old.gate,
            key: old.key,
            from: old.from,
            to: old.to,
            cause: old.cause,
            episode: old.episode,
            transition: old.transition,
            actor: old.actor,
            summary: old.summary,
            looked_us: None,
            looked_ns: None,
        };
        (version == 1).then(|| postcard::from_bytes(row).map(now))
    }
}

/// [`JournalRow`] before it said what had been looked at between two ticks.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct JournalRowV1 {
    at_ns: i64,
    t_ns: i64,
    gate: String,
    key: String,
    from: Phase,
    to: Phase,
    cause: Cause,
    episode: Option<u64>,
    transition: Option<String>,
    actor: Option<String>,
    summary: String,
}

impl Row for GateRow {
    const VERSION: u8 = 2;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        let now = |old: GateRowV1| Self {
            generation: old.generation,
            question: old.question,
            group: old.group,
            last_tick_ns: old.last_tick_ns,
            floor: old.floor,
            errors: old.errors,
            loaded: old.loaded,
            seen_us: None,
        };
        (version == 1).then(|| postcard::from_bytes(row).map(now))
    }
}

/// [`GateRow`] before there was `on: ingest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct GateRowV1 {
    generation: u64,
    question: [u8; 32],
    group: String,
    last_tick_ns: i64,
    floor: u64,
    errors: u32,
    loaded: bool,
}

impl Row for KeyRow {
    const VERSION: u8 = 3;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        let second = |old: KeyRowV2| Self {
            labels: old.labels,
            state: old.state,
            missing: old.missing,
            last: old.last,
            told: old.told,
            untold_ns: None,
        };
        let first = |old: KeyRowV1| {
            let KeyRowV1 { labels, state, missing, last, told } = old;
            second(KeyRowV2 { labels, state: state.into(), missing, last, told })
        };
        match version {
            1 => Some(postcard::from_bytes(row).map(first)),
            2 => Some(postcard::from_bytes(row).map(second)),
            _ => None,
        }
    }
}

/// [`KeyRow`] before it knew of spans that nobody was told of.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeyRowV2 {
    labels: BTreeMap<String, String>,
    state: State,
    missing: u32,
    last: Option<(Outcome, Option<f64>)>,
    told: Option<Told>,
}

/// [`KeyRow`] before the state knew `fire_after` and `step_down_after`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeyRowV1 {
    labels: BTreeMap<String, String>,
    state: StateV1,
    missing: u32,
    last: Option<(Outcome, Option<f64>)>,
    told: Option<Told>,
}

impl Row for OutcomeRun {
    const VERSION: u8 = 2;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        (version == 1).then(|| postcard::from_bytes(row).map(|old: OutcomeRunV1| old.now()))
    }
}

/// [`OutcomeRun`] before there were baselines.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OutcomeRunV1 {
    gate: String,
    generation: u64,
    group: String,
    key: String,
    outcome: Outcome,
    first_tick_ns: i64,
    last_tick_ns: i64,
    evaluations: u64,
    value: Option<f64>,
    values: (f64, u64),
    n: Option<u64>,
    window: Window,
    cut_us: i64,
    evidence: String,
    trace_ids: Vec<[u8; 16]>,
    dry_run: bool,
    cost_ns: u64,
}

impl OutcomeRunV1 {
    fn now(self) -> OutcomeRun {
        OutcomeRun {
            gate: self.gate,
            generation: self.generation,
            group: self.group,
            key: self.key,
            outcome: self.outcome,
            first_tick_ns: self.first_tick_ns,
            last_tick_ns: self.last_tick_ns,
            evaluations: self.evaluations,
            value: self.value,
            values: self.values,
            n: self.n,
            window: self.window,
            cut_us: self.cut_us,
            evidence: self.evidence,
            trace_ids: self.trace_ids,
            dry_run: self.dry_run,
            cost_ns: self.cost_ns,
            baseline: None,
            ticks: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::state::Level;
    use super::super::Error;
    use super::super::past::PastTick;
    use super::super::rows::tests::run;
    use super::super::rows::{TickOf, Waiting, decode, encode};
    use super::*;

    #[test]
    fn a_tick_that_an_earlier_version_wrote_does_not_say_when_it_closed() {
        let missed = BTreeSet::from([("good".to_owned(), Missed::Timeout)]);
        let old = TickRowV1 { cut_us: Some(7), missed: missed.clone() };
        let read: TickRow = decode(&postcard::to_extend(&old, vec![1]).unwrap()).unwrap();
        assert_eq!(read, TickRow { cut_us: Some(7), missed, ..TickRow::default() });
        let now = TickRow { closed_ns: Some(9), ..read };
        assert_eq!(decode::<TickRow>(&encode(&now)).unwrap(), now);
    }

    #[test]
    fn a_tick_that_an_earlier_version_wrote_does_not_say_whose_it_is_nor_what_came_too_late() {
        let old = TickRowV2 { cut_us: Some(7), missed: BTreeSet::new(), closed_ns: Some(9) };
        let read: TickRow = decode(&postcard::to_extend(&old, vec![2]).unwrap()).unwrap();
        assert_eq!(read, TickRow { cut_us: Some(7), closed_ns: Some(9), ..TickRow::default() });
        assert_eq!((&read.of, read.late), (&None, None), "not counted is not none");
        let of = TickOf { group: "g".to_owned(), gates: 2, is_derived: true };
        let outbox = Some(Waiting { messages: 5, dead: 6 });
        let now = TickRow { of: Some(of), late: Some(3), cost_ns: 4, outbox, ..read };
        assert_eq!(decode::<TickRow>(&encode(&now)).unwrap(), now);
    }

    #[test]
    fn a_transition_that_an_earlier_version_wrote_does_not_say_what_had_been_looked_at() {
        let old = JournalRowV1 {
            at_ns: 9,
            t_ns: 7,
            gate: "g".to_owned(),
            key: "k=a".to_owned(),
            from: Phase::Inactive,
            to: Phase::Firing(Level::Warn),
            cause: Cause::Firing,
            episode: Some(2),
            transition: Some("a/2/0".to_owned()),
            actor: None,
            summary: "s".to_owned(),
        };
        let read: JournalRow = decode(&postcard::to_extend(&old, vec![1]).unwrap()).unwrap();
        assert_eq!((read.at_ns, read.t_ns, read.gate.as_str(), read.key.as_str()), (9, 7, "g", "k=a"));
        assert_eq!((read.to, read.cause, read.episode), (Phase::Firing(Level::Warn), Cause::Firing, Some(2)));
        assert_eq!((read.transition.as_deref(), read.summary.as_str()), (Some("a/2/0"), "s"));
        assert_eq!((read.looked_us, read.looked_ns), (None, None));
        let now = JournalRow { looked_us: Some(5), looked_ns: Some(6), ..read };
        assert_eq!(decode::<JournalRow>(&encode(&now)).unwrap(), now);
    }

    #[test]
    fn a_run_that_an_earlier_version_wrote_has_no_baseline_and_grows() {
        let now = run(30, Outcome::Pass, 1.0);
        let old = OutcomeRunV1 {
            gate: now.gate.clone(),
            generation: now.generation,
            group: now.group.clone(),
            key: now.key.clone(),
            outcome: now.outcome,
            first_tick_ns: now.first_tick_ns,
            last_tick_ns: now.last_tick_ns,
            evaluations: now.evaluations,
            value: now.value,
            values: now.values,
            n: now.n,
            window: now.window,
            cut_us: now.cut_us,
            evidence: now.evidence.clone(),
            trace_ids: now.trace_ids.clone(),
            dry_run: now.dry_run,
            cost_ns: now.cost_ns,
        };
        let mut read: OutcomeRun = decode(&postcard::to_extend(&old, vec![1]).unwrap()).unwrap();
        assert_eq!(read, now);
        let tick = |after_ms, value| PastTick { after_ms, value, passed: true };
        let with = |tick_s, value| OutcomeRun { ticks: vec![tick(0, value)], ..run(tick_s, Outcome::Pass, value) };
        let mut next = read.extend(with(60, 2.0)).expect("what has no ticks does not go on with some");
        assert_eq!(next.extend(with(120, 3.0)), None);
        assert_eq!(next.ticks, [tick(0, 2.0), tick(60_000, 3.0)]);
    }

    #[test]
    fn a_gate_that_an_earlier_version_wrote_has_looked_at_no_arrival() {
        let old = GateRowV1 {
            generation: 3,
            question: [7; 32],
            group: "f;g".to_owned(),
            last_tick_ns: 60,
            floor: 2,
            errors: 1,
            loaded: true,
        };
        let read: GateRow = decode(&postcard::to_extend(&old, vec![1]).unwrap()).unwrap();
        assert_eq!((read.generation, read.question, read.group.as_str()), (3, [7; 32], "f;g"));
        assert_eq!((read.last_tick_ns, read.floor, read.errors, read.loaded), (60, 2, 1, true));
        assert_eq!(read.seen_us, None);
        let seen = GateRow { seen_us: Some(5), ..read };
        assert_eq!(decode::<GateRow>(&encode(&seen)).unwrap(), seen);
    }

    #[test]
    fn a_state_that_an_earlier_version_wrote_goes_on_where_it_was() {
        use super::super::super::state::{Now, Rule, step};
        use super::super::super::verdict::Input;
        let rule = Rule { interval_ns: 30, hold_for_ns: 60, ..Rule::default() };
        let at = |t_ns| Now { t_ns, wall_ns: t_ns, downtimes: &[] };
        let before = [30, 60].iter().fold(State::fresh(4), |state, t| step(&state, &at(*t), Input::Fail, &rule).0);
        let old = KeyRowV1 {
            labels: BTreeMap::from([("k".to_owned(), "a".to_owned())]),
            state: StateV1::from(&before),
            missing: 2,
            last: Some((Outcome::Fail, Some(0.5))),
            told: None,
        };
        let bytes = postcard::to_extend(&old, vec![1]).unwrap();
        let read: KeyRow = decode(&bytes).unwrap();
        assert_eq!((read.state.clone(), read.missing, read.last), (before, 2, old.last));
        assert_eq!(decode::<KeyRow>(&encode(&read)).unwrap(), read, "and it is written as what it is now");
        let (after, _) = step(&read.state, &at(90), Input::Fail, &rule);
        assert_eq!((after.phase, after.episode), (Phase::Firing(Level::Fail), 5), "60 ns of breach were not lost");
        assert!(matches!(decode::<KeyRow>(&[4, 0]), Err(Error::Format(4))));
    }

    #[test]
    fn a_key_that_an_earlier_version_wrote_has_no_span_that_nobody_was_told_of() {
        let mut state = State::fresh(4);
        state.phase = Phase::Resolved;
        let old = KeyRowV2 {
            labels: BTreeMap::from([("k".to_owned(), "a".to_owned())]),
            state,
            missing: 2,
            last: Some((Outcome::Fail, Some(0.5))),
            told: None,
        };
        let read: KeyRow = decode(&postcard::to_extend(&old, vec![2]).unwrap()).unwrap();
        assert_eq!((&read.labels, &read.state, read.missing, read.last), (&old.labels, &old.state, 2, old.last));
        assert_eq!((&read.told, read.untold_ns), (&None, None));
        let now = KeyRow { untold_ns: Some(7), ..read };
        assert_eq!(decode::<KeyRow>(&encode(&now)).unwrap(), now);
    }
}
