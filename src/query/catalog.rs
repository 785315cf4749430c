//! The relations `services`, `operations` and `attribute_keys` (sql.md 4, storage.md 10.2).
//!
//! Duty: the catalogue's tables as columns. Guarantee: the three of a statement are of one moment, in which every row that
//! was acknowledged before the statement is counted once. Left to others: counting (`store::catalog`).
//!
//! | relation | columns |
//! |---|---|
//! | `services` | `service_name first_seen last_seen spans errors per_day LIST<STRUCT{day, spans, errors}>` |
//! | `operations` | `service_name name kind`, then as `services` |
//! | `attribute_keys` | `level` (`attributes`, `resource`, `scope`), `key types` (words of OTLP's values), `sql_type` (3.2), `first_seen last_seen rows distinct_estimate top_values`, `per_day LIST<STRUCT{day, rows}>` |
//!
//! Names are NULL in the row that stands for all names beyond the bounds of the catalogue. `first_seen` and `last_seen`
//! are start times, of the days that are kept; `distinct_estimate` and `top_values` are NULL: nothing counts values yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result};
use tokio::sync::OnceCell;

use super::attributes::visible;
use super::config::Config;
use super::error::{Code, Error};
use super::lazy::{Lazy, Rows};
use super::sources::Own;
use crate::span::pinned::{self, ScalarType};
use crate::span::schema::{attr_type, timestamp};
use crate::store::catalog::{Catalog, Day, Line, Table, Tables};
use crate::store::part::Level;
use crate::store::{self, View};

/// The relations over `view`; none where nobody keeps a catalogue.
pub fn tables(view: &View, config: &Config) -> Vec<(&'static str, Arc<dyn TableProvider>)> {
    let Some(catalog) = &view.catalog else { return Vec::new() };
    let source = Arc::new(Source {
        catalog: catalog.clone(),
        view: view.clone(),
        types: config.attribute_types.clone(),
        tables: OnceCell::new(),
    });
    let of = |relation: Relation| -> (&'static str, Arc<dyn TableProvider>) {
        let source = source.clone();
        let rows = move || -> Rows {
            let source = source.clone();
            Box::pin(async move { source.rows(relation).await })
        };
        (relation.name(), Arc::new(Own::new(Lazy::new(relation.schema(), rows))))
    };
    vec![of(Relation::Services), of(Relation::Operations), of(Relation::AttributeKeys)]
}

/// What the relations of a statement share.
#[derive(Debug)]
struct Source {
    catalog: Catalog,
    view: View,
    types: Arc<BTreeMap<String, ScalarType>>,
    tables: OnceCell<Tables>,
}

#[derive(Clone, Copy, Debug)]
enum Relation {
    Services,
    Operations,
    AttributeKeys,
}

impl Relation {
    const fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Operations => "operations",
            Self::AttributeKeys => "attribute_keys",
        }
    }

    fn schema(self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        // Signed, so that sums and differences of them stay BIGINT.
        let number = |name: &str| Field::new(name, DataType::Int64, false);
        let time = |name: &str| Field::new(name, timestamp(TimeUnit::Nanosecond), false);
        let counts = || vec![number("spans"), number("errors"), Field::new("per_day", list(per_day()), false)];
        let mut fields = match self {
            Self::Services => vec![text("service_name")],
            Self::Operations => vec![text("service_name"), text("name"), text("kind")],
            Self::AttributeKeys => vec![
                text("level").with_nullable(false),
                text("key"),
                Field::new("types", list(DataType::Utf8), false),
                text("sql_type").with_nullable(false),
            ],
        };
        fields.extend([time("first_seen"), time("last_seen")]);
        match self {
            Self::Services | Self::Operations => fields.extend(counts()),
            Self::AttributeKeys => fields.extend([
                number("rows"),
                number("distinct_estimate").with_nullable(true),
                Field::new("top_values", list(DataType::Struct(vec![text("value"), number("count")].into())), true),
                Field::new("per_day", list(key_per_day()), false),
            ]),
        }
        Arc::new(Schema::new(fields))
    }
}

fn list(of: DataType) -> DataType {
    DataType::List(item(of))
}

fn item(of: DataType) -> FieldRef {
    Arc::new(Field::new("item", of, false))
}

fn day_fields(numbers: &[&str]) -> Fields {
    let day = Field::new("day", DataType::Date32, false);
    std::iter::once(day).chain(numbers.iter().map(|name| Field::new(*name, DataType::Int64, false))).collect()
}

fn per_day() -> DataType {
    DataType::Struct(day_fields(&["spans", "errors"]))
}

fn key_per_day() -> DataType {
    DataType::Struct(day_fields(&["rows"]))
}

impl Source {
    async fn rows(&self, relation: Relation) -> Result<RecordBatch> {
        let tables = self.tables.get_or_try_init(|| self.catalog.tables(&self.view)).await.map_err(unreadable)?;
        let columns = match relation {
            Relation::Services => counted(tables.of(Table::Services), 1),
            Relation::Operations => counted(tables.of(Table::Operations), 3),
            Relation::AttributeKeys => self.keys(tables),
        };
        Ok(RecordBatch::try_new(relation.schema(), columns)?)
    }

