//! Exact bytes of every format.

use std::sync::Arc;

use ::arrow::array::*;
use ::arrow::datatypes::{DataType, Field, Schema, TimeUnit, UInt16Type};
use ::arrow::ipc::reader::StreamReader;

use super::*;
use crate::query::tests::fixture::{self, NOW, Span, Val};

fn head(schema: &SchemaRef, max_bytes: u64) -> Head<'_> {
    Head { query_id: "01HF7YAT00000000000000000", snapshot: "2023-11-14T22:13:20.000001Z", schema, max_bytes }
}

fn write(format: Format, batches: &[RecordBatch], max_bytes: u64) -> String {
    let schema = batches[0].schema();
    let (mut renderer, mut out) = Renderer::begin(format, false, head(&schema, max_bytes)).unwrap();
    for batch in batches {
        out.extend(renderer.rows(batch).unwrap());
    }
    let stats = Stats { elapsed_ms: 4, cpu_ms: 3, bytes_scanned: 2, parts: 1, row_groups: 5, ..Stats::default() };
    out.extend(renderer.end(stats, Lacks::default(), &["a \"notice\"".to_owned()]).unwrap());
    String::from_utf8(out).unwrap()
}

fn sample() -> RecordBatch {
    let word: DictionaryArray<UInt16Type> = vec![Some("a,b"), None].into_iter().collect();
    let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([0xab; 8]), None].into_iter(), 8).unwrap();
    let times = TimestampMicrosecondArray::from(vec![Some(NOW / 1000), None]).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("word", Arc::new(word)),
        ("n_ns", Arc::new(Int64Array::from(vec![(1 << 53) + 1, -(1 << 53)]))),
        ("x", Arc::new(Float64Array::from(vec![f64::NAN, 0.1]))),
        ("id", Arc::new(ids)),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b""]))),
        ("at", Arc::new(times)),
        ("text", Arc::new(StringViewArray::from(vec!["say \"hi\"\n", ""]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn a_row_of_a_shared_dictionary_has_its_own_value() {
    let values: Vec<String> = (0..300).map(|n| format!("v{n}")).collect();
    let keys = UInt16Array::from_iter((0..9000_u16).map(|row| (row % 7 != 0).then_some(row % 300)));
    let words = DictionaryArray::<UInt16Type>::try_new(keys, Arc::new(StringArray::from(values))).unwrap();
    let words: ArrayRef = Arc::new(words.slice(1000, 3000));
    for row in 0..3000 {
        let expected = ((row + 1000) % 7 != 0).then(|| format!("v{}", (row + 1000) % 300));
        assert_eq!(value::text(&words, row).unwrap(), expected, "{row}");
    }
    let mut out = Vec::new();
    value::write_json(&words, 2, &mut out).unwrap();
    assert_eq!(out, b"\"v102\"");
}

#[test]
fn json_is_exact() {
    let expected = concat!(
        r#"{"query_id":"01HF7YAT00000000000000000","snapshot":"2023-11-14T22:13:20.000001Z","columns":["#,
        r#"{"name":"word","type":"TEXT","unit":null},{"name":"n_ns","type":"BIGINT","unit":"ns"},"#,
        r#"{"name":"x","type":"DOUBLE","unit":null},{"name":"id","type":"BINARY(8)","unit":null},"#,
        r#"{"name":"raw","type":"BINARY","unit":null},{"name":"at","type":"TIMESTAMP(6)","unit":null},"#,
        r#"{"name":"text","type":"TEXT","unit":null},{"name":"ok","type":"BOOLEAN","unit":null}],"rows":["#,
        r#"["a,b","9007199254740993","NaN","abababababababab","/wA=","2023-11-14T22:13:20.000000000Z","say \"hi\"\n",true],"#,
        r#"[null,-9007199254740992,0.1,null,"",null,"",false]],"#,
        r#""truncated":false,"incomplete":false,"notices":["a \"notice\""],"#,
        r#""stats":{"rows":2,"elapsed_ms":4,"cpu_ms":3,"bytes_scanned":2,"parts":1,"row_groups":5}}"#,
    );
    let written = write(Format::Json, &[sample().slice(0, 1), sample().slice(1, 1)], u64::MAX);
    let parsed: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(parsed, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    let (up_to_stats, _) = expected.split_once(r#""stats""#).unwrap();
    assert!(written.starts_with(up_to_stats), "{written}");
}

#[test]
fn ndjson_is_a_row_a_line_and_an_end() {
    let written = write(Format::Ndjson, &[sample()], u64::MAX);
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with(r#"{"word":null,"n_ns":-9007199254740992,"x":0.1,"id":null,"raw":"","at":null"#));
    let end: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!((&end["$end"]["rows"], &end["$end"]["truncated"]), (&2.into(), &false.into()));
}

#[test]
fn csv_tells_null_from_empty_text() {
    let expected = "word,n_ns,x,id,raw,at,text,ok\r\n\
        \"a,b\",9007199254740993,NaN,abababababababab,/wA=,2023-11-14T22:13:20.000000000Z,\"say \"\"hi\"\"\n\",true\r\n\
        ,-9007199254740992,0.1,,\"\",,\"\",false\r\n";
    assert_eq!(write(Format::Csv, &[sample()], u64::MAX), expected);
}

#[test]
fn text_is_cut_between_rows_and_says_so() {
    let whole = write(Format::Ndjson, &[sample()], u64::MAX);
    let first = whole.lines().next().unwrap().len() as u64 + 1;
    for (max_bytes, rows) in [(first - 1, 0), (first, 1), (first + 1, 1)] {
        let written = write(Format::Ndjson, &[sample()], max_bytes);
        let end: serde_json::Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
        assert_eq!((&end["$end"]["rows"], &end["$end"]["truncated"]), (&rows.into(), &true.into()));
        assert_eq!(written.lines().count(), rows + 1);
    }
}

#[tokio::test]
async fn spans_come_out_of_arrow_as_they_went_in() {
    let span = Span { start: NOW + 1, ..Span::new(1, 0xab) }
        .with("text", "é")
        .with("big", i64::MAX)
        .with("x", Val::Double(f64::INFINITY))
        .with("ok", Val::Bool(true))
        .with("none", Val::Empty)
        .with("raw", Val::Bytes(vec![255]))
        .with("list", Val::Array)
        .with("text", "twice");
    let gateway = fixture::gateway(&[span], crate::query::Config { threads: 1, ..Default::default() });
    let mut answer = gateway.run(crate::query::Statement::new("SELECT * FROM spans")).await.unwrap();
    let batches = answer.collect().await.unwrap();
    let direct = write(Format::Ndjson, &batches, u64::MAX);
    let row: serde_json::Value = serde_json::from_str(direct.lines().next().unwrap()).unwrap();
    assert_eq!(row["span_id"], "00000000000000ab");
    assert_eq!(row["start_time"], "2023-11-14T22:13:20.000000001Z");
    let attributes =
        r#"{"text":"é","big":"9223372036854775807","x":"Infinity","ok":true,"none":null,"raw":"/w==","list":["a"]}"#;
    assert!(direct.contains(&format!(r#""attributes":{attributes}"#)), "{direct}");

    let (mut renderer, mut bytes) = Renderer::begin(Format::Arrow, false, head(&answer.schema, u64::MAX)).unwrap();
    for batch in &batches {
        bytes.extend(renderer.rows(batch).unwrap());
    }
    bytes.extend(renderer.end(Stats::default(), Lacks::default(), &[]).unwrap());
    let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
    for field in reader.schema().fields() {
        let plain = format!("{:?}", field.data_type());
        assert!(!plain.contains("View") && !plain.contains("Dictionary"), "{field}");
    }
    let field = |name: &str| reader.schema().field_with_name(name).unwrap().clone();
    assert_eq!(field("duration_ns").metadata()["wg.unit"], "ns");
    assert_eq!(field("span_id").metadata()["wg.render"], "hex");
    assert_eq!(field("attributes").metadata()["wg.type"], "ATTRIBUTES");
    let back: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let restored: Vec<RecordBatch> = back
        .iter()
        .map(|batch| {
            let columns: Vec<_> = batch.columns().iter().map(value::with_containers).collect();
            let fields = batch
                .schema()
                .fields()
                .iter()
                .zip(&columns)
                .map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true).with_metadata(f.metadata().clone()))
                .collect::<Vec<_>>();
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
        })
        .collect();
    assert_eq!(write(Format::Json, &restored, u64::MAX), write(Format::Json, &batches, u64::MAX));
}

#[test]
fn a_stream_that_is_not_ended_is_not_whole() {
    let schema = sample().schema();
    let (mut renderer, mut bytes) = Renderer::begin(Format::Json, false, head(&schema, u64::MAX)).unwrap();
    bytes.extend(renderer.rows(&sample()).unwrap());
    assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_err());
    assert!(renderer.failed(&Error::new(Code::Timeout, "late")).is_empty());
}

#[test]
fn dictionaries_stay_if_asked_for() {
    let schema = arrow::plain_schema(&sample().schema(), true);
    assert!(matches!(schema.field(0).data_type(), DataType::Dictionary(_, value) if **value == DataType::Utf8));
    assert_eq!(arrow::plain_schema(&sample().schema(), false).field(0).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(5).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
}
