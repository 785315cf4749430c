//! Gates that share states of buckets of time (gates.md 8, class decomposable).
//!
//! Duty: which gates share, and their rows at a tick: the states of the window's buckets, merged once for all gates of an
//! aggregation; what they tell of ticks to come. Guarantee: the rows are those that the gate's SQL gives over the same window
//! and cut; what cannot be answered so is left to the SQL; a look ahead changes nothing that a tick meets. Left to others:
//! reading spans into states (`source`), the SQL (`run`).

mod source;
mod states;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tokio_util::task::AbortOnDropHandle;

use super::config::Config;
use super::definition::{Class, EventTime, Gate, Group};
use super::metrics::Metrics;
use super::result::{Ahead, Ask, AskAhead, MAX_ROWS, ResultRow, RunError, Selection, Window};
use super::run::{self, failed};
use super::standing::Types;
use super::window::{MAX_DUE, nanos, wide_ns};
use super::{rows, scalar};
use crate::query::Gateway;
use crate::query::shared::{Member, Question};
use source::{Found, Keep, SourceNow, Usage, Widths};

/// States over all gates (gates.md 8).
const MOST_ENTRIES: u64 = 2_000_000;
/// When gates that could not be put together are tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// How `gate` is evaluated; `may_share` is what its query says, `off_grid` what [`off_grid`] says of its times.
pub(super) fn class(gate: &Gate, bucket: Duration, may_share: Result<(), String>, off_grid: Option<String>) -> Class {
    let why = match (may_share, off_grid) {
        (Err(why), _) => why,
        (Ok(()), _) if gate.cron.is_some() => "its ticks are those of `cron`, not of the grid".to_owned(),
        (Ok(()), _) if bucket.is_zero() => "`gates.bucket` is 0".to_owned(),
        (Ok(()), Some(why)) => why,
        (Ok(()), None) => return Class::Decomposable,
    };
    Class::Rerun(why)
}

/// Why a gate that may share does not: its times do not fit to `bucket`.
pub(super) fn off_grid(gate: &Gate, interval: Duration, bucket: Duration) -> Option<String> {
    if bucket.is_zero() || gate.cron.is_some() {
        return None;
    }
    let width = scalar::duration_text(bucket);
    let is_whole = |time: Duration| time.as_nanos().is_multiple_of(bucket.as_nanos());
    if !is_whole(gate.window) {
        Some(format!("its window is no multiple of `gates.bucket`, {width}"))
    } else if !is_whole(interval) {
        Some(format!("its interval is no multiple of `gates.bucket`, {width}"))
    } else if wide_ns(gate.window).is_some_and(|wide_ns| wide_ns % nanos(bucket) != 0) {
        Some(format!("the buckets of so long a window are no multiples of `gates.bucket`, {width}"))
    } else {
        None
    }
}

/// Answers gates out of what they share; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gateway: Gateway,
    gates: BTreeMap<String, Sharer>,
    width_ns: i64,
    /// Entries and bytes of all states.
    most: (u64, u64),
    metrics: Option<Metrics>,
    planned: Arc<tokio::sync::Mutex<Option<Arc<Planned>>>>,
}

/// A gate that may share.
#[derive(Debug)]
struct Sharer {
    gate: Gate,
    /// How far behind the newest tick it may be asked.
    behind_ns: i64,
}

/// What the gates share while attributes are read in these types.
#[derive(Debug)]
struct Planned {
    types: Types,
    members: HashMap<String, Member>,
    sources: Vec<Arc<SourceNow>>,
    /// Where they could not be put together.
    until: Option<Instant>,
}

