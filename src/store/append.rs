//! The way of one append: a turn at the door, room, and the account of what became of it.
//!
//! Duty: pack a delivery for the log, queue it, wait until it is durable and visible; hold it up for a moment while a flush
//! makes room. Guarantee: what is refused is not stored and is counted, `offered = acked + failed` at every scrape; a repeat
//! is answered without room. Of a caller that goes away the record counts as what becomes of it, also where the log ends.
//! Left to others: the queue itself (`wal::door`), how many requests may wait here (`receive` reserves their memory
//! beforehand).

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::metrics::{self, Metrics};
use super::wal::door::{Entered, Offer};
use super::wal::next::Next;
use super::wal::payload::Payload;
use super::wal::record;
use super::wal::told::Answer;
use super::{Appended, Error, Inner, Lsn};
use crate::span::{Delivery, Origin, SpanBatch};

/// Messages and columns larger than this are packed for the log off the async threads.
const PACK_ELSEWHERE_BYTES: usize = 1 << 20;
/// How long an append waits for room that a flush under way is about to make: a burst is slowed down by it and not sent
/// away. Well below the 10 s that exporters wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

impl Inner {
    pub(super) async fn append(&self, delivery: Delivery, account: &mut Account) -> Result<Appended, Error> {
        let until = Instant::now() + PATIENCE;
        if delivery.identity == 0 {
            // Before any work; what has an identity may be a repeat, which needs no room.
            while let Some(error) = self.refusal() {
                self.room_after(error, until).await?;
            }
        }
        let mut offer = self.pack(delivery).await?;
        loop {
            match self.door.enter(offer, || self.refusal())? {
                Entered::Queued(queued) => {
                    let answer = account.queued.insert(queued).await;
                    return match answer.ok().flatten() {
                        Some(answer) => answer.map(stored),
                        None => {
                            // Its end counts nothing any more: who leaves now counts as one who was never queued.
                            account.queued = None;
                            Err(self.door.ended().await)
                        }
                    };
                }
                Entered::Stored => return Ok(Appended { lsn: 0, duplicate: true }),
                Entered::Waits(answer) => {
                    return match answer.await {
                        Ok(answer) => answer.map(|()| Appended { lsn: 0, duplicate: true }),
                        Err(_) => Err(self.door.ended().await),
                    };
                }
                Entered::Refused(again, error) => {
                    self.room_after(error, until).await?;
                    offer = *again;
                }
            }
        }
    }

    /// Waits until a flush has ended, if one that goes on can take `refusal` back before `until`.
    ///
    /// Errors: `refusal`.
    async fn room_after(&self, refusal: Error, until: Instant) -> Result<(), Error> {
        let passes = matches!(refusal, Error::FlushBehind { .. } | Error::LogFull { .. } | Error::Memory { .. });
        let mut flushed = self.flushed.clone();
        // One that failed is tried again later than anybody would wait.
        if !passes || flushed.borrow_and_update().error.is_some() {
            return Err(refusal);
        }
        if self.refusal().is_none() {
            // It ended between the refusal and here.
            return Ok(());
        }
        match tokio::time::timeout_at(until, flushed.changed()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(refusal),
        }
    }

    /// The record of a delivery.
    async fn pack(&self, delivery: Delivery) -> Result<Offer, Error> {
        let spans = u32::try_from(delivery.spans()).map_err(|_| Error::TooLarge { bytes: u64::MAX })?;
        let (identity, own) = (delivery.identity, delivery.origin == Origin::Own);
        let compress = self.config.wal_compress;
        let check = self.check.clone();
        let checked = move |batches: Vec<SpanBatch>| batches.into_iter().map(|batch| check.apply(batch)).collect();
        if self.next.is_none() {
            // `durability: memory` has no log.
            let (batches, payload) = (checked(delivery.batches), Payload::mark());
            return Ok(Offer { batches, payload, payload_xxh3: 0, identity, own, spans });
        }
        let work = move |delivery: Delivery| -> Result<Offer, Error> {
            let payload = Payload::of(&delivery, compress)?;
            let payload_xxh3 = record::payload_hash(&payload.bytes);
            Ok(Offer { batches: checked(delivery.batches), payload, payload_xxh3, identity, own, spans })
        };
        if work_bytes(&delivery) < PACK_ELSEWHERE_BYTES {
            return work(delivery);
        }
        let packed = tokio::task::spawn_blocking(move || work(delivery)).await;
        packed.map_err(|e| Error::Internal { detail: format!("packing a record failed: {e}") })?
    }

