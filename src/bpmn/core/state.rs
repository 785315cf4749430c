//! What a step may see besides the models: rows by key.
//!
//! Duty: the tables of bpmn.md 4 as typed rows, the view on them, the whole state in memory, and an overlay of changes
//! on any view. Guarantee: only live things; keys sort the way each table is scanned. Left to others: what changes them
//! (`apply`), where they lie on disk (`engine`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::row::{Definition, Element, Incident, Instance, Job, JobStatus, Meta, Timer, Version};
use super::value::Value;

const HOUR_MS: i64 = 3_600_000;

/// Names one row. The order of variants and fields is the order of scans.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// Counters.
    Meta,
    /// Instance key.
    Instance(u64),
    /// Element key.
    Element(u64),
    /// (scope key, element key): what rests in a scope.
    Child(u64, u64),
    /// (scope key, name).
    Variable(u64, String),
    /// Job key.
    Job(u64),
    /// (type, due in ms, job key): jobs that wait for a worker.
    JobQueue(String, i64, u64),
    /// Concurrency key → the job that runs under it.
    JobLock(String),
    /// (due in ms, timer key).
    Timer(i64, u64),
    /// (owning element key, timer key) → due in ms.
    TimerOf(u64, u64),
    /// Incident key.
    Incident(u64),
    /// (process id, message key) → the active instance started by it.
    KeyedStart(String, String),
    /// (message name, key, message id) → forgotten at, in ms.
    MessageId(String, String, String),
    /// (forgotten at in ms, message name, key, message id).
    MessageExpiry(i64, String, String, String),
    /// (message name, process id) → id of the start event of the latest version.
    MessageStart(String, String),
    /// Process id → what is in force.
    Definition(String),
    /// (process id, version).
    Version(String, u32),
    /// (process id, hash) → version.
    VersionOf(String, String),
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Row {
    /// Of [`Key::Meta`].
    Meta(Meta),
    /// Of [`Key::Instance`].
    Instance(Instance),
    /// Of [`Key::Element`].
    Element(Element),
    /// Of [`Key::Variable`].
    Variable(Value),
    /// Of [`Key::Job`].
    Job(Box<Job>),
    /// Of [`Key::Timer`].
    Timer(Timer),
    /// Of [`Key::Incident`].
    Incident(Box<Incident>),
    /// Of [`Key::Definition`].
    Definition(Definition),
    /// Of [`Key::Version`].
    Version(Version),
    /// A key, a due time or a version number.
    Number(i64),
    /// Of [`Key::MessageStart`].
    Text(String),
    /// The key says it all.
    Unit,
}

/// Read access to the state. Absent and unreadable look the same here; who reads from disk keeps the error and asks for
/// it before using a result.
pub trait StateView {
    /// The row of `key`.
    fn get(&self, key: &Key) -> Option<Row>;
    /// Rows with `from <= key < to` in order, at most `limit`.
    fn scan(&self, from: &Key, to: &Key, limit: usize) -> Vec<(Key, Row)>;
}

/// What [`apply`](super::apply) changes.
pub trait StateMut: StateView {
    /// Sets a row.
    fn put(&mut self, key: Key, row: Row);
    /// Removes a row if there is one.
    fn remove(&mut self, key: Key);
}

/// The whole state in memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    rows: BTreeMap<Key, Row>,
}

impl State {
    /// All rows in key order.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Row)> {
        self.rows.iter()
    }

    /// From rows, e.g. those of a file.
    pub fn from_rows(rows: impl IntoIterator<Item = (Key, Row)>) -> Self {
        Self { rows: rows.into_iter().collect() }
    }
}

impl StateView for State {
    fn get(&self, key: &Key) -> Option<Row> {
        self.rows.get(key).cloned()
    }

    fn scan(&self, from: &Key, to: &Key, limit: usize) -> Vec<(Key, Row)> {
        if from >= to {
            return Vec::new();
        }
        self.rows.range(from..to).take(limit).map(|(key, row)| (key.clone(), row.clone())).collect()
    }
}

impl StateMut for State {
    fn put(&mut self, key: Key, row: Row) {
        self.rows.insert(key, row);
    }

    fn remove(&mut self, key: Key) {
        self.rows.remove(&key);
    }
}

/// Changes on top of a view: `None` is a removed row.
pub struct Overlay<'a> {
    base: &'a dyn StateView,
    changes: BTreeMap<Key, Option<Row>>,
}

impl std::fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl<'a> Overlay<'a> {
    /// No changes yet.
    pub fn new(base: &'a dyn StateView) -> Self {
        Self { base, changes: BTreeMap::new() }
    }

