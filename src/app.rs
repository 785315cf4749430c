//! The daemon: builds the parts in data order, binds, serves, drains.
//!
//! Duty: the only wiring (design.md, the way of the data). Guarantee: nothing is served before everything is bound;
//! `run.json` exists exactly while it is; a stop drains receivers before the store closes, and answers that have begun end
//! before the process does, or are cut after a while. Left to others: everything else.

pub(crate) mod decode;
mod fallen;
mod gates;
mod learn;
mod own_spans;
mod pipelines;
mod run_file;
mod semconv;
mod settings;
mod span_gate;
mod step_spans;
mod stop;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Access, Hosts};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::Disk;
use crate::graph::Graph;
use crate::notify::Outbox;
use crate::query::gateway::Resources;
use crate::query::{Gateway, Watchdog, pg};
use crate::receive::{OnSetAside, Receiver, SetAside, Share, Wiring};
use crate::store::{Ledger, Store, ledger};
use crate::{engine, export, gate, telemetry, web};
use fallen::Fallen;
use gates::Gates;
use pipelines::Pipelines;
use run_file::RunFile;
pub use run_file::Unwritten;
use stop::Running;

/// Temporary files of queries at most.
const SPILL_BYTES: u64 = 10 << 30;

/// Runs the daemon until `stop` is cancelled; the error says what kept it from starting or stopping well.
pub async fn run(config: Config, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    let registry = Registry::new();
    let (layer, own) = telemetry::own_spans::collect(clock.clone(), &registry)?;
    telemetry::logs::install(&config.telemetry, config.telemetry.own_spans.then_some(layer));
    telemetry::metrics::Process::register(&registry, clock.clone())?;

    let budget = Budget::try_new(config.memory_limit_bytes)?;
    let conventions = semconv::open(&config, &registry).await?;
    let check = conventions.check();
    let store = Store::open_checked(config.store.clone(), Disk::Os, clock.clone(), &budget, &registry, check).await?;
    let into_store = export::weavergen::next(store.clone());
    let graph = Graph::build(&config.graph, &into_store);

    // One for all of them: each with its own would take as many tenths of the memory.
    let share = Share::new(budget.inflight_bytes());
    let mut receivers = Vec::new();
    for receiver in &config.receivers {
        receivers.push(bind_receiver(receiver, &graph, &store, &share, &registry, &clock).await?);
    }
    let resources = Resources {
        memory_bytes: usize::try_from(budget.query_bytes()).unwrap_or(usize::MAX),
        spill: Some((config.store.path.join("spill"), SPILL_BYTES)),
    };
    let journal = gates::journal(&config).await?;
    let engine_store = pipelines::store(&config).await?;
    let mut tables = gate::tables(Some(&journal));
    tables.extend(engine::provider::providers(&engine_store));
    let known = gate::Known {
        receivers: Some(config.notify.receivers.keys().cloned().collect()),
        pipelines: Some(engine::library::message_starts(config.pipelines_dir.as_deref())),
    };
    tables.push(semconv::expected(&config, &conventions));
    let (readable, types) = (gate::schema::readable(tables.clone()), conventions.attribute_types());
    let gates =
        Gates::open(&config, (readable.clone(), types.clone()), known, journal.clone(), &store, &registry, &clock)
            .await?;
    let of_gates = (&journal, gates.groups());
    let of_store = (store.reader(), resources.memory_bytes);
    let (learn, of_learn) =
        learn::open(&config, of_gates, &engine_store, (readable, types), of_store, &registry, &clock).await?;
    tables.extend(learn.tables());
    tables.push(settings::table(&config.settings));
    let gateway = Gateway::with(store.reader(), config.query.clone(), resources, tables, clock.clone(), &registry)
        .context("cannot start the query threads")?;
    let rim = pipelines::Rim {
        gateway: gateway.clone(),
        evaluator: span_gate::evaluator(&gates, store.reader()),
        otlp_endpoint: receivers.iter().flat_map(|r| &r.addresses().grpc).next().map(|a| format!("http://{a}")),
    };
    let pipelines = Pipelines::open(&config, engine_store, rim, &registry, &clock).await?;
    gateway.set_registry_types(conventions.attribute_types());
    let outbox = Outbox::new(journal.clone(), clock.clone());
    let evaluator = gates.evaluator(&config, &store, &clock).await?;
    let live = evaluator.live();
    gate::Alerts::register(&registry, live.clone())?;
    let serving = (&gateway, pipelines.engine(), &live, outbox);
    let mut side = Side::bind(&config, serving, &registry, (&store, learn.metrics()), &clock).await?;

    let run_file = RunFile::write(
        &config.store.path,
        &run_file::Endpoints {
            grpc: receivers.iter().flat_map(|r| r.addresses().grpc.clone()).collect(),
            http: receivers.iter().flat_map(|r| r.addresses().http.clone()).collect(),
            api: side.api.clone(),
            metrics: side.metrics.clone(),
            health: side.health.clone(),
            pg: side.pg.clone(),
            tokens_file: config.access.tokens_file.as_deref().and_then(run_file::told),
            started_ns: clock.now_ns(),
        },
    )?;
    let (data, version) = (config.store.path.display(), env!("CARGO_PKG_VERSION"));
    tracing::info!(%data, version, durability = config.store.durability.as_str(), "ready");

    let drain = CancellationToken::new();
    let mut running = Running::default();
    for receiver in receivers {
        let (receiver, drain) = (Arc::new(receiver), drain.clone());
        // Within the time that a stop has as a whole: see below.
        let timeout = config.shutdown_timeout * 3 / 4;
        running.receivers.spawn(async move { receiver.serve(drain, timeout).await });
    }
    let gateways = vec![gateway.clone(), gates.gateway(), of_learn];
    let watchdog = Watchdog::register(&gateways, budget.limit_bytes(), &registry)?;
    // Statements go on behind the drain, up to the end of the last answer.
    tokio::spawn(watchdog.run(telemetry::metrics::held_bytes, side.stop.clone()));
    tokio::spawn(semconv::follow(conventions, gateways, drain.clone()));
    let parts = (gates.starts(&clock), gateway.clone(), into_store.clone());
    pipelines.run(&config, parts, &clock, &drain, &mut running.pipelines);
    gates.run(evaluator, drain.clone(), &mut running.gates);
    let learn_stop = drain.clone();
    running.learning.spawn(async move {
        if let Err(error) = learn.run(learn_stop).await {
            tracing::error!(%error, "learning has ended; ingest, gates and pipelines go on");
        }
    });
    let own_stop = CancellationToken::new();
    let mut own = tokio::spawn(own.run(own_stop.clone(), own_spans::deliver(into_store, store.ledger())));

    let falls = async {
        running.watch(&side.fallen).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = falls => {}
    }
    tracing::info!("draining");
    side.draining.store(true, std::sync::atomic::Ordering::Release);
    drain.cancel();
    // One time for all that a stop waits for, of which the store always has a part, whatever the others take.
    let began = tokio::time::Instant::now();
    let within = |sixteenths: u32| began + config.shutdown_timeout / 16 * sixteenths;
    let mut cut = running.end(&side.fallen, within(13)).await;
    own_stop.cancel();
    if tokio::time::timeout_at(within(14), &mut own).await.is_err() {
        own.abort();
        cut.push("own spans");
    }
    if !cut.is_empty() {
        tracing::warn!(parts = cut.join(", "), "parts of the daemon did not end in time and were cut off");
    }
    side.no_more_answers.cancel();
    // What runs reads what it has seen. A statement that does not end must not cost the clean end of the log.
    let closing = stop::close(store, config.store.durability, within(16));
    let answering = async { while side.answering.join_next().await.is_some() {} };
    let (closed, _) = tokio::join!(closing, tokio::time::timeout_at(within(16), answering));
    side.stop.cancel();
    run_file.remove();
    closed?;
    tracing::info!("stopped");
    Ok(())
}

