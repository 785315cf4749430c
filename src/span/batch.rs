//! [`SpanBatch`]: a record batch that is known to have the span schema.
//!
//! Duty: the type that proves the schema once, at the edge. Guarantee: column `i` of a `SpanBatch` has the type that
//! [`schema::incoming`] gives it. Left to others: the content (`otlp` validates it).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
    TimestampNanosecondArray, new_null_array,
};

use super::{TimeRange, schema};

/// Rows of spans as they arrive: one row a span, columns of [`schema::incoming`]; once they were checked, with the
/// columns of [`schema::semconv_fields`] beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanBatch {
    spans: RecordBatch,
    semconv: Option<Arc<[ArrayRef]>>,
}

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
            return Ok(Self { spans: batch, semconv: None });
        }
        Err(SchemaMismatch { expected: describe(schema::incoming()), got: describe(batch.schema_ref()) })
    }

    /// Number of spans.
    pub fn rows(&self) -> usize {
        self.spans.num_rows()
    }

    /// The columns, in the order of [`schema::incoming`].
    pub fn as_record_batch(&self) -> &RecordBatch {
        &self.spans
    }

    /// Ids of their traces, 16 bytes each.
    pub fn trace_ids(&self) -> &FixedSizeBinaryArray {
        self.spans.column(0).as_any().downcast_ref().expect("SpanBatch::try_new checked the schema")
    }

    /// Start times in ns since 1970.
    pub fn start_times(&self) -> &TimestampNanosecondArray {
        self.spans.column(3).as_any().downcast_ref().expect("SpanBatch::try_new checked the schema")
    }

    /// Durations in ns, never negative.
    pub fn durations_ns(&self) -> &Int64Array {
        self.spans.column(4).as_any().downcast_ref().expect("SpanBatch::try_new checked the schema")
    }

    /// First and last start time; `None` without rows.
    pub fn start_range(&self) -> Option<TimeRange> {
        let starts = self.start_times().values();
        Some(TimeRange { min_ns: *starts.iter().min()?, max_ns: *starts.iter().max()? })
    }

    /// The same spans with `columns`, which are those of [`schema::semconv_fields`] in their order.
    pub fn with_semconv(self, columns: Vec<ArrayRef>) -> Result<Self, SchemaMismatch> {
        let fields = schema::semconv_fields();
        let fits = |(field, column): (&arrow::datatypes::FieldRef, &ArrayRef)| {
            field.data_type() == column.data_type() && column.len() == self.rows()
        };
        if fields.len() == columns.len() && fields.iter().zip(&columns).all(fits) {
            return Ok(Self { spans: self.spans, semconv: Some(columns.into()) });
        }
        let got: Vec<_> = columns.iter().map(|column| format!("{} × {}", column.len(), column.data_type())).collect();
        let expected = describe(&arrow::datatypes::Schema::new(fields.clone()));
        Err(SchemaMismatch { expected: format!("{} rows of {expected}", self.rows()), got: got.join(", ") })
    }

    /// The columns of [`schema::semconv_fields`], if the spans were checked.
    pub fn semconv(&self) -> Option<&[ArrayRef]> {
        self.semconv.as_deref()
    }

    /// Bytes that the columns hold in memory.
    pub fn memory_bytes(&self) -> u64 {
        let checked = self.semconv.iter().flat_map(|columns| columns.iter());
        let checked: usize = checked.map(|column| column.get_array_memory_size()).sum();
        (self.spans.get_array_memory_size() + checked) as u64
    }

    /// The same spans with another column `at`, of the type of the one there.
    pub fn with_column(&self, at: usize, column: ArrayRef) -> Result<Self, SchemaMismatch> {
        let mut columns = self.spans.columns().to_vec();
        columns[at] = column;
        let mismatch = |error: arrow::error::ArrowError| SchemaMismatch {
            expected: describe(schema::incoming()),
            got: error.to_string(),
        };
        let spans = RecordBatch::try_new(self.spans.schema(), columns).map_err(mismatch)?;
        Ok(Self { spans, semconv: self.semconv.clone() })
    }

    /// The rows with the store position `ingest_us`: columns of [`schema::stored`], those of the check null where the
    /// spans were not checked.
    pub fn with_ingest_time(&self, ingest_us: i64) -> RecordBatch {
        let rows = self.spans.num_rows();
        let mut columns = self.spans.columns().to_vec();
        let ingest = TimestampMicrosecondArray::from_value(ingest_us, rows).with_timezone("UTC");
        columns.insert(schema::INGEST_TIME_INDEX, Arc::new(ingest));
        match &self.semconv {
            Some(checked) => columns.extend(checked.iter().cloned()),
            None => {
                columns.extend(schema::semconv_fields().iter().map(|field| new_null_array(field.data_type(), rows)));
            }
        }
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
        let checked = schema::semconv_fields().iter().map(|f| new_null_array(f.data_type(), 0)).collect();
        assert_eq!(empty.clone().with_semconv(checked).unwrap().with_ingest_time(1).schema(), *schema::stored());
        let short = schema::semconv_fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect();
        assert!(empty.with_semconv(short).is_err(), "another number of rows");
        let wrong = SpanBatch::try_new(RecordBatch::new_empty(schema::stored().clone()));
        assert!(wrong.unwrap_err().to_string().contains("ingest_time"));
    }
}
