//! The check against a naive one, span by span (S2), and under other cuts of the same spans (S4).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, DictionaryArray, Float64Builder, Int32Array, Int64Builder, ListArray,
    RecordBatch, StringArray, StringViewBuilder, StructArray, UInt8Array, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type, Schema, UInt16Type};
use proptest::prelude::*;

use crate::semconv::check;
use crate::semconv::registry::{Registry, from_texts};
use crate::semconv::source::{Text, Texts};
use crate::semconv::tables::Tables;
use crate::semconv::value::{AttributeType, RequirementLevel};
use crate::span::{SpanBatch, schema};

/// A span as far as the check sees it.
#[derive(Clone, Debug)]
struct Row {
    span_type: Option<String>,
    /// Whether field 17 gave the type.
    field: bool,
    keys: Vec<String>,
    scope: usize,
    resource: usize,
}

/// Schema URLs of scopes and resources: none, of the first registry, of the second, of a stranger.
const URLS: [Option<&str>; 4] =
    [None, Some("https://example.com/one/7"), Some("https://example.com/two/8"), Some("https://example.com/other/9")];
const KEYS: [&str; 10] = ["a", "a.b", "a.b.c", "a.b.c.d", "t", "t.x", "t.x.y", "tx", "_wg.a", "unknown"];
const TYPES: [&str; 5] = ["one.span", "Two.Span", "both.span", "ONE.SPAN", "no.such.span"];

fn word(values: &[Option<String>]) -> ArrayRef {
    Arc::new(values.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
}

/// Attribute lists of texts, one a row. Every second list repeats dictionary values, as merged batches do.
fn lists(rows: &[Vec<(String, Option<String>)>]) -> ListArray {
    let mut texts: Vec<String> = Vec::new();
    let mut keys = Vec::new();
    let (mut s, mut i) = (StringViewBuilder::new(), Int64Builder::new());
    let (mut d, mut x) = (Float64Builder::new(), BinaryBuilder::new());
    let mut types = Vec::new();
    for (row, list) in rows.iter().enumerate() {
        for (key, value) in list {
            let known = texts.iter().position(|text| text == key).filter(|_| row % 2 == 0);
            let at = known.unwrap_or_else(|| {
                texts.push(key.clone());
                texts.len() - 1
            });
            keys.push(i32::try_from(at).unwrap());
            s.append_option(value.as_deref());
            types.push(if value.is_some() { schema::attr_type::STRING } else { schema::attr_type::EMPTY });
            i.append_null();
            d.append_null();
            x.append_null();
        }
    }
    let keys = DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(StringArray::from(texts)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys.unwrap()),
        Arc::new(UInt8Array::from(types)),
        Arc::new(s.finish()),
        Arc::new(i.finish()),
        Arc::new(d.finish()),
        Arc::new(x.finish()),
    ];
    let values = StructArray::new(schema::attr_fields(), columns, None);
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    ListArray::new(schema::item(DataType::Struct(schema::attr_fields())), offsets, Arc::new(values), None)
}

fn interned(rows: &[usize]) -> ArrayRef {
    let distinct: Vec<_> = URLS
        .iter()
        .map(|url| url.map(|url| ("wg.schema_url".to_owned(), Some(url.to_owned()))).into_iter().collect())
        .collect();
    let keys = Int32Array::from_iter_values(rows.iter().map(|at| i32::try_from(*at).unwrap()));
    Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(lists(&distinct))).unwrap())
}

