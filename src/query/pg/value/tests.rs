//! Claims about values that clients get.

use std::sync::Arc;

use arrow::array::{
    Decimal128Array, DurationNanosecondArray, FixedSizeBinaryArray, ListArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int64Type;

use super::*;

fn written(array: ArrayRef, binary: bool, zone: &TimeZone) -> Vec<Vec<u8>> {
    let column = Column::try_new(&array, Kind::of_type(array.data_type())).unwrap();
    let one = |row| {
        let mut out = BytesMut::new();
        column.write(row, binary, zone, &mut out);
        let length = i32::from_be_bytes(out[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap_or(0), out.len() - 4);
        if length < 0 { b"NULL".to_vec() } else { out[4..].to_vec() }
    };
    (0..array.len()).map(one).collect()
}

fn texts(array: impl Array + 'static) -> Vec<String> {
    let rows = written(Arc::new(array), false, &TimeZone::UTC);
    rows.into_iter().map(|row| String::from_utf8(row).unwrap()).collect()
}

fn bytes(array: impl Array + 'static) -> Vec<Vec<u8>> {
    written(Arc::new(array), true, &TimeZone::UTC)
}

#[test]
fn doubles_are_the_shortest_text_that_reads_back() {
    let values = [0.0, -0.5, 1.0, 123.456, 1e14, 1e15, -2.5e20, 1e-4, 1.5e-7, f64::NAN, f64::INFINITY, 100.0];
    let expected = [
        "0",
        "-0.5",
        "1",
        "123.456",
        "100000000000000",
        "1e+15",
        "-2.5e+20",
        "0.0001",
        "1.5e-07",
        "NaN",
        "Infinity",
        "100",
    ];
    assert_eq!(texts(Float64Array::from(values.to_vec())), expected);
    for (value, text) in values.iter().zip(expected) {
        let read: f64 = text.parse().unwrap();
        assert!(read == *value || value.is_nan(), "{text}");
    }
    assert_eq!(bytes(Float64Array::from(vec![1.5])), [1.5_f64.to_be_bytes()]);
}

#[test]
fn times_keep_microseconds_rounded_down_and_are_shown_in_the_zone() {
    let values = || TimestampNanosecondArray::from(vec![1_700_000_000_123_456_789, -1, 0]).with_timezone("UTC");
    let expected = ["2023-11-14 22:13:20.123456+00", "1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00+00"];
    assert_eq!(texts(values()), expected);
    let kathmandu = TimeZone::fixed(jiff::tz::Offset::from_seconds(5 * 3_600 + 45 * 60).unwrap());
    let shown = written(Arc::new(values()), false, &kathmandu);
    assert_eq!(String::from_utf8(shown[0].clone()).unwrap(), "2023-11-15 03:58:20.123456+05:45");
    let since_2000 = 1_700_000_000_123_456_i64 - EPOCH_US;
    let without: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_700_000_000_123_456_789]));
    assert_eq!(written(without.clone(), false, &kathmandu), [b"2023-11-14 22:13:20.123456"]);
    assert_eq!(written(without, true, &kathmandu), [since_2000.to_be_bytes()]);
    assert_eq!(bytes(values())[0], since_2000.to_be_bytes());
}

#[test]
fn a_second_has_as_many_digits_as_it_needs() {
    let times = Time64MicrosecondArray::from(vec![0, 1, 10, 120_000, 86_399_999_999, 3_600_500_000]);
    let expected = ["00:00:00", "00:00:00.000001", "00:00:00.00001", "00:00:00.12", "23:59:59.999999", "01:00:00.5"];
    assert_eq!(texts(times), expected);
}

#[test]
fn numbers_have_the_width_of_their_type_and_none_wraps() {
    assert_eq!(bytes(arrow::array::Int16Array::from(vec![-2])), [(-2_i16).to_be_bytes()]);
    assert_eq!(bytes(arrow::array::Int32Array::from(vec![-2])), [(-2_i32).to_be_bytes()]);
    assert_eq!(bytes(UInt64Array::from(vec![7])), [7_i64.to_be_bytes()]);
    let too_large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    assert!(Column::try_new(&too_large, Kind::One(Scalar::Int8)).is_err());
}

#[test]
fn decimals_are_groups_of_four_digits() {
    let of = |value: i128, scale: i8| Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
    let group = |words: &[i16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    assert_eq!(texts(of(-1_234_567, 3)), ["-1234.567"]);
    // groups, weight, sign, scale, then the groups
    assert_eq!(bytes(of(-1_234_567, 3))[0], group(&[2, 0, 0x4000, 3, 1234, 5670]));
    assert_eq!(bytes(of(12_345, 0))[0], group(&[2, 1, 0, 0, 1, 2345]));
    assert_eq!(bytes(of(5, 5))[0], group(&[1, -2, 0, 5, 5000]));
    assert_eq!(bytes(of(0, 2))[0], group(&[0, 0, 0, 2]));
}

#[test]
fn arrays_quote_what_would_end_them() {
    let values = StringArray::from(vec![Some("a"), Some("b,c"), None, Some(""), Some("q\"\\"), Some("null")]);
    let field = Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true));
    let list = ListArray::try_new(field, arrow::buffer::OffsetBuffer::from_lengths([6, 0]), Arc::new(values), None);
    assert_eq!(texts(list.unwrap()), [r#"{a,"b,c",NULL,"","q\"\\","null"}"#, "{}"]);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]);
    let mut expected = [1_i32, 1, 20, 2, 1, 8].map(i32::to_be_bytes).concat();
    expected.extend(1_i64.to_be_bytes());
    expected.extend((-1_i32).to_be_bytes());
    assert_eq!(bytes(list), [expected]);
}

#[test]
fn ids_are_hex_durations_intervals_and_nulls_nothing() {
    let ids = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 8]].iter()).unwrap();
    assert_eq!(texts(ids), ["abababababababab"]);
    assert_eq!(texts(DurationNanosecondArray::from(vec![3_723_500_000_000])), ["01:02:03.5"]);
    assert_eq!(texts(Date32Array::from(vec![Some(19_000), None])), ["2022-01-08", "NULL"]);
    assert_eq!(bytes(Date32Array::from(vec![10_957])), [0_i32.to_be_bytes()]);
}

#[test]
fn json_in_binary_begins_with_its_version_where_it_has_one() {
    let written = |of: Scalar| {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["{}"]));
        let mut out = BytesMut::new();
        Column::try_new(&array, Kind::One(of)).unwrap().write(0, true, &TimeZone::UTC, &mut out);
        out[4..].to_vec()
    };
    assert_eq!((written(Scalar::Jsonb), written(Scalar::Json)), (b"\x01{}".to_vec(), b"{}".to_vec()));
}
