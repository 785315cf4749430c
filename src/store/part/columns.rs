//! The columns of a part's file and how each is encoded (storage.md 7.1).
//!
//! Duty: the file's Arrow schema and its Parquet writer properties. Guarantee: nothing is left to the writer's
//! defaults, which under version 2.0 differ from what readers of these files expect. Left to others: rows (`encode`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{
    BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::Error;
use super::keys::Level;
use super::promote::Choice;
use crate::span::pinned::ScalarType;
use crate::span::schema;
use crate::store::Config;

/// Rows of a data page: pages of all flat columns end on the same rows.
pub(in crate::store) const ZONE_ROWS: usize = 16_384;
const WRITE_BATCH_ROWS: usize = 1_024;
pub(super) const PAGE_BYTES: usize = 1 << 20;
const TRACE_DICTIONARY_BYTES: usize = 2 << 20;
pub(super) const TEXT_DICTIONARY_BYTES: usize = 1 << 20;
pub(super) const STATISTICS_BYTES: usize = 64;

/// The name of a promoted column.
pub(super) fn promoted_name(level: Level, key: &str) -> String {
    format!("{}.{key}", level.as_str())
}

/// Columns of [`schema::stored`] with plain lists, then the promoted columns.
pub(super) fn file_schema(choices: &[Vec<Choice>; 3]) -> SchemaRef {
    let mut fields: Vec<Field> = schema::stored().fields().iter().map(|field| plain(field)).collect();
    for (level, choices) in Level::ALL.into_iter().zip(choices) {
        fields.extend(choices.iter().map(|c| Field::new(promoted_name(level, &c.key), arrow_type(c.of), true)));
    }
    Arc::new(Schema::new(fields))
}

/// The columns of a row group before it is written: text has a dictionary, whatever readers of the file are to make of it.
pub(super) fn group_schema(choices: &[Vec<Choice>; 3]) -> SchemaRef {
    let word = |field: &Field| match field.data_type() {
        DataType::Utf8View => field.clone().with_data_type(schema::word()),
        _ => field.clone(),
    };
    Arc::new(Schema::new(file_schema(choices).fields().iter().map(|field| word(field)).collect::<Vec<_>>()))
}

fn plain(field: &Field) -> Field {
    if *field.data_type() == schema::interned_attributes() {
        return field.clone().with_data_type(schema::attributes());
    }
    field.clone()
}

fn arrow_type(of: ScalarType) -> DataType {
    match of {
        ScalarType::Text => DataType::Utf8View,
        ScalarType::Int => DataType::Int64,
        ScalarType::Double => DataType::Float64,
        ScalarType::Bool => DataType::Boolean,
    }
}

/// How one leaf is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// It has a dictionary of fewer than so many bytes.
    pub(super) dictionary: Option<usize>,
    /// The only encoding, or the one that follows a full dictionary.
    pub(super) encoding: Encoding,
    pub(super) statistics: EnabledStatistics,
    pub(super) bloom: bool,
}

impl Leaf {
    const fn plain() -> Self {
        Self { dictionary: None, encoding: Encoding::PLAIN, statistics: EnabledStatistics::None, bloom: false }
    }

    const fn dictionary(bytes: usize, statistics: EnabledStatistics) -> Self {
        Self { dictionary: Some(bytes), encoding: Encoding::PLAIN, statistics, bloom: false }
    }
}

