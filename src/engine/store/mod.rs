//! `engine.redb`: state, events, history, requests, definitions (bpmn.md 11).
//!
//! Duty: reading rows on demand and one transaction a batch. Guarantee: a batch is there wholly or not at all; nothing
//! else writes the file; rows are postcard behind a version byte. Left to others: what is in a batch (`writer`).
//!
//! There is no outbox table: a job to run is an active job of this boot, a wake-up is the first due row, and a
//! cancellation dies with the process it would go to.

mod key;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::{fs, io};

use bpmn::core::{Event, Key, Row, StateView};
use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::history::{RunRow, StepRow};
use super::writer::Stored;

/// Number in `meta.format`.
const FORMAT: u32 = 2;
/// What the library may hold of the file: the state of the runs at hand.
/// By default it would grow to 1 GiB, which no budget knows of.
const CACHE_BYTES: usize = 64 << 20;
/// Format whose rows are [`OLD_ROW`]: they are read as they are.
const OLD_FORMAT: u32 = 1;
/// First byte of every row.
const ROW: u8 = 2;
/// First byte of rows written before runs had a depth.
const OLD_ROW: u8 = 1;

type Bytes = &'static [u8];
type Definition<K> = TableDefinition<'static, K, Bytes>;
const META: Definition<&str> = TableDefinition::new("file");
const EVENTS: Definition<u64> = TableDefinition::new("events");
const BY_INSTANCE: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("by_instance");
const RUNS: Definition<u64> = TableDefinition::new("runs");
const STEPS: Definition<(u64, u64)> = TableDefinition::new("steps");
const REQUESTS: Definition<&str> = TableDefinition::new("requests");
const REQUEST_TIMES: TableDefinition<'static, (i64, &str), ()> = TableDefinition::new("request_times");
const DEFINITIONS: Definition<&str> = TableDefinition::new("definitions");

fn state_table(table: usize) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(key::NAMES[table])
}

/// (run, element key) and the row.
pub type Step = ((u64, u64), StepRow);

/// An event as stored: the first of a commit is marked, so that the spans of one commit stay one batch.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Logged {
    /// Whether it begins a commit.
    pub first: bool,
    /// The fact.
    pub event: Event,
}

/// The bytes of a deployed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SourceRow {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its bindings file.
    pub bindings: Option<Vec<u8>>,
}

/// All that one commit writes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub rows: BTreeMap<Key, Option<Row>>,
    pub events: Vec<Event>,
    pub runs: BTreeMap<u64, RunRow>,
    pub steps: BTreeMap<(u64, u64), StepRow>,
    /// request id → (ms since 1970, answer).
    pub requests: BTreeMap<String, (i64, Stored)>,
    /// content hash → bytes.
    pub definitions: BTreeMap<String, SourceRow>,
    /// Requests older than this are forgotten.
    pub forget_before_ms: i64,
}

/// Opens the database of a store once more.
pub(super) type Opener = Arc<dyn Fn() -> Result<Database, Error> + Send + Sync>;

