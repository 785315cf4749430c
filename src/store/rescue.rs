//! What can be put in the place of a damaged part (storage.md 12.3).
//!
//! Duty: [`rescue`]. Where the part was made of others whose files still wait for their deletion, all its rows are in
//! those; else its row groups that are whole are. Guarantee: what comes back is durable and named by nobody; each row
//! that can be read is in it once, beside the parts that stay live; nothing is deleted. Left to others: whether the part
//! is damaged (`part::reread`), the commit, and moving the file.

use std::sync::Arc;

use object_store::ObjectStore;

use super::local::is_unreadable;
use super::manifest::{DELETE_GRACE_NS, Delta, PartEntry, Reason, Removal};
use super::part::{self, Salvaged};
use super::shelf::parts_error;
use super::{Config, Error};
use crate::clock::Clock;

/// What is known of the parts.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Where they are, unchecked.
    pub objects: &'a Arc<dyn ObjectStore>,
    /// Settings of the store.
    pub config: &'a Config,
    /// Names of new parts.
    pub clock: &'a Clock,
    /// The live ones.
    pub live: &'a [PartEntry],
    /// Those that left and whose files may still be there.
    pub removed: &'a [Removal],
}

/// Parts in the place of a damaged one.
#[derive(Debug)]
pub struct Rescued {
    /// New parts and what they replace: the damaged one, and whole ones whose rows are among those of its inputs.
    pub delta: Delta,
    /// Rows that cannot be read any more.
    pub lost: u64,
    /// The rows are those of the inputs.
    pub from_inputs: bool,
}

/// Writes what can be read of the rows of `entry`, which is damaged; `origin` is the delta that named it live.
///
/// Errors: [`Error::Parts`] if the object store fails; what was put by then is named by nobody.
pub async fn rescue(ground: &Ground<'_>, entry: &PartEntry, origin: Option<&Delta>) -> Result<Rescued, Error> {
    let now_ns = ground.clock.now_ns();
    let removal = |path: &str, reason, delete_after| Removal { path: path.to_owned(), reason, delete_after };
    let damaged = removal(&entry.path, Reason::Quarantined, now_ns);
    if let Some(origin) = origin
        && let Some(inputs) = inputs(ground, origin).await?
        && let Some(add) = written_again(ground, &inputs).await?
    {
        let others = origin.add.iter().filter(|other| other.path != entry.path);
        let delete_after = now_ns.saturating_add(DELETE_GRACE_NS);
        let others = others.map(|other| removal(&other.path, Reason::Compacted, delete_after));
        let remove = std::iter::once(damaged).chain(others).collect();
        let delta = Delta { add, remove, ..Delta::default() };
        return Ok(Rescued { delta, lost: 0, from_inputs: true });
    }
    let Salvaged { part, lost } = salvage(ground, entry).await?;
    let delta = Delta { add: part.into_iter().collect(), remove: vec![damaged], ..Delta::default() };
    Ok(Rescued { delta, lost, from_inputs: false })
}

/// The inputs of the compaction `origin`, if it was one, all its outputs are live, and all its inputs are there and whole.
async fn inputs(ground: &Ground<'_>, origin: &Delta) -> Result<Option<Vec<PartEntry>>, Error> {
    // A claim behind lost versions: it adds what several of them did, and removes of it only what was live before them. A
    // compaction flushes nothing.
    if !origin.flushed.is_empty() {
        return Ok(None);
    }
    let is_live = |path: &str| ground.live.iter().any(|part| part.path == path);
    let is_kept = |input: &Removal| {
        input.reason == Reason::Compacted && ground.removed.iter().any(|gone| gone == input) && !is_live(&input.path)
    };
    let is_whole_set = origin.add.iter().all(|output| is_live(&output.path));
    if origin.remove.is_empty() || !is_whole_set || !origin.remove.iter().all(is_kept) {
        return Ok(None);
    }
    let mut inputs = Vec::new();
    for input in &origin.remove {
        match part::read_back(ground.objects.as_ref(), &input.path).await {
            Ok(entry) => inputs.push(entry),
            Err(part::Error::Corrupt { .. }) => return Ok(None),
            Err(error) if is_unreadable(&error) => return Ok(None),
            Err(error) => return Err(parts_error(&error)),
        }
    }
    Ok(Some(inputs))
}

/// The rows of `parts` in parts of other names: a name that left does not come back.
async fn written_again(ground: &Ground<'_>, parts: &[PartEntry]) -> Result<Option<Vec<PartEntry>>, Error> {
    let mut written = Vec::new();
    for entry in parts {
        match salvage(ground, entry).await? {
            Salvaged { part: Some(part), lost: 0 } => written.push(part),
            // It was whole a moment ago.
            _ => return Ok(None),
        }
    }
    Ok(Some(written))
}

async fn salvage(ground: &Ground<'_>, entry: &PartEntry) -> Result<Salvaged<PartEntry>, Error> {
    let read = part::salvage(ground.objects.clone(), entry, ground.clock.ulid(), ground.config).await;
    let Salvaged { part, lost } = read.map_err(|e| parts_error(&e))?;
    let part = match part {
        Some(part) => {
            Some(part::put_verified(ground.objects, &part, ground.config).await.map_err(|e| parts_error(&e))?)
        }
        None => None,
    };
    Ok(Salvaged { part, lost })
}
