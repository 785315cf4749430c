//! Opening a store: from a folder to running threads.
//!
//! Duty: lock, identity, manifest, survey of the log, then the threads in data order: helper, log, flush, replay.
//! Guarantee: with an error nothing runs and nothing acknowledged was changed. Left to others: each step.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::catalog::{self, Catalog};
use super::compact::{self, Means};
use super::config::Durability;
use super::files::Files;
use super::flush::{Flushed, Flusher};
use super::folder::Folder;
use super::index::Indexes;
use super::ledger::Ledger;
use super::lock::Lock;
use super::memtable::Memtable;
use super::metrics::Metrics;
use super::recover::{self, Poison, ReplayLimits, Survey};
use super::shelf::Shelf;
use super::upkeep::{Chores, Upkeep};
use super::wal::door::Door;
use super::wal::identity::Identities;
use super::wal::next::Next;
use super::wal::payload::Decode;
use super::wal::segments::Segments;
use super::wal::thread::{Limits, LogThread, Progress};
use super::wal::writer::Writer;
use super::{Config, Error, Inner, Lsn, Reader, Status, Store, panics};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::span::Check;

/// Memory of one identity in the window: map, state, order.
const IDENTITY_BYTES: u64 = 128;

/// Of each thread: without optimisation the steps of a compaction need more than the usual 2 MiB.
const STACK_BYTES: usize = 8 << 20;

/// How often a start reads the manifest at most to become its writer.
const CLAIMS: usize = 5;

/// See [`Store::open`]; `decode` turns logged request bodies into columns again, `check`
/// gives spans their semantic-convention columns.
pub(super) async fn open(
    config: Config,
    disk: Disk,
    clock: Clock,
    budget: &Budget,
    registry: &prometheus::Registry,
    decode: Decode,
    check: Check,
) -> Result<Store, Error> {
    let metrics =
        Metrics::register(registry).map_err(|e| Error::Internal { detail: format!("metrics of the store: {e}") })?;
    let (lock, folder) = {
        let (disk, clock, root) = (disk.clone(), clock.clone(), config.path.clone());
        blocking(move || {
            disk.create_dir_durable(&root).map_err(|e| Error::io("create", &root, &e))?;
            let lock = Lock::take(&disk, &root)?;
            Ok((lock, Folder::open(&disk, &root, &clock)?))
        })
        .await?
    };
    // storage.md 11.3, 14: at most a million, and a third of the share of indexes, identities and catalogue.
    let capacity = usize::try_from(budget.lookup_bytes() / IDENTITY_BYTES).unwrap_or(usize::MAX).min(1_000_000);
    let (mut claims, mut damage, mut lost) = (0, Vec::new(), Vec::new());
    let (shelf, mut survey, of_manifest, written_ns) = loop {
        let shelf = Shelf::open(&folder, &disk, &clock, &config).await?;
        // Before the claim, which is written by the clock that is to be judged.
        let written_ns = shelf.written_ns().await;
        let before_log = {
            let (disk, folder) = (disk.clone(), folder.clone());
            blocking(move || recover::before_log(&disk, &folder)).await?
        };
        if before_log > shelf.shown().flushed {
            // The manifest was put back from an older copy, or its end was lost without a trace.
            shelf.recover_tail().await?;
        }
        let flushed = shelf.shown().flushed;
        let survey = {
            let (disk, folder, on_corruption) = (disk.clone(), folder.clone(), config.on_corruption);
            blocking(move || recover::survey(&disk, &folder, flushed, on_corruption, capacity)).await?
        };
        claims += 1;
        // Before the claim, which puts parts that were found in the place of unreadable versions.
        let of_manifest = shelf.damage().await;
        match shelf.claim().await {
            // Somebody committed since the manifest was read: perhaps a process that was killed, and whose last put came
            // through after it. Then more rows are in parts, and less of the log counts.
            Err(Error::Superseded { .. }) if claims < CLAIMS => (damage, lost) = (survey.damage, survey.lost),
            claimed => {
                claimed?;
                break (shelf, survey, of_manifest, written_ns);
            }
        }
    };
    // storage.md 14: a third of the share of indexes, identities and catalogue.
    let share = usize::try_from(budget.lookup_bytes()).unwrap_or(usize::MAX);
    let catalog = Catalog::open(&shelf, share).await;
    catalog.drop_foreign().await;
    // What the first survey has moved to quarantine the next one does not see.
    damage.retain(|found| !survey.damage.contains(found));
    lost.retain(|range| !survey.lost.contains(range));
    survey.damage.extend(damage);
    survey.lost.extend(lost);
    metrics.wal_torn_bytes.inc_by(survey.torn_bytes);
    metrics.wal_corrupt_records.inc_by(survey.lost.iter().map(|range| range.end - range.start).sum());
    let chores = Chores::since(written_ns);
    let store = start(
        config, disk, clock, budget, metrics, lock, folder, shelf, catalog, survey, chores, capacity, decode, check,
    )?;
    of_manifest.iter().for_each(|sentence| tracing::error!(damage = %sentence, "the manifest is damaged"));
    store.inner.metrics.degraded.with_label_values(&["manifest"]).set(i64::from(!of_manifest.is_empty()));
    store.inner.status.damage.lock().expect("no holder of this lock panics").extend(of_manifest);
    Ok(store)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::Internal { detail: format!("opening the store: {e}") })?
}

