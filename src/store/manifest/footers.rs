//! Versions that cannot be read, replaced from the parts themselves (storage.md 8).
//!
//! Duty: [`recover`] reads the parts that no readable version names and says what the lost ones must have done. Guarantee:
//! each row counts once: of two sets of parts with the same rows one is taken, and a set that is not complete, whole and
//! proven by its own footer is not; what was found and what could not be is told. Left to others: making it durable
//! (`Manifest::claim`), reading a part (`part::read_back`).
//!
//! The rules, for parts that no readable version names:
//! - A flush counts if all `of` files of its `wg.wal` are there, its epoch is one of those around the loss, its lsns lie
//!   above what was flushed before the loss and meet no generation that a readable version names. Of two that meet, the
//!   writer with the higher epoch is right: it started from a manifest without the other. One that died before its commit
//!   may count too: its rows are in the log, which is replayed above the lsns that parts hold.
//! - A compacted set counts if all its files are there and no input is known to have left otherwise: it is live, or its
//!   file is gone although nothing readable removes it, or it is of the time of the loss. Its inputs leave. If an input
//!   went into another such set, the one written later is right: it was made from a manifest without the earlier.
//! - What was flushed of a node is told by its own flushes; by compacted parts only where one node wrote them all.
//! - A set is also complete without files that went since: as many as readable versions remove that no readable one adds.
//! - A part that a readable version removes was committed: inputs of it that are still live leave.
//! - A live part whose file is gone was removed by a lost version.
//! - Parts that expired may come back until retention runs again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use ulid::Ulid;

use super::{Delta, Error, Head, Manifest, PartEntry, Reason, Removal};
use crate::store::Lsn;
use crate::store::part::{self, Inputs, Source, WalRange};

const SPANS: &str = "spans";
/// Footers read at once.
const AT_ONCE: usize = 16;
/// From writing a part to committing it.
const SLACK_MS: u64 = 60_000;

/// What is known around the versions that are lost.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// The versions.
    pub(super) lost: Vec<u64>,
    /// Whether the newest is among them.
    pub(super) tail: bool,
    /// Flushed lsns before the first of them, by node.
    pub(super) flushed: BTreeMap<String, Lsn>,
    /// Parts that readable deltas add.
    pub(super) named: HashSet<String>,
    /// Nodes and lsns of the generations whose flush is readable.
    pub(super) covered: Vec<(String, [Lsn; 2])>,
    /// Highest lsn of any part that a readable delta adds: commits are in lsn order, so all below it was flushed.
    pub(super) highest: Lsn,
    /// Parts that readable deltas remove and no readable one adds.
    pub(super) departed: Vec<String>,
    /// Lowest and highest epoch that the lost versions can have.
    pub(super) epochs: [u64; 2],
    /// When the version before the first of them was written, ms since 1970.
    pub(super) since_ms: u64,
}

impl Gap {
    /// `version` is lost; `manifest` is what came before it.
    pub(super) fn lose(&mut self, manifest: &Manifest, version: u64) {
        if self.lost.is_empty() {
            self.flushed.clone_from(&manifest.flushed);
            self.epochs[0] = manifest.epoch;
            self.since_ms = u64::try_from(manifest.written_ns.unwrap_or(0) / 1_000_000).unwrap_or(0);
        }
        self.epochs[1] = u64::MAX;
        self.tail = true;
        self.lost.push(version);
    }

    /// All that came behind `manifest` is lost, with every trace of how many versions it was.
    pub(super) fn behind(manifest: &Manifest) -> Self {
        let mut gap = Self::default();
        gap.lose(manifest, manifest.version.saturating_add(1));
        gap.lost.clear();
        gap
    }

    /// A readable delta, before it is applied to `manifest`.
    pub(super) fn see(&mut self, manifest: &Manifest, head: &Head, delta: &Delta) {
        if self.tail {
            self.epochs[1] = head.writer.epoch;
        }
        self.tail = false;
        self.named.extend(delta.add.iter().map(|entry| entry.path.clone()));
        self.highest = delta.add.iter().map(|entry| entry.lsn[1]).fold(self.highest, Lsn::max);
        // Only a flush moves `flushed`; its parts have the lsns of its generation.
        for node in delta.flushed.keys() {
            self.covered.extend(delta.add.iter().map(|entry| (node.clone(), entry.lsn)));
        }
        let unknown = delta.remove.iter().filter(|removal| !manifest.live.contains(&removal.path));
        self.departed.extend(unknown.map(|removal| removal.path.clone()));
    }
}