    /// Set once another process has become the writer of the store.
    pub(super) fn superseded(&self) -> Option<Error> {
        self.flushed.borrow().error.clone().filter(|error| matches!(error, Error::Superseded { .. }))
    }

    /// Why no append may start, if so (storage.md 8, 12.2, 14).
    pub(super) fn refusal(&self) -> Option<Error> {
        // The new writer has read the log: what would be added to it now it never learns of.
        if let Some(error) = self.superseded() {
            return Some(error);
        }
        if let Some(error) = self.next.as_ref().and_then(Next::refusal) {
            return Some(error);
        }
        let frozen = self.memtable.frozen();
        if frozen > self.config.max_frozen {
            return Some(Error::FlushBehind { frozen });
        }
        let bytes = self.memtable.log_bytes();
        if bytes > self.config.wal_max_bytes {
            return Some(Error::LogFull { bytes });
        }
        let limit_bytes = self.limits.memory_bytes;
        (self.memtable.bytes() > limit_bytes).then_some(Error::Memory { limit_bytes })
    }
}

/// How much is hashed, checked and perhaps compressed; of a body as it came the check goes over all that is in it.
fn work_bytes(delivery: &Delivery) -> usize {
    match &delivery.body {
        Some(body) => body.bytes.len().max(body.decoded_len as usize),
        None => delivery.batches.iter().map(|batch| usize::try_from(batch.memory_bytes()).unwrap_or(usize::MAX)).sum(),
    }
}

pub(super) fn stored(lsn: Lsn) -> Appended {
    Appended { lsn, duplicate: false }
}

/// Counts one append when its outcome is known, so that `offered = acked + failed` at every scrape.
pub(super) struct Account {
    metrics: Metrics,
    source: &'static str,
    spans: u64,
    open: bool,
    /// Where the answer to the queued record comes.
    queued: Option<oneshot::Receiver<Answer>>,
}

impl Account {
    pub(super) fn of(delivery: &Delivery, metrics: &Metrics) -> Self {
        let source = metrics::source(delivery.origin);
        Self { metrics: metrics.clone(), source, spans: delivery.spans() as u64, open: true, queued: None }
    }

    pub(super) fn close(&mut self, result: &Result<Appended, Error>) {
        self.open = false;
        match result {
            Ok(appended) => {
                self.metrics.stored(self.source, self.spans);
                if appended.duplicate {
                    self.metrics.duplicates.with_label_values(&["request"]).inc_by(self.spans);
                }
            }
            Err(error) => self.metrics.not_stored(self.source, self.spans, error),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // The caller went away.
        let answer = self.queued.take().map(|mut queued| {
            queued.close();
            queued.try_recv()
        });
        match answer {
            Some(Ok(Some(answer))) => self.close(&answer.map(stored)),
            // It was not queued, or the log has ended.
            None | Some(Ok(None)) => self.metrics.given_up(self.source, self.spans),
            // Who answers it finds nobody there, and counts it.
            Some(Err(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Coding, RequestBody};

    #[test]
    fn a_large_message_is_packed_elsewhere_however_short_it_came() {
        let of = |bytes: usize, coding, decoded_len| {
            let body = Some(RequestBody { bytes: vec![0_u8; bytes].into(), coding, decoded_len });
            work_bytes(&Delivery { batches: Vec::new(), body, identity: 1, origin: Origin::Received })
        };
        // A thousand spans with ten attributes, and a batch of a Collector under load.
        assert!(of(600 << 10, Coding::Identity, 600 << 10) < PACK_ELSEWHERE_BYTES);
        assert!(of(8 << 20, Coding::Identity, 8 << 20) >= PACK_ELSEWHERE_BYTES);
        assert!(of(100 << 10, Coding::Gzip, 8 << 20) >= PACK_ELSEWHERE_BYTES);
    }
}