async fn bind_receiver(
    receiver: &crate::receive::Config,
    graph: &Graph,
    store: &Store,
    share: &Share,
    registry: &Registry,
    clock: &Clock,
) -> anyhow::Result<Receiver> {
    let next = graph.entry(&receiver.id).with_context(|| format!("no pipeline uses the receiver {}", receiver.id))?;
    let wiring = Wiring {
        next,
        decode: decode::otlp(),
        set_aside: keep_in(store.ledger()),
        clock: clock.clone(),
        // `auth` names an extension, and the configuration refuses it as long as there is none.
        authenticate: None,
    };
    Ok(Receiver::bind(receiver.clone(), wiring, share, registry).await?)
}

fn keep_in(ledger: Ledger) -> OnSetAside {
    OnSetAside::new(move |rows: Vec<SetAside>| {
        for row in rows {
            ledger.record(ledger::Drop {
                stage: "receive".to_owned(),
                component: row.component,
                transport: row.transport.as_str().to_owned(),
                peer: row.peer.to_string(),
                reason: row.reason.to_owned(),
                path: row.path,
                trace_id: row.trace_id,
                span_id: row.span_id,
                spans: row.spans,
                bytes: row.bytes,
            });
        }
    })
}

/// The endpoints beside OTLP: API, metrics, health.
struct Side {
    api: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    health: Vec<SocketAddr>,
    pg: Vec<SocketAddr>,
    draining: Arc<std::sync::atomic::AtomicBool>,
    fallen: Fallen,
    /// What answers over the API and to clients of PostgreSQL, until `no_more_answers`.
    answering: JoinSet<()>,
    no_more_answers: CancellationToken,
    /// Ends metrics and health, which are there to the last.
    stop: CancellationToken,
}