/// What the lost versions did, as far as the parts tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// To be applied behind the readable versions; `delete_after` is 0.
    pub delta: Delta,
    /// Files below `spans/` that nothing names and no rule takes.
    pub unplaced: Vec<String>,
    /// What happened, one sentence.
    pub told: String,
}

impl Recovery {
    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.delta.add.is_empty() && self.delta.remove.is_empty() && self.unplaced.is_empty()
    }
}

/// Whether there are parts, named or not.
pub(super) async fn has_parts(objects: &Arc<dyn ObjectStore>) -> Result<bool, Error> {
    Ok(!list(objects).await?.is_empty())
}

/// Reads what `manifest`, in which the versions of `gap` are missing, does not name.
pub(super) async fn recover(manifest: &Manifest, gap: &Gap) -> Result<Recovery, Error> {
    let objects = &manifest.objects;
    let files = list(objects).await?;
    let is_named = |path: &String| manifest.live.contains(path) || gap.named.contains(path);
    let strange: Vec<String> = files.iter().filter(|path| !is_named(path)).cloned().collect();
    let sources = stream::iter(strange.clone()).map(|path| async move {
        match part::source(objects.as_ref(), &path).await {
            Ok(source) => Ok(Some((path, source))),
            Err(part::Error::Objects { path, source }) => Err(Error::Objects { path, source }),
            // Half written or damaged: no set is complete with it.
            Err(_) => Ok(None),
        }
    });
    let sources: Vec<Option<(String, Source)>> = sources.buffered(AT_ONCE).try_collect().await?;
    let in_parts = sources.iter().flatten().filter_map(|(_, source)| match source {
        Source::Log(wal) => Some(wal.node.to_string()),
        Source::Parts(_) => None,
    });
    let mut nodes: BTreeSet<String> = manifest.flushed.keys().cloned().chain(in_parts).collect();
    if nodes.is_empty() && !manifest.node.is_empty() {
        // The last resort: a head does not vouch for its node, it has no hash of its own.
        nodes.insert(manifest.node.clone());
    }
    let mut state = State::of(manifest, gap, &files, &nodes);
    let (mut flushes, mut compacted) = (BTreeMap::new(), BTreeMap::new());
    for (path, source) in sources.into_iter().flatten() {
        match source {
            Source::Log(wal) => {
                let WalRange { node, epoch, from, to, index, of } = wal;
                // Later epochs first; a name sorts by its time, so the last of two equal ones is the later.
                let key = (std::cmp::Reverse(epoch), from, to, of, node);
                flushes.entry(key).or_insert_with(BTreeMap::new).insert(index, path);
            }
            Source::Parts(Inputs { mut ulids, index, of, .. }) => {
                ulids.sort_unstable();
                compacted.entry((ulids, of)).or_insert_with(BTreeMap::new).insert(index, path);
            }
        }
    }
    for ((epoch, from, to, of, node), set) in flushes {
        let node = node.to_string();
        let may = gap.epochs[0] <= epoch.0 && epoch.0 <= gap.epochs[1] && state.may_flush(from, to, &node);
        if may
            && is_complete(&set, of, state.departed)
            && let Some(entries) = state.read(&set).await?
        {
            state.flush(node, [from, to], entries);
        }
    }
    let departed = state.departed;
    let mut compacted: Vec<_> =
        compacted.into_iter().filter(|((_, of), set)| is_complete(set, *of, departed)).collect();
    // By the time in their names: inputs are older than what is made of them.
    compacted.sort_by_key(|(_, set)| set.values().map(|path| ulid_of(path)).max());
    for ((inputs, _), set) in compacted {
        if state.was_committed(&set) {
            state.consume(&inputs);
            if let Some(entries) = state.read(&set).await? {
                state.take_compacted(entries);
            }
        } else if state.may_compact(&inputs)
            && let Some(entries) = state.read(&set).await?
        {
            state.compact(inputs, entries);
        }
    }
    Ok(state.finish(&strange))
}

