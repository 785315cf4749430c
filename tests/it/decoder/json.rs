//! The JSON reader against the protobuf reader, against serde_json's grammar, and against anything (otlp.md 11).

mod mutate;
mod render;

use std::time::{Duration, Instant};

use prost::Message;
use weavergen::otlp::{Decoded, Limits, SpanBuilder, decode, decode_json};

use super::chance::Chance;
use super::{fuzz_seconds, generate};
use render::{Style, comparable, render};

fn limits(chance: &mut Chance) -> Limits {
    let limits = if chance.one_in(3) { generate::small_limits() } else { Limits::default() };
    // A span has another size in JSON.
    Limits { max_span_bytes: usize::MAX, ..limits }
}

#[test]
fn a_random_request_gives_the_same_columns_through_protobuf_and_json() {
    let mut builder = SpanBuilder::new();
    let (mut rows, mut rejected, mut unknown, mut injected) = (0, 0, 0, 0);
    for seed in 0..1500 {
        let mut chance = Chance::of(seed);
        let mut request = generate::request(&mut chance);
        comparable(&mut request);
        let limits = limits(&mut chance);
        let strict = chance.one_in(2);
        let mut style = Style::new(&mut chance, strict);
        let text = render(&request, &mut style);
        let style_injected = style.injected;
        let want = decode(&request.encode_to_vec(), &limits, &mut builder).unwrap();
        let got = decode_json(&text, &limits, strict, &mut builder)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", String::from_utf8_lossy(&text)));
        // Of two faults of one rank the first found is described, and the order of members is another.
        let told = |decoded: &Decoded| -> Vec<_> {
            decoded.rejected.iter().map(|r| (r.reason, r.path.clone(), r.trace_id.clone(), r.span_id.clone())).collect()
        };
        assert_eq!(told(&got), told(&want), "seed {seed}");
        assert_eq!((got.spans, &got.rejected_by_reason), (want.spans, &want.rejected_by_reason), "seed {seed}");
        assert!(got.batches == want.batches, "seed {seed}:\n{:?}\n{:?}", got.batches, want.batches);
        let mut advisories = got.advisories.clone();
        let forms = [advisories.remove("snake_case"), advisories.remove("enum_name")];
        assert_eq!(advisories, want.advisories, "seed {seed}");
        assert!(!strict || forms == [None, None], "seed {seed}: {forms:?}");
        // What lies below a value that is too deep is passed over.
        let seen: u64 = got.unknown_fields.values().sum();
        assert!(seen <= style_injected, "seed {seed}");
        injected += style_injected;
        rows += got.spans - got.rejected.len();
        rejected += got.rejected.len();
        unknown += seen;
    }
    assert!(rows > 2000 && rejected > 1000, "{rows} rows, {rejected} rejected");
    assert!(unknown > 300 && unknown > injected / 10 * 9, "{unknown} of {injected} unknown members");
}

#[test]
fn mutated_requests_never_panic_and_leave_the_builder_as_new() {
    let budget = fuzz_seconds().min(Duration::from_secs(3)).max(fuzz_seconds() / 3);
    let started = Instant::now();
    let good = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10",
        "spanId":"0102030405060708","name":"n","startTimeUnixNano":"1","endTimeUnixNano":2}]}]}]}"#;
    let mut builder = SpanBuilder::new();
    let clean = decode_json(good, &Limits::default(), true, &mut builder).unwrap().batches;
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    for seed in 0.. {
        let mut chance = Chance::of(seed);
        let mut request = generate::request(&mut chance);
        comparable(&mut request);
        let limits = limits(&mut chance);
        let mut text = render(&request, &mut Style::new(&mut chance, false));
        for _ in 0..=chance.below(3) {
            text = mutate::mutate(&mut chance, text);
        }
        let strict = chance.one_in(2);
        match decode_json(&text, &limits, strict, &mut builder) {
            Ok(decoded) => {
                accepted += 1;
                let again = decode_json(&text, &limits, strict, &mut SpanBuilder::new()).unwrap();
                assert!(decoded.batches == again.batches && decoded.rejected == again.rejected, "seed {seed}");
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
                assert!(json.is_ok(), "seed {seed}: accepted, but {json:?}:\n{}", String::from_utf8_lossy(&text));
            }
            Err(error) => {
                refused += 1;
                assert!(error.offset <= text.len() && !error.path.is_empty(), "seed {seed}: {error}");
            }
        }
        if seed % 16 == 0 {
            let after = decode_json(good, &Limits::default(), true, &mut builder).unwrap();
            assert!(after.batches == clean && after.spans == 1, "seed {seed}");
        }
        if started.elapsed() > budget && seed > 500 {
            break;
        }
    }
    assert!(accepted > (accepted + refused) / 20 && refused > accepted / 4, "{accepted} accepted, {refused} refused");
}

#[test]
fn an_unknown_member_is_accepted_exactly_where_its_value_is_json() {
    let mut builder = SpanBuilder::new();
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut chance = Chance::of(seed);
        let mut value = mutate::any_json(&mut chance, 0);
        for _ in 0..chance.below(3) {
            value = mutate::mutate(&mut chance, value);
        }
        let text = [b"{\"unknown\":", value.as_slice(), b"}"].concat();
        let ours = decode_json(&text, &Limits::default(), chance.one_in(2), &mut builder);
        let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {ours:?}, {theirs:?}", String::from_utf8_lossy(&text));
        *if ours.is_ok() { &mut accepted } else { &mut refused } += 1;
    }
    assert!(accepted > 4000 && refused > 4000, "{accepted} accepted, {refused} refused");
}
