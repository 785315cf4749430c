//! Requests that share a builder become the rows that each becomes alone, whoever looks at them and when.
//!
//! Duty: blocks ([`SharedBuilder`]): requests that fail or whose decoding panics among those that do not, cuts, readers
//! that end a block at any time. Left to others: what a request's rows are (the other files).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::Array as _;
use prost::Message as _;
use weavergen::otlp::{Decoded, Limits, SharedBuilder, SpanBuilder, decode, decode_within};
use weavergen::span::SpanBatch;

use super::chance::Chance;
use super::generate;
use super::reuse::resource_spans;
use crate::proto::lossless::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest as Request;
use crate::proto::lossless::opentelemetry::proto::trace::v1::ResourceSpans;

/// What a request became in a shared builder, and what it becomes in one of its own.
type Pair = (Decoded, Decoded);

fn read(body: &[u8], limits: &Limits, builder: &SharedBuilder) -> Option<Pair> {
    let shared = decode(body, limits, &mut builder.lock());
    let alone = decode(body, limits, &mut SpanBuilder::new());
    match (shared, alone) {
        (Ok(shared), Ok(alone)) => Some((shared, alone)),
        (Err(shared), Err(alone)) => {
            assert_eq!(shared.to_string(), alone.to_string());
            None
        }
        (shared, alone) => panic!("{} {}", shared.is_ok(), alone.is_ok()),
    }
}

fn assert_same((shared, alone): &Pair, of: &str) {
    // The cuts of a shared builder may be others.
    let rows = |decoded: &Decoded| {
        let batches = decoded.batches.iter().map(SpanBatch::as_record_batch).cloned().collect::<Vec<_>>();
        batches.first().map(|first| arrow::compute::concat_batches(&first.schema(), &batches).unwrap())
    };
    assert_eq!(rows(shared), rows(alone), "{of}");
    let told = |decoded: &Decoded| (decoded.spans, decoded.advisories.clone(), decoded.rejected_by_reason.clone());
    assert_eq!(told(shared), told(alone), "{of}");
    for batch in &shared.batches {
        let starts = batch.start_times();
        let starts = starts.values();
        let range = batch.start_range().map(|range| (range.min_ns, range.max_ns));
        assert_eq!(range, Some((*starts.iter().min().unwrap(), *starts.iter().max().unwrap())), "{of}");
        assert_eq!((batch.rows(), batch.trace_ids().len()), (starts.len(), starts.len()), "{of}");
    }
}

/// Reads `body` with room for a while, and then with a defect.
fn read_with_a_defect(body: &[u8], until: usize, builder: &SharedBuilder) -> bool {
    let mut asked = 0;
    let mut room = |bytes: u64| {
        asked += 1;
        assert!(asked <= until, "planned panic");
        Some(bytes)
    };
    let mut decode = || decode_within(body, &Limits::default(), &mut room, &mut builder.lock()).is_err();
    catch_unwind(AssertUnwindSafe(&mut decode)).is_err()
}

#[test]
fn each_request_has_its_own_rows_whatever_came_before_and_whoever_looked() {
    let (mut compared, mut failed, mut panicked) = (0, 0, 0);
    for seed in 0..60 {
        let mut chance = Chance::of(seed);
        let mut pool: Vec<ResourceSpans> = Vec::new();
        while pool.len() < 12 {
            pool.extend(generate::request(&mut chance).resource_spans);
        }
        let builder = SpanBuilder::shared();
        let mut kept: Vec<Pair> = Vec::new();
        for _ in 0..40 {
            let picked = (0..chance.below(9)).map(|_| pool[chance.below(pool.len())].clone());
            let body = Request { resource_spans: picked.collect() }.encode_to_vec();
            let limits = if chance.below(5) == 0 { generate::small_limits() } else { Limits::default() };
            match chance.below(8) {
                0 => failed += usize::from(read(&body[..body.len() / 2], &limits, &builder).is_none()),
                1 => panicked += usize::from(read_with_a_defect(&body, chance.below(9), &builder)),
                _ => kept.extend(read(&body, &limits, &builder)),
            }
            match chance.below(9) {
                0 => kept.clear(),
                1 if !kept.is_empty() => {
                    let gone = kept.swap_remove(chance.below(kept.len()));
                    assert_same(&gone, &format!("seed {seed}"));
                }
                2 => builder.lock().end_block(),
                _ => {}
            }
        }
        compared += kept.len();
        // The builder may go before its rows are looked at.
        drop(builder);
        kept.iter().for_each(|pair| assert_same(pair, &format!("seed {seed}")));
    }
    assert!(compared > 200 && failed > 50 && panicked > 50, "{compared} {failed} {panicked}");
}

#[test]
fn small_requests_are_one_block_until_it_is_full() {
    let builder = SpanBuilder::shared();
    let body = resource_spans(1, 100);
    let pairs: Vec<Pair> = (0..100).map(|_| read(&body, &Limits::default(), &builder).unwrap()).collect();
    let mut all: Vec<SpanBatch> = Vec::new();
    for pair in &pairs {
        let [batch] = &pair.0.batches[..] else { panic!("one batch a request") };
        match all.last().and_then(|last| last.joined(batch)) {
            Some(joined) => *all.last_mut().unwrap() = joined,
            None => all.push(batch.clone()),
        }
    }
    assert_eq!(all.iter().map(SpanBatch::rows).collect::<Vec<_>>(), [7_200, 2_800]);
    // What it holds is counted once, however many requests it is of.
    let alone: u64 = pairs.iter().map(|(_, alone)| alone.batches[0].memory_bytes()).sum();
    let shared: u64 = all.iter().map(SpanBatch::memory_bytes).sum();
    let made: u64 = all.iter().map(|batch| batch.as_record_batch().get_array_memory_size() as u64).sum();
    assert!(shared >= made && shared < alone, "{shared} counted, {made} made, {alone} alone");
    pairs.iter().for_each(|pair| assert_same(pair, "a hundred requests"));
}

