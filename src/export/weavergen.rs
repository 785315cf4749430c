//! The `weavergen` exporter: the span store of this process (collector_config.md 14).
//!
//! Duty: deliveries into [`Store::append`], its errors into refusals. Guarantee: `Ok` only after the durable commit; a
//! store that is full, failing, stalled or defective is retryable, never permanent; a request that comes through several
//! pipelines is no repeat of itself. Left to others: the store's settings (section `storage`).

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::error::Class;
use crate::span::{Delivery, Next, Refusal};
use crate::store::{Error, Store};
use crate::yaml::Section;

/// Hands deliveries to `store`.
pub fn next(store: Store) -> Next {
    Next::new(move |delivery| {
        let store = store.clone();
        Box::pin(async move { store.append(delivery).await.map(|_| ()).map_err(|error| refusal(&error)) })
    })
}

/// Hands what comes through `pipeline` for `exporter` to `store`, under the identity that it has there.
///
/// The seed is not the receiver's: of one that feeds two pipelines each stores its own spans, and a request that comes
/// again, if through another receiver of the pipeline, is known (storage.md 4.2, 11.3a).
pub fn of_pipeline(pipeline: &str, exporter: &str, store: Next) -> Next {
    let seed = seed(pipeline, exporter);
    Next::new(move |delivery: Delivery| {
        let identity = match delivery.identity {
            0 => 0,
            body => XxHash3_128::oneshot_with_seed(seed, &body.to_le_bytes()),
        };
        store.deliver(Delivery { identity, ..delivery })
    })
}

/// XXH3-64 of (dataset id, pipeline id, exporter id), each as design.md hashes parts; the dataset is the default one.
fn seed(pipeline: &str, exporter: &str) -> u64 {
    let mut bytes = 0_u64.to_le_bytes().to_vec();
    for part in [pipeline, exporter] {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    XxHash3_64::oneshot(&bytes)
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
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::Clock;
    use crate::store::samples;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_is_a_repeat_only_where_it_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = samples::store_at(dir.path(), Clock::manual(samples::NOW_NS, 1)).await;
        let found: Arc<Mutex<Vec<bool>>> = Arc::default();
        let told = {
            let (store, found) = (store.clone(), found.clone());
            Next::new(move |delivery| {
                let (store, found) = (store.clone(), found.clone());
                Box::pin(async move {
                    let appended = store.append(delivery).await.unwrap();
                    found.lock().unwrap().push(appended.duplicate);
                    Ok(())
                })
            })
        };
        let ways = [("traces", "weavergen"), ("traces/2", "weavergen"), ("traces", "weavergen/2")];
        let ways = ways.map(|(pipeline, exporter)| of_pipeline(pipeline, exporter, told.clone()));
        for (identity, want) in [(7, false), (7, true), (8, false), (0, false), (0, false)] {
            for way in &ways {
                way.deliver(Delivery { identity, ..samples::delivery(1, 2) }).await.unwrap();
            }
            assert_eq!(std::mem::take(&mut *found.lock().unwrap()), [want; 3], "identity {identity}");
        }
        let stored: usize = store.reader().view().memory.iter().map(|rows| rows.batch.rows()).sum();
        assert_eq!(stored, 2 * ways.len() * 4);
        store.close().await.unwrap();
    }

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