impl Side {
    async fn bind(
        config: &Config,
        (gateway, engine, live, outbox): (&Gateway, &engine::Engine, &gate::Live, Outbox),
        registry: &Registry,
        (store, learning): (&Store, &crate::learn::Metrics),
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let (stop, no_more_answers) = (CancellationToken::new(), CancellationToken::new());
        let mut answering = JoinSet::new();
        let draining = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let fallen = Fallen::default();
        let mut metrics = Vec::new();
        if let Some(endpoint) = &config.telemetry.metrics_endpoint {
            let setting = "service::telemetry::metrics::readers=[{pull: {exporter: {prometheus: {port: 0}}}}]";
            let listeners = telemetry::bind(endpoint, "metrics", setting).await?;
            metrics = telemetry::addresses(&listeners);
            telemetry::serve(listeners, &telemetry::metrics::router(registry.clone()), &stop);
        }
        let mut health = Vec::new();
        for check in &config.health {
            let listeners =
                telemetry::bind(&check.endpoint, "health", "extensions::health_check::endpoint=localhost:0").await?;
            health.extend(telemetry::addresses(&listeners));
            let (store, draining, learning) = (store.clone(), draining.clone(), learning.clone());
            let (engine, fallen) = (engine.healthy(), fallen.clone());
            let condition = move || {
                let health = store.health();
                let draining = draining.load(std::sync::atomic::Ordering::Acquire);
                let degraded = health.reasons.into_iter().chain(learning.degraded()).chain(fallen.told()).collect();
                telemetry::health::Condition { ready: !draining && health.ready && *engine.borrow(), degraded }
            };
            telemetry::serve(
                listeners,
                &telemetry::health::router(check.clone(), Arc::new(condition), clock.clone()),
                &stop,
            );
        }
        let access = match config.web.enabled || config.query.pg.is_some() {
            true => Arc::new(Access::open(config.access.clone(), clock)?),
            false => Arc::default(),
        };
        if let (Some(token), Some(path)) = (access.fresh_token(), &config.access.tokens_file) {
            // Told once, and by no log line: what collects those must not hold it.
            let told = format!(
                "made {} with one admin token, which is not told again; send it as `Authorization: Bearer {token}`, or name \
                 the file with `weavergen sql --token-file`",
                path.display()
            );
            let _ = writeln!(std::io::stderr(), "{told}");
        }
        let mut of_pg = Vec::new();
        if let Some(endpoint) = &config.query.pg {
            let listeners = telemetry::bind(endpoint, "PostgreSQL", "query::pg::endpoint=localhost:0").await?;
            of_pg = telemetry::addresses(&listeners);
            let loopback = access::is_on_loopback(&listeners);
            access::check_listener(&config.access, "query::pg::endpoint", endpoint, loopback)?;
            let state = pg::State::try_new(gateway.clone(), access.clone(), clock.clone())?;
            answering.spawn(pg::serve(listeners, state, no_more_answers.clone()));
        }
        let mut api = Vec::new();
        if config.web.enabled {
            let listeners = web::bind(&config.web.endpoint).await?;
            api = telemetry::addresses(&listeners);
            let loopback = access::is_on_loopback(&listeners);
            access::check_listener(&config.access, "web::endpoint", &config.web.endpoint, loopback)?;
            let link = |address: Option<&SocketAddr>, path: &str| address.map(|a| format!("http://{a}{path}"));
            let state = web::AppState {
                gateway: gateway.clone(),
                store: Some(store.clone()),
                engine: Some(engine.clone()),
                outbox: Some(outbox),
                gates: Some(live.clone()),
                access: access.clone(),
                hosts: Arc::new(Hosts::new(&config.web.allowed_hosts)),
                flight: config.query.flight_enabled,
                clock: clock.clone(),
                links: Arc::new(web::Links {
                    metrics: link(metrics.first(), "/metrics"),
                    health: link(health.first(), "/"),
                }),
            };
            answering.spawn(web::serve(listeners, state, no_more_answers.clone()));
        }
        Ok(Self { api, metrics, health, pg: of_pg, draining, fallen, answering, no_more_answers, stop })
    }
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process with 130.
pub fn signals() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let first = stop.clone();
    tokio::spawn(async move {
        let mut count = 0;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            count += 1;
            if count > 1 {
                std::process::exit(130);
            }
            first.cancel();
            // A signal handler that returned at once would take one key press for two.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Ok(stop)
}
