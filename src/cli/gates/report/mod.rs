//! What `gates run` tells (gates.md 12).
//!
//! Duty: how every key fared, as lines from worst to best with totals and exit code; which format goes where. Guarantee: all
//! formats show the same lines. Left to others: the formats (a file each), files (`outputs`), what a key is worth (`worth`).

mod github;
mod json;
mod junit;
mod outputs;
mod sarif;
#[cfg(test)]
pub(super) mod tests;
mod text;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::worth::{Allowed, FailOn, Worth, exit, worth};
use crate::cli::exit::Exit;
use crate::gate::Gate;
use crate::gate::definition::Unit;
use crate::gate::identity::{AlertId, TENANT};
use crate::gate::journal::OutcomeRun;
use crate::gate::playback::{Found, Judge};
use crate::gate::result::ResultRow;
use crate::gate::scalar::duration_text;
use crate::gate::verdict::{Outcome, is_conclusive};
use crate::span::hex;

pub use outputs::Outputs;

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people
    Text,
    /// One object with all there is
    Json,
    /// JUnit XML
    Junit,
    /// SARIF 2.1.0
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

/// What there was to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Where it came from.
    pub source: String,
    /// Spans.
    pub spans: u64,
    /// Distinct trace ids.
    pub traces: u64,
    /// Distinct services.
    pub services: u64,
    /// Spans that were set aside and not judged.
    pub rejected: u64,
    /// Files of folders that were not read, for they look like none of spans.
    pub left_out: u64,
    /// The first start, ns since 1970.
    pub first_ns: Option<i64>,
    /// The last end, ns since 1970.
    pub last_ns: Option<i64>,
}

/// How one key fared.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name of the gate.
    pub gate: String,
    /// Its description, if it has one.
    pub about: Option<String>,
    /// Its group.
    pub group: String,
    /// Its file, as shown to people.
    pub file: String,
    /// Its line there, from 1.
    pub line: u32,
    /// Alert key; empty without `by`.
    pub key: String,
    /// `by` values by name.
    pub labels: BTreeMap<String, String>,
    /// Alert id in hex.
    pub alert: String,
    /// What it is worth.
    pub worth: Worth,
    /// Row of table 4.1.
    pub outcome: Outcome,
    /// Why it is worth that, where the outcome does not say it.
    pub why: Option<String>,
    /// What the outcome means for this gate, where its word and `min_samples` do not say it.
    pub meaning: Option<String>,
    /// The number judged.
    pub value: Option<f64>,
    /// Samples.
    pub n: Option<u64>,
    /// Unit of the value.
    pub unit: Unit,
    /// What is good, as written.
    pub pass: String,
    /// What is a warning, as written.
    pub warn: Option<String>,
    /// Least samples.
    pub min_samples: u64,
    /// Start and end of the window of the verdict, ns since 1970.
    pub window: (i64, i64),
    /// Other columns of the result; `error` for an error.
    pub evidence: Map<String, Value>,
    /// Trace ids in hex.
    pub traces: Vec<String>,
    /// How many episodes the key had, with `--judge timeline`.
    pub episodes: u64,
}

/// Keys by worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `pass` holds.
    pub passed: usize,
    /// `warn` holds.
    pub warned: usize,
    /// Failed.
    pub failed: usize,
    /// Not judged, and that is allowed.
    pub skipped: usize,
    /// Not judged.
    pub not_judged: usize,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// How often gates were asked.
    pub judge: Judge,
    /// Whether warnings count.
    pub fail_on: FailOn,
    /// What there was.
    pub input: Input,
    /// Why nothing was judged, though there are spans.
    pub reason: Option<String>,
    /// Every key, worst first.
    pub lines: Vec<Line>,
    /// Gates with more keys than their limit, and a sentence.
    pub overflows: BTreeMap<String, String>,
    /// How many are worth what.
    pub totals: Totals,
    /// The exit code.
    pub exit: Exit,
}

