//! [`SpanBatch`]: a record batch that is known to have the span schema.
//!
//! Duty: the type that proves the schema once, at the edge. Guarantee: column `i` of a `SpanBatch` has the type that
//! [`schema::incoming`] gives it. Left to others: the content (`otlp` validates it).

use arrow::array::{
    Array, Int64Array, RecordBatch, TimestampMicrosecondArray, TimestampNanosecondArray, new_null_array,
};

use super::{TimeRange, schema};

/// Rows of spans as they arrive: one row a span, columns of [`schema::incoming`].
#[derive(Clone, Debug, PartialEq)]
pub struct SpanBatch(RecordBatch);

/// The columns offered are not those of [`schema::incoming`].
#[derive(Debug, thiserror::Error)]
#[error("not a span batch: expected the columns {expected}, got {got}")]
pub struct SchemaMismatch {
    expected: String,
    got: String,
}

impl SpanBatch {
    /// Takes a record batch whose fields equal [`schema::incoming`] (names, types, nullability, order).
    pub fn try_new(batch: RecordBatch) -> Result<Self, SchemaMismatch> {
        if batch.schema_ref().fields() == schema::incoming().fields() {
            return Ok(Self(batch));
        }
        Err(SchemaMismatch { expected: describe(schema::incoming()), got: describe(batch.schema_ref()) })
    }

    /// Number of spans.
    pub fn rows(&self) -> usize {
        self.0.num_rows()
    }

    /// The columns, in the order of [`schema::incoming`].
    pub fn as_record_batch(&self) -> &RecordBatch {
        &self.0
    }

    /// Start times in ns since 1970.
    pub fn start_times(&self) -> &TimestampNanosecondArray {
        self.0.column(3).as_any().downcast_ref().expect("SpanBatch::try_new checked the schema")
    }

    /// Durations in ns, never negative.
    pub fn durations_ns(&self) -> &Int64Array {
        self.0.column(4).as_any().downcast_ref().expect("SpanBatch::try_new checked the schema")
    }

    /// First and last start time; `None` without rows.
    pub fn start_range(&self) -> Option<TimeRange> {
        let starts = self.start_times().values();
        Some(TimeRange { min_ns: *starts.iter().min()?, max_ns: *starts.iter().max()? })
    }

    /// The rows with the store position `ingest_us` and null semantic-convention columns: columns of
    /// [`schema::stored`].
    pub fn with_ingest_time(&self, ingest_us: i64) -> RecordBatch {
        let rows = self.0.num_rows();
        let mut columns = self.0.columns().to_vec();
        let ingest = TimestampMicrosecondArray::from_value(ingest_us, rows).with_timezone("UTC");
        columns.insert(schema::INGEST_TIME_INDEX, std::sync::Arc::new(ingest));
        columns.extend(schema::semconv_fields().iter().map(|field| new_null_array(field.data_type(), rows)));
        RecordBatch::try_new(schema::stored().clone(), columns)
            .expect("incoming and stored differ by these columns only")
    }
}

fn describe(schema: &arrow::datatypes::Schema) -> String {
    let names: Vec<_> = schema.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_incoming_schema_is_a_span_batch() {
        let empty = SpanBatch::try_new(RecordBatch::new_empty(schema::incoming().clone())).unwrap();
        assert_eq!((empty.rows(), empty.start_range()), (0, None));
        assert_eq!(empty.with_ingest_time(1).schema(), *schema::stored());
        let wrong = SpanBatch::try_new(RecordBatch::new_empty(schema::stored().clone()));
        assert!(wrong.unwrap_err().to_string().contains("ingest_time"));
    }
}
