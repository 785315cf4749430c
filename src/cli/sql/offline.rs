//! A statement over a data folder, without the daemon.
//!
//! Duty: open the folder read-only and run statements here, on all cores; a folder of plain Parquet files is the table
//! `parquet`. Guarantee: nothing in the folder changes, and no lock is taken; a statement sees what lies there when it
//! begins, as far as the file system tells the lengths and times of its files (NFS may tell those of some seconds ago), and
//! what nobody has changed is not opened again for each. Left to others: what can be seen of the folder (`store::offline`,
//! `query::plain`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datafusion::catalog::TableProvider;
use tokio::sync::Mutex;

use super::{Ask, Failure};
use crate::cli::sources::Offline;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::query::gateway::Resources;
use crate::query::{Answer, Code, Config, Gateway, Statement, plain};
use crate::store::place::Place;
use crate::store::{self, Reader};

/// A file that changes twice within this time may look the same after the second.
const STILL: Duration = Duration::from_secs(2);

/// A folder that statements are run over.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    offline: Offline,
    clock: Clock,
    open: Mutex<Option<Open>>,
}

/// The folder as it was opened last.
#[derive(Clone, Debug)]
struct Open {
    /// `None` where it is not known whether it stays so.
    files: Option<Files>,
    time: Option<Duration>,
    gateway: Gateway,
    is_plain: bool,
}

/// Paths, lengths and times of the files that tell what is in a folder.
type Files = Vec<(PathBuf, u64, SystemTime)>;

impl Folder {
    pub(super) fn new(dir: PathBuf, offline: Offline, clock: Clock) -> Self {
        Self { dir, offline, clock, open: Mutex::new(None) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) async fn run(&self, ask: &Ask) -> Result<Answer, Failure> {
        let Open { gateway, is_plain, .. } = self.opened(ask.time).await?;
        let statement = Statement {
            sql: ask.sql.clone(),
            params: ask.typed()?,
            limits: ask.limits(),
            // Rows stay columns until they are written.
            shape: crate::query::gateway::Shape::Arrow,
            ..Statement::default()
        };
        gateway.run(statement).await.map_err(|error| {
            let error = match error.code {
                Code::UnknownTable if is_plain => error.hint("the files of this folder are the table `parquet`"),
                _ => error,
            };
            Failure::from(error).of(&ask.sql)
        })
    }

    /// The folder as it lies there now, for statements of at most `time`.
    async fn opened(&self, time: Option<Duration>) -> Result<Open, Failure> {
        let mut open = self.open.lock().await;
        // Before it is read: what changes meanwhile differs from this afterwards.
        let files = files(&self.dir).filter(|files| self.are_still(files));
        if let Some(open) =
            open.as_ref().filter(|open| open.time == time && open.files.is_some() && open.files == files)
        {
            return Ok(open.clone());
        }
        // Not both at once: each has the rows of the log and caches of its own.
        *open = None;
        let (reader, extra, is_elsewhere) = self.read().await?;
        let is_plain = !extra.is_empty();
        let config = Config {
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            // Nobody else waits for these threads, and a shell can interrupt.
            timeout: time.unwrap_or(Duration::from_secs(600)),
            ..Config::default()
        };
        let memory = usize::try_from(crate::budget::machine_memory() / 2).unwrap_or(usize::MAX);
        let resources = Resources { memory_bytes: memory, spill: None };
        let clock = self.clock.clone();
        let gateway = Gateway::with(reader, config, resources, extra, clock, &prometheus::Registry::new())?;
        let files = files.filter(|_| !is_elsewhere);
        Ok(open.insert(Open { files, time, gateway, is_plain }).clone())
    }

    /// Whether none of `files` was changed just now.
    fn are_still(&self, files: &Files) -> bool {
        let now_ns = u128::try_from(self.clock.now_ns()).unwrap_or(0);
        files.iter().all(|(_, _, changed)| {
            let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            (since + STILL).as_nanos() < now_ns
        })
    }

    /// What the folder holds, the table of its files if they are not ours, and whether its parts are elsewhere.
    async fn read(&self) -> Result<(Reader, Extra, bool), Failure> {
        let dir = &self.dir;
        if !is_ours(dir) && dir.is_dir() {
            let files = plain::files(dir).map_err(Failure::Data)?;
            if !files.is_empty() {
                let table = plain::table(&files).await.map_err(Failure::Data)?;
                return Ok((plain::no_spans(), vec![(plain::NAME.to_owned(), table)], false));
            }
        }
        let config = self.offline.store(dir)?;
        let reader = store::offline::open(&config, Disk::Os, self.clock.clone()).await;
        let is_elsewhere = !matches!(config.place, Place::Folder);
        Ok((reader.map_err(|error| Failure::of_folder(dir, &error))?, Vec::new(), is_elsewhere))
    }
}

fn is_ours(dir: &Path) -> bool {
    dir.join("VERSION").exists()
}

/// The files that change with what is in `dir`: of a data folder its manifest and its log. `None` if they cannot be told.
fn files(dir: &Path) -> Option<Files> {
    let paths: Vec<PathBuf> = if is_ours(dir) {
        let within = |name: &str| -> std::io::Result<Vec<PathBuf>> {
            std::fs::read_dir(dir.join(name))?.map(|entry| Ok(entry?.path())).collect()
        };
        [within("manifest").ok()?, within("wal").ok()?].concat()
    } else {
        plain::files(dir).ok()?
    };
    let file = |path: PathBuf| -> Option<(PathBuf, u64, SystemTime)> {
        let found = std::fs::metadata(&path).ok()?;
        Some((path, found.len(), found.modified().ok()?))
    };
    let mut files: Files = paths.into_iter().map(file).collect::<Option<_>>()?;
    files.sort();
    Some(files)
}

type Extra = Vec<(String, Arc<dyn TableProvider>)>;

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::super::session::Session;
    use super::*;

