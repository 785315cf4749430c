//! Whether a data folder is whole: `weavergen store verify` (storage.md 12.4).
//!
//! Duty: manifest, parts, their checksum files, log and drop ledger, each against what names it. Guarantee: nothing is
//! changed; one damaged file does not hide the next; a daemon that works in the folder meanwhile is not taken for
//! damage. Left to others: showing it (`cli`), repairing, the files of gates, engine and learning.

use std::collections::HashSet;
use std::path::Path as FsPath;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::folder::Folder;
use super::manifest::{self, Manifest};
pub use super::part::Depth;
use super::part::{self, Problem};
use super::place::Objects;
use super::recover::{self, Damage, Survey};
use super::wal::scan;
use super::wal::segment;
use super::{Config, Error, Lsn, catalog, decode, index, ledger};
use crate::clock::Clock;
use crate::disk::Disk;

/// Parts that are checked at once: a deep check holds a row group of each in memory.
const AT_ONCE: usize = 2;
/// How often the log is read at most until two readings agree about its damage.
const READINGS: usize = 5;
const STRANGER: &str = "weavergen did not write it";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something that was stored cannot be read as it was written.
    Damage,
    /// Nothing is lost by it.
    Note,
}

impl Severity {
    /// `damage` or `note`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Note => "note",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Below the data folder.
    pub file: String,
    /// Where in it; `None` = as a whole.
    pub place: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// The next move.
    pub next: String,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Version of the manifest.
    pub manifest_version: u64,
    /// Live parts that were checked.
    pub parts: u64,
    /// Their rows, as the manifest counts them.
    pub rows: u64,
    /// Log segments that were checked.
    pub segments: u64,
    /// Damage first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether all that was stored can be read as it was written.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Damage)
    }

    fn add(&mut self, severity: Severity, file: &str, place: Option<String>, problem: String, next: &str) {
        self.findings.push(Finding { severity, file: file.to_owned(), place, problem, next: next.to_owned() });
    }
}

/// Checks the data folder `config.path`, also beside a running daemon.
///
/// Errors: [`Error::Folder`] if it is no data folder, [`Error::Place`] if its parts are not where `config` says,
/// [`Error::Io`], [`Error::Parts`] and [`Error::Unreachable`] if it cannot be read at all. All else is in the report.
pub async fn verify(config: &Config, disk: &Disk, clock: &Clock, depth: Depth) -> Result<Report, Error> {
    let folder = Folder::read(disk, &config.path)?;
    let objects = Objects::open(&config.place, &folder, disk, clock)?;
    check(&folder, &objects, disk, depth).await
}

/// As [`verify`], with `place` open.
pub(super) async fn check(folder: &Folder, place: &Objects, disk: &Disk, depth: Depth) -> Result<Report, Error> {
    let objects = place.store().clone();
    let mut report = Report::default();
    // The files before the manifest: what is put and named meanwhile is then in neither list of strangers.
    let mut files = Vec::new();
    for below in ["spans", "index", "manifest"] {
        let listed = objects.list(Some(&Path::from(below))).map_ok(|meta| meta.location.to_string());
        let listed: Vec<String> = listed.try_collect().await.map_err(|e| place.told(&e))?;
        files.extend(listed);
    }
    match load(place).await? {
        Ok(manifest) => {
            report.manifest_version = manifest.version();
            unreadable(&manifest, &mut report);
            parts(&objects, &manifest, depth, &mut report).await;
            days(&objects, &files, &mut report).await;
            strangers(&files, &manifest, &mut report);
            log(folder, disk, place, depth, &mut report).await?;
        }
        Err((path, problem)) => report.add(
            Severity::Damage,
            &path,
            None,
            format!("{problem}; parts and log were not checked, since the manifest tells which of them count"),
            "restore the file from a copy and run this again, or let `weavergen store repair` name the parts anew from what \
             they say of themselves; a daemon does not start without it",
        ),
    }
    counts(&objects, place, &mut report).await?;
    drops(folder, disk, &mut report)?;
    aside(folder, disk, &mut report)?;
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}

/// The manifest, or the file of it that is damaged and how.
async fn load(place: &Objects) -> Result<Result<Manifest, (String, String)>, Error> {
    match Manifest::load(place.store().clone()).await {
        Ok(manifest) => Ok(Ok(manifest)),
        Err(manifest::Error::Damaged { path, problem }) => Ok(Err((path, problem))),
        Err(other) => Err(place.of_manifest(&other)),
    }
}

