//! Spans, views and questions for the tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::context::SessionContext;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use prometheus::IntGauge;

use crate::query::{Config, session};
use crate::span::pinned::ScalarType;
use crate::span::schema::attr_type;
use crate::span::{SpanBatch, schema};
use crate::store::index::{self, Indexes, TraceFacts};
use crate::store::manifest::{PartEntry, RowGroupEntry};
use crate::store::part::{KeyEntry, Keys, Part};
use crate::store::{PartSet, Rows, TraceFilter, View};

/// When statements of these tests begin.
pub const NOW: i64 = 1_700_000_000_000_000_000;

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    Empty,
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    /// `["a"]` as an AnyValue.
    Array,
}

impl From<&str> for Val {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<i64> for Val {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

pub type Attrs = Vec<(String, Val)>;

/// A span of a test.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: Option<u64>,
    pub start: i64,
    pub duration: i64,
    pub service: &'static str,
    pub name: &'static str,
    pub kind: &'static str,
    pub status: &'static str,
    /// As compaction fills it.
    pub parent_service: Option<&'static str>,
    pub attributes: Attrs,
    pub resource: Attrs,
    pub resource_key: u64,
    pub events: Vec<(i64, &'static str, Attrs)>,
    /// `semconv_type`, `required_present`, `required_total`; stored in parts only.
    pub semconv: Option<(&'static str, u16, u16)>,
}

impl Span {
    pub fn new(trace: u128, id: u64) -> Self {
        Self {
            trace,
            id,
            parent: Some(999),
            start: NOW,
            duration: 1_000,
            service: "shop",
            name: "op",
            kind: "server",
            status: "unset",
            parent_service: None,
            attributes: vec![],
            resource: vec![],
            resource_key: 0,
            events: vec![],
            semconv: None,
        }
    }

    pub fn with(mut self, key: &str, value: impl Into<Val>) -> Self {
        self.attributes.push((key.to_owned(), value.into()));
        self
    }
}

fn attr_array<'a>(lists: impl Iterator<Item = &'a Attrs>) -> ListArray {
    let mut keys = StringDictionaryBuilder::<Int32Type>::new();
    let (mut kind, mut s) = (UInt8Builder::new(), StringViewBuilder::new());
    let (mut i, mut d, mut x) = (Int64Builder::new(), Float64Builder::new(), BinaryBuilder::new());
    let mut lengths = Vec::new();
    for list in lists {
        lengths.push(list.len());
        for (key, value) in list {
            keys.append_value(key);
            let (k, sv, iv, dv, xv) = match value {
                Val::Empty => (0, None, None, None, None),
                Val::Str(text) => (1, Some(text.as_str()), None, None, None),
                Val::Bool(v) => (2, None, Some(i64::from(*v)), None, None),
                Val::Int(v) => (3, None, Some(*v), None, None),
                Val::Double(v) => (4, None, None, Some(*v), None),
                Val::Bytes(v) => (5, None, None, None, Some(v.clone())),
                Val::Array => (6, None, None, None, Some(vec![0x2a, 5, 0x0a, 3, 0x0a, 1, b'a'])),
            };
            kind.append_value(k);
            s.append_option(sv);
            i.append_option(iv);
            d.append_option(dv);
            x.append_option(xv);
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys.finish()),
        Arc::new(kind.finish()),
        Arc::new(s.finish()),
        Arc::new(i.finish()),
        Arc::new(d.finish()),
        Arc::new(x.finish()),
    ];
    let values = StructArray::new(schema::attr_fields(), columns, None);
    let item = schema::item(DataType::Struct(schema::attr_fields()));
    ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(values), None)
}

fn words<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.collect::<DictionaryArray<Int32Type>>())
}

