//! The rules W1 to W17 of otlp.md 9.1 and Y1 to Y4 of 10, on bytes made by hand.

use prost::Message;
use weavergen::otlp::{Decoded, Limits, SpanBuilder, Undecodable, decode, encode};

use super::bytes::{attribute, fixed32, fixed64, good_span, len, num, request, span_with, tag, text_attribute, varint};
use super::rows::{self, Row};
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest as Request;
use crate::proto::plain::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

fn read(body: &[u8]) -> Result<Decoded, Undecodable> {
    decode(body, &Limits::default(), &mut SpanBuilder::new())
}

fn row(body: &[u8]) -> Row {
    let decoded = read(body).unwrap();
    assert_eq!(decoded.rejected, [], "{body:?}");
    rows::read(&decoded.batches[0]).remove(0)
}

/// What the request becomes when it is written again.
fn again(body: &[u8]) -> Request {
    let mut out = Vec::new();
    read(body).unwrap().batches.iter().for_each(|batch| encode(batch, &mut out));
    Request::decode(out.as_slice()).unwrap()
}

fn first(request: &Request) -> (&ResourceSpans, &ScopeSpans, &Span) {
    let scope_spans = &request.resource_spans[0].scope_spans[0];
    (&request.resource_spans[0], scope_spans, &scope_spans.spans[0])
}

fn value(body: &[u8]) -> Option<Value> {
    first(&again(body)).2.attributes[0].value.clone().and_then(|value| value.value)
}

fn text(value: &str) -> Option<Value> {
    Some(Value::StringValue(value.to_owned()))
}

fn kind_of(body: &[u8]) -> &'static str {
    read(body).map(|decoded| decoded.spans).unwrap_err().kind
}

fn in_span(fields: &[u8]) -> Vec<u8> {
    request(&[span_with(fields)])
}

/// A request whose innermost message is `fields`, once for each message of the wire, with the name that counts it.
fn in_each_message(fields: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let pair = [len(1, b"k"), fields.to_vec()].concat();
    let list = |field, of: &[u8]| in_span(&len(9, &attribute(b"k", &len(field, of))));
    vec![
        ("ExportTraceServiceRequest", [request(&[good_span()]), fields.to_vec()].concat()),
        ("ResourceSpans", len(1, fields)),
        ("ScopeSpans", len(1, &len(2, fields))),
        ("Span", in_span(fields)),
        ("Event", in_span(&len(11, fields))),
        ("Link", in_span(&len(13, fields))),
        ("Status", in_span(&len(15, fields))),
        ("KeyValue", in_span(&len(9, &pair))),
        ("AnyValue", in_span(&len(9, &attribute(b"k", fields)))),
        ("ArrayValue", list(5, fields)),
        ("KeyValueList", list(6, fields)),
        ("InstrumentationScope", len(1, &len(2, &len(1, fields)))),
        ("Resource", len(1, &len(1, fields))),
        ("EntityRef", len(1, &len(1, &len(3, fields)))),
    ]
}

#[test]
fn w1_field_0_and_tags_above_32_bits_are_undecodable_in_each_message() {
    for (message, body) in in_each_message(&[0x00, 0x01]) {
        assert_eq!(kind_of(&body), "tag", "{message}");
    }
    for (message, body) in in_each_message(&[varint(1 << 32), vec![0]].concat()) {
        assert_eq!(kind_of(&body), "tag", "{message}");
    }
    for (message, body) in in_each_message(&num((1 << 29) - 1, 7)) {
        assert_eq!(read(&body).unwrap().unknown_fields.get(message), Some(&1), "{message}");
    }
}

#[test]
fn w2_a_varint_may_be_longer_than_needed_and_not_longer_than_ten_bytes() {
    let kind = |bytes: &[u8]| in_span(&[tag(6, 0), bytes.to_vec()].concat());
    assert_eq!(row(&kind(&[0x82, 0x80, 0x00])).kind.unwrap(), "server");
    assert_eq!(row(&kind(&[0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01])).kind.unwrap(), "client");
    assert_eq!(kind_of(&kind(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02])), "varint");
    assert_eq!(kind_of(&kind(&[0x80; 11])), "varint");
    assert_eq!(kind_of(&kind(&[0x80])), "truncated");
}

