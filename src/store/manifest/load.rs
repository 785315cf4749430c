//! Reading the manifest: the newest readable checkpoint, then the deltas behind it (storage.md 8).
//!
//! Duty: [`load`]. Guarantee: every file counts only with its hashes and in its chain; a version that does not is replaced
//! from the parts themselves (`footers.rs`), which the result tells, or is an error; never a shorter list of parts in
//! silence; without any version the parts must not be there either. Left to others: making the replacement durable
//! (`Manifest::claim`).
//!
//! Of two neighbours whose hashes do not fit, the one is taken for damaged whose other neighbour does not vouch for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::{Delta, Error, FOLDER, Head, Manifest, checkpoint, footers, hash, parse_lines, path_of, version_of};
use crate::store::local::is_unreadable;

/// Versions that are replaced from the parts without being asked.
pub const AUTOMATIC: u64 = checkpoint::EVERY;
/// Files read at once.
const AT_ONCE: usize = 32;

/// A file of the manifest that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: String,
    /// What is wrong with it, as half a sentence.
    pub problem: String,
}

/// Reads the manifest of `objects`; replaces at most `most` versions from the parts.
pub(super) async fn load(objects: &Arc<dyn ObjectStore>, most: u64) -> Result<Manifest, Error> {
    for _ in 0..3 {
        match once(objects, most).await {
            // A running daemon has written a checkpoint since the listing and deleted what it made needless.
            Err(Error::Objects { source: object_store::Error::NotFound { .. }, .. }) => {}
            done => return done,
        }
    }
    once(objects, most).await
}

/// One delta as it was read.
struct Read {
    hash: String,
    parsed: Result<(Head, Delta), String>,
}

async fn once(objects: &Arc<dyn ObjectStore>, most: u64) -> Result<Manifest, Error> {
    let (deltas, checkpoints) = list(objects).await?;
    let mut newest = deltas.last().max(checkpoints.last()).copied().unwrap_or(0);
    let mut manifest = Manifest::empty(objects.clone());
    for version in checkpoints.iter().rev() {
        let path = checkpoint::path_of(*version);
        let bytes = match read(objects, &path).await {
            Err(error) if is_unreadable(&error) => {
                manifest.unreadable.push(Unreadable { path: path.to_string(), problem: error.to_string() });
                continue;
            }
            bytes => bytes?,
        };
        match checkpoint::decode(*version, &bytes) {
            Ok((head, body)) => {
                manifest.restore(head, body);
                break;
            }
            Err(problem) => manifest.unreadable.push(Unreadable { path: path.to_string(), problem }),
        }
    }
    let base = manifest.version;
    // A list may lag behind what is there: a delta is missing only if it cannot be read by its name.
    let few = newest.saturating_sub(base) <= deltas.len() as u64 + AUTOMATIC;
    let wanted: Vec<u64> = match few {
        true => (base.saturating_add(1)..=newest).collect(),
        false => deltas.range(base.saturating_add(1)..).copied().collect(),
    };
    let read_one = async |version: u64| {
        match read(objects, &path_of(version)).await {
            // For a repair: a start is not to replace what the disk may give at its next try.
            Err(error) if most > AUTOMATIC && is_unreadable(&error) => {
                Ok(Read { hash: String::new(), parsed: Err(error.to_string()) })
            }
            bytes => bytes.map(|bytes| Read { hash: hash(&bytes), parsed: parse(version, &bytes) }),
        }
    };
    let found = stream::iter(wanted).map(async |version| match read_one(version).await {
        Err(error) if error.is_not_found() && !deltas.contains(&version) => Ok(None),
        read => read.map(|read| Some((version, read))),
    });
    let found = found.buffered(AT_ONCE).try_filter_map(async |found| Ok(found));
    let mut reads: BTreeMap<u64, Read> = found.try_collect().await?;
    // Looked for before version 1 is: whoever puts a part has committed that version first.
    let has_parts = newest == 0 && footers::has_parts(objects).await?;
    while let Some(next) = newest.checked_add(1) {
        match read_one(next).await {
            Ok(read) => reads.insert(next, read),
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error),
        };
        newest = next;
    }
    if newest == 0 && has_parts {
        if most <= AUTOMATIC {
            let problem = "it is empty although `spans/` holds parts".to_owned();
            return Err(Error::Damaged { path: FOLDER.to_owned(), problem });
        }
        manifest.recover_tail().await?;
        return Ok(manifest);
    }
    let blamed = judge(base, &manifest.prev, &reads);
    for (version, problem) in blamed {
        reads.get_mut(&version).expect("only what was read is judged").parsed = Err(problem);
    }
    apply(manifest, reads, newest, most).await
}

impl Manifest {
    /// Whether no version is there that this process does not know. Errors: [`Error::Objects`].
    pub async fn is_newest(&self) -> Result<bool, Error> {
        use object_store::ObjectStoreExt as _;
        let path = path_of(self.version.saturating_add(1));
        match self.objects.head(&path).await {
            Ok(_) => Ok(false),
            Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(source) => Err(Error::Objects { path: path.to_string(), source }),
        }
    }

