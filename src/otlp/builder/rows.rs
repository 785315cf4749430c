//! The flat columns of the batch at hand.
//!
//! Duty: one value a row for every column that is no list. Guarantee: all columns have the same length after each row.
//! Left to others: which value belongs there ([`super::SpanBuilder`]).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array, TimestampNanosecondArray,
    UInt16Array, UInt32Array, UInt64Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

use super::intern::Interner;
use super::text::{self, TextColumn};
use crate::span::TimeRange;
use crate::span::schema::word;

/// A column of few distinct texts.
#[derive(Debug)]
pub(super) struct WordColumn {
    pub(super) words: Interner,
    /// Index of the row's text, -1 for null.
    rows: Vec<i32>,
}

impl WordColumn {
    fn new() -> Self {
        Self { words: Interner::new(), rows: Vec::new() }
    }

    /// Appends the text with index `id`, or null.
    #[inline]
    pub(super) fn push(&mut self, id: Option<u32>) {
        self.rows.push(id.map_or(-1, u32::cast_signed));
    }

    fn clear(&mut self) {
        self.words.clear();
        self.rows.clear();
    }

    fn finish(&mut self) -> ArrayRef {
        let rows = &self.rows;
        let nulls = rows
            .iter()
            .any(|id| *id < 0)
            .then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), |at| rows[at] >= 0)));
        let keys = Int32Array::new(rows.iter().map(|id| (*id).max(0)).collect::<Vec<_>>().into(), nulls);
        let array = DictionaryArray::new(keys, self.words.finish(rows.len()));
        self.rows.clear();
        Arc::new(array)
    }
}

/// How far the columns were filled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    rows: usize,
    status_message: text::Mark,
    trace_state: text::Mark,
}

impl Mark {
    /// Rows up to it.
    pub(super) fn len(&self) -> usize {
        self.rows
    }
}

/// The values of one row that are numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent_span_id: Option<[u8; 8]>,
    pub(super) start_ns: i64,
    pub(super) duration_ns: i64,
    pub(super) flags: u32,
    pub(super) dropped_attributes: u32,
    pub(super) dropped_events: u32,
    pub(super) dropped_links: u32,
    pub(super) resource_key: u64,
    pub(super) resource: u32,
    pub(super) scope: u32,
    pub(super) is_entry: bool,
    pub(super) anomalies: u16,
}

/// The flat columns.
#[derive(Debug)]
pub(super) struct Rows {
    trace_ids: Vec<[u8; 16]>,
    span_ids: Vec<[u8; 8]>,
    parents: Vec<Option<[u8; 8]>>,
    starts: Vec<i64>,
    durations: Vec<i64>,
    pub(super) service_name: WordColumn,
    pub(super) name: WordColumn,
    pub(super) kind: WordColumn,
    pub(super) status_code: WordColumn,
    pub(super) status_message: TextColumn,
    pub(super) trace_state: TextColumn,
    pub(super) scope_name: WordColumn,
    pub(super) scope_version: WordColumn,
    pub(super) span_type: WordColumn,
    flags: Vec<u32>,
    dropped_attributes: Vec<u32>,
    dropped_events: Vec<u32>,
    dropped_links: Vec<u32>,
    resource_keys: Vec<u64>,
    resources: Vec<i32>,
    scopes: Vec<i32>,
    is_entry: Vec<bool>,
    anomalies: Vec<u16>,
}

