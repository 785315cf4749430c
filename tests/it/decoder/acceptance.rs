//! Which spans are set aside and why (otlp.md P2, L11 to L17), and the cuts of storage.md 3.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use weavergen::otlp::{Decoded, Limits, Reason, Rejected, SpanBuilder, decode};

use super::bytes::{attribute, fixed64, good_span, len, num, request, span_with, text_attribute};

fn read(body: &[u8]) -> Decoded {
    decode(body, &Limits::default(), &mut SpanBuilder::new()).unwrap()
}

fn reason(fields: &[u8]) -> Option<Reason> {
    read(&request(&[span_with(fields)])).rejected.first().map(|rejected| rejected.reason)
}

/// An array in an array, `levels` of them.
fn nested(levels: usize) -> Vec<u8> {
    (0..levels).fold(Vec::new(), |inner, _| len(5, &if inner.is_empty() { vec![] } else { len(1, &inner) }))
}

fn attributes(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| len(9, &text_attribute(format!("k{at}").as_bytes(), b""))).collect()
}

#[test]
fn each_reason_sets_one_span_aside_and_the_others_are_stored() {
    let late = u64::MAX / 2 + 1;
    let cases: [(Vec<u8>, Reason); 18] = [
        (len(9, &text_attribute(b"k", &[b'x'; 4 << 20])), Reason::SpanTooLarge),
        (len(1, &[1; 15]), Reason::InvalidTraceId),
        (len(1, &[0; 16]), Reason::InvalidTraceId),
        (len(1, b""), Reason::InvalidTraceId),
        (len(2, &[1; 9]), Reason::InvalidSpanId),
        (len(2, &[0; 8]), Reason::InvalidSpanId),
        (len(4, &[1; 7]), Reason::InvalidParentSpanId),
        (len(13, &len(1, &[1; 8])), Reason::InvalidLinkId),
        (len(13, &len(2, &[1; 16])), Reason::InvalidLinkId),
        (fixed64(7, late), Reason::TimeOutOfRange),
        (fixed64(8, late), Reason::TimeOutOfRange),
        (len(11, &fixed64(1, late)), Reason::TimeOutOfRange),
        (attributes(1025), Reason::TooManyAttributes),
        (vec![len(11, b""); 8193].concat(), Reason::TooManyEvents),
        (vec![len(13, b""); 8193].concat(), Reason::TooManyLinks),
        (len(9, &text_attribute(&[b'k'; 1025], b"")), Reason::KeyTooLong),
        (len(9, &attribute(b"k", &nested(33))), Reason::ValueTooDeep),
        (len(11, &len(3, &attribute(b"k", &nested(33)))), Reason::ValueTooDeep),
    ];
    let mut spans = vec![good_span()];
    spans.extend(cases.iter().flat_map(|(fields, _)| [span_with(fields), good_span()]));
    let decoded = read(&request(&spans));
    let told: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.reason).collect();
    assert_eq!(told, cases.iter().map(|(_, reason)| *reason).collect::<Vec<_>>());
    assert_eq!((decoded.spans, decoded.rejected_spans()), (37, 18));
    assert_eq!(decoded.batches.iter().map(|batch| batch.rows()).sum::<usize>(), 19);
    // nothing of the rejected is left between the others
    let batch = decoded.batches[0].as_record_batch();
    for list in ["attributes", "events", "links"] {
        assert_eq!(batch.column_by_name(list).unwrap().as_list::<i32>().values().len(), 0, "{list}");
    }
}

#[test]
fn what_is_at_the_limit_is_accepted() {
    let body_of = |fill: usize| len(9, &text_attribute(b"k", &vec![b'x'; fill]));
    let overhead = span_with(&body_of(4 << 20)).len() - (4 << 20);
    let cases = [
        body_of((4 << 20) - overhead),
        attributes(1024),
        vec![len(11, b""); 8192].concat(),
        vec![len(13, b""); 8192].concat(),
        len(9, &text_attribute(&[b'k'; 1024], b"")),
        len(9, &attribute(b"k", &nested(32))),
        len(4, &[0; 8]),
        len(13, b""),
        fixed64(8, u64::MAX / 2),
    ];
    for (at, fields) in cases.iter().enumerate() {
        assert_eq!(reason(fields), None, "case {at}");
    }
    assert_eq!(reason(&body_of((4 << 20) - overhead + 1)), Some(Reason::SpanTooLarge));
}