#[allow(clippy::too_many_arguments, reason = "every part of a store meets here, once")]
fn start(
    config: Config,
    disk: Disk,
    clock: Clock,
    budget: &Budget,
    metrics: Metrics,
    lock: Lock,
    folder: Folder,
    shelf: Shelf,
    catalog: Catalog,
    survey: Survey,
    chores: Chores,
    capacity: usize,
    decode: Decode,
    check: Check,
) -> Result<Store, Error> {
    let spawn_error = |e: std::io::Error| Error::Internal { detail: format!("cannot start a thread: {e}") };
    for mode in [Durability::Fsync, Durability::Os, Durability::Memory] {
        let chosen = i64::from(mode == config.durability);
        metrics.durability.with_label_values(&[mode.as_str()]).set(chosen);
    }
    if config.durability != Durability::Fsync {
        tracing::warn!(mode = config.durability.as_str(), "acknowledged spans may be lost with the power");
    }
    let flushed = shelf.shown().flushed;
    let status = Arc::new(Status {
        complete: Arc::new(AtomicBool::new(survey.segments.is_empty())),
        damage: Mutex::new(survey.damage.iter().map(ToString::to_string).collect()),
        ..Status::default()
    });
    let degraded = i64::from(!survey.damage.is_empty());
    metrics.degraded.with_label_values(&["wal_corrupt"]).set(degraded);
    count_quarantine(&disk, &folder, &metrics);
    for damage in &survey.damage {
        tracing::error!(%damage, "the log is damaged");
    }

    let shown = shelf.shown();
    let parts = shown.parts.clone();
    let memtable = Arc::new(Memtable::new(shown.version, parts.clone(), survey.next_lsn, metrics.clone()));
    let segments = Segments::new(&folder.wal(), survey.first_lsns.clone());
    let limits = Limits {
        flush_bytes: config.flush_bytes.min(budget.memtable_bytes() / 4),
        flush_after: config.flush_after,
        max_frozen: config.max_frozen,
        memory_bytes: budget.memtable_bytes(),
        group_commit_delay: config.group_commit_delay.min(Duration::from_millis(5)),
        max_age: config.max_age,
    };
    let window_us = i64::try_from(config.dedupe_window.as_micros()).unwrap_or(i64::MAX);
    let mut identities = Identities::new(window_us, capacity);
    survey.identities.iter().for_each(|(identity, ingest_us)| identities.durable(*identity, *ingest_us));
    let last_us = survey.last_us.max(shown.max_ingest_us);
    let door = Arc::new(Door::new(survey.next_lsn, last_us, identities, clock.clone(), metrics.clone()));
    let progress = Arc::new(Progress {
        durable_lsn: AtomicU64::new(survey.last_valid),
        visible_lsn: AtomicU64::new(survey.next_lsn - 1),
        ..Progress::default()
    });
    let ledger = Ledger::open(folder.ledger(), disk.clone(), clock.clone())
        .map_err(|e| Error::io("open", &folder.ledger(), &e))?;
    let files = Files::of_store(folder.clone(), shelf.place().clone(), disk.clone(), ledger.clone());
    // storage.md 14: the other two thirds are the identity window's and the catalogue's.
    let fences_bytes = usize::try_from(budget.lookup_bytes()).unwrap_or(usize::MAX);
    let indexes = Indexes::new(shelf.objects().clone(), fences_bytes, metrics.trace_index_bytes.clone());
    let reader = Reader::until(memtable.snapshot().clone(), shelf.reads(), status.complete.clone())
        .with_files(Arc::new(files))
        .with_skipping(config.on_corrupt_part)
        .with_judge(shelf.part_store().clone())
        .with_indexes(indexes.clone())
        .with_catalog(catalog.clone());

    let mut threads = Vec::new();
    let next = if config.durability == Durability::Memory {
        None
    } else {
        let (next, thread) =
            Next::start(disk.clone(), folder.wal(), config.segment_bytes, config.min_free_bytes, metrics.clone())
                .map_err(spawn_error)?;
        threads.push(thread);
        Some(next)
    };
    let writer = next.clone().map(|next| Writer {
        disk: disk.clone(),
        folder: folder.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        next,
        segments: segments.clone(),
        segment_bytes: config.segment_bytes,
        durability: config.durability,
        last_valid: survey.last_valid,
        current: None,
    });
    let log = LogThread {
        door: door.clone(),
        writer,
        next: next.clone(),
        memtable: memtable.clone(),
        progress: progress.clone(),
        limits,
        metrics: metrics.clone(),
        active_since: None,
        last_group: 0,
    };
    let (tell_flushed, flushed_progress) = watch::channel(Flushed { lsn: flushed, ..Flushed::default() });
    let compaction = Arc::new(Means {
        disk: disk.clone(),
        tmp: folder.tmp(),
        share: budget.compaction_bytes(),
        state: compact::State::default(),
    });
    let upkeep = Upkeep {
        shelf: shelf.clone(),
        memtable: memtable.clone(),
        metrics: metrics.clone(),
        indexes,
        catalog: catalog.clone(),
        compaction: compaction.clone(),
        status: status.clone(),
        ledger: ledger.clone(),
        disk: disk.clone(),
        folder: folder.clone(),
        chores: Arc::new(Mutex::new(chores)),
    };
    let flusher = Flusher {
        shelf,
        memtable: memtable.clone(),
        catalog: catalog.clone(),
        segments,
        disk: disk.clone(),
        metrics: metrics.clone(),
        progress: tell_flushed,
    };
    metrics.measure(&parts);
    let replay = Replay {
        disk,
        folder,
        survey,
        flushed,
        memtable: memtable.clone(),
        limits: ReplayLimits {
            flush_bytes: limits.flush_bytes,
            max_frozen: config.max_frozen.saturating_sub(1),
            max_age: config.max_age,
        },
        status: status.clone(),
        metrics: metrics.clone(),
    };
    let for_catalog = upkeep.clone();
    // From here on a failing spawn ends the threads that run: `Inner` joins them when it is dropped.
    let inner = Inner {
        config,
        limits,
        door,
        memtable,
        next,
        progress,
        flushed: flushed_progress,
        compaction,
        status,
        metrics,
        check: check.clone(),
        reader,
        ledger,
        #[cfg(test)]
        upkeep: upkeep.clone(),
        threads: Mutex::new(threads),
        _lock: lock,
    };
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(work).map_err(spawn_error)?;
        inner.threads.lock().expect("no holder of this lock panics").push(thread);
        Ok::<(), Error>(())
    };
    spawn("wal", Box::new(move || log.run()))?;
    // Before the flush: it puts the generation that replay fills in front of those the log freezes.
    let begun = replay.begin();
    spawn("flush", Box::new(move || flusher.run()))?;
    spawn("upkeep", Box::new(move || upkeep.run()))?;
    spawn("catalog", Box::new(move || catalog::run(&for_catalog)))?;
    spawn("replay", Box::new(move || replay.run(begun, &decode, &check)))?;
    Ok(Store { inner: Arc::new(inner) })
}

