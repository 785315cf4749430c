//! Rows of `pipeline_runs`, `pipeline_steps`, `pipeline_incidents`, `pipeline_definitions` (bpmn.md 15).
//!
//! Duty: columns of what the engine keeps. Guarantee: times TIMESTAMP(9) UTC, keys BIGINT; order is by key. Left to
//! others: table providers and filters.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bpmn::core::{Key, Row, StateView, hash};

use super::error::Error;
use super::ids::{self, Part};
use super::store::Store;
use super::wanted::Wanted;

/// Columns: name, type, whether they may be null.
type Columns = &'static [(&'static str, Column, bool)];

#[derive(Clone, Copy, Debug)]
enum Column {
    Key,
    Text,
    Time,
}

const RUNS: Columns = &[
    ("run", Column::Key, false),
    ("process_id", Column::Text, false),
    ("version", Column::Key, false),
    ("hash", Column::Text, false),
    ("state", Column::Text, false),
    ("error_code", Column::Text, true),
    ("started_at", Column::Time, false),
    ("ended_at", Column::Time, true),
    ("gate", Column::Text, true),
    ("key", Column::Text, true),
    ("episode", Column::Key, true),
    ("incidents", Column::Key, false),
    ("parent_run", Column::Key, true),
    ("trace_id", Column::Text, false),
];
const STEPS: Columns = &[
    ("run", Column::Key, false),
    ("process_id", Column::Text, false),
    ("element_id", Column::Text, false),
    ("element_type", Column::Text, false),
    ("name", Column::Text, true),
    ("element_key", Column::Key, false),
    ("scope_key", Column::Key, false),
    ("state", Column::Text, false),
    ("attempts", Column::Key, false),
    ("started_at", Column::Time, false),
    ("ended_at", Column::Time, true),
    ("span_id", Column::Text, false),
];
const INCIDENTS: Columns = &[
    ("incident", Column::Key, false),
    ("run", Column::Key, false),
    ("process_id", Column::Text, false),
    ("element_id", Column::Text, false),
    ("element_key", Column::Key, false),
    ("kind", Column::Text, false),
    ("message", Column::Text, false),
    ("expression", Column::Text, true),
    ("count", Column::Key, false),
    ("since", Column::Time, false),
];
const DEFINITIONS: Columns = &[
    ("process_id", Column::Text, false),
    ("version", Column::Key, false),
    ("hash", Column::Text, false),
    ("exec_hash", Column::Text, false),
    ("change", Column::Text, false),
    ("deployed_at", Column::Time, false),
    ("xml", Column::Text, false),
];

/// A table of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `pipeline_runs`.
    Runs,
    /// `pipeline_steps`.
    Steps,
    /// `pipeline_incidents`.
    Incidents,
    /// `pipeline_definitions`.
    Definitions,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Runs, Self::Steps, Self::Incidents, Self::Definitions];

    /// Its name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runs => "pipeline_runs",
            Self::Steps => "pipeline_steps",
            Self::Incidents => "pipeline_incidents",
            Self::Definitions => "pipeline_definitions",
        }
    }

    const fn columns(self) -> Columns {
        match self {
            Self::Runs => RUNS,
            Self::Steps => STEPS,
            Self::Incidents => INCIDENTS,
            Self::Definitions => DEFINITIONS,
        }
    }

    /// Its columns.
    pub fn schema(self) -> SchemaRef {
        let field = |(name, column, nullable): &(&str, Column, bool)| {
            let r#type = match column {
                Column::Key => DataType::Int64,
                Column::Text => DataType::Utf8,
                Column::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            };
            Field::new(*name, r#type, *nullable)
        };
        Arc::new(Schema::new(self.columns().iter().map(field).collect::<Vec<_>>()))
    }

    /// Its rows as committed, those that are wanted and maybe more.
    ///
    /// Errors: the file cannot be read.
    pub fn rows(self, store: &Store, wanted: &Wanted) -> Result<RecordBatch, Error> {
        let mut rows = Rows { columns: self.columns(), cells: Vec::new() };
        match self {
            Self::Runs => runs(store, wanted, &mut rows)?,
            Self::Steps => steps(store, wanted, &mut rows)?,
            Self::Incidents => incidents(store, &mut rows)?,
            Self::Definitions => definitions(store, &mut rows)?,
        }
        rows.batch(self.schema())
    }
}

enum Cell {
    Number(Option<i64>),
    Text(Option<String>),
}

struct Rows {
    columns: Columns,
    /// Row after row.
    cells: Vec<Cell>,
}

impl Rows {
    fn key(&mut self, key: u64) {
        self.cells.push(Cell::Number(i64::try_from(key).ok()));
    }

    fn number(&mut self, number: Option<i64>) {
        self.cells.push(Cell::Number(number));
    }

    fn time(&mut self, ms: Option<i64>) {
        self.cells.push(Cell::Number(ms.map(|ms| ms.saturating_mul(1_000_000))));
    }

    fn text(&mut self, text: impl Into<String>) {
        self.cells.push(Cell::Text(Some(text.into())));
    }

