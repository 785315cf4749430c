//! The indexes of days: those of a day's parts in one file (storage.md 10.1).
//!
//! Duty: [`Indexes::find_in_day`] asks one, [`Indexes::merge_day`] makes one. Guarantee: it says of the parts that it
//! names what their own indexes say, so a part that came later or left is none of its business; where it is missing or
//! damaged the parts' own indexes are asked, and it is made again. Left to others: when (`store/days.rs`).
//!
//! The parts keep their own indexes: a day is a copy, so nothing is lost with it whatever a crash leaves, and what checks
//! or deletes a part's files need not know of days. It costs the bytes of an index, of at most 2 a span, once more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode};

use super::fences::Fences;
use super::indexes::{Failure, found};
use super::merge::Merge;
use super::{Found, Indexes, Key, path};
use crate::store::part::{Error, Part, ulid_of};

const FOLDER: &str = "index/trace";
const PREFIX: &str = "day-";
const SUFFIX: &str = ".tix";

/// `YYYY-MM-DD` of the folder that the part `path` lies in.
pub fn date_of(path: &str) -> Option<&str> {
    path.strip_prefix("spans/date=")?.split('/').next()
}

/// Whether `path` is the index of a day.
pub fn is_day(path: &str) -> bool {
    let name = path.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
    name.and_then(date_of_name).is_some()
}

fn date_of_name(name: &str) -> Option<&str> {
    let date = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    date.parse::<jiff::civil::Date>().is_ok().then_some(date)
}

fn path_of_day(date: &str) -> String {
    format!("{FOLDER}/{PREFIX}{date}{SUFFIX}")
}

impl Indexes {
    /// The dates of the days that have an index; empty where that cannot be told at the moment.
    pub async fn days(&self) -> BTreeSet<String> {
        match self.known_days().await {
            Ok(days) => locked(days).clone(),
            Err(error) => {
                tracing::warn!(%error, "the indexes of days cannot be listed; those of their parts are asked");
                BTreeSet::new()
            }
        }
    }

    /// Where rows of the traces `keys` are in those of `parts`, all of the day `date`, that its index names; for the
    /// others, and where it cannot tell, [`Indexes::find`] is to be asked.
    pub async fn find_in_day(&self, date: &str, parts: &[Arc<Part>], keys: &[Key]) -> Vec<(String, Found)> {
        match self.ask_day(date, parts, keys).await {
            Ok(found) => found,
            Err(failure) => {
                self.lose(date, &failure);
                Vec::new()
            }
        }
    }

    /// Whether the index of the day `date` names all of `parts`.
    pub async fn has_in_day(&self, date: &str, parts: &[Arc<Part>]) -> bool {
        if !self.days().await.contains(date) {
            return false;
        }
        match self.day(date).await {
            Ok(fences) => parts.iter().all(|part| fences.groups_of(&part.entry).is_some()),
            Err(failure) => {
                self.lose(date, &failure);
                false
            }
        }
    }

    /// Merges the indexes of `parts`, as many as have `limit_bytes` together, into that of the day `date`, durably. Gives
    /// back whether there is no more to do for now; else an index is damaged and noted.
    ///
    /// Errors: one cannot be read, or the file not be put; what there was is as it was then.
    pub async fn merge_day(&self, date: &str, parts: &[Arc<Part>], limit_bytes: u64) -> Result<bool, Error> {
        let mut parts = parts.to_vec();
        parts.sort_by_key(|part| ulid_of(&part.entry.path));
        let (mut merge, mut merged, mut bytes, mut whole) = (Merge::default(), Vec::new(), 0, true);
        for part in parts {
            let of_part = path(&part.entry);
            let at = Path::from(of_part.as_str());
            let read = async {
                let got = self.objects().get(&at).await?;
                bytes += got.meta.size;
                if bytes > limit_bytes { Ok(None) } else { got.bytes().await.map(Some) }
            };
            let failure = match read.await.map_err(Failure::from) {
                Ok(None) => break,
                Ok(Some(file)) => match merge.add(&part.entry, file) {
                    Ok(()) => {
                        merged.push(part);
                        continue;
                    }
                    Err(damage) => Failure::from(damage),
                },
                Err(Failure::Objects(source)) => return Err(Error::Objects { path: of_part, source }),
                Err(failure) => failure,
            };
            self.note(&part.entry, &failure);
            whole = false;
        }
        // Of one it would be a copy.
        if merge.len() < 2 {
            return Ok(whole);
        }
        let file = match merge.finish() {
            Ok(file) => file,
            Err((at, damage)) => {
                self.note(&merged[at].entry, &damage.into());
                return Ok(false);
            }
        };
        let path = path_of_day(date);
        let put = self.objects().put_opts(&Path::from(path.as_str()), file.into(), PutMode::Overwrite.into()).await;
        if let Err(source) = put {
            return Err(Error::Objects { path, source });
        }
        self.forget(&path);
        match self.known_days().await {
            Ok(days) => {
                locked(days).insert(date.to_owned());
            }
            Err(source) => return Err(Error::Objects { path, source }),
        }
        tracing::info!(date, parts = merged.len(), "the trace indexes of a day are one file");
        Ok(whole)
    }

    /// Deletes the indexes of days other than `kept`.
    ///
    /// Errors: one cannot be deleted.
    pub async fn keep_days(&self, kept: &BTreeSet<&str>) -> Result<(), Error> {
        for date in self.days().await.iter().filter(|date| !kept.contains(date.as_str())) {
            let path = path_of_day(date);
            match self.objects().delete(&Path::from(path.as_str())).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(Error::Objects { path, source }),
            }
            self.no_longer(date);
        }
        Ok(())
    }

    async fn ask_day(&self, date: &str, parts: &[Arc<Part>], keys: &[Key]) -> Result<Vec<(String, Found)>, Failure> {
        let fences = self.day(date).await?;
        let named = parts.iter().filter_map(|part| Some((part, fences.groups_of(&part.entry)?)));
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let zones = self.zones(&path_of_day(date), &fences, keys).await?;
        let answer = |(part, of): (&Arc<Part>, _)| (part.entry.path.clone(), found(&zones, &fences.groups, of));
        Ok(named.into_iter().map(answer).collect())
    }

    async fn day(&self, date: &str) -> Result<Arc<Fences>, Failure> {
        let path = path_of_day(date);
        self.fences(&path, &path, Fences::read_day).await
    }

    async fn known_days(&self) -> object_store::Result<&Mutex<BTreeSet<String>>> {
        let list = || async {
            let listed = self.objects().list_with_delimiter(Some(&Path::from(FOLDER))).await?;
            let names = listed.objects.iter().filter_map(|meta| meta.location.filename());
            let dates: BTreeSet<String> = names.filter_map(date_of_name).map(str::to_owned).collect();
            Ok::<_, object_store::Error>(Mutex::new(dates))
        };
        self.days_cell().get_or_try_init(list).await
    }

    /// The index of the day `date` is of no use, for the reason of `failure`.
    fn lose(&self, date: &str, failure: &Failure) {
        tracing::warn!(date, reason = %failure, "the trace index of a day is of no use; those of its parts are asked");
        match failure {
            Failure::Objects(_) => self.forget(&path_of_day(date)),
            // It is made again.
            Failure::Missing | Failure::Damaged(_) => self.no_longer(date),
        }
    }

    fn no_longer(&self, date: &str) {
        self.forget(&path_of_day(date));
        if let Some(days) = self.days_cell().get() {
            locked(days).remove(date);
        }
    }
}

fn locked(days: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    days.lock().expect("no holder of this lock panics")
}
