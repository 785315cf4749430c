//! Rows of `gates.redb` as earlier versions wrote them.
//!
//! Duty: what they are now. Guarantee: what an earlier version wrote is read and goes on; what it did not know is absent. Left
//! to others: what rows are (`rows`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::state::StateV1;
use super::super::verdict::Outcome;
use super::rows::{GateRow, JournalRow, KeyRow, OutcomeRun, Row, TickRow, Told, Untold};

/// A row that got `more` fields since, all behind those that it had: they are absent.
///
/// Postcard writes no names of fields, and `None`, 0 and what is empty as one byte, which is 0.
fn grown<T: Row>(row: &[u8], more: usize) -> Option<postcard::Result<T>> {
    Some(postcard::from_bytes(&[row, vec![0; more].as_slice()].concat()))
}

impl Row for TickRow {
    const VERSION: u8 = 3;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        match version {
            // Before a tick could close later than the clock says.
            1 => grown(row, 5),
            // Before it said whose it is and what came too late.
            2 => grown(row, 4),
            _ => None,
        }
    }
}

impl Row for JournalRow {
    const VERSION: u8 = 2;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        match version {
            // Before it said what had been looked at between two ticks.
            1 => grown(row, 2),
            _ => None,
        }
    }
}

impl Row for GateRow {
    const VERSION: u8 = 2;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        match version {
            // Before there was `on: ingest`.
            1 => grown(row, 1),
            _ => None,
        }
    }
}

impl Row for KeyRow {
    const VERSION: u8 = 4;

