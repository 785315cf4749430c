//! Ticks every 10 s, closed 5 s later.

use super::*;
use crate::gate::Journal;
use crate::gate::journal::{Batch, GateRow};
use crate::gate::state::{Level, Phase};
use crate::gate::window::Grid;

const S: i64 = 1_000_000_000;

fn driven(at: usize, id: &str, gate: &str, is_derived: bool) -> Driven {
    let grid = Grid::every(10 * S, 5 * S);
    Driven { at, id: id.to_owned(), grid, by_start: false, is_derived, gates: vec![gate.to_owned()] }
}

fn row(t_s: i64, at_s: i64, cause: Cause) -> JournalRow {
    JournalRow {
        at_ns: at_s * S,
        t_ns: t_s * S,
        gate: "good".to_owned(),
        key: String::new(),
        from: Phase::Firing(Level::Fail),
        to: Phase::Resolved,
        cause,
        episode: Some(1),
        transition: None,
        actor: Some("ann".to_owned()),
        summary: "known".to_owned(),
        looked_us: None,
        looked_ns: None,
    }
}

/// Ticks 100 to 140, of which 120 is not there, 130 was missed, and `good` took too long at 140.
fn journal(alive_s: i64) -> Journal {
    let journal = Journal::in_memory().unwrap();
    let mut batch = Batch::default();
    let gate = GateRow {
        generation: 1,
        question: [0; 32],
        group: "/etc/g.yaml;g".to_owned(),
        last_tick_ns: 0,
        floor: 0,
        errors: 0,
        loaded: true,
        seen_us: None,
    };
    batch.gates.insert("good".to_owned(), gate);
    let late = BTreeSet::from([("good".to_owned(), Missed::Timeout)]);
    for (t_s, cut_us, missed) in [
        (100, Some(1), BTreeSet::new()),
        (110, Some(2), BTreeSet::new()),
        (130, None, BTreeSet::new()),
        (140, Some(4), late),
    ] {
        batch.ticks.insert(("/etc/g.yaml;g".to_owned(), t_s * S), TickRow { cut_us, missed, ..TickRow::default() });
    }
    batch.journal.push(row(110, 123, Cause::Firing));
    batch.journal.push(row(124, 124, Cause::Manual));
    journal.commit(&batch, alive_s * S).unwrap();
    journal
}

fn planned(groups: &[Driven], span_s: (i64, i64), alive_s: i64) -> Plan {
    let span = (span_s.0 * S, span_s.1 * S);
    let history = History::of(&journal(alive_s).snapshot().unwrap(), span).unwrap();
    plan(groups, span, 99, Some(&history))
}

/// Tick and cut, or the key that is closed.
fn shown(plan: &Plan) -> Vec<(i64, Option<i64>, bool)> {
    let of = |(wall_ns, step): &(i64, Step)| match step {
        Step::Tick { t_ns, cut_us, .. } => (t_ns / S, *cut_us, true),
        Step::Look { cut_us, .. } => (wall_ns / S, Some(*cut_us), false),
        Step::Close(_) => (wall_ns / S, None, false),
    };
    plan.steps.iter().map(of).collect()
}

#[test]
fn a_tick_that_the_journal_would_know_was_missed_and_one_that_it_cannot_know_sees_all_spans() {
    let group = [driven(0, "/etc/g.yaml;g", "good", false)];
    let plan = planned(&group, (80, 160), 200);
    let tick = |t_s, cut_us| (t_s, cut_us, true);
    assert_eq!(
        shown(&plan),
        [
            tick(90, None),
            tick(100, Some(1)),
            // Taken in at 123, when the daemon was behind; then somebody closed the episode.
            tick(110, Some(2)),
            (124, None, false),
            tick(120, None),
            tick(130, None),
            tick(140, Some(4)),
            tick(150, Some(99)),
            tick(160, Some(99)),
        ]
    );
    assert_eq!(plan.steps[2].0, 123 * S);
    let by_event = |(_, step): &(i64, Step)| matches!(step, Step::Tick { in_event_order: true, .. });
    let by_event: Vec<bool> = plan.steps.iter().map(by_event).collect();
    // Of the last two nothing is known: what came by then neither.
    assert_eq!(by_event, [false, false, false, false, false, false, false, true, true]);
    assert_eq!(plan.timeouts, BTreeSet::from([("good".to_owned(), 140 * S)]));
    assert_eq!(plan.notes, ["the journal knows nothing of 2 ticks of group /etc/g.yaml;g: all spans count for them"]);

    // Thirty days later the journal has lost what was before 105 s.
    let plan = planned(&group, (80, 110), 105 + KEPT_NS / S);
    assert_eq!(shown(&plan)[..2], [tick(90, Some(99)), tick(100, Some(1))]);
}

#[test]
fn a_group_is_found_by_its_gates_where_its_file_has_another_name() {
    let plan = planned(&[driven(0, "g.yaml;g", "good", false)], (90, 110), 200);
    assert_eq!(shown(&plan), [(100, Some(1), true), (110, Some(2), true)]);
    let other = planned(&[driven(0, "g.yaml;g", "other", false)], (90, 110), 200);
    assert_eq!(shown(&other), [(100, Some(99), true), (110, Some(99), true)]);
}

