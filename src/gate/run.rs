//! One run of a gate's SQL (gates.md 2).
//!
//! Duty: parameters, window and cut of a gate for the gateway, and its rows back; the SQL is planned once. Guarantee: the
//! same gate, window, cut and spans give the same rows; a run ends within the gate's `timeout`. Left to others: when to run
//! (the evaluator), whether the last rows stand (`standing`), reading columns (`rows`).

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use tokio::sync::Semaphore;

use super::buckets::Buckets;
use super::config::Config;
use super::definition::{EventTime, Gate, Group};
use super::metrics::Metrics;
use super::result::{Ask, MAX_ROWS, ResultRow, Rows, RunError, Runner, Selection, Window};
use super::rows;
use super::standing::Standing;
use crate::clock::Clock;
use crate::query::gateway::{Resources, Shape};
use crate::query::params::{self, Param, Params};
use crate::query::within::{self, Spans, Table, Times, Within};
use crate::query::{self, Gateway, Limits, Prepared, Statement};
use crate::store::Reader;

/// Parameters that a query may name.
pub(super) const PARAMETERS: [&str; 3] = ["window_start", "window_end", "gate"];
/// The column whose ids become those of the verdict.
pub(super) const TRACE_IDS: &str = "trace_ids";
/// Tables beside `spans` and how the implicit window reads them: a derived gate sees the results of its own tick time, also
/// those that have grown since, for the outcome of a run is that of each of its ticks. Ticks of derived gates it does not see,
/// whoever bounds its window: they close side by side with its own.
const TABLES: &[Table] = &[
    Table::all("gate_results", Times::Ticks("first_tick", "last_tick")),
    Table::all("gate_transitions", Times::Ticks("tick", "tick")),
    Table { name: "gate_ticks", by: Times::Ticks("tick", "tick"), only: Some("NOT derived") },
    Table::all("pipeline_definitions", Times::At("deployed_at")),
];

/// A gateway for gates alone: `max(1, cores / 2)` runs at a time and one between ticks, with `gates.rerun_memory` each.
///
/// `tables` are those of other modules. Errors: as [`Gateway::with`].
pub fn gateway(
    reader: Reader,
    query: &query::Config,
    gates: &Config,
    tables: Vec<(String, Arc<dyn TableProvider>)>,
    clock: Clock,
) -> Result<Gateway, query::Error> {
    let config = query::Config {
        // A gate's own `timeout` is shorter.
        timeout: std::time::Duration::from_secs(600),
        ..query.clone()
    };
    let bytes = gates.rerun_memory.saturating_mul(at_a_time() as u64 + 1);
    let resources = Resources { memory_bytes: usize::try_from(bytes).unwrap_or(usize::MAX), spill: None };
    // Its own registry: the metrics of the statements of people stay theirs.
    Gateway::with(reader, config, resources, tables, clock, &prometheus::Registry::new())
}

/// How many runs go at a time: `max(1, cores / 2)`.
pub fn at_a_time() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).div_euclid(2).max(1)
}

/// Runs asks over `gateway`, `max(1, cores / 2)` at a time. What is asked between ticks has one place of its own, which no
/// tick waits for, and no own spans, which would be a reason to ask again.
pub fn runner(gateway: Gateway) -> Runner {
    let standing = Standing::default();
    let answering = |places: usize, is_untraced: bool| {
        let (gateway, places, standing) = (gateway.clone(), Arc::new(Semaphore::new(places)), standing.clone());
        move |ask: Ask| -> Rows {
            let (gateway, places, standing) = (gateway.clone(), places.clone(), standing.clone());
            Box::pin(async move {
                let (last, types) = (standing.of(&ask), gateway.attribute_types());
                if let Some(rows) = last.rows(&ask, &types, || gateway.view()) {
                    return Ok(rows);
                }
                let _place = places.acquire().await.map_err(|_| RunError::Run("the daemon stops".to_owned()))?;
                let rows = run_as(&gateway, &ask, last.prepared(), is_untraced).await?;
                last.keep(&ask, types, &rows);
                Ok(rows)
            })
        }
    };
    Runner::new(answering(at_a_time(), false)).looking(answering(1, true))
}

