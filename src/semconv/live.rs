//! The registry that is in force, checked against and polled.
//!
//! Duty: [`Live`]: loads the configured registry and the one of weavergen beside it, hands out the [`Check`], swaps both
//! whole when files change. Guarantee: a broken registry leaves the old one in force, with one log line per change and a
//! count; a batch is checked against one registry; a defect of the check leaves the columns null and loses no span. Left
//! to others: when to look ([`POLL`]: `app`), where columns go (`store`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use arrow::array::ArrayRef;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::check::check;
use super::config::Config;
use super::problem::Error;
use super::registry::{Loaded, Registry};
use super::source::{Print, Source};
use super::tables::Tables;
use crate::span::pinned::ScalarType;
use crate::span::{Check, Checker, SpanBatch};

/// How often folders are looked at (semconv.md 2).
pub const POLL: Duration = Duration::from_secs(2);

/// The registry of weavergen itself, always loaded.
const OWN: Source = Source::Builtin("weavergen");

/// The registry in force; cheap to clone.
#[derive(Clone, Debug)]
pub struct Live {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    engine_dir: Option<PathBuf>,
    tables: ArcSwap<Tables>,
    seen: Mutex<Seen>,
    metrics: Metrics,
}

/// The last attempt.
#[derive(Debug)]
struct Seen {
    prints: Vec<Print>,
    error: Option<Error>,
}

#[derive(Clone, Debug)]
struct Metrics {
    reloads: IntCounterVec,
    spans: IntCounterVec,
    info: IntGaugeVec,
}

impl Live {
    /// Loads the registry that `config` names, else that of weavergen alone; files of `engine_dir` replace shipped ones.
    /// Reads files: call it where blocking is fine.
    ///
    /// Errors: see [`Error`].
    pub fn open(config: &Config, engine_dir: Option<PathBuf>, registry: &prometheus::Registry) -> Result<Self, Error> {
        let source = config.registry.clone().unwrap_or(OWN);
        let seen = prints(&source, engine_dir.as_deref());
        let tables = load(&source, engine_dir.as_deref())?;
        let metrics = Metrics::register(registry).map_err(|error| Error::Unreadable {
            registry: source.to_string(),
            why: format!("its metrics cannot be registered: {error}"),
            help: "this is a defect of weavergen".to_owned(),
        })?;
        metrics.in_force(None, &tables);
        let inner = Inner {
            source,
            engine_dir,
            tables: ArcSwap::from_pointee(tables),
            seen: Mutex::new(Seen { prints: seen, error: None }),
            metrics,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The tables in force.
    pub fn tables(&self) -> Arc<Tables> {
        self.inner.tables.load_full()
    }

    /// Types of attribute keys for SQL.
    pub fn attribute_types(&self) -> BTreeMap<String, ScalarType> {
        self.tables().scalar_types()
    }

    /// The step for the store.
    pub fn check(&self) -> Check {
        let live = self.clone();
        Check::new(move || {
            let (live, tables) = (live.clone(), live.tables());
            // The step holds the tables, so no others can be where they are.
            Checker::new(Arc::as_ptr(&tables).addr(), move |batch| live.columns(&tables, batch))
        })
    }

    fn columns(&self, tables: &Tables, batch: &SpanBatch) -> Option<Vec<ArrayRef>> {
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let (columns, counts) = check(tables, batch);
            batch.fits(&columns).map(|()| (columns, counts))
        }));
        let count = |result: &str, spans: u64| self.inner.metrics.spans.with_label_values(&[result]).inc_by(spans);
        let unchecked = || {
            count("unchecked", batch.rows() as u64);
            None
        };
        match checked {
            Ok(Ok((columns, counts))) => {
                count("matched", counts.matched);
                count("unmatched", counts.unmatched);
                Some(columns)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the check made other columns than the schema has; spans are stored unchecked");
                unchecked()
            }
            Err(_) => {
                tracing::error!("the check panicked; spans are stored unchecked");
                unchecked()
            }
        }
    }

    /// Looks at the files; when they changed, loads them and swaps. `true`: another registry is in force. Reads files:
    /// call it where blocking is fine.
    pub fn reload_if_changed(&self) -> bool {
        let inner = &self.inner;
        let mut seen = inner.seen.lock().expect("no holder of this lock panics");
        let now = prints(&inner.source, inner.engine_dir.as_deref());
        let unchanged = seen.prints == now;
        // What could not be read may be readable now without another sign of it.
        if unchanged && !matches!(seen.error, Some(Error::Unreadable { .. })) {
            return false;
        }
        match load(&inner.source, inner.engine_dir.as_deref()) {
            Ok(tables) => {
                *seen = Seen { prints: now, error: None };
                let old = inner.tables.swap(Arc::new(tables));
                let tables = inner.tables.load();
                inner.metrics.in_force(Some(&old), &tables);
                inner.metrics.reloads.with_label_values(&["ok"]).inc();
                tracing::info!(registry = tables.label(), "the registry is reloaded");
                true
            }
            Err(error) => {
                let text = error.to_string();
                if !unchanged || seen.error.as_ref().map(ToString::to_string).as_deref() != Some(text.as_str()) {
                    inner.metrics.reloads.with_label_values(&["failed"]).inc();
                    tracing::error!(error = text, "the registry cannot be reloaded; the old one stays in force");
                }
                *seen = Seen { prints: now, error: Some(error) };
                false
            }
        }
    }
}

