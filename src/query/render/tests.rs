use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};

use super::*;

fn batch() -> RecordBatch {
    let id = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 8], [1; 8]].iter()).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("span_id", Arc::new(id)),
        ("n", Arc::new(Int64Array::from(vec![Some(-1), None]))),
        ("big", Arc::new(UInt64Array::from(vec![1 << 53, (1 << 53) + 1]))),
        ("d", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1, 1_700_000_000_123_456_789]).with_timezone("UTC"))),
        ("text", Arc::new(StringArray::from(vec!["a,\"b\"", ""]))),
        ("raw", Arc::new(BinaryArray::from_vec(vec![b"\x00\xff", b""]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn json_values_follow_the_rules_of_every_type() {
    let expected = concat!(
        r#"["abababababababab",-1,9007199254740992,0.5,"1970-01-01T00:00:00.000000001Z","a,\"b\"","AP8="],"#,
        r#"["0101010101010101",null,"9007199254740993","NaN","2023-11-14T22:13:20.123456789Z","",""]"#,
    );
    assert_eq!(json_rows(&batch()), expected);
    serde_json::from_str::<serde_json::Value>(&format!("[{expected}]")).unwrap();
}

#[test]
fn csv_tells_null_from_empty() {
    let csv = csv_header(&batch().schema()) + &csv_rows(&batch());
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "span_id,n,big,d,at,text,raw");
    assert_eq!(
        lines[1],
        "abababababababab,-1,9007199254740992,0.5,1970-01-01T00:00:00.000000001Z,\"a,\"\"b\"\"\",AP8="
    );
    assert_eq!(lines[2], "0101010101010101,,9007199254740993,NaN,2023-11-14T22:13:20.123456789Z,\"\",\"\"");
}

#[test]
fn arrow_is_a_stream_of_plain_types() {
    let mut stream = ArrowStream::try_new(&batch().schema()).unwrap();
    stream.write(&batch()).unwrap();
    let bytes = stream.finish().unwrap();
    let reader = arrow::ipc::reader::StreamReader::try_new(&bytes[..], None).unwrap();
    assert_eq!(reader.schema().field(0).metadata()["wg.render"], "hex");
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 2);
}

#[test]
fn the_first_format_that_is_known_is_taken() {
    assert_eq!(Format::from_accept("text/html, text/csv;q=0.5"), Some(Format::Csv));
    assert_eq!(Format::from_accept("*/*"), Some(Format::Json));
    assert_eq!(Format::from_accept("image/png"), None);
}

#[test]
fn names_carry_units() {
    let field = |name: &str, of| Field::new(name, of, true);
    assert_eq!(unit(&field("duration_ns", DataType::Int64)), Some("ns"));
    assert_eq!(unit(&field("p99_ms", DataType::Float64)), Some("ms"));
    assert_eq!(unit(&field("alarms", DataType::Utf8)), None);
}
