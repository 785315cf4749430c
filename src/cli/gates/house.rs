//! Spans and who asks them, without a daemon.
//!
//! Duty: a store in a folder that goes away, or a data folder opened read-only; the registry's columns; the gateway of gates
//! over both. Guarantee: spans pass the same check as in the daemon; a data folder is not written. Left to others: filling it
//! (`input`, `listen`), judging (`gate::playback`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use datafusion::catalog::TableProvider;

use super::report;
use super::run::Tables;
use crate::budget::Budget;
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::Disk;
use crate::export;
use crate::gate::expected::expected_operations;
use crate::gate::playback::Extent;
use crate::gate::result::Runner;
use crate::gate::{self, Feed, Journal, schema};
use crate::query::gateway::{Gateway, Shape, Statement};
use crate::semconv::Live;
use crate::span::{Delivery, Next, Origin, SpanBatch};
use crate::store::config::Durability;
use crate::store::{self, Reader, Store};

/// How long a store that is full may stay so.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where spans are.
#[derive(Debug)]
pub(super) struct Spans {
    reader: Reader,
    live: Live,
    own: Option<Own>,
}

/// A store of this process.
#[derive(Debug)]
struct Own {
    store: Store,
    budget: Budget,
    _folder: Folder,
}

/// A folder that is removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies where the system removes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Spans {
    /// An empty store in the folder for temporary files; its spans get the columns of the configured registry.
    pub(super) async fn fresh(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        Self::fresh_as(config, clock, clock).await
    }

    /// The same by a `clock` that may not move; `chance` names the folder.
    pub(super) async fn fresh_as(config: &Config, clock: &Clock, chance: &Clock) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("weavergen-gates-{}-{}", std::process::id(), chance.ulid()));
        std::fs::create_dir(&folder).map_err(|error| {
            let text = format!("cannot make {}: {error}; set TMPDIR to a folder with room", folder.display());
            Failure::new(Exit::Io, text)
        })?;
        let folder = Folder(folder);
        let live = registry(config).await?;
        let budget = Budget::try_new(config.memory_limit_bytes)?;
        let settings = store::Config {
            // A run that dies is begun anew, so nothing needs to outlive it, and nothing is too old to be judged.
            durability: Durability::Memory,
            max_age: None,
            min_free_bytes: Some(0),
            promote_always: config.store.promote_always.clone(),
            promote_never: config.store.promote_never.clone(),
            ..store::Config::at(&folder.0)
        };
        let (disk, metrics) = (Disk::Os, prometheus::Registry::new());
        let store = Store::open_checked(settings, disk, clock.clone(), &budget, &metrics, live.check()).await?;
        while !store.is_ready() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let reader = store.reader();
        Ok(Self { reader, live, own: Some(Own { store, budget, _folder: folder }) })
    }

    /// What the data folder of the configuration holds.
    pub(super) async fn of_folder(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let path: &Path = &config.store.path;
        if !path.join("VERSION").exists() {
            let text = format!("{} is no data folder of weavergen; files of spans go to `--input`", path.display());
            return Err(Failure::new(Exit::Io, text).into());
        }
        let live = registry(config).await?;
        let reader = store::offline::open(&config.store, Disk::Os, clock.clone()).await?;
        Ok(Self { reader, live, own: None })
    }

    /// Takes spans in; `None` for a data folder.
    pub(super) fn next(&self) -> Option<Next> {
        self.own.as_ref().map(|own| export::weavergen::next(own.store.clone()))
    }

    /// Memory of this process.
    pub(super) fn budget(&self) -> Option<&Budget> {
        self.own.as_ref().map(|own| &own.budget)
    }

    /// Takes `batches` in, waiting while the store is full.
    ///
    /// Errors: the store cannot take them.
    pub(super) async fn append(&self, batches: Vec<SpanBatch>) -> anyhow::Result<()> {
        let next = self.next().context("a data folder takes no spans")?;
        let delivery = Delivery { batches, body: None, identity: 0, origin: Origin::Received };
        let begun = tokio::time::Instant::now();
        loop {
            match next.deliver(delivery.clone()).await {
                Ok(()) => return Ok(()),
                Err(refusal) if refusal.class.is_retryable() && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(refusal.retry_after.unwrap_or(Duration::from_millis(50))).await;
                }
                Err(refusal) => return Err(Failure::new(Exit::Io, format!("cannot keep the spans: {refusal}")).into()),
            }
        }
    }

    /// Whether it is the data folder of a daemon.
    pub(super) fn is_folder(&self) -> bool {
        self.own.is_none()
    }

    /// For questions over what is here now; `definitions` stands for the daemon's `pipeline_definitions`.
    pub(super) fn ask(
        &self,
        config: &Config,
        definitions: Arc<dyn TableProvider>,
        clock: &Clock,
    ) -> anyhow::Result<Asked> {
        let journal = Journal::in_memory()?;
        let live = self.live.clone();
        let is_deprecated = move |operation: &str| {
            let tables = live.tables();
            let of_type = tables.span_type(operation, crate::semconv::Asked::All);
            let of_type = of_type.and_then(|id| tables.spans().get(id as usize));
            of_type.is_some_and(|span_type| span_type.deprecated.is_some())
        };
        let expected = expected_operations(config.semconv.expected.clone(), is_deprecated);
        let mut tables: Tables = gate::tables(Some(&journal));
        tables.push(("expected_operations".to_owned(), expected));
        tables.push(("pipeline_definitions".to_owned(), definitions));
        let tables = schema::readable(tables);
        let gateway = gate::run::gateway(self.reader.clone(), &config.query, &config.gates, tables, clock.clone())
            .context("cannot start the threads of gates")?;
        gateway.set_registry_types(self.live.attribute_types());
        Ok(Asked { gateway, journal, cut_us: self.reader.view().visible_us })
    }

    /// What comes to the store; of a data folder nothing does.
    pub(super) fn feed(&self, config: &Config) -> Feed {
        self.own.as_ref().map_or_else(Feed::none, |own| Feed::over(own.store.clone(), &config.gates))
    }

    /// The store's position.
    pub(super) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Ends the store and removes its folder.
    pub(super) async fn close(self) {
        if let Some(own) = self.own
            && let Err(error) = own.store.close().await
        {
            tracing::warn!(%error, "the temporary store did not close well");
        }
    }
}