    /// What changed, in key order.
    pub fn changes(&self) -> &BTreeMap<Key, Option<Row>> {
        &self.changes
    }

    /// What changed, in key order.
    pub fn into_changes(self) -> BTreeMap<Key, Option<Row>> {
        self.changes
    }
}

impl StateView for Overlay<'_> {
    fn get(&self, key: &Key) -> Option<Row> {
        match self.changes.get(key) {
            Some(change) => change.clone(),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &Key, to: &Key, limit: usize) -> Vec<(Key, Row)> {
        if from >= to || limit == 0 {
            return Vec::new();
        }
        let changed = || self.changes.range((Bound::Included(from), Bound::Excluded(to)));
        // every change can hide one row of the base at most
        let hidden = changed().count();
        let mut base = self.base.scan(from, to, limit.saturating_add(hidden)).into_iter().peekable();
        let mut changes = changed().peekable();
        let mut found = Vec::new();
        while found.len() < limit {
            let next_is_base = match (base.peek(), changes.peek()) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((in_base, _)), Some((changed, _))) => in_base < *changed,
            };
            if next_is_base {
                found.extend(base.next());
            } else if let Some((key, change)) = changes.next() {
                base.next_if(|(in_base, _)| in_base == key);
                found.extend(change.clone().map(|row| (key.clone(), row)));
            }
        }
        found
    }
}

impl StateMut for Overlay<'_> {
    fn put(&mut self, key: Key, row: Row) {
        self.changes.insert(key, Some(row));
    }

    fn remove(&mut self, key: Key) {
        self.changes.insert(key, None);
    }
}

macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $row:ty = $key:expr, $pattern:pat => $value:expr;)*) => {
        impl dyn StateView + '_ {
            $($(#[$doc])* pub fn $name(&self, $($arg: $type),*) -> Option<$row> {
                match self.get(&$key) {
                    Some($pattern) => Some($value),
                    _ => None,
                }
            })*
        }
    };
}

typed! {
    /// An instance that runs.
    instance(key: u64) -> Instance = Key::Instance(key), Row::Instance(row) => row;
    /// An activation that rests somewhere.
    element(key: u64) -> Element = Key::Element(key), Row::Element(row) => row;
    /// A job that is not done.
    job(key: u64) -> Job = Key::Job(key), Row::Job(row) => *row;
    /// An open incident.
    incident(key: u64) -> Incident = Key::Incident(key), Row::Incident(row) => *row;
    /// A variable of exactly this scope.
    variable(scope: u64, name: &str) -> Value = Key::Variable(scope, name.to_owned()), Row::Variable(row) => row;
    /// What is in force of a process.
    definition(process: &str) -> Definition = Key::Definition(process.to_owned()), Row::Definition(row) => row;
    /// One version of a process.
    version(process: &str, version: u32) -> Version = Key::Version(process.to_owned(), version), Row::Version(row) => row;
    /// The active instance that a message with this key started.
    keyed_start(process: &str, key: &str) -> u64 =
        Key::KeyedStart(process.to_owned(), key.to_owned()), Row::Number(row) => row as u64;
}

/// Before all message ids that are forgotten at `ms`.
pub(super) fn first_expiry(ms: i64) -> Key {
    Key::MessageExpiry(ms, String::new(), String::new(), String::new())
}

