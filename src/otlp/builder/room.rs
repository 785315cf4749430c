//! How large the columns of the request at hand have become.
//!
//! Duty: [`SpanBuilder::column_bytes`], from counts alone, so that it can be asked at each row and element: a span of
//! thirty bytes has a row as wide as any, and an event or link of two bytes an element (otlp.md B4). Guarantee: never
//! less than the finished batches will hold. Left to others: who gives the room ([`super::super::Room`]).

use super::SpanBuilder;
use super::attrs::AttrLists;
use super::intern::Interner;
use super::nested::{Events, Links};
use super::rows::Rows;
use super::shared::SharedLists;
use super::text::TextColumn;

/// Bytes that the arrays of a batch have beside their rows.
const BATCH: usize = 20 << 10;
/// A row's values in the columns of numbers, ids and indices, with the offsets of its lists and its null bits.
const ROW: usize = 140;
/// An attribute: key, type, view, integer, double, offset and null bits, with an eighth of those that batches share.
const ATTRIBUTE: usize = 45;
const LIST: usize = 4;
/// A view, and its null bit.
const TEXT: usize = 17;
/// Time and dropped count.
const EVENT: usize = 13;
/// Ids, dropped count and flags.
const LINK: usize = 33;
const WORD: usize = 4;

impl SpanBuilder {
    /// About how many bytes the columns of the request have so far.
    pub(in crate::otlp) fn column_bytes(&self) -> u64 {
        let at_hand = (BATCH + self.at_hand_bytes()).saturating_sub(self.bytes_before());
        self.made_bytes.saturating_add(at_hand as u64)
    }

    /// The same of the batch at hand, which is one of others if it has rows of theirs.
    pub(super) fn request_bytes(&self) -> u64 {
        let before = self.bytes_before();
        let of_batch = if before == 0 { BATCH } else { 0 };
        (of_batch + self.at_hand_bytes()).saturating_sub(before) as u64
    }

    /// The same of all rows of the batch at hand.
    pub(super) fn at_hand_bytes(&self) -> usize {
        let lists = self.attributes.column_bytes()
            + self.events.column_bytes()
            + self.links.column_bytes()
            + self.resource.lists.column_bytes()
            + self.scope.lists.column_bytes();
        self.rows.column_bytes() + lists
    }
}

impl Rows {
    fn column_bytes(&self) -> usize {
        let words: usize = self.words().iter().map(|column| column.words.column_bytes()).sum();
        self.len() * ROW + words + self.status_message.column_bytes() + self.trace_state.column_bytes()
    }
}

impl AttrLists {
    fn column_bytes(&self) -> usize {
        let (entries, text, lists) = self.counts();
        entries * ATTRIBUTE + text + lists * LIST + self.keys().column_bytes()
    }
}

impl Events {
    fn column_bytes(&self) -> usize {
        let (events, names) = self.counts();
        events * EVENT + names.column_bytes() + self.attributes.column_bytes()
    }
}

impl Links {
    fn column_bytes(&self) -> usize {
        let (links, trace_states) = self.counts();
        links * LINK + trace_states.column_bytes() + self.attributes.column_bytes()
    }
}

impl SharedLists {
    fn column_bytes(&self) -> usize {
        self.values().column_bytes()
    }
}

impl TextColumn {
    fn column_bytes(&self) -> usize {
        let (texts, bytes) = self.counts();
        texts * TEXT + bytes
    }
}

impl Interner {
    fn column_bytes(&self) -> usize {
        self.len() * WORD + self.text_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::otlp::{Decoded, Limits, SpanBuilder, decode_json_within, decode_within};

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend_from_slice(bytes);
        out
    }

    /// A span of the least that is accepted, and `more`.
    fn span(more: &[u8]) -> Vec<u8> {
        field(2, &[field(1, &[1; 16]), field(2, &[2; 8]), more.to_vec()].concat())
    }

    fn request(spans: &[u8]) -> Vec<u8> {
        field(1, &field(2, spans))
    }

    /// What was asked for last, and what the columns then hold.
    fn measured(decoded: Decoded, asked: u64) -> (u64, u64) {
        (asked, decoded.batches.iter().map(crate::span::SpanBatch::memory_bytes).sum())
    }

    fn of_protobuf(body: &[u8]) -> (u64, u64) {
        let mut asked = 0;
        let mut room = |bytes| {
            asked = bytes;
            Some(bytes)
        };
        let decoded = decode_within(body, &Limits::default(), &mut room, &mut SpanBuilder::new()).unwrap();
        measured(decoded, asked)
    }