    fn maybe(&mut self, text: Option<String>) {
        self.cells.push(Cell::Text(text));
    }

    fn batch(self, schema: SchemaRef) -> Result<RecordBatch, Error> {
        let width = self.columns.len();
        let column = |at: usize, column: Column| -> ArrayRef {
            let cells = self.cells.iter().skip(at).step_by(width);
            let numbers = |cell: &Cell| if let Cell::Number(number) = cell { *number } else { None };
            match column {
                Column::Key => Arc::new(cells.map(numbers).collect::<Int64Array>()),
                Column::Time => Arc::new(cells.map(numbers).collect::<TimestampNanosecondArray>().with_timezone("UTC")),
                Column::Text => Arc::new(
                    cells
                        .map(|cell| if let Cell::Text(text) = cell { text.as_deref() } else { None })
                        .collect::<StringArray>(),
                ),
            }
        };
        let columns = self.columns.iter().enumerate().map(|(at, (_, of, _))| column(at, *of)).collect();
        RecordBatch::try_new(schema, columns).map_err(|error| Error::Damaged(error.to_string()))
    }
}

fn runs(store: &Store, wanted: &Wanted, rows: &mut Rows) -> Result<(), Error> {
    let engine_id = engine_id(store)?;
    for (run, row) in store.runs_in(wanted.runs.clone(), wanted.since_ms)? {
        rows.key(run);
        rows.text(row.process);
        rows.number(Some(i64::from(row.version)));
        rows.text(row.hash);
        rows.text(row.state.as_str());
        rows.maybe(row.error_code);
        rows.time(Some(row.started_ms));
        rows.time(row.ended_ms);
        let (gate, key, episode) = match row.trigger {
            Some(trigger) => (Some(trigger.gate), Some(trigger.key), i64::try_from(trigger.episode).ok()),
            None => (None, row.message_key, None),
        };
        rows.maybe(gate);
        rows.maybe(key);
        rows.number(episode);
        rows.number(i64::try_from(row.incidents.len()).ok());
        // calls are not built yet: every run is a root
        rows.number(None);
        rows.text(hash::hex(&ids::trace_id(&engine_id, run)));
    }
    Ok(())
}

fn steps(store: &Store, wanted: &Wanted, rows: &mut Rows) -> Result<(), Error> {
    let engine_id = engine_id(store)?;
    let mut of: Option<(u64, String)> = None;
    for ((run, element), row) in store.steps(wanted.runs.clone())? {
        if of.as_ref().is_none_or(|(known, _)| *known != run) {
            of = Some((run, store.run(run)?.map(|run| run.process).unwrap_or_default()));
        }
        rows.key(run);
        rows.text(of.as_ref().map(|(_, process)| process.as_str()).unwrap_or_default());
        rows.text(row.element_id);
        rows.text(row.element_type);
        rows.maybe(row.name);
        rows.key(element);
        rows.key(row.scope);
        rows.text(row.state.as_str());
        rows.number(Some(i64::from(row.attempts)));
        rows.time(Some(row.started_ms));
        rows.time(row.ended_ms);
        rows.text(hash::hex(&ids::span_id(&engine_id, element, Part::Whole, 0)));
    }
    Ok(())
}

fn incidents(store: &Store, rows: &mut Rows) -> Result<(), Error> {
    let view = store.view()?;
    for (key, row) in view.scan(&Key::Incident(0), &Key::Incident(u64::MAX), usize::MAX) {
        let (Key::Incident(incident), Row::Incident(row)) = (key, row) else { continue };
        let process = store.run(row.instance)?.map(|run| run.process).unwrap_or_default();
        let element = store.step(row.instance, row.element)?.map(|step| step.element_id).unwrap_or_default();
        rows.key(incident);
        rows.key(row.instance);
        rows.text(process);
        rows.text(element);
        rows.key(row.element);
        rows.text(row.kind.as_str());
        rows.text(row.message);
        rows.maybe(row.expression);
        rows.number(Some(i64::from(row.count)));
        rows.time(Some(row.since_ms));
    }
    view.failed()
}

fn definitions(store: &Store, rows: &mut Rows) -> Result<(), Error> {
    let view = store.view()?;
    let sources: std::collections::BTreeMap<_, _> = store.definitions()?.into_iter().collect();
    let (from, to) = (Key::Version(String::new(), 0), Key::VersionOf(String::new(), String::new()));
    for (key, row) in view.scan(&from, &to, usize::MAX) {
        let (Key::Version(process, version), Row::Version(row)) = (key, row) else { continue };
        let xml = sources.get(&row.hash).map(|source| String::from_utf8_lossy(&source.bytes).into_owned());
        rows.text(process);
        rows.number(Some(i64::from(version)));
        rows.text(row.hash);
        rows.text(row.exec_hash);
        rows.text(row.change.as_str());
        rows.time(Some(row.deployed_ms));
        rows.text(xml.unwrap_or_default());
    }
    view.failed()
}

fn engine_id(store: &Store) -> Result<[u8; 16], Error> {
    let view = store.view()?;
    let meta = (&view as &dyn StateView).meta();
    view.failed()?;
    Ok(meta.engine_id)
}
