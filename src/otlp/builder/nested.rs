//! Events and links of the batch at hand.
//!
//! Duty: their flat values, with the attribute lists of their level. Guarantee: one attribute list an event or link.
//! Left to others: limits and validation ([`super::SpanBuilder`]).

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, ListArray, StructArray, TimestampNanosecondArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef};

use super::attrs::{self, AttrLists};
use super::intern::offset;
use super::rows::ids;
use super::text::{self, TextColumn};
use crate::span::schema::{event_item, link_item};

/// What lists of a batch hold that has no events, or no links.
static NO_EVENTS: LazyLock<ArrayRef> = LazyLock::new(|| new_empty_array(event_item().data_type()));
static NO_LINKS: LazyLock<ArrayRef> = LazyLock::new(|| new_empty_array(link_item().data_type()));

/// The events of the batch at hand.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) attributes: AttrLists,
    times: Vec<i64>,
    names: TextColumn,
    dropped: Vec<u32>,
    ends: Vec<i32>,
}

/// The links of the batch at hand.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) attributes: AttrLists,
    trace_ids: Vec<[u8; 16]>,
    span_ids: Vec<[u8; 8]>,
    trace_states: TextColumn,
    dropped: Vec<u32>,
    flags: Vec<u32>,
    ends: Vec<i32>,
}

/// How far events or links were filled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) attributes: attrs::Mark,
    text: text::Mark,
    items: usize,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            attributes: AttrLists::new(),
            times: Vec::new(),
            names: TextColumn::default(),
            dropped: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Closes an event over the attributes appended since the last; `true` if its name was repaired.
    pub(super) fn push(&mut self, time_ns: i64, name: &[u8], dropped: u32) -> bool {
        self.attributes.close();
        self.times.push(time_ns);
        self.dropped.push(dropped);
        self.names.push(name)
    }

    pub(super) fn close_row(&mut self) {
        self.ends.push(offset(self.times.len()).cast_signed());
    }

    /// Events so far, and their names.
    pub(super) fn counts(&self) -> (usize, &TextColumn) {
        (self.times.len(), &self.names)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { attributes: self.attributes.mark(), text: self.names.mark(), items: self.times.len() }
    }

    pub(super) fn rollback(&mut self, mark: Mark) {
        self.attributes.rollback(mark.attributes);
        self.names.rollback(mark.text);
        self.times.truncate(mark.items);
        self.dropped.truncate(mark.items);
    }

    /// The same, with the lists of all rows but the first `rows`.
    pub(super) fn rollback_rows(&mut self, mark: Mark, rows: usize) {
        self.rollback(mark);
        self.ends.truncate(rows);
    }

    pub(super) fn clear(&mut self) {
        self.attributes.clear();
        self.clear_values();
    }

    fn clear_values(&mut self) {
        self.names.clear();
        self.times.clear();
        self.dropped.clear();
        self.ends.clear();
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        if self.times.is_empty() {
            let array = lists(event_item(), NO_EVENTS.clone(), &self.ends);
            self.attributes.begin_batch_without();
            self.ends.clear();
            return array;
        }
        let columns = vec![
            Arc::new(TimestampNanosecondArray::from(self.times.clone()).with_timezone("UTC")) as ArrayRef,
            self.names.finish(false),
            Arc::new(self.attributes.finish()),
            Arc::new(UInt32Array::from(self.dropped.clone())),
        ];
        let array = lists(event_item(), structs(&event_item(), columns), &self.ends);
        self.clear_values();
        array
    }
}

impl Links {
    pub(super) fn new() -> Self {
        Self {
            attributes: AttrLists::new(),
            trace_ids: Vec::new(),
            span_ids: Vec::new(),
            trace_states: TextColumn::default(),
            dropped: Vec::new(),
            flags: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Closes a link over the attributes appended since the last; `true` if its trace state was repaired.
    pub(super) fn push(&mut self, ids: ([u8; 16], [u8; 8]), trace_state: &[u8], dropped: u32, flags: u32) -> bool {
        self.attributes.close();
        self.trace_ids.push(ids.0);
        self.span_ids.push(ids.1);
        self.dropped.push(dropped);
        self.flags.push(flags);
        self.trace_states.push(trace_state)
    }

    pub(super) fn close_row(&mut self) {
        self.ends.push(offset(self.span_ids.len()).cast_signed());
    }

    /// Links so far, and their trace states.
    pub(super) fn counts(&self) -> (usize, &TextColumn) {
        (self.span_ids.len(), &self.trace_states)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { attributes: self.attributes.mark(), text: self.trace_states.mark(), items: self.span_ids.len() }
    }

    pub(super) fn rollback(&mut self, mark: Mark) {
        self.attributes.rollback(mark.attributes);
        self.trace_states.rollback(mark.text);
        self.trace_ids.truncate(mark.items);
        self.span_ids.truncate(mark.items);
        self.dropped.truncate(mark.items);
        self.flags.truncate(mark.items);
    }

    /// The same, with the lists of all rows but the first `rows`.
    pub(super) fn rollback_rows(&mut self, mark: Mark, rows: usize) {
        self.rollback(mark);
        self.ends.truncate(rows);
    }

    pub(super) fn clear(&mut self) {
        self.attributes.clear();
        self.clear_values();
    }

    fn clear_values(&mut self) {
        self.trace_states.clear();
        self.trace_ids.clear();
        self.span_ids.clear();
        self.dropped.clear();
        self.flags.clear();
        self.ends.clear();
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        if self.span_ids.is_empty() {
            let array = lists(link_item(), NO_LINKS.clone(), &self.ends);
            self.attributes.begin_batch_without();
            self.ends.clear();
            return array;
        }
        let columns = vec![
            Arc::new(ids::<16>(&self.trace_ids, None)) as ArrayRef,
            Arc::new(ids::<8>(&self.span_ids, None)),
            self.trace_states.finish(true),
            Arc::new(self.attributes.finish()),
            Arc::new(UInt32Array::from(self.dropped.clone())),
            Arc::new(UInt32Array::from(self.flags.clone())),
        ];
        let array = lists(link_item(), structs(&link_item(), columns), &self.ends);
        self.clear_values();
        array
    }
}

fn structs(item: &FieldRef, columns: Vec<ArrayRef>) -> ArrayRef {
    let DataType::Struct(fields) = item.data_type() else { unreachable!("events and links are structs") };
    Arc::new(StructArray::new(fields.clone(), columns, None))
}

fn lists(item: FieldRef, values: ArrayRef, ends: &[i32]) -> ArrayRef {
    let offsets = OffsetBuffer::new(std::iter::once(0).chain(ends.iter().copied()).collect::<Vec<_>>().into());
    Arc::new(ListArray::new(item, offsets, values, None))
}
