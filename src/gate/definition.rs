//! A gate as the rest of the house sees it: checked, with units converted.
//!
//! Duty: the types that a loaded gate file becomes. Guarantee: a [`Gate`] passed every check of gates.md 1.5, so
//! readers judge without checking again. Left to others: reading files (`file`), judging (`verdict`), time (`window`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::arrivals::Matching;
use super::assertion::Assertion;
use super::baseline::Baseline;
use super::slo::Slo;
use crate::clock::cron::Cron;

/// A set of numbers: what a comparison of gates.md 1.3 satisfies. NaN is in none.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// As written, e.g. `> 95%`.
    pub text: String,
    /// What it asks.
    pub test: Test,
}

/// What a comparison asks of a number, literals already in the gate's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    /// `>`
    Above(f64),
    /// `>=`
    AtLeast(f64),
    /// `<`
    Below(f64),
    /// `<=`
    AtMost(f64),
    /// `==`
    Is(f64),
    /// `!=`
    IsNot(f64),
    /// `in [a, b]`, both ends included
    In(f64, f64),
    /// `not in [a, b]`
    NotIn(f64, f64),
}

impl Test {
    /// Whether `value` is in the set.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Above(x) => value > x,
            Self::AtLeast(x) => value >= x,
            Self::Below(x) => value < x,
            Self::AtMost(x) => value <= x,
            Self::Is(x) => value == x,
            Self::IsNot(x) => value != x && !value.is_nan(),
            Self::In(low, high) => (low..=high).contains(&value),
            Self::NotIn(low, high) => value < low || value > high,
        }
    }
}

/// Converts literals and formats text, nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// No unit.
    #[default]
    None,
    /// 0 to 1.
    Ratio,
    /// 0 to 100.
    Percent,
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// Which time of a span is its event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventTime {
    /// `end_time`.
    #[default]
    End,
    /// `start_time`.
    Start,
}

/// How a group of gates is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Label `gate_group`.
    pub name: String,
    /// The file it stands in, as shown to people: a path or `builtin:founding`.
    pub file: String,
    /// The grid.
    pub interval: Duration,
    /// How far M must be past a tick before it closes.
    pub query_offset: Duration,
    /// On every alert of the group.
    pub labels: BTreeMap<String, String>,
    /// In evaluation order.
    pub gates: Vec<Gate>,
}

/// What to do with an outcome that is neither pass, warn nor fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nothing changes.
    #[default]
    Hold,
    /// Counts as a pass that clears (`no_data: ok`, `insufficient: pass`).
    Pass,
    /// Holds, and a health alert fires.
    Alert,
    /// Counts as a fail.
    Fail,
}

/// `fire_after: n of m`: a breach is an episode once `n` of the last `m` effective ticks were one; 1 ≤ n ≤ m ≤ 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FireAfter {
    /// So many …
    pub n: u8,
    /// … of so many.
    pub m: u8,
}

/// When a key that is missing while others are there is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleAfter {
    /// Never.
    Never,
    /// After so many evaluations.
    Evaluations(u32),
    /// After so much event time.
    Time(Duration),
}

/// Label `severity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Severities {
    /// At level warn.
    pub warn: String,
    /// At level fail.
    pub fail: String,
}

/// Whether effects leave the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Sent and started.
    #[default]
    Enforce,
    /// Computed and recorded only.
    DryRun,
}

/// `on_fail` and `on_resolve`: the pipeline that an episode starts.
#[derive(Clone, Debug, PartialEq)]
pub struct OnFail {
    /// BPMN process id.
    pub pipeline: String,
    /// Templates by variable name.
    pub input: BTreeMap<String, String>,
    /// Also at level warn; of `on_resolve`: also if the episode never rose above it.
    pub on_warn: bool,
    /// Between starts of one alert id.
    pub cooldown: Duration,
    /// At most so many starts …
    pub max_runs: u32,
    /// … in so long, sliding.
    pub max_runs_in: Duration,
}

/// The SQL of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// One statement.
    pub sql: String,
    /// The `sql_file`, as shown to people; `None` = inline.
    pub path: Option<PathBuf>,
    /// Where inline SQL begins in its YAML file, from 1; 0 for a file.
    pub line: u32,
    /// The query names `$window_start` or `$window_end` and bounds itself (gates.md 2).
    pub explicit_window: bool,
    /// The query reads what gates gave (gates.md 8, class derived).
    pub is_derived: bool,
}

/// When a gate is judged (gates.md 1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum On {
    /// When its ticks close.
    #[default]
    Interval,
    /// Also whenever a span was appended: each that matches is a fail.
    Ingest(Box<Matching>),
    /// Also whenever a trace has settled: a share that does not pass is a fail before the tick closes.
    Trace,
}

impl On {
    /// Whether spans are looked at one by one.
    pub const fn is_ingest(&self) -> bool {
        matches!(self, Self::Ingest(_))
    }
}

/// How a gate is evaluated (gates.md 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Over states of buckets of time that it shares with others.
    Decomposable,
    /// By its SQL over its whole window; why.
    Rerun(String),
}

