//! Rows of `spans` as the tree functions read them, and their columns.
//!
//! Duty: which columns are read, and the spans in them. Guarantee: the statement and the places of its columns stand
//! beside each other. Left to others: what is made of them.

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, internal_err};

use super::gather::Batches;
use crate::query::forest::{MAX_SPANS, Span};
use crate::span::{TraceId, schema};

/// What is read of a span.
const COLUMNS: &str = "trace_id, span_id, parent_span_id, service_name, name, kind, status_code, start_time, \
                       duration_ns, ingest_time";
/// Rows of a batch that is given.
const BATCH: usize = 8192;

/// The statement that reads the spans for which `condition` holds, and one more than may be.
pub fn reading(condition: &str) -> String {
    format!("SELECT {COLUMNS} FROM spans WHERE {condition} LIMIT {}", MAX_SPANS + 1)
}

/// That of one trace: the scan finds it by the trace index.
pub fn of_trace(trace: TraceId) -> String {
    reading(&format!("trace_id = trace_id('{trace}')"))
}

/// Rows that [`reading`] gave.
#[derive(Clone, Debug)]
pub struct Rows {
    batch: RecordBatch,
}

impl Rows {
    /// All of them.
    pub fn try_new(batch: RecordBatch) -> Result<Self> {
        match batch.num_columns() == COLUMNS.split(',').count() {
            true => Ok(Self { batch }),
            false => internal_err!("these are no rows of spans"),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Ids of the traces.
    pub fn traces(&self) -> impl Iterator<Item = [u8; 16]> {
        let traces = self.batch.column(0).as_fixed_size_binary();
        (0..self.len()).map(|row| traces.value(row).try_into().expect("trace ids have 16 bytes"))
    }

    /// The spans as [`crate::query::forest`] takes them.
    pub fn spans(&self) -> Vec<Span> {
        Span::of_columns([1, 2, 7, 8, 9].map(|at| self.column(at)))
    }

    fn column(&self, at: usize) -> &ArrayRef {
        self.batch.column(at)
    }

    /// The words of a column: 3 service, 4 name, 5 kind, 6 status.
    pub fn words(&self, at: usize) -> Result<StringViewArray> {
        Ok(cast(self.column(at), &DataType::Utf8View)?.as_string_view().clone())
    }

    /// The columns `columns` of the rows `rows`, in this order.
    pub fn take(&self, rows: &[usize], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let place = |row: &usize| u32::try_from(*row).expect("there are at most a million");
        let rows = UInt32Array::from_iter_values(rows.iter().map(place));
        let taken = take_record_batch(&self.batch.project(columns)?, &rows)?;
        Ok(taken.columns().to_vec())
    }
}

/// `count` rows, batch by batch; `make` makes those of a range.
pub fn batches(count: usize, make: impl Fn(std::ops::Range<usize>) -> Result<RecordBatch> + Send + 'static) -> Batches {
    let ranges = (0..count).step_by(BATCH).map(move |from| from..count.min(from + BATCH));
    Box::new(ranges.map(make))
}

/// A column of words, as `spans` has them.
pub fn word(name: &str) -> Field {
    Field::new(name, schema::word(), true)
}

/// A column of texts.
pub fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// A column of whole numbers.
pub fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

/// A column of doubles.
pub fn double(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

/// A column of instants.
pub fn time(name: &str) -> Field {
    Field::new(name, schema::timestamp(TimeUnit::Nanosecond), true)
}

/// A column of span ids.
pub fn span_id(name: &str) -> Field {
    Field::new(name, DataType::FixedSizeBinary(8), true)
}
