//! `pipeline_definitions` where no daemon is.
//!
//! Duty: the deployed versions that a data folder keeps, or that a test says; where there is neither, the reason. Guarantee: a
//! gate that reads the table over spans alone is an error, not a judgement of nothing; the folder is only read. Left to
//! others: rows of the folder's file (`engine`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::empty::EmptyTable;

use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::engine;
use crate::gate::suite::Deployed;
use crate::gate::{Group, schema};
use crate::query::lazy::Lazy;
use crate::query::{Code, Error};

/// Its name in SQL.
const NAME: &str = "pipeline_definitions";

/// Where the rows come from.
#[derive(Debug)]
pub(super) enum Definitions {
    /// From nowhere: spans do not say what is deployed.
    Absent,
    /// No gate asks, or nothing was ever deployed in the folder.
    Empty,
    /// A copy of the folder's file.
    Folder {
        /// Opened in the copy.
        store: engine::Store,
        /// Lives as long as it is open.
        _copy: Copied,
    },
    /// From a test, each from its instant on.
    Test(Vec<Deployed>, Clock),
}

impl Definitions {
    /// Those of the data folder `dir`, if a gate of `groups` reads them.
    ///
    /// Errors: its file cannot be read (74).
    pub(super) async fn of_folder(dir: &Path, groups: &[Group], clock: &Clock) -> anyhow::Result<Self> {
        let path = dir.join("engine.redb");
        let asks = |group: &Group| group.gates.iter().any(|gate| gate.source.sql.to_lowercase().contains(NAME));
        if !groups.iter().any(asks) || !path.is_file() {
            return Ok(Self::Empty);
        }
        let copy = Copied::of(&path, clock)?;
        let to = copy.path().to_owned();
        let store = tokio::task::spawn_blocking(move || engine::Store::open(&to)).await?;
        let store = store.map_err(|error| {
            Failure::new(Exit::Io, format!("{}: {error}; stop the daemon and ask again", path.display()))
        })?;
        Ok(Self::Folder { store, _copy: copy })
    }

    /// The table.
    pub(super) fn table(&self) -> Arc<dyn TableProvider> {
        match self {
            Self::Absent => Arc::new(absent()),
            Self::Test(rows, clock) => Arc::new(of_test(rows.clone(), clock.clone())),
            Self::Folder { store, .. } => {
                let found = engine::provider::providers(store).into_iter().find(|(name, _)| name == NAME);
                found.map_or_else(empty, |(_, table)| table)
            }
            Self::Empty => empty(),
        }
    }
}

fn empty() -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(schema::pipeline_definitions()))
}

/// A file of a data folder in a place of its own: a daemon may hold it, and opening it would write to it.
#[derive(Debug)]
pub(super) struct Copied(PathBuf);

impl Copied {
    /// Copies `path` to the folder for temporary files.
    ///
    /// Errors: it cannot be copied (74).
    pub(super) fn of(path: &Path, clock: &Clock) -> Result<Self, Failure> {
        let name = format!("weavergen-gates-{}-{}.redb", std::process::id(), clock.ulid());
        let to = Self(std::env::temp_dir().join(name));
        std::fs::copy(path, &to.0)
            .map_err(|error| Failure::new(Exit::Io, format!("cannot copy {}: {error}", path.display())))?;
        Ok(to)
    }

    /// Where the copy is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // What cannot be removed lies where the system removes it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The rows of a test that are deployed when a statement asks.
fn of_test(rows: Vec<Deployed>, clock: Clock) -> Lazy {
    Lazy::new(schema::pipeline_definitions(), move || {
        let now_ns = clock.now_ns();
        let there: Vec<&Deployed> = rows.iter().filter(|row| row.at_ns <= now_ns).collect();
        Box::pin(std::future::ready(batch(&there)))
    })
}

/// No rows to be had: whoever asks for them is told so.
fn absent() -> Lazy {
    Lazy::new(schema::pipeline_definitions(), || {
        let text = "spans do not tell which pipelines are deployed: judge the daemon's folder with `--data DIR`, or leave \
                    out the gates that read `pipeline_definitions`";
        let error = DataFusionError::External(Box::new(Error::new(Code::NotAllowed, text)));
        Box::pin(std::future::ready(Err(error)))
    })
}

fn batch(rows: &[&Deployed]) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Deployed) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    let hash = |row: &Deployed| format!("{}:{}", row.process, row.version);
    let versions: Int64Array = rows.iter().map(|row| i64::try_from(row.version).ok()).collect();
    let at: TimestampNanosecondArray = rows.iter().map(|row| Some(row.at_ns)).collect();
    let columns: Vec<ArrayRef> = vec![
        text(&|row| row.process.clone()),
        Arc::new(versions),
        text(&hash),
        text(&hash),
        text(&|row| row.change.clone()),
        Arc::new(at.with_timezone("UTC")),
        text(&|_| String::new()),
    ];
    Ok(RecordBatch::try_new(schema::pipeline_definitions(), columns)?)
}
