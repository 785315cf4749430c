//! `pipeline_runs`, `pipeline_steps`, `pipeline_incidents`, `pipeline_definitions` for statements (bpmn.md 15).
//!
//! Duty: table providers over the engine's file. Guarantee: a statement reads what is committed when it first scans the
//! table; ids of traces and spans have the types that `spans` gives them, so that they join. Left to others: the rows
//! (`tables`).

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, FixedSizeBinaryBuilder, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::Store;
use super::tables::Table;
use super::wanted::Wanted;

/// All tables of the engine by name, for the query gateway.
pub fn providers(store: &Store) -> Vec<(String, Arc<dyn TableProvider>)> {
    let provider = |table: Table| -> (String, Arc<dyn TableProvider>) {
        (table.name().to_owned(), Arc::new(EngineTable { table, store: store.clone(), schema: schema(table) }))
    };
    Table::ALL.into_iter().map(provider).collect()
}

#[derive(Debug)]
struct EngineTable {
    table: Table,
    store: Store,
    schema: SchemaRef,
}

#[async_trait::async_trait]
impl TableProvider for EngineTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match self.table {
            Table::Runs | Table::Steps if Wanted::knows(filter) => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (table, store, schema) = (self.table, self.store.clone(), self.schema.clone());
        let wanted = Wanted::of(filters);
        let read = tokio::task::spawn_blocking(move || {
            let rows = table.rows(&store, &wanted).map_err(|error| DataFusionError::External(Box::new(error)))?;
            with_ids(&rows, schema)
        });
        let rows = read.await.map_err(|error| DataFusionError::External(Box::new(error)))??;
        MemTable::try_new(self.schema(), vec![vec![rows]])?.scan(session, projection, &[], limit).await
    }
}

/// Bytes of the ids that `spans` has as binary.
fn width(column: &str) -> Option<i32> {
    match column {
        "trace_id" => Some(16),
        "span_id" => Some(8),
        _ => None,
    }
}

fn schema(table: Table) -> SchemaRef {
    let field = |field: &Arc<Field>| match width(field.name()) {
        Some(width) => Field::new(field.name(), DataType::FixedSizeBinary(width), field.is_nullable()),
        None => field.as_ref().clone(),
    };
    Arc::new(Schema::new(table.schema().fields().iter().map(field).collect::<Vec<_>>()))
}

/// The rows with hex ids as bytes.
fn with_ids(rows: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        match (width(field.name()), column.as_string_opt::<i32>()) {
            (Some(width), Some(hex)) => bytes(hex, width),
            _ => Ok(column.clone()),
        }
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<_>>>()?)?)
}

fn bytes(hex: &StringArray, width: i32) -> Result<ArrayRef> {
    let mut ids = FixedSizeBinaryBuilder::with_capacity(hex.len(), width);
    for text in hex {
        match text.map(from_hex) {
            Some(Some(id)) => ids.append_value(id)?,
            Some(None) => return Err(DataFusionError::Internal("an id of the engine is no hex".to_owned())),
            None => ids.append_null(),
        }
    }
    Ok(Arc::new(ids.finish()))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if digits.len().is_multiple_of(2) { digits.chunks(2).map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_the_columns_of_the_specification() {
        let names = |table: Table| {
            schema(table).fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(", ")
        };
        let expected = [
            "run, process_id, version, hash, state, error_code, started_at, ended_at, gate, key, episode, incidents, \
             parent_run, trace_id",
            "run, process_id, element_id, element_type, name, element_key, scope_key, state, attempts, started_at, \
             ended_at, span_id",
            "incident, run, process_id, element_id, element_key, kind, message, expression, count, since",
            "process_id, version, hash, exec_hash, change, deployed_at, xml",
        ];
        assert_eq!(Table::ALL.map(names), expected.map(str::to_owned));
    }

    #[test]
    fn keys_are_bigint_times_have_nanoseconds_and_ids_join_those_of_spans() {
        for table in Table::ALL {
            for field in schema(table).fields() {
                let expected = match field.name().as_str() {
                    "run" | "version" | "episode" | "incidents" | "parent_run" | "element_key" | "scope_key"
                    | "attempts" | "incident" | "count" => "Int64",
                    "started_at" | "ended_at" | "since" | "deployed_at" => "Timestamp(ns, \"UTC\")",
                    "trace_id" => "FixedSizeBinary(16)",
                    "span_id" => "FixedSizeBinary(8)",
                    _ => "Utf8",
                };
                assert_eq!(field.data_type().to_string(), expected, "{}", field.name());
            }
        }
    }

    #[test]
    fn an_id_that_is_no_hex_is_an_error_and_not_a_wrong_id() {
        let good = StringArray::from(vec![Some("00ff00ff00ff00ff"), None]);
        let ids = bytes(&good, 8).unwrap();
        let ids = ids.as_fixed_size_binary();
        assert_eq!(ids.value(0), [0, 255, 0, 255, 0, 255, 0, 255]);
        assert!(ids.is_null(1));
        for bad in ["0", "zz", "00ff"] {
            assert!(bytes(&StringArray::from(vec![bad]), 8).is_err(), "{bad}");
        }
    }
}