/// What the replay thread works on.
struct Replay {
    disk: Disk,
    folder: Folder,
    survey: Survey,
    flushed: Lsn,
    memtable: Arc<Memtable>,
    limits: ReplayLimits,
    status: Arc<Status>,
    metrics: Metrics,
}

impl Replay {
    fn begin(&self) -> Option<Arc<super::Gen>> {
        (!self.survey.segments.is_empty()).then(|| self.memtable.begin_replayed(self.flushed + 1))
    }

    fn run(self, begun: Option<Arc<super::Gen>>, decode: &Decode, check: &Check) {
        let Some(begun) = begun else { return };
        let poison = |poison: Poison| self.poisoned(&poison);
        let (disk, memtable) = (&self.disk, &self.memtable);
        let replay = || {
            Ok(recover::replay(
                disk,
                &self.survey.segments,
                self.survey.last_valid,
                self.flushed,
                memtable,
                begun,
                self.limits,
                decode,
                check,
                poison,
            ))
        };
        match panics::caught("replay of the log", replay) {
            Ok(true) => {
                self.status.complete.store(true, Ordering::Release);
                tracing::info!(segments = self.survey.segments.len(), "the log is replayed");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the log is not replayed; a restart tries again");
                self.metrics.degraded.with_label_values(&["panic"]).set(1);
                // Set once, by this thread.
                let _ = self.status.replay_failed.set(error);
            }
        }
    }

    fn poisoned(&self, poison: &Poison) {
        let sentence = format!("log record {} is in quarantine: {}", poison.lsn, poison.why);
        tracing::error!(lsn = poison.lsn, why = poison.why, "a log record cannot be decoded; it is in quarantine");
        if let Err(error) = recover::quarantine_record(&self.disk, &self.folder, poison.lsn, &poison.bytes) {
            tracing::error!(lsn = poison.lsn, %error, "the record cannot be copied to quarantine; the log still has it");
        }
        self.metrics.wal_corrupt_records.inc();
        self.metrics.degraded.with_label_values(&["wal_corrupt"]).set(1);
        self.status.damage.lock().expect("no holder of this lock panics").push(sentence);
        count_quarantine(&self.disk, &self.folder, &self.metrics);
    }
}

pub(super) fn count_quarantine(disk: &Disk, folder: &Folder, metrics: &Metrics) {
    let count = |dir: &Path| disk.list(dir).map_or(0, |paths| paths.len());
    metrics.quarantined_files.set(i64::try_from(count(&folder.quarantine())).unwrap_or(i64::MAX));
}
