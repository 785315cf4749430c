//! The durable state of gates: `gates.redb` (gates.md 7).
//!
//! Duty: its tables, one transaction for all that a closed tick did, and reading it back. Guarantee: a commit happened
//! wholly or not at all, whatever moment the process dies at; numbers of journal, outbox and starts rise and never repeat.
//! Left to others: what a tick does (`book`), sending (`notify`), starting (`engine`), SQL over it (`tables`).

mod backfill;
mod batch;
mod lines;
mod older;
mod outbox;
mod past;
mod prune;
mod read;
mod resend;
mod revive;
mod rows;
mod sources;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};
use tokio::sync::watch;

pub use backfill::{Filled, next_generation};
pub use batch::{Batch, EpisodeEdit, StartEdit};
pub use outbox::{Sampled, Size};
pub use past::{PastRun, PastTick};
pub use read::{Place, Snapshot};
pub use resend::{LabelSet, Resend, ResendPlace, ResendRow};
pub use revive::Revived;
pub use rows::{
    EVIDENCE_BYTES, EpisodeRow, GateRow, HealthRow, JournalRow, KeyId, KeyRow, Missed, Notice, Occasion, OutboxRow,
    OutcomeRun, RUN_NS, StartRequest, StartRow, StartState, Status, TickOf, TickRow, Told, Untold, Waiting,
};
pub use sources::{SourceKey, SourceRow, SourcesKept};

use super::identity::AlertId;
use super::state::Downtime;
use crate::error::Class;
use batch::Counter;
use outbox::{Limits, Sizes};
use rows::{decode, encode};

/// Number in `meta.format`.
const FORMAT: u32 = 1;
/// What the library may hold of the file: what a tick of the most keys that a gate may have reads and writes again.
/// By default it would grow to 1 GiB, which no budget knows of.
const CACHE_BYTES: usize = 64 << 20;
/// Downtimes kept: those of the longest window.
const DOWNTIMES_NS: i64 = 90 * DAY_NS;
const DOWNTIMES: usize = 1_000;
const DAY_NS: i64 = 86_400 * 1_000_000_000;
/// How long results, ticks and dead letters are kept.
pub const KEPT_NS: i64 = 30 * DAY_NS;
/// Episodes kept; the oldest closed ones go first.
const EPISODES: u64 = 1_000_000;

type Bytes = &'static [u8];
const META: TableDefinition<'static, &str, Bytes> = TableDefinition::new("meta");
const GATE: TableDefinition<'static, &str, Bytes> = TableDefinition::new("gate");
const STATE: TableDefinition<'static, (&str, u64, &str), Bytes> = TableDefinition::new("state");
const EPISODE: TableDefinition<'static, ([u8; 16], u64), Bytes> = TableDefinition::new("episode");
const JOURNAL: TableDefinition<'static, u64, Bytes> = TableDefinition::new("journal");
const TICK: TableDefinition<'static, (&str, i64), Bytes> = TableDefinition::new("tick");
const OUTBOX: TableDefinition<'static, (&str, u64), Bytes> = TableDefinition::new("outbox");
const RESEND: TableDefinition<'static, (&str, [u8; 16], [u8; 16]), Bytes> = TableDefinition::new("resend");
const STARTS: TableDefinition<'static, ([u8; 16], u64), Bytes> = TableDefinition::new("starts");
/// Those of `on_resolve`.
const RESOLVE_STARTS: TableDefinition<'static, ([u8; 16], u64), Bytes> = TableDefinition::new("resolve_starts");
const SOURCES: TableDefinition<'static, (u16, &str), Bytes> = TableDefinition::new("sources");
const HEALTH: TableDefinition<'static, [u8; 16], Bytes> = TableDefinition::new("health");
const RESULT: TableDefinition<'static, (i64, u64), Bytes> = TableDefinition::new("result");
/// Numbers of [`RESULT`], of gates with a `baseline`.
const PAST: TableDefinition<'static, (&str, u64, &str, i64), Bytes> = TableDefinition::new("past");
const RUNNING: TableDefinition<'static, (&str, u64, &str), Bytes> = TableDefinition::new("running");

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or the disk.
    #[error("gates.redb: {0}; check the disk of the data folder")]
    Storage(Box<redb::Error>),
    /// Written by another version.
    #[error(
        "gates.redb has format {0}, this version reads {FORMAT}; use the version that wrote it, or move the file away"
    )]
    Format(u32),
    /// A row that cannot be read.
    #[error("gates.redb: a row cannot be read ({0}); move the file away to start anew")]
    Damaged(String),
    /// The file is held by another process.
    #[error("gates.redb is held by another process; stop it first")]
    Held,
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Storage(_) => Class::Unavailable,
            Self::Format(_) | Self::Held => Class::Conflict,
            Self::Damaged(_) => Class::Internal,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Held,
            other => Self::Storage(Box::new(other)),
        }
    }
}

