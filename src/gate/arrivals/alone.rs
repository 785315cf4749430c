//! A gate that is asked outside of its ticks (gates.md 2, row "span-gate job").
//!
//! Duty: the rows of one ask, where `on: ingest` also those keys of which nothing matches. Guarantee: a key of which fewer
//! than `min_samples` spans were seen, none of them matching, has no value, so nothing seen is no pass; matching spans are
//! never left out. Left to others: judging the rows (`verdict`), ticks (`evaluator`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{is_matched, take_next};
use crate::gate::definition::On;
use crate::gate::result::{Ask, ResultRow, RunError, Runner};

/// The rows of `ask`, one a key.
///
/// Errors: see [`RunError`].
pub async fn rows_of(runner: &Runner, ask: Ask) -> Result<Vec<ResultRow>, RunError> {
    let gate = ask.gate.clone();
    let On::Ingest(matching) = &gate.on else { return runner.run(ask).await };
    let proof = Ask { gate: Arc::new(matching.proof(&gate)), ..ask.clone() };
    let mut rows = runner.run(ask).await?;
    rows.retain_mut(|row| {
        // What lies behind the window is of no meaning here.
        take_next(row);
        is_matched(row)
    });
    let failing: BTreeSet<_> = rows.iter().map(|row| row.key.clone()).collect();
    for there in runner.run(proof).await?.into_iter().filter(|there| !failing.contains(&there.key)) {
        let is_enough = there.n.is_some_and(|n| n >= gate.min_samples.max(1));
        rows.push(ResultRow { key: there.key, value: is_enough.then_some(0.0), n: there.n, ..ResultRow::default() });
    }
    Ok(rows)
}
