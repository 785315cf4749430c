//! Timelines of a gate whose values are a list, one a tick.

use super::super::assertion::Assertion;
use super::super::definition::tests::{comparison, gate};
use super::super::definition::{FireAfter, Test};
use super::super::result::{ResultRow, RunError};
use super::super::state::Phase;
use super::*;

const S: i64 = 1_000_000_000;

/// Ticks every 10 s from 10 s on, with these values; `None` = the query fails.
async fn played(gate: Gate, values: &[Option<f64>]) -> Vec<Found> {
    let extent = Extent { first_start_ns: 0, first_end_ns: 0, last_ns: values.len() as i64 * 10 * S - 1 };
    of_extent(gate, values.to_vec(), extent).await
}

async fn of_extent(gate: Gate, values: Vec<Option<f64>>, extent: Extent) -> Vec<Found> {
    let rows = move |tick: usize| match values.get(tick).copied().flatten() {
        Some(value) => Ok(vec![ResultRow { value: Some(value), n: Some(100), ..ResultRow::default() }]),
        None => Err(RunError::Run("no disk".to_owned())),
    };
    of_rows(gate, rows, extent).await
}

/// The same with values by service; ticks count from 0.
async fn of_keys(
    gate: Gate,
    values: impl Fn(usize) -> Vec<(&'static str, f64)> + Send + Sync + 'static,
    ticks: i64,
) -> Vec<Found> {
    let row = |(service, value): (&str, f64)| ResultRow {
        key: [("service".to_owned(), service.to_owned())].into(),
        value: Some(value),
        n: Some(100),
        ..ResultRow::default()
    };
    let rows = move |tick| Ok(values(tick).into_iter().map(row).collect());
    of_rows(gate, rows, Extent { first_start_ns: 0, first_end_ns: 0, last_ns: ticks * 10 * S - 1 }).await
}

async fn of_rows(
    gate: Gate,
    rows: impl Fn(usize) -> Result<Vec<ResultRow>, RunError> + Send + Sync + 'static,
    extent: Extent,
) -> Vec<Found> {
    let runner = Runner::new(move |ask| {
        let rows = rows(usize::try_from(ask.window.end_ns / (10 * S)).unwrap() - 1);
        Box::pin(async move { rows })
    });
    asked(gate, runner, Judge::Timeline, extent).await
}

async fn asked(gate: Gate, runner: Runner, judge: Judge, extent: Extent) -> Vec<Found> {
    let group = Group {
        name: "g".to_owned(),
        file: "g.yaml".to_owned(),
        interval: Duration::from_secs(10),
        query_offset: Duration::from_secs(20),
        labels: BTreeMap::new(),
        gates: vec![gate],
    };
    let journal = Journal::in_memory().unwrap();
    let seat = Seat { groups: vec![group], runner, journal, cut_us: 1, concurrency: 1 };
    play(seat, judge, extent).await.unwrap()
}

/// Good above 0.95, a warning above 0.9.
fn good(hold_for_s: u64) -> Gate {
    Gate {
        warn: Some(comparison(Test::Above(0.9))),
        hold_for: Duration::from_secs(hold_for_s),
        ..gate("good", Test::Above(0.95))
    }
}

#[tokio::test]
async fn a_query_that_fails_is_not_hidden_by_an_episode_that_only_warns() {
    for values in [[Some(0.92), None, Some(1.0)], [None, Some(0.92), Some(1.0)]] {
        let found = played(good(0), &values).await;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].now.run.outcome, found[0].bad), (Outcome::Error, Some(Level::Warn)), "{values:?}");
    }
    let found = played(good(0), &[Some(0.5), None, Some(1.0)]).await;
    assert_eq!((found[0].now.run.outcome, found[0].bad), (Outcome::Fail, Some(Level::Fail)), "a failure is worse");
}

#[tokio::test]
async fn a_breach_at_the_end_of_the_spans_is_pending_and_one_that_ended_is_not() {
    let of = |values| async move {
        let found = played(good(60), values).await;
        (found[0].ends_bad, found[0].brief, found[0].bad, found[0].now.run.outcome)
    };
    assert_eq!(of(&[Some(1.0), Some(0.5), Some(0.5)]).await, (Some(Level::Fail), true, None, Outcome::Fail));
    assert_eq!(of(&[Some(0.5), Some(0.5), Some(1.0)]).await, (None, true, None, Outcome::Pass));
}

