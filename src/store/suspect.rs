//! Parts that a reader found damaged (storage.md 12.3).
//!
//! Duty: `Upkeep::quarantine_suspects`: each is read once more from its source, then leaves the manifest. Guarantee: only
//! what is damaged at its source leaves; a part whose checksum file alone is damaged gets it anew; row groups that are
//! whole stay, as a new part, in the same version; what leaves is told by health, counted, and kept in `quarantine/`. Left to others: moving the file (`sweep.rs`).

use super::manifest::{Delta, Reason, Removal};
use super::open::count_quarantine;
use super::part::{self, Reread};
use super::shelf::parts_error;
use super::upkeep::Upkeep;
use super::{Error, ledger};

impl Upkeep {
    /// Judges the parts that reads have marked since the last call.
    pub(super) async fn quarantine_suspects(&self) -> Result<(), Error> {
        let store = self.shelf.part_store();
        let mut suspects = store.take_suspects();
        while let Some(path) = suspects.pop_first() {
            if let Err(error) = self.judge(&path).await {
                // They come again with the next step.
                suspects.iter().chain([&path]).for_each(|path| store.suspect(path));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn judge(&self, path: &str) -> Result<(), Error> {
        let shown = self.shelf.shown();
        let Some(part) = shown.parts.parts.iter().find(|part| part.entry.path == path) else { return Ok(()) };
        let entry = &part.entry;
        let problem = match part::reread(self.shelf.objects().as_ref(), entry).await.map_err(|e| parts_error(&e))? {
            Reread::Whole => {
                tracing::warn!(path, "a part was read with damage and is whole at its source");
                self.shelf.part_store().renew(entry);
                return Ok(());
            }
            Reread::Damaged(problem) => problem,
        };
        let (objects, ulid) = (self.shelf.objects(), self.shelf.clock().ulid());
        let salvaged = part::salvage(objects.clone(), entry, ulid, self.shelf.config()).await;
        let part::Salvaged { part, lost } = salvaged.map_err(|e| parts_error(&e))?;
        if let Some(part) = &part {
            part::put(objects.as_ref(), part).await.map_err(|e| parts_error(&e))?;
            self.shelf.part_store().register(&part.entry);
        }
        let removal =
            Removal { path: path.to_owned(), reason: Reason::Quarantined, delete_after: self.shelf.clock().now_ns() };
        let add = part.map(|part| part.entry).into_iter().collect();
        let delta = Delta { add, remove: vec![removal], ..Delta::default() };
        self.shelf.commit(delta, |shown| self.publish(shown)).await?;
        tracing::error!(path, problem, rows = entry.rows, lost, "a part is damaged; it is in quarantine");
        self.ledger.record(ledger::Drop {
            stage: "store".to_owned(),
            component: "quarantine".to_owned(),
            reason: "quarantined".to_owned(),
            path: path.to_owned(),
            spans: lost,
            bytes: entry.bytes,
            ..ledger::Drop::default()
        });
        let sentence = format!(
            "part `{path}` with {} spans is damaged ({problem}) and in quarantine/, {lost} of them cannot be read any \
             more: restore it from a copy, or keep it as long as its spans may be wanted",
            entry.rows
        );
        self.status.damage.lock().expect("no holder of this lock panics").push(sentence);
        self.metrics.degraded.with_label_values(&["part_corrupt"]).set(1);
        count_quarantine(&self.disk, &self.folder, &self.metrics);
        Ok(())
    }
}