fn batch(rows: &[Row]) -> SpanBatch {
    let attributes: Vec<Vec<(String, Option<String>)>> = rows
        .iter()
        .map(|row| {
            let mut list: Vec<_> = row.keys.iter().map(|key| (key.clone(), None)).collect();
            if let Some(text) = &row.span_type {
                let key = if row.field { "wg.span_type" } else { "otel.span.type" };
                list.insert(list.len() / 2, (key.to_owned(), Some(text.clone())));
            }
            list
        })
        .collect();
    let of = |field: &arrow::datatypes::Field| -> ArrayRef {
        match field.name().as_str() {
            "span_type" => word(&rows.iter().map(|row| row.span_type.clone()).collect::<Vec<_>>()),
            "attributes" => Arc::new(lists(&attributes)),
            "resource" => interned(&rows.iter().map(|row| row.resource).collect::<Vec<_>>()),
            "scope" => interned(&rows.iter().map(|row| row.scope).collect::<Vec<_>>()),
            "events" | "links" => {
                let DataType::List(item) = field.data_type() else { unreachable!() };
                let empty = new_empty_array(item.data_type());
                Arc::new(ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows.len()), empty, None))
            }
            _ => match field.data_type() {
                DataType::Dictionary(_, _) if !field.is_nullable() => word(&vec![Some("w".to_owned()); rows.len()]),
                of if !field.is_nullable() => zeros(of, rows.len()),
                of => new_null_array(of, rows.len()),
            },
        }
    };
    let columns = schema::incoming().fields().iter().map(|field| of(field)).collect();
    SpanBatch::try_new(RecordBatch::try_new(schema::incoming().clone(), columns).unwrap()).unwrap()
}

/// Values of no importance.
fn zeros(of: &DataType, rows: usize) -> ArrayRef {
    let data = arrow::array::ArrayData::new_null(of, rows).into_builder().nulls(None).null_count(0);
    arrow::array::make_array(data.build().unwrap())
}

/// One row of the answer, in plain values.
#[derive(Debug, PartialEq)]
struct Answer {
    span_type: Option<String>,
    by: Option<String>,
    required: Option<(u16, u16)>,
    recommended: Option<(u16, u16)>,
    level: Option<String>,
    findings: Vec<(String, String, String, String)>,
    dropped: u16,
    registry: String,
}

/// The rules of semconv.md 3.1, 4 and 5 on one span, said once more without tables.
fn naive(registries: &[Registry], row: &Row) -> Answer {
    let name = |registry: &Registry| registry.schema_url.rsplit_once('/').unwrap().0.to_owned();
    let url = URLS[row.scope].or(URLS[row.resource]);
    let named = url.and_then(|url| registries.iter().find(|one| name(one) == url.rsplit_once('/').unwrap().0));
    let asked: Vec<&Registry> = named.map_or_else(|| registries.iter().collect(), |one| vec![one]);
    let found = row.span_type.as_ref().and_then(|text| {
        let find = |registry: &&Registry| {
            registry.spans.iter().find(|span| span.span_type.to_lowercase() == text.to_lowercase()).cloned()
        };
        asked.iter().find_map(find)?;
        // Where both define the type, the first one's counts, whoever was asked.
        registries.iter().find_map(|registry| find(&registry))
    });
    let label = format!("{}#{}", registries[0].schema_url, &registries[0].hash()[..12]);
    let Some(span) = found else {
        return Answer {
            span_type: None,
            by: None,
            required: None,
            recommended: None,
            level: None,
            findings: vec![],
            dropped: 0,
            registry: label,
        };
    };
    let sent: BTreeSet<&str> = row.keys.iter().map(|key| if key == "_wg.a" { "wg.a" } else { key.as_str() }).collect();
    let is_template = |key: &str| {
        let defined = registries.iter().flat_map(|one| &one.attributes).find(|one| one.key == key).unwrap();
        matches!(defined.of, AttributeType::Template(_))
    };
    let is_there =
        |key: &str| sent.contains(key) || (is_template(key) && sent.iter().any(|sent| sent.starts_with(key)));
    let of_level = |wanted: &dyn Fn(&RequirementLevel) -> bool| -> Vec<String> {
        let wanted = span.attributes.iter().filter(|one| wanted(&one.level));
        wanted.map(|one| one.attribute.key.clone()).collect()
    };
    let counts = |keys: &[String]| {
        let there = keys.iter().filter(|key| is_there(key)).count();
        Some((u16::try_from(keys.len()).unwrap(), u16::try_from(there).unwrap()))
    };
    let required = of_level(&|level| *level == RequirementLevel::Required);
    let recommended = of_level(&|level| matches!(level, RequirementLevel::Recommended(_)));
    let missing: Vec<_> = required.iter().filter(|key| !is_there(key)).collect();
    let finding = |key: &&String| {
        let [id, level, of] = ["required_attribute_not_present", "violation", "span"].map(str::to_owned);
        (id, level, (*key).clone(), of)
    };
    Answer {
        span_type: Some(span.span_type.clone()),
        by: Some(if row.field { "span_type" } else { "attribute" }.to_owned()),
        required: counts(&required),
        recommended: counts(&recommended),
        level: (!missing.is_empty()).then(|| "violation".to_owned()),
        findings: missing.iter().take(16).map(finding).collect(),
        dropped: u16::try_from(missing.len().saturating_sub(16)).unwrap(),
        registry: label,
    }
}