async fn list(objects: &Arc<dyn ObjectStore>) -> Result<BTreeSet<String>, Error> {
    let listed = objects.list(Some(&Path::from(SPANS))).map_ok(|meta| meta.location.to_string());
    let listed = listed.try_filter(|path| futures::future::ready(ulid_of(path).is_some()));
    listed.try_collect().await.map_err(|source| Error::Objects { path: SPANS.into(), source })
}

pub(super) fn ulid_of(path: &str) -> Option<Ulid> {
    let name = path.rsplit('/').next()?.strip_suffix(".parquet")?;
    Ulid::from_string(name).ok()
}

/// Whether at most `departed` of the `of` files are missing.
fn is_complete(set: &BTreeMap<u32, String>, of: u32, departed: usize) -> bool {
    set.keys().all(|index| *index < of) && of as usize - set.len() <= departed
}

fn meet(a: [Lsn; 2], b: [Lsn; 2]) -> bool {
    a[0] <= b[1] && b[0] <= a[1]
}

/// What is taken so far.
struct State<'a> {
    manifest: &'a Manifest,
    gap: &'a Gap,
    files: &'a BTreeSet<String>,
    /// By ULID, the live parts and those that were taken.
    live: HashMap<Ulid, String>,
    taken: BTreeMap<String, PartEntry>,
    removed: BTreeMap<String, Reason>,
    /// Input → the set made of it that was taken.
    went_into: HashMap<Ulid, usize>,
    sets: Vec<(Vec<Ulid>, Vec<String>)>,
    covered: Vec<(String, [Lsn; 2])>,
    flushed: BTreeMap<String, Lsn>,
    /// Whose lsns those of compacted parts are; `None` where several nodes wrote: to credit the wrong one would hide what
    /// its log alone holds.
    node: Option<String>,
    /// Files that sets may lack because they went since.
    departed: usize,
}

impl<'a> State<'a> {
    fn of(manifest: &'a Manifest, gap: &'a Gap, files: &'a BTreeSet<String>, nodes: &BTreeSet<String>) -> Self {
        let mut live = HashMap::new();
        let mut removed = BTreeMap::new();
        for path in &manifest.live {
            match files.contains(path) {
                true => drop(ulid_of(path).map(|ulid| live.insert(ulid, path.clone()))),
                false => drop(removed.insert(path.clone(), Reason::Dropped)),
            }
        }
        let flushed = |node: &String| (node.clone(), manifest.flushed.get(node).copied().unwrap_or(0));
        let mut flushed: BTreeMap<String, Lsn> = nodes.iter().map(flushed).collect();
        let node = nodes.first().filter(|_| nodes.len() == 1).cloned();
        if let Some(of_node) = node.as_ref().and_then(|node| flushed.get_mut(node)) {
            *of_node = gap.highest.max(*of_node);
        }
        Self {
            manifest,
            gap,
            files,
            live,
            taken: BTreeMap::new(),
            removed,
            went_into: HashMap::new(),
            sets: Vec::new(),
            covered: gap.covered.clone(),
            flushed,
            node,
            departed: gap.departed.iter().filter(|path| !files.contains(*path)).count(),
        }
    }

    fn may_flush(&self, from: Lsn, to: Lsn, node: &str) -> bool {
        let before = self.gap.flushed.get(node).copied().unwrap_or(0);
        from <= to && from > before && !self.covered.iter().any(|(of, other)| of == node && meet(*other, [from, to]))
    }

    /// What a readable version removes was live before: its whole set was committed.
    fn was_committed(&self, set: &BTreeMap<u32, String>) -> bool {
        set.values().any(|path| self.manifest.removed.contains_key(path))
    }