#[test]
fn of_several_reasons_the_first_in_the_table_is_told() {
    let deep = len(9, &attribute(b"k", &nested(33)));
    let long = len(9, &text_attribute(&[b'k'; 1025], b""));
    assert_eq!(reason(&[deep.clone(), long.clone()].concat()), Some(Reason::KeyTooLong));
    assert_eq!(reason(&[deep.clone(), len(4, b"x")].concat()), Some(Reason::InvalidParentSpanId));
    assert_eq!(reason(&[deep, long, len(13, &len(1, b"x")), len(2, b"")].concat()), Some(Reason::InvalidSpanId));
}

#[test]
fn a_fault_of_a_resource_or_a_scope_is_one_of_every_span_under_it() {
    let bad = |field, list| len(field, &vec![len(list, &text_attribute(b"k", b"v")); 1025].concat());
    let spans = [len(2, &good_span()), len(2, &span_with(&len(1, b"")))].concat();
    let under_resource = len(1, &[bad(1, 1), len(2, &spans)].concat());
    let under_scope = len(1, &len(2, &[spans.clone(), bad(1, 3)].concat()));
    let beside = request(&[good_span()]);
    let decoded = read(&[under_resource, beside, under_scope].concat());
    let told: Vec<_> = decoded.rejected.iter().map(|r| (r.path.as_str(), r.reason, r.detail.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                "resourceSpans[0].scopeSpans[0].spans[0]",
                Reason::TooManyAttributes,
                "resource has more than 1024 attributes"
            ),
            ("resourceSpans[0].scopeSpans[0].spans[1]", Reason::InvalidTraceId, "trace id has 0 bytes, want 16"),
            (
                "resourceSpans[2].scopeSpans[0].spans[0]",
                Reason::TooManyAttributes,
                "scope has more than 1024 attributes"
            ),
            ("resourceSpans[2].scopeSpans[0].spans[1]", Reason::InvalidTraceId, "trace id has 0 bytes, want 16"),
        ]
    );
    assert_eq!(decoded.batches[0].rows(), 1);
}

#[test]
fn a_rejected_span_is_described_as_it_came() {
    let span = span_with(&len(1, &[0xab, 0xcd]));
    let decoded = read(&request(&[good_span(), span.clone()]));
    assert_eq!(
        decoded.rejected,
        [Rejected {
            reason: Reason::InvalidTraceId,
            path: "resourceSpans[0].scopeSpans[0].spans[1]".into(),
            detail: "trace id has 2 bytes, want 16".into(),
            trace_id: vec![0xab, 0xcd],
            span_id: vec![2; 8],
            bytes: span.len(),
        }]
    );
    let zero = read(&request(&[span_with(&len(2, &[0; 8]))]));
    assert_eq!(zero.rejected[0].detail, "span id is all zero");
}

#[test]
fn odd_spans_are_stored_and_counted() {
    let list =
        |keys: &[&str]| keys.iter().flat_map(|k| len(9, &text_attribute(k.as_bytes(), b"v"))).collect::<Vec<_>>();
    let cases: [(Vec<u8>, &str); 15] = [
        (len(5, b""), "empty_name"),
        (fixed64(7, 0), "no_start"),
        (fixed64(8, 0), "no_end"),
        (fixed64(8, 9), "end_before_start"),
        (num(6, 9), "unknown_kind"),
        (len(15, &num(3, 9)), "unknown_status"),
        (list(&["a", "b", "a"]), "duplicate_key"),
        (list(&[""]), "empty_key"),
        (len(9, &len(1, b"k")), "missing_value"),
        (len(4, &[2; 8]), "self_parent"),
        (len(3, b"no members"), "trace_state"),
        (attributes(129), "many_attributes"),
        (len(9, &text_attribute(b"k", &[b'x'; 20 << 10])), "long_value"),
        (len(9, &attribute(b"k", &nested(17))), "deep_value"),
        (len(5, b"\xff"), "invalid_utf8"),
    ];
    for (fields, kind) in cases {
        let decoded = read(&request(&[span_with(&fields)]));
        assert_eq!(decoded.advisories.get(kind), Some(&1), "{kind} {:?}", decoded.advisories);
        assert_eq!(decoded.batches[0].rows(), 1, "{kind}");
        // of a span that is set aside nothing was stored
        let rejected = read(&request(&[span_with(&[fields, len(1, b"")].concat())]));
        assert_eq!(rejected.advisories.get(kind), None, "{kind}");
    }
    assert_eq!(read(&request(&[span_with(&len(3, b"a=1,b@c=2"))])).advisories.len(), 0);
}