#[test]
fn a_request_that_is_cut_is_rows_of_the_block_before_it_too() {
    let builder = SpanBuilder::shared();
    let before = read(&resource_spans(1, 5), &Limits::default(), &builder).unwrap();
    // A batch ends at 32,768 rows.
    let large = read(&resource_spans(2, 40_000), &Limits::default(), &builder).unwrap();
    let after = read(&resource_spans(3, 5), &Limits::default(), &builder).unwrap();
    assert_eq!(large.0.batches.iter().map(SpanBatch::rows).collect::<Vec<_>>(), [32_763, 7_237]);
    let broken = [resource_spans(4, 40_000), vec![0x0a, 0xff]].concat();
    assert!(read(&broken, &Limits::default(), &builder).is_none(), "it failed behind a cut");
    let last = read(&resource_spans(5, 5), &Limits::default(), &builder).unwrap();
    for (pair, of) in [(before, "before"), (large, "large"), (after, "after"), (last, "last")] {
        assert_same(&pair, of);
    }
}

#[test]
fn keys_of_spans_that_are_all_set_aside_end_the_block() {
    let builder = SpanBuilder::shared();
    // Trace ids of one byte, and keys that never come again.
    for at in 0..400_u32 {
        let keys = (0..2_000_u32).flat_map(|n| {
            let key = super::bytes::len(1, format!("a key of its own {at} {n}, which nobody keeps").as_bytes());
            super::bytes::len(9, &key)
        });
        let span = [super::bytes::len(1, &[1]), super::bytes::len(2, &[2; 8]), keys.collect()].concat();
        let body = super::bytes::len(1, &super::bytes::len(2, &super::bytes::len(2, &span)));
        let decoded = decode(&body, &Limits::default(), &mut builder.lock()).unwrap();
        assert_eq!((decoded.spans, decoded.batches.len()), (1, 0));
        assert!(builder.lock().block_bytes() < 5 << 20);
    }
}

#[test]
fn what_a_request_that_failed_leaves_is_counted_with_the_next_one() {
    let builder = SpanBuilder::shared();
    let first = decode(&resource_spans(1, 5), &Limits::default(), &mut builder.lock()).unwrap();
    let before = builder.lock().block_bytes();
    let keys = (0..20_000_u32).flat_map(|n| {
        let key = super::bytes::len(1, format!("a key of its own {n}, which nobody keeps").as_bytes());
        super::bytes::len(9, &key)
    });
    let span = [super::bytes::len(1, &[1; 16]), super::bytes::len(2, &[2; 8]), keys.collect()].concat();
    let whole = super::bytes::len(1, &super::bytes::len(2, &super::bytes::len(2, &span)));
    assert!(read(&[whole, vec![0x0a, 0xff]].concat(), &Limits::default(), &builder).is_none());
    let left = builder.lock().block_bytes() - before;
    assert!(left > 10_000, "words and keys stay: {left}");
    let next = decode(&resource_spans(1, 5), &Limits::default(), &mut builder.lock()).unwrap();
    assert!(next.batches[0].memory_bytes() >= left, "{} of {left}", next.batches[0].memory_bytes());
    drop(first);
}

#[test]
fn rows_that_get_a_column_of_their_own_are_counted_with_their_share_of_the_block() {
    let builder = SpanBuilder::shared();
    let batches: Vec<SpanBatch> = (0..50)
        .map(|n| {
            decode(&resource_spans(n % 7, 100), &Limits::default(), &mut builder.lock()).unwrap().batches.remove(0)
        })
        .collect();
    let bytes = |batches: &[SpanBatch]| batches.iter().map(SpanBatch::memory_bytes).sum::<u64>();
    let of_all = batches[0].as_record_batch().get_array_memory_size() as u64;
    let own = |batch: &SpanBatch| batch.clone().with_column(0, batch.as_record_batch().column(0).clone()).unwrap();
    let own: Vec<_> = batches.iter().map(own).collect();
    assert_eq!(bytes(&own), bytes(&batches));
    assert!(bytes(&own) < 2 * of_all, "{} of {of_all}", bytes(&own));
}

#[test]
fn who_looks_while_others_decode_sees_whole_rows() {
    let builder = SpanBuilder::shared();
    let ended = Arc::new(AtomicBool::new(false));
    let (send, receive) = std::sync::mpsc::sync_channel::<(u64, SpanBatch)>(64);
    let looks = std::thread::spawn(move || {
        let mut looked = 0;
        for (n, batch) in receive {
            let resources = batch.as_record_batch().column_by_name("resource_key").unwrap();
            assert_eq!(resources.len(), usize::try_from(n % 50 + 1).unwrap());
            looked += 1;
        }
        looked
    });
    let others = {
        let (builder, ended) = (builder.clone(), ended.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                decode(&resource_spans(9, 30), &Limits::default(), &mut builder.lock()).unwrap();
            }
        })
    };
    for n in 0..2_000 {
        let body = resource_spans(n % 7, usize::try_from(n % 50 + 1).unwrap());
        let decoded = decode(&body, &Limits::default(), &mut builder.lock()).unwrap();
        send.send((n, decoded.batches[0].clone())).unwrap();
    }
    drop(send);
    assert_eq!(looks.join().unwrap(), 2_000);
    ended.store(true, Ordering::Relaxed);
    others.join().unwrap();
}