/// The file, or its twin in memory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// None while it is opened again.
    database: Arc<RwLock<Option<Arc<Database>>>>,
    /// None of a twin, which cannot be opened twice.
    opener: Option<Opener>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.try_exists().map_err(disk)? {
            make(path)?;
        }
        let path = path.to_owned();
        Self::by(Arc::new(move || Ok(Database::builder().set_cache_size(CACHE_BYTES).open(&path)?)))
    }

    /// The twin: the same tables in memory.
    pub fn in_memory() -> Result<Self, Error> {
        Self::on(redb::backends::InMemoryBackend::new())
    }

    /// On any backend, e.g. one that fails.
    pub fn on(backend: impl StorageBackend) -> Result<Self, Error> {
        Self::over(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?, None)
    }

    /// On what `opener` opens, now and after each error.
    pub(super) fn by(opener: Opener) -> Result<Self, Error> {
        Self::over(opener()?, Some(opener))
    }

    fn over(database: Database, opener: Option<Opener>) -> Result<Self, Error> {
        prepare(&database)?;
        Ok(Self { database: Arc::new(RwLock::new(Some(Arc::new(database)))), opener })
    }

    /// Opens the file again after an error, which the library asks for, and writes to it. A twin stays as it is.
    pub(super) fn reopen(&self) -> Result<(), Error> {
        if let Some(opener) = &self.opener {
            let mut database = self.database.write().expect("no holder of this lock panics");
            *database = None;
            *database = Some(Arc::new(opener()?));
        }
        let database = self.database()?;
        prepare(&database)
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        self.database.read().expect("no holder of this lock panics").clone().ok_or(Error::Unavailable)
    }

    fn begin(&self) -> Result<WriteTransaction, Error> {
        let database = self.database()?;
        begin(&database)
    }

    /// The state as committed.
    pub fn view(&self) -> Result<StoreView, Error> {
        let read = self.database()?.begin_read()?;
        let tables = (0..key::NAMES.len())
            .map(|table| Ok(read.open_table(state_table(table))?))
            .collect::<Result<_, Error>>()?;
        Ok(StoreView { tables, failed: RefCell::new(None) })
    }

    /// Commits; returns when it is durable.
    pub(super) fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let write = self.begin()?;
        {
            let mut tables: BTreeMap<usize, redb::Table<'_, Bytes, Bytes>> = BTreeMap::new();
            for (key, row) in &batch.rows {
                let (at, bytes) = key::encode(key);
                let table = match tables.entry(at) {
                    std::collections::btree_map::Entry::Occupied(table) => table.into_mut(),
                    std::collections::btree_map::Entry::Vacant(empty) => {
                        empty.insert(write.open_table(state_table(at))?)
                    }
                };
                match row {
                    Some(row) => drop(table.insert(bytes.as_slice(), encode(row)?.as_slice())?),
                    None => drop(table.remove(bytes.as_slice())?),
                }
            }
            let mut events = write.open_table(EVENTS)?;
            let mut by_instance = write.open_table(BY_INSTANCE)?;
            for (at, event) in batch.events.iter().enumerate() {
                let logged = Logged { first: at == 0, event: event.clone() };
                events.insert(event.seq, encode(&logged)?.as_slice())?;
                if let Some(instance) = event.body.instance() {
                    by_instance.insert((instance, event.seq), ())?;
                }
            }
            let mut runs = write.open_table(RUNS)?;
            for (run, row) in &batch.runs {
                runs.insert(*run, encode(row)?.as_slice())?;
            }
            let mut steps = write.open_table(STEPS)?;
            for (step, row) in &batch.steps {
                steps.insert(*step, encode(row)?.as_slice())?;
            }
            let mut definitions = write.open_table(DEFINITIONS)?;
            for (hash, row) in &batch.definitions {
                definitions.insert(hash.as_str(), encode(row)?.as_slice())?;
            }
            let mut requests = write.open_table(REQUESTS)?;
            let mut times = write.open_table(REQUEST_TIMES)?;
            let old = times
                .range(..(batch.forget_before_ms, ""))?
                .take(1_000)
                .map(|row| row.map(|(key, _)| (key.value().0, key.value().1.to_owned())))
                .collect::<Result<Vec<_>, _>>()?;
            for (at, id) in old {
                times.remove((at, id.as_str()))?;
                // the id may have been used again
                let kept = requests.get(id.as_str())?.map(|row| decode::<(i64, Stored)>(row.value())).transpose()?;
                if kept.is_some_and(|(kept, _)| kept == at) {
                    requests.remove(id.as_str())?;
                }
            }
            for (id, stored) in &batch.requests {
                requests.insert(id.as_str(), encode(stored)?.as_slice())?;
                times.insert((stored.0, id.as_str()), ())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// What was answered to a request, and when.
    pub(super) fn request(&self, id: &str) -> Result<Option<(i64, Stored)>, Error> {
        let table = self.database()?.begin_read()?.open_table(REQUESTS)?;
        table.get(id)?.map(|row| decode(row.value())).transpose()
    }

    /// Events with `from <= seq`, at most `limit`.
    pub fn events(&self, from: u64, limit: usize) -> Result<Vec<Logged>, Error> {
        let table = self.database()?.begin_read()?.open_table(EVENTS)?;
        table.range(from..)?.take(limit).map(|row| decode(row?.1.value())).collect()
    }

    /// Numbers of the events of an instance, in order.
    pub fn events_of(&self, instance: u64) -> Result<Vec<u64>, Error> {
        let table = self.database()?.begin_read()?.open_table(BY_INSTANCE)?;
        table.range((instance, 0)..=(instance, u64::MAX))?.map(|row| Ok(row?.0.value().1)).collect()
    }

    /// One run, live or ended.
    pub fn run(&self, run: u64) -> Result<Option<RunRow>, Error> {
        let table = self.database()?.begin_read()?.open_table(RUNS)?;
        table.get(run)?.map(|row| decode(row.value())).transpose()
    }

    /// All runs, live and ended, by key.
    pub fn runs(&self) -> Result<Vec<(u64, RunRow)>, Error> {
        self.runs_in(0..=u64::MAX, i64::MIN)
    }

    /// The runs of these keys that began at `since_ms` or later, by key.
    pub fn runs_in(&self, keys: RangeInclusive<u64>, since_ms: i64) -> Result<Vec<(u64, RunRow)>, Error> {
        let mut found: Vec<(u64, RunRow)> = Vec::new();
        if keys.is_empty() {
            return Ok(found);
        }
        let table = self.database()?.begin_read()?.open_table(RUNS)?;
        // Keys and the engine's time only grow: before one that is too old all are.
        for row in table.range(keys)?.rev() {
            let (key, row) = row?;
            let row: RunRow = decode(row.value())?;
            if row.started_ms < since_ms {
                break;
            }
            found.push((key.value(), row));
        }
        found.reverse();
        Ok(found)
    }

    /// One step.
    pub fn step(&self, run: u64, element: u64) -> Result<Option<StepRow>, Error> {
        let table = self.database()?.begin_read()?.open_table(STEPS)?;
        table.get((run, element))?.map(|row| decode(row.value())).transpose()
    }

    /// All steps of these runs, by run and key.
    pub fn steps(&self, runs: RangeInclusive<u64>) -> Result<Vec<Step>, Error> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let table = self.database()?.begin_read()?.open_table(STEPS)?;
        table
            .range((*runs.start(), 0)..=(*runs.end(), u64::MAX))?
            .map(|row| row.map_err(Error::from).and_then(|(key, row)| Ok((key.value(), decode(row.value())?))))
            .collect()
    }

    /// Deployed files by content hash.
    pub fn definitions(&self) -> Result<Vec<(String, SourceRow)>, Error> {
        let table = self.database()?.begin_read()?.open_table(DEFINITIONS)?;
        table
            .iter()?
            .map(|row| {
                row.map_err(Error::from).and_then(|(key, row)| Ok((key.value().to_owned(), decode(row.value())?)))
            })
            .collect()
    }

    /// The deployed file of this content hash.
    pub fn definition(&self, hash: &str) -> Result<Option<SourceRow>, Error> {
        let table = self.database()?.begin_read()?.open_table(DEFINITIONS)?;
        table.get(hash)?.map(|row| decode(row.value())).transpose()
    }

    /// The number kept under `name`, e.g. the export cursor.
    pub fn cursor(&self, name: &str) -> Result<Option<u64>, Error> {
        let table = self.database()?.begin_read()?.open_table(META)?;
        table.get(name)?.map(|row| decode(row.value())).transpose()
    }

    /// Keeps a number under `name`.
    pub fn set_cursor(&self, name: &str, at: u64) -> Result<(), Error> {
        let write = self.begin()?;
        write.open_table(META)?.insert(name, encode(&at)?.as_slice())?;
        write.commit()?;
        Ok(())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut write = database.begin_write()?;
    // opening after a kill then reads no more than the roots; costs a second fsync a commit
    write.set_quick_repair(true);
    Ok(write)
}

/// Checks the format, and that all tables are there and can be written.
fn prepare(database: &Database) -> Result<(), Error> {
    let write = begin(database)?;
    {
        let mut meta = write.open_table(META)?;
        let format = meta.get("format")?.map(|row| decode::<u32>(row.value())).transpose()?;
        match format {
            None | Some(OLD_FORMAT) => drop(meta.insert("format", format_row()?.as_slice())?),
            Some(FORMAT) => {}
            Some(other) => return Err(Error::Format(other)),
        }
        for table in 0..key::NAMES.len() {
            write.open_table(state_table(table))?;
        }
        write.open_table(EVENTS)?;
        write.open_table(BY_INSTANCE)?;
        write.open_table(RUNS)?;
        write.open_table(STEPS)?;
        write.open_table(REQUESTS)?;
        write.open_table(REQUEST_TIMES)?;
        write.open_table(DEFINITIONS)?;
    }
    write.commit()?;
    Ok(())
}

/// Makes the file under another name first: one that a kill left half made could never be opened.
fn make(path: &Path) -> Result<(), Error> {
    let new = path.with_extension("redb.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(error)),
        _ => {}
    }
    drop(Store::over(Database::create(&new)?, None)?);
    fs::rename(&new, path).map_err(disk)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(disk)
}

fn disk(error: io::Error) -> Error {
    Error::Storage(error.to_string())
}

/// A snapshot of the state. A read that fails is remembered: ask [`StoreView::failed`] before using what was read.
pub struct StoreView {
    tables: Vec<ReadOnlyTable<Bytes, Bytes>>,
    failed: RefCell<Option<Error>>,
}

impl std::fmt::Debug for StoreView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreView").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl StoreView {
    /// The first read that failed.
    pub fn failed(&self) -> Result<(), Error> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// The whole state, for checks.
    pub fn state(&self) -> Result<bpmn::core::State, Error> {
        let mut rows = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            for row in table.iter()? {
                let (bytes, row) = row?;
                let key = key::decode(at, bytes.value()).ok_or_else(|| damaged(key::NAMES[at]))?;
                rows.push((key, decode(row.value())?));
            }
        }
        Ok(bpmn::core::State::from_rows(rows))
    }

    fn keep<T: Default>(&self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            T::default()
        })
    }

    fn read(&self, key: &Key) -> Result<Option<Row>, Error> {
        let (at, bytes) = key::encode(key);
        self.tables[at].get(bytes.as_slice())?.map(|row| decode(row.value())).transpose()
    }

    fn range(&self, from: &Key, to: &Key, limit: usize) -> Result<Vec<(Key, Row)>, Error> {
        let (first, from) = key::encode(from);
        let (last, to) = key::encode(to);
        let mut found = Vec::new();
        for at in first..=last {
            let low = if at == first { from.as_slice() } else { &[] };
            let rows =
                if at == last { self.tables[at].range(low..to.as_slice())? } else { self.tables[at].range(low..)? };
            for row in rows.take(limit - found.len()) {
                let (bytes, row) = row?;
                let key = key::decode(at, bytes.value()).ok_or_else(|| damaged(key::NAMES[at]))?;
                found.push((key, decode(row.value())?));
            }
        }
        Ok(found)
    }
}