/// The properties of a file with `schema`, whose filters are made for `group_rows` rows.
pub(super) fn properties(schema: &Schema, group_rows: usize, config: &Config) -> Result<WriterProperties, Error> {
    let level = ZstdLevel::try_new(config.zstd_level)?;
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("weavergen ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_encoding(Encoding::PLAIN)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES))
        .set_offset_index_disabled(false)
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_data_page_row_count_limit(ZONE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES);
    for field in schema.fields() {
        builder = leaves(builder, &mut vec![field.name().clone()], field.data_type(), field.name(), group_rows, config);
    }
    Ok(builder.build())
}

/// Sets the properties of every leaf below `path`.
fn leaves(
    mut builder: WriterPropertiesBuilder,
    path: &mut Vec<String>,
    of: &DataType,
    column: &str,
    group_rows: usize,
    config: &Config,
) -> WriterPropertiesBuilder {
    let nested = |field: &Field| -> Vec<String> { vec![field.name().clone()] };
    match of {
        DataType::List(item) => {
            path.extend(["list".to_owned(), item.name().clone()]);
            builder = leaves(builder, path, item.data_type(), column, group_rows, config);
            path.truncate(path.len() - 2);
            builder
        }
        DataType::Struct(fields) => {
            for field in of_fields(fields) {
                path.extend(nested(field));
                builder = leaves(builder, path, field.data_type(), column, group_rows, config);
                path.pop();
            }
            builder
        }
        _ => {
            let leaf = leaf(path, of, column);
            let at = ColumnPath::new(path.clone());
            builder = builder
                .set_column_encoding(at.clone(), leaf.encoding)
                .set_column_dictionary_enabled(at.clone(), leaf.dictionary.is_some())
                .set_column_statistics_enabled(at.clone(), leaf.statistics)
                .set_column_bloom_filter_enabled(at.clone(), leaf.bloom);
            if let Some(bytes) = leaf.dictionary {
                builder = builder.set_column_dictionary_page_size_limit(at.clone(), bytes);
            }
            if leaf.bloom {
                builder = builder
                    .set_column_bloom_filter_fpp(at.clone(), config.bloom_fpp)
                    .set_column_bloom_filter_max_ndv(at, group_rows as u64);
            }
            builder
        }
    }
}

fn of_fields(fields: &Fields) -> impl Iterator<Item = &Field> {
    fields.iter().map(AsRef::as_ref)
}

/// The row of the table in storage.md 7.1 for a flat column of the file.
pub(super) fn flat_leaf(field: &Field) -> Leaf {
    leaf(std::slice::from_ref(field.name()), field.data_type(), field.name())
}

/// The rows of the table in storage.md 7.1 for the leaves of a column of lists, in their order.
pub(super) fn list_leaves(field: &Field) -> Vec<Leaf> {
    fn walk(path: &mut Vec<String>, of: &DataType, column: &str, found: &mut Vec<Leaf>) {
        match of {
            DataType::List(item) => walk(path, item.data_type(), column, found),
            DataType::Struct(fields) => {
                for field in fields {
                    path.push(field.name().clone());
                    walk(path, field.data_type(), column, found);
                    path.pop();
                }
            }
            _ => found.push(leaf(path, of, column)),
        }
    }
    let mut found = Vec::new();
    walk(&mut vec![field.name().clone()], field.data_type(), field.name(), &mut found);
    found
}

/// The row of the table in storage.md 7.1 for the leaf at `path` of the top-level `column`.
fn leaf(path: &[String], of: &DataType, column: &str) -> Leaf {
    use EnabledStatistics::{Chunk, Page};
    if path.len() > 1 {
        return nested_leaf(path, of, column);
    }
    match column {
        "trace_id" => Leaf { bloom: true, ..Leaf::dictionary(TRACE_DICTIONARY_BYTES, EnabledStatistics::None) },
        "span_id" | "parent_span_id" => Leaf::plain(),
        "start_time" | "ingest_time" | "duration_ns" => {
            Leaf { encoding: Encoding::DELTA_BINARY_PACKED, statistics: Page, ..Leaf::plain() }
        }
        "name" => Leaf { bloom: true, ..Leaf::dictionary(TEXT_DICTIONARY_BYTES, Page) },
        "service_name" | "kind" | "status_code" | "scope_name" | "scope_version" | "span_type" | "parent_service" => {
            Leaf::dictionary(TEXT_DICTIONARY_BYTES, Page)
        }
        "is_entry" => Leaf { encoding: Encoding::RLE, statistics: Chunk, ..Leaf::plain() },
        _ if Level::ALL.iter().any(|level| column.starts_with(&format!("{}.", level.as_str()))) => promoted(of),
        // status_message, trace_state, flags, counts, anomalies, resource_key, semantic-convention columns
        _ => Leaf::dictionary(TEXT_DICTIONARY_BYTES, Chunk),
    }
}

fn promoted(of: &DataType) -> Leaf {
    let page = EnabledStatistics::Page;
    match of {
        DataType::Boolean => Leaf { encoding: Encoding::RLE, statistics: page, ..Leaf::plain() },
        DataType::Int64 => Leaf {
            encoding: Encoding::DELTA_BINARY_PACKED,
            bloom: true,
            ..Leaf::dictionary(TEXT_DICTIONARY_BYTES, page)
        },
        DataType::Float64 => Leaf::dictionary(TEXT_DICTIONARY_BYTES, page),
        _ => Leaf { bloom: true, ..Leaf::dictionary(TEXT_DICTIONARY_BYTES, page) },
    }
}

fn nested_leaf(path: &[String], of: &DataType, column: &str) -> Leaf {
    if column == "semconv_findings" {
        return Leaf::dictionary(TEXT_DICTIONARY_BYTES, EnabledStatistics::Chunk);
    }
    match path.last().map(String::as_str) {
        Some("key" | "type" | "name") => Leaf::dictionary(TEXT_DICTIONARY_BYTES, EnabledStatistics::None),
        _ if matches!(of, DataType::Timestamp(_, _)) => {
            Leaf { encoding: Encoding::DELTA_BINARY_PACKED, ..Leaf::plain() }
        }
        _ => Leaf::plain(),
    }
}
