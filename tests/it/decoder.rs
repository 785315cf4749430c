//! The two readers of trace requests against generated structs (otlp.md W18, section 11).
//!
//! Requests are random over every field, then mutated; `FUZZ_SECONDS` says how long (10 by default) and `FUZZ_SEED`
//! where to begin.

mod generate;
mod json;
mod mutate;
mod oracle;
mod row;

use std::time::{Duration, Instant};

use prost::Message as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use weavergen::otlp::{Decoded, Limits, SpanBuilder, decode, decode_json};

#[allow(clippy::all, dead_code, missing_docs, reason = "generated; not every message is used")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
}

use proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

#[allow(clippy::disallowed_methods, reason = "how long a test runs is no setting of the program")]
fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares one body; says whether both sides accepted it.
fn agree(body: &[u8], builder: &mut SpanBuilder, seed: u64) -> bool {
    let ours = decode(body, &Limits::fixed(), builder);
    let theirs = match ExportTraceServiceRequest::decode(body) {
        Ok(request) => request,
        Err(error) => {
            let error = error.to_string();
            // W14: we repair text. W6, Y2: field 17 of another type is unknown to us. L12: groups may be deeper there.
            let by_rule = error.contains("not UTF-8") || error.contains("Span.r#type") || error.contains("Span.type");
            assert!(by_rule || ours.is_err(), "seed {seed}: they say {error}, we accept {}", hex(body));
            return false;
        }
    };
    let ours = match ours {
        Ok(decoded) => decoded,
        Err(error) => panic!("seed {seed}: they accept, we say {error}: {}", hex(body)),
    };
    let expected = oracle::rows(&theirs);
    let rejected: Vec<_> = ours.rejected.iter().map(|r| (r.path.clone(), r.reason)).collect();
    assert_eq!(rejected, expected.rejected, "seed {seed}: {}", hex(body));
    let rows = row::rows(&ours);
    assert_eq!(rows.len(), expected.rows.len(), "seed {seed}: {}", hex(body));
    for (ours, theirs) in rows.iter().zip(&expected.rows) {
        assert_eq!(ours, theirs, "seed {seed}: {}", hex(body));
    }
    true
}

#[test]
fn the_reader_agrees_with_generated_structs_on_random_and_mutated_requests() {
    let deadline = Instant::now() + Duration::from_secs(from_env("FUZZ_SECONDS", 10));
    let (mut builder, mut spans, mut accepted, mut refused) = (SpanBuilder::new(), 0, 0, 0);
    for seed in from_env("FUZZ_SEED", 0).. {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let request = generate::request(&mut rng);
        spans += request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum::<usize>();
        let body = request.encode_to_vec();
        assert!(agree(&body, &mut builder, seed), "a generated request is valid");
        for _ in 0..20 {
            let mutated = mutate::mutate(&mut rng, &body);
            if agree(&mutated, &mut builder, seed) { accepted += 1 } else { refused += 1 }
        }
        if Instant::now() > deadline {
            break;
        }
    }
    assert!(spans > 100 && accepted > 100 && refused > 100, "{spans} spans, {accepted} accepted, {refused} refused");
}

#[test]
fn json_gives_the_same_batches_as_protobuf() {
    let mut builder = SpanBuilder::new();
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let request = generate::request(&mut rng);
        let text = json::render(&mut rng, &request);
        let limits = Limits::fixed();
        let from_json = decode_json(text.as_bytes(), &limits, true, &mut builder)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}: {text}"));
        let from_protobuf = decode(&request.encode_to_vec(), &limits, &mut builder).unwrap();
        assert_eq!(row::rows(&from_json), row::rows(&from_protobuf), "seed {seed}: {text}");
        assert_eq!(from_json.batches, from_protobuf.batches, "seed {seed}: {text}");
        let reasons = |d: &Decoded| d.rejected.iter().map(|r| (r.path.clone(), r.reason)).collect::<Vec<_>>();
        assert_eq!(reasons(&from_json), reasons(&from_protobuf));
        assert_eq!(from_json.advisories, from_protobuf.advisories);
    }
}

fn good_span(index: u64, attributes: u64) -> Span {
    let text = |text: String| Some(AnyValue { value: Some(any_value::Value::StringValue(text)) });
    Span {
        trace_id: (u128::from(index) + 1).to_be_bytes().to_vec(),
        span_id: (index + 1).to_be_bytes().to_vec(),
        name: format!("name {index}"),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: (0..attributes)
            .map(|a| KeyValue {
                key: format!("key {index} {a}"),
                value: text(format!("value {index} {a}")),
                key_strindex: 0,
            })
            .collect(),
        ..Span::default()
    }
}

