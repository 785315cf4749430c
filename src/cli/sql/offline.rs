//! A statement over a data folder, without the daemon.
//!
//! Duty: open the folder read-only and run the statement here, on all cores. Guarantee: nothing in the folder changes,
//! and no lock is taken. Left to others: what can be seen of the folder (`store::offline`).

use std::path::Path;

use super::{Ask, Failure};
use crate::cli::sources::Offline;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::query::gateway::Resources;
use crate::query::{Answer, Config, Gateway, Statement};
use crate::store;

pub(super) async fn run(dir: &Path, offline: &Offline, ask: &Ask, clock: Clock) -> Result<Answer, Failure> {
    let folder = offline.store(dir)?;
    let reader = store::offline::open(&folder, Disk::Os, clock.clone());
    let reader = reader.await.map_err(|error| Failure::of_folder(dir, &error))?;
    let config = Config {
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        // Nobody else waits for these threads, and a shell can interrupt.
        timeout: ask.time.unwrap_or(std::time::Duration::from_secs(600)),
        ..Config::default()
    };
    let memory = usize::try_from(crate::budget::machine_memory() / 2).unwrap_or(usize::MAX);
    let resources = Resources { memory_bytes: memory, spill: None };
    let gateway = Gateway::with(reader, config, resources, Vec::new(), clock, &prometheus::Registry::new())
        .map_err(|error| Failure::from(error).of(&ask.sql))?;
    let statement = Statement {
        sql: ask.sql.clone(),
        params: ask.typed()?,
        limits: ask.limits(),
        // Rows stay columns until they are written.
        shape: crate::query::gateway::Shape::Arrow,
        ..Statement::default()
    };
    gateway.run(statement).await.map_err(|error| Failure::from(error).of(&ask.sql))
}
