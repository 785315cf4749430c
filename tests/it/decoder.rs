//! The protobuf decoder against prost (otlp.md W18), and rule by rule.
//!
//! Duty: [`random_and_mutated_requests_read_as_prost_reads_them`]; hand-built bytes for W1 to W17 (`rules`), for the P
//! and L rows (`acceptance`) and for the columns that follow from a span (`columns`). JSON against protobuf (`json`).

mod acceptance;
mod bytes;
pub mod chance;
mod columns;
mod expected;
pub mod generate;
mod json;
mod mutate;
mod reuse;
mod rows;
mod rules;
mod shared;

use std::time::{Duration, Instant};

use prost::Message;
use weavergen::otlp::{Decoded, Limits, SpanBuilder, Undecodable, decode, encode};

use crate::proto::lossless::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest as Request;
use chance::Chance;
use expected::Expected;

/// How often each outcome was seen: a run that never accepts or never rejects has shown nothing.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    rows: u64,
    rejected: u64,
    undecodable: u64,
    /// Not compared, by the exceptions of W18.
    excepted: u64,
}

#[test]
fn random_and_mutated_requests_read_as_prost_reads_them() {
    let seconds = fuzz_seconds();
    let started = Instant::now();
    let (mut builder, mut seen) = (SpanBuilder::new(), Seen::default());
    for seed in 0.. {
        compare(seed, &mut builder, &mut seen);
        if started.elapsed() > seconds && seed > 500 {
            break;
        }
    }
    println!("{seen:?}");
    assert!(seen.rows > seen.requests / 2 && seen.rejected > seen.requests / 20, "{seen:?}");
    assert!(seen.undecodable > seen.requests / 20 && seen.excepted < seen.requests / 10, "{seen:?}");
}

#[allow(clippy::disallowed_methods, reason = "a longer run is asked for by the environment, in tests only")]
fn fuzz_seconds() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

fn compare(seed: u64, builder: &mut SpanBuilder, seen: &mut Seen) {
    let mut chance = Chance::of(seed);
    let request = generate::request(&mut chance);
    let mut limits = if chance.one_in(3) { generate::small_limits() } else { Limits::default() };
    let mut body = request.encode_to_vec();
    if chance.one_in(4) {
        check_good(seed, &body, &request, &limits, builder, seen);
    } else {
        // the size of a mutated span is not that of what prost read
        limits.max_span_bytes = usize::MAX;
        for _ in 0..=chance.below(3) {
            body = mutate::mutate(&mut chance, body);
        }
        check(seed, &body, &limits, builder, seen);
    }
}

fn check_good(seed: u64, body: &[u8], request: &Request, limits: &Limits, builder: &mut SpanBuilder, seen: &mut Seen) {
    let decoded = decode(body, limits, builder).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    compare_values(seed, &decoded, request, limits, seen);
}

fn check(seed: u64, body: &[u8], limits: &Limits, builder: &mut SpanBuilder, seen: &mut Seen) {
    let oracle = Request::decode(body);
    match (oracle, decode(body, limits, builder)) {
        (Ok(request), Ok(decoded)) => compare_values(seed, &decoded, &request, limits, seen),
        (Err(_), Err(_)) => {
            seen.requests += 1;
            seen.undecodable += 1;
        }
        (oracle, ours) => {
            seen.requests += 1;
            seen.excepted += 1;
            let is_excepted = is_excepted(oracle.as_ref().err(), &ours);
            assert!(is_excepted, "seed {seed}: prost {:?}, ours {:?}", oracle.map(drop), ours.map(|d| d.rejected));
        }
    }
}

/// W18 excepts Span 17 of another type (W6), group nesting (L12), and depth (L11): prost's own limit is 100 messages,
/// and what lies below a value that is too deep is not looked at.
fn is_excepted(oracle: Option<&prost::DecodeError>, ours: &Result<Decoded, Undecodable>) -> bool {
    let oracle = oracle.map(ToString::to_string).unwrap_or_default();
    match ours {
        Ok(decoded) => {
            let lists = oracle.matches("ArrayValue.values").count() + oracle.matches("KeyValueList.values").count();
            let is_deep = oracle.contains("recursion limit") || lists >= 32;
            oracle.contains("Span.r#type") || (is_deep && !decoded.rejected_by_reason.is_empty())
        }
        Err(error) => error.kind == "nesting",
    }
}

fn compare_values(seed: u64, decoded: &Decoded, request: &Request, limits: &Limits, seen: &mut Seen) {
    let Expected { rows, rejected, spans } = expected::of(request, limits);
    seen.requests += 1;
    seen.rows += rows.len() as u64;
    seen.rejected += rejected.len() as u64;
    let told: Vec<_> = decoded.rejected.iter().map(|r| (r.path.clone(), r.reason)).collect();
    assert_eq!(told, rejected, "seed {seed}");
    assert_eq!(decoded.spans, rows.len() + rejected.len(), "seed {seed}");
    let mut at = 0;
    let mut body = Vec::new();
    for batch in &decoded.batches {
        for mut row in rows::read(batch) {
            row.resource_key = row.resource_key.filter(|_| rows[at].resource_key.is_some());
            assert_eq!(row, rows[at], "seed {seed}, row {at}");
            at += 1;
        }
        encode(batch, &mut body);
    }
    assert_eq!(at, rows.len(), "seed {seed}");
    let back = Request::decode(body.as_slice()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let back = expected::each_span_alone(&back);
    for (ours, theirs) in back.iter().zip(&spans) {
        assert!(ours.0 == theirs.0, "seed {seed}:\n{:#?}\n{:#?}", ours.1, theirs.1);
    }
    assert_eq!(back.len(), spans.len(), "seed {seed}");
}
