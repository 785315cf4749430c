//! Asking the gates of a group at one cut.
//!
//! Duty: run every query in its time and its turn, check the shape of the result, ask again over the spans since a key fired
//! where a pass must be proven (gates.md 4.3); each evaluation is an own span. Guarantee: an answer is either usable rows or
//! an error of the whole gate. Left to others: what rows mean (`book`, `verdict`).

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::super::arrivals::{Order, take_next};
use super::super::book::{Answer, Closing};
use super::super::definition::Gate;
use super::super::exemplars;
use super::super::identity::{TENANT, alert_key, evaluation_span};
use super::super::result::{Ask, ResultRow, RunError, Selection, Window, well_formed};
use super::super::verdict::{Outcome, proves};
use super::super::window::window_at;
use super::{Shared, early};

/// All gates of `group` at tick `t_ns`. `order` is that in which spans come.
pub(super) async fn evaluate(shared: Arc<Shared>, group: usize, (t_ns, cut_us): (i64, i64), order: Order) -> Closing {
    let gates = shared.book().gates_of(group);
    let answers = gates.into_iter().map(|gate| {
        let shared = shared.clone();
        async move {
            let name = gate.name.clone();
            let (trace_id, span_id) = evaluation_span(TENANT, &name, t_ns);
            let span = tracing::info_span!(
                target: "weavergen::own", "gate/evaluate", own.trace_id = trace_id, own.span_id = span_id,
                gate = name.as_str(), tick_ns = t_ns, cut_us, rows = Empty, error = Empty,
            );
            let answer = answer(&shared, gate, (t_ns, cut_us), order).instrument(span.clone()).await;
            match &answer.rows {
                Ok(rows) => span.record("rows", rows.len()),
                Err(error) => span.record("error", error.to_string()),
            };
            (name, answer)
        }
    });
    let answers = join_all(answers).await.into_iter().collect();
    let late = late(&shared, group, cut_us).await;
    Closing { group, t_ns, cut_us, answers, late }
}

/// Late spans up to `cut_us`; `None` where nothing has closed that they could be too late for. What cannot be counted changes
/// no verdict, and is no zero.
async fn late(shared: &Shared, group: usize, cut_us: i64) -> Option<u64> {
    let span = shared.book().late(group, cut_us)?;
    let _turn = shared.slots.acquire().await.ok();
    match shared.parts.late.count(span).await {
        Ok(count) => Some(count),
        Err(why) => {
            tracing::warn!(why, "late spans could not be counted");
            None
        }
    }
}

async fn answer(shared: &Shared, gate: Arc<Gate>, (t_ns, cut_us): (i64, i64), order: Order) -> Answer {
    let came = early::came(shared, &gate, (t_ns, cut_us), order).await;
    let window = |start_ns| Window { start_ns, end_ns: t_ns };
    let Window { start_ns, .. } = window_at(&gate, t_ns);
    let (rows, mut cost_ns) = ask(shared, &gate, window(start_ns), cut_us).await;
    let mut rows = match rows {
        Ok(rows) => Ok(with_exemplars(shared, &gate, window(start_ns), cut_us, rows).await),
        failed => failed,
    };
    if order == Order::Event
        && let Ok(rows) = &mut rows
    {
        // Of what lies ahead of the tick nothing has come.
        for row in rows.iter_mut() {
            take_next(row);
        }
    }
    let mut confirmed = BTreeSet::new();
    if let (Ok(rows), true) = (&rows, gate.on.is_ingest()) {
        let (proven, cost) = early::proven(shared, &gate, (t_ns, cut_us), rows).await;
        confirmed = proven;
        cost_ns = cost_ns.saturating_add(cost);
    } else if let Ok(rows) = &rows {
        let wanted = shared.book().to_confirm(&gate, t_ns, rows);
        for (fired_ns, keys) in wanted {
            let (since, cost) = ask(shared, &gate, window(fired_ns), cut_us).await;
            cost_ns = cost_ns.saturating_add(cost);
            // An error proves nothing: the key holds.
            let passed = since.unwrap_or_default().into_iter();
            let passed = passed.filter(|row| proves(&gate, row, shared.book().judged(&gate, row, t_ns)));
            confirmed.extend(passed.map(|row| alert_key(&row.key)).filter(|key| keys.contains(key)));
        }
    }
    Answer { rows, confirmed, cost_ns, came }
}

/// Rows with the traces of `exemplars`, where a key does not pass and its query gave none.
async fn with_exemplars(
    shared: &Shared,
    gate: &Gate,
    window: Window,
    cut_us: i64,
    mut rows: Vec<ResultRow>,
) -> Vec<ResultRow> {
    let Some(asking) = exemplars::asking(gate) else { return rows };
    let is_bare = |row: &ResultRow| {
        let outcome = || shared.book().judged(gate, row, window.end_ns).outcome;
        row.trace_ids.is_empty() && matches!(outcome(), Outcome::Warn | Outcome::Fail)
    };
    if !rows.iter().any(is_bare) {
        return rows;
    }
    let _turn = shared.slots.acquire().await.ok();
    let timeout = asking.timeout;
    let ask = Ask { gate: Arc::new(asking), window, cut_us, spans: Selection::OfGate };
    match tokio::time::timeout(timeout, shared.parts.runner.run(ask)).await {
        Ok(Ok(found)) => exemplars::fill(&mut rows, found),
        Ok(Err(error)) => tracing::warn!(gate = %gate.name, %error, "exemplars could not be read"),
        Err(_) => tracing::warn!(gate = %gate.name, "exemplars took longer than `timeout`"),
    }
    rows
}

/// One answer, with the time it took in ns.
async fn ask(
    shared: &Shared,
    gate: &Arc<Gate>,
    window: Window,
    cut_us: i64,
) -> (Result<Vec<ResultRow>, RunError>, u64) {
    let ask = || Ask { gate: gate.clone(), window, cut_us, spans: Selection::OfGate };
    let runner = &shared.parts.runner;
    let mut started = Instant::now();
    // Those who share work for each other: none of them waits for a turn, nor for a gate that does not share.
    let rows = match tokio::time::timeout(gate.timeout, runner.shared(ask())).await {
        Ok(Some(rows)) => rows,
        Ok(None) => {
            // Closed by nobody; a turn that cannot be had would only make the query run at once.
            let _turn = shared.slots.acquire().await.ok();
            started = Instant::now();
            tokio::time::timeout(gate.timeout, runner.run(ask())).await.unwrap_or(Err(RunError::Timeout))
        }
        Err(_) => Err(RunError::Timeout),
    };
    let took = started.elapsed();
    shared.parts.metrics.evaluation_seconds.with_label_values(&[gate.name.as_str()]).observe(took.as_secs_f64());
    (rows.and_then(well_formed), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}