#[test]
fn a_million_bad_spans_are_counted_and_the_first_ten_thousand_described() {
    let body = request(&vec![vec![]; 1_000_000]);
    let decoded = read(&body);
    assert_eq!((decoded.spans, decoded.batches.len(), decoded.rejected.len()), (1_000_000, 0, 10_000));
    assert_eq!(decoded.rejected_by_reason[&Reason::InvalidTraceId], 1_000_000);
}

#[test]
fn a_million_distinct_names_keys_and_values_are_cut_into_batches() {
    // 200,000 spans of one new name, five new keys and five new values each
    let (mut spans, mut number) = (Vec::new(), 0);
    for at in 0..200_000u32 {
        let ids = [len(1, &[1; 16]), len(2, &(at + 1).to_le_bytes().repeat(2))].concat();
        let mut span = [ids, fixed64(7, 10), fixed64(8, 30)].concat();
        span.extend(len(5, format!("name {at}").as_bytes()));
        for _ in 0..5 {
            span.extend(len(9, &text_attribute(format!("k{number}").as_bytes(), format!("value {number}").as_bytes())));
            number += 1;
        }
        spans.push(span);
    }
    let decoded = read(&request(&spans));
    assert_eq!((number, decoded.spans, decoded.rejected.len()), (1_000_000, 200_000, 0));
    let mut row = 0u32;
    for batch in &decoded.batches {
        assert!(batch.rows() <= 32_768);
        let batch = batch.as_record_batch();
        let names = batch.column_by_name("name").unwrap().as_dictionary::<Int32Type>();
        let attributes = batch.column_by_name("attributes").unwrap().as_list::<i32>();
        let keys = attributes.values().as_struct().column(0).as_dictionary::<Int32Type>();
        assert!(keys.values().len() <= 262_144 && names.values().len() <= 32_768);
        assert_eq!(attributes.values().len(), 5 * batch.num_rows());
        let texts = attributes.values().as_struct().column(2).as_string_view();
        for at in 0..batch.num_rows() {
            let name = usize::try_from(names.keys().value(at)).unwrap();
            let key = usize::try_from(keys.keys().value(5 * at)).unwrap();
            assert_eq!(names.values().as_string::<i32>().value(name), format!("name {row}"));
            assert_eq!(keys.values().as_string::<i32>().value(key), format!("k{}", 5 * row));
            assert_eq!(texts.value(5 * at), format!("value {}", 5 * row));
            row += 1;
        }
    }
    assert_eq!(row, 200_000);
}

#[test]
fn distinct_keys_cut_before_rows_do() {
    // 40 new keys a span: 262,144 of them are reached after 6,553 spans
    let mut number = 0;
    let spans: Vec<_> = (0..10_000)
        .map(|_| {
            let keys: Vec<_> =
                (number..number + 40).flat_map(|n| len(9, &len(1, format!("k{n}").as_bytes()))).collect();
            number += 40;
            span_with(&keys)
        })
        .collect();
    let decoded = read(&request(&spans));
    let distinct: Vec<_> = decoded
        .batches
        .iter()
        .map(|batch| {
            let attributes = batch.as_record_batch().column_by_name("attributes").unwrap().as_list::<i32>();
            attributes.values().as_struct().column(0).as_dictionary::<Int32Type>().values().len()
        })
        .collect();
    assert_eq!(distinct.iter().sum::<usize>(), 400_000);
    assert!(distinct.len() == 2 && distinct[0] <= 262_144 && distinct[0] > 260_000, "{distinct:?}");
}