    fn older(version: u8, row: &[u8]) -> Option<postcard::Result<Self>> {
        let first = |KeyRowV1 { labels, state, missing, last, told }| Self {
            labels,
            state: state.into(),
            missing,
            last,
            told,
            untold: None,
        };
        // Before it knew of the last of them: any tick behind the first may hold one.
        let third = |mut row: Self| {
            row.untold = row.untold.map(|untold| Untold { last_ns: i64::MAX, ..untold });
            row
        };
        match version {
            1 => Some(postcard::from_bytes(row).map(first)),
            // Before it knew of spans that nobody was told of.
            2 => grown(row, 1),
            3 => grown(row, 1).map(|read| read.map(third)),
            _ => None,
        }
    }
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
        match version {
            // Before there were baselines.
            1 => grown(row, 2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::state::{Cause, Level, Phase, State};
    use super::super::Error;
    use super::super::past::PastTick;
    use super::super::rows::tests::run;
    use super::super::rows::{Missed, TickOf, Waiting, decode, encode};
    use super::*;

    /// What version `version` wrote: the values of its fields in order, for postcard writes nothing else.
    fn written(version: u8, fields: &impl Serialize) -> Vec<u8> {
        postcard::to_extend(fields, vec![version]).unwrap()
    }

    #[test]
    fn a_tick_that_an_earlier_version_wrote_does_not_say_when_it_closed() {
        let missed = BTreeSet::from([("good".to_owned(), Missed::Timeout)]);
        let read: TickRow = decode(&written(1, &(Some(7_i64), &missed))).unwrap();
        assert_eq!(read, TickRow { cut_us: Some(7), missed, ..TickRow::default() });
        let now = TickRow { closed_ns: Some(9), ..read };
        assert_eq!(decode::<TickRow>(&encode(&now)).unwrap(), now);
    }

    #[test]
    fn a_tick_that_an_earlier_version_wrote_does_not_say_whose_it_is_nor_what_came_too_late() {
        let missed = BTreeSet::<(String, Missed)>::new();
        let read: TickRow = decode(&written(2, &(Some(7_i64), missed, Some(9_i64)))).unwrap();
        assert_eq!(read, TickRow { cut_us: Some(7), closed_ns: Some(9), ..TickRow::default() });
        assert_eq!((&read.of, read.late), (&None, None), "not counted is not none");
        let of = TickOf { group: "g".to_owned(), gates: 2, is_derived: true };
        let outbox = Some(Waiting { messages: 5, dead: 6 });
        let now = TickRow { of: Some(of), late: Some(3), cost_ns: 4, outbox, ..read };
        assert_eq!(decode::<TickRow>(&encode(&now)).unwrap(), now);
    }

    #[test]
    fn a_transition_that_an_earlier_version_wrote_does_not_say_what_had_been_looked_at() {
        let place = (9_i64, 7_i64, "g", "k=a");
        let change = (Phase::Inactive, Phase::Firing(Level::Warn), Cause::Firing);
        let episode = (Some(2_u64), Some("a/2/0"));
        let read: JournalRow = decode(&written(1, &(place, change, episode, None::<String>, "s"))).unwrap();
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
        let of = (&now.gate, now.generation, &now.group, &now.key);
        let ticks = (now.outcome, now.first_tick_ns, now.last_tick_ns, now.evaluations);
        let values = (now.value, now.values, now.n, now.window, now.cut_us);
        let more = (&now.evidence, &now.trace_ids, now.dry_run, now.cost_ns);
        let mut read: OutcomeRun = decode(&written(1, &(of, ticks, values, more))).unwrap();
        assert_eq!(read, now);
        let tick = |after_ms, value| PastTick { after_ms, value, passed: true };
        let with = |tick_s, value| OutcomeRun { ticks: vec![tick(0, value)], ..run(tick_s, Outcome::Pass, value) };
        let mut next = read.extend(with(60, 2.0)).expect("what has no ticks does not go on with some");
        assert_eq!(next.extend(with(120, 3.0)), None);
        assert_eq!(next.ticks, [tick(0, 2.0), tick(60_000, 3.0)]);
    }

    #[test]
    fn a_gate_that_an_earlier_version_wrote_has_looked_at_no_arrival() {
        let fields = (3_u64, [7_u8; 32], "f;g", 60_i64, 2_u64, 1_u32, true);
        let read: GateRow = decode(&written(1, &fields)).unwrap();
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
        let read: KeyRow = decode(&written(1, &old)).unwrap();
        assert_eq!((read.state.clone(), read.missing, read.last), (before, 2, old.last));
        assert_eq!(decode::<KeyRow>(&encode(&read)).unwrap(), read, "and it is written as what it is now");
        let (after, _) = step(&read.state, &at(90), Input::Fail, &rule);
        assert_eq!((after.phase, after.episode), (Phase::Firing(Level::Fail), 5), "60 ns of breach were not lost");
        assert!(matches!(decode::<KeyRow>(&[5, 0]), Err(Error::Format(5))));
    }

    #[test]
    fn a_key_that_an_earlier_version_wrote_has_no_span_that_nobody_was_told_of() {
        let mut state = State::fresh(4);
        state.phase = Phase::Resolved;
        let labels = BTreeMap::from([("k".to_owned(), "a".to_owned())]);
        let last = Some((Outcome::Fail, Some(0.5)));
        let read: KeyRow = decode(&written(2, &(&labels, &state, 2_u32, last, None::<Told>))).unwrap();
        assert_eq!((&read.labels, &read.state, read.missing, read.last), (&labels, &state, 2, last));
        assert_eq!((&read.told, read.untold), (&None, None));
        let now = KeyRow { untold: Some(Untold { first_ns: 7, last_ns: 9 }), ..read };
        assert_eq!(decode::<KeyRow>(&encode(&now)).unwrap(), now);
    }

    #[test]
    fn of_spans_that_nobody_was_told_of_an_earlier_version_wrote_the_first_alone() {
        let (labels, state) = (BTreeMap::<String, String>::new(), State::fresh(4));
        for (first_ns, untold) in [(None, None), (Some(-7_i64), Some(Untold { first_ns: -7, last_ns: i64::MAX }))] {
            let fields = (&labels, &state, 0_u32, None::<(Outcome, Option<f64>)>, None::<Told>, first_ns);
            let read: KeyRow = decode(&written(3, &fields)).unwrap();
            assert_eq!((&read.state, read.untold), (&state, untold));
        }
    }

    #[test]
    fn a_row_of_an_earlier_version_that_is_cut_short_is_damaged() {
        let whole = written(1, &(3_u64, [7_u8; 32], "f;g", 60_i64, 2_u64, 1_u32, true));
        for end in 1..whole.len() {
            assert!(matches!(decode::<GateRow>(&whole[..end]), Err(Error::Damaged(_))), "{end}");
        }
    }
}
