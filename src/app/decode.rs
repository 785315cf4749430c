//! The decoder that receivers use: one builder per thread that decodes.
//!
//! Duty: builders at rest between requests, so that a usual request finds its buffers grown and small ones share their
//! arrays. Guarantee: what they keep while nothing is decoded was made for columns of 32 MiB in all, whatever was sent
//! before; a request that may wait for room shares nothing, for a flush that makes room may wait for what is shared. Left
//! to others: decoding (`otlp`).

use std::sync::{Arc, Mutex};

use crate::otlp::{self, SharedBuilder, SpanBuilder};
use crate::receive::{Decode, Format, Reading};

/// Builders at rest beyond this are let go, so that a burst does not keep its memory.
const MAX_IDLE: usize = 8;
/// A request of more bytes, or with room for columns of more than twice as many, keeps its builder only if it became
/// columns as large as itself: what a builder holds beside them, for parts of two bytes, may be several times the request.
const SMALL_BYTES: u64 = 2 << 20;
/// And one whose columns were larger than this: its buffers stay as large as they became. What a Collector sends by
/// default, 8,192 spans, is 4 to 8 MiB, and its columns not much more.
const MAX_BYTES: u64 = 16 << 20;
/// What all at rest may have grown to.
const MAX_ALL_BYTES: u64 = 32 << 20;
/// A larger message becomes batches of its own.
const SHARED_BYTES: usize = 1 << 20;

/// A builder, and the bytes that it has grown to.
#[derive(Debug)]
struct Grown {
    builder: Arc<SharedBuilder>,
    bytes: u64,
}

impl Default for Grown {
    fn default() -> Self {
        Self { builder: SpanBuilder::shared(), bytes: 0 }
    }
}

/// Builders at rest: of requests that share nothing, and of those that share. They are never the same ones, for who looks
/// at rows that share waits for the builder, and must not wait for a request that itself waits for room.
#[derive(Debug, Default)]
struct Idle(Mutex<[Vec<Grown>; 2]>);

impl Idle {
    fn take(&self, shares: bool) -> Grown {
        self.0.lock().expect("no holder of this lock panics")[usize::from(shares)].pop().unwrap_or_default()
    }

    /// Keeps `grown`, which has just read `message` bytes into columns of `made`, for which room of `given` was there.
    fn keep(&self, mut grown: Grown, shares: bool, message: u64, given: u64, made: impl FnOnce() -> u64) {
        let is_small = message <= SMALL_BYTES && given <= 2 * SMALL_BYTES;
        let columns = if is_small { given } else { made() };
        grown.bytes = grown.bytes.max(message).max(columns).max(grown.builder.lock().block_bytes());
        if grown.bytes <= MAX_BYTES && (is_small || columns >= message) {
            let mut idle = self.0.lock().expect("no holder of this lock panics");
            let held: u64 = idle.iter().flatten().map(|grown| grown.bytes).sum();
            let idle = &mut idle[usize::from(shares)];
            if idle.len() < MAX_IDLE && held + grown.bytes <= MAX_ALL_BYTES {
                return idle.push(grown);
            }
        }
        // Else its buffers would stay until somebody looks at what it holds.
        grown.builder.lock().end_block();
    }
}

/// Reads OTLP requests in both encodings.
pub fn otlp() -> Decode {
    let idle = Arc::<Idle>::default();
    Decode::new(move |reading, body, room| {
        let Reading { format, limits, strict, may_wait } = reading;
        let shares = !may_wait && body.len() <= SHARED_BYTES;
        let grown = idle.take(shares);
        let mut most = 0;
        let mut room = |bytes| {
            let given = room(bytes)?;
            most = most.max(given);
            Some(given)
        };
        let decoded = {
            let mut builder = grown.builder.lock();
            let decoded = match format {
                Format::Protobuf => otlp::decode_within(body, limits, &mut room, &mut builder),
                Format::Json => otlp::decode_json_within(body, limits, strict, &mut room, &mut builder),
            };
            if !shares {
                builder.end_block();
            }
            decoded
        };
        let made =
            || decoded.as_ref().map_or(0, |done| done.batches.iter().map(|batch| batch.memory_bytes()).sum::<u64>());
        idle.keep(grown, shares, body.len() as u64, most, made);
        decoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_that_has_grown_large_is_not_kept() {
        let idle = Idle::default();
        let at_rest = || idle.0.lock().unwrap()[1].len();
        idle.keep(idle.take(true), true, 64 << 20, 128 << 20, || 64 << 20);
        idle.keep(idle.take(true), true, 100, 64 << 20, || 64 << 20);
        assert_eq!(at_rest(), 0);
        // What a thousand spans with ten attributes are.
        idle.keep(idle.take(true), true, 600 << 10, 1200 << 10, || 0);
        assert_eq!(at_rest(), 1);
        idle.take(true);
        assert_eq!(at_rest(), 0);
        (0..20).for_each(|_| idle.keep(Grown::default(), true, 1, 1, || 1));
        assert_eq!(at_rest(), MAX_IDLE);
    }

    #[test]
    fn a_request_that_may_wait_for_room_never_has_a_builder_that_others_share() {
        let idle = Idle::default();
        let shared = idle.take(true);
        let builder = shared.builder.clone();
        idle.keep(shared, true, 1, 1, || 1);
        assert!(!Arc::ptr_eq(&idle.take(false).builder, &builder));
        assert!(Arc::ptr_eq(&idle.take(true).builder, &builder));
    }

    #[test]
    fn builders_for_what_a_collector_sends_by_default_are_kept_within_a_limit_for_all() {
        let idle = Idle::default();
        let mib = || idle.0.lock().unwrap()[1].iter().map(|grown| grown.bytes >> 20).collect::<Vec<u64>>();
        (0..5).for_each(|_| idle.keep(Grown::default(), true, 7 << 20, 14 << 20, || 12 << 20));
        assert_eq!(mib(), vec![12_u64, 12]);
        // It stays as large as it became, also when what it reads next is small.
        idle.keep(idle.take(true), true, 100, 200, || 100);
        assert_eq!(mib(), vec![12_u64, 12]);
        idle.keep(idle.take(true), true, 8 << 20, 18 << 20, || 17 << 20);
        assert_eq!(mib(), vec![12_u64]);
        // Six MiB that became next to no columns.
        idle.keep(idle.take(true), true, 6 << 20, 12 << 20, || 20 << 10);
        assert!(mib().is_empty());
    }
}
