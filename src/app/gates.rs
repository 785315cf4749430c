//! The gates of the daemon: loaded and planned before anything is served, evaluated while it runs, told to receivers.
//!
//! Duty: gate files, `gates.redb`, evaluator and notifier on one store. Guarantee: a gate file with an error stops the
//! start with every problem; no tick closes before the store's replay has ended. Left to others: what a verdict means
//! (`gate`), how it is sent (`notify`), what a pipeline does about it (`engine`).

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use datafusion::catalog::TableProvider;
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::gate::evaluator::Position;
use crate::gate::load::LoadError;
use crate::gate::result::Runner;
use crate::gate::{self, Evaluator, Feed, Gate, Group, Journal, Known, Late, Metrics, Parts, Planner, Starts};
use crate::notify::{self, Notifier};
use crate::query::Gateway;
use crate::span::pinned::ScalarType;
use crate::store::Store;

/// Tables that gates may read beside `spans`.
pub(super) type Tables = Vec<(String, Arc<dyn TableProvider>)>;

/// Gates whose journal is open.
pub(super) struct Gates {
    groups: Vec<Group>,
    gateway: Gateway,
    runner: Runner,
    late: Late,
    journal: Journal,
    metrics: Metrics,
    notifier: Notifier,
}

/// `gates.redb` in the data folder.
pub(super) async fn journal(config: &Config) -> anyhow::Result<Journal> {
    let path = config.store.path.join("gates.redb");
    Ok(tokio::task::spawn_blocking(move || Journal::open(&path)).await??)
}

impl Gates {
    /// Loads and plans the gates over `tables`, which hold those of `journal`; attributes are read in `types`
    /// until [`Gates::gateway`] is told others.
    pub(super) async fn open(
        config: &Config,
        (tables, types): (Tables, BTreeMap<String, ScalarType>),
        known: Known,
        journal: Journal,
        store: &Store,
        registry: &Registry,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let groups = load(config, types.clone(), known, tables.clone()).await?;
        let gateway = gate::run::gateway(store.reader(), &config.query, &config.gates, tables, clock.clone())
            .context("cannot start the threads of gates")?;
        let metrics = Metrics::register(registry)?;
        let interval =
            |group: &Group| -> Vec<_> { group.gates.iter().map(|gate| (gate.name.clone(), group.interval)).collect() };
        let rim = notify::Rim {
            journal: journal.clone(),
            clock: clock.clone(),
            intervals: groups.iter().flat_map(interval).collect(),
            instance: instance(config)?,
        };
        let notifier = Notifier::open(&config.notify, rim, registry)?;
        let late = Late::over(gateway.clone());
        gateway.set_registry_types(types);
        let runner = gate::run::sharing_runner(gateway.clone(), &groups, &config.gates, &metrics);
        Ok(Self { groups, gateway, runner, late, journal, metrics, notifier })
    }

    /// Runs their statements.
    pub(super) fn gateway(&self) -> Gateway {
        self.gateway.clone()
    }

    /// The groups that are loaded.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The gates that are loaded.
    pub(super) fn gates(&self) -> impl Iterator<Item = (&Group, &Gate)> {
        self.groups.iter().flat_map(|group| group.gates.iter().map(move |gate| (group, gate)))
    }

    /// Runs a gate's SQL outside of its ticks, as the job `span-gate` does.
    pub(super) fn runner(&self) -> Runner {
        self.runner.clone()
    }

    /// What gates gave before.
    pub(super) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Due starts, for the engine.
    pub(super) fn starts(&self, clock: &Clock) -> Starts {
        Starts::new(self.journal.clone(), clock.clone(), self.metrics.clone())
    }

    /// What closes ticks, with the state that the journal left.
    pub(super) async fn evaluator(&self, config: &Config, store: &Store, clock: &Clock) -> anyhow::Result<Evaluator> {
        let questions: BTreeMap<String, [u8; 32]> =
            self.gates().map(|(_, gate)| (gate.name.clone(), gate::question(gate))).collect();
        let reader = store.reader();
        let parts = Parts {
            groups: self.groups.clone(),
            questions,
            default_receivers: config.notify.default.clone(),
            value_metrics: config.gates.value_metrics,
            runner: self.runner.clone(),
            late: self.late.clone(),
            position: Position::new(move || {
                let view = reader.view();
                view.complete.then_some(view.visible_us)
            }),
            // Nobody waits for spans where nothing is asked of them.
            feed: match self.groups.iter().any(|group| !group.gates.is_empty()) {
                true => Feed::over(store.clone(), &config.gates),
                false => Feed::none(),
            },
            journal: self.journal.clone(),
            clock: clock.clone(),
            metrics: self.metrics.clone(),
            concurrency: gate::run::at_a_time(),
        };
        Ok(tokio::task::spawn_blocking(move || Evaluator::open(parts)).await??)
    }

    /// Closes ticks and sends notices until `stop`.
    pub(super) fn run(self, evaluator: Evaluator, stop: CancellationToken, running: &mut JoinSet<()>) {
        running.spawn(evaluator.run(stop.clone()));
        running.spawn(self.notifier.run(stop));
    }
}

/// The id of this node, which the store has made.
fn instance(config: &Config) -> anyhow::Result<String> {
    let path = config.store.path.join("node.id");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

async fn load(
    config: &Config,
    types: BTreeMap<String, ScalarType>,
    known: Known,
    tables: Tables,
) -> anyhow::Result<Vec<Group>> {
    let (gates, queries_dir, query) = (config.gates.clone(), config.queries_dir.clone(), config.query.clone());
    let loading = tokio::task::spawn_blocking(move || {
        let request = gate::Request { config: &gates, queries_dir: queries_dir.as_deref(), known: &known };
        gate::load(&request, &Planner::new(query.with_registry_types(types), tables))
    });
    let loaded = loading.await?;
    let is_error = |problem: &gate::Problem| problem.code.is_error();
    for warning in loaded.problems.iter().filter(|problem| !is_error(problem)) {
        tracing::warn!(problem = %warning, "a gate file is odd");
    }
    if loaded.has_errors() {
        return Err(LoadError(loaded.problems.into_iter().filter(is_error).collect()).into());
    }
    Ok(loaded.groups)
}