/// The spans as a batch before the store.
pub fn batch(spans: &[Span]) -> SpanBatch {
    let incoming = schema::incoming();
    let rows = spans.len();
    let columns = incoming.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "trace_id" => {
                let ids = spans.iter().map(|s| s.trace.to_be_bytes());
                Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
            }
            "span_id" => {
                let ids = spans.iter().map(|s| s.id.to_be_bytes());
                Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
            }
            "parent_span_id" => {
                let ids = spans.iter().map(|s| s.parent.map(u64::to_be_bytes));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 8).unwrap())
            }
            "start_time" => {
                let times: Vec<i64> = spans.iter().map(|s| s.start).collect();
                Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
            }
            "resource_key" => Arc::new(UInt64Array::from_iter_values(spans.iter().map(|s| s.resource_key))),
            "duration_ns" => Arc::new(Int64Array::from_iter_values(spans.iter().map(|s| s.duration))),
            "service_name" => words(spans.iter().map(|s| s.service)),
            "name" => words(spans.iter().map(|s| s.name)),
            "kind" => words(spans.iter().map(|s| s.kind)),
            "parent_service" => {
                Arc::new(spans.iter().map(|s| s.parent_service).collect::<DictionaryArray<Int32Type>>())
            }
            "status_code" => words(spans.iter().map(|s| s.status)),
            "attributes" => Arc::new(attr_array(spans.iter().map(|s| &s.attributes))),
            "resource" => {
                let keys = Int32Array::from_iter_values(0..i32::try_from(rows).unwrap());
                Arc::new(DictionaryArray::new(keys, Arc::new(attr_array(spans.iter().map(|s| &s.resource)))))
            }
            "scope" => {
                let none = vec![];
                let values = attr_array(std::iter::once(&none));
                Arc::new(DictionaryArray::new(Int32Array::from(vec![0; rows]), Arc::new(values)))
            }
            "events" => events(spans),
            "links" => {
                let values = new_empty_array(&DataType::Struct(schema::link_fields()));
                let item = schema::item(DataType::Struct(schema::link_fields()));
                Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(vec![0; rows]), values, None))
            }
            "is_entry" => Arc::new(BooleanArray::from(vec![true; rows])),
            _ if field.is_nullable() => new_null_array(field.data_type(), rows),
            _ => cast(&(Arc::new(Int64Array::from(vec![0; rows])) as ArrayRef), field.data_type()).unwrap(),
        }
    });
    SpanBatch::try_new(RecordBatch::try_new(incoming.clone(), columns.collect()).unwrap()).unwrap()
}

fn events(spans: &[Span]) -> ArrayRef {
    let all: Vec<_> = spans.iter().flat_map(|s| &s.events).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(all.iter().map(|e| e.0)).with_timezone("UTC")),
        Arc::new(StringViewArray::from_iter_values(all.iter().map(|e| e.1))),
        Arc::new(attr_array(all.iter().map(|e| &e.2))),
        Arc::new(UInt32Array::from(vec![0; all.len()])),
    ];
    let values = StructArray::new(schema::event_fields(), columns, None);
    let item = schema::item(DataType::Struct(schema::event_fields()));
    let lengths = spans.iter().map(|s| s.events.len());
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(values), None))
}

/// Physical names of promoted columns and their types.
pub type Promotions = BTreeMap<String, DataType>;

/// What the footers of parts say of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footer {
    /// Nothing: they are no parts of ours.
    Silent,
    /// All keys.
    Whole,
    /// Promoted keys only.
    Cut,
}

/// A view that is being filled.
pub struct Fill {
    footer: Footer,
    objects: Arc<InMemory>,
    parts: Vec<Arc<Part>>,
    memory: Vec<Arc<Rows>>,
    ingest_us: i64,
}

