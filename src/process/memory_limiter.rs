//! The `memory_limiter` processor (collector_config.md 12).
//!
//! Duty: its keys, read and checked. Guarantee: bounds that cannot work are refused as the Collector refuses them. Left
//! to others: refusing requests, which admission does from the one memory limit (`budget`, otlp.md B4).

use std::time::Duration;

use crate::yaml::{Code, Section};

/// A bound of the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// MiB.
    Mib(u64),
    /// Percent of the memory there is.
    Percent(u64),
}

/// Settings of `memory_limiter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimiter {
    /// How often usage is read.
    pub check_interval: Duration,
    /// Above it idle buffers are spilled.
    pub limit: Limit,
    /// Refusing starts this far below the limit.
    pub spike: Limit,
}

impl MemoryLimiter {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let check_interval = section.duration("check_interval").unwrap_or_default();
        if check_interval.is_zero() {
            section.check("check_interval", "must be greater than zero");
        }
        collector_gc(section);
        let (limit, spike) = bounds(section);
        no_effect(section, limit, spike);
        Self { check_interval, limit, spike }
    }
}

fn bounds(section: &Section<'_>) -> (Limit, Limit) {
    let mib = |key| section.number(key, 0..=u64::from(u32::MAX)).filter(|mib| *mib > 0);
    let percent = |key| section.number(key, 0..=100).filter(|percent| *percent > 0);
    let (limit_mib, limit_percent) = (mib("limit_mib"), percent("limit_percentage"));
    let (spike_mib, spike_percent) = (mib("spike_limit_mib"), percent("spike_limit_percentage"));
    if let Some(limit) = limit_mib {
        // MiB wins over percent.
        let spike = spike_mib.unwrap_or(limit / 5);
        if spike >= limit {
            section.check("spike_limit_mib", "must be smaller than limit_mib");
        }
        return (Limit::Mib(limit), Limit::Mib(spike));
    }
    let Some(limit) = limit_percent else {
        section.check_self("limit_mib or limit_percentage must be greater than zero");
        return (Limit::Mib(0), Limit::Mib(0));
    };
    if spike_percent.is_some_and(|spike| spike >= limit) {
        section.check("spike_limit_percentage", "must be smaller than limit_percentage");
    }
    (Limit::Percent(limit), Limit::Percent(spike_percent.unwrap_or(limit / 5)))
}

/// Whoever sets a limit expects it to hold.
fn no_effect(section: &Section<'_>, limit: Limit, spike: Limit) {
    let key = match (limit, spike) {
        (Limit::Mib(limit), Limit::Mib(spike)) if spike < limit => "limit_mib",
        (Limit::Percent(limit), Limit::Percent(spike)) if spike < limit => "limit_percentage",
        // That has been refused.
        _ => return,
    };
    let text = "is accepted and has no effect here: memory.limit bounds what requests in hand hold";
    section.warn(key, Code::NoEffect, text);
}

/// The keys that pace Go's garbage collector: checked, without effect.
fn collector_gc(section: &Section<'_>) {
    let read = |key, default| {
        section.no_effect(&[key]);
        section.duration(key).unwrap_or(Duration::from_secs(default))
    };
    let (min_soft, min_hard) =
        (read("min_gc_interval_when_soft_limited", 10), read("min_gc_interval_when_hard_limited", 0));
    let (max_soft, max_hard) =
        (read("max_gc_interval_when_soft_limited", 30), read("max_gc_interval_when_hard_limited", 30));
    if min_soft < min_hard {
        section
            .check("min_gc_interval_when_soft_limited", "must not be shorter than min_gc_interval_when_hard_limited");
    }
    for (key, max, min) in [
        ("max_gc_interval_when_soft_limited", max_soft, min_soft),
        ("max_gc_interval_when_hard_limited", max_hard, min_hard),
    ] {
        if !max.is_zero() && max < min {
            section.check(key, "must be zero or not shorter than the minimum interval");
        }
    }
}
