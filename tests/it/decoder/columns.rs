//! Columns that follow from a span but are not in it (storage.md 2), where a random request would show too little.

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use weavergen::otlp::{Decoded, Limits, SpanBuilder, decode};

use super::bytes::{attribute, fixed32, fixed64, len, num, request, span_with, text_attribute};
use super::rows::{self, Row};

fn read(body: &[u8]) -> Decoded {
    decode(body, &Limits::default(), &mut SpanBuilder::new()).unwrap()
}

fn row(fields: &[u8]) -> Row {
    rows::read(&read(&request(&[span_with(fields)])).batches[0]).remove(0)
}

fn stored_keys(fields: &[u8]) -> Vec<String> {
    let decoded = read(&request(&[span_with(fields)]));
    let attributes = decoded.batches[0].as_record_batch().column_by_name("attributes").unwrap().as_list::<i32>();
    let keys = attributes.values().as_struct().column(0).as_dictionary::<Int32Type>();
    let values = keys.values().as_string::<i32>();
    keys.keys().values().iter().map(|at| values.value(usize::try_from(*at).unwrap()).to_owned()).collect()
}

#[test]
fn an_entry_is_a_root_or_has_a_remote_parent_or_might_have() {
    let parent = |kind, flags| row(&[len(4, &[3; 8]), num(6, kind), fixed32(16, flags)].concat()).is_entry;
    assert!(row(&[]).is_entry && row(&len(4, &[0; 8])).is_entry);
    assert!(parent(1, 0x300) && !parent(2, 0x100), "flags that know decide");
    assert!(parent(2, 0) && parent(5, 0) && !parent(1, 0) && !parent(3, 0), "else the kind does");
    assert!(!parent(1, 0x200), "bit 9 says nothing without bit 8");
}

#[test]
fn a_duration_is_never_negative_and_the_raw_end_is_kept() {
    let times = |start, end| {
        let fields = [fixed64(7, start), fixed64(8, end)].concat();
        let row = row(&fields);
        (row.duration_ns, row.anomalies, stored_keys(&fields))
    };
    assert_eq!(times(10, 30), (20, 0, vec![]));
    assert_eq!(times(30, 10), (0, 1 << 0, vec!["wg.end_time".into()]));
    assert_eq!(times(0, 10), (0, 1 << 1 | 1 << 5, vec!["wg.end_time".into()]));
    assert_eq!(times(1, u64::MAX / 2), (i64::MAX - 1, 0, vec![]));
}

#[test]
fn keys_that_look_reserved_are_escaped() {
    let keys = ["wg.end_time", "_wg.x", "__wg.", "_x", "wg", "wgx."];
    let fields: Vec<_> = keys.iter().flat_map(|key| len(9, &text_attribute(key.as_bytes(), b"v"))).collect();
    assert_eq!(stored_keys(&fields), ["_wg.end_time", "__wg.x", "___wg.", "_x", "wg", "wgx."]);
}

#[test]
fn the_service_is_text_whatever_was_sent() {
    let service = |value: &[u8]| {
        let resource = len(1, &len(1, &attribute(b"service.name", value)));
        let body = len(1, &[resource, len(2, &len(2, &span_with(&[])))].concat());
        rows::read(&read(&body).batches[0]).remove(0).service_name.unwrap()
    };
    assert_eq!(service(&len(1, b"shop")), "shop");
    assert_eq!(service(&num(3, 7)), "7");
    for none in [&len(1, b"")[..], b"", &len(7, b"x")] {
        assert_eq!(service(none), "unknown_service");
    }
}

#[test]
fn equal_resources_and_scopes_stand_once_in_a_batch() {
    let resource =
        |keys: [&[u8]; 2]| len(1, &keys.iter().flat_map(|key| len(1, &text_attribute(key, b"v"))).collect::<Vec<_>>());
    let spans = len(2, &[len(1, &len(1, b"scope")), len(2, &span_with(&[]))].concat());
    let group = |keys| len(1, &[resource(keys), spans.clone()].concat());
    let body = [group([b"a", b"b"]), group([b"b", b"a"]), group([b"a", b"c"]), group([b"a", b"b"])].concat();
    let decoded = read(&body);
    let batch = decoded.batches[0].as_record_batch();
    let resources = batch.column_by_name("resource").unwrap().as_dictionary::<Int32Type>();
    assert_eq!(resources.keys().values().to_vec(), [0, 0, 1, 0]);
    assert_eq!(batch.column_by_name("scope").unwrap().as_dictionary::<Int32Type>().values().len(), 1);
    let keys: Vec<_> = rows::read(&decoded.batches[0]).iter().map(|row| row.resource_key).collect();
    assert!(keys[0] == keys[1] && keys[0] == keys[3] && keys[0] != keys[2]);
}

#[test]
fn a_resource_that_was_counted_is_counted_again_in_the_next_request() {
    let mut builder = SpanBuilder::new();
    let odd = len(1, &len(1, &[len(1, &len(1, b"no value")), num(900, 1)].concat()));
    let clean = len(1, &len(1, &len(1, &text_attribute(b"service.name", b"shop"))));
    for body in [&odd, &odd, &clean, &clean, &odd] {
        let decoded = decode(body, &Limits::default(), &mut builder).unwrap();
        let expected = usize::from(body == &odd);
        assert_eq!((decoded.advisories.len(), decoded.unknown_fields.len()), (expected, expected));
    }
}