/// The open file; cheap to clone. Every call blocks, the writing ones until the disk has it.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    /// Counts commits that wrote to the outbox.
    outbox: watch::Sender<u64>,
    /// Counts commits that changed starts.
    starts: watch::Sender<u64>,
    /// Of the outbox, as the last commit left it. Locked by those who write, for as long as they do.
    sizes: Mutex<Sizes>,
    limits: Limits,
    sampled: Mutex<Sampled>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

impl Journal {
    /// Opens or makes `path`.
    ///
    /// Errors: see [`Error`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            Self::make(path)?;
        }
        Self::over(Database::builder().set_cache_size(CACHE_BYTES).open(path)?)
    }

    /// A journal that lies in memory and goes with its last handle: for gates that are judged without a daemon.
    ///
    /// Errors: see [`Error`].
    pub fn in_memory() -> Result<Self, Error> {
        let memory = redb::backends::InMemoryBackend::new();
        let journal = Self::over(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(memory)?)?;
        journal.sample(Sampled::Given(None));
        Ok(journal)
    }

    /// Makes the file under another name first: a process that is killed meanwhile leaves no `path` that never opens.
    fn make(path: &Path) -> Result<(), Error> {
        let storage = |error: std::io::Error| Error::from(redb::Error::Io(error));
        let new = path.with_extension("redb.new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(storage(error)),
            _ => {}
        }
        drop(Self::over(Database::create(&new)?)?);
        std::fs::rename(&new, path).map_err(storage)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(storage)
    }

    fn over(db: Database) -> Result<Self, Error> {
        Self::limited(db, outbox::LIMITS)
    }

    fn limited(db: Database, limits: Limits) -> Result<Self, Error> {
        let tx = db.begin_write()?;
        let sizes = {
            let mut meta = tx.open_table(META)?;
            let format = meta.get("format")?.map(|bytes| bytes.value().to_vec());
            match format {
                None => drop(meta.insert("format", encode(&FORMAT).as_slice())?),
                Some(bytes) => match decode::<u32>(&bytes)? {
                    FORMAT => {}
                    other => return Err(Error::Format(other)),
                },
            }
            // Readers want every table to exist.
            tx.open_table(GATE)?;
            tx.open_table(STATE)?;
            tx.open_table(EPISODE)?;
            tx.open_table(JOURNAL)?;
            tx.open_table(TICK)?;
            tx.open_table(OUTBOX)?;
            tx.open_table(RESEND)?;
            tx.open_table(STARTS)?;
            tx.open_table(RESOLVE_STARTS)?;
            tx.open_table(SOURCES)?;
            tx.open_table(HEALTH)?;
            tx.open_table(RESULT)?;
            tx.open_table(RUNNING)?;
            tx.open_table(PAST)?;
            Mutex::new(Sizes::read(&tx)?)
        };
        tx.commit()?;
        let (outbox, starts) = (watch::Sender::new(0), watch::Sender::new(0));
        Ok(Self { inner: Arc::new(Inner { db, outbox, starts, sizes, limits, sampled: Mutex::new(Sampled::Own) }) })
    }

    /// From now on ticks say this of the outbox.
    pub fn sample(&self, of: Sampled) {
        *self.inner.sampled.lock().expect("no holder of this lock panics") = of;
    }

    fn sampled(&self, sizes: &Sizes) -> Option<Waiting> {
        match *self.inner.sampled.lock().expect("no holder of this lock panics") {
            Sampled::Own => Some(sizes.waiting()),
            Sampled::Given(given) => given,
        }
    }

    /// What the outbox keeps for `receiver`. Blocks while another writes to it.
    pub fn outbox_size(&self, receiver: &str) -> Size {
        self.sizes().of(receiver)
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.inner.sizes.lock().expect("no holder of this lock panics")
    }

    /// Does `work` as a writer that waits for the disk.
    #[cfg(test)]
    pub(crate) fn hold_sizes<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.sizes();
        work()
    }

    /// Changes when messages were written.
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        self.inner.outbox.subscribe()
    }

    /// Changes when starts were written or answered.
    pub fn start_changes(&self) -> watch::Receiver<u64> {
        self.inner.starts.subscribe()
    }

    /// Says that the daemon runs again at `now_ns`: what lies between `meta.alive` and now is downtime. Gives all
    /// downtimes known, oldest first.
    ///
    /// Errors: see [`Error`].
    pub fn wake(&self, now_ns: i64) -> Result<Vec<Downtime>, Error> {
        let tx = self.inner.db.begin_write()?;
        let downtimes = {
            let mut meta = tx.open_table(META)?;
            let mut downtimes: Vec<Downtime> = stored(&meta, "downtimes")?.unwrap_or_default();
            if let Some(alive_ns) = stored::<_, i64>(&meta, "alive")?
                && alive_ns < now_ns
            {
                downtimes.push(Downtime { from_ns: alive_ns, to_ns: now_ns });
            }
            downtimes.retain(|d| d.to_ns >= now_ns.saturating_sub(DOWNTIMES_NS));
            let surplus = downtimes.len().saturating_sub(DOWNTIMES);
            downtimes.drain(..surplus);
            meta.insert("downtimes", encode(&downtimes).as_slice())?;
            meta.insert("alive", encode(&now_ns).as_slice())?;
            downtimes
        };
        tx.commit()?;
        Ok(downtimes)
    }

    /// Notes times at which a daemon did not run: those of another journal, whose history is played again.
    ///
    /// Errors: see [`Error`].
    pub fn note_downtimes(&self, downtimes: &[Downtime]) -> Result<(), Error> {
        let tx = self.inner.db.begin_write()?;
        tx.open_table(META)?.insert("downtimes", encode(&downtimes.to_vec()).as_slice())?;
        tx.commit()?;
        Ok(())
    }

    /// Writes `batch` in one transaction, and that the daemon ran at `now_ns`.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn commit(&self, batch: &Batch, now_ns: i64) -> Result<(), Error> {
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        batch.write(&tx, now_ns, &mut sizes, self.sampled(&kept))?;
        sizes.trim(&tx, self.inner.limits)?;
        tx.open_table(META)?.insert("alive", encode(&now_ns).as_slice())?;
        tx.commit()?;
        *kept = sizes;
        drop(kept);
        if !batch.outbox.is_empty() {
            self.inner.outbox.send_modify(|count| *count += 1);
        }
        if !batch.starts.is_empty() {
            self.inner.starts.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// The engine's answer to a start. `false` if there is no such start, it is answered already, or its episode ended
    /// meanwhile; but a run that `on_fail` began is known also then, for it counts for `cooldown` and `max_runs`.
    ///
    /// Errors: see [`Error`].
    pub fn answer_start(
        &self,
        occasion: Occasion,
        alert: AlertId,
        episode: u64,
        answer: impl FnOnce(&mut StartRow),
    ) -> Result<bool, Error> {
        let tx = self.inner.db.begin_write()?;
        {
            let mut starts = tx.open_table(starts_of(occasion))?;
            let Some(mut row) = stored::<_, StartRow>(&starts, (alert.0, episode))? else { return Ok(false) };
            let before = row.state.clone();
            answer(&mut row);
            let is_late_run = before == StartState::Lapsed
                && occasion == Occasion::Failed
                && matches!(row.state, StartState::Started { .. });
            if before != StartState::Due && !is_late_run {
                return Ok(false);
            }
            starts.insert((alert.0, episode), encode(&row).as_slice())?;
            // The run of an episode is the one that was to repair it.
            if let (StartState::Started { run, .. }, Occasion::Failed) = (row.state, occasion) {
                let mut episodes = tx.open_table(EPISODE)?;
                if let Some(mut opened) = stored::<_, EpisodeRow>(&episodes, (alert.0, episode))? {
                    opened.pipeline_run = Some(run);
                    episodes.insert((alert.0, episode), encode(&opened).as_slice())?;
                }
            }
        }
        tx.commit()?;
        self.inner.starts.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// Replaces (or, with `None`, removes) messages of `receiver`, and writes what `batch` says beside it.
    ///
    /// Errors: see [`Error`].
    pub fn mark_sent(
        &self,
        receiver: &str,
        rows: &[(u64, Option<OutboxRow>)],
        batch: &Batch,
        now_ns: i64,
    ) -> Result<(), Error> {
        self.mark_told(receiver, rows, &[], batch, now_ns)
    }

    /// As [`Journal::mark_sent`], with what the receiver now knows beside it.
    ///
    /// Errors: see [`Error`].
    pub fn mark_told(
        &self,
        receiver: &str,
        rows: &[(u64, Option<OutboxRow>)],
        resends: &[Resend],
        batch: &Batch,
        now_ns: i64,
    ) -> Result<(), Error> {
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        resend::write(&tx, receiver, resends, &mut sizes)?;
        {
            let mut outbox = tx.open_table(OUTBOX)?;
            for (sequence, row) in rows {
                // Only messages that are tried are marked, so what was there is no dead letter.
                if let Some(before) = outbox.remove((receiver, *sequence))? {
                    sizes.went(receiver, before.value().len(), false);
                }
                if let Some(row) = row {
                    let bytes = encode(row);
                    outbox.insert((receiver, *sequence), bytes.as_slice())?;
                    sizes.came(receiver, bytes.len(), row.dead.is_some());
                }
            }
        }
        batch.write(&tx, now_ns, &mut sizes, self.sampled(&kept))?;
        sizes.trim(&tx, self.inner.limits)?;
        tx.commit()?;
        *kept = sizes;
        drop(kept);
        if !batch.outbox.is_empty() {
            self.inner.outbox.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Removes results, ticks, dead letters and starts that are older than 30 days, and the oldest closed episodes above a
    /// million, whose gates then never give out their numbers again.
    ///
    /// Errors: see [`Error`].
    pub fn prune(&self, now_ns: i64) -> Result<(), Error> {
        let before_ns = now_ns.saturating_sub(KEPT_NS);
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        sizes.prune(&tx, before_ns)?;
        {
            let mut past = tx.open_table(PAST)?;
            let mut gone = Vec::new();
            tx.open_table(RESULT)?.retain_in(..(before_ns, 0), |_, row| {
                gone.extend(
                    decode::<OutcomeRun>(row).ok().map(|run| (run.gate, run.generation, run.key, run.first_tick_ns)),
                );
                false
            })?;
            for (gate, generation, key, first_ns) in &gone {
                past.remove((gate.as_str(), *generation, key.as_str(), *first_ns))?;
            }
            tx.open_table(TICK)?.retain(|(_, t_ns), _| t_ns >= before_ns)?;
            prune::starts(&tx, now_ns)?;
            evict(&tx, EPISODES)?;
        }
        tx.commit()?;
        *kept = sizes;
        drop(kept);
        Ok(())
    }
}

/// Keeps at most `limit` episodes.
fn evict(tx: &WriteTransaction, limit: u64) -> Result<(), Error> {
    use redb::ReadableTableMetadata as _;
    let mut episodes = tx.open_table(EPISODE)?;
    let surplus = episodes.len()?.saturating_sub(limit);
    if surplus == 0 {
        return Ok(());
    }
    let mut closed = Vec::new();
    for entry in episodes.iter()? {
        let (key, row) = entry?;
        let row: EpisodeRow = decode(row.value())?;
        if let Some(closed_ns) = row.closed_ns {
            closed.push((closed_ns, key.value(), row.gate));
        }
    }
    closed.sort_unstable();
    closed.truncate(usize::try_from(surplus).unwrap_or(usize::MAX));
    let mut gates = tx.open_table(GATE)?;
    for (_, key, gate) in closed {
        episodes.remove(key)?;
        if let Some(mut row) = stored::<_, GateRow>(&gates, gate.as_str())?
            && row.floor < key.1
        {
            row.floor = key.1;
            gates.insert(gate.as_str(), encode(&row).as_slice())?;
        }
    }
    Ok(())
}

/// The table of starts.
const fn starts_of(occasion: Occasion) -> TableDefinition<'static, ([u8; 16], u64), Bytes> {
    match occasion {
        Occasion::Failed => STARTS,
        Occasion::Resolved => RESOLVE_STARTS,
    }
}

/// The row at `key`.
fn stored<'a, K: redb::Key + 'static, T: rows::Row>(
    table: &impl redb::ReadableTable<K, Bytes>,
    key: impl std::borrow::Borrow<K::SelfType<'a>>,
) -> Result<Option<T>, Error> {
    table.get(key)?.map(|bytes| decode(bytes.value())).transpose()
}