#[tokio::test]
async fn episodes_are_counted_to_the_end() {
    let found = played(good(0), &[Some(0.5), Some(1.0), Some(0.92), Some(1.0), Some(0.5), Some(1.0)]).await;
    assert_eq!((found[0].episodes, found[0].bad), (3, Some(Level::Fail)));
    assert_eq!(found[0].now.run.last_tick_ns, 10 * S, "the worst shows when it was that for the first time");
}

#[tokio::test]
async fn spans_at_the_end_of_time_end_the_timeline() {
    let extent = Extent { first_start_ns: i64::MAX - 5 * S, first_end_ns: i64::MAX - 5 * S, last_ns: i64::MAX };
    assert!(of_extent(good(0), Vec::new(), extent).await.is_empty());
}

#[tokio::test]
async fn an_old_breach_that_fire_after_still_counts_is_not_the_end_of_the_spans() {
    let gate = Gate { fire_after: Some(FireAfter { n: 3, m: 5 }), ..good(0) };
    let of = |values: &[Option<f64>]| {
        let (gate, values) = (gate.clone(), values.to_vec());
        async move {
            let found = played(gate, &values).await;
            (found[0].ends_bad, found[0].bad, found[0].now.phase)
        }
    };
    assert_eq!(of(&[Some(0.5), Some(1.0), Some(1.0)]).await, (None, None, Phase::Pending));
    assert_eq!(of(&[Some(1.0), Some(1.0), Some(0.92)]).await, (Some(Level::Warn), None, Phase::Pending));
}

#[tokio::test]
async fn a_worse_breach_at_the_end_of_an_episode_is_not_known_to_be_none() {
    let of = |values: &[Option<f64>]| {
        let values = values.to_vec();
        async move {
            let found = played(good(20), &values).await;
            (found[0].bad, found[0].ends_bad)
        }
    };
    let warned = [Some(0.92), Some(0.92), Some(0.92)];
    assert_eq!(of(&warned).await, (Some(Level::Warn), None));
    assert_eq!(of(&[&warned[..], &[Some(0.5)]].concat()).await, (Some(Level::Warn), Some(Level::Fail)));
    assert_eq!(of(&[&warned[..], &[Some(0.5), Some(0.92)]].concat()).await, (Some(Level::Warn), None));
    assert_eq!(of(&[&warned[..], &[Some(1.0), Some(0.92)]].concat()).await, (Some(Level::Warn), None), "no news");
}

#[tokio::test]
async fn a_key_that_only_failed_and_then_was_gone_ends_in_its_breach() {
    let gate = Gate { by: vec!["service".to_owned()], ..good(60) };
    let found = of_keys(gate, |tick| if tick < 2 { vec![("a", 0.5), ("b", 1.0)] } else { vec![("b", 1.0)] }, 8).await;
    let fared: Vec<_> = found.iter().map(|found| (found.now.key.as_str(), found.ends_bad, found.bad)).collect();
    assert_eq!(fared, [("service=a", Some(Level::Fail), None), ("service=b", None, None)]);
}

#[tokio::test]
async fn an_assertion_over_spans_that_are_all_there_waits_for_no_silence() {
    let assertion = Assertion {
        by: None,
        wait_for: Vec::new(),
        is_complete: true,
        quiet: Duration::from_secs(10),
        give_up: Duration::from_secs(300),
        checks: Vec::new(),
    };
    let mut asserting = gate("whole", Test::Is(1.0));
    asserting.source.sql = assertion.sql();
    asserting.assertion = Some(assertion.clone());
    let extent = Extent { first_start_ns: 0, first_end_ns: 0, last_ns: 10 * S - 1 };
    for (judge, sql) in [(Judge::Once, assertion.sql_at_end()), (Judge::Timeline, assertion.sql())] {
        let runner = Runner::new(move |ask| {
            let value = f64::from(u8::from(ask.gate.source.sql == sql));
            let row = ResultRow { value: Some(value), n: Some(1), ..ResultRow::default() };
            Box::pin(async move { Ok(vec![row]) })
        });
        let found = asked(asserting.clone(), runner, judge, extent).await;
        assert_eq!(found[0].now.run.outcome, Outcome::Pass, "{judge:?}");
    }
}