async fn registry(config: &Config) -> anyhow::Result<Live> {
    let (settings, dir) = (config.semconv.clone(), config.pipelines_dir.clone());
    Ok(tokio::task::spawn_blocking(move || Live::open(&settings, dir, &prometheus::Registry::new())).await??)
}

/// A gateway over the spans, and the journal that its tables show.
#[derive(Debug)]
pub(super) struct Asked {
    gateway: Gateway,
    journal: Journal,
    cut_us: i64,
}

impl Asked {
    /// Runs the SQL of gates.
    pub(super) fn runner(&self) -> Runner {
        gate::run::runner(self.gateway.clone())
    }

    /// The gateway.
    pub(super) fn gateway(&self) -> Gateway {
        self.gateway.clone()
    }

    /// Takes the verdicts.
    pub(super) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// All spans lie up to here.
    pub(super) fn cut_us(&self) -> i64 {
        self.cut_us
    }

    /// What there is to judge; no extent without a span.
    pub(super) async fn extent(&self) -> anyhow::Result<(report::Input, Option<Extent>)> {
        const SQL: &str = "SELECT count(*) AS spans, count(DISTINCT trace_id) AS traces, \
                           count(DISTINCT service_name) AS services, min(start_time) AS a, max(start_time) AS b, \
                           min(end_time) AS c, max(end_time) AS d FROM spans";
        let statement = Statement { shape: Shape::Arrow, ..Statement::new(SQL) };
        let mut answer = self.gateway.run(statement).await.map_err(|error| Failure::new(Exit::Io, error.message))?;
        let batches = answer.collect().await.map_err(|error| Failure::new(Exit::Io, error.message))?;
        if answer.incomplete {
            return Err(Failure::new(Exit::Io, answer.notices.join("; ")).into());
        }
        let row = batches.iter().find(|batch| batch.num_rows() == 1).context("the count of spans is not there")?;
        let count = |at: usize| u64::try_from(row.column(at).as_primitive::<Int64Type>().value(0)).unwrap_or(0);
        let time = |at: usize| {
            let column = row.column(at).as_primitive::<TimestampNanosecondType>();
            column.is_valid(0).then(|| column.value(0))
        };
        let extent = match (time(3), time(4), time(5), time(6)) {
            (Some(first_start_ns), Some(last_start_ns), Some(first_end_ns), Some(last_end_ns)) => {
                Some(Extent { first_start_ns, first_end_ns, last_ns: last_end_ns.max(last_start_ns) })
            }
            _ => None,
        };
        let input = report::Input {
            spans: count(0),
            traces: count(1),
            services: count(2),
            first_ns: extent.map(|extent| extent.first_start_ns),
            last_ns: extent.map(|extent| extent.last_ns),
            ..report::Input::default()
        };
        Ok((input, extent))
    }
}
