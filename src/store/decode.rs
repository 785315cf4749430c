//! From a logged request body to columns again.
//!
//! Duty: the decoder that replay uses for records of kind 1. Guarantee: only the wire grammar and the fixed ceilings
//! judge, so a changed configuration loses nothing that was acknowledged (storage.md 4.5). Left to others: all of the
//! decoding (`otlp`).

use std::io::{self, Read as _};
use std::sync::Arc;

use super::wal::payload::Decode;
use crate::otlp::{Limits, SpanBuilder, decode};
use crate::span::Coding;

/// Decodes OTLP trace requests.
pub fn otlp() -> Decode {
    Arc::new(|| {
        let mut builder = SpanBuilder::new();
        Box::new(move |body, coding, decoded_len| {
            let message = decompress(body, coding, decoded_len).map_err(|error| error.to_string())?;
            let decoded = decode(&message, &Limits::fixed(), &mut builder).map_err(|error| error.to_string())?;
            Ok(decoded.batches)
        })
    })
}

/// The message in `body`, which has `decoded_len` bytes: more or fewer are damage.
fn decompress(body: &[u8], coding: Coding, decoded_len: usize) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(decoded_len.min(64 << 20));
    let limit = decoded_len as u64 + 1;
    match coding {
        Coding::Identity => message.extend_from_slice(body),
        Coding::Gzip => drop(flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut message)?),
        Coding::Zstd => drop(zstd::Decoder::new(body)?.take(limit).read_to_end(&mut message)?),
        Coding::SnappyFramed => drop(snap::read::FrameDecoder::new(body).take(limit).read_to_end(&mut message)?),
        Coding::Lz4 => drop(lz4_flex::frame::FrameDecoder::new(body).take(limit).read_to_end(&mut message)?),
    }
    if message.len() == decoded_len {
        return Ok(message);
    }
    Err(io::Error::other(format!("the body decompresses to {} bytes, {decoded_len} were logged", message.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coding_of_the_log_is_undone_and_another_length_is_damage() {
        let text = b"spans do not lie ".repeat(100);
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut encoder, &text).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        let mut snappy = Vec::new();
        snap::read::FrameEncoder::new(&text[..]).read_to_end(&mut snappy).unwrap();
        let lz4 = {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            io::Write::write_all(&mut encoder, &text).unwrap();
            encoder.finish().unwrap()
        };
        let bodies = [
            (Coding::Identity, text.clone()),
            (Coding::Gzip, gzip),
            (Coding::Zstd, zstd),
            (Coding::SnappyFramed, snappy),
            (Coding::Lz4, lz4),
        ];
        for (coding, body) in bodies {
            assert_eq!(decompress(&body, coding, text.len()).unwrap(), text, "{coding:?}");
            assert!(decompress(&body, coding, text.len() - 1).is_err(), "{coding:?}");
        }
    }
}