/// Types of attribute keys of the registry that `config` names, as [`Live::attribute_types`] of a daemon gives them.
///
/// Errors: those of a start: the registry cannot be read, or is wrong.
pub fn attribute_types(config: &Config, engine_dir: Option<&Path>) -> Result<BTreeMap<String, ScalarType>, Error> {
    load(config.registry.as_ref().unwrap_or(&OWN), engine_dir).map(|tables| tables.scalar_types())
}

fn prints(source: &Source, engine_dir: Option<&Path>) -> Vec<Print> {
    [source, &OWN].iter().map(|source| source.print(engine_dir)).collect()
}

fn load(source: &Source, engine_dir: Option<&Path>) -> Result<Tables, Error> {
    let main = load_one(source, engine_dir)?;
    if *source == OWN {
        return Ok(Tables::compile(&main, &[]));
    }
    Ok(Tables::compile(&main, &[&load_one(&OWN, engine_dir)?]))
}

fn load_one(source: &Source, engine_dir: Option<&Path>) -> Result<Registry, Error> {
    let Loaded { registry, warnings } = Registry::load(source, engine_dir)?;
    for warning in warnings {
        tracing::warn!(%warning, "the registry has an oddity");
    }
    Ok(registry)
}

impl Metrics {
    fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let reloads = Opts::new("weavergen_semconv_reloads_total", "Reloads of the registry after its files changed.");
        let spans = Opts::new(
            "weavergen_semconv_spans_total",
            "Spans that passed the check: matched to a definition, unmatched, or unchecked.",
        );
        let info = Opts::new("weavergen_semconv_registry_info", "1 for the registry in force.");
        let metrics = Self {
            reloads: IntCounterVec::new(reloads, &["result"])?,
            spans: IntCounterVec::new(spans, &["result"])?,
            info: IntGaugeVec::new(info, &["registry"])?,
        };
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.spans.clone()))?;
        registry.register(Box::new(metrics.info.clone()))?;
        for result in ["ok", "failed"] {
            metrics.reloads.with_label_values(&[result]);
        }
        for result in ["matched", "unmatched", "unchecked"] {
            metrics.spans.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    fn in_force(&self, old: Option<&Tables>, new: &Tables) {
        if let Some(old) = old {
            // Absent only where the label was never set.
            let _ = self.info.remove_label_values(&[old.label()]);
        }
        self.info.with_label_values(&[new.label()]).set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, span_type: &str) {
        let text = format!(
            "file_format: definition/2\nspans:\n  - {{type: {span_type}, kind: server, name: {{note: n}}, brief: b, \
             stability: stable, requirement_level: opt_in}}\n"
        );
        std::fs::write(dir.join("a.yaml"), text).unwrap();
    }

    #[test]
    fn a_changed_folder_is_swapped_whole_and_a_broken_one_leaves_the_old_in_force() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "first");
        let config = Config { registry: Some(Source::Folder(dir.path().to_owned())), ..Config::default() };
        let live = Live::open(&config, None, &prometheus::Registry::new()).unwrap();
        let types = |live: &Live| live.tables().spans()[0].span_type.clone();
        assert!(!live.reload_if_changed(), "nothing changed");
        write(dir.path(), "second.one");
        assert!(live.reload_if_changed());
        assert_eq!(types(&live), "second.one");
        std::fs::write(dir.path().join("a.yaml"), "file_format: definition/2\nspams: []\n").unwrap();
        assert!(!live.reload_if_changed());
        assert!(!live.reload_if_changed(), "told once");
        assert_eq!(types(&live), "second.one");
        let reloads = |result: &str| live.inner.metrics.reloads.with_label_values(&[result]).get();
        assert_eq!((reloads("ok"), reloads("failed")), (1, 1));
        write(dir.path(), "third");
        assert!(live.reload_if_changed());
        assert_eq!(types(&live), "third");
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        assert!(!live.reload_if_changed(), "an empty folder is no registry");
        assert_eq!(types(&live), "third");
    }

    #[test]
    fn the_shipped_registry_is_loaded_beside_the_users_whose_definitions_win() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "Weavergen.Workflow.Run");
        let config = Config { registry: Some(Source::Folder(dir.path().to_owned())), ..Config::default() };
        let live = Live::open(&config, None, &prometheus::Registry::new()).unwrap();
        let tables = live.tables();
        let of = |text: &str| {
            let id = tables.span_type(text, crate::semconv::tables::Asked::All).unwrap();
            let table = &tables.spans()[id as usize];
            (table.span_type.clone(), table.required.len())
        };
        assert_eq!(of("weavergen.workflow.run"), ("Weavergen.Workflow.Run".to_owned(), 0));
        assert_eq!(of("WEAVERGEN.workflow.step"), ("weavergen.workflow.step".to_owned(), 3));
    }
}