/// The arrays of the flat columns, in the order of the schema with the list columns left out.
pub(super) struct Columns {
    /// `trace_id` to `resource_key`.
    pub(super) head: Vec<ArrayRef>,
    /// `is_entry` to `anomalies`.
    pub(super) tail: Vec<ArrayRef>,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            trace_ids: Vec::new(),
            span_ids: Vec::new(),
            parents: Vec::new(),
            starts: Vec::new(),
            durations: Vec::new(),
            service_name: WordColumn::new(),
            name: WordColumn::new(),
            kind: WordColumn::new(),
            status_code: WordColumn::new(),
            status_message: TextColumn::default(),
            trace_state: TextColumn::default(),
            scope_name: WordColumn::new(),
            scope_version: WordColumn::new(),
            span_type: WordColumn::new(),
            flags: Vec::new(),
            dropped_attributes: Vec::new(),
            dropped_events: Vec::new(),
            dropped_links: Vec::new(),
            resource_keys: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
            is_entry: Vec::new(),
            anomalies: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.trace_ids.len()
    }

    /// The largest dictionary among the columns of words.
    pub(super) fn distinct(&self) -> usize {
        self.words().iter().map(|column| column.words.len()).max().unwrap_or(0)
    }

    /// Appends the numbers of a row; its texts are pushed to their columns by the caller.
    #[inline]
    pub(super) fn push(&mut self, row: &Row) {
        self.trace_ids.push(row.trace_id);
        self.span_ids.push(row.span_id);
        self.parents.push(row.parent_span_id);
        self.starts.push(row.start_ns);
        self.durations.push(row.duration_ns);
        self.flags.push(row.flags);
        self.dropped_attributes.push(row.dropped_attributes);
        self.dropped_events.push(row.dropped_events);
        self.dropped_links.push(row.dropped_links);
        self.resource_keys.push(row.resource_key);
        self.resources.push(row.resource.cast_signed());
        self.scopes.push(row.scope.cast_signed());
        self.is_entry.push(row.is_entry);
        self.anomalies.push(row.anomalies);
    }

    pub(super) fn mark(&self) -> Mark {
        let (status_message, trace_state) = (self.status_message.mark(), self.trace_state.mark());
        Mark { rows: self.len(), status_message, trace_state }
    }

    /// Takes back all rows since `mark`, the last of which may have no value in some columns yet.
    pub(super) fn rollback(&mut self, mark: Mark) {
        let rows = mark.rows;
        self.trace_ids.truncate(rows);
        self.span_ids.truncate(rows);
        self.parents.truncate(rows);
        self.starts.truncate(rows);
        self.durations.truncate(rows);
        self.flags.truncate(rows);
        self.dropped_attributes.truncate(rows);
        self.dropped_events.truncate(rows);
        self.dropped_links.truncate(rows);
        self.resource_keys.truncate(rows);
        self.resources.truncate(rows);
        self.scopes.truncate(rows);
        self.is_entry.truncate(rows);
        self.anomalies.truncate(rows);
        self.status_message.rollback(mark.status_message);
        self.trace_state.rollback(mark.trace_state);
        for column in self.words_mut() {
            column.rows.truncate(rows);
        }
    }

    /// First and last start time of the rows `at`; `None` if they are none.
    pub(super) fn start_range(&self, at: Range<usize>) -> Option<TimeRange> {
        let starts = &self.starts[at];
        Some(TimeRange { min_ns: *starts.iter().min()?, max_ns: *starts.iter().max()? })
    }

    /// Indices into the dictionaries of resources and of scopes, one each a row.
    pub(super) fn shared(&mut self) -> (&mut Vec<i32>, &mut Vec<i32>) {
        (&mut self.resources, &mut self.scopes)
    }

    pub(super) fn clear(&mut self) {
        self.clear_values();
        for column in self.words_mut() {
            column.clear();
        }
    }

    fn clear_values(&mut self) {
        self.trace_ids.clear();
        self.span_ids.clear();
        self.parents.clear();
        self.starts.clear();
        self.durations.clear();
        self.flags.clear();
        self.dropped_attributes.clear();
        self.dropped_events.clear();
        self.dropped_links.clear();
        self.resource_keys.clear();
        self.resources.clear();
        self.scopes.clear();
        self.is_entry.clear();
        self.anomalies.clear();
        self.status_message.clear();
        self.trace_state.clear();
    }

    /// The arrays; empty afterwards, except the indices of [`Rows::shared`], which are taken by their lists.
    pub(super) fn finish(&mut self) -> Columns {
        let rows = self.len();
        let head = vec![
            Arc::new(ids::<16>(&self.trace_ids, None)) as ArrayRef,
            Arc::new(ids::<8>(&self.span_ids, None)),
            Arc::new(parents(&self.parents)),
            Arc::new(TimestampNanosecondArray::from(self.starts.clone()).with_timezone("UTC")),
            Arc::new(Int64Array::from(self.durations.clone())),
            self.service_name.finish(),
            self.name.finish(),
            self.kind.finish(),
            self.status_code.finish(),
            self.status_message.finish(true),
            self.trace_state.finish(true),
            self.scope_name.finish(),
            self.scope_version.finish(),
            self.span_type.finish(),
            Arc::new(UInt32Array::from(self.flags.clone())),
            Arc::new(UInt32Array::from(self.dropped_attributes.clone())),
            Arc::new(UInt32Array::from(self.dropped_events.clone())),
            Arc::new(UInt32Array::from(self.dropped_links.clone())),
            Arc::new(UInt64Array::from(self.resource_keys.clone())),
        ];
        let tail = vec![
            Arc::new(BooleanArray::from(BooleanBuffer::from(self.is_entry.as_slice()))) as ArrayRef,
            new_null_array(&word(), rows),
            Arc::new(UInt16Array::from(self.anomalies.clone())),
        ];
        // Columns of words are empty, and keep what words they may.
        self.clear_values();
        Columns { head, tail }
    }

    pub(super) fn words(&self) -> [&WordColumn; 7] {
        let Self { service_name, name, kind, status_code, scope_name, scope_version, span_type, .. } = self;
        [service_name, name, kind, status_code, scope_name, scope_version, span_type]
    }

    fn words_mut(&mut self) -> [&mut WordColumn; 7] {
        let Self { service_name, name, kind, status_code, scope_name, scope_version, span_type, .. } = self;
        [service_name, name, kind, status_code, scope_name, scope_version, span_type]
    }
}

/// Ids of `N` bytes as a column.
pub(super) fn ids<const N: usize>(ids: &[[u8; N]], nulls: Option<NullBuffer>) -> FixedSizeBinaryArray {
    let width = i32::try_from(N).expect("an id has 8 or 16 bytes");
    FixedSizeBinaryArray::try_new_with_len(width, Buffer::from_slice_ref(ids.as_flattened()), nulls, ids.len())
        .expect("the buffer holds N bytes an id")
}

fn parents(parents: &[Option<[u8; 8]>]) -> FixedSizeBinaryArray {
    let values: Vec<_> = parents.iter().map(|id| id.unwrap_or_default()).collect();
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(parents.len(), |at| parents[at].is_some()));
    ids(&values, (nulls.null_count() > 0).then_some(nulls))
}
