//! What became of a load: counts of spans and latencies of requests.
//!
//! Duty: [`Tally`], filled by one sender and merged, and the [`Report`] printed and written. Guarantee: acknowledged,
//! rejected and failed spans add up to the spans sent. Left to others: sending (`send`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::send::Outcome;

/// Counts of one sender.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    requests: u64,
    acknowledged: u64,
    rejected: u64,
    failed: u64,
    latencies_us: Vec<u64>,
    reasons: BTreeMap<String, u64>,
}

/// The report of a run; spans unless said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Requests sent.
    pub requests: u64,
    /// Spans that the peer took.
    pub acknowledged: u64,
    /// Spans that the peer set aside in a partial success.
    pub rejected: u64,
    /// Spans of requests that were refused or got no answer.
    pub failed: u64,
    /// Wall time from the first request to the last answer.
    pub seconds: f64,
    /// Time from sending a request to its answer.
    pub latency_ms: Latency,
    /// Why spans failed, with the number of requests; not part of the JSON form.
    #[serde(skip)]
    pub reasons: BTreeMap<String, u64>,
}

/// Percentiles in milliseconds (nearest rank); 0 without requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Tally {
    /// Counts one request of `spans` spans.
    pub fn add(&mut self, spans: u64, outcome: &Outcome, took: Duration) {
        self.requests += 1;
        self.latencies_us.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        match outcome {
            Outcome::Acknowledged { rejected } => {
                let rejected = (*rejected).min(spans);
                self.rejected += rejected;
                self.acknowledged += spans - rejected;
            }
            Outcome::Refused(why) | Outcome::Broken(why) => {
                self.failed += spans;
                self.note(why.clone());
            }
        }
    }

    /// Counts a reason for failing.
    pub fn note(&mut self, why: String) {
        *self.reasons.entry(why).or_default() += 1;
    }

    /// Adds the counts of another sender.
    pub fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.latencies_us.extend(other.latencies_us);
        for (why, count) in other.reasons {
            *self.reasons.entry(why).or_default() += count;
        }
    }

    /// The report of a run that took `wall`.
    pub fn report(mut self, wall: Duration) -> Report {
        self.latencies_us.sort_unstable();
        let rank = |per_cent: usize| {
            let rank = (self.latencies_us.len() * per_cent).div_ceil(100).saturating_sub(1);
            #[allow(clippy::cast_precision_loss, reason = "a latency has fewer than 53 bits")]
            self.latencies_us.get(rank).map_or(0.0, |us| *us as f64 / 1_000.0)
        };
        Report {
            requests: self.requests,
            acknowledged: self.acknowledged,
            rejected: self.rejected,
            failed: self.failed,
            seconds: wall.as_secs_f64(),
            latency_ms: Latency { p50: rank(50), p95: rank(95), p99: rank(99), max: rank(100) },
            reasons: self.reasons,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[allow(clippy::cast_precision_loss, reason = "shown with no decimals")]
        let rate = self.acknowledged as f64 / self.seconds.max(1e-9);
        writeln!(f, "requests      {}", self.requests)?;
        writeln!(f, "acknowledged  {} spans ({rate:.0} a second)", self.acknowledged)?;
        writeln!(f, "rejected      {} spans", self.rejected)?;
        writeln!(f, "failed        {} spans", self.failed)?;
        writeln!(f, "seconds       {:.3}", self.seconds)?;
        let Latency { p50, p95, p99, max } = self.latency_ms;
        writeln!(f, "latency ms    p50 {p50:.2}  p95 {p95:.2}  p99 {p99:.2}  max {max:.2}")?;
        for (why, count) in self.reasons.iter().take(5) {
            writeln!(f, "  {count} x {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_is_counted_once_and_percentiles_are_ranks() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.add(10, &Outcome::Acknowledged { rejected: u64::from(ms == 1) * 3 }, Duration::from_millis(ms));
        }
        let mut other = Tally::default();
        other.add(10, &Outcome::Refused("full".into()), Duration::from_millis(500));
        tally.merge(other);
        let report = tally.report(Duration::from_secs(2));
        assert_eq!((report.requests, report.acknowledged, report.rejected, report.failed), (101, 997, 3, 10));
        assert_eq!((report.latency_ms.p50, report.latency_ms.max), (51.0, 500.0));
        let json = serde_json::to_value(&report).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["acknowledged", "failed", "latency_ms", "rejected", "requests", "seconds"]);
    }
}
