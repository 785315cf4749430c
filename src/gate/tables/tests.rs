//! The tables as SQL sees them.

use std::collections::BTreeMap;

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;

use super::super::identity::AlertId;
use super::super::journal::{
    Batch, EpisodeEdit, EpisodeRow, GateRow, JournalRow, KeyId, KeyRow, Missed, Notice, OutboxRow, OutcomeRun, Sampled,
    Status, TickOf, TickRow, Waiting,
};
use super::super::result::Window;
use super::super::schema::{empty_tables, readable};
use super::super::state::{Cause, Level, Now, Phase, Rule, State, step};
use super::super::verdict::{Input, Outcome};
use super::*;

const S: i64 = 1_000_000_000;

async fn ask(journal: Option<&Journal>, sql: &str) -> String {
    let context = SessionContext::new();
    for (name, table) in tables(journal) {
        context.register_table(name, table).unwrap();
    }
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

fn run(first_s: i64, last_s: i64, outcome: Outcome) -> OutcomeRun {
    OutcomeRun {
        gate: "g".into(),
        generation: 1,
        group: "shop".into(),
        key: "k=a".into(),
        outcome,
        first_tick_ns: first_s * S,
        last_tick_ns: last_s * S,
        evaluations: 2,
        value: Some(0.5),
        values: (1.5, 2),
        n: Some(7),
        window: Window { start_ns: (last_s - 60) * S, end_ns: last_s * S },
        cut_us: 1_500_000,
        evidence: r#"{"rate":1}"#.into(),
        trace_ids: vec![[0xab; 16]],
        dry_run: false,
        cost_ns: 9,
        baseline: None,
        ticks: vec![],
    }
}

fn filled() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let gate = GateRow {
        generation: 1,
        question: [0; 32],
        group: "shop".into(),
        last_tick_ns: 0,
        floor: 0,
        errors: 0,
        loaded: true,
        seen_us: None,
    };
    let rule = Rule { interval_ns: 30 * S, ..Rule::default() };
    let now = Now { t_ns: 60 * S, wall_ns: 80 * S, downtimes: &[] };
    let (state, _) = step(&State::default(), &now, Input::Fail, &rule);
    let last = Some((Outcome::Fail, Some(0.5)));
    let key = KeyRow { labels: BTreeMap::new(), state, missing: 0, last, told: None, untold: None };
    let id = KeyId { gate: "g".into(), generation: 1, key: "k=a".into() };
    let opened = EpisodeRow {
        gate: "g".into(),
        key: "k=a".into(),
        opened_ns: 60 * S,
        closed_ns: None,
        level_max: Level::Fail,
        closed_by: None,
        pipeline_run: Some(42),
    };
    let fired = JournalRow {
        at_ns: 80 * S,
        t_ns: 60 * S,
        gate: "g".into(),
        key: "k=a".into(),
        from: Phase::Inactive,
        to: Phase::Firing(Level::Fail),
        cause: Cause::Firing,
        episode: Some(1),
        transition: Some("x/1/0".into()),
        actor: None,
        summary: String::new(),
        looked_us: None,
        looked_ns: None,
    };
    let batch = Batch {
        gates: [("g", gate.clone()), ("quiet", gate.clone()), ("gone", GateRow { loaded: false, ..gate })]
            .map(|(name, row)| (name.to_owned(), row))
            .into(),
        keys: BTreeMap::from([(id.clone(), Some(key))]),
        results: vec![run(30, 60, Outcome::Pass), run(700, 730, Outcome::Warn)],
        running: BTreeMap::from([(id, Some(run(1_000, 1_030, Outcome::Fail)))]),
        episodes: vec![(AlertId([1; 16]), 1, EpisodeEdit::Open(opened))],
        journal: vec![fired],
        ..Batch::default()
    };
    journal.commit(&batch, 80 * S).unwrap();
    (dir, journal)
}

