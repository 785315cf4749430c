//! The `debug` exporter: tells of each request in the log (collector_config.md 14).
//!
//! Duty: verbosity `basic`, one line a request. Guarantee: it never refuses. Left to others: the log (`telemetry`); the
//! verbosities `normal` and `detailed` are refused by name until they are built.

use std::sync::Mutex;
use std::time::Duration;

use arrow::array::{Array, UInt64Array};
use tokio::time::Instant;
use tracing::info;

use crate::span::{Delivery, Next};
use crate::yaml::Section;

/// Settings of `debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Lines at the start of each second.
    pub sampling_initial: u64,
    /// Of the lines after those, each n-th; 0 = none, 1 = all.
    pub sampling_thereafter: u64,
}

impl Config {
    pub(super) fn read(section: &Section<'_>) -> Self {
        match section.text("verbosity").as_deref() {
            None | Some("basic") => {}
            Some("normal" | "detailed") => {
                section.check("verbosity", "only \"basic\" is supported by weavergen yet");
            }
            Some(other) => {
                section.check("verbosity", format!("must be one of basic, normal, detailed, got \"{other}\""));
            }
        }
        if section.boolean("use_internal_logger") == Some(false) {
            section.check("use_internal_logger", "only true is supported by weavergen yet");
        }
        section.refuse("output_paths", "is used only with use_internal_logger: false, which is not supported yet");
        section.not_yet(&["sending_queue"]);
        Self {
            sampling_initial: section.number("sampling_initial", 0..=u64::MAX).unwrap_or(2),
            sampling_thereafter: section.number("sampling_thereafter", 0..=u64::MAX).unwrap_or(1),
        }
    }
}

/// The exporter `id`.
pub fn next(id: &str, config: &Config) -> Next {
    let id = id.to_owned();
    let sampler = Mutex::new(Sampler { config: config.clone(), second: None, seen: 0 });
    Next::new(move |delivery| {
        let told = sampler.lock().expect("no holder of this lock panics").take(Instant::now());
        if told {
            info!(
                exporter = %id,
                resource_spans = resources(&delivery),
                spans = delivery.spans(),
                "Traces"
            );
        }
        Box::pin(async { Ok(()) })
    })
}

/// Runs of equal resources, which is how a sender groups its spans.
fn resources(delivery: &Delivery) -> usize {
    let mut runs = 0;
    let mut last = None;
    for batch in &delivery.batches {
        let column = batch.as_record_batch().column_by_name("resource_key");
        let Some(keys) = column.and_then(|column| column.as_any().downcast_ref::<UInt64Array>()) else { continue };
        for row in 0..keys.len() {
            let key = Some(keys.value(row));
            runs += usize::from(key != last);
            last = key;
        }
    }
    runs
}

struct Sampler {
    config: Config,
    second: Option<Instant>,
    seen: u64,
}

impl Sampler {
    fn take(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|start| now.duration_since(start) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.seen = 0;
        }
        self.seen += 1;
        let after = self.seen.saturating_sub(self.config.sampling_initial);
        after == 0 || (self.config.sampling_thereafter > 0 && after.is_multiple_of(self.config.sampling_thereafter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_tells_the_first_lines_and_then_each_nth() {
        let config = Config { sampling_initial: 2, sampling_thereafter: 3 };
        let mut sampler = Sampler { config, second: None, seen: 0 };
        let start = Instant::now();
        let told: Vec<bool> = (0..8).map(|_| sampler.take(start)).collect();
        assert_eq!(told, [true, true, false, false, true, false, false, true]);
        assert!(sampler.take(start + Duration::from_secs(1)), "a new second starts over");
    }
}