    /// The entries of those of a set that were not removed since, if every file of them is whole.
    async fn read(&self, set: &BTreeMap<u32, String>) -> Result<Option<Vec<PartEntry>>, Error> {
        let mut entries = Vec::new();
        for path in set.values().filter(|path| !self.manifest.removed.contains_key(*path)) {
            match part::read_back(self.manifest.objects.as_ref(), path).await {
                Ok(entry) => entries.push(entry),
                Err(part::Error::Objects { path, source }) => return Err(Error::Objects { path, source }),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(entries))
    }

    /// `node`: whose lsns they have.
    fn take(&mut self, node: Option<&str>, entries: Vec<PartEntry>) {
        for entry in entries {
            if let Some(node) = node {
                // Commits are in lsn order: with it all below was committed.
                let flushed = self.flushed.entry(node.to_owned()).or_default();
                *flushed = entry.lsn[1].max(*flushed);
            }
            if let Some(ulid) = ulid_of(&entry.path) {
                self.live.insert(ulid, entry.path.clone());
            }
            self.taken.insert(entry.path.clone(), entry);
        }
    }

    fn flush(&mut self, node: String, lsns: [Lsn; 2], entries: Vec<PartEntry>) {
        self.take(Some(&node), entries);
        self.covered.push((node, lsns));
    }

    fn take_compacted(&mut self, entries: Vec<PartEntry>) {
        let node = self.node.clone();
        self.take(node.as_deref(), entries);
    }

    fn may_compact(&self, inputs: &[Ulid]) -> bool {
        let gone: HashSet<Ulid> = self.removed.keys().filter_map(|path| ulid_of(path)).collect();
        let known: HashSet<Ulid> = self.manifest.removed.keys().filter_map(|path| ulid_of(path)).collect();
        inputs.iter().all(|input| {
            self.live.contains_key(input)
                || gone.contains(input)
                || !known.contains(input) && input.timestamp_ms() >= self.gap.since_ms.saturating_sub(SLACK_MS)
        })
    }

    fn compact(&mut self, inputs: Vec<Ulid>, entries: Vec<PartEntry>) {
        let earlier: BTreeSet<usize> = inputs.iter().filter_map(|input| self.went_into.get(input).copied()).collect();
        for set in earlier {
            let (inputs, outputs) = std::mem::take(&mut self.sets[set]);
            for path in outputs {
                self.taken.remove(&path);
                ulid_of(&path).map(|ulid| self.live.remove(&ulid));
            }
            for input in inputs {
                self.went_into.remove(&input);
                self.restore(input);
            }
        }
        self.consume(&inputs);
        self.went_into.extend(inputs.iter().map(|input| (*input, self.sets.len())));
        self.sets.push((inputs, entries.iter().map(|entry| entry.path.clone()).collect()));
        self.take_compacted(entries);
    }

    /// Takes back that `input` left, where its file is there.
    fn restore(&mut self, input: Ulid) {
        let path = self.removed.keys().find(|path| ulid_of(path) == Some(input)).cloned();
        let Some(path) = path else { return };
        match self.files.contains(&path) {
            true => {
                self.removed.remove(&path);
                self.live.insert(input, path);
            }
            false => drop(self.removed.insert(path, Reason::Dropped)),
        }
    }

    fn consume(&mut self, inputs: &[Ulid]) {
        for input in inputs {
            let gone = || self.removed.keys().find(|path| ulid_of(path) == Some(*input)).cloned();
            if let Some(path) = self.live.remove(input).or_else(gone) {
                self.removed.insert(path, Reason::Compacted);
            }
        }
    }

    fn finish(self, strange: &[String]) -> Recovery {
        let Self { manifest, gap, taken, removed, flushed, .. } = self;
        let is_placed = |path: &String| taken.contains_key(path) || manifest.removed.contains_key(path);
        let unplaced: Vec<String> = strange.iter().filter(|path| !is_placed(path)).cloned().collect();
        let missing: Vec<&String> =
            removed.iter().filter(|(_, reason)| **reason == Reason::Dropped).map(|(path, _)| path).collect();
        let mut told = match (gap.lost.first(), gap.lost.last()) {
            (Some(first), Some(last)) => format!(
                "{} manifest versions between {first} and {last} cannot be read; the parts themselves name {} in their \
                 place",
                gap.lost.len(),
                taken.len()
            ),
            _ => format!("the manifest is older than the parts; the parts themselves name {} more", taken.len()),
        };
        if !missing.is_empty() {
            told +=
                &format!("; {} parts are taken for removed because their files are gone: {missing:?}", missing.len());
        }
        if !unplaced.is_empty() {
            told += &format!("; {} files fit nowhere and go to quarantine/", unplaced.len());
        }
        // What was taken and used up by a later set both enters and leaves: as if it had never been.
        let add = taken.values().filter(|entry| !removed.contains_key(&entry.path)).cloned().collect();
        let remove = removed
            .into_iter()
            .filter(|(path, _)| manifest.live.contains(path))
            .map(|(path, reason)| Removal { path, reason, delete_after: 0 })
            .collect();
        Recovery { delta: Delta { add, remove, flushed }, unplaced, told }
    }
}
