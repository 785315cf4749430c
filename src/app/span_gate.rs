//! The question of a `span-gate` job, asked of the gates that are loaded.
//!
//! Duty: window, selection and cut of gates.md 2, row "span-gate job"; the worst of the keys. Guarantee: no rows are no
//! data, never a pass; the verdict enters no journal. Left to others: judging a row (`gate::verdict`), when to ask again
//! (`engine::job::span_gate`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::gates::Gates;
use crate::engine::job::span_gate::{Ask, Evaluator, Judged};
use crate::gate::identity::alert_key;
use crate::gate::result::{self, ResultRow, Runner, Selection, Window};
use crate::gate::verdict::{self, Outcome};
use crate::gate::{Gate, Journal, arrivals, baseline};
use crate::store::Reader;

/// Rows of evidence kept.
const MAX_ROWS: usize = 20;
/// Trace ids kept.
const MAX_TRACES: usize = 5;

/// Asks `gates` over the rows of `reader`.
pub(super) fn evaluator(gates: &Gates, reader: Reader) -> Evaluator {
    let known: Arc<BTreeMap<String, (Arc<Gate>, Duration)>> = Arc::new(
        gates.gates().map(|(group, gate)| (gate.name.clone(), (Arc::new(gate.clone()), group.interval))).collect(),
    );
    let (runner, journal) = (gates.runner(), gates.journal());
    Arc::new(move |ask: Ask| {
        let (known, runner, reader, journal) = (known.clone(), runner.clone(), reader.clone(), journal.clone());
        Box::pin(async move {
            let (gate, interval) = known.get(&ask.gate).ok_or("no gate of this name is loaded")?;
            judged(&ask, gate, *interval, &runner, (&reader, &journal)).await
        })
    })
}

async fn judged(
    ask: &Ask,
    gate: &Arc<Gate>,
    interval: Duration,
    runner: &Runner,
    (reader, journal): (&Reader, &Journal),
) -> Result<Judged, String> {
    let ns = |ms: i64| ms.saturating_mul(1_000_000);
    let window_ns = i64::try_from(gate.window.as_nanos()).unwrap_or(i64::MAX);
    let (start_ns, spans) = match ask.run {
        Some(run) => (ns(ask.since_ms), Selection::OfRun(run.to_string())),
        None => (ns(ask.since_ms).max(ns(ask.now_ms).saturating_sub(window_ns)), Selection::OfGate),
    };
    let question = result::Ask {
        gate: gate.clone(),
        window: Window { start_ns, end_ns: ns(ask.now_ms) },
        cut_us: reader.view().visible_us,
        spans,
    };
    let answer = tokio::time::timeout(gate.timeout, arrivals::rows_of(runner, question)).await;
    let rows = answer.map_err(|_| "the query took longer than `timeout`".to_owned())?.map_err(|e| e.to_string())?;
    let asked = |row: &ResultRow| ask.key.as_ref().is_none_or(|key| has(row, key));
    let mut keys: Vec<(Outcome, ResultRow)> = Vec::new();
    for row in rows.into_iter().filter(asked) {
        let base =
            baseline::of_journal(journal, gate, &alert_key(&row.key), ns(ask.now_ms)).map_err(|e| e.to_string())?;
        keys.push((verdict::judge(gate, &row, base).outcome, row));
    }
    // From good to bad, as outcomes are ordered.
    keys.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.key.cmp(&b.1.key)));
    let traces = keys.iter().flat_map(|(_, row)| &row.trace_ids).map(ToString::to_string);
    Ok(Judged {
        verdict: keys.first().map_or(Outcome::NoData, |(verdict, _)| *verdict),
        value: keys.first().and_then(|(_, row)| row.value).filter(|value| value.is_finite()),
        n: keys.first().and_then(|(_, row)| row.n).unwrap_or(0),
        trace_ids: traces.take(MAX_TRACES).collect(),
        rows: keys.iter().take(MAX_ROWS).map(|(_, row)| Value::Object(row.evidence.clone())).collect(),
        keys: keys.iter().take(MAX_ROWS).map(|(verdict, row)| shown(*verdict, row)).collect(),
        interval,
    })
}

fn has(row: &ResultRow, key: &Map<String, Value>) -> bool {
    key.iter().all(|(name, wanted)| {
        let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
        row.key.get(name).is_some_and(|value| *value == wanted)
    })
}

fn shown(verdict: Outcome, row: &ResultRow) -> Value {
    json!({"key": row.key, "verdict": verdict.as_str(), "value": row.value, "n": row.n})
}