async fn parts(objects: &Arc<dyn ObjectStore>, manifest: &Manifest, depth: Depth, report: &mut Report) {
    let checks = stream::iter(manifest.parts().to_vec()).map(|entry| {
        let objects = objects.clone();
        async move {
            let problems = part::check(objects.as_ref(), &entry, depth).await;
            let index = index::check(objects.as_ref(), &entry).await.map(|what| (index::path(&entry), what));
            (problems, index)
        }
    });
    let mut checks = std::pin::pin!(checks.buffered(AT_ONCE));
    while let Some((problems, index)) = checks.next().await {
        if let Some((file, what)) = index {
            let next = "lookups by trace search the part without it; a daemon makes it again after the first of them";
            report.add(Severity::Note, &file, None, what, next);
        }
        for Problem { file, place, what } in problems {
            let next = match file.starts_with("spans/") {
                true => "restore the file from a copy; until then statements that need it are refused",
                false => "restore the file from a copy; until then the part it belongs to cannot be read",
            };
            report.add(Severity::Damage, &file, place, what, next);
        }
    }
    report.parts = manifest.parts().len() as u64;
    report.rows = manifest.parts().iter().map(|entry| entry.rows).sum();
}

/// The trace indexes of days.
async fn days(objects: &Arc<dyn ObjectStore>, files: &[String], report: &mut Report) {
    for file in files.iter().filter(|file| index::is_day(file)) {
        if let Some(what) = index::check_day(objects.as_ref(), file).await {
            let next = "lookups by trace ask the indexes of the parts; a daemon makes it again";
            report.add(Severity::Note, file, None, what, next);
        }
    }
}

/// Files of the manifest that do not count.
fn unreadable(manifest: &Manifest, report: &mut Report) {
    let next = "restore the file from a copy before the next start, or let that start put it into quarantine/ and go on \
                with what the parts say of themselves";
    for manifest::Unreadable { path, problem } in manifest.unreadable() {
        report.add(Severity::Damage, path, None, problem.clone(), next);
    }
    if let Some(recovery) = manifest.recovered() {
        report.add(Severity::Note, "manifest/", None, recovery.told.clone(), next);
    }
}

/// Files that nothing names.
fn strangers(files: &[String], manifest: &Manifest, report: &mut Report) {
    let live = manifest.parts().iter().map(|entry| &entry.path);
    let named = live.chain(manifest.removed().map(|removal| &removal.path));
    let named = named.flat_map(|path| [path.clone(), part::sum_path(path), index::path_of(path)]);
    let named: HashSet<String> = named.collect();
    for file in files.iter().filter(|file| !named.contains(*file)) {
        let name = file.rsplit('/').next().unwrap_or(file);
        let stem = name.split('.').next().unwrap_or(name);
        let is_ours = ulid::Ulid::from_string(stem).is_ok()
            && [".parquet", ".sum", ".tix"].iter().any(|kind| name.ends_with(kind));
        if file.starts_with("manifest/") && manifest::is_name(name) || index::is_day(file) {
            continue;
        }
        let (what, next) = match is_ours {
            true => (
                "no manifest version names it: a flush has not committed it yet, or ended before it did",
                "nothing reads it; with no daemon on the folder it may be removed",
            ),
            false => (STRANGER, "nothing reads it; move it away if it is not meant to be here"),
        };
        report.add(Severity::Note, file, None, what.to_owned(), next);
    }
}

/// Files of the catalogue.
async fn counts(objects: &Arc<dyn ObjectStore>, place: &Objects, report: &mut Report) -> Result<(), Error> {
    let listed = objects.list(Some(&Path::from(catalog::FOLDER))).map_ok(|meta| meta.location.to_string());
    let listed: Vec<String> = listed.try_collect().await.map_err(|e| place.told(&e))?;
    for file in listed {
        let (what, next) = match catalog::check(objects.as_ref(), &file).await {
            Ok(None) => continue,
            Ok(Some(problem)) => (
                problem,
                "nothing is lost by it: an older one counts, or the rows are counted again; the next one takes its place",
            ),
            Err(catalog::NotOurs) => {
                (STRANGER.to_owned(), "nothing reads it; move it away if it is not meant to be here")
            }
        };
        report.add(Severity::Note, &file, None, what, next);
    }
    Ok(())
}

