//! Commits of the upkeep thread, one at a time, whose outcome may stay unknown for a while (storage.md 8).
//!
//! Duty: `Upkeep::commit`, and `Upkeep::settle_open` for those that failed: the manifest may hold them all the same.
//! Guarantee: who waits to tell of a commit (ledger, counters, health) is called once, as soon as it is known to be
//! committed, and never for one that is not; the parts that it adds are in hand until then, so the sweep leaves their
//! files, and no longer; what rests on bytes that the disk did not give is judged anew, not tried again. Left to others: what is committed (`suspect.rs`, `retain.rs`, `compact`), the flush, whose rows
//! are in memory meanwhile (`flush.rs`).

use super::Error;
use super::manifest::Delta;
use super::shelf::Standing;
use super::upkeep::Upkeep;

/// A commit that failed and may have succeeded after all.
pub struct Open {
    delta: Delta,
    told: Box<dyn FnOnce(&Upkeep) + Send>,
    /// The part that it takes away for bytes that the disk did not give, if that is why.
    unread: Option<String>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("delta", &self.delta).finish_non_exhaustive()
    }
}

impl Open {
    pub(super) fn new(delta: Delta, told: impl FnOnce(&Upkeep) + Send + 'static) -> Self {
        Self { delta, told: Box::new(told), unread: None }
    }

    /// It takes the part `path` away because the disk did not give its bytes: it may give them by the next try.
    #[must_use]
    pub(super) fn unread(self, path: &str) -> Self {
        Self { unread: Some(path.to_owned()), ..self }
    }
}

impl Upkeep {
    /// Names the parts that `delta` adds as being in hand, commits it, shows it to readers, and calls `told`.
    ///
    /// Errors: [`Error::Superseded`]; any other keeps the commit open, and [`Upkeep::settle_open`] ends it.
    pub(super) async fn commit(&self, delta: Delta, told: impl FnOnce(&Self) + Send + 'static) -> Result<(), Error> {
        self.commit_as(Open::new(delta, told)).await
    }

    /// The same with what is to be known of the commit where it fails.
    pub(super) async fn commit_as(&self, open: Open) -> Result<(), Error> {
        // Before any snapshot names them.
        open.delta.add.iter().for_each(|entry| self.shelf.part_store().register(entry));
        self.try_commit(open).await
    }

    async fn try_commit(&self, open: Open) -> Result<(), Error> {
        match self.shelf.commit(open.delta.clone(), |shown| self.publish(shown)).await {
            Ok(()) => (open.told)(self),
            Err(error @ Error::Superseded { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a commit of the manifest is not settled; it is tried again");
                self.keep_open(open);
                return Err(error);
            }
        }
        Ok(())
    }

    fn keep_open(&self, open: Open) {
        self.chores.lock().expect("no holder of this lock panics").open.push(open);
    }

    /// Ends the commits whose outcome is unknown: each had succeeded, or is tried again, or is given up because what it
    /// removes left otherwise meanwhile or has to be read once more.
    ///
    /// Errors: as of [`Upkeep::commit`], while one of them stays open.
    pub(super) async fn settle_open(&self) -> Result<(), Error> {
        // One leaves the list at a time: a panic takes none of the others with it.
        while let Some(open) = self.first_open() {
            match self.shelf.standing(&open.delta).await {
                Standing::Committed => {
                    self.shelf.show_again(|shown| self.publish(shown)).await;
                    (open.told)(self);
                }
                Standing::Void => {
                    tracing::warn!(
                        parts = open.delta.add.len(),
                        "what a failed commit was to remove has left otherwise"
                    );
                    self.give_up(&open);
                }
                Standing::Open => self.try_again(open).await?,
            }
        }
        Ok(())
    }

    async fn try_again(&self, open: Open) -> Result<(), Error> {
        let Some(path) = &open.unread else { return self.try_commit(open).await };
        match self.shelf.is_newest().await {
            Ok(true) => {
                tracing::warn!(
                    path,
                    "a failed commit was to remove a part that may be readable by now: it is read again"
                );
                self.give_up(&open);
                self.shelf.part_store().suspect(path);
                Ok(())
            }
            // It came through unseen, most likely: the next try finds it.
            Ok(false) => self.try_commit(open).await,
            Err(error) => {
                self.keep_open(open);
                Err(error)
            }
        }
    }

    fn give_up(&self, open: &Open) {
        open.delta.add.iter().for_each(|entry| self.shelf.part_store().forget(&entry.path));
    }

    fn first_open(&self) -> Option<Open> {
        let open = &mut self.chores.lock().expect("no holder of this lock panics").open;
        (!open.is_empty()).then(|| open.remove(0))
    }
}
