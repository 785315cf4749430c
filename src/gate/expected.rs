//! `expected_operations` (gates.md 18): what services should emit.
//!
//! Duty: `semconv.expected` as a table. Guarantee: a service that declares nothing has no row, so it has no coverage and
//! no verdict. Left to others: what is deprecated (the registry in force, by a function), baselines.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::schema;

/// What `origin` says of a row from the configuration.
const DECLARED: &str = "declared";

/// The table of what `declared` says: service → span types and operation names. Whether one of them is a span type that
/// should no longer be used is asked anew for each statement.
pub fn expected_operations(
    declared: BTreeMap<String, Vec<String>>,
    is_deprecated: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Arc<dyn TableProvider> {
    Arc::new(Expected { declared, is_deprecated: Arc::new(is_deprecated) })
}

struct Expected {
    declared: BTreeMap<String, Vec<String>>,
    is_deprecated: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("services", &self.declared.len()).finish_non_exhaustive()
    }
}

impl Expected {
    fn rows(&self) -> Result<RecordBatch> {
        let rows = || {
            let of = |(service, operations): (&'_ String, &'_ Vec<String>)| {
                operations.iter().map(|operation| (service.clone(), operation.clone())).collect::<Vec<_>>()
            };
            self.declared.iter().flat_map(of)
        };
        let texts = |all: Vec<String>| Arc::new(StringArray::from(all));
        Ok(RecordBatch::try_new(
            self.schema(),
            vec![
                texts(rows().map(|(service, _)| service).collect()),
                texts(rows().map(|(_, operation)| operation).collect()),
                texts(rows().map(|_| DECLARED.to_owned()).collect()),
                Arc::new(rows().map(|(_, operation)| Some((self.is_deprecated)(&operation))).collect::<BooleanArray>()),
            ],
        )?)
    }
}

#[async_trait::async_trait]
impl TableProvider for Expected {
    fn schema(&self) -> SchemaRef {
        schema::expected_operations()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        MemTable::try_new(self.schema(), vec![vec![self.rows()?]])?.scan(session, projection, filters, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_declared_operation_and_says_whether_its_span_type_is_deprecated() {
        let declared = BTreeMap::from([
            ("cart".to_owned(), vec!["http.server".to_owned(), "GET /cart".to_owned()]),
            ("empty".to_owned(), Vec::new()),
        ]);
        let table = Expected { declared, is_deprecated: Arc::new(|operation| operation == "http.server") };
        let rows = table.rows().unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
        let cells: Vec<String> = shown
            .lines()
            .filter(|line| line.contains("cart") || line.contains("empty"))
            .map(|line| line.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(cells, ["cart http.server declared true", "cart GET /cart declared false"]);
    }
}
