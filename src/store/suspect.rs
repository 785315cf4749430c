//! Parts that a reader found damaged (storage.md 12.3).
//!
//! Duty: `Upkeep::quarantine_suspects`: each is read once more from its source, then leaves the manifest. Guarantee: only
//! what is damaged at its source leaves; a part whose checksum file alone is damaged gets it anew; rows that can be read
//! elsewhere stay, in new parts, in the same version; what leaves is told by health, counted, and kept in `quarantine/`.
//! Bytes that the disk cannot give again and again count as damaged; until then health tells of them. Left to others: which
//! rows those are (`rescue.rs`), a commit that fails (`settle.rs`), moving the file (`sweep.rs`).

use std::time::Duration;

use super::local::is_unreadable;
use super::manifest::PartEntry;
use super::open::count_quarantine;
use super::part::{self, Reread};
use super::rescue::{Ground, Rescued, rescue};
use super::settle::Open;
use super::shelf::parts_error;
use super::upkeep::Upkeep;
use super::{Error, ledger};

/// A part is damaged if the disk could not give its bytes so often, and for so long: a cable or a controller may have been
/// the cause, and would be it of every part.
const UNREAD_TIMES: u32 = 3;
const UNREAD_FOR: Duration = Duration::from_secs(60);

/// A part whose bytes the disk has not given to its judgement.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    times: u32,
    /// The first time, on the monotonic clock of the upkeep: a wall clock that jumps is no minute.
    since: Duration,
    error: String,
}

impl Unread {
    /// The sentence for health.
    pub(super) fn told(&self, path: &str) -> String {
        let Self { times, error, .. } = self;
        format!("the disk did not give the bytes of part `{path}` {times} times ({error}); it is tried again")
    }
}

impl Upkeep {
    /// Judges the parts that reads have marked since the last call.
    pub(super) async fn quarantine_suspects(&self) -> Result<(), Error> {
        let mono = self.chores.lock().expect("no holder of this lock panics").began.elapsed();
        self.quarantine_suspects_at(mono).await
    }

    /// The same, `mono` after the start.
    pub(super) async fn quarantine_suspects_at(&self, mono: Duration) -> Result<(), Error> {
        self.settle_open().await?;
        let store = self.shelf.part_store();
        let (mut suspects, mut done) = (store.take_suspects(), Ok(()));
        while let Some(path) = suspects.pop_first() {
            let Err(error) = self.judge(&path, mono).await else { continue };
            // It comes again with the next step. One that cannot be read now keeps no other from its judgement.
            store.suspect(&path);
            let is_open = !self.chores.lock().expect("no holder of this lock panics").open.is_empty();
            if is_open || matches!(error, Error::Superseded { .. }) {
                suspects.iter().for_each(|path| store.suspect(path));
                return Err(error);
            }
            done = done.and(Err(error));
        }
        done
    }

    async fn judge(&self, path: &str, mono: Duration) -> Result<(), Error> {
        let shown = self.shelf.shown();
        let Some(part) = shown.parts.parts.iter().find(|part| part.entry.path == path) else {
            self.readable(path);
            return Ok(());
        };
        let entry = &part.entry;
        let problem = match self.reread(entry, mono).await? {
            Reread::Whole => {
                tracing::warn!(path, "a part was read with damage and is whole at its source");
                self.shelf.part_store().renew(entry);
                return Ok(());
            }
            Reread::Damaged(problem) => problem,
        };
        let live: Vec<_> = shown.parts.parts.iter().map(|part| part.entry.clone()).collect();
        let (removed, origin) = (self.shelf.removed().await, self.shelf.origin(path).await?);
        let (objects, config, clock) = (self.shelf.objects(), self.shelf.config(), self.shelf.clock());
        let ground = Ground { objects, config, clock, live: &live, removed: &removed };
        let Rescued { delta, lost, .. } = rescue(&ground, entry, origin.as_ref()).await?;
        let entry = entry.clone();
        let open = Open::new(delta, move |upkeep| upkeep.tell_quarantined(&entry, &problem, lost));
        self.commit_as(if self.is_unread(path) { open.unread(path) } else { open }).await
    }

    /// What the bytes of a part are, `mono` after the start.
    ///
    /// Errors: they cannot be read, and it is too early to call that damage.
    async fn reread(&self, entry: &PartEntry, mono: Duration) -> Result<Reread, Error> {
        let error = match part::reread(self.shelf.objects().as_ref(), entry).await {
            Err(error) if is_unreadable(&error) => error,
            read => {
                self.readable(&entry.path);
                return read.map_err(|e| parts_error(&e));
            }
        };
        let mut all = self.status.unread.lock().expect("no holder of this lock panics");
        let first = || Unread { times: 0, since: mono, error: String::new() };
        let unread = all.entry(entry.path.clone()).or_insert_with(first);
        unread.times += 1;
        unread.error = error.to_string();
        match unread.times >= UNREAD_TIMES && mono.saturating_sub(unread.since) >= UNREAD_FOR {
            true => Ok(Reread::Damaged(error.to_string())),
            false => Err(parts_error(&error)),
        }
    }

    /// Whether the disk did not give the bytes of the part when they were last asked for.
    fn is_unread(&self, path: &str) -> bool {
        self.status.unread.lock().expect("no holder of this lock panics").contains_key(path)
    }

    fn readable(&self, path: &str) {
        self.status.unread.lock().expect("no holder of this lock panics").remove(path);
    }

    fn tell_quarantined(&self, entry: &PartEntry, problem: &str, lost: u64) {
        let (path, rows) = (&entry.path, entry.rows);
        self.readable(path);
        tracing::error!(path, problem, rows, lost, "a part is damaged; it is in quarantine");
        if lost > 0 {
            self.ledger.record(ledger::Drop {
                stage: "store".to_owned(),
                component: "quarantine".to_owned(),
                reason: "quarantined".to_owned(),
                path: path.clone(),
                spans: lost,
                bytes: entry.bytes,
                ..ledger::Drop::default()
            });
        }
        let rest = match lost {
            0 => "all of them are in new parts".to_owned(),
            _ => format!(
                "{lost} of them cannot be read any more: restore it from a copy, or keep it as long as its spans may be \
                 wanted"
            ),
        };
        let sentence = format!("part `{path}` with {rows} spans is damaged ({problem}) and in quarantine/, {rest}");
        // Without it the hour may be compacted, whatever kept it from that.
        self.compaction.state.succeeded(&entry.hour);
        self.status.damage.lock().expect("no holder of this lock panics").push(sentence);
        self.metrics.degraded.with_label_values(&["part_corrupt"]).set(1);
        count_quarantine(&self.disk, &self.folder, &self.metrics);
    }
}
