//! A builder that read other requests before reads a request as a new one does.
//!
//! Duty: resources that come again, in and across requests, and dictionaries that batches share (storage.md 3). Left to
//! others: what a request's rows are (the other files).

use std::sync::Arc;

use arrow::array::{AnyDictionaryArray, Array as _, AsArray as _};
use prost::Message as _;
use weavergen::otlp::{Decoded, Limits, SpanBuilder, decode};

use super::chance::Chance;
use super::{bytes, generate};
use crate::proto::lossless::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest as Request;
use crate::proto::lossless::opentelemetry::proto::trace::v1::ResourceSpans;

fn resources(decoded: &Decoded, batch: usize) -> &dyn AnyDictionaryArray {
    decoded.batches[batch].as_record_batch().column_by_name("resource").unwrap().as_any_dictionary()
}

fn assert_same(a: &Decoded, b: &Decoded, seed: u64) {
    let batches = |decoded: &Decoded| decoded.batches.iter().map(|b| b.as_record_batch().clone()).collect::<Vec<_>>();
    assert_eq!(batches(a), batches(b), "seed {seed}");
    assert_eq!((a.spans, &a.advisories, &a.unknown_fields), (b.spans, &b.advisories, &b.unknown_fields), "seed {seed}");
    assert_eq!(a.rejected_by_reason, b.rejected_by_reason, "seed {seed}");
}

#[test]
fn what_was_read_before_changes_no_row_and_no_count() {
    let mut rows = 0;
    for seed in 0..60 {
        let mut chance = Chance::of(seed);
        let mut pool: Vec<ResourceSpans> = Vec::new();
        while pool.len() < 12 {
            pool.extend(generate::request(&mut chance).resource_spans);
        }
        let mut reused = SpanBuilder::new();
        for step in 0..20 {
            let picked = (0..chance.below(9)).map(|_| {
                let (of, spans) = (chance.below(pool.len()), chance.below(pool.len()));
                ResourceSpans { scope_spans: pool[spans].scope_spans.clone(), ..pool[of].clone() }
            });
            let body = Request { resource_spans: picked.collect() }.encode_to_vec();
            let limits = if step % 5 == 4 { generate::small_limits() } else { Limits::default() };
            let body = if step % 7 == 6 { &body[..body.len() / 2] } else { &body[..] };
            match (decode(body, &limits, &mut reused), decode(body, &limits, &mut SpanBuilder::new())) {
                (Ok(again), Ok(first)) => {
                    rows += first.spans;
                    assert_same(&again, &first, seed);
                }
                (Err(again), Err(first)) => assert_eq!(again.to_string(), first.to_string(), "seed {seed}"),
                (again, first) => panic!("seed {seed}: {} {}", again.is_ok(), first.is_ok()),
            }
        }
    }
    assert!(rows > 1_000, "{rows}");
}

/// Resource spans with an attribute `n` of the resource and `spans` spans.
pub fn resource_spans(n: u64, spans: usize) -> Vec<u8> {
    let attribute = bytes::len(1, &[bytes::len(1, b"n"), bytes::len(2, &bytes::num(3, n))].concat());
    let span = bytes::len(2, &[bytes::len(1, &[1; 16]), bytes::len(2, &[2; 8])].concat());
    bytes::len(1, &[bytes::len(1, &attribute), bytes::len(2, &span.repeat(spans))].concat())
}

#[test]
fn batches_share_the_resources_while_no_new_one_comes() {
    let mut builder = SpanBuilder::new();
    let bodies = [[(1, 9), (2, 9)], [(2, 3), (1, 4)], [(3, 1), (1, 1)]];
    let mut values = Vec::new();
    for body in bodies {
        let body: Vec<u8> = body.into_iter().flat_map(|(n, spans)| resource_spans(n, spans)).collect();
        let decoded = decode(&body, &Limits::default(), &mut builder).unwrap();
        assert_same(&decoded, &decode(&body, &Limits::default(), &mut SpanBuilder::new()).unwrap(), 0);
        values.push(resources(&decoded, 0).values().clone());
    }
    assert!(Arc::ptr_eq(&values[0], &values[1]));
    assert_eq!((values[0].len(), values[2].len()), (2, 3), "one more is another dictionary");
}

#[test]
fn a_resource_that_was_known_survives_the_end_of_its_dictionary() {
    let mut builder = SpanBuilder::new();
    decode(&resource_spans(7, 1), &Limits::default(), &mut builder).unwrap();
    // More resources than are kept, then the known one across the end of a batch (32,768 rows).
    let mut body: Vec<u8> = (100..700).flat_map(|n| resource_spans(n, 1)).collect();
    body.extend(resource_spans(7, 33_000));
    let again = decode(&body, &Limits::default(), &mut builder).unwrap();
    assert_eq!(again.batches.len(), 2);
    assert_eq!(resources(&again, 1).values().len(), 1);
    assert_same(&again, &decode(&body, &Limits::default(), &mut SpanBuilder::new()).unwrap(), 0);
}