impl dyn StateView + '_ {
    /// Counters.
    pub fn meta(&self) -> Meta {
        match self.get(&Key::Meta) {
            Some(Row::Meta(meta)) => meta,
            _ => Meta::default(),
        }
    }

    /// Keys of the activations that rest in `scope`, oldest first.
    pub fn children(&self, scope: u64, limit: usize) -> Vec<u64> {
        self.scan(&Key::Child(scope, 0), &Key::Child(scope, u64::MAX), limit)
            .into_iter()
            .filter_map(|(key, _)| if let Key::Child(_, child) = key { Some(child) } else { None })
            .collect()
    }

    /// Variables of exactly this scope.
    pub fn variables(&self, scope: u64) -> BTreeMap<String, Value> {
        self.scan(
            &Key::Variable(scope, String::new()),
            &Key::Variable(scope.saturating_add(1), String::new()),
            usize::MAX,
        )
        .into_iter()
        .filter_map(|(key, row)| match (key, row) {
            (Key::Variable(_, name), Row::Variable(value)) => Some((name, value)),
            _ => None,
        })
        .collect()
    }

    /// (key, due in ms) of the timers that `element` owns.
    pub fn timers_of(&self, element: u64) -> Vec<(u64, i64)> {
        self.scan(&Key::TimerOf(element, 0), &Key::TimerOf(element, u64::MAX), usize::MAX)
            .into_iter()
            .filter_map(|(key, row)| match (key, row) {
                (Key::TimerOf(_, timer), Row::Number(due)) => Some((timer, due)),
                _ => None,
            })
            .collect()
    }

    /// Due timers in (due, key) order.
    pub fn due_timers(&self, now_ms: i64, limit: usize) -> Vec<(u64, Timer)> {
        self.scan(&Key::Timer(i64::MIN, 0), &Key::Timer(now_ms.saturating_add(1), 0), limit)
            .into_iter()
            .filter_map(|(key, row)| match (key, row) {
                (Key::Timer(_, timer), Row::Timer(row)) => Some((timer, row)),
                _ => None,
            })
            .collect()
    }

    /// Job types that have something waiting, with the earliest due time of each, in type order.
    pub fn waiting_job_types(&self) -> Vec<(String, i64)> {
        let end = Key::JobLock(String::new());
        let mut from = Key::JobQueue(String::new(), i64::MIN, 0);
        let mut found = Vec::new();
        while let Some((Key::JobQueue(r#type, due, _), _)) = self.scan(&from, &end, 1).pop() {
            from = Key::JobQueue(format!("{type}\0"), i64::MIN, 0);
            found.push((r#type, due));
        }
        found
    }

    /// (due in ms, key) of the jobs of a type that are due, oldest first, beginning after `after`.
    pub fn due_jobs(&self, r#type: &str, now_ms: i64, after: Option<(i64, u64)>, limit: usize) -> Vec<(i64, u64)> {
        let (due, job) = after.map_or((i64::MIN, 0), |(due, job)| (due, job.saturating_add(1)));
        let from = Key::JobQueue(r#type.to_owned(), due, job);
        let to = Key::JobQueue(r#type.to_owned(), now_ms.saturating_add(1), 0);
        self.scan(&from, &to, limit)
            .into_iter()
            .filter_map(|(key, _)| if let Key::JobQueue(_, due, job) = key { Some((due, job)) } else { None })
            .collect()
    }

    /// (job, attempt) of all attempts that are given out.
    pub fn active_jobs(&self) -> BTreeSet<(u64, u32)> {
        self.scan(&Key::Job(0), &Key::Job(u64::MAX), usize::MAX)
            .into_iter()
            .filter_map(|(key, row)| match (key, row) {
                (Key::Job(job), Row::Job(row)) if matches!(row.status, JobStatus::Active { .. }) => {
                    Some((job, row.attempt))
                }
                _ => None,
            })
            .collect()
    }

    /// Whether a job runs under this concurrency key.
    pub fn is_locked(&self, concurrency_key: &str) -> bool {
        self.get(&Key::JobLock(concurrency_key.to_owned())).is_some()
    }

    /// When to look again, in ms: the first timer, the first job that becomes due after `now_ms`, or the end of the hour in
    /// which the first message id is to be forgotten.
    ///
    /// Jobs that are due already wait for a worker, not for time.
    pub fn next_due(&self, now_ms: i64) -> Option<i64> {
        let timer = match self.scan(&Key::Timer(i64::MIN, 0), &Key::TimerOf(0, 0), 1).pop() {
            Some((Key::Timer(due, _), _)) => Some(due),
            _ => None,
        };
        let job = |r#type: &str| {
            let from = Key::JobQueue(r#type.to_owned(), now_ms.saturating_add(1), 0);
            match self.scan(&from, &Key::JobQueue(format!("{type}\0"), i64::MIN, 0), 1).pop() {
                Some((Key::JobQueue(_, due, _), _)) => Some(due),
                _ => None,
            }
        };
        let expiry = match self.scan(&first_expiry(i64::MIN), &first_expiry(i64::MAX), 1).pop() {
            Some((Key::MessageExpiry(at, ..), _)) => Some((at.div_euclid(HOUR_MS) + 1).saturating_mul(HOUR_MS)),
            _ => None,
        };
        self.waiting_job_types().iter().filter_map(|(r#type, _)| job(r#type)).chain(timer).chain(expiry).min()
    }

    /// Names of the messages that start the latest version of `process`.
    pub fn message_starts(&self, process: &str) -> Vec<String> {
        self.definition(process).map_or_else(Vec::new, |row| row.starts.into_iter().map(|(name, _)| name).collect())
    }
}
