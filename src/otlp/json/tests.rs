//! One case a row of otlp.md 11, in both settings of `json_strict`.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::decode_json;
use crate::otlp::{Decoded, Limits, Reason, SpanBuilder, Undecodable};

const IDS: &str = r#""traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","startTimeUnixNano":1,"endTimeUnixNano":2"#;
const BOTH: [bool; 2] = [false, true];

fn read(body: impl AsRef<[u8]>, strict: bool) -> Result<Decoded, Undecodable> {
    decode_json(body.as_ref(), &Limits::default(), strict, &mut SpanBuilder::new())
}

fn body(span: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
}

/// A request of one good span with `members` added.
fn span(members: &str) -> String {
    body(&format!("{{{IDS},{members}}}"))
}

/// A request of one good span with one attribute of this value.
fn value(value: &str) -> String {
    span(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#))
}

/// The first row's `column` as text.
fn cell(decoded: &Decoded, column: &str) -> String {
    let batch = decoded.batches[0].as_record_batch();
    let column = batch.column_by_name(column).unwrap();
    ArrayFormatter::try_new(column, &FormatOptions::default().with_null("null")).unwrap().value(0).to_string()
}

/// In both settings, `column` of the first span is `want`.
fn same(body: impl AsRef<[u8]>, column: &str, want: &str) {
    for strict in BOTH {
        let text = String::from_utf8_lossy(body.as_ref()).into_owned();
        let decoded = read(body.as_ref(), strict).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(decoded.rejected.is_empty(), "{text}: {:?}", decoded.rejected);
        assert_eq!(cell(&decoded, column), want, "{text}, strict: {strict}");
    }
}

/// In both settings, the body is bad data of this kind.
fn bad(body: impl AsRef<[u8]>, kind: &str) {
    for strict in BOTH {
        let got = read(body.as_ref(), strict);
        let text = String::from_utf8_lossy(body.as_ref()).into_owned();
        assert_eq!(got.err().map(|e| e.kind), Some(kind), "{text}, strict: {strict}");
    }
}

fn rejected(body: &str) -> Vec<Reason> {
    let [lenient, strict] = BOTH.map(|strict| read(body, strict).unwrap().rejected);
    assert_eq!(lenient, strict);
    lenient.into_iter().map(|r| r.reason).collect()
}

/// Int, double and binary of the first attribute of the first span.
fn attribute(decoded: &Decoded) -> (Option<i64>, Option<f64>, Option<Vec<u8>>) {
    let batch = decoded.batches[0].as_record_batch();
    let lists = batch.column_by_name("attributes").unwrap().as_list::<i32>();
    let attributes = lists.values().as_struct();
    let (i, d, x) = (
        attributes.column(3).as_primitive::<Int64Type>(),
        attributes.column(4).as_primitive::<Float64Type>(),
        attributes.column(5).as_binary::<i32>(),
    );
    (i.is_valid(0).then(|| i.value(0)), d.is_valid(0).then(|| d.value(0)), x.is_valid(0).then(|| x.value(0).to_vec()))
}

fn binary(text: &str) -> Vec<u8> {
    let [lenient, strict] = BOTH.map(|strict| attribute(&read(value(text), strict).unwrap()).2);
    assert_eq!(lenient, strict);
    lenient.unwrap()
}

#[test]
fn j1_j2_names_are_camel_case_and_snake_case_is_read_unless_strict() {
    same(span(r#""droppedAttributesCount":7"#), "dropped_attributes_count", "7");
    let snake = span(r#""dropped_attributes_count":7"#);
    let lenient = read(&snake, false).unwrap();
    assert_eq!((cell(&lenient, "dropped_attributes_count").as_str(), lenient.advisories["snake_case"]), ("7", 1));
    let strict = read(&snake, true).unwrap();
    assert_eq!((cell(&strict, "dropped_attributes_count").as_str(), strict.unknown_fields["Span"]), ("0", 1));
    assert!(!strict.advisories.contains_key("snake_case"));
    let whole = r#"{"resource_spans":[{"scope_spans":[{"spans":[{}]}]}]}"#;
    assert_eq!(BOTH.map(|strict| read(whole, strict).unwrap().spans), [1, 0]);
    let mixed = span(r#""dropped_Attributes_Count":7"#);
    assert_eq!(read(mixed, false).unwrap().unknown_fields["Span"], 1);
}

#[test]
fn j3_unknown_members_are_skipped_at_every_level() {
    let any = r#""x":{"a":[1,{"b":[]},{}],"c":"\"}]","d":null,"e":-1.5e3,"f":true}"#;
    let text = format!(
        r#"{{{any},"resourceSpans":[{{{any},"resource":{{{any}}},"scopeSpans":[{{{any},"scope":{{{any}}},"spans":[{{{any},{IDS},
        "name":"n","status":{{{any}}},"links":[{{{any}}}],"events":[{{{any},"attributes":[{{{any},"value":{{{any},
        "arrayValue":{{{any}}}}}}}]}}]}}]}}]}}]}}"#
    );
    same(&text, "name", "n");
    let counted: Vec<_> = read(text, false).unwrap().unknown_fields.into_iter().collect();
    let messages: Vec<_> = counted.iter().map(|(message, _)| *message).collect();
    assert_eq!(
        messages,
        [
            "AnyValue",
            "ArrayValue",
            "Event",
            "ExportTraceServiceRequest",
            "InstrumentationScope",
            "KeyValue",
            "Link",
            "Resource",
            "ResourceSpans",
            "ScopeSpans",
            "Span",
            "Status"
        ]
    );
    assert!(counted.iter().all(|(_, count)| *count == 1), "{counted:?}");
    bad(r#"{"x":[1,]}"#, "json");
    bad(r#"{"x":{"a":1]}"#, "json");
    bad(r#"{"x":[1 2]}"#, "json");
}

#[test]
fn j4_repeated_members_are_overwritten_appended_or_merged() {
    same(span(r#""name":"a","name":"b""#), "name", "b");
    let list = span(r#""attributes":[{"key":"a"}],"name":"n","attributes":[{"key":"b"}]"#);
    for strict in BOTH {
        let decoded = read(&list, strict).unwrap();
        let batch = decoded.batches[0].as_record_batch();
        assert_eq!(batch.column_by_name("attributes").unwrap().as_list::<i32>().value_length(0), 2);
    }
    same(span(r#""status":{"code":2},"status":{"message":"m"}"#), "status_code", "error");
    let merged = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{IDS}}}],"scope":{{"name":"s"}}}}],
        "resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
        "resource":{{"droppedAttributesCount":3}},"scopeSpans":[{{"spans":[{{{IDS}}}]}}]}}],"resourceSpans":[{{}}]}}"#
    );
    same(&merged, "service_name", "shop");
    same(&merged, "scope_name", "s");
    let spans: usize = read(&merged, true).unwrap().batches.iter().map(crate::span::SpanBatch::rows).sum();
    assert_eq!(spans, 2);
    assert_eq!(
        binary(r#"{"arrayValue":{"values":[{"intValue":1}]},"arrayValue":{"values":[{"intValue":2}]}}"#),
        [0x2a, 8, 0x0a, 2, 0x18, 1, 0x0a, 2, 0x18, 2]
    );
    assert_eq!(
        binary(r#"{"arrayValue":{"values":[{}]},"boolValue":true,"arrayValue":{"values":[{"intValue":2}]}}"#),
        [0x2a, 4, 0x0a, 2, 0x18, 2]
    );
}

#[test]
fn j5_null_is_absent_and_an_empty_element_in_a_list() {
    let members = ["name", "kind", "attributes", "events", "links", "status", "startTimeUnixNano", "flags", "type"];
    for member in members.map(|m| format!(r#""{m}":null"#)) {
        same(span(&member), "name", "");
    }
    same(span(r#""events":[null],"links":[null],"attributes":[null]"#), "dropped_links_count", "0");
    assert_eq!(rejected(&body("null")), [Reason::InvalidTraceId]);
    assert_eq!(read(r#"{"resourceSpans":[null,{"scopeSpans":[null]}]}"#, true).unwrap().spans, 0);
    assert_eq!(binary(r#"{"arrayValue":{"values":[null]}}"#), [0x2a, 2, 0x0a, 0]);
    assert_eq!(binary(r#"{"kvlistValue":{"values":[null]}}"#), [0x32, 2, 0x0a, 0]);
}

#[test]
fn j6_j7_only_one_object_or_null_is_a_request() {
    for empty in ["{}", "null", " \r\n\t{ } \n", r#"{"resourceSpans":[]}"#] {
        assert_eq!(BOTH.map(|strict| read(empty, strict).unwrap().spans), [0, 0], "{empty}");
    }
    for text in
        ["\u{feff}{}", "1234", "[]", "\"a\"", "true", "{} {}", "{}x", "/**/{}", "{,}", "{'a':1}", "{a:1}", "nil"]
    {
        bad(text, "json");
    }
    for text in ["", " ", "nul", "{", r#"{"a"#, r#"{"a":"#, r#"{"a":1"#, r#"{"a":"\"#] {
        bad(text, "truncated");
    }
    bad(r#"{"resourceSpans":[{},]}"#, "json");
    bad(r#"{"resourceSpans":[],}"#, "json");
}

#[test]
fn j8_j9_j10_ids_are_hex_of_the_right_length() {
    let upper = body(r#"{"traceId":"0102030405060708090A0B0C0d0e0fFF","spanId":"ABCDEF0405060708","parentSpanId":""}"#);
    same(&upper, "trace_id", "0102030405060708090a0b0c0d0e0fff");
    same(&upper, "parent_span_id", "null");
    for id in ["AQIDBAUGBwgJCgsMDQ4PEA==", "012", "0g", "+1", " 01"] {
        bad(body(&format!(r#"{{"traceId":"{id}"}}"#)), "id");
        bad(span(&format!(r#""links":[{{"spanId":"{id}"}}]"#)), "id");
    }
    assert_eq!(rejected(&body(r#"{"traceId":"0102","spanId":"0102030405060708"}"#)), [Reason::InvalidTraceId]);
    assert_eq!(rejected(&span(r#""parentSpanId":"01""#)), [Reason::InvalidParentSpanId]);
    assert_eq!(rejected(&span(r#""links":[{"traceId":"01"}]"#)), [Reason::InvalidLinkId]);
}

#[test]
fn j11_j12_j13_integers_are_exact_numbers_or_decimal_strings() {
    for text in ["1000", "\"1000\"", "1e3", "1000.0", "\"1.0e3\""] {
        same(span(&format!(r#""flags":{text}"#)), "flags", "1000");
    }
    for text in ["9223372036854775807", "\"9223372036854775807\"", "-9223372036854775808"] {
        let want: i64 = text.trim_matches('"').parse().unwrap();
        assert_eq!(attribute(&read(value(&format!(r#"{{"intValue":{text}}}"#)), true).unwrap()).0, Some(want));
    }
    for text in ["1.5", "4294967296", "-1", "\"\"", "\" 1\"", "\"1 \"", "\"0x10\"", "\"01\"", "1e400", "\"abc\""] {
        bad(span(&format!(r#""flags":{text}"#)), "number");
    }
    bad(span(r#""flags":true"#), "json");
    bad(span(r#""startTimeUnixNano":18446744073709551616"#), "number");
    bad(value(r#"{"intValue":9223372036854775808}"#), "number");
}

#[test]
fn j14_j15_j16_enums_are_numbers_and_names_unless_strict() {
    same(span(r#""kind":2"#), "kind", "server");
    same(span(r#""kind":9"#), "kind", "kind_9");
    same(span(r#""kind":-1"#), "kind", "kind_-1");
    for (member, column, want) in [
        (r#""kind":"SPAN_KIND_CONSUMER""#, "kind", "consumer"),
        (r#""status":{"code":"STATUS_CODE_ERROR"}"#, "status_code", "error"),
    ] {
        let lenient = read(span(member), false).unwrap();
        assert_eq!((cell(&lenient, column).as_str(), lenient.advisories["enum_name"]), (want, 1));
        assert_eq!(read(span(member), true).unwrap_err().kind, "json");
    }
    bad(span(r#""kind":"SPAN_KIND_OTHER""#), "json");
    bad(span(r#""kind":"server""#), "json");
    bad(span(r#""kind":2147483648"#), "number");
    bad(span(r#""kind":true"#), "json");
}

#[test]
fn j17_j18_doubles_are_numbers_strings_or_the_three_special_ones() {
    let double =
        |text: &str| attribute(&read(value(&format!(r#"{{"doubleValue":{text}}}"#)), true).unwrap()).1.unwrap();
    assert_eq!(["1", "\"0.1\"", "1e-400", "\"-infinity\""].map(double), [1.0, 0.1, 0.0, f64::NEG_INFINITY]);
    assert_eq!(["\"Infinity\"", "\"inf\"", "\"INF\""].map(double), [f64::INFINITY; 3]);
    assert!(double("\"NaN\"").is_nan() && double("\"nan\"").is_nan());
    assert_eq!(double("-0").to_bits(), (-0.0_f64).to_bits());
    for text in ["1e400", "-1e400", "\"1e400\"", "\"\"", "\" 1\"", "\"x\""] {
        bad(value(&format!(r#"{{"doubleValue":{text}}}"#)), "number");
    }
}

#[test]
fn j19_j20_j21_a_value_is_an_object_whose_last_variant_counts() {
    assert_eq!(binary(r#"{"arrayValue":{}}"#), [0x2a, 0]);
    assert_eq!(binary(r#"{"kvlistValue":{}}"#), [0x32, 0]);
    for text in ["{}", "null"] {
        assert_eq!(attribute(&read(value(text), true).unwrap()), (None, None, None));
    }
    let last = read(value(r#"{"stringValue":"a","intValue":5}"#), true).unwrap();
    assert_eq!(attribute(&last).0, Some(5));
    for text in ["\"a\"", "1", "true", "[]"] {
        bad(value(text), "json");
    }
}

#[test]
fn j22_missing_members_are_defaults() {
    same(span(r#""attributes":[{"value":{"intValue":1}}],"links":[{}],"events":[{}]"#), "kind", "unspecified");
    let refs = format!(
        r#"{{"resourceSpans":[{{"resource":{{"entityRefs":[{{"type":"service","idKeys":["a",null]}},{{}}]}},
        "scopeSpans":[{{"spans":[{{{IDS}}}]}}]}}]}}"#
    );
    let decoded = read(refs, true).unwrap();
    let resources = decoded.batches[0].as_record_batch().column_by_name("resource").unwrap();
    let lists = resources.as_dictionary::<Int32Type>().values().as_list::<i32>();
    let bytes = lists.values().as_struct().column(5).as_binary::<i32>().value(0);
    assert_eq!(bytes, [b"\x1a\x0e\x12\x07service\x1a\x01a\x1a\x00".as_slice(), b"\x1a\x00"].concat());
}

#[test]
fn j23_j24_bytes_are_base64_and_booleans_are_words() {
    for text in ["+/+/AQ==", "+/+/AQ", "-_-_AQ==", "-_-_AQ"] {
        assert_eq!(binary(&format!(r#"{{"bytesValue":"{text}"}}"#)), [0xfb, 0xff, 0xbf, 1], "{text}");
    }
    assert_eq!(binary(r#"{"bytesValue":""}"#), [0_u8; 0]);
    for text in ["A", "AQ=", "A*", "+_", "AQ==AQ=="] {
        bad(value(&format!(r#"{{"bytesValue":"{text}"}}"#)), "base64");
    }
    for text in ["1", "\"true\"", "truth", "fals"] {
        bad(value(&format!(r#"{{"boolValue":{text}}}"#)), "json");
    }
    assert_eq!(attribute(&read(value(r#"{"boolValue":true}"#), true).unwrap()).0, Some(1));
}

#[test]
fn j25_j26_strings_are_unescaped_repaired_and_free_of_control_characters() {
    same(span(r#""name":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#), "name", "\"\\/\u{8}\u{c}\n\r\té😀");
    same(span(r#""n\u0061me":"x""#), "name", "x");
    for (text, want) in [
        (r"\ud800", "\u{fffd}"),
        (r"\udc00x", "\u{fffd}x"),
        (r"\ud800A", "\u{fffd}A"),
        (r"\ud800\ud83d\ude00", "\u{fffd}😀"),
    ] {
        same(span(&format!(r#""name":"{text}""#)), "name", want);
    }
    let raw =
        [span(r#""name":"a"#).split("]}]}]}").next().unwrap().trim_end_matches('}').as_bytes(), b"\xff\""].concat();
    let raw = [&raw[..], b"}]}]}]}"].concat();
    same(&raw, "name", "a\u{fffd}");
    assert_eq!(read(&raw, true).unwrap().advisories["invalid_utf8"], 1);
    // Each repair is counted, that of a lone surrogate too, and within lists too.
    let nested =
        value(r#"{"arrayValue":{"values":[{"stringValue":"\ud800"},{"kvlistValue":{"values":[{"key":"\udfff"}]}}]}}"#);
    for (text, count) in [(span(r#""name":"\udc00""#), 1), (span(r#""events":[{"name":"a\ud800"}]"#), 1), (nested, 2)] {
        let decoded = read(&text, true).unwrap();
        assert_eq!((decoded.advisories["invalid_utf8"], cell(&decoded, "anomalies").as_str()), (count, "8"), "{text}");
    }
    for text in [r"\x", r"\u12", r"\u12g4", "\n", "\u{0}", "\\\n", r"\u+123"] {
        bad(span(&format!(r#""name":"{text}""#)), "json");
        bad(span(&format!(r#""unknown":"{text}""#)), "json");
    }
}

/// A value of this many array levels.
fn nested(levels: usize) -> String {
    format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels))
}

#[test]
fn j27_nesting_has_a_limit_for_values_and_one_for_everything() {
    assert_eq!(rejected(&value(&nested(32))), []);
    assert_eq!(rejected(&value(&nested(33))), [Reason::ValueTooDeep]);
    bad(value(&nested(60)), "nesting");
    let unknown = |levels: usize| format!(r#"{{"x":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert_eq!(read(unknown(127), true).unwrap().spans, 0);
    bad(unknown(128), "nesting");
    bad("[".repeat(1 << 20), "json");
    bad(format!(r#"{{"x":{}"#, "[".repeat(1 << 20)), "nesting");
    let in_resource = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"value":{}}}]}},"scopeSpans":[{{"spans":[{{{IDS}}},{{{IDS}}}]}}]}}]}}"#,
        nested(33)
    );
    assert_eq!(rejected(&in_resource), [Reason::ValueTooDeep; 2]);
    // The call stack of 32 levels fits a small thread.
    let text = value(&nested(32));
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(move || read(text, true).unwrap().spans);
    assert_eq!(small.unwrap().join().unwrap(), 1);
    let limits = Limits { max_value_depth: 2, ..Limits::default() };
    let decoded = decode_json(value(&nested(3)).as_bytes(), &limits, false, &mut SpanBuilder::new()).unwrap();
    assert_eq!(decoded.rejected[0].reason, Reason::ValueTooDeep);
    // What a later variant replaces is not stored, however deep it was; the same in protobuf.
    let deep = format!(r#"{{"kvlistValue":{{"values":[{{"key":"k","value":{}}}]}},"arrayValue":{{}}}}"#, nested(3));
    let decoded = decode_json(value(&deep).as_bytes(), &limits, false, &mut SpanBuilder::new()).unwrap();
    assert_eq!((decoded.spans, decoded.rejected.len()), (1, 0));
}

#[test]
fn j28_j29_the_wrong_json_type_and_malformed_numbers_are_bad_data() {
    for member in [r#""attributes":"a""#, r#""attributes":{}"#, r#""events":{}"#, r#""name":5"#, r#""traceId":5"#] {
        bad(span(member), "json");
    }
    for text in [r#"{"resourceSpans":{}}"#, r#"{"resourceSpans":[{"scopeSpans":{}}]}"#, r#"{"resourceSpans":[5]}"#] {
        bad(text, "json");
    }
    for (number, kind) in [("01", "number"), ("+1", "json"), ("NaN", "json"), ("1.", "number"), ("-", "number")] {
        bad(span(&format!(r#""flags":{number}"#)), kind);
        bad(span(&format!(r#""unknown":{number}"#)), kind);
    }
}

#[test]
fn an_error_names_the_json_path_and_the_byte() {
    let text = span(r#""attributes":[{"key":"a"},{"value":{"arrayValue":{"values":[{"intValue":"x"}]}}}]"#);
    let error = read(&text, true).unwrap_err();
    assert_eq!(error.path, "resourceSpans[0].scopeSpans[0].spans[0].attributes[1].value.arrayValue.values[0].intValue");
    assert_eq!(error.offset, text.find("\"x\"").unwrap());
}

#[test]
fn limits_reject_the_span_alone() {
    let limits = Limits { max_attributes: 1, max_events: 1, max_links: 1, max_key_bytes: 1, ..Limits::default() };
    for (members, want) in [
        (r#""attributes":[{},{}]"#, Some(Reason::TooManyAttributes)),
        (r#""events":[{},{}]"#, Some(Reason::TooManyEvents)),
        (r#""links":[{},{}]"#, Some(Reason::TooManyLinks)),
        (r#""attributes":[{"key":"ab"}]"#, Some(Reason::KeyTooLong)),
        (r#""attributes":[{"key":"a"}],"events":[{}],"links":[{}]"#, None),
    ] {
        let text = body(&format!("{{{IDS},{members}}},{{{IDS}}}"));
        let decoded = decode_json(text.as_bytes(), &limits, true, &mut SpanBuilder::new()).unwrap();
        assert_eq!(decoded.rejected.first().map(|r| r.reason), want, "{members}");
        assert_eq!(decoded.batches[0].rows() + decoded.rejected.len(), 2);
    }
    let one = format!("{{{IDS}}}");
    let limits = Limits { max_span_bytes: one.len(), ..Limits::default() };
    let text = body(&format!("{one}, {} ", one.replace("}", " }")));
    let decoded = decode_json(text.as_bytes(), &limits, true, &mut SpanBuilder::new()).unwrap();
    let sizes: Vec<_> = decoded.rejected.iter().map(|r| (r.reason, r.bytes, r.path.as_str())).collect();
    assert_eq!(sizes, [(Reason::SpanTooLarge, one.len() + 1, "resourceSpans[0].scopeSpans[0].spans[1]")]);
}

#[test]
fn the_builder_is_empty_after_an_error() {
    let mut builder = SpanBuilder::new();
    let broken = body(&format!("{{{IDS}}},{{{IDS},\"name\":5}}"));
    decode_json(broken.as_bytes(), &Limits::default(), false, &mut builder).unwrap_err();
    let decoded = decode_json(span(r#""name":"n""#).as_bytes(), &Limits::default(), false, &mut builder).unwrap();
    assert_eq!((decoded.spans, decoded.batches[0].rows()), (1, 1));
    let flags = decoded.batches[0].as_record_batch().column_by_name("flags").unwrap().as_primitive::<UInt32Type>();
    assert_eq!(flags.value(0), 0);
}
