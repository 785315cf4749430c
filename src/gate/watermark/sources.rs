//! The sources of spans (gates.md 3: source, m(σ), active(σ), frontier).
//!
//! Duty: how far each source has come, and up to where that lets ticks close. Guarantee: memory for [`MOST`] sources with
//! names of [`MOST_NAME_BYTES`] and [`CLASSES`] classes that all others share; a source that is silent or lags holds nobody back. Left to others: what a span
//! says of its source (`feed`), that M never goes back (the parent), keeping the rows (`journal`).

use std::collections::{BTreeMap, HashMap};

use crate::gate::config::Config;
use crate::gate::journal::{SourceKey, SourceRow};
use crate::gate::window::nanos;

/// Sources that are known by name.
const MOST: usize = 10_000;
/// Classes of those above.
const CLASSES: u64 = 1_024;
/// A longer name is in a class at once: what is kept is bounded in bytes too.
const MOST_NAME_BYTES: usize = 256;
/// A source that is silent for so long makes room for another.
const GONE_NS: i64 = 86_400 * 1_000_000_000;
/// How often it is looked for such.
const SWEEP_NS: i64 = 60 * 1_000_000_000;

/// What makes a source count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `gates.idle_source_after`
    pub idle_ns: i64,
    /// `gates.max_future_skew`
    pub skew_ns: i64,
    /// `gates.max_watermark_lag`
    pub lag_ns: i64,
}

impl Limits {
    /// Those of the configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            idle_ns: nanos(config.idle_source_after),
            skew_ns: nanos(config.max_future_skew),
            lag_ns: nanos(config.max_watermark_lag),
        }
    }

    /// The latest end that counts of a span that came at the store position `position_us`, ns since 1970.
    pub fn latest_ns(&self, position_us: i64) -> i64 {
        position_us.saturating_mul(1_000).saturating_add(self.skew_ns)
    }
}

#[derive(Clone, Copy, Debug)]
struct Source {
    row: SourceRow,
    /// When the process began that knew it before; it is waited for from then on.
    since_ns: i64,
    is_written: bool,
}

/// All sources that are known.
#[derive(Debug)]
pub(super) struct Sources {
    limits: Limits,
    named: HashMap<String, Source>,
    classes: BTreeMap<u16, Source>,
    /// Names that went and are still written down.
    gone: Vec<String>,
    swept_ns: i64,
    most: usize,
}

impl Sources {
    /// What was written before this process began at `now_ns`: all of them have until then and `idle_source_after` to go on.
    pub(super) fn restored(limits: Limits, rows: BTreeMap<SourceKey, SourceRow>, now_ns: i64) -> Self {
        let mut sources = Self {
            limits,
            named: HashMap::new(),
            classes: BTreeMap::new(),
            gone: Vec::new(),
            swept_ns: i64::MIN,
            most: MOST,
        };
        for ((class, service), row) in rows {
            let source = Source { row, since_ns: now_ns, is_written: true };
            if class == 0 {
                sources.named.insert(service, source);
            } else {
                sources.classes.insert(class, source);
            }
        }
        sources
    }

    #[cfg(test)]
    pub(super) fn with_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Takes in that spans of `service` came, the latest of which ended at `latest_ns`, clipped.
    pub(super) fn hear(&mut self, service: String, latest_ns: i64, now_ns: i64) {
        let source = self.of(service, now_ns);
        source.row.latest_ns = source.row.latest_ns.max(latest_ns);
        source.row.seen_ns = now_ns;
        source.is_written = false;
    }

    /// The source `service`, or the class that it shares.
    fn of(&mut self, service: String, now_ns: i64) -> &mut Source {
        let row = SourceRow { latest_ns: i64::MIN, seen_ns: now_ns };
        let fresh = Source { row, since_ns: i64::MIN, is_written: false };
        let (is_known, is_short) = (self.named.contains_key(&service), service.len() <= MOST_NAME_BYTES);
        if is_short && !is_known && self.named.len() >= self.most {
            self.sweep(now_ns);
        }
        if is_known || is_short && self.named.len() < self.most {
            return self.named.entry(service).or_insert(fresh);
        }
        let class = twox_hash::XxHash3_64::oneshot(service.as_bytes()) % CLASSES + 1;
        self.classes.entry(u16::try_from(class).unwrap_or(u16::MAX)).or_insert(fresh)
    }