/// The columns as plain values.
fn answers(columns: &[ArrayRef]) -> Vec<Answer> {
    let text = |at: usize, row: usize| -> Option<String> {
        let words = columns[at].as_dictionary::<Int32Type>();
        let key = (!words.is_null(row)).then(|| words.keys().value(row))?;
        Some(words.values().as_string::<i32>().value(usize::try_from(key).unwrap()).to_owned())
    };
    let number = |at: usize, row: usize| {
        let numbers = columns[at].as_primitive::<UInt16Type>();
        (!numbers.is_null(row)).then(|| numbers.value(row))
    };
    let finding = |row: usize| -> Vec<(String, String, String, String)> {
        let list = columns[8].as_list::<i32>().value(row);
        let fields = list.as_struct();
        let word = |field: usize, at: usize| {
            let words = fields.column(field).as_dictionary::<Int32Type>();
            let key = usize::try_from(words.keys().value(at)).unwrap();
            words.values().as_string::<i32>().value(key).to_owned()
        };
        (0..list.len()).map(|at| (word(0, at), word(1, at), word(2, at), word(3, at))).collect()
    };
    (0..columns[0].len())
        .map(|row| Answer {
            span_type: text(0, row),
            by: text(1, row),
            required: number(3, row).zip(number(4, row)),
            recommended: number(5, row).zip(number(6, row)),
            level: text(7, row),
            findings: finding(row),
            dropped: number(9, row).unwrap(),
            registry: text(10, row).unwrap(),
        })
        .collect()
}

fn load(name: &str, text: &str) -> Registry {
    let of = |name: &str, text: String| Text { name: name.to_owned(), text };
    let manifest = of("manifest.yaml", format!("schema_url: https://example.com/{name}/1.0"));
    let texts = Texts { manifest: Some(manifest), definitions: vec![of("a.yaml", text.to_owned())] };
    from_texts(&texts).unwrap_or_else(|problems| panic!("{text}: {problems:?}")).registry
}

/// A registry of the keys `defined`, with span types whose lists of (key, level) are given.
fn text(defined: &[(usize, bool)], spans: &[(&str, Vec<(usize, u8)>)]) -> String {
    let mut text = "file_format: definition/2\nattributes:\n".to_owned();
    for (key, template) in defined {
        let of = if *template { "template[string]" } else { "string" };
        text += &format!("  - {{key: {}, type: \"{of}\", brief: b, stability: stable}}\n", key_of(*key));
    }
    text += "spans:\n";
    for (span_type, uses) in spans {
        text += &format!(
            "  - type: {span_type}\n    kind: server\n    name: {{note: n}}\n    brief: b\n    stability: stable\n    \
             requirement_level: opt_in\n    attributes:\n"
        );
        for (key, level) in uses {
            let level = ["required", "recommended", "opt_in", "{conditionally_required: c}"][usize::from(*level)];
            text += &format!("      - {{ref: {}, requirement_level: {level}}}\n", key_of(*key));
        }
        if uses.is_empty() {
            text += "      []\n";
        }
    }
    text
}

/// The first keys are those of [`KEYS`], as a sender writes them; more are numbered.
fn key_of(at: usize) -> String {
    match KEYS.get(at) {
        Some(&"_wg.a") => "wg.a".to_owned(),
        Some(key) => (*key).to_owned(),
        None => format!("more.k{at:03}"),
    }
}