impl Report {
    /// Sums up what was `found`.
    pub fn new(judge: Judge, input: Input, found: Vec<Found>, allowed: &Allowed<'_>) -> Self {
        let overflows: BTreeMap<String, String> =
            found.iter().filter_map(|found| Some((found.now.gate.name.clone(), found.overflow.clone()?))).collect();
        let mut lines: Vec<Line> = found.into_iter().map(|found| line(found, judge, allowed)).collect();
        lines.sort_by(|a, b| b.worth.cmp(&a.worth).then_with(|| (&a.gate, &a.key).cmp(&(&b.gate, &b.key))));
        let count = |worth| lines.iter().filter(|line| line.worth == worth).count();
        let totals = Totals {
            passed: count(Worth::Passed),
            warned: count(Worth::Warned),
            failed: count(Worth::Failed),
            skipped: count(Worth::Skipped),
            not_judged: count(Worth::Error),
        };
        let worths = lines.iter().map(|line| line.worth);
        let exit = exit(worths, !overflows.is_empty(), input.spans, allowed.fail_on);
        Self { judge, fail_on: allowed.fail_on, input, reason: None, lines, overflows, totals, exit }
    }

    /// Nothing could be judged, for this reason.
    pub fn without(judge: Judge, input: Input, reason: String, allowed: &Allowed<'_>) -> Self {
        Self { reason: Some(reason), ..Self::new(judge, input, Vec::new(), allowed) }
    }

    fn render(&self, format: Format) -> String {
        match format {
            Format::Text => text::render(self),
            Format::Json => json::render(self),
            Format::Junit => junit::render(self),
            Format::Sarif => sarif::render(self),
            Format::Github => github::render(self),
        }
    }

    /// One sentence about all of it.
    fn sum(&self) -> String {
        let Totals { passed, warned, failed, skipped, not_judged } = self.totals;
        let keys = self.lines.len();
        let counts =
            format!("{failed} failed, {not_judged} not judged, {warned} warned, {passed} passed, {skipped} skipped");
        let about = match (&self.reason, self.input.spans) {
            (Some(reason), _) => reason.clone(),
            (None, 0) => "no span was received, so nothing was judged".to_owned(),
            (None, spans) => {
                format!("{counts}; {spans} spans, {} traces, {} services", self.input.traces, self.input.services)
            }
        };
        let word = match self.exit {
            Exit::Good if warned > 0 => "PASSED with warnings",
            Exit::Good => "PASSED",
            Exit::Bad => "FAILED",
            Exit::Warn => "WARNED",
            _ => "NOT JUDGED",
        };
        match keys {
            0 => format!("{word}: {about}"),
            1 => format!("{word}: 1 key: {about}"),
            keys => format!("{word}: {keys} keys: {about}"),
        }
    }
}

fn line(found: Found, judge: Judge, allowed: &Allowed<'_>) -> Line {
    let (worth, why) = worth(&found, allowed);
    let now = found.now;
    let (gate, run) = (now.gate, now.run);
    let evidence = match serde_json::from_str(&run.evidence) {
        Ok(Value::Object(columns)) => columns,
        _ => Map::new(),
    };
    let meaning = meaning(&gate, &now.labels, &run, &evidence, judge);
    Line {
        meaning,
        alert: AlertId::new(TENANT, &gate.name, &now.labels).to_string(),
        about: gate.about.get("description").cloned(),
        group: now.group,
        file: now.file,
        line: gate.line,
        key: now.key,
        labels: now.labels,
        worth,
        outcome: run.outcome,
        why,
        value: run.value,
        n: run.n,
        unit: gate.unit,
        pass: gate.pass.text.clone(),
        warn: gate.warn.as_ref().map(|warn| warn.text.clone()),
        min_samples: gate.min_samples,
        window: (run.window.start_ns, run.window.end_ns),
        evidence,
        traces: run.trace_ids.iter().map(|id| hex(id)).collect(),
        episodes: found.episodes,
        gate: gate.name.clone(),
    }
}