    #[test]
    fn columns_are_never_larger_than_what_was_asked_for_and_not_much_smaller() {
        let repeated = |piece: &[u8], times: usize| piece.repeat(times);
        let attribute = field(9, &[]);
        let text = field(9, &[field(1, b"k"), field(2, &field(1, &[b'v'; 40]))].concat());
        let broken = field(9, &[field(1, b"k"), field(2, &field(1, &[0xff; 40]))].concat());
        let named = |n: usize| field(5, format!("a name of its own, number {n}").as_bytes());
        let names: Vec<u8> = (0..3000).flat_map(|n| span(&named(n))).collect();
        let resources: Vec<u8> = (0..2000_u32)
            .flat_map(|n| {
                let resource = field(1, &field(1, &field(1, &n.to_be_bytes().map(|byte| byte % 26 + b'a'))));
                field(1, &[resource, field(2, &span(&[]))].concat())
            })
            .collect();
        for (what, body) in [
            ("one span", request(&span(&[]))),
            ("small spans", request(&repeated(&span(&[]), 70_000))),
            ("empty attributes", request(&repeated(&span(&repeated(&attribute, 1000)), 40))),
            ("texts", request(&repeated(&span(&repeated(&text, 100)), 100))),
            ("broken texts", request(&repeated(&span(&repeated(&broken, 100)), 100))),
            ("empty events", request(&repeated(&span(&repeated(&field(11, &[]), 8000)), 10))),
            ("empty links", request(&repeated(&span(&repeated(&field(13, &[]), 8000)), 10))),
            ("names", request(&names)),
            ("resources", resources),
        ] {
            let (asked, held) = of_protobuf(&body);
            assert!(asked >= held, "{what}: {asked} asked, {held} held");
            assert!(asked <= 2 * held + (20 << 10), "{what}: {asked} asked, {held} held");
            // The reason for all this.
            let twice = 2 * body.len() as u64;
            assert!(matches!(what, "texts" | "broken texts") || held > twice, "{what}: {held} held, {twice} reserved");
        }
    }

    #[test]
    fn json_asks_as_protobuf_does() {
        let span = r#"{"traceId":"01010101010101010101010101010101","spanId":"0202020202020202","links":[{},{},{}]}"#;
        let spans = vec![span; 500].join(",");
        let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
        let mut asked = 0;
        let mut room = |bytes| {
            asked = bytes;
            Some(bytes)
        };
        let mut builder = SpanBuilder::new();
        let decoded = decode_json_within(body.as_bytes(), &Limits::default(), true, &mut room, &mut builder).unwrap();
        let json = measured(decoded, asked);
        assert_eq!(json, of_protobuf(&request(&self::span(&field(13, &[]).repeat(3)).repeat(500))));
        assert!(json.0 >= json.1, "{json:?}");
    }

    #[test]
    fn keys_of_spans_that_were_set_aside_do_not_stay() {
        let mut builder = SpanBuilder::new();
        let mut held = Vec::new();
        for at in 0..50 {
            // In an event of a span whose trace id is one byte short.
            let keys: Vec<u8> =
                (0..300).flat_map(|n| field(3, &field(1, format!("key {at} {n}").as_bytes()))).collect();
            let event = field(11, &keys);
            let bad = field(2, &[field(1, &[1; 15]), field(2, &[2; 8]), event].concat());
            let body = request(&[span(&[]), bad].concat());
            let decoded = crate::otlp::decode(&body, &Limits::default(), &mut builder).unwrap();
            assert_eq!((decoded.spans, decoded.rejected_spans()), (2, 1));
            held.push(builder.column_bytes());
        }
        assert_eq!(held[49], held[0]);
    }

    #[test]
    fn decoding_ends_where_there_is_no_room_and_the_builder_is_as_new() {
        let body = request(&span(&field(13, &[]).repeat(8000)).repeat(100));
        let mut builder = SpanBuilder::new();
        let mut most = 0;
        let mut room = |bytes: u64| {
            most = bytes;
            (bytes <= 1 << 20).then_some(bytes)
        };
        let error = decode_within(&body, &Limits::default(), &mut room, &mut builder).unwrap_err();
        assert_eq!(error.kind, crate::otlp::NO_ROOM);
        // It was asked before more than one element was added.
        assert!(most < (1 << 20) + 1000, "{most}");
        assert_eq!(builder.column_bytes(), SpanBuilder::new().column_bytes());
        let again = decode_within(&body, &Limits::default(), &mut |_| Some(u64::MAX), &mut builder).unwrap();
        assert_eq!(again.spans, 100);
    }
}