#[tokio::test]
async fn results_hold_complete_runs_and_those_that_still_grow() {
    let (_dir, journal) = filled();
    let sql = "SELECT outcome, last_tick, evaluations, value, value_avg, n, baseline, cut, evidence, \
               cardinality(trace_ids) AS traces, mode FROM gate_results ORDER BY first_tick";
    let expected = "\
+---------+----------------------+-------------+-------+-----------+---+----------+------------------------+------------+--------+---------+
| outcome | last_tick            | evaluations | value | value_avg | n | baseline | cut                    | evidence   | traces | mode    |
+---------+----------------------+-------------+-------+-----------+---+----------+------------------------+------------+--------+---------+
| pass    | 1970-01-01T00:01:00Z | 2           | 0.5   | 0.75      | 7 |          | 1970-01-01T00:00:01.500Z | {\"rate\":1} | 1      | enforce |
| warn    | 1970-01-01T00:12:10Z | 2           | 0.5   | 0.75      | 7 |          | 1970-01-01T00:00:01.500Z | {\"rate\":1} | 1      | enforce |
| fail    | 1970-01-01T00:17:10Z | 2           | 0.5   | 0.75      | 7 |          | 1970-01-01T00:00:01.500Z | {\"rate\":1} | 1      | enforce |
+---------+----------------------+-------------+-------+-----------+---+----------+------------------------+------------+--------+---------+";
    let squeeze = |text: &str| {
        text.lines()
            .filter(|l| l.starts_with('|'))
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(squeeze(&ask(Some(&journal), sql).await), squeeze(expected));
}

#[tokio::test]
async fn bounds_on_ticks_narrow_the_scan_and_leave_out_nothing_that_matches() {
    let (_dir, journal) = filled();
    let count = |from: &str, to: &str| {
        format!(
            "SELECT count(*) AS c FROM gate_results WHERE last_tick >= TIMESTAMP '{from}' AND TIMESTAMP '{to}' > last_tick"
        )
    };
    for (from, to, rows) in [
        ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", 3),
        ("1970-01-01T00:01:00Z", "1970-01-01T00:12:10Z", 1),
        ("1970-01-01T00:12:10Z", "1970-01-01T00:12:11Z", 1),
        ("1970-01-01T00:17:10Z", "1970-01-01T00:20:00Z", 1),
    ] {
        let text = ask(Some(&journal), &count(from, to)).await;
        assert!(text.contains(&format!("| {rows} ")), "{from} {to}: {text}");
    }
    let filter = |op, s: i64| {
        let at = ScalarValue::TimestampNanosecond(Some(s * S), Some("UTC".into()));
        datafusion::logical_expr::binary_expr(datafusion::prelude::col("last_tick"), op, datafusion::prelude::lit(at))
    };
    let ticks = Ticks::of(&[filter(Operator::GtEq, 1_000).and(filter(Operator::Lt, 2_000))]);
    assert_eq!(ticks, Ticks { from_ns: 700 * S, to_ns: 2_000 * S });
    assert_eq!(Ticks::of(&[filter(Operator::NotEq, 5)]), Ticks { from_ns: i64::MIN, to_ns: i64::MAX });
}

#[tokio::test]
async fn state_shows_loaded_gates_and_one_row_for_a_gate_without_keys() {
    let (_dir, journal) = filled();
    let text = ask(
        Some(&journal),
        "SELECT gate, key, phase, level, episode, fired_at, last_outcome, last_value FROM gate_state ORDER BY gate",
    )
    .await;
    let rows: Vec<String> = text.lines().skip(3).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows[0], "| g | k=a | firing | fail | 1 | 1970-01-01T00:01:00Z | fail | 0.5 |");
    assert_eq!(rows[1], "| quiet | | | | | | | |");
    assert!(rows[2].starts_with("+-"), "a gate that is not loaded is not there");
}

#[tokio::test]
async fn transitions_and_episodes_are_the_journals() {
    let (_dir, journal) = filled();
    let text = ask(
        Some(&journal),
        "SELECT at, tick, from_phase, to_phase, cause, level, episode, transition, actor FROM gate_transitions",
    )
    .await;
    assert!(text.contains("| 1970-01-01T00:01:20Z | 1970-01-01T00:01:00Z | inactive   | firing   | firing | fail  | 1       | x/1/0      |"), "{text}");
    let text = ask(Some(&journal), "SELECT * FROM gate_episodes").await;
    assert!(
        text.contains(
            "| g    | k=a | 1       | 1970-01-01T00:01:00Z |        | fail      |           | 42           |"
        ),
        "{text}"
    );
}

fn tick(of: &str, is_derived: bool, late: Option<u64>, missed: &[(&str, Missed)]) -> TickRow {
    TickRow {
        cut_us: late.map(|_| 1_500_000),
        missed: missed.iter().map(|(gate, why)| ((*gate).to_owned(), *why)).collect(),
        closed_ns: late.map(|_| 80 * S),
        of: Some(TickOf { group: of.to_owned(), gates: 2, is_derived }),
        late,
        cost_ns: 9,
        outbox: None,
    }
}

/// Cells of the rows, blanks left out.
fn cells(table: &str) -> Vec<String> {
    let rows = table.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn ticks_say_what_came_too_late_and_what_was_missed() {
    let (_dir, journal) = filled();
    let both = [("a", Missed::Downtime), ("a", Missed::Timeout), ("b", Missed::Downtime)];
    let ticks = [
        ("f;shop", 30, tick("shop", false, Some(3), &both)),
        ("f;shop", 60, tick("shop", false, None, &[("a", Missed::Overrun), ("b", Missed::Overrun)])),
        ("f;shop", 90, tick("shop", false, Some(0), &[])),
        ("f;shop;derived", 60, tick("shop", true, None, &[])),
        ("old", 60, TickRow { cut_us: Some(7), ..TickRow::default() }),
    ];
    let ticks = ticks.map(|(group, at_s, row)| ((group.to_owned(), at_s * S), row)).into();
    journal.commit(&Batch { ticks, ..Batch::default() }, 80 * S).unwrap();
    let columns = "gate_group, derived, closed_at IS NOT NULL AS closed, cut IS NOT NULL AS cut, late_spans, gates, missed, \
                   overrun, downtime, timeout, cost_ns";
    let all =
        ask(Some(&journal), &format!("SELECT {columns} FROM gate_ticks ORDER BY gate_group, derived, tick")).await;
    assert_eq!(
        cells(&all),
        [
            "| shop | false | true | true | 3 | 2 | 2 | 0 | 2 | 1 | 9 |",
            "| shop | false | false | false | | 2 | 2 | 2 | 0 | 0 | 9 |",
            "| shop | false | true | true | 0 | 2 | 0 | 0 | 0 | 0 | 9 |",
            "| shop | true | false | false | | 2 | 0 | 0 | 0 | 0 | 9 |",
            "| | | false | true | | | 0 | 0 | 0 | 0 | |",
        ],
        "what an earlier version wrote says neither whose it is nor what was late"
    );
    let bounded = "SELECT count(*) AS c FROM gate_ticks WHERE tick > TIMESTAMP '1970-01-01T00:00:30Z' AND tick <= TIMESTAMP \
                   '1970-01-01T00:01:00Z'";
    assert_eq!(cells(&ask(Some(&journal), bounded).await), ["| 3 |"]);
}

#[test]
fn ticks_are_read_piece_by_piece_without_those_outside() {
    let (_dir, journal) = filled();
    let ticks = ["a", "b", "c"]
        .into_iter()
        .flat_map(|group| (1..=5).map(move |at| ((group.to_owned(), at), TickRow::default())));
    journal.commit(&Batch { ticks: ticks.collect(), ..Batch::default() }, 80 * S).unwrap();
    let view = journal.snapshot().unwrap();
    for (span, of_group) in [((i64::MIN, i64::MAX), vec![1, 2, 3, 4, 5]), ((2, 4), vec![2, 3, 4]), ((9, 9), vec![])] {
        for limit in [1, 2, 3, 100] {
            let mut read: Vec<(String, i64)> = Vec::new();
            loop {
                let after = read.last().map(|(group, t_ns)| (group.as_str(), *t_ns));
                let piece = view.ticks_between(after, span, limit).unwrap();
                assert!(piece.len() <= limit);
                if piece.is_empty() {
                    break;
                }
                read.extend(piece.into_iter().map(|(group, t_ns, _)| (group, t_ns)));
            }
            let all =
                ["a", "b", "c"].into_iter().flat_map(|group| of_group.iter().map(move |at| (group.to_owned(), *at)));
            assert_eq!(read, all.collect::<Vec<_>>(), "{span:?} {limit}");
        }
    }
}

fn notice(episode: u64) -> Notice {
    Notice {
        alert: AlertId([1; 16]),
        episode,
        number: 0,
        status: Status::Firing,
        health: false,
        gate: "g".into(),
        key: "k=a".into(),
        by: BTreeMap::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        level: Level::Fail,
        outcome: Some(Outcome::Fail),
        reason: "firing".into(),
        value: None,
        n: None,
        window: Window { start_ns: 0, end_ns: 60 * S },
        trace_ids: vec![],
        pipeline: None,
        starts_at_ns: 60 * S,
        ends_at_ns: None,
    }
}

#[tokio::test]
async fn the_outbox_shows_what_waits_and_what_was_given_up() {
    let (_dir, journal) = filled();
    let messages = [1, 2].map(|episode| ("hook".to_owned(), notice(episode)));
    journal.commit(&Batch { outbox: messages.into(), ..Batch::default() }, 80 * S).unwrap();
    let ticks = |at_s: i64| BTreeMap::from([(("f;shop".to_owned(), at_s * S), tick("shop", false, Some(0), &[]))]);
    journal.commit(&Batch { ticks: ticks(60), ..Batch::default() }, 81 * S).unwrap();
    let given_up = OutboxRow {
        notice: notice(1),
        written_ns: 80 * S,
        attempts: 3,
        next_try_ns: 90 * S,
        dead: Some("400: no".to_owned()),
    };
    let first = journal.snapshot().unwrap().outbox("hook", 1).unwrap()[0].0;
    journal.mark_sent("hook", &[(first, Some(given_up))], &Batch::default(), 90 * S).unwrap();
    let gone =
        Batch { ticks: [(("f;shop".to_owned(), 95 * S), tick("shop", false, None, &[]))].into(), ..Batch::default() };
    journal.commit(&gone, 91 * S).unwrap();
    journal.commit(&Batch { ticks: ticks(90), ..Batch::default() }, 91 * S).unwrap();
    journal.sample(Sampled::Given(None));
    journal.commit(&Batch { ticks: ticks(120), ..Batch::default() }, 121 * S).unwrap();
    let seen = ask(Some(&journal), "SELECT outbox_waiting, outbox_dead FROM gate_ticks ORDER BY tick").await;
    assert_eq!(
        cells(&seen),
        ["| 2 | 0 |", "| 1 | 1 |", "| | |", "| | |"],
        "not of a missed tick, nor where nobody sends"
    );
    let columns = "id, receiver, gate, key, transition, status, level, written_at, attempts, next_try, dead";
    let all = ask(Some(&journal), &format!("SELECT {columns} FROM gate_outbox ORDER BY id")).await;
    let (alert, at) = (AlertId([1; 16]), "1970-01-01T00:01:20Z");
    assert_eq!(
        cells(&all),
        [
            format!("| 1 | hook | g | k=a | {alert}/1/0 | firing | fail | {at} | 3 | | 400: no |"),
            format!("| 2 | hook | g | k=a | {alert}/2/0 | firing | fail | {at} | 0 | {at} | |"),
        ]
    );
}

#[test]
fn gates_are_planned_against_the_columns_that_the_daemon_has() {
    let seen = readable(tables(None));
    assert_eq!(seen.len(), 4);
    for (name, planned) in empty_tables() {
        for (_, table) in seen.iter().filter(|(of, _)| *of == name) {
            assert_eq!(planned.schema(), table.schema(), "{name}");
        }
    }
}

#[tokio::test]
async fn gates_do_not_see_what_a_tick_cost_and_people_do() {
    let (_dir, journal) = filled();
    journal.sample(Sampled::Given(Some(Waiting { messages: 5, dead: 6 })));
    let ticks = [(("f;shop".to_owned(), 30 * S), tick("shop", false, Some(3), &[]))].into();
    journal.commit(&Batch { ticks, ..Batch::default() }, 80 * S).unwrap();
    let context = SessionContext::new();
    for (name, table) in readable(tables(Some(&journal))) {
        context.register_table(name, table).unwrap();
    }
    for table in ["gate_ticks", "gate_results"] {
        let cost = format!("SELECT cost_ns FROM {table}");
        assert!(context.sql(&cost).await.is_err(), "{table}");
        assert!(ask(Some(&journal), &cost).await.contains("| 9 "), "{table}");
        assert!(context.sql(&format!("SELECT * FROM {table}")).await.unwrap().collect().await.is_ok(), "{table}");
    }
    let behind = "SELECT outbox_dead, timeout, outbox_waiting FROM gate_ticks WHERE late_spans = 3";
    let batches = context.sql(behind).await.unwrap().collect().await.unwrap();
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    assert_eq!(cells(&shown), ["| 6 | 0 | 5 |"], "columns behind it are those of their names");
}

#[tokio::test]
async fn without_a_journal_the_tables_are_empty() {
    for (name, _) in tables(None) {
        assert!(ask(None, &format!("SELECT count(*) AS c FROM {name}")).await.contains("| 0 "));
    }
}