/// What the outcome of `run` means for `gate`.
fn meaning(
    gate: &Gate,
    labels: &BTreeMap<String, String>,
    run: &OutcomeRun,
    evidence: &Map<String, Value>,
    judge: Judge,
) -> Option<String> {
    match (run.outcome, &gate.slo, &gate.baseline) {
        (Outcome::Insufficient, Some(slo), _) => slo.thin(gate.min_samples, evidence).map(|(long, samples)| {
            let (long, least) = (duration_text(long), gate.min_samples);
            format!("{samples} samples in the {long} of a pair that burns too fast, at least {least} are wanted")
        }),
        (Outcome::Inconclusive, _, Some(_)) => {
            let row = ResultRow {
                key: labels.clone(),
                value: run.value,
                n: run.n,
                evidence: evidence.clone(),
                ..ResultRow::default()
            };
            let next = match judge {
                Judge::Once => "use --judge timeline",
                Judge::Timeline => "give spans of a longer time",
            };
            is_conclusive(gate, &row)
                .then(|| format!("there is no baseline: too few values of the past in these spans; {next}"))
        }
        _ => None,
    }
}

impl Line {
    /// The key for people; `-` without `by`.
    fn key_shown(&self) -> &str {
        if self.key.is_empty() { "-" } else { &self.key }
    }

    /// The value in its unit.
    fn value_shown(&self) -> String {
        let Some(value) = self.value else { return "-".to_owned() };
        let unit = match self.unit {
            Unit::None | Unit::Ratio | Unit::Count => "",
            Unit::Percent => " %",
            Unit::Bytes => " B",
            Unit::Seconds => " s",
            Unit::Milliseconds => " ms",
            Unit::Microseconds => " us",
            Unit::Nanoseconds => " ns",
        };
        format!("{}{unit}", rounded(value))
    }

    /// What was wanted of the value.
    fn wanted(&self) -> String {
        match &self.warn {
            Some(warn) => format!("{} (warn {warn})", self.pass),
            None => self.pass.clone(),
        }
    }

    /// One sentence: what is wrong, or that nothing is.
    fn sentence(&self) -> String {
        let about = match self.outcome {
            _ if self.meaning.is_some() => self.meaning.clone().unwrap_or_default(),
            Outcome::Pass | Outcome::Warn | Outcome::Fail => {
                let n = self.n.map(|n| format!(" over {n} samples")).unwrap_or_default();
                format!("{}{n}, wanted {}", self.value_shown(), self.wanted())
            }
            Outcome::NoData => "no data: the query gave no row, or a value that is no number".to_owned(),
            Outcome::Insufficient => {
                format!("{} samples, at least {} are wanted", self.n.unwrap_or(0), self.min_samples)
            }
            Outcome::Inconclusive => "inconclusive: `conclusive_when` is not met".to_owned(),
            Outcome::Error => {
                let why = self.evidence.get("error").and_then(Value::as_str).unwrap_or("the query failed");
                format!("error: {why}")
            }
        };
        match &self.why {
            Some(why) => format!("{about}; {why}"),
            None => about,
        }
    }

    /// Other columns in short, then traces.
    fn evidence_shown(&self) -> String {
        let of = |(name, value): (&String, &Value)| match value {
            Value::Number(number) => format!("{name} {}", number.as_f64().map_or_else(|| number.to_string(), rounded)),
            Value::String(text) => format!("{name} {text}"),
            Value::Null => format!("{name} -"),
            other => format!("{name} {other}"),
        };
        let mut shown: Vec<String> = self.evidence.iter().filter(|(name, _)| *name != "error").map(of).collect();
        if !self.traces.is_empty() {
            shown.push(format!("traces {}", self.traces.join(" ")));
        }
        shown.join(", ")
    }
}

/// Four significant digits, without an exponent where it can be.
fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 8")]
    let digits = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// RFC 3339 in UTC.
pub(super) fn rfc3339(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |at| at.to_string())
}