impl Planned {
    /// Whether it is still so while attributes are read in `types`.
    fn stands(&self, types: &Types) -> bool {
        Arc::ptr_eq(&self.types, types) && self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Buckets {
    /// For the gates of `groups` that are of class decomposable.
    pub(super) fn new(gateway: Gateway, groups: &[Group], config: &Config, metrics: Metrics) -> Self {
        Self::within(gateway, groups, config, MOST_ENTRIES, Some(metrics))
    }

    /// The same with at most so many entries.
    #[cfg(test)]
    pub(super) fn with_most(gateway: Gateway, groups: &[Group], config: &Config, entries: u64) -> Self {
        Self::within(gateway, groups, config, entries, None)
    }

    fn within(gateway: Gateway, groups: &[Group], config: &Config, entries: u64, metrics: Option<Metrics>) -> Self {
        let sharer = |group: &Group, gate: &Gate| {
            let (window_ns, interval_ns) = (nanos(gate.window), nanos(group.interval));
            let behind_ns = interval_ns.saturating_mul(MAX_DUE as i64).min(window_ns);
            Sharer { gate: gate.clone(), behind_ns }
        };
        let gates = groups.iter().flat_map(|group| group.gates.iter().map(move |gate| (group, gate)));
        let gates = gates.filter(|(_, gate)| gate.class == Class::Decomposable);
        let gates = gates.map(|(group, gate)| (gate.name.clone(), sharer(group, gate))).collect();
        let (width_ns, most) = (nanos(config.bucket).max(1), (entries, config.bucket_bytes));
        Self(Arc::new(Inner { gateway, gates, width_ns, most, metrics, planned: Arc::default() }))
    }

    /// The rows of `ask`; `None` = they have to be asked for by SQL.
    pub(super) async fn rows(&self, ask: &Ask) -> Option<Result<Vec<ResultRow>, RunError>> {
        let inner = &self.0;
        let sharer = inner.gates.get(&ask.gate.name)?;
        if sharer.gate != *ask.gate || ask.spans != Selection::OfGate || !inner.is_whole(ask.window) {
            return None;
        }
        let planned = inner.planned().await?;
        let member = planned.members.get(&ask.gate.name)?.clone();
        let source = planned.sources[member.source].clone();
        let values = match source.values(&inner.gateway, member.aggregation, ask.window, ask.cut_us).await {
            Found::Values(values) => values,
            Found::Alone => return None,
            Found::Error(error) => return Some(Err(error)),
        };
        let gate = ask.gate.clone();
        // On threads whose stack is deep enough for any expression.
        let read = inner.gateway.spawn(async move { rows_of(&gate, &member, &source, &values) });
        // What fails by itself is asked again by SQL, which says why.
        read.await.ok().flatten()
    }

    /// The rows over those windows of `ask` of which states tell as the last ticks left them, with the spans that came since.
    /// Work that nobody waits for any more ends.
    pub(super) async fn ahead(&self, ask: AskAhead) -> Ahead {
        let this = self.0.clone();
        let work = self.0.gateway.spawn(async move { this.ahead(&ask).await.unwrap_or_default() });
        AbortOnDropHandle::new(work).await.unwrap_or_default()
    }
}

/// What the answer of `member` makes of `values`; `None` = an expression of it fails.
fn rows_of(
    gate: &Gate,
    member: &Member,
    source: &SourceNow,
    values: &RecordBatch,
) -> Option<Result<Vec<ResultRow>, RunError>> {
    let batch = member.answer.rows(values, source.aggregation(member.aggregation)).ok()?;
    Some(match batch.num_rows() > MAX_ROWS {
        true => Err(RunError::TooManyRows),
        false => rows::read(gate, &[batch]),
    })
}

impl Inner {
    /// Whether `window` begins with a bucket and ends with one.
    const fn is_whole(&self, Window { start_ns, end_ns }: Window) -> bool {
        start_ns < end_ns && start_ns.rem_euclid(self.width_ns) == 0 && end_ns.rem_euclid(self.width_ns) == 0
    }

    /// See [`Buckets::ahead`]. Nothing is put together for it: the next tick does that.
    async fn ahead(&self, ask: &AskAhead) -> Option<Ahead> {
        let sharer = self.gates.get(&ask.gate.name)?;
        if sharer.gate != *ask.gate {
            return None;
        }
        let types = self.gateway.attribute_types();
        let planned = self.planned.lock().await.clone().filter(|planned| planned.stands(&types))?;
        let member = planned.members.get(&ask.gate.name)?;
        let source = &planned.sources[member.source];
        let windows: Vec<Window> = ask.windows.iter().copied().filter(|window| self.is_whole(*window)).collect();
        let found = source.ahead(&self.gateway, member.aggregation, &windows, ask.cut_us).await;
        let rows = found.into_iter().filter_map(|(window, values)| {
            let rows = rows_of(&ask.gate, member, source, &values)?;
            Some((window, rows))
        });
        Some(rows.collect())
    }

    /// What the gates share in the types of this moment; `None` if that cannot be found out.
    async fn planned(self: &Arc<Self>) -> Option<Arc<Planned>> {
        let mut kept = self.planned.clone().lock_owned().await;
        let types = self.gateway.attribute_types();
        if let Some(planned) = kept.as_ref().filter(|planned| planned.stands(&types)) {
            return Some(planned.clone());
        }
        // It goes on when nobody waits for it any more: the `timeout` of a gate may be shorter than it takes.
        let this = self.clone();
        let work = self.gateway.spawn(async move {
            let planned = Arc::new(this.plan(types).await);
            *kept = Some(planned.clone());
            planned
        });
        work.await.ok()
    }

    async fn plan(&self, types: Types) -> Planned {
        let question = |sharer: &Sharer| {
            let gate = &sharer.gate;
            let nowhen = Window { start_ns: 0, end_ns: 0 };
            Question {
                sql: gate.source.sql.clone(),
                params: run::params(gate, nowhen),
                spans: run::within(gate, nowhen, &Selection::OfGate).spans,
                by_start: gate.time == EventTime::Start,
                // A long window is read by itself, so that no short one waits for it.
                apart: wide_ns(gate.window).unwrap_or(self.width_ns),
            }
        };
        let sharing = match self.gateway.share(self.gates.values().map(question).collect()).await {
            Ok(sharing) => sharing,
            Err(error) => {
                tracing::warn!(error = %failed(&error), "gates share nothing; each is asked by its SQL");
                let until = Instant::now().checked_add(AGAIN);
                return Planned { types, members: HashMap::new(), sources: Vec::new(), until };
            }
        };
        let mut keeps: Vec<Vec<Keep>> =
            sharing.sources.iter().map(|(source, _)| vec![Keep::default(); source.aggregations.len()]).collect();
        let mut members = HashMap::new();
        for ((name, sharer), member) in self.gates.iter().zip(sharing.members) {
            match member {
                Ok(member) => {
                    let keep = &mut keeps[member.source][member.aggregation];
                    keep.window_ns = keep.window_ns.max(nanos(sharer.gate.window));
                    keep.behind_ns = keep.behind_ns.max(sharer.behind_ns);
                    members.insert(name.clone(), member);
                }
                Err(why) => tracing::debug!(gate = %name, why, "a gate shares nothing; it is asked by its SQL"),
            }
        }
        // Its own: what a plan before this one still reads does not count against it.
        let usage = Arc::new(Usage::new(self.most, self.metrics.clone()));
        let sources = sharing.sources.into_iter().zip(keeps).enumerate();
        let sources = sources.map(|(at, ((source, wide_ns), keeps))| {
            let widths = Widths { narrow_ns: self.width_ns, wide: (wide_ns / self.width_ns).max(1) };
            Arc::new(SourceNow::new((source, at), keeps, widths, usage.clone()))
        });
        Planned { types: sharing.types, members, sources: sources.collect(), until: None }
    }
}