#[test]
fn w3_a_length_may_not_reach_into_the_enclosing_message() {
    // the name announces 4 bytes, the span has 2 left, the scope spans have more
    let span = [good_span(), tag(5, 2), vec![4, b'a', b'b']].concat();
    let body = len(1, &len(2, &[len(2, &span), len(3, b"schema url")].concat()));
    let error = read(&body).unwrap_err();
    assert_eq!((error.kind, error.path.as_str()), ("truncated", "resourceSpans[0].scopeSpans[0].spans[0].name"));
    assert_eq!(error.offset, body.len() - len(3, b"schema url").len() - 2);
    assert_eq!(kind_of(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), "truncated");
}

#[test]
fn w4_groups_are_skipped_and_other_types_do_not_exist() {
    let group = [tag(900, 3), num(1, 1), tag(7, 3), tag(7, 4), tag(900, 4)].concat();
    for (message, body) in in_each_message(&group) {
        assert_eq!(read(&body).unwrap().unknown_fields.get(message), Some(&1), "{message}");
    }
    for bytes in [[tag(900, 3), tag(901, 4)].concat(), tag(900, 4), tag(900, 6), tag(900, 7)] {
        for (message, body) in in_each_message(&bytes) {
            assert_eq!(kind_of(&body), "wire_type", "{message} {bytes:?}");
        }
    }
    assert_eq!(kind_of(&in_span(&tag(900, 3))), "truncated");
    let nested = |levels| [vec![tag(900, 3); levels].concat(), vec![tag(900, 4); levels].concat()].concat();
    assert!(read(&in_span(&nested(32))).is_ok());
    assert_eq!(kind_of(&in_span(&nested(33))), "nesting");
}

#[test]
fn w5_unknown_fields_are_counted_per_message_and_not_kept() {
    let unknown = [num(5000, 1), fixed64(5001, 1), len(5002, b"abc"), fixed32(5003, 1)].concat();
    for (message, body) in in_each_message(&unknown) {
        let decoded = read(&body).unwrap();
        assert_eq!(decoded.unknown_fields.get(message), Some(&4), "{message}");
        assert_eq!(decoded.unknown_fields.len(), 1, "{message}");
        let mut out = Vec::new();
        decoded.batches.iter().for_each(|batch| encode(batch, &mut out));
        assert!(!out.windows(3).any(|bytes| bytes == b"abc"), "{message}");
    }
    // field 1000 of ResourceSpans and field 1 of Status are reserved, and so unknown
    assert_eq!(read(&len(1, &num(1000, 1))).unwrap().unknown_fields["ResourceSpans"], 1);
    assert_eq!(read(&in_span(&len(15, &num(1, 1)))).unwrap().unknown_fields["Status"], 1);
}

#[test]
fn w6_each_known_field_of_another_wire_type_is_undecodable() {
    // per message in the order of `in_each_message`: its fields with their wire types
    let fields: [&[(u64, u64)]; 14] = [
        &[(1, 2)],
        &[(1, 2), (2, 2), (3, 2)],
        &[(1, 2), (2, 2), (3, 2)],
        &[
            (1, 2),
            (2, 2),
            (3, 2),
            (4, 2),
            (5, 2),
            (6, 0),
            (7, 1),
            (8, 1),
            (9, 2),
            (10, 0),
            (11, 2),
            (12, 0),
            (13, 2),
            (14, 0),
            (15, 2),
            (16, 5),
        ],
        &[(1, 1), (2, 2), (3, 2), (4, 0)],
        &[(1, 2), (2, 2), (3, 2), (4, 2), (5, 0), (6, 5)],
        &[(2, 2), (3, 0)],
        &[(1, 2), (2, 2), (3, 0)],
        &[(1, 2), (2, 0), (3, 0), (4, 1), (5, 2), (6, 2), (7, 2), (8, 0)],
        &[(1, 2)],
        &[(1, 2)],
        &[(1, 2), (2, 2), (3, 2), (4, 0)],
        &[(1, 2), (2, 0), (3, 2)],
        &[(1, 2), (2, 2), (3, 2), (4, 2)],
    ];
    for (at, fields) in fields.iter().enumerate() {
        for (field, own) in *fields {
            for other in [num(*field, 0), fixed64(*field, 0), len(*field, b""), fixed32(*field, 0)] {
                let (message, body) = &in_each_message(&other)[at];
                let is_own = u64::from(other[0] & 7) == *own;
                assert_eq!(read(body).map_err(|e| e.kind).err(), (!is_own).then_some("wire_type"), "{message} {field}");
            }
        }
    }
}