#[test]
fn a_derived_gate_comes_behind_all_others_of_its_tick() {
    let groups = [driven(0, "d.yaml;d", "derived", true), driven(1, "/etc/g.yaml;g", "good", false)];
    let plan = planned(&groups, (100, 110), 200);
    let of = |(_, step): &(i64, Step)| match step {
        Step::Tick { groups, .. } => groups.iter().copied().collect::<Vec<_>>(),
        Step::Look { .. } | Step::Close(_) => Vec::new(),
    };
    assert_eq!(plan.steps.iter().map(of).collect::<Vec<_>>(), [vec![1], vec![0]]);
    assert_eq!(plan.steps[1].0, 123 * S, "the other was behind");
}

#[test]
fn what_was_found_between_ticks_is_looked_at_once_at_its_position_and_in_the_order_of_the_journal() {
    let between = |key: &str, at_s, cut_us| JournalRow {
        key: key.to_owned(),
        actor: None,
        looked_us: Some(cut_us),
        ..row(at_s - 1, at_s, Cause::Firing)
    };
    // Two keys by one look at 124, then one of them by hand, then another look at the same instant as a tick.
    let by_hand = JournalRow { looked_us: Some(7), ..row(125, 125, Cause::Manual) };
    let batch = Batch {
        journal: vec![between("a", 124, 7), between("b", 124, 7), by_hand, between("a", 145, 8)],
        ..Batch::default()
    };
    let journal = journal(200);
    journal.commit(&batch, 200 * S).unwrap();
    let span = (100 * S, 140 * S);
    let history = History::of(&journal.snapshot().unwrap(), (span.0, 150 * S)).unwrap();
    let plan = plan(&[driven(0, "/etc/g.yaml;g", "good", false)], span, 99, Some(&history));
    assert_eq!(
        shown(&plan),
        [
            (110, Some(2), true),
            (124, None, false),
            (124, Some(7), false),
            // A tick of the same instant comes first, as the daemon begins it first.
            (120, None, true),
            (125, None, false),
            (130, None, true),
            (140, Some(4), true),
            (145, Some(8), false),
        ]
    );
}

#[test]
fn a_tick_whose_time_is_known_comes_then_also_before_it_is_due_by_the_clock() {
    let journal = journal(200);
    let early = TickRow { cut_us: Some(3), closed_ns: Some(132 * S), ..TickRow::default() };
    let look = JournalRow { actor: None, looked_us: Some(7), ..row(133, 133, Cause::Firing) };
    let ticks = [(("/etc/g.yaml;g".to_owned(), 130 * S), early)].into();
    journal.commit(&Batch { ticks, journal: vec![look], ..Batch::default() }, 200 * S).unwrap();
    let span = (110 * S, 140 * S);
    let history = History::of(&journal.snapshot().unwrap(), span).unwrap();
    let plan = plan(&[driven(0, "/etc/g.yaml;g", "good", false)], span, 99, Some(&history));
    let expected =
        [(124, None, false), (120, None, true), (130, Some(3), true), (133, Some(7), false), (140, Some(4), true)];
    assert_eq!(shown(&plan), expected);
    let walls: Vec<i64> = plan.steps.iter().map(|(wall_ns, _)| wall_ns / S).collect();
    assert_eq!(walls, [124, 125, 132, 133, 145], "of the others it is a guess");
}

#[test]
fn what_happened_between_ticks_is_played_by_when_it_happened_whatever_its_event_time() {
    let journal = journal(200);
    let found =
        |t_s, at_s, cut_us| JournalRow { actor: None, looked_us: Some(cut_us), ..row(t_s, at_s, Cause::Firing) };
    // Of spans: late for all that is played, of a clock that runs ahead, and late for what is not played any more.
    let batch = Batch { journal: vec![found(40, 131, 6), found(155, 132, 7), found(135, 146, 8)], ..Batch::default() };
    journal.commit(&batch, 200 * S).unwrap();
    let span = (110 * S, 140 * S);
    let history = History::of(&journal.snapshot().unwrap(), span).unwrap();
    let plan = plan(&[driven(0, "/etc/g.yaml;g", "good", false)], span, 99, Some(&history));
    let expected = [
        (124, None, false),
        (120, None, true),
        (131, Some(6), false),
        (132, Some(7), false),
        (130, None, true),
        (140, Some(4), true),
    ];
    assert_eq!(shown(&plan), expected);
}

#[test]
fn a_look_is_played_as_of_its_own_instant_not_of_what_it_found() {
    let journal = journal(200);
    // One look at 133 finds two keys, one of which is known to have been judged at 135.
    let found = |key: &str, t_s| JournalRow {
        key: key.to_owned(),
        actor: None,
        looked_us: Some(7),
        looked_ns: Some(133 * S),
        ..row(t_s, 134, Cause::Firing)
    };
    let batch = Batch { journal: vec![found("a", 133), found("b", 135)], ..Batch::default() };
    journal.commit(&batch, 200 * S).unwrap();
    let span = (110 * S, 140 * S);
    let history = History::of(&journal.snapshot().unwrap(), span).unwrap();
    let plan = plan(&[driven(0, "/etc/g.yaml;g", "good", false)], span, 99, Some(&history));
    let looks: Vec<_> = plan.steps.iter().filter(|(_, step)| matches!(step, Step::Look { .. })).collect();
    let look = Step::Look { gate: "good".to_owned(), t_ns: 133 * S, cut_us: 7 };
    assert_eq!(looks, [&(134 * S, look)]);
}

#[test]
fn without_a_journal_every_tick_sees_all_spans() {
    let plan = plan(&[driven(0, "g", "good", false)], (0, 20 * S), 7, None);
    assert_eq!((shown(&plan), plan.notes.len()), (vec![(10, Some(7), true), (20, Some(7), true)], 0));
}