fn request_of(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// All span ids in order, as numbers.
fn span_numbers(decoded: &Decoded) -> Vec<u64> {
    row::rows(decoded).iter().map(|row| u64::from_be_bytes(row.span_id.as_slice().try_into().unwrap())).collect()
}

#[test]
fn a_request_of_200_000_spans_is_cut_and_loses_no_row() {
    let body = request_of((0..200_000).map(|index| good_span(index, 0)).collect());
    let decoded = decode(&body, &Limits::default(), &mut SpanBuilder::new()).unwrap();
    let rows: Vec<usize> = decoded.batches.iter().map(weavergen::span::SpanBatch::rows).collect();
    assert!(rows.len() >= 7 && rows.iter().all(|rows| *rows <= 32_768), "{rows:?}");
    assert!(decoded.rejected.is_empty());
    assert!(span_numbers(&decoded).into_iter().eq(1..=200_000));
}

#[test]
fn a_million_distinct_keys_and_values_over_requests_are_cut_and_lose_no_row() {
    const SPANS: u64 = 27_000;
    let mut builder = SpanBuilder::new();
    for request in 0..4 {
        let range = request * SPANS..(request + 1) * SPANS;
        let body = request_of(range.clone().map(|index| good_span(index, 10)).collect());
        let decoded = decode(&body, &Limits::default(), &mut builder).unwrap();
        assert_eq!((decoded.rejected.len(), decoded.batches.len()), (0, 2), "262,144 distinct keys end a batch");
        assert!(span_numbers(&decoded).into_iter().eq(range.start + 1..=range.end));
    }
}

/// A request of one span whose body is `piece` repeated.
fn hostile(piece: &[u8], times: usize) -> Vec<u8> {
    let head = request_of(vec![good_span(0, 0)]);
    let good = decode(&head, &Limits::default(), &mut SpanBuilder::new()).unwrap();
    assert_eq!(good.batches[0].rows(), 1);
    let mut span = good_span(0, 0).encode_to_vec();
    span.extend(piece.repeat(times));
    let framed = |tag: u8, body: Vec<u8>| {
        let mut out = vec![tag];
        prost::encoding::encode_varint(body.len() as u64, &mut out);
        out.extend(body);
        out
    };
    framed(0x0a, framed(0x12, framed(0x12, span)))
}

#[test]
fn what_is_above_a_limit_is_counted_and_not_kept() {
    use weavergen::otlp::Reason;
    for (piece, reason, limit) in [
        (b"\x4a\x00".as_slice(), Reason::TooManyAttributes, 1024),
        (b"\x5a\x00", Reason::TooManyEvents, 8192),
        (b"\x5a\x02\x1a\x00", Reason::TooManyEvents, 8192),
        (b"\x6a\x00", Reason::TooManyLinks, 8192),
        (b"\x5a\x00", Reason::SpanTooLarge, 4 << 20),
    ] {
        let mut builder = SpanBuilder::new();
        let decoded = decode(&hostile(piece, limit + 1), &Limits::default(), &mut builder).unwrap();
        assert_eq!(decoded.rejected.iter().map(|r| r.reason).collect::<Vec<_>>(), [reason]);
        assert!(decoded.batches.is_empty());
        let fine = decode(&hostile(piece, limit.min(8192)), &Limits::default(), &mut builder).unwrap();
        assert_eq!((fine.rejected.len(), fine.batches[0].rows()), (0, 1), "the builder goes on as before");
    }
}

#[test]
fn a_million_empty_spans_are_counted_and_a_bounded_number_is_listed() {
    let spans = b"\x12\x00".repeat(1_000_000);
    let mut body = Vec::new();
    for (tag, inner) in [(0x12, spans.len()), (0x0a, spans.len() + 4)] {
        let mut head = vec![tag];
        prost::encoding::encode_varint(inner as u64, &mut head);
        body.splice(0..0, head);
    }
    body.extend(spans);
    let decoded = decode(&body, &Limits::default(), &mut SpanBuilder::new()).unwrap();
    assert_eq!((decoded.spans, decoded.rejected_spans(), decoded.rejected.len()), (1_000_000, 1_000_000, 65_536));
    assert!(decoded.rejected[99].path.ends_with("spans[99]") && decoded.rejected[100].path.is_empty());
}