async fn log(folder: &Folder, disk: &Disk, place: &Objects, depth: Depth, report: &mut Report) -> Result<(), Error> {
    let mut before: Option<Vec<Damage>> = None;
    let mut readings = 0;
    let (survey, flushed) = loop {
        let Ok(manifest) = load(place).await? else {
            // It was whole a moment ago; the next run tells.
            return Ok(());
        };
        let flushed = manifest.flushed_lsn(folder.node);
        let survey = {
            let (disk, folder) = (disk.clone(), folder.clone());
            blocking(move || Ok(recover::inspect(&disk, &folder, flushed, 0)?.0)).await?
        };
        readings += 1;
        // A daemon writes and deletes segments meanwhile: a reading may meet both sides of a change. Damage stays.
        if survey.damage.is_empty() || before.as_ref() == Some(&survey.damage) || readings == READINGS {
            break (survey, flushed);
        }
        before = Some(survey.damage.clone());
    };
    report.segments = survey.first_lsns.len() as u64;
    told(&survey, report);
    if depth == Depth::Deep {
        poison(&survey, flushed, disk, report).await?;
    }
    let wal = folder.wal();
    for path in disk.list(&wal).map_err(|e| Error::io("list", &wal, &e))? {
        let ours = segment::lsn_of(&path).is_some() || path.file_name().is_some_and(|name| name == "next.tmp");
        if !ours {
            let next = "nothing reads it; move it away if it is not meant to be here";
            report.add(Severity::Note, &name_of(&path), None, STRANGER.to_owned(), next);
        }
    }
    Ok(())
}

fn told(survey: &Survey, report: &mut Report) {
    let lost = "restore the segment from a copy before the next start, or let that start put the place into \
                quarantine/ and go on without it (wal.on_corruption: quarantine)";
    for damage in &survey.damage {
        report.add(Severity::Damage, &name_of(&damage.path), Some(damage.place.clone()), damage.what.clone(), lost);
    }
    for damage in &survey.past {
        let next = "nothing is lost: the segment goes with one of the next flushes";
        report.add(Severity::Note, &name_of(&damage.path), Some(damage.place.clone()), damage.what.clone(), next);
    }
    if survey.torn_bytes > 0 {
        let what = format!("{} bytes behind the last whole group of records", survey.torn_bytes);
        let next = "normal after a crash and while a daemon writes: nothing of them was acknowledged";
        report.add(Severity::Note, "wal/", Some("tail".to_owned()), what, next);
    }
}

/// Records whose checksum is right and which no rows can be made of.
async fn poison(survey: &Survey, flushed: Lsn, disk: &Disk, report: &mut Report) -> Result<(), Error> {
    for of in &survey.segments {
        let (of, disk) = (of.clone(), disk.clone());
        let name = name_of(&of.path);
        let poisoned = blocking(move || {
            let bytes = match disk.read(&of.path) {
                Ok(bytes) => bytes,
                // Deleted since the survey: its rows are in parts.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(Error::io("read", &of.path, &error)),
            };
            let records = scan::scan(&bytes, &of.header, of.bound).records;
            let mut poisoned = Vec::new();
            recover::each_decoded(&bytes, &records, flushed, &decode::otlp(), |header, decoded| {
                poisoned.extend(decoded.err().map(|why| (header.lsn, why)));
            });
            Ok(poisoned)
        });
        for (lsn, why) in poisoned.await? {
            let next = "the next start puts the record into quarantine/; report it with that file";
            report.add(
                Severity::Damage,
                &name,
                Some(format!("record {lsn}")),
                format!("cannot be decoded: {why}"),
                next,
            );
        }
    }
    Ok(())
}

fn drops(folder: &Folder, disk: &Disk, report: &mut Report) -> Result<(), Error> {
    let dir = folder.ledger();
    let paths = ledger::segment_paths(&dir, disk).map_err(|e| Error::io("list", &dir, &e))?;
    for path in &paths {
        let segment = ledger::read_segment(path, disk).map_err(|e| Error::io("read", path, &e))?;
        if segment.torn_bytes > 0 {
            // A write that fails leaves the same behind, and its rows go into the next segment.
            let what = format!("its last {} bytes are no whole rows", segment.torn_bytes);
            let next = "normal after a crash or a full disk, and while a daemon writes; no span is lost by it";
            report.add(Severity::Note, &name_of(path), Some("tail".to_owned()), what, next);
        }
    }
    Ok(())
}

/// What an earlier start has put aside.
fn aside(folder: &Folder, disk: &Disk, report: &mut Report) -> Result<(), Error> {
    let dir = folder.quarantine();
    let kept = match disk.list(&dir) {
        Ok(kept) => kept,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", &dir, &error)),
    };
    for path in kept {
        let next = "keep it as long as its spans may be wanted, then remove it";
        report.add(Severity::Note, &name_of(&path), None, "an earlier start has put it aside".to_owned(), next);
    }
    Ok(())
}

/// A file in a folder of the data folder, below the latter.
fn name_of(path: &FsPath) -> String {
    let part = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    format!("{}/{}", part(path.parent().and_then(FsPath::file_name)), part(path.file_name()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::Internal { detail: format!("checking the folder: {e}") })?
}
