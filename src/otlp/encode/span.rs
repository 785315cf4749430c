//! Spans, events, links and attributes as messages.
//!
//! Duty: the fields of one row. Guarantee: what is absent or zero is not written, as every encoder does; values of
//! attributes always are. Left to others: grouping.

use super::columns::{Attrs, Columns, text};
use super::{put_message, put_text, sent_key};
use crate::otlp::builder::{KINDS, STATUS_CODES, Value};
use crate::otlp::wire::{put_bytes, put_fixed32, put_fixed64, put_varint_field};
use crate::span::schema::reserved;

pub(super) fn put_span(out: &mut Vec<u8>, columns: &Columns<'_>, row: usize) {
    put_bytes(out, 1, columns.trace_id.value(row));
    put_bytes(out, 2, columns.span_id.value(row));
    put_text(out, 3, text(columns.trace_state, row));
    if arrow::array::Array::is_valid(columns.parent_span_id, row) {
        put_bytes(out, 4, columns.parent_span_id.value(row));
    }
    put_text(out, 5, columns.name.get(row));
    put_number(out, 6, int32(number(&KINDS, columns.kind.get(row))));
    let start = columns.start_time[row];
    let end = match columns.attributes.reserved(row, reserved::END_TIME) {
        Some(Value::Int(end)) => end,
        _ => start.wrapping_add(columns.duration_ns.value(row)),
    };
    put_time(out, 7, start);
    put_time(out, 8, end);
    put_attributes(out, 9, &columns.attributes, row);
    put_number(out, 10, u64::from(columns.dropped_attributes.value(row)));
    for event in columns.events.range(row) {
        put_message(out, 11, |out| {
            put_time(out, 1, columns.events.time[event]);
            put_text(out, 2, columns.events.name.value(event));
            put_attributes(out, 3, &columns.events.attributes, event);
            put_number(out, 4, u64::from(columns.events.dropped.value(event)));
        });
    }
    put_number(out, 12, u64::from(columns.dropped_events.value(row)));
    for link in columns.links.range(row) {
        put_message(out, 13, |out| put_link(out, columns, link));
    }
    put_number(out, 14, u64::from(columns.dropped_links.value(row)));
    let (message, code) = (text(columns.status_message, row), number(&STATUS_CODES, columns.status_code.get(row)));
    if !message.is_empty() || code != 0 {
        put_message(out, 15, |out| {
            put_text(out, 2, message);
            put_number(out, 3, int32(code));
        });
    }
    put_flags(out, 16, columns.flags.value(row));
    // Y4: field 17 only if it was received in field 17
    if let Some(Value::Text(of)) = columns.attributes.reserved(row, reserved::SPAN_TYPE) {
        put_bytes(out, 17, of);
    }
}

fn put_link(out: &mut Vec<u8>, columns: &Columns<'_>, link: usize) {
    let links = &columns.links;
    for (field, id) in [(1, links.trace_id.value(link)), (2, links.span_id.value(link))] {
        if id.iter().any(|byte| *byte != 0) {
            put_bytes(out, field, id);
        }
    }
    put_text(out, 3, text(links.trace_state, link));
    put_attributes(out, 4, &links.attributes, link);
    put_number(out, 5, u64::from(links.dropped.value(link)));
    put_flags(out, 6, links.flags.value(link));
}

/// The attributes of a list as KeyValue messages, without reserved ones.
pub(super) fn put_attributes(out: &mut Vec<u8>, field: u32, lists: &Attrs<'_>, at: usize) {
    let sent = lists.list(at).filter_map(|(key, value)| Some((sent_key(key)?, value)));
    for (key, value) in sent {
        put_message(out, field, |out| {
            put_text(out, 1, key);
            if value != Value::Empty {
                put_message(out, 2, |out| put_value(out, value));
            }
        });
    }
}

fn put_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Empty => {}
        Value::Text(text) => put_bytes(out, 1, text),
        Value::Bool(bool) => put_varint_field(out, 2, u64::from(bool)),
        Value::Int(int) => put_varint_field(out, 3, int.cast_unsigned()),
        Value::Double(double) => put_fixed64(out, 4, double.to_bits()),
        Value::Bytes(bytes) => put_bytes(out, 7, bytes),
        Value::Array { proto, .. } | Value::Kvlist { proto, .. } => out.extend_from_slice(proto),
    }
}

/// The number that a word of the columns `kind` and `status_code` stands for.
fn number(known: &[&str], word: &str) -> i32 {
    let at = known.iter().position(|known| *known == word);
    let unknown = || word.split_once('_').and_then(|(_, number)| number.parse().ok());
    at.and_then(|at| i32::try_from(at).ok()).or_else(unknown).unwrap_or(0)
}

/// int32 and enums are sign-extended on the wire.
fn int32(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_varint_field(out, field, value);
    }
}

fn put_time(out: &mut Vec<u8>, field: u32, nanos: i64) {
    if nanos != 0 {
        put_fixed64(out, field, nanos.cast_unsigned());
    }
}

fn put_flags(out: &mut Vec<u8>, field: u32, flags: u32) {
    if flags != 0 {
        put_fixed32(out, field, flags);
    }
}