#[test]
fn w6_field_17_of_another_type_is_unknown() {
    for other in [num(17, 5), fixed64(17, 5), fixed32(17, 5)] {
        let body = in_span(&[other, len(9, &text_attribute(b"otel.span.type", b"http.server"))].concat());
        assert_eq!(read(&body).unwrap().unknown_fields["Span"], 1);
        assert_eq!(row(&body).span_type.unwrap(), "http.server");
    }
}

#[test]
fn w7_the_last_scalar_wins_also_when_it_is_empty() {
    let twice = [len(5, b"second"), num(6, 2), num(6, 3), fixed32(16, 7), fixed32(16, 0)].concat();
    let row_twice = row(&in_span(&twice));
    assert_eq!(
        (row_twice.name.unwrap(), row_twice.kind.unwrap(), row_twice.flags),
        ("second".into(), "client".into(), 0)
    );
    assert_eq!(row(&in_span(&len(5, b""))).name.unwrap(), "");
    // an id that is right is taken back by an empty one
    let decoded = read(&in_span(&len(1, b""))).unwrap();
    assert_eq!(decoded.rejected[0].detail, "trace id has 0 bytes, want 16");
}

#[test]
fn w8_lists_keep_their_order_between_other_fields() {
    let a = |key: &[u8]| len(9, &text_attribute(key, b"v"));
    let event = |name: &[u8]| len(11, &len(2, name));
    let body = in_span(&[a(b"1"), event(b"x"), a(b"2"), num(6, 1), event(b"y"), a(b"3")].concat());
    let request = again(&body);
    let span = first(&request).2;
    assert_eq!(span.attributes.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(span.events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn w9_a_message_that_occurs_again_is_merged() {
    let resource = |key: &[u8], dropped| [len(1, &text_attribute(key, b"v")), num(2, dropped)].concat();
    let scope = |name: &[u8], key: &[u8]| [len(1, name), len(3, &text_attribute(key, b"v"))].concat();
    let status = [len(15, &[len(2, b"text"), num(3, 2)].concat()), len(15, &num(3, 1))].concat();
    let spans = [len(1, &scope(b"one", b"s1")), len(2, &span_with(&status)), len(1, &scope(b"two", b"s2"))].concat();
    let body = len(1, &[len(1, &resource(b"r1", 5)), len(2, &spans), len(1, &resource(b"r2", 6))].concat());
    let request = again(&body);
    let (resource_spans, scope_spans, span) = first(&request);
    let resource = resource_spans.resource.as_ref().unwrap();
    assert_eq!(resource.attributes.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
    assert_eq!(resource.dropped_attributes_count, 6);
    let scope = scope_spans.scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.attributes.len()), ("two", 2));
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.message.as_str(), status.code), ("text", 1));
    // KeyValue.value in two parts
    let parts = [len(1, b"k"), len(2, &len(5, &len(1, &num(3, 1)))), len(2, &len(5, &len(1, &num(3, 2))))].concat();
    let Some(Value::ArrayValue(list)) = value(&in_span(&len(9, &parts))) else { panic!("not an array") };
    assert_eq!(
        list.values.iter().map(|v| v.value.clone().unwrap()).collect::<Vec<_>>(),
        [Value::IntValue(1), Value::IntValue(2)]
    );
}

