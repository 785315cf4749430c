//! The table `system.settings` (sql.md 4).
//!
//! Duty: the settings in force as rows. Guarantee: they are those of this start; what may be a secret was left out before
//! they came here (`config::Setting`). Left to others: settings of the engine, which nobody may see.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;

use crate::config::Setting;
use crate::query::lazy::{Lazy, Rows};

/// The table with its name: `name`, `value`, and `source`: `file:line:column`, a flag, or `default`.
pub(super) fn table(settings: &[Setting]) -> (String, Arc<dyn TableProvider>) {
    let column =
        |of: fn(&Setting) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(settings.iter().map(of))) };
    let fields = ["name", "value", "source"].map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let columns = vec![column(|of| &of.name), column(|of| &of.value), column(|of| &of.source)];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("three columns of texts, one of each setting");
    let rows = move || -> Rows { Box::pin(std::future::ready(Ok(batch.clone()))) };
    ("system.settings".to_owned(), Arc::new(Lazy::new(schema, rows)))
}
