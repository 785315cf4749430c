//! Verdicts of ticks that are not closed: they follow what comes, and nothing follows from them.

use super::*;
use crate::gate::baseline;
use crate::gate::live::{Live, Provisional};
use crate::gate::verdict::Outcome;

impl House {
    async fn sharing(gate: Gate) -> Self {
        let mut gate = Gate { class: Class::Decomposable, ..gate };
        gate.source.sql = SQL.to_owned();
        Self::new(gate).await
    }

    /// Goes on to `now_s` and does what is due.
    async fn to(&mut self, now_s: i64) {
        self.clock.advance(Duration::from_secs(u64::try_from(now_s - self.now_s()).unwrap()));
        self.evaluator.round().await.unwrap();
    }

    /// Ticks of the results of `good`, in seconds since the begin, each with outcome and value.
    async fn results(&mut self) -> Vec<(i64, Outcome, Option<f64>)> {
        self.evaluator.write(true).await.unwrap();
        let snapshot = self.journal.snapshot().unwrap();
        let done = snapshot.results((i64::MIN, 0), i64::MAX, 9_999).unwrap().into_iter().map(|(_, run)| run);
        let own = done.chain(snapshot.all_running().unwrap()).filter(|run| run.gate == "good");
        let mut all: Vec<_> = own.map(|run| (run.last_tick_ns / S - BEGIN_S, run.outcome, run.value)).collect();
        all.sort_by_key(|(tick_s, ..)| *tick_s);
        all
    }
}

/// Tick in seconds since the begin, key, outcome, value, samples.
type Told = (i64, String, Outcome, Option<f64>, Option<u64>);

const NONE: [Told; 0] = [];

async fn told(live: &Live) -> Vec<Told> {
    let of = |verdict: Provisional| {
        let Provisional { key, window, outcome, value, n, .. } = verdict;
        (window.end_ns / S - BEGIN_S, key, outcome, value, n)
    };
    live.provisional("good", 10).await.unwrap().into_iter().map(of).collect()
}

fn a(tick_s: i64, outcome: Outcome, value: f64, n: u64) -> Told {
    (tick_s, "service=a".to_owned(), outcome, Some(value), Some(n))
}

#[tokio::test]
async fn a_tick_that_is_not_closed_has_a_verdict_that_follows_late_spans_and_leaves_no_trace() {
    let mut house = House::sharing(by_service(0.9)).await;
    let live = house.evaluator.live();
    house.append(&[(5, "a", true), (15, "a", true)]).await;
    house.to(20).await;
    assert_eq!(told(&live).await, NONE, "M has not come to the next tick");
    house.to(35).await;
    assert_eq!(told(&live).await, [a(30, Outcome::Pass, 1.0, 2)]);
    house.append(&[(25, "a", false), (26, "a", false)]).await;
    assert_eq!(told(&live).await, [a(30, Outcome::Fail, 0.5, 4)], "what came late counts at once");
    house.store.freeze_and_flush().await.unwrap();
    assert_eq!(told(&live).await, [a(30, Outcome::Fail, 0.5, 4)]);
    let written = house.results().await;
    assert!(written.iter().all(|(tick_s, ..)| *tick_s <= 0), "only what closed is written: {written:?}");
    // A fail would fire, had it been one of a tick.
    house.append(&[(27, "a", true); 36]).await;
    assert_eq!(told(&live).await, [a(30, Outcome::Pass, 0.95, 40)]);
    house.to(50).await;
    assert_eq!(told(&live).await, NONE, "its tick is closed");
    assert_eq!((house.seen(), house.journal.snapshot().unwrap().outbox("hook", 9).unwrap().len()), (vec![], 0));
    assert_eq!(house.results().await.last(), Some(&(30, Outcome::Pass, Some(0.95))));
    house.to(65).await;
    assert_eq!(told(&live).await, [a(60, Outcome::Pass, 0.95, 40)], "the next is open");
}

#[tokio::test]
async fn gates_that_are_asked_by_their_sql_have_none() {
    let mut gate = by_service(0.9);
    gate.source.sql = SQL.to_owned();
    let mut house = House::new(gate).await;
    let live = house.evaluator.live();
    house.append(&[(5, "a", false)]).await;
    house.to(20).await;
    house.to(35).await;
    assert_eq!(told(&live).await, NONE);
    assert!(live.provisional("failing", 10).await.unwrap().is_empty(), "it is derived");
    assert!(live.provisional("nothing", 10).await.unwrap().is_empty(), "it is not loaded");
}

#[tokio::test]
async fn after_a_start_there_are_none_until_a_tick_has_read_what_its_window_holds() {
    let mut house = House::sharing(by_service(0.9)).await;
    house.append(&[(5, "a", true)]).await;
    house.to(20).await;
    house.to(35).await;
    assert_eq!(told(&house.evaluator.live()).await.len(), 1);
    house.evaluator.write(true).await.unwrap();
    let mut house = house.restart().await;
    let live = house.evaluator.live();
    house.to(35).await;
    assert_eq!(told(&live).await, NONE);
    house.to(50).await;
    house.to(65).await;
    assert_eq!(told(&live).await, [a(60, Outcome::Pass, 1.0, 1)]);
}

#[tokio::test]
async fn an_empty_result_is_no_data_of_the_gate_and_the_worst_keys_come_first() {
    let mut house = House::sharing(by_service(0.9)).await;
    let live = house.evaluator.live();
    house.to(20).await;
    house.to(35).await;
    assert_eq!(told(&live).await, [(30, String::new(), Outcome::NoData, None, None)]);
    house.append(&[(5, "a", true), (5, "b", false), (5, "c", true), (6, "c", false)]).await;
    let keys = |verdicts: Vec<Provisional>| verdicts.into_iter().map(|verdict| verdict.key).collect::<Vec<_>>();
    let [all, some] = [live.provisional("good", 10).await.unwrap(), live.provisional("good", 2).await.unwrap()];
    assert_eq!(keys(all), ["service=b", "service=c", "service=a"]);
    assert_eq!(keys(some), ["service=b", "service=c"]);
}

#[tokio::test]
async fn values_are_held_to_a_baseline_of_what_closed() {
    let past = baseline::Baseline { offset: Duration::ZERO, min_samples: 1, ..baseline::tests::baseline() };
    let mut house = House::sharing(Gate { baseline: Some(past), ..by_service(0.1) }).await;
    let live = house.evaluator.live();
    house.append(&[(5, "a", true)]).await;
    house.to(20).await;
    house.to(35).await;
    assert_eq!(told(&live).await, [a(30, Outcome::Inconclusive, 1.0, 1)], "nothing was written");
    house.to(50).await;
    house.append(&[(45, "a", false)]).await;
    house.to(65).await;
    assert_eq!(told(&live).await, [a(60, Outcome::Fail, 0.5, 2)]);
    assert_eq!(live.provisional("good", 1).await.unwrap()[0].baseline, Some(1.0));
}