    /// Forgets names that nobody uses any more.
    fn sweep(&mut self, now_ns: i64) {
        if now_ns < self.swept_ns.saturating_add(SWEEP_NS) {
            return;
        }
        self.swept_ns = now_ns;
        let before_ns = now_ns.saturating_sub(GONE_NS.max(self.limits.idle_ns));
        let gone = self.named.iter().filter(|(_, source)| source.row.seen_ns < before_ns);
        let gone: Vec<String> = gone.map(|(service, _)| service.clone()).collect();
        self.named.retain(|_, source| source.row.seen_ns >= before_ns);
        self.gone.extend(gone);
    }

    fn all(&self) -> impl Iterator<Item = &Source> {
        self.named.values().chain(self.classes.values())
    }

    /// When the source goes idle: the last instant at which it is active, if it does not lag.
    fn until_ns(&self, source: &Source) -> i64 {
        source.row.seen_ns.max(source.since_ns).saturating_add(self.limits.idle_ns)
    }

    /// Whether its last span came too late, however long ago that was.
    const fn lags(&self, source: &Source) -> bool {
        source.row.seen_ns.saturating_sub(source.row.latest_ns) > self.limits.lag_ns
    }

    fn is_active(&self, source: &Source, now_ns: i64) -> bool {
        now_ns <= self.until_ns(source) && !self.lags(source)
    }

    /// Up to where event time has come by all sources that are active at `now_ns`; by the clock, if none is.
    pub(super) fn frontier_ns(&self, now_ns: i64) -> i64 {
        let active = self.all().filter(|source| self.is_active(source, now_ns));
        let slowest = active.map(|source| source.row.latest_ns).min();
        slowest.unwrap_or_else(|| now_ns.saturating_sub(self.limits.idle_ns))
    }

    /// Sources whose spans come, but too late to hold anybody back.
    pub(super) fn lagging(&self, now_ns: i64) -> usize {
        self.all().filter(|source| now_ns <= self.until_ns(source) && self.lags(source)).count()
    }

    /// The first instant from `now_ns` on at which [`Sources::frontier_ns`] is `m_ns` or more, if no span comes before.
    pub(super) fn reaches_ns(&self, m_ns: i64, now_ns: i64) -> i64 {
        let active = || self.all().filter(move |source| self.is_active(source, now_ns));
        let slow = active().filter(|source| source.row.latest_ns < m_ns);
        let freed_ns = slow.map(|source| self.until_ns(source).saturating_add(1)).max().unwrap_or(now_ns);
        let has_others = active().any(|source| source.row.latest_ns >= m_ns && freed_ns <= self.until_ns(source));
        if has_others { freed_ns } else { freed_ns.max(m_ns.saturating_add(self.limits.idle_ns)) }
    }

    /// What changed since it was asked last.
    pub(super) fn take_unwritten(&mut self) -> BTreeMap<SourceKey, Option<SourceRow>> {
        let mut rows: BTreeMap<SourceKey, Option<SourceRow>> = BTreeMap::new();
        // Before the others: one may have come back.
        rows.extend(self.gone.drain(..).map(|service| ((0, service), None)));
        let mut put = |key: SourceKey, source: &mut Source| {
            if !source.is_written {
                source.is_written = true;
                rows.insert(key, Some(source.row));
            }
        };
        self.named.iter_mut().for_each(|(service, source)| put((0, service.clone()), source));
        self.classes.iter_mut().for_each(|(class, source)| put((*class, String::new()), source));
        rows
    }

    /// What was taken was not written.
    pub(super) fn write_again(&mut self) {
        self.named.values_mut().chain(self.classes.values_mut()).for_each(|source| source.is_written = false);
    }
}
