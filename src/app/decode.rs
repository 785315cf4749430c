//! The decoder that receivers use: one [`SpanBuilder`] per thread that decodes.
//!
//! Duty: builders at rest between requests, so that a usual request finds its buffers grown. Guarantee: what they keep
//! while nothing is decoded is a few MiB, whatever was sent before. Left to others: decoding (`otlp`).

use std::sync::{Arc, Mutex};

use crate::otlp::{self, SpanBuilder};
use crate::receive::{Decode, Format};

/// Builders at rest beyond this are let go, so that a burst does not keep its memory.
const MAX_IDLE: usize = 8;
/// And those that have built from or made room for more bytes than this: their buffers stay as large as they became.
const MAX_BYTES: u64 = 2 << 20;

/// Builders at rest.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<SpanBuilder>>);

impl Idle {
    fn take(&self) -> SpanBuilder {
        self.0.lock().expect("no holder of this lock panics").pop().unwrap_or_default()
    }

    /// Keeps `builder`, which has just read `message` bytes into up to `columns`.
    fn keep(&self, builder: SpanBuilder, message: u64, columns: u64) {
        if message > MAX_BYTES || columns > 2 * MAX_BYTES {
            return;
        }
        let mut idle = self.0.lock().expect("no holder of this lock panics");
        if idle.len() < MAX_IDLE {
            idle.push(builder);
        }
    }
}

/// Reads OTLP requests in both encodings.
pub fn otlp() -> Decode {
    let idle = Arc::<Idle>::default();
    Decode::new(move |format, body, limits, strict, room| {
        let mut builder = idle.take();
        let mut columns = 0;
        let mut room = |bytes| {
            let given = room(bytes)?;
            columns = columns.max(given);
            Some(given)
        };
        let decoded = match format {
            Format::Protobuf => otlp::decode_within(body, limits, &mut room, &mut builder),
            Format::Json => otlp::decode_json_within(body, limits, strict, &mut room, &mut builder),
        };
        idle.keep(builder, body.len() as u64, columns);
        decoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_that_has_grown_large_is_not_kept() {
        let idle = Idle::default();
        let at_rest = || idle.0.lock().unwrap().len();
        idle.keep(idle.take(), 64 << 20, 0);
        idle.keep(idle.take(), 100, 64 << 20);
        assert_eq!(at_rest(), 0);
        // What a thousand spans with ten attributes are.
        idle.keep(idle.take(), 600 << 10, 1200 << 10);
        assert_eq!(at_rest(), 1);
        idle.take();
        assert_eq!(at_rest(), 0);
        (0..20).for_each(|_| idle.keep(SpanBuilder::new(), 1, 1));
        assert_eq!(at_rest(), MAX_IDLE);
    }
}
