//! Columns of the tables that queries of gates may read beside `spans` (gates.md 10, bpmn.md 15).
//!
//! Duty: names and Arrow types, in the order that `SELECT *` shows. Guarantee: a query planned against them offline
//! plans against the daemon's tables; of what differs whenever the same tick is judged again, as its cost does, gates see
//! nothing. Left to others: rows (their modules' providers).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::span::schema::timestamp;

/// `gate_results`
pub fn gate_results() -> SchemaRef {
    let (text, int, double, at) = (DataType::Utf8, DataType::Int64, DataType::Float64, instant());
    let trace_id = Field::new("item", DataType::FixedSizeBinary(16), false);
    schema(&[
        ("gate", &text),
        ("generation", &int),
        ("gate_group", &text),
        ("key", &text),
        ("outcome", &text),
        ("first_tick", &at),
        ("last_tick", &at),
        ("evaluations", &int),
        ("value", &double),
        ("value_avg", &double),
        ("n", &int),
        ("baseline", &double),
        ("window_start", &at),
        ("window_end", &at),
        ("cut", &timestamp(TimeUnit::Microsecond)),
        ("evidence", &text),
        ("trace_ids", &DataType::List(Arc::new(trace_id))),
        ("mode", &text),
    ])
}

/// `gate_state`
pub fn gate_state() -> SchemaRef {
    let (text, at) = (DataType::Utf8, instant());
    schema(&[
        ("gate", &text),
        ("key", &text),
        ("phase", &text),
        ("level", &text),
        ("episode", &DataType::Int64),
        ("active_at", &at),
        ("fired_at", &at),
        ("last_outcome", &text),
        ("last_value", &DataType::Float64),
    ])
}

/// `gate_transitions`
pub fn gate_transitions() -> SchemaRef {
    let (text, int, at) = (DataType::Utf8, DataType::Int64, instant());
    schema(&[
        ("at", &at),
        ("tick", &at),
        ("gate", &text),
        ("key", &text),
        ("from_phase", &text),
        ("to_phase", &text),
        ("cause", &text),
        ("level", &text),
        ("episode", &int),
        ("transition", &text),
        ("actor", &text),
    ])
}

/// `gate_ticks`
pub fn gate_ticks() -> SchemaRef {
    let (text, int, at) = (DataType::Utf8, DataType::Int64, instant());
    schema(&[
        ("gate_group", &text),
        ("tick", &at),
        ("derived", &DataType::Boolean),
        ("closed_at", &at),
        ("cut", &timestamp(TimeUnit::Microsecond)),
        ("late_spans", &int),
        ("gates", &int),
        ("missed", &int),
        ("overrun", &int),
        ("downtime", &int),
        ("timeout", &int),
        ("outbox_waiting", &int),
        ("outbox_dead", &int),
    ])
}

/// `expected_operations`
pub fn expected_operations() -> SchemaRef {
    let text = DataType::Utf8;
    schema(&[("service_name", &text), ("operation", &text), ("origin", &text), ("deprecated", &DataType::Boolean)])
}

/// `pipeline_definitions`
pub fn pipeline_definitions() -> SchemaRef {
    let text = DataType::Utf8;
    schema(&[
        ("process_id", &text),
        ("version", &DataType::Int64),
        ("hash", &text),
        ("exec_hash", &text),
        ("change", &text),
        ("deployed_at", &instant()),
        ("xml", &text),
    ])
}

/// Of `tables`, those that gates and pattern files may read: the others have neither window nor cut, so the same window
/// would not give the same result (gates.md 2). Of their columns, those that are listed here.
pub fn readable(tables: Vec<(String, Arc<dyn TableProvider>)>) -> Vec<(String, Arc<dyn TableProvider>)> {
    let listed: BTreeMap<String, SchemaRef> =
        empty_tables().into_iter().map(|(name, table)| (name, table.schema())).collect();
    let narrowed = |(name, table): (String, Arc<dyn TableProvider>)| {
        let columns = listed.get(&name)?;
        Some((name, Narrowed::over(table, columns)))
    };
    tables.into_iter().filter_map(narrowed).collect()
}

/// A table without those of its columns that are not listed.
#[derive(Debug)]
struct Narrowed {
    table: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// Where each column is in the table.
    places: Vec<usize>,
}

impl Narrowed {
    /// `table` itself, if all its columns are `listed`.
    fn over(table: Arc<dyn TableProvider>, listed: &SchemaRef) -> Arc<dyn TableProvider> {
        let whole = table.schema();
        let is_listed = |(_, field): &(usize, &Arc<Field>)| listed.column_with_name(field.name()).is_some();
        let (places, fields): (Vec<usize>, Vec<Arc<Field>>) =
            whole.fields().iter().enumerate().filter(is_listed).map(|(at, field)| (at, field.clone())).unzip();
        if places.len() == whole.fields().len() {
            return table;
        }
        Arc::new(Self { table, schema: Arc::new(Schema::new(fields)), places })
    }
}

#[async_trait::async_trait]
impl TableProvider for Narrowed {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let places = match projection {
            Some(kept) => kept.iter().map(|at| self.places[*at]).collect(),
            None => self.places.clone(),
        };
        self.table.scan(session, Some(&places), filters, limit).await
    }
}

/// All of them without rows, to plan against where no daemon is.
pub fn empty_tables() -> Vec<(String, Arc<dyn TableProvider>)> {
    let tables = [
        ("gate_results", gate_results()),
        ("gate_state", gate_state()),
        ("gate_transitions", gate_transitions()),
        ("gate_ticks", gate_ticks()),
        ("expected_operations", expected_operations()),
        ("pipeline_definitions", pipeline_definitions()),
    ];
    let empty = |(name, schema): (&str, SchemaRef)| -> (String, Arc<dyn TableProvider>) {
        (name.to_owned(), Arc::new(EmptyTable::new(schema)))
    };
    tables.into_iter().map(empty).collect()
}

fn instant() -> DataType {
    timestamp(TimeUnit::Nanosecond)
}

fn schema(columns: &[(&str, &DataType)]) -> SchemaRef {
    let field = |(name, of): &(&str, &DataType)| Field::new(*name, (*of).clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_daemons_tables_gates_read_those_that_have_a_window_or_a_state() {
        let empty = |name: &str| -> (String, Arc<dyn TableProvider>) {
            (name.to_owned(), Arc::new(EmptyTable::new(gate_state())))
        };
        let all = [
            "gate_state",
            "gate_episodes",
            "gate_ticks",
            "gate_outbox",
            "pipeline_runs",
            "pipeline_definitions",
            "feedback",
        ];
        let left: Vec<String> = readable(all.map(empty).to_vec()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            left,
            ["gate_state", "gate_ticks", "pipeline_definitions"],
            "the outbox changes by sending, not by ticks"
        );
    }
}
