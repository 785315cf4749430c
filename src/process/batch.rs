//! The `batch` processor (collector_config.md 12).
//!
//! Duty: its keys, read and checked. Guarantee: a request is answered with the result of its own spans. Left to others:
//! coalescing, which the store's group commit does: before exporters that coalesce themselves, data passes without delay.

use std::time::Duration;

use crate::yaml::{Code, Section};

/// Settings of `batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Spans that send a batch.
    pub send_batch_size: u64,
    /// Time that sends a batch.
    pub timeout: Duration,
    /// Most spans in a batch; 0 = no limit.
    pub send_batch_max_size: u64,
    /// Client metadata by which batches are kept apart.
    pub metadata_keys: Vec<String>,
    /// Most combinations of their values.
    pub metadata_cardinality_limit: u64,
}

impl Batch {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let most = u64::from(u32::MAX);
        let send_batch_size = section.number("send_batch_size", 0..=most).unwrap_or(8192);
        let send_batch_max_size = section.number("send_batch_max_size", 0..=most).unwrap_or(0);
        if send_batch_max_size > 0 && send_batch_max_size < send_batch_size {
            section.check("send_batch_max_size", "must be greater or equal to send_batch_size");
        }
        Self {
            send_batch_size,
            timeout: section.duration("timeout").unwrap_or(Duration::from_millis(200)),
            send_batch_max_size,
            metadata_keys: metadata_keys(section),
            metadata_cardinality_limit: section.number("metadata_cardinality_limit", 0..=most).unwrap_or(1000),
        }
    }
}

fn metadata_keys(section: &Section<'_>) -> Vec<String> {
    let keys = section.texts("metadata_keys").unwrap_or_default();
    let mut is_good = true;
    for (i, key) in keys.iter().enumerate() {
        if keys[..i].iter().any(|earlier| earlier.eq_ignore_ascii_case(key)) {
            is_good = false;
            section.check("metadata_keys", format!("duplicate entry \"{}\" (case-insensitive)", key.to_lowercase()));
        }
    }
    if is_good && !keys.is_empty() {
        let text = "is accepted and has no effect here: requests pass one by one, and what they came with is not kept";
        section.warn("metadata_keys", Code::NoEffect, text);
    }
    keys
}
