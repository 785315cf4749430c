//! The file of the catalogue: `catalog/{manifest_version:020}.arrow.zst` (storage.md 10.2).
//!
//! Duty: [`encode`] and [`decode`]. Guarantee: what comes back is what was written; bytes that are not say so, and never
//! come back as other counts. Left to others: when it is written, and which one counts (`mod.rs`).
//!
//! One zstd frame with content checksum over one Arrow IPC stream, final:
//!
//! | column | type | content |
//! |---|---|---|
//! | table | Utf8 | `attributes`, `resource`, `scope`: keys of that level; `services`; `operations` |
//! | key | Utf8 null | of an attribute key |
//! | service_name | Utf8 null | of a service or an operation |
//! | name, kind | Utf8 null | of an operation |
//! | types | UInt8 | bit `t` = some value had the attribute type `t`, on any day |
//! | day | Date32 | |
//! | rows, errors | UInt64 | spans of the day; errors only of services and operations |
//! | first_seen, last_seen | Timestamp(ns, UTC) | start times of the first and the last of them |
//!
//! A row without any name is that of all the rest. Metadata of the schema: `wg.catalog` =
//! `{"format":1,"version":V,"position":µs,"floor":day}`; counted are the rows in parts up to that store position, and
//! of days from `floor` on.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt8Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, TimeUnit, TimestampNanosecondType, UInt8Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::counts::{Counts, Day, Entry, Table};
use crate::span::schema::timestamp;

/// The folder of the files.
pub const FOLDER: &str = "catalog";

const SUFFIX: &str = ".arrow.zst";
const METADATA_KEY: &str = "wg.catalog";
const FORMAT: u32 = 1;
const LEVEL: i32 = 3;
/// Rows that are encoded at once.
const BATCH_ROWS: usize = 8192;
/// Columns of names, in the order of the file.
const NAMES: [&str; 4] = ["key", "service_name", "name", "kind"];

/// What a file says besides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: u32,
    version: u64,
    position: i64,
    floor: i32,
}

/// Where the file of the manifest's `version` lies.
pub fn path_of(version: u64) -> Path {
    Path::from(format!("{FOLDER}/{version:020}{SUFFIX}"))
}

/// The manifest version of the file with this name; `None` if it is none of the catalogue's.
pub fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

const fn word(table: Table) -> &'static str {
    match table {
        Table::Attributes => "attributes",
        Table::Resource => "resource",
        Table::Scope => "scope",
        Table::Services => "services",
        Table::Operations => "operations",
    }
}

/// The columns of [`NAMES`] that have the names of `table`.
const fn places(table: Table) -> &'static [usize] {
    match table {
        Table::Attributes | Table::Resource | Table::Scope => &[0],
        Table::Services => &[1],
        Table::Operations => &[1, 2, 3],
    }
}

/// The file of `counts` at `version`, which has the rows up to the store position `position_us`.
pub fn encode(version: u64, position_us: i64, counts: &Counts) -> Result<Vec<u8>, ArrowError> {
    let head = Head { format: FORMAT, version, position: position_us, floor: counts.floor() };
    let head = serde_json::to_string(&head).expect("plain numbers are JSON");
    let schema = Arc::new(schema().with_metadata([(METADATA_KEY.to_owned(), head)].into()));
    let mut frame = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    frame.include_checksum(true)?;
    let mut stream = StreamWriter::try_new(frame, &schema)?;
    for table in Table::ALL {
        let mut rows = Vec::new();
        for (names, entry) in counts.rows(table) {
            rows.extend(entry.days.iter().map(|day| (names.clone(), entry, *day)));
            if rows.len() >= BATCH_ROWS {
                stream.write(&batch(&schema, table, &std::mem::take(&mut rows))?)?;
            }
        }
        stream.write(&batch(&schema, table, &rows)?)?;
    }
    Ok(stream.into_inner()?.finish()?)
}

fn schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let mut fields = vec![text("table").with_nullable(false)];
    fields.extend(NAMES.map(text));
    fields.extend([
        Field::new("types", DataType::UInt8, false),
        Field::new("day", DataType::Date32, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("errors", DataType::UInt64, false),
        Field::new("first_seen", timestamp(TimeUnit::Nanosecond), false),
        Field::new("last_seen", timestamp(TimeUnit::Nanosecond), false),
    ]);
    Schema::new(fields)
}

