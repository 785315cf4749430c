//! Claims about what is read out of the gates' journal.

use proptest::prelude::*;

use super::*;
use crate::gate::identity::alert_key;
use crate::gate::journal::{Batch, EpisodeEdit, EpisodeRow, GateRow, JournalRow, KeyId, StartEdit, StartRequest};
use crate::gate::result::Window;
use crate::gate::state::{Level, Phase};

const S: i64 = 1_000_000_000;
const WINDOW_S: i64 = 60;

proptest! {
    #[test]
    fn an_alert_key_is_read_back(of in proptest::collection::btree_map("[a,=\\\\]{1,4}", "[b,=\\\\]{0,4}", 0..4)) {
        prop_assert_eq!(labels(&alert_key(&of)), of);
    }
}

fn run(outcome: Outcome, first_s: i64, last_s: i64, value: f64) -> OutcomeRun {
    let evaluations = u64::try_from((last_s - first_s) / 30 + 1).unwrap();
    OutcomeRun {
        gate: "g".into(),
        generation: 1,
        group: "gg".into(),
        key: "service_name=cart".into(),
        outcome,
        first_tick_ns: first_s * S,
        last_tick_ns: last_s * S,
        evaluations,
        value: Some(value),
        values: (value, 1),
        n: None,
        window: Window { start_ns: (last_s - WINDOW_S) * S, end_ns: last_s * S },
        cut_us: 1,
        evidence: String::new(),
        trace_ids: vec![],
        dry_run: false,
        cost_ns: 0,
        baseline: None,
        ticks: vec![],
    }
}

fn alert() -> AlertId {
    AlertId::new(TENANT, "g", &BTreeMap::from([("service_name".to_owned(), "cart".to_owned())]))
}

/// A commit whose last closed tick is `tick_s`, with the running row and those that are complete.
fn commit(journal: &Journal, tick_s: i64, running: OutcomeRun, results: Vec<OutcomeRun>, batch: Batch) {
    let gate = GateRow {
        generation: 1,
        question: [0; 32],
        group: "gg".into(),
        last_tick_ns: tick_s * S,
        floor: 0,
        errors: 0,
        loaded: true,
        seen_us: None,
    };
    let id = KeyId { gate: "g".into(), generation: 1, key: running.key.clone() };
    let batch = Batch {
        gates: BTreeMap::from([("g".to_owned(), gate)]),
        running: BTreeMap::from([(id, Some(running))]),
        results,
        ..batch
    };
    journal.commit(&batch, tick_s * S).unwrap();
}

fn firing(t_s: i64) -> Batch {
    let episode = EpisodeRow {
        gate: "g".into(),
        key: "service_name=cart".into(),
        opened_ns: t_s * S,
        closed_ns: None,
        level_max: Level::Fail,
        closed_by: None,
        pipeline_run: None,
    };
    let row = JournalRow {
        at_ns: t_s * S,
        t_ns: t_s * S,
        gate: "g".into(),
        key: "service_name=cart".into(),
        from: Phase::Inactive,
        to: Phase::Firing(Level::Fail),
        cause: Cause::Firing,
        episode: Some(1),
        transition: None,
        actor: None,
        summary: String::new(),
        looked_us: None,
        looked_ns: None,
    };
    let start = StartRequest {
        alert: alert(),
        episode: 1,
        gate: "g".into(),
        key: "service_name=cart".into(),
        pipeline: "repair".into(),
        t_ns: t_s * S,
        variables: r#"{"value": 0.25}"#.into(),
        cooldown_ns: 0,
        max_runs: 3,
        max_runs_in_ns: 0,
        occasion: Default::default(),
    };
    Batch {
        episodes: vec![(alert(), 1, EpisodeEdit::Open(episode))],
        journal: vec![row],
        starts: vec![(alert(), 1, StartEdit::Request(Box::new(start)))],
        ..Batch::default()
    }
}

fn wanted(run_ended_s: Option<i64>) -> Vec<Wanted> {
    let (gate, key) = ("g".to_owned(), "service_name=cart".to_owned());
    vec![Wanted { gate, key, episode: 1, run_ended_ns: run_ended_s.map(|s| s * S) }]
}