    fn keys(&self, tables: &Tables) -> Vec<ArrayRef> {
        let of_level = |level: Level| tables.of(Table::of_level(level)).iter().map(move |line| (level, line));
        let all: Vec<(Level, &Line)> = Level::ALL.into_iter().flat_map(of_level).collect();
        let key = |line: &Line| line.names.as_ref().and_then(|names| visible::shown(&names[0]).map(str::to_owned));
        let keys: Vec<Option<String>> = all.iter().map(|(_, line)| key(line)).collect();
        let sql_types = all.iter().zip(&keys).map(|((_, line), key)| self.sql_type(key.as_deref(), line.types));
        let words: Vec<Vec<&str>> = all.iter().map(|(_, line)| words(line.types)).collect();
        let types = ListArray::new(
            item(DataType::Utf8),
            OffsetBuffer::from_lengths(words.iter().map(Vec::len)),
            Arc::new(StringArray::from(words.concat())),
            None,
        );
        let lines: Vec<&Line> = all.iter().map(|(_, line)| *line).collect();
        let schema = Relation::AttributeKeys.schema();
        let nothing = |name: &str| {
            let field = schema.field_with_name(name).expect("a column of the relation");
            new_null_array(field.data_type(), all.len())
        };
        vec![
            Arc::new(StringArray::from_iter_values(all.iter().map(|(level, _)| level.column()))),
            Arc::new(StringArray::from_iter(keys.iter().map(Option::as_deref))),
            Arc::new(types),
            Arc::new(StringArray::from_iter_values(sql_types)),
            first_seen(&lines),
            last_seen(&lines),
            sums(&lines, |day| day.rows),
            nothing("distinct_estimate"),
            nothing("top_values"),
            days(&lines, day_fields(&["rows"]), &[|day| day.rows]),
        ]
    }

    /// The type that a bracket has by what is known of its key: pinned, else that of all values.
    fn sql_type(&self, key: Option<&str>, types: u8) -> &'static str {
        let known = key.and_then(|key| self.types.get(key).copied().or_else(|| pinned::type_of(key)));
        let seen = |of: u8| types & (1 << of) != 0;
        let only = |of: &[u8]| types & !of.iter().fold(1 << attr_type::EMPTY, |mask, of| mask | 1 << of) == 0;
        let of = known.unwrap_or(match () {
            () if seen(attr_type::INT) && only(&[attr_type::INT]) => ScalarType::Int,
            () if seen(attr_type::DOUBLE) && only(&[attr_type::INT, attr_type::DOUBLE]) => ScalarType::Double,
            () if seen(attr_type::BOOL) && only(&[attr_type::BOOL]) => ScalarType::Bool,
            () => ScalarType::Text,
        });
        match of {
            ScalarType::Text => "TEXT",
            ScalarType::Int => "BIGINT",
            ScalarType::Double => "DOUBLE",
            ScalarType::Bool => "BOOLEAN",
        }
    }
}

/// The attribute types of a mask, by their words.
fn words(types: u8) -> Vec<&'static str> {
    const WORDS: [&str; 8] = ["empty", "string", "bool", "int", "double", "bytes", "array", "kvlist"];
    WORDS.iter().enumerate().filter(|(of, _)| types & (1 << of) != 0).map(|(_, word)| *word).collect()
}

/// Services or operations, which have so many names.
fn counted(lines: &[Line], names: usize) -> Vec<ArrayRef> {
    let lines: Vec<&Line> = lines.iter().collect();
    let name = |at: usize| -> ArrayRef {
        Arc::new(StringArray::from_iter(lines.iter().map(|line| line.names.as_ref().map(|names| names[at].as_str()))))
    };
    let mut columns: Vec<ArrayRef> = (0..names).map(name).collect();
    columns.extend([
        first_seen(&lines),
        last_seen(&lines),
        sums(&lines, |day| day.rows),
        sums(&lines, |day| day.errors),
        days(&lines, day_fields(&["spans", "errors"]), &[|day| day.rows, |day| day.errors]),
    ]);
    columns
}

fn first_seen(lines: &[&Line]) -> ArrayRef {
    times(lines.iter().map(|line| line.days.iter().map(|day| day.first_ns).min()))
}

fn last_seen(lines: &[&Line]) -> ArrayRef {
    times(lines.iter().map(|line| line.days.iter().map(|day| day.last_ns).max()))
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let values = values.map(|value| value.expect("a line has days"));
    Arc::new(TimestampNanosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn sums(lines: &[&Line], of: impl Fn(&Day) -> u64) -> ArrayRef {
    let sum = |line: &&Line| signed(line.days.iter().fold(0_u64, |sum, day| sum.saturating_add(of(day))));
    Arc::new(Int64Array::from_iter_values(lines.iter().map(sum)))
}

fn days(lines: &[&Line], fields: Fields, numbers: &[fn(&Day) -> u64]) -> ArrayRef {
    let all = || lines.iter().flat_map(|line| &line.days);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Date32Array::from_iter_values(all().map(|day| day.day)))];
    let number =
        |of: &fn(&Day) -> u64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(all().map(|day| signed(of(day))))) };
    columns.extend(numbers.iter().map(number));
    let lengths = OffsetBuffer::from_lengths(lines.iter().map(|line| line.days.len()));
    let values = StructArray::new(fields.clone(), columns, None);
    Arc::new(ListArray::new(item(DataType::Struct(fields)), lengths, Arc::new(values), None))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unreadable(error: store::Error) -> DataFusionError {
    let error = Error::new(Code::PartCorrupt, format!("the catalogue is behind its parts: {error}"));
    DataFusionError::External(Box::new(error.hint("`weavergen store verify` tells what is damaged")))
}