impl Fill {
    pub fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        Self { footer: Footer::Whole, objects, parts: vec![], memory: vec![], ingest_us: NOW / 1_000 }
    }

    /// From here on parts have such footers.
    pub fn footer(self, footer: Footer) -> Self {
        Self { footer, ..self }
    }

    pub fn memory(mut self, spans: &[Span]) -> Self {
        self.ingest_us += 1;
        let lsn = u64::try_from(self.memory.len()).unwrap();
        let batch = batch(spans);
        let starts = batch.start_range();
        let (ingest_us, traces) = (self.ingest_us, TraceFilter::default());
        self.memory.push(Arc::new(Rows { batch, ingest_us, lsn, starts, bytes: 0, traces }));
        self
    }

    /// Writes a part as the store does: expanded containers, first values of fitting type taken out into columns.
    pub async fn part(mut self, spans: &[Span], promotions: &Promotions, group_rows: usize) -> Self {
        self.ingest_us += 1;
        let mut residual = spans.to_vec();
        let mut promoted: Vec<(String, DataType, Vec<Option<Val>>)> = vec![];
        for (name, of) in promotions {
            let mut values = vec![];
            for span in &mut residual {
                let (list, key) = match name.split_once('.').unwrap() {
                    ("attr", key) => (&mut span.attributes, key),
                    ("res", key) => (&mut span.resource, key),
                    other => panic!("{other:?}"),
                };
                let fits = |value: &Val| {
                    matches!(
                        (value, of),
                        (Val::Str(_), DataType::Utf8View)
                            | (Val::Int(_), DataType::Int64)
                            | (Val::Double(_), DataType::Float64)
                            | (Val::Bool(_), DataType::Boolean)
                    )
                };
                let first = list.iter().position(|(k, _)| k == key).filter(|&at| fits(&list[at].1));
                values.push(first.map(|at| list.remove(at).1));
            }
            promoted.push((name.clone(), of.clone(), values));
        }
        let rows = batch(&residual).with_ingest_time(self.ingest_us);
        let mut fields: Vec<Field> = vec![];
        let mut columns: Vec<ArrayRef> = vec![];
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            if let Some(column) = semconv_column(field.name(), spans) {
                fields.push(field.as_ref().clone());
                columns.push(column);
            } else if *field.data_type() == schema::interned_attributes() {
                let dictionary = column.as_dictionary::<Int32Type>();
                fields.push(field.as_ref().clone().with_data_type(schema::attributes()));
                columns.push(arrow::compute::take(dictionary.values(), dictionary.keys(), None).unwrap());
            } else {
                fields.push(field.as_ref().clone());
                columns.push(column.clone());
            }
        }
        for (name, of, values) in promoted {
            fields.push(Field::new(name, of.clone(), true));
            columns.push(promoted_column(&of, &values));
        }
        let schema = Arc::new(Schema::new(fields));
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let keys = serde_json::to_string(&keys_of(spans, &residual, promotions, group_rows, self.footer)).unwrap();
        let said = (self.footer != Footer::Silent).then(|| vec![KeyValue::new("wg.keys".to_owned(), keys)]);
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(group_rows))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_key_value_metadata(said)
            .build();
        let mut bytes = vec![];
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let ulid = ulid::Ulid::from_string(&format!("{:026}", self.parts.len())).unwrap();
        let path = format!("spans/date=2023-11-14/hour=22/{ulid}.parquet");
        let mut traces = TraceFacts::default();
        for (group, from) in (0..rows.num_rows()).step_by(group_rows).enumerate() {
            traces.add(group, &rows.slice(from, group_rows.min(rows.num_rows() - from)));
        }
        let index = index::path_of(&path);
        self.objects.put(&Path::from(index.as_str()), traces.finish(ulid).into()).await.unwrap();
        let size = bytes.len() as u64;
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap());
        self.objects.put(&Path::from(path.clone()), bytes.into()).await.unwrap();
        let range = |of: &dyn Fn(&Span) -> i64, spans: &[Span]| {
            [spans.iter().map(of).min().unwrap(), spans.iter().map(of).max().unwrap()]
        };
        let (start, end) = (|s: &Span| s.start, |s: &Span| s.start + s.duration);
        let entry = PartEntry {
            path,
            level: 0,
            hour: "2023-11-14T22".into(),
            rows: spans.len() as u64,
            bytes: size,
            footer_bytes: u64::from(footer) + 8,
            start: range(&start, spans),
            end: range(&end, spans),
            ingest: [self.ingest_us; 2],
            row_groups: spans
                .chunks(group_rows)
                .map(|group| RowGroupEntry { start: range(&start, group), end: range(&end, group) })
                .collect(),
            services: None,
            service_range: None,
            lsn: [0, 0],
            stray: false,
            schema: 1,
            file_xxh3: String::new(),
            sum_xxh3: String::new(),
            index: Some(index),
        };
        self.parts.push(Arc::new(Part::new(entry)));
        self
    }

    pub fn view(self) -> View {
        View {
            manifest_version: 1,
            parts: Arc::new(PartSet { parts: self.parts }),
            memory: self.memory,
            indexes: Some(Indexes::new(self.objects.clone(), 1 << 20, IntGauge::new("a", "b").unwrap())),
            objects: self.objects,
            visible_us: self.ingest_us,
            until_us: None,
            complete: true,
            skipped: None,
            judged: None,
            files: None,
            catalog: None,
        }
    }
}