#[test]
fn facts_of_an_episode_are_read_as_they_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let facts = facts(journal.clone());
    assert_eq!((facts.head().unwrap(), facts.look(&wanted(None)).unwrap()[0].value_before), (0, None));

    commit(&journal, 90, run(Outcome::Fail, 60, 90, 0.25), vec![], firing(90));
    let seen = facts.look(&wanted(Some(95))).unwrap()[0];
    assert_eq!(seen.value_before, Some(Some(0.25)));
    assert_eq!((seen.ended, seen.verdict, seen.known_until_ns), (None, None, 90 * S));

    // The run ended at 95, so the first verdict that counts is that of 180: a window begun at 120. The row of results began
    // before and goes on.
    commit(&journal, 150, run(Outcome::Fail, 60, 150, 0.3), vec![], Batch::default());
    assert_eq!(facts.look(&wanted(Some(95))).unwrap()[0].verdict, None);
    commit(&journal, 180, run(Outcome::Fail, 60, 180, 0.4), vec![], Batch::default());
    let verdict = facts.look(&wanted(Some(95))).unwrap()[0].verdict;
    assert_eq!(verdict, Some(Verdict { t_ns: 180 * S, is_pass: false, value: Some(0.4) }));

    // A run that ended at 150 waits for 210, at which the row is complete and another one runs.
    assert_eq!(facts.look(&wanted(Some(150))).unwrap()[0].verdict, None);
    let complete = vec![run(Outcome::Fail, 60, 180, 0.4)];
    let closed = Batch {
        episodes: vec![(alert(), 1, EpisodeEdit::Close(210 * S, Cause::Passed))],
        journal: vec![JournalRow { cause: Cause::Passed, to: Phase::Resolved, ..firing(210).journal.remove(0) }],
        ..Batch::default()
    };
    commit(&journal, 210, run(Outcome::Pass, 210, 210, 0.9), complete, closed);
    let seen = facts.look(&wanted(Some(150))).unwrap()[0];
    assert_eq!(seen.verdict, Some(Verdict { t_ns: 210 * S, is_pass: true, value: Some(0.9) }));
    assert_eq!(seen.ended, Some(EpisodeEnd { t_ns: 210 * S, is_passed: true }));
    assert!(facts.head().unwrap() > 0);
}

#[test]
fn the_last_sequence_is_found_in_a_journal_of_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    for length in 1..40 {
        let batch = Batch { journal: firing(length).journal, ..Batch::default() };
        commit(&journal, length, run(Outcome::Fail, 60, 60, 0.25), vec![], batch);
        let last = journal.snapshot().unwrap().journal(0, 1000).unwrap().last().unwrap().0;
        assert_eq!(last_sequence(&journal).unwrap(), last, "{length}");
    }
}

#[test]
fn the_first_tick_of_a_row_behind_a_time_is_on_its_grid() {
    let run = run(Outcome::Fail, 60, 150, 0.5);
    let of = |from_s: i64| first_tick(&run, from_s * S).map(|t_ns| t_ns / S);
    assert_eq!(
        [10, 60, 61, 90, 91, 150, 151].map(of),
        [Some(60), Some(60), Some(90), Some(90), Some(120), Some(150), None]
    );
}

#[test]
fn gates_are_closed_up_to_a_time_once_their_last_tick_before_it_is_journaled() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let group = Group {
        name: "gg".into(),
        file: "f".into(),
        interval: std::time::Duration::from_secs(30),
        query_offset: std::time::Duration::from_secs(20),
        labels: BTreeMap::new(),
        gates: vec![crate::gate::definition::tests::gate("g", crate::gate::definition::Test::Above(0.9))],
    };
    let is_closed = closed(journal.clone(), &[group]);
    assert!(is_closed(100 * S), "a gate without a row has no tick yet");
    commit(&journal, 60, run(Outcome::Fail, 60, 60, 0.25), vec![], Batch::default());
    assert_eq!([60, 89, 90, 150].map(|s| is_closed(s * S)), [true, true, false, false]);
}
