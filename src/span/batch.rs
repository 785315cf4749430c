//! [`SpanBatch`]: a record batch that is known to have the span schema.
//!
//! Duty: the type that proves the schema once, at the edge. Guarantee: column `i` of a `SpanBatch` has the type that
//! [`schema::incoming`] gives it. Left to others: the content (`otlp` validates it).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
    TimestampNanosecondArray, new_null_array,
};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};

use super::block::{Block, Shared};
use super::check::Checker;
use super::{TimeRange, schema};

/// Rows of spans as they arrive: one row a span, columns of [`schema::incoming`]; once they were checked, with the
/// columns of [`schema::semconv_fields`] beside them.
#[derive(Clone, Debug)]
pub struct SpanBatch {
    spans: Spans,
    semconv: Semconv,
    /// What rows of a block that have columns of their own are counted with: their arrays are cut from those of all.
    share: Option<u64>,
}

/// The columns of [`schema::semconv_fields`].
#[derive(Clone, Debug)]
enum Semconv {
    None,
    Made(Arc<[ArrayRef]>),
    /// Made of rows of a block when somebody asks.
    Of(Checker),
}

/// Bytes of a row in the columns of [`schema::semconv_fields`], about.
const SEMCONV_ROW: u64 = 48;

#[derive(Clone, Debug)]
enum Spans {
    Own(RecordBatch),
    Shared(Shared),
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
            return Ok(Self { spans: Spans::Own(batch), semconv: Semconv::None, share: None });
        }
        Err(SchemaMismatch { expected: describe(schema::incoming()), got: describe(batch.schema_ref()) })
    }

    /// The rows `at` of `block`, one at least, which start within `starts` and hold about `bytes` of memory.
    pub fn shared(block: Arc<Block>, at: Range<usize>, starts: TimeRange, bytes: u64) -> Self {
        Self { spans: Spans::Shared(Shared::new(block, at, starts, bytes)), semconv: Semconv::None, share: None }
    }

    /// These rows and those of `next`, if they follow them in the same block and are checked alike.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let (Spans::Shared(first), Spans::Shared(second)) = (&self.spans, &next.spans) else { return None };
        match (&self.semconv, &next.semconv) {
            (Semconv::None, Semconv::None) => {}
            (Semconv::Of(first), Semconv::Of(second)) if first.is(second) => {}
            _ => return None,
        }
        Some(Self { spans: Spans::Shared(first.joined(second)?), semconv: self.semconv.clone(), share: None })
    }

    /// Number of spans.
    pub fn rows(&self) -> usize {
        match &self.spans {
            Spans::Own(batch) => batch.num_rows(),
            Spans::Shared(shared) => shared.len(),
        }
    }

    /// The columns, in the order of [`schema::incoming`].
    pub fn as_record_batch(&self) -> &RecordBatch {
        match &self.spans {
            Spans::Own(batch) => batch,
            Spans::Shared(shared) => shared.rows(),
        }
    }

    fn column(&self, at: usize) -> ArrayRef {
        match &self.spans {
            Spans::Own(batch) => batch.column(at).clone(),
            Spans::Shared(shared) => shared.column(at),
        }
    }

    /// Ids of their traces, 16 bytes each.
    pub fn trace_ids(&self) -> FixedSizeBinaryArray {
        self.column(0).as_fixed_size_binary().clone()
    }

    /// Start times in ns since 1970.
    pub fn start_times(&self) -> TimestampNanosecondArray {
        self.column(3).as_primitive::<TimestampNanosecondType>().clone()
    }

    /// Durations in ns, never negative.
    pub fn durations_ns(&self) -> Int64Array {
        self.column(4).as_primitive::<Int64Type>().clone()
    }

    /// First and last start time; `None` without rows.
    pub fn start_range(&self) -> Option<TimeRange> {
        if let Spans::Shared(shared) = &self.spans {
            return Some(shared.starts);
        }
        let starts = self.start_times();
        let starts = starts.values();
        Some(TimeRange { min_ns: *starts.iter().min()?, max_ns: *starts.iter().max()? })
    }

    /// The same spans with `columns`, which are those of [`schema::semconv_fields`] in their order.
    pub fn with_semconv(self, columns: Vec<ArrayRef>) -> Result<Self, SchemaMismatch> {
        self.fits(&columns)?;
        let spans = Spans::Own(self.as_record_batch().clone());
        let share = self.share().map(|bytes| bytes + SEMCONV_ROW * self.rows() as u64);
        Ok(Self { spans, semconv: Semconv::Made(columns.into()), share })
    }

    /// Whether `columns` are those of [`schema::semconv_fields`] in their order, for as many rows.
    pub fn fits(&self, columns: &[ArrayRef]) -> Result<(), SchemaMismatch> {
        let fields = schema::semconv_fields();
        let fits = |(field, column): (&arrow::datatypes::FieldRef, &ArrayRef)| {
            field.data_type() == column.data_type() && column.len() == self.rows()
        };
        if fields.len() == columns.len() && fields.iter().zip(columns).all(fits) {
            return Ok(());
        }
        let got: Vec<_> = columns.iter().map(|column| format!("{} × {}", column.len(), column.data_type())).collect();
        let expected = describe(&arrow::datatypes::Schema::new(fields.clone()));
        Err(SchemaMismatch { expected: format!("{} rows of {expected}", self.rows()), got: got.join(", ") })
    }

    /// The same spans as `checker` checks them: at once, and rows of a block when somebody asks, together with the others.
    #[must_use]
    pub fn checked_by(self, checker: Checker) -> Self {
        let semconv = match &self.spans {
            Spans::Own(_) => checker.columns(&self).map_or(Semconv::None, Semconv::Made),
            Spans::Shared(_) => Semconv::Of(checker),
        };
        Self { spans: self.spans, semconv, share: self.share }
    }

    /// The columns of [`schema::semconv_fields`], if the spans were checked.
    pub fn semconv(&self) -> Option<Arc<[ArrayRef]>> {
        match (&self.semconv, &self.spans) {
            (Semconv::None, _) => None,
            (Semconv::Made(columns), _) => Some(columns.clone()),
            (Semconv::Of(checker), Spans::Shared(shared)) => shared.checked(checker),
            (Semconv::Of(checker), Spans::Own(_)) => checker.columns(self),
        }
    }

    /// Bytes that the columns hold in memory; of rows of a block about their share.
    pub fn memory_bytes(&self) -> u64 {
        if let Some(share) = self.share {
            return share;
        }
        let checked = match &self.semconv {
            Semconv::None => 0,
            Semconv::Made(columns) => columns.iter().map(|column| column.get_array_memory_size() as u64).sum(),
            Semconv::Of(_) => SEMCONV_ROW * self.rows() as u64,
        };
        let spans = match &self.spans {
            Spans::Own(batch) => batch.get_array_memory_size() as u64,
            Spans::Shared(shared) => shared.bytes,
        };
        spans + checked
    }

    /// What the rows are counted with once they have columns of their own.
    fn share(&self) -> Option<u64> {
        matches!(self.spans, Spans::Shared(_)).then(|| self.memory_bytes()).or(self.share)
    }

    /// The same spans with another column `at`, of the type of the one there.
    pub fn with_column(&self, at: usize, column: ArrayRef) -> Result<Self, SchemaMismatch> {
        let spans = self.as_record_batch();
        let mut columns = spans.columns().to_vec();
        columns[at] = column;
        let mismatch = |error: arrow::error::ArrowError| SchemaMismatch {
            expected: describe(schema::incoming()),
            got: error.to_string(),
        };
        let spans = RecordBatch::try_new(spans.schema(), columns).map_err(mismatch)?;
        let semconv = self.semconv().map_or(Semconv::None, Semconv::Made);
        Ok(Self { spans: Spans::Own(spans), semconv, share: self.share() })
    }

    /// The rows with the store position `ingest_us`: columns of [`schema::stored`], those of the check null where the
    /// spans were not checked.
    pub fn with_ingest_time(&self, ingest_us: i64) -> RecordBatch {
        self.with_ingest_times(TimestampMicrosecondArray::from_value(ingest_us, self.rows()))
    }

    /// The same with a position for each row.
    pub fn with_ingest_times(&self, ingest_us: TimestampMicrosecondArray) -> RecordBatch {
        let rows = self.rows();
        let mut columns = self.as_record_batch().columns().to_vec();
        columns.insert(schema::INGEST_TIME_INDEX, Arc::new(ingest_us.with_timezone("UTC")));
        match self.semconv() {
            Some(checked) => columns.extend(checked.iter().cloned()),
            None => {
                columns.extend(schema::semconv_fields().iter().map(|field| new_null_array(field.data_type(), rows)));
            }
        }
        RecordBatch::try_new(schema::stored().clone(), columns)
            .expect("incoming and stored differ by these columns only")
    }
}

impl PartialEq for SpanBatch {
    fn eq(&self, other: &Self) -> bool {
        self.as_record_batch() == other.as_record_batch() && self.semconv() == other.semconv()
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