    /// Far behind every file's time, so that all are still.
    const LATER_NS: i64 = 8_000_000_000_000_000_000;

    fn write(path: &Path, numbers: &[i64]) {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let mut file = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
        file.write(&batch).unwrap();
        file.close().unwrap();
    }

    #[tokio::test]
    async fn each_statement_sees_what_lies_there_when_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a.parquet"), &[1, 2, 3]);
        for now_ns in [LATER_NS, 0] {
            let session = Session::folder(dir.path().to_owned(), Offline::default(), Clock::manual(now_ns, 1));
            let sum = async || session.texts("SELECT sum(n) FROM parquet").await.unwrap()[0][0].clone().unwrap();
            assert_eq!((sum().await, sum().await), ("6".to_owned(), "6".to_owned()));
            write(&dir.path().join("b.parquet"), &[10]);
            assert_eq!(sum().await, "16");
            write(&dir.path().join("b.parquet"), &[10, 20, 30]);
            assert_eq!(sum().await, "66");
            std::fs::remove_file(dir.path().join("b.parquet")).unwrap();
            assert_eq!(sum().await, "6");
        }
    }

    #[tokio::test]
    async fn a_folder_that_nobody_changes_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a.parquet"), &[1]);
        let folder = Folder::new(dir.path().to_owned(), Offline::default(), Clock::manual(LATER_NS, 1));
        assert!(folder.opened(None).await.unwrap().files.is_some());
        let before = folder.open.lock().await.clone().unwrap();
        // Taken from there, or there would be nothing to open.
        folder.open.lock().await.as_mut().unwrap().is_plain = !before.is_plain;
        assert_eq!(folder.opened(None).await.unwrap().is_plain, !before.is_plain);
        assert_eq!(folder.opened(Some(Duration::from_secs(1))).await.unwrap().is_plain, before.is_plain, "anew");
        let fresh = Folder::new(dir.path().to_owned(), Offline::default(), Clock::manual(0, 1));
        assert!(fresh.opened(None).await.unwrap().files.is_none(), "a file of just now may change again unseen");
    }
}