impl StateView for StoreView {
    fn get(&self, key: &Key) -> Option<Row> {
        self.keep(self.read(key))
    }

    fn scan(&self, from: &Key, to: &Key, limit: usize) -> Vec<(Key, Row)> {
        if from >= to { Vec::new() } else { self.keep(self.range(from, to, limit)) }
    }
}

/// The row of `meta.format`: as it was from the first format on, so that a version that cannot read the file says so.
fn format_row() -> Result<Vec<u8>, Error> {
    postcard::to_extend(&FORMAT, vec![OLD_ROW]).map_err(|error| Error::Damaged(error.to_string()))
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, Error> {
    postcard::to_extend(row, vec![ROW]).map_err(|error| Error::Damaged(error.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let damaged = |error: postcard::Error| Error::Damaged(error.to_string());
    match bytes {
        [ROW, rest @ ..] => postcard::from_bytes(rest).map_err(damaged),
        [OLD_ROW, rest @ ..] => {
            // The depth stands last in the rows that have one, and 0 is one byte; other rows end before it.
            let with_depth: Vec<u8> = rest.iter().copied().chain([0]).collect();
            postcard::from_bytes(&with_depth).map_err(damaged)
        }
        _ => Err(Error::Damaged("a row of another version".to_owned())),
    }
}

fn damaged(table: &str) -> Error {
    Error::Damaged(format!("a key of table `{table}`"))
}

#[cfg(test)]
mod tests;
