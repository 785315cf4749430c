//! Columns of a result to rows of keys (gates.md 2).
//!
//! Duty: key, value, samples, trace ids and evidence of each row. Guarantee: one row a key; evidence is at most 8 KiB of
//! JSON, with the column that `conclusive_when` asks for before all others. Left to others: what rows mean (`verdict`).

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde_json::{Map, Value};

use super::definition::Gate;
use super::plan::{is_count, is_number};
use super::result::{ResultRow, RunError};
use super::run::TRACE_IDS;
use crate::query::render::value::{text, write_json};
use crate::span::{TraceId, hex};

/// Most bytes of evidence as JSON.
const EVIDENCE_BYTES: usize = 8 << 10;
/// Trace ids of a verdict.
const MOST_TRACES: usize = 5;

/// The rows of `batches`.
///
/// Errors: a column that is missing or of no usable type, or a key that comes twice.
pub(super) fn read(gate: &Gate, batches: &[RecordBatch]) -> Result<Vec<ResultRow>, RunError> {
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for batch in batches {
        let columns = Columns::of(gate, batch)?;
        for at in 0..batch.num_rows() {
            let row = columns.row(gate, at)?;
            if !seen.insert(row.key.values().cloned().collect::<Vec<_>>()) {
                let pairs: Vec<String> = gate.by.iter().map(|name| format!("{name}={}", row.key[name])).collect();
                return Err(RunError::DuplicateKey(pairs.join(",")));
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The one number of a result that is a count.
pub(super) fn count(batches: &[RecordBatch]) -> Option<u64> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0)?;
    let counts = batch.column(0).as_primitive_opt::<arrow::datatypes::Int64Type>()?;
    u64::try_from(counts.value(0)).ok()
}

struct Columns {
    keys: Vec<(String, ArrayRef)>,
    value: ArrayRef,
    n: Option<ArrayRef>,
    trace_ids: Option<ArrayRef>,
    evidence: Vec<(String, ArrayRef)>,
}

impl Columns {
    fn of(gate: &Gate, batch: &RecordBatch) -> Result<Self, RunError> {
        let find = |name: &str| batch.column_by_name(name).cloned();
        let missing = |name: &str| RunError::Column { column: name.to_owned(), why: "it is not there".to_owned() };
        let keys = gate.by.iter().map(|name| {
            let column = find(name).ok_or_else(|| missing(name))?;
            Ok((name.clone(), unfolded(name, &column)?))
        });
        let keys = keys.collect::<Result<Vec<_>, RunError>>()?;
        let value = doubles(&gate.value_column, &find(&gate.value_column).ok_or_else(|| missing(&gate.value_column))?)?;
        let n = find(&gate.n_column).map(|column| counts(&gate.n_column, &column)).transpose()?;
        let is_evidence = |name: &str| {
            name != gate.value_column
                && name != gate.n_column
                && name != TRACE_IDS
                && !gate.by.iter().any(|by| by == name)
        };
        let schema = batch.schema();
        let named = schema.fields().iter().zip(batch.columns()).map(|(field, column)| (field.name(), column));
        let mut evidence: Vec<(String, ArrayRef)> =
            named.filter(|(name, _)| is_evidence(name)).map(|(name, column)| (name.clone(), column.clone())).collect();
        if let Some((guard, _)) = &gate.conclusive_when {
            evidence.sort_by_key(|(name, _)| name != guard);
        }
        Ok(Self { keys, value, n, trace_ids: find(TRACE_IDS), evidence })
    }

    fn row(&self, gate: &Gate, at: usize) -> Result<ResultRow, RunError> {
        let mut key = BTreeMap::new();
        for (name, column) in &self.keys {
            key.insert(name.clone(), key_text(name, column, at)?);
        }
        let doubles = self.value.as_primitive::<Float64Type>();
        let value = (!doubles.is_null(at)).then(|| doubles.value(at));
        let n = self.n.as_ref().map(|column| {
            let counts = column.as_primitive::<arrow::datatypes::UInt64Type>();
            if counts.is_null(at) { 0 } else { counts.value(at) }
        });
        let trace_ids = match &self.trace_ids {
            Some(column) => trace_ids(column, at)?,
            None => Vec::new(),
        };
        let mut evidence = Map::new();
        let mut left = EVIDENCE_BYTES - 2;
        for (name, column) in &self.evidence {
            let mut bytes = Vec::new();
            write_json(column, at, &mut bytes).map_err(|error| unreadable(name, &error))?;
            // Quotes, colon and comma; escapes in names are rare and cost the value its place at worst.
            let size = bytes.len() + name.len() + 4;
            if size <= left
                && let Ok(value) = serde_json::from_slice::<Value>(&bytes)
            {
                left -= size;
                evidence.insert(name.clone(), value);
            }
        }
        debug_assert_eq!(key.len(), gate.by.len());
        Ok(ResultRow { key, value, n, trace_ids, evidence })
    }
}

fn unreadable(column: &str, error: &dyn std::fmt::Display) -> RunError {
    RunError::Column { column: column.to_owned(), why: error.to_string() }
}

/// Without a dictionary.
pub(crate) fn unfolded(name: &str, column: &ArrayRef) -> Result<ArrayRef, RunError> {
    match column.data_type() {
        DataType::Dictionary(_, of) => cast(column, of).map_err(|error| unreadable(name, &error)),
        _ => Ok(column.clone()),
    }
}

fn doubles(name: &str, column: &ArrayRef) -> Result<ArrayRef, RunError> {
    let column = unfolded(name, column)?;
    match is_number(column.data_type()) {
        true => cast(&column, &DataType::Float64).map_err(|error| unreadable(name, &error)),
        false => Err(unreadable(name, &"it is neither a number nor a boolean")),
    }
}

/// NULL where it is negative or no number.
fn counts(name: &str, column: &ArrayRef) -> Result<ArrayRef, RunError> {
    let column = unfolded(name, column)?;
    match is_count(column.data_type()) {
        true => cast(&column, &DataType::UInt64).map_err(|error| unreadable(name, &error)),
        false => Err(unreadable(name, &"it is no number")),
    }
}

pub(crate) fn key_text(name: &str, column: &ArrayRef, at: usize) -> Result<String, RunError> {
    if column.is_null(at) {
        return Ok(String::new());
    }
    Ok(match column.data_type() {
        DataType::Binary => hex(column.as_binary::<i32>().value(at)),
        DataType::LargeBinary => hex(column.as_binary::<i64>().value(at)),
        DataType::BinaryView => hex(column.as_binary_view().value(at)),
        DataType::FixedSizeBinary(_) => hex(column.as_fixed_size_binary().value(at)),
        _ => text(column, at).map_err(|error| unreadable(name, &error))?.unwrap_or_default(),
    })
}

pub(crate) fn trace_ids(column: &ArrayRef, at: usize) -> Result<Vec<TraceId>, RunError> {
    let mut ids = Vec::new();
    if column.is_null(at) {
        return Ok(ids);
    }
    let items = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(at),
        DataType::LargeList(_) => column.as_list::<i64>().value(at),
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(at),
        _ => return Ok(ids),
    };
    let items = cast(&items, &DataType::Binary).map_err(|error| unreadable(TRACE_IDS, &error))?;
    let bytes = items.as_binary::<i32>();
    for id in bytes.iter().flatten() {
        let id = <[u8; 16]>::try_from(id).map_err(|_| unreadable(TRACE_IDS, &"a trace id has not 16 bytes"))?;
        let id = TraceId(id);
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() == MOST_TRACES {
            break;
        }
    }
    Ok(ids)
}
