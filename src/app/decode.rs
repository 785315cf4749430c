//! The decoder that receivers use: one [`SpanBuilder`] per thread that decodes.

use std::sync::{Arc, Mutex};

use crate::otlp::{self, SpanBuilder};
use crate::receive::{Decode, Format};

/// Builders at rest beyond this are let go, so that a burst does not keep its memory.
const MAX_IDLE: usize = 8;

/// Reads OTLP requests in both encodings.
pub fn otlp() -> Decode {
    let idle: Arc<Mutex<Vec<SpanBuilder>>> = Arc::default();
    Decode::new(move |format, body, limits, strict, room| {
        let mut builder = idle.lock().expect("no holder of this lock panics").pop().unwrap_or_default();
        let decoded = match format {
            Format::Protobuf => otlp::decode_within(body, limits, room, &mut builder),
            Format::Json => otlp::decode_json_within(body, limits, strict, room, &mut builder),
        };
        let mut idle = idle.lock().expect("no holder of this lock panics");
        if idle.len() < MAX_IDLE {
            idle.push(builder);
        }
        decoded
    })
}
