//! Names that statements can use, for hints.
//!
//! Duty: what tables and columns a session has. Guarantee: only what `information_schema` shows too. Left to others:
//! the sentences (`translate`).

use datafusion::execution::context::SessionContext;

use super::session::{CATALOG, Place, SCHEMA};

/// Tables of ours that are there only in the daemon (sql.md 9.1): what holds them locks its file. Asked of a daemon, one
/// that is missing is simply unknown.
pub const DAEMON_ONLY: &[&str] = &[
    "gate_results",
    "gate_state",
    "gate_transitions",
    "gate_episodes",
    "gate_ticks",
    "gate_outbox",
    "expected_operations",
    "semconv_findings_1m",
    "pipeline_runs",
    "pipeline_steps",
    "pipeline_jobs",
    "pipeline_tasks",
    "pipeline_incidents",
    "pipeline_events",
    "pipeline_definitions",
    "learned_patterns",
    "feedback",
    "learn_runs",
    "system.queries",
];

/// Names of the tables of `context`, sorted; those of a schema other than ours as `schema.table`.
pub fn tables(context: &SessionContext) -> Vec<String> {
    let Some(catalog) = context.catalog(CATALOG) else { return Vec::new() };
    let mut names = Vec::new();
    for schema_name in catalog.schema_names() {
        let Some(schema) = catalog.schema(&schema_name) else { continue };
        let own = schema_name == SCHEMA;
        names.extend(schema.table_names().into_iter().map(|t| if own { t } else { format!("{schema_name}.{t}") }));
    }
    names.sort();
    names
}

/// Whether `context` runs over a data folder, where the tables of [`DAEMON_ONLY`] cannot be.
pub fn is_offline(context: &SessionContext) -> bool {
    context.state().config().get_extension::<Place>().is_some_and(|place| place.offline)
}

/// Names of the functions of `context`.
pub fn functions(context: &SessionContext) -> Vec<String> {
    let state = context.state();
    let mut names: Vec<String> = state.scalar_functions().keys().cloned().collect();
    names.extend(state.aggregate_functions().keys().cloned());
    names.extend(state.window_functions().keys().cloned());
    names.extend(state.table_functions().keys().cloned());
    names.sort();
    names.dedup();
    names
}