fn registry(name: &'static str, types: &'static [&'static str]) -> impl Strategy<Value = Registry> {
    let keys = 90_usize;
    let defined = prop::collection::btree_map(0..keys, any::<bool>(), 5..60_usize);
    (defined, prop::collection::vec(prop::collection::btree_map(0..keys, 0..4_u8, 0..40), types.len())).prop_map(
        move |(defined, uses)| {
            let known: Vec<_> = defined.iter().map(|(key, template)| (*key, *template)).collect();
            let uses = uses.into_iter().map(|uses| uses.into_iter().filter(|(key, _)| defined.contains_key(key)));
            let spans: Vec<_> = types.iter().copied().zip(uses.map(Iterator::collect)).collect();
            load(name, &text(&known, &spans))
        },
    )
}

fn row() -> impl Strategy<Value = Row> {
    let key = prop_oneof![
        3 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned),
        2 => (10..90_usize).prop_map(key_of),
        1 => (10..90_usize).prop_map(|at| format!("{}.below", key_of(at))),
    ];
    let span_type = prop::option::weighted(0.9, prop::sample::select(&TYPES[..]).prop_map(str::to_owned));
    let url = prop_oneof![3 => Just(0_usize), 2 => 0..URLS.len()];
    (span_type, any::<bool>(), prop::collection::vec(key, 0..30), url.clone(), url)
        .prop_map(|(span_type, field, keys, scope, resource)| Row { span_type, field, keys, scope, resource })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_check_of_a_batch_is_the_naive_check_span_by_span_however_the_batch_is_cut(
        one in registry("one", &["one.span", "both.span"]),
        two in registry("two", &["two.span", "Both.Span"]),
        rows in prop::collection::vec(row(), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let tables = Tables::compile(&one, &[&two]);
        let whole = batch(&rows);
        let (columns, counts) = check(&tables, &whole);
        let registries = [one, two];
        let want: Vec<_> = rows.iter().map(|row| naive(&registries, row)).collect();
        prop_assert_eq!(answers(&columns), want);
        let matched = answers(&columns).iter().filter(|answer| answer.span_type.is_some()).count();
        prop_assert_eq!((counts.matched, counts.matched + counts.unmatched), (matched as u64, rows.len() as u64));
        prop_assert!(whole.clone().with_semconv(columns.clone()).is_ok());

        // Slices of the batch, batches of their own, and batches joined again give the same columns.
        let at = cut.index(rows.len() + 1);
        let part = |from: usize, len: usize| {
            SpanBatch::try_new(whole.as_record_batch().slice(from, len)).unwrap()
        };
        let parts = [part(0, at), part(at, rows.len() - at)];
        let own = [batch(&rows[..at]), batch(&rows[at..])];
        let joined = [&own[0], &own[1]].map(|part| part.as_record_batch().clone());
        let joined = SpanBatch::try_new(concat_batches(schema::incoming(), &joined).unwrap()).unwrap();
        let all = |parts: &[SpanBatch]| -> Vec<Answer> {
            parts.iter().flat_map(|part| answers(&check(&tables, part).0)).collect()
        };
        let whole = answers(&columns);
        prop_assert_eq!(&all(&parts), &whole);
        prop_assert_eq!(&all(&own), &whole);
        prop_assert_eq!(&all(&[joined]), &whole);
    }
}

#[test]
fn sixteen_findings_are_kept_by_key_and_the_rest_is_counted() {
    let keys: Vec<_> = (10..30).map(|at| (at, false)).collect();
    let uses = keys.iter().map(|(at, _)| (*at, 0)).collect();
    let registry = load("one", &text(&keys, &[("one.span", uses)]));
    let row = Row { span_type: Some("one.span".into()), field: true, keys: vec![key_of(12)], scope: 0, resource: 0 };
    let answer = &answers(&check(&Tables::compile(&registry, &[]), &batch(&[row])).0)[0];
    assert_eq!((answer.required, answer.findings.len(), answer.dropped), (Some((20, 1)), 16, 3));
    let kept: Vec<_> = answer.findings.iter().map(|finding| finding.2.as_str()).collect();
    assert_eq!(kept[..3], ["more.k010", "more.k011", "more.k013"]);
}

#[test]
fn the_columns_have_the_types_of_the_schema_also_without_rows() {
    let registry = load("one", &text(&[], &[("one.span", vec![])]));
    let (columns, _) = check(&Tables::compile(&registry, &[]), &batch(&[]));
    let schema = Schema::new(schema::semconv_fields().clone());
    assert!(RecordBatch::try_new(Arc::new(schema), columns).is_ok());
}