/// What the store would say of the keys of `spans`, of which `residual` is left in lists.
fn keys_of(spans: &[Span], residual: &[Span], promotions: &Promotions, group_rows: usize, footer: Footer) -> Keys {
    let level = |prefix: &str, of: fn(&Span) -> &[(String, Val)]| {
        let mut names: Vec<&str> = spans.iter().flat_map(of).map(|(key, _)| key.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let entry = |key: &str| {
            let has = |span: &Span| of(span).iter().any(|(k, _)| k == key);
            let promoted = promotions.get(&format!("{prefix}.{key}")).map(|of| match of {
                DataType::Int64 => ScalarType::Int,
                DataType::Float64 => ScalarType::Double,
                DataType::Boolean => ScalarType::Bool,
                _ => ScalarType::Text,
            });
            // What was taken out of a list makes it shorter.
            let count = |span: &Span| of(span).iter().filter(|(k, _)| k == key).count();
            let pairs = spans.iter().zip(residual);
            let lies_in_list = pairs.map(|(all, rest)| has(all) && count(all) == count(rest)).collect::<Vec<_>>();
            let mut groups = vec![0_u8; spans.len().div_ceil(group_rows).div_ceil(8)];
            for row in (0..spans.len()).filter(|row| lies_in_list[*row]) {
                groups[row / group_rows / 8] |= 1 << (row / group_rows % 8);
            }
            let kind = |value: &Val| match value {
                Val::Empty => attr_type::EMPTY,
                Val::Str(_) => attr_type::STRING,
                Val::Bool(_) => attr_type::BOOL,
                Val::Int(_) => attr_type::INT,
                Val::Double(_) => attr_type::DOUBLE,
                Val::Bytes(_) => attr_type::BYTES,
                Val::Array => attr_type::ARRAY,
            };
            let first = |span: &Span| of(span).iter().find(|(k, _)| k == key).map(|(_, value)| kind(value));
            KeyEntry {
                key: key.to_owned(),
                promoted,
                present: spans.iter().filter(|span| has(span)).count() as u64,
                residual: lies_in_list.iter().filter(|lies| **lies).count() as u64,
                mask: (0..spans.len())
                    .filter(|row| lies_in_list[*row])
                    .filter_map(|row| first(&spans[row]))
                    .fold(0, |mask, of| mask | 1 << of),
                groups: groups.iter().map(|byte| format!("{byte:02x}")).collect(),
            }
        };
        let entries = names.into_iter().map(entry);
        entries.filter(|entry| footer == Footer::Whole || entry.promoted.is_some()).collect::<Vec<_>>()
    };
    Keys {
        complete: footer == Footer::Whole,
        attr: level("attr", |span| &span.attributes),
        res: level("res", |span| &span.resource),
        scope: vec![],
    }
}

fn semconv_column(name: &str, spans: &[Span]) -> Option<ArrayRef> {
    let of = spans.iter().map(|span| span.semconv);
    Some(match name {
        "semconv_type" => Arc::new(of.map(|s| s.map(|s| s.0)).collect::<DictionaryArray<Int32Type>>()),
        "required_present" => Arc::new(of.map(|s| s.map(|s| s.1)).collect::<UInt16Array>()),
        "required_total" => Arc::new(of.map(|s| s.map(|s| s.2)).collect::<UInt16Array>()),
        _ => return None,
    })
}

fn promoted_column(of: &DataType, values: &[Option<Val>]) -> ArrayRef {
    let values = values.iter();
    match of {
        DataType::Utf8View => Arc::new(
            values
                .map(|v| v.as_ref().map(|v| if let Val::Str(s) = v { s.as_str() } else { panic!() }))
                .collect::<StringViewArray>(),
        ),
        DataType::Int64 => Arc::new(
            values.map(|v| v.as_ref().map(|v| if let Val::Int(i) = v { *i } else { panic!() })).collect::<Int64Array>(),
        ),
        DataType::Float64 => Arc::new(
            values
                .map(|v| v.as_ref().map(|v| if let Val::Double(d) = v { *d } else { panic!() }))
                .collect::<Float64Array>(),
        ),
        DataType::Boolean => Arc::new(
            values
                .map(|v| v.as_ref().map(|v| if let Val::Bool(b) = v { *b } else { panic!() }))
                .collect::<BooleanArray>(),
        ),
        other => panic!("{other}"),
    }
}

/// A session over `view`.
pub fn session(view: &View) -> SessionContext {
    session_with(view, &Config { threads: 2, ..Config::default() })
}

/// A session over `view` by `config`.
pub fn session_with(view: &View, config: &Config) -> SessionContext {
    let runtime = session::runtime(64 << 20, None).unwrap();
    session::open(view, config, NOW, &runtime).unwrap()
}

/// The answer as rows of text, NULL as `∅`.
pub async fn ask(view: &View, sql: &str) -> Vec<Vec<String>> {
    try_ask(view, sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

/// The answer, or the error's text.
pub async fn try_ask(view: &View, sql: &str) -> Result<Vec<Vec<String>>, String> {
    try_ask_in(&session(view), sql).await
}

/// The answer of a session, or the error's text.
pub async fn try_ask_in(session: &SessionContext, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let text = |error: datafusion::error::DataFusionError| error.to_string();
    let frame = session.sql(sql).await.map_err(text)?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.map_err(text)?;
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    let batch = concat_batches(&schema, &batches).unwrap();
    let options = FormatOptions::default().with_null("∅");
    let columns: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()).collect())
}

/// The one value of an answer.
pub async fn one(view: &View, sql: &str) -> String {
    let rows = ask(view, sql).await;
    assert_eq!((rows.len(), rows.first().map_or(0, Vec::len)), (1, 1), "{sql}: {rows:?}");
    rows[0][0].clone()
}

/// Physical plan with metrics after running it.
pub async fn explain(view: &View, sql: &str) -> String {
    let rows = ask(view, &format!("EXPLAIN ANALYZE {sql}")).await;
    rows.iter().map(|row| row.join(" ")).collect::<Vec<_>>().join("\n")
}

/// A reader of what `view` holds, for those who take views themselves.
pub fn reader(view: &View) -> crate::store::Reader {
    let active = crate::store::Gen::new(0);
    active.push(view.memory.iter().cloned());
    let snapshot = crate::store::Snapshot {
        manifest_version: view.manifest_version,
        parts: view.parts.clone(),
        frozen: vec![],
        active: Arc::new(active),
    };
    let reader = crate::store::Reader::new(Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)), view.objects.clone());
    match &view.indexes {
        Some(indexes) => reader.with_indexes(indexes.clone()),
        None => reader,
    }
}

/// A gateway over `spans` in memory, whose statements begin at [`NOW`].
pub fn gateway(spans: &[Span], config: Config) -> crate::query::Gateway {
    gateway_over(&Fill::new().memory(spans).view(), config)
}

/// A gateway over what `view` holds, whose statements begin at [`NOW`].
pub fn gateway_over(view: &View, config: Config) -> crate::query::Gateway {
    let reader = reader(view);
    let clock = crate::clock::Clock::manual(NOW, 7);
    crate::query::Gateway::new(reader, config, clock, &prometheus::Registry::new()).unwrap()
}
