//! Columns to an OTLP protobuf request.
//!
//! Duty: [`encode`], the way back of `decode`. Guarantee: every field of otlp.md 9.2 and 9.3 comes back, bit-exact for
//! ids, times, numbers and bytes; equal resources and equal scopes are grouped, so only the order of spans over groups
//! and of attributes within a resource or scope may differ. An all-zero link id and an absent one are the same.
//! Left to others: sending it (`export`).

mod columns;
mod groups;
mod span;

use crate::span::SpanBatch;
use crate::span::schema::reserved;

use super::wire::{length_tag, put_bytes, put_varint};
use columns::Columns;
use groups::{ResourceGroup, group};

/// Appends the spans of `batch` to `out` as an `ExportTraceServiceRequest`.
///
/// Appending several batches gives one request of all of them, in which a resource may stand once per batch.
pub fn encode(batch: &SpanBatch, out: &mut Vec<u8>) {
    let columns = Columns::of(batch);
    for resource in group(&columns) {
        put_message(out, 1, |out| put_resource_spans(out, &columns, &resource));
    }
}

fn put_resource_spans(out: &mut Vec<u8>, columns: &Columns<'_>, resource: &ResourceGroup) {
    out.extend_from_slice(&resource.head);
    for scope in &resource.scopes {
        put_message(out, 2, |out| {
            out.extend_from_slice(&scope.head);
            for row in &scope.rows {
                put_message(out, 2, |out| span::put_span(out, columns, *row));
            }
        });
    }
}

/// Appends a message field whose content `write` appends.
fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(length_tag(field)));
    // most messages are short: room for a length of one byte, more is made when it turns out to be needed
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    let mut prefix = Vec::with_capacity(10);
    put_varint(&mut prefix, len as u64);
    if let [byte] = prefix[..] {
        out[at] = byte;
    } else {
        out.splice(at..=at, prefix);
    }
}

/// Appends a text field; an empty one is the same as none.
fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

/// The key as it was sent: reserved keys are ours, and the `_` that escaped a sender's is taken off.
fn sent_key(key: &str) -> Option<&str> {
    if key.starts_with(reserved::PREFIX) {
        return None;
    }
    let is_escaped = key.starts_with('_') && key.trim_start_matches('_').starts_with(reserved::PREFIX);
    Some(if is_escaped { &key[1..] } else { key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_any_size_stands_before_its_message() {
        for len in [0usize, 1, 127, 128, 16_383, 16_384] {
            let mut out = vec![9];
            put_message(&mut out, 2, |out| out.extend(std::iter::repeat_n(7, len)));
            let mut expected = vec![9, 0x12];
            put_varint(&mut expected, len as u64);
            expected.extend(std::iter::repeat_n(7, len));
            assert!(out == expected, "{len}");
        }
    }

    #[test]
    fn senders_keys_lose_the_underscore_that_escaped_them() {
        let keys = ["wg.end_time", "_wg.end_time", "__wg.x", "_x", "wgx", "__wgx", ""];
        let sent = keys.map(sent_key);
        assert_eq!(sent, [None, Some("wg.end_time"), Some("_wg.x"), Some("_x"), Some("wgx"), Some("__wgx"), Some("")]);
    }
}