/// The same; gates of class decomposable are answered over states that they share, those of `groups` that are.
pub fn sharing_runner(gateway: Gateway, groups: &[Group], config: &Config, metrics: &Metrics) -> Runner {
    let buckets = Buckets::new(gateway.clone(), groups, config, metrics.clone());
    let ahead = buckets.clone();
    let sharing = runner(gateway).sharing(move |ask| {
        let buckets = buckets.clone();
        Box::pin(async move { buckets.rows(&ask).await })
    });
    sharing.looking_ahead(move |ask| {
        let buckets = ahead.clone();
        Box::pin(async move { buckets.ahead(ask).await })
    })
}

/// The rows of `ask`, one a key, by the plan in `prepared`; the first run makes it.
///
/// Errors: see [`RunError`].
pub async fn run(gateway: &Gateway, ask: &Ask, prepared: &Prepared) -> Result<Vec<ResultRow>, RunError> {
    run_as(gateway, ask, prepared, false).await
}

async fn run_as(
    gateway: &Gateway,
    ask: &Ask,
    prepared: &Prepared,
    is_untraced: bool,
) -> Result<Vec<ResultRow>, RunError> {
    let gate = ask.gate.as_ref();
    let statement = Statement {
        sql: gate.source.sql.clone(),
        params: params(gate, ask.window),
        limits: Limits { rows: Some(MAX_ROWS as u64), bytes: None, time: Some(gate.timeout) },
        shape: Shape::Arrow,
        is_untraced,
        ..Statement::default()
    };
    let within = Within { cut_us: Some(ask.cut_us), ..within(gate, ask.window, &ask.spans) };
    let mut answer = gateway.run_prepared(statement, within, prepared).await.map_err(|error| failed(&error))?;
    let batches = answer.collect().await.map_err(|error| failed(&error))?;
    if answer.truncated {
        return Err(RunError::TooManyRows);
    }
    if answer.incomplete {
        // No verdict rests on what could not be read.
        return Err(RunError::Run(answer.notices.join("; ")));
    }
    rows::read(gate, &batches)
}

/// The parameters that the query names.
pub(super) fn params(gate: &Gate, window: Window) -> Params {
    let value = |name: &str| match name {
        "window_start" => Some(Param::Instant(window.start_ns)),
        "window_end" => Some(Param::Instant(window.end_ns)),
        "gate" => Some(Param::Text(gate.name.clone())),
        _ => None,
    };
    let named = params::names(&gate.source.sql);
    Params::Map(named.into_iter().filter_map(|(name, _)| Some((name.clone(), value(&name)?))).collect())
}

/// Which rows the query sees, without the cut.
pub(super) fn within(gate: &Gate, window: Window, spans: &Selection) -> Within {
    let spans = match spans {
        Selection::OfRun(run) => Spans::OfRun(run.clone()),
        Selection::OfGate => {
            let origins = [("pipeline", gate.include_pipeline_spans), ("self", gate.include_own_spans)];
            Spans::NotOf(origins.into_iter().filter(|(_, included)| !included).map(|(origin, _)| origin).collect())
        }
    };
    let spans_by = match gate.time {
        EventTime::End => "end_time",
        EventTime::Start => "start_time",
    };
    let Window { start_ns, end_ns } = window;
    let window = within::Window { start_ns, end_ns, spans_by };
    Within { cut_us: None, spans, window: (!gate.source.explicit_window).then_some(window), tables: TABLES }
}

/// What a statement ended in, as gates tell it.
pub(super) fn failed(error: &query::Error) -> RunError {
    use query::Code;
    let text = error.message.clone();
    match error.code {
        Code::Timeout => RunError::Timeout,
        Code::LimitMemory | Code::LimitSpill => RunError::Memory(text),
        Code::Syntax
        | Code::UnknownTable
        | Code::UnknownColumn
        | Code::UnknownFunction
        | Code::Type
        | Code::NotAllowed
        | Code::TooComplex => RunError::Plan(text),
        _ => RunError::Run(text),
    }
}