    /// Takes over the parts that no version names, where the manifest is known to be older than the store: restored from
    /// an older copy, perhaps. `false`: there is nothing that it does not name.
    pub async fn recover_tail(&mut self) -> Result<bool, Error> {
        if self.recovered.is_some() {
            // With it all parts were judged.
            return Ok(false);
        }
        let recovery = footers::recover(self, &footers::Gap::behind(self)).await?;
        if recovery.is_empty() {
            return Ok(false);
        }
        self.adopt(recovery);
        Ok(true)
    }
}

/// See [`Manifest::origin`].
pub(super) async fn origin(objects: &Arc<dyn ObjectStore>, part: &str) -> Result<Option<Delta>, Error> {
    let (deltas, _) = list(objects).await?;
    for version in deltas.into_iter().rev() {
        let bytes = match read(objects, &path_of(version)).await {
            Err(error) if error.is_not_found() => continue,
            bytes => bytes?,
        };
        if let Ok((_, delta)) = parse(version, &bytes)
            && delta.add.iter().any(|entry| entry.path == part)
        {
            return Ok(Some(delta));
        }
    }
    Ok(None)
}

async fn list(objects: &Arc<dyn ObjectStore>) -> Result<(BTreeSet<u64>, BTreeSet<u64>), Error> {
    let listed: Vec<_> = objects
        .list(Some(&Path::from(FOLDER)))
        .try_collect()
        .await
        .map_err(|source| Error::Objects { path: FOLDER.into(), source })?;
    // Anything else is neither: editors and copies leave files behind.
    let names = || listed.iter().filter_map(|meta| meta.location.filename());
    Ok((names().filter_map(version_of).collect(), names().filter_map(checkpoint::version_of).collect()))
}

async fn read(objects: &Arc<dyn ObjectStore>, path: &Path) -> Result<Vec<u8>, Error> {
    use object_store::ObjectStoreExt as _;
    let got = async { objects.get(path).await?.bytes().await }.await;
    got.map(Vec::from).map_err(|source| Error::Objects { path: path.to_string(), source })
}

fn parse(version: u64, bytes: &[u8]) -> Result<(Head, Delta), String> {
    let (head, delta): (Head, Delta) = parse_lines(bytes)?;
    match head.version == version {
        true => Ok((head, delta)),
        false => Err(format!("it says version {}", head.version)),
    }
}

/// The deltas that their neighbours do not vouch for.
fn judge(base: u64, base_hash: &str, reads: &BTreeMap<u64, Read>) -> BTreeMap<u64, String> {
    let head = |version: u64| reads.get(&version).and_then(|read| read.parsed.as_ref().ok()).map(|(head, _)| head);
    let hash_of = |version: u64| match version == base {
        true => Some(base_hash),
        false => head(version).and(reads.get(&version)).map(|read| read.hash.as_str()),
    };
    // Whether `version + 1` follows `version`; `None` where one of them is unreadable.
    let fits = |version: u64| Some(head(version.checked_add(1)?)?.prev == hash_of(version)?);
    let mut blamed = BTreeMap::new();
    for version in reads.keys().map(|version| version - 1).filter(|version| fits(*version) == Some(false)) {
        let follower_is_good = fits(version + 1) == Some(true);
        let alone = version > base && (follower_is_good || fits(version - 1) == Some(false));
        let (who, problem) = match alone {
            true => (version, "the next version follows another file of this name".to_owned()),
            false => (version + 1, "it does not follow the version before it".to_owned()),
        };
        blamed.entry(who).or_insert(problem);
    }
    blamed
}

async fn apply(
    mut manifest: Manifest,
    mut reads: BTreeMap<u64, Read>,
    newest: u64,
    most: u64,
) -> Result<Manifest, Error> {
    let base = manifest.version;
    let mut gap = footers::Gap::default();
    for version in base.saturating_add(1)..=newest {
        let path = path_of(version).to_string();
        let (found, parsed) = match reads.remove(&version) {
            Some(Read { hash, parsed }) => (hash, parsed),
            None => (String::new(), Err(format!("it is missing, but version {newest} exists"))),
        };
        let checked = parsed.and_then(|(head, delta)| {
            // What a lost delta did may be missing later.
            if gap.lost.is_empty() {
                manifest.check(&head, &delta)?;
            }
            Ok((head, delta))
        });
        match checked {
            Ok((head, delta)) => {
                gap.see(&manifest, &head, &delta);
                manifest.apply(found, &head, delta);
            }
            Err(problem) => {
                gap.lose(&manifest, version);
                if gap.lost.len() as u64 > most {
                    let problem = format!("{problem}; with it more than {most} versions cannot be read");
                    return Err(Error::Damaged { path, problem });
                }
                manifest.unreadable.push(Unreadable { path, problem });
                // Whoever wrote it may have started with it.
                manifest.epoch = manifest.epoch.saturating_add(1);
                (manifest.version, manifest.prev) = (version, found);
            }
        }
    }
    manifest.tidy();
    if !gap.lost.is_empty() {
        let recovery = footers::recover(&manifest, &gap).await?;
        manifest.adopt(recovery);
    }
    Ok(manifest)
}
