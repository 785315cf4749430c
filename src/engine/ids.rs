//! Ids of runs and steps as traces and spans (bpmn.md 15).
//!
//! Duty: trace and span ids from keys. Guarantee: the same key gives the same id for ever; never all zero. Left to
//! others: what a span says (`export`).

use bpmn::core::hash;
use sha2::{Digest as _, Sha256};

/// What a span of an activation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The run, or the activation itself.
    Whole,
    /// The zero-length span at the start of a run.
    Start,
    /// An attempt of its job.
    Attempt,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Start => "start",
            Self::Attempt => "attempt",
        }
    }
}

/// The trace of a root instance.
pub fn trace_id(engine_id: &[u8; 16], run: u64) -> [u8; 16] {
    let mut bytes = Sha256::new();
    hash::part(&mut bytes, b"weavergen/trace");
    hash::part(&mut bytes, engine_id);
    hash::number(&mut bytes, run);
    not_zero(bytes)
}

/// The span of a part of an activation (or of a run); `attempt` is 0 but for attempts.
pub fn span_id(engine_id: &[u8; 16], element: u64, part: Part, attempt: u64) -> [u8; 8] {
    let mut bytes = Sha256::new();
    hash::part(&mut bytes, b"weavergen/span");
    hash::part(&mut bytes, engine_id);
    hash::number(&mut bytes, element);
    hash::part(&mut bytes, part.as_str().as_bytes());
    hash::number(&mut bytes, attempt);
    not_zero(bytes)
}

fn not_zero<const N: usize>(bytes: Sha256) -> [u8; N] {
    let digest = bytes.finalize();
    let mut id = [0; N];
    id.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}

/// The attempt number that is unique over all jobs of an activation: the job's key and the attempt.
pub fn attempt_number(job: u64, attempt: u32) -> u64 {
    job.wrapping_shl(16) | u64::from(attempt)
}

/// W3C `traceparent` of an attempt.
pub fn traceparent(engine_id: &[u8; 16], run: u64, element: u64, job: u64, attempt: u32) -> String {
    let trace = hash::hex(&trace_id(engine_id, run));
    let span = hash::hex(&span_id(engine_id, element, Part::Attempt, attempt_number(job, attempt)));
    format!("00-{trace}-{span}-01")
}
