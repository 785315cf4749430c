//! A statement over a data folder, without the daemon.
//!
//! Duty: open the folder read-only and run the statement here, on all cores; a folder of plain Parquet files is the table
//! `parquet`. Guarantee: nothing in the folder changes, and no lock is taken. Left to others: what can be seen of the folder
//! (`store::offline`, `query::plain`).

use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::TableProvider;

use super::{Ask, Failure};
use crate::cli::sources::Offline;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::query::gateway::Resources;
use crate::query::{Answer, Code, Config, Gateway, Statement, plain};
use crate::store::{self, Reader};

pub(super) async fn run(dir: &Path, offline: &Offline, ask: &Ask, clock: Clock) -> Result<Answer, Failure> {
    let (reader, extra) = open(dir, offline, &clock).await?;
    let is_plain = !extra.is_empty();
    let config = Config {
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        // Nobody else waits for these threads, and a shell can interrupt.
        timeout: ask.time.unwrap_or(std::time::Duration::from_secs(600)),
        ..Config::default()
    };
    let memory = usize::try_from(crate::budget::machine_memory() / 2).unwrap_or(usize::MAX);
    let resources = Resources { memory_bytes: memory, spill: None };
    let gateway = Gateway::with(reader, config, resources, extra, clock, &prometheus::Registry::new())
        .map_err(|error| Failure::from(error).of(&ask.sql))?;
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

type Extra = Vec<(String, Arc<dyn TableProvider>)>;

/// What the folder holds, and the table of its files if they are not ours.
async fn open(dir: &Path, offline: &Offline, clock: &Clock) -> Result<(Reader, Extra), Failure> {
    if !dir.join("VERSION").exists() && dir.is_dir() {
        let files = plain::files(dir).map_err(Failure::Data)?;
        if !files.is_empty() {
            let table = plain::table(&files).await.map_err(Failure::Data)?;
            return Ok((plain::no_spans(), vec![(plain::NAME.to_owned(), table)]));
        }
    }
    let folder = offline.store(dir)?;
    let reader = store::offline::open(&folder, Disk::Os, clock.clone()).await;
    Ok((reader.map_err(|error| Failure::of_folder(dir, &error))?, Vec::new()))
}
