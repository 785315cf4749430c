//! From a logged request body to columns again.
//!
//! Duty: the decoder that replay uses for records of kind 1. Guarantee: only the wire grammar and the fixed ceilings
//! judge, so a changed configuration loses nothing that was acknowledged (storage.md 4.5); no more bytes come out of a
//! body than its record header says. Left to others: all of the decoding (`otlp`).

use std::sync::Arc;

use super::wal::payload::Decode;
use crate::otlp::{self, Limits, SpanBuilder};
use crate::span::{Coding, SpanBatch};

/// Decodes OTLP trace requests.
pub fn otlp() -> Decode {
    Arc::new(|| {
        let mut builder = SpanBuilder::default();
        Box::new(move |body, coding, decoded_len| request(body, coding, decoded_len, &mut builder))
    })
}

fn request(
    body: &[u8],
    coding: Coding,
    decoded_len: usize,
    builder: &mut SpanBuilder,
) -> Result<Vec<SpanBatch>, String> {
    let unpacked;
    let message = match coding {
        Coding::Identity => body,
        _ => {
            unpacked = decompress(body, coding, decoded_len)?;
            &unpacked
        }
    };
    let decoded = otlp::decode(message, &Limits::fixed(), builder).map_err(|e| e.to_string())?;
    match decoded.rejected.first() {
        None => Ok(decoded.batches),
        // A request with a rejected span is logged as columns (storage.md 3).
        Some(rejected) => Err(format!("{}: {}", rejected.path, rejected.detail)),
    }
}

/// The message of a body whose length once decompressed is known.
fn decompress(body: &[u8], coding: Coding, decoded_len: usize) -> Result<Vec<u8>, String> {
    let message = otlp::compress::decompress(coding, body, decoded_len).map_err(|e| e.to_string())?;
    match message.len() == decoded_len {
        true => Ok(message),
        false => Err(format!("{coding:?}: the message does not have the {decoded_len} bytes of its header")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(coding: Coding, message: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Identity => message.to_vec(),
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(message).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(message, 1).unwrap(),
            Coding::SnappyFramed => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(message).unwrap();
                encoder.into_inner().unwrap()
            }
            Coding::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(message).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn a_body_in_any_coding_is_the_message_and_never_longer_than_its_header_says() {
        let message: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        for coding in [Coding::Gzip, Coding::Zstd, Coding::SnappyFramed, Coding::Lz4] {
            let body = packed(coding, &message);
            assert_eq!(decompress(&body, coding, message.len()).unwrap(), message, "{coding:?}");
            assert!(decompress(&body, coding, message.len() - 1).is_err(), "{coding:?}");
            assert!(decompress(&body, coding, message.len() + 1).is_err(), "{coding:?}");
            assert!(decompress(&body[..body.len() / 2], coding, message.len()).is_err(), "{coding:?}");
        }
        // Two members, as some clients send.
        let mut two = packed(Coding::Gzip, b"ab");
        two.extend(packed(Coding::Gzip, b"cd"));
        assert_eq!(decompress(&two, Coding::Gzip, 4).unwrap(), b"abcd");
    }

    #[test]
    fn a_logged_request_decodes_to_the_batches_it_was_logged_with() {
        // One ResourceSpans with one ScopeSpans with one span: ids and a name.
        let mut span = vec![0x0a, 16];
        span.extend([7; 16]);
        span.extend([0x12, 8]);
        span.extend([9; 8]);
        span.extend([0x2a, 4]);
        span.extend(b"name");
        let nest = |inner: Vec<u8>, tag: u8| [vec![tag, u8::try_from(inner.len()).unwrap()], inner].concat();
        let message = nest(nest(nest(span, 0x12), 0x12), 0x0a);
        let first = otlp::decode(&message, &Limits::default(), &mut SpanBuilder::default()).unwrap();
        let mut decoder = otlp()();
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::SnappyFramed] {
            let again = decoder(&packed(coding, &message), coding, message.len()).unwrap();
            assert_eq!(again, first.batches, "{coding:?}");
        }
        assert!(decoder(&message[..20], Coding::Identity, 20).is_err());
    }
}
