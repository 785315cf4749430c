//! The `weavergen` exporter: the span store of this process (collector_config.md 14).
//!
//! Duty: deliveries into [`Store::append`], its errors into refusals. Guarantee: `Ok` only after the durable commit; a
//! store that is full, failing, stalled or defective is retryable, never permanent. Left to others: the store's settings
//! (section `storage`).

use crate::error::Class;
use crate::span::{Next, Refusal};
use crate::store::{Error, Store};
use crate::yaml::Section;

/// Hands deliveries to `store`.
pub fn next(store: Store) -> Next {
    Next::new(move |delivery| {
        let store = store.clone();
        Box::pin(async move { store.append(delivery).await.map(|_| ()).map_err(|error| refusal(&error)) })
    })
}

fn refusal(error: &Error) -> Refusal {
    let class = match error.class() {
        class @ (Class::Busy | Class::Unavailable | Class::Timeout | Class::TooLarge) => class,
        // A defect of ours is no reason for the sender to throw its spans away: it may fail but once.
        Class::Internal => Class::Unavailable,
        // What is wrong with the store's own files is not the sender's fault and may be repaired.
        Class::Invalid | Class::NotFound | Class::Conflict | Class::Denied => Class::Unavailable,
    };
    Refusal { class, reason: error.to_string(), label: error.label(), retry_after: error.retry_after() }
}

/// Checks the body: one key, `dataset`.
pub(super) fn check(section: &Section<'_>) {
    if section.text("dataset").is_some_and(|dataset| dataset != "default") {
        section.check("dataset", "only \"default\" is supported by weavergen yet");
    }
    for key in ["sending_queue", "retry_on_failure", "timeout"] {
        section.refuse(key, "is not used by this exporter: the durable commit is the queue; remove the key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_full_failing_or_stalled_is_retryable() {
        let detail = || "no space".to_owned();
        for error in [
            Error::Memory { limit_bytes: 1 },
            Error::FlushBehind { frozen: 5 },
            Error::LogFull { bytes: 1 },
            Error::DiskFull { detail: detail() },
            Error::Sync { detail: detail() },
            Error::Draining,
            Error::Internal { detail: detail() },
        ] {
            let refusal = refusal(&error);
            assert!(refusal.class.is_retryable(), "{error}");
            assert_eq!(refusal.label, error.label());
        }
        assert!(!refusal(&Error::TooLarge { bytes: 1 << 33 }).class.is_retryable());
    }
}
