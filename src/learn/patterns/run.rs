//! One run of a pattern's statement (learn.md 3.3).
//!
//! Duty: parameters, window and cut for the gateway, in a pool of its own. Guarantee: the same statement, window, cut and
//! spans give the same rows; a run ends within 30 s, 64 MiB and 100,000 rows. Left to others: when to run (`task`).

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;

use super::plan::PARAMETERS;
use crate::clock::Clock;
use crate::learn::sources::{Ask, Asker};
use crate::query::gateway::{Resources, Shape};
use crate::query::params::{self, Param, Params};
use crate::query::within::{self, Spans, Table, Times, Within};
use crate::query::{self, Gateway, Limits, Statement};
use crate::store::Reader;

/// Wall time of one run.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Rows above which a result is an error.
pub const MAX_ROWS: usize = 100_000;
/// Tables beside `spans` and how the implicit window reads them: each row lies in one window.
pub(super) const TABLES: &[Table] = &[
    Table::all("gate_results", Times::At("last_tick")),
    Table::all("gate_transitions", Times::At("tick")),
    Table::all("gate_ticks", Times::At("tick")),
    Table::all("pipeline_definitions", Times::At("deployed_at")),
];
/// Memory of one run.
const MEMORY_BYTES: usize = 64 << 20;

/// A gateway for patterns alone: 64 MiB, or a quarter of `query_bytes` if that is less, then `spill`.
///
/// Errors: as [`Gateway::with`].
pub fn gateway(
    reader: Reader,
    query: &query::Config,
    query_bytes: usize,
    spill: Option<(std::path::PathBuf, u64)>,
    tables: Vec<(String, Arc<dyn TableProvider>)>,
    clock: Clock,
) -> Result<Gateway, query::Error> {
    let config = query::Config { timeout: TIMEOUT, ..query.clone() };
    let resources = Resources { memory_bytes: MEMORY_BYTES.min(query_bytes / 4), spill };
    // Its own registry: the metrics of the statements of people stay theirs.
    Gateway::with(reader, config, resources, tables, clock, &prometheus::Registry::new())
}

/// Runs asks over `gateway`.
pub fn asker(gateway: Gateway) -> Asker {
    Asker::new(move |ask| {
        let gateway = gateway.clone();
        Box::pin(async move { run(&gateway, ask).await })
    })
}

async fn run(gateway: &Gateway, ask: Ask) -> Result<Vec<arrow::array::RecordBatch>, String> {
    let (start_ns, end_ns) = ask.window_ns;
    let statement = Statement {
        params: params(&ask.sql, start_ns, end_ns),
        sql: ask.sql,
        limits: Limits { rows: Some(MAX_ROWS as u64), bytes: None, time: Some(TIMEOUT) },
        shape: Shape::Arrow,
        ..Statement::default()
    };
    let left_out = if ask.include_pipeline_spans { vec!["self"] } else { vec!["pipeline", "self"] };
    let within = Within {
        cut_us: Some(ask.cut_us),
        spans: Spans::NotOf(left_out),
        window: (!ask.is_explicit).then(|| window(start_ns, end_ns)),
        tables: TABLES,
    };
    let told = |error: query::Error| error.message;
    let mut answer = gateway.run_within(statement, within).await.map_err(told)?;
    let batches = answer.collect().await.map_err(told)?;
    if answer.truncated {
        return Err(format!("the result has more than {MAX_ROWS} rows; group the statement by fewer values"));
    }
    Ok(batches)
}

/// The parameters that `sql` names.
pub(super) fn params(sql: &str, start_ns: i64, end_ns: i64) -> Params {
    let value = |name: &str| match PARAMETERS.iter().position(|known| *known == name) {
        Some(0) => Some(Param::Instant(start_ns)),
        Some(_) => Some(Param::Instant(end_ns)),
        None => None,
    };
    let named = params::names(sql);
    Params::Map(named.into_iter().filter_map(|(name, _)| Some((name.clone(), value(&name)?))).collect())
}

/// The implicit window.
pub(super) fn window(start_ns: i64, end_ns: i64) -> within::Window {
    within::Window { start_ns, end_ns, spans_by: "end_time" }
}
