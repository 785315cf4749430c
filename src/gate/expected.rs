//! `expected_operations` (gates.md 18): what services should emit.
//!
//! Duty: `semconv.expected` as a table. Guarantee: a service that declares nothing has no row, so it has no coverage and
//! no verdict. Left to others: what is deprecated (the registry in force, by a function), baselines.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::schema;
use crate::query::lazy::Lazy;

/// What `origin` says of a row from the configuration.
const DECLARED: &str = "declared";

/// The table of what `declared` says: service → span types and operation names. Whether one of them is a span type that
/// should no longer be used is asked anew for each statement.
pub fn expected_operations(
    declared: BTreeMap<String, Vec<String>>,
    is_deprecated: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Arc<dyn TableProvider> {
    let made = move || rows(&declared, &is_deprecated);
    Arc::new(Lazy::new(schema::expected_operations(), move || Box::pin(std::future::ready(made()))))
}

fn rows(declared: &BTreeMap<String, Vec<String>>, is_deprecated: &dyn Fn(&str) -> bool) -> Result<RecordBatch> {
    let all = || declared.iter().flat_map(|(service, operations)| operations.iter().map(move |of| (service, of)));
    let texts = |all: Vec<&str>| Arc::new(StringArray::from(all));
    Ok(RecordBatch::try_new(
        schema::expected_operations(),
        vec![
            texts(all().map(|(service, _)| service.as_str()).collect()),
            texts(all().map(|(_, operation)| operation.as_str()).collect()),
            texts(all().map(|_| DECLARED).collect()),
            Arc::new(all().map(|(_, operation)| Some(is_deprecated(operation))).collect::<BooleanArray>()),
        ],
    )?)
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
        let rows = rows(&declared, &|operation| operation == "http.server").unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
        let cells: Vec<String> = shown
            .lines()
            .filter(|line| line.contains("cart") || line.contains("empty"))
            .map(|line| line.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(cells, ["cart http.server declared true", "cart GET /cart declared false"]);
    }
}