type Row<'a> = (Option<Vec<&'a str>>, &'a Entry, Day);

fn batch(schema: &Arc<Schema>, table: Table, rows: &[Row<'_>]) -> Result<RecordBatch, ArrowError> {
    let name = |column: usize| -> ArrayRef {
        let place = places(table).iter().position(|of| *of == column);
        Arc::new(rows.iter().map(|(names, _, _)| Some(names.as_ref()?[place?])).collect::<StringArray>())
    };
    let number = |of: fn(&Day) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(_, _, day)| of(day))))
    };
    let time = |of: fn(&Day) -> i64| -> ArrayRef {
        let times = rows.iter().map(|(_, _, day)| of(day));
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(rows.iter().map(|_| word(table))))];
    columns.extend((0..NAMES.len()).map(name));
    columns.extend([
        Arc::new(UInt8Array::from_iter_values(rows.iter().map(|(_, entry, _)| entry.types))) as ArrayRef,
        Arc::new(Date32Array::from_iter_values(rows.iter().map(|(_, _, day)| day.day))),
        number(|day| day.rows),
        number(|day| day.errors),
        time(|day| day.first_ns),
        time(|day| day.last_ns),
    ]);
    RecordBatch::try_new(schema.clone(), columns)
}

/// The counts of the file of `version`, to hold about `share` bytes, and the store position up to which they have the
/// rows. Errors: what is wrong with `bytes`, as half a sentence.
pub fn decode(version: u64, bytes: &[u8], share: usize) -> Result<(Counts, i64), String> {
    let not_zstd = |e: std::io::Error| format!("it cannot be decompressed: {e}");
    let frame = || zstd::stream::Decoder::new(bytes).map_err(not_zstd);
    // All of it before any of it is read: the checksum stands at the end.
    std::io::copy(&mut frame()?, &mut std::io::sink()).map_err(not_zstd)?;
    let not_arrow = |e: ArrowError| format!("it is no Arrow stream of the catalogue: {e}");
    let stream = StreamReader::try_new(frame()?, None).map_err(not_arrow)?;
    let head = stream.schema().metadata().get(METADATA_KEY).cloned().unwrap_or_default();
    let head: Head = serde_json::from_str(&head).map_err(|e| format!("`{METADATA_KEY}` cannot be read: {e}"))?;
    if head.format != FORMAT || head.version != version {
        return Err(format!("it says format {} and version {}", head.format, head.version));
    }
    if stream.schema().fields() != schema().fields() {
        return Err("its columns are not those of the catalogue".to_owned());
    }
    let mut counts = Counts::new(share);
    counts.begin_at(head.floor);
    for batch in stream {
        read(&batch.map_err(not_arrow)?, &mut counts)?;
    }
    counts.fit();
    Ok((counts, head.position))
}

fn read(batch: &RecordBatch, counts: &mut Counts) -> Result<(), String> {
    let tables = batch.column(0).as_string::<i32>();
    let names: Vec<&StringArray> = (1..=NAMES.len()).map(|at| batch.column(at).as_string::<i32>()).collect();
    let rest = |at: usize| batch.column(1 + NAMES.len() + at);
    let types = rest(0).as_primitive::<UInt8Type>().values();
    let days = rest(1).as_primitive::<Date32Type>().values();
    let [rows, errors] = [2, 3].map(|at| rest(at).as_primitive::<UInt64Type>().values());
    let [first, last] = [4, 5].map(|at| rest(at).as_primitive::<TimestampNanosecondType>().values());
    for row in 0..batch.num_rows() {
        let table = Table::ALL.into_iter().find(|table| word(*table) == tables.value(row));
        let table = table.ok_or_else(|| format!("it has no table `{}`", tables.value(row)))?;
        let day =
            Day { day: days[row], rows: rows[row], errors: errors[row], first_ns: first[row], last_ns: last[row] };
        let of_table = places(table).iter().map(|at| names[*at]);
        let named: Option<Vec<&str>> = of_table.map(|names| names.is_valid(row).then(|| names.value(row))).collect();
        match named {
            Some(named) => counts.add(table, &named, day, types[row]),
            None => counts.add_rest(table, day, types[row]),
        }
    }
    Ok(())
}