#[test]
fn w10_the_last_variant_wins_and_lists_of_one_variant_are_joined() {
    let one = |fields: &[u8]| value(&in_span(&len(9, &attribute(b"k", fields))));
    let array = |n| len(5, &len(1, &num(3, n)));
    let ints = |of: Option<Value>| match of {
        Some(Value::ArrayValue(list)) => list.values.iter().map(|v| v.value.clone()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let int = |n| Some(Value::IntValue(n));
    assert_eq!(one(&[len(1, b"text"), num(3, 5)].concat()), int(5));
    assert_eq!(one(&[num(3, 5), len(1, b"text")].concat()), text("text"));
    assert_eq!(ints(one(&[array(1), array(2)].concat())), [int(1), int(2)]);
    assert_eq!(ints(one(&[array(1), len(1, b"x"), array(2)].concat())), [int(2)]);
    assert_eq!(one(&[array(1), len(1, b"x")].concat()), text("x"));
    assert_eq!(ints(one(&len(5, b""))), []);
    // the same within a list
    let inner = [array(1), len(1, b"x"), array(2)].concat();
    let Some(Value::ArrayValue(outer)) = one(&len(5, &len(1, &inner))) else { panic!("not an array") };
    assert_eq!(ints(outer.values[0].value.clone()), [int(2)]);
}

#[test]
fn w12_what_describes_a_list_may_follow_it() {
    let spans = [len(2, &good_span()), len(3, b"scope url"), len(1, &len(1, b"scope"))].concat();
    let resource = len(1, &len(1, &text_attribute(b"service.name", b"shop")));
    let body = len(1, &[len(2, &spans), len(3, b"resource url"), resource].concat());
    let row = row(&body);
    assert_eq!((row.service_name.unwrap(), row.scope_name.unwrap()), ("shop".into(), "scope".into()));
    let request = again(&body);
    let (resource_spans, scope_spans, _) = first(&request);
    assert_eq!((resource_spans.schema_url.as_str(), scope_spans.schema_url.as_str()), ("resource url", "scope url"));
}

#[test]
fn w13_absent_is_the_same_as_default() {
    let bare = len(1, &len(2, &len(2, &good_span())));
    let empty = [len(1, b""), len(2, &[len(1, b""), len(2, &span_with(&len(15, b""))), len(3, b"")].concat())].concat();
    let empty = len(1, &empty);
    assert_eq!(row(&bare), row(&empty));
    assert_eq!(again(&bare), again(&empty));
    // no value, a value without variant
    for kv in [len(1, b"k"), attribute(b"k", b"")] {
        assert_eq!(value(&in_span(&len(9, &kv))), None);
    }
}

#[test]
fn w14_broken_text_is_repaired_flagged_and_counted() {
    let nested = len(9, &attribute(b"list", &len(5, &len(1, &len(1, b"\xff")))));
    let event = len(11, &[len(2, b"\xff"), len(3, &text_attribute(b"\xff", b"v"))].concat());
    let link = len(13, &len(3, b"\xff"));
    let status = len(15, &len(2, b"\xff"));
    let places = [len(5, b"a\xffb"), len(9, &text_attribute(b"\xff", b"v")), len(9, &text_attribute(b"k", b"\xc3"))];
    for field in places.into_iter().chain([nested, event, link, status, len(3, b"\xff"), len(17, b"\xff")]) {
        let body = in_span(&field);
        assert_eq!(row(&body).anomalies, 1 << 3, "{field:?}");
        assert!(read(&body).unwrap().advisories["invalid_utf8"] >= 1, "{field:?}");
        assert!(again(&body).encode_to_vec().windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes()), "{field:?}");
    }
    assert_eq!(row(&in_span(&len(5, b"a\xffb"))).name.unwrap(), "a\u{fffd}b");
    // bytes are not text; two good halves side by side are not one good text
    assert_eq!(value(&in_span(&len(9, &attribute(b"k", &len(7, b"\xff"))))), Some(Value::BytesValue(vec![0xff])));
    let halves = [len(9, &text_attribute(b"a", b"\xc3")), len(9, &text_attribute(b"b", b"\xa9"))].concat();
    assert_eq!(read(&in_span(&halves)).unwrap().advisories["invalid_utf8"], 2);
}

#[test]
fn w15_enums_take_the_low_32_bits_and_keep_unknown_numbers() {
    let kind = |value| row(&in_span(&num(6, value))).kind.unwrap();
    assert_eq!(kind(9), "kind_9");
    assert_eq!(kind((-1i64).cast_unsigned()), "kind_-1");
    assert_eq!(kind(1 << 32 | 2), "server");
    assert_eq!(row(&in_span(&len(15, &num(3, 7)))).status_code.unwrap(), "status_7");
    assert_eq!(row(&in_span(&num(10, u64::MAX))).dropped[0], u32::MAX);
    assert_eq!(first(&again(&in_span(&num(6, (-1i64).cast_unsigned())))).2.kind, -1);
    let int = |value| value_of(&num(3, value));
    assert_eq!(int(u64::MAX), Some(Value::IntValue(-1)));
    assert_eq!(value_of(&num(2, 256)), Some(Value::BoolValue(true)));
}

fn value_of(any_value: &[u8]) -> Option<Value> {
    value(&in_span(&len(9, &attribute(b"k", any_value))))
}

#[test]
fn w16_doubles_are_bit_exact() {
    for bits in [0x7ff8_0000_0000_0001, 0xfff0_dead_beef_0001, (-0.0f64).to_bits(), 1, f64::MAX.to_bits()] {
        match value_of(&fixed64(4, bits)) {
            Some(Value::DoubleValue(double)) => assert_eq!(double.to_bits(), bits),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn w17_nothing_is_a_request_without_spans() {
    for body in [vec![], len(1, b""), len(1, &len(2, b"")), len(1, &len(1, b""))] {
        let decoded = read(&body).unwrap();
        assert_eq!((decoded.spans, decoded.batches.len(), decoded.rejected.len()), (0, 0, 0));
    }
}

#[test]
fn y_the_span_type_is_field_17_or_else_the_attribute() {
    let attribute = |of: &[u8]| len(9, &text_attribute(b"otel.span.type", of));
    let cases: [(Vec<u8>, Option<&str>, &str); 7] = [
        (vec![], None, ""),
        (len(17, b"http.server"), Some("http.server"), "http.server"),
        (attribute(b"db.client"), Some("db.client"), ""),
        ([attribute(b"db.client"), len(17, b"http.server")].concat(), Some("http.server"), "http.server"),
        ([len(17, b"http.server"), len(17, b""), attribute(b"db.client")].concat(), Some("db.client"), ""),
        ([attribute(b""), attribute(b"later")].concat(), None, ""),
        (len(17, &[b'x'; 256]), Some(&"x".repeat(256)), &"x".repeat(256)),
    ];
    for (fields, column, again_in_17) in cases {
        let body = in_span(&fields);
        assert_eq!(row(&body).span_type.as_deref(), column);
        assert_eq!(first(&again(&body)).2.r#type, again_in_17);
        let sent = fields.windows(14).filter(|bytes| *bytes == b"otel.span.type").count();
        assert_eq!(first(&again(&body)).2.attributes.len(), sent, "the attribute stays an attribute");
    }
    let count = |fields: &[u8], kind| read(&in_span(fields)).unwrap().advisories.get(kind).copied();
    assert_eq!(count(&[attribute(b"a"), len(17, b"b")].concat(), "span_type_conflict"), Some(1));
    assert_eq!(count(&[attribute(b"a"), len(17, b"a")].concat(), "span_type_conflict"), None);
    for odd in [&b"with space"[..], &[b'x'; 256], b"9a"] {
        assert_eq!(count(&len(17, odd), "span_type_form"), Some(1));
    }
    assert_eq!(count(&len(17, b"a-b/c_d.e9"), "span_type_form"), None);
}

#[test]
fn strindex_fields_are_counted_and_ignored() {
    let body = in_span(&len(9, &[len(1, b"k"), num(3, 4), len(2, &num(8, 3))].concat()));
    assert_eq!(value(&body), None);
    let advisories = read(&body).unwrap().advisories;
    assert_eq!((advisories["key_strindex"], advisories["value_strindex"]), (1, 1));
}

#[test]
fn an_error_leaves_nothing_behind_in_a_builder_that_is_used_again() {
    let mut builder = SpanBuilder::new();
    let mut read = |body: &[u8]| decode(body, &Limits::default(), &mut builder);
    let bad = [in_span(&num(6, 9)), request(&[[good_span(), tag(5, 2), vec![9]].concat()])].concat();
    assert!(read(&bad).is_err());
    let decoded = read(&request(&[good_span()])).unwrap();
    assert_eq!((decoded.spans, decoded.batches[0].rows(), decoded.advisories.len()), (1, 1, 0));
    assert_eq!(rows::read(&decoded.batches[0])[0].kind.as_deref(), Some("unspecified"));
}