/// One gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Label `alertname`.
    pub name: String,
    /// Line of its file at which it is named, from 1.
    pub line: u32,
    /// `description`, `owner`, `runbook_url` as given.
    pub about: BTreeMap<String, String>,
    /// Its SQL.
    pub source: Source,
    /// How it is evaluated.
    pub class: Class,
    /// When it is judged.
    pub on: On,
    /// What its SQL was made of, and by which its rows are judged instead of `pass` and `warn`.
    pub slo: Option<Slo>,
    /// What its SQL was made of; its rows are judged as any.
    pub assertion: Option<Assertion>,
    /// Result columns that form the key, in file order.
    pub by: Vec<String>,
    /// Column judged.
    pub value_column: String,
    /// Column of the sample count.
    pub n_column: String,
    /// Unit of the value.
    pub unit: Unit,
    /// Length of the window.
    pub window: Duration,
    /// Which time counts.
    pub time: EventTime,
    /// Its ticks, in the stead of the group's grid.
    pub cron: Option<Cron>,
    /// Good.
    pub pass: Comparison,
    /// Weaker: holds while `pass` does not.
    pub warn: Option<Comparison>,
    /// Must hold to leave an episode.
    pub clear: Comparison,
    /// Below it the outcome is insufficient.
    pub min_samples: u64,
    /// Then: `Hold`, `Pass` or `Fail`.
    pub insufficient: Policy,
    /// Column and comparison without which a verdict is inconclusive.
    pub conclusive_when: Option<(String, Comparison)>,
    /// Then: `Hold`, `Alert` or `Fail`.
    pub inconclusive: Policy,
    /// What the value is held to beside `pass`.
    pub baseline: Option<Baseline>,
    /// Event time a breach must last; 0 with `fire_after`.
    pub hold_for: Duration,
    /// How often a breach must come instead.
    pub fire_after: Option<FireAfter>,
    /// Event time `clear` must hold before the episode ends.
    pub keep_firing_for: Duration,
    /// Event time without fail after which a fail episode falls to warn.
    pub step_down_after: Option<Duration>,
    /// Result empty or value not a number.
    pub no_data: Policy,
    /// When a missing key is gone.
    pub stale_after: StaleAfter,
    /// Errors in a row before `GateError` fires; `None` = `on_error: hold`.
    pub error_limit: Option<u32>,
    /// Of one evaluation.
    pub timeout: Duration,
    /// Label `severity`.
    pub severity: Severities,
    /// Templates.
    pub labels: BTreeMap<String, String>,
    /// Templates.
    pub annotations: BTreeMap<String, String>,
    /// Row predicate on `spans` whose traces are evidence of keys that do not pass.
    pub exemplars: Option<String>,
    /// Most keys.
    pub limit: usize,
    /// Whether effects leave the journal.
    pub mode: Mode,
    /// Also spans made by pipelines.
    pub include_pipeline_spans: bool,
    /// Also spans of this daemon about itself.
    pub include_own_spans: bool,
    /// The pipeline that an episode starts.
    pub on_fail: Option<OnFail>,
    /// The pipeline that an episode starts which ended because `clear` held.
    pub on_resolve: Option<OnFail>,
    /// Receivers; `None` = `notify.default`.
    pub notify: Option<Vec<String>>,
}

impl Gate {
    /// The word for [`Gate::class`], for gates that read what others gave, and for those that do not wait for ticks.
    pub const fn class(&self) -> &'static str {
        match (&self.on, &self.class) {
            (On::Ingest(_), _) => "ingest",
            (On::Trace, _) => "trace",
            _ if self.source.is_derived => "derived",
            (On::Interval, Class::Decomposable) => "decomposable",
            (On::Interval, Class::Rerun(_)) => "re-run",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A comparison without its text.
    pub(crate) fn comparison(test: Test) -> Comparison {
        Comparison { text: format!("{test:?}"), test }
    }

    /// A gate with the defaults of gates.md 1.2 and a window of a minute.
    pub(crate) fn gate(name: &str, pass: Test) -> Gate {
        Gate {
            name: name.to_owned(),
            line: 1,
            about: BTreeMap::new(),
            source: Source {
                sql: "SELECT avg(duration_ns) AS value FROM spans".to_owned(),
                path: None,
                line: 1,
                explicit_window: false,
                is_derived: false,
            },
            class: Class::Rerun(String::new()),
            on: On::Interval,
            slo: None,
            assertion: None,
            by: Vec::new(),
            value_column: "value".to_owned(),
            n_column: "n".to_owned(),
            unit: Unit::None,
            window: Duration::from_secs(60),
            time: EventTime::End,
            cron: None,
            pass: comparison(pass),
            warn: None,
            clear: comparison(pass),
            min_samples: 1,
            insufficient: Policy::Hold,
            conclusive_when: None,
            inconclusive: Policy::Hold,
            baseline: None,
            hold_for: Duration::ZERO,
            fire_after: None,
            keep_firing_for: Duration::ZERO,
            step_down_after: None,
            no_data: Policy::Hold,
            stale_after: StaleAfter::Evaluations(2),
            error_limit: Some(4),
            timeout: Duration::from_secs(30),
            severity: Severities { warn: "warning".to_owned(), fail: "critical".to_owned() },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            exemplars: None,
            limit: 1000,
            mode: Mode::Enforce,
            include_pipeline_spans: false,
            include_own_spans: false,
            on_fail: None,
            on_resolve: None,
            notify: None,
        }
    }
}
