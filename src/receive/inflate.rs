//! Content codings of a request, undone into reserved memory (otlp.md G5, H7, L8, B4).
//!
//! Duty: from wire bytes to the message, in steps of at most 64 KiB, each reserved before it is made. Guarantee: output
//! never exceeds the limit nor what was reserved, so a bomb costs one step; truncated streams and bytes after the last
//! member are corrupt. Left to others: which codings a header names (`grpc`, `http`), status codes (`status`).

use std::io::Read;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::budget::Exhausted;
use crate::span;

use super::admit::STEP_BYTES;

/// First bytes of snappy's framing format.
const SNAPPY_FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// 8 MiB: the window a zstd frame may ask for.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
    Zlib,
    /// Block or framing format, told apart by the stream header.
    Snappy,
    SnappyFramed,
    Lz4,
}

/// Why a body did not become a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Corrupt(String),
    TooLarge,
    NoRoom(Exhausted),
}

impl Coding {
    /// `grpc-encoding`; `None` = not served. `deflate` is not: peers disagree on what it means.
    pub(super) fn of_grpc(name: &[u8]) -> Option<Self> {
        match name {
            b"identity" => Some(Self::Identity),
            b"gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            b"snappy" => Some(Self::SnappyFramed),
            _ => None,
        }
    }

    /// `Content-Encoding`, in any letter case; `None` = not served.
    pub(super) fn of_http(name: &str) -> Option<Self> {
        let known = [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("zstd", Self::Zstd),
            ("zlib", Self::Zlib),
            ("deflate", Self::Zlib),
            ("snappy", Self::Snappy),
            ("x-snappy-framed", Self::SnappyFramed),
            ("lz4", Self::Lz4),
        ];
        known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| *coding)
    }

    /// What the log calls this coding of `wire`, if it can hold it (storage.md 4.1).
    pub(super) fn of_log(self, wire: &[u8]) -> Option<span::Coding> {
        match self {
            Self::Identity => Some(span::Coding::Identity),
            Self::Gzip => Some(span::Coding::Gzip),
            Self::Zstd => Some(span::Coding::Zstd),
            Self::SnappyFramed => Some(span::Coding::SnappyFramed),
            Self::Snappy if wire.starts_with(SNAPPY_FRAMED) => Some(span::Coding::SnappyFramed),
            Self::Snappy | Self::Zlib | Self::Lz4 => None,
        }
    }
}

/// The message in `wire`, of at most `limit` bytes. `room` is asked before each step, with the bytes of it.
pub(super) fn inflate(
    coding: Coding,
    wire: &Bytes,
    limit: usize,
    room: impl FnMut(usize) -> Result<(), Exhausted>,
) -> Result<Bytes, Failed> {
    if coding == Coding::Identity {
        return if wire.len() > limit { Err(Failed::TooLarge) } else { Ok(wire.clone()) };
    }
    if wire.is_empty() {
        return Err(Failed::Corrupt("no bytes where a compressed stream is due".to_owned()));
    }
    let mut out = Output { bytes: Vec::new(), limit, room };
    let mut rest: &[u8] = wire;
    match coding {
        Coding::Identity => {}
        Coding::Gzip => out.read_all(&mut flate2::bufread::MultiGzDecoder::new(rest))?,
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(rest).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(corrupt)?;
            out.read_all(&mut decoder)?;
        }
        Coding::Zlib => out.zlib(rest)?,
        Coding::Snappy if !wire.starts_with(SNAPPY_FRAMED) => return out.snappy_block(rest),
        Coding::Snappy | Coding::SnappyFramed => out.read_all(&mut snap::read::FrameDecoder::new(rest))?,
        Coding::Lz4 => {
            // The decoder stops at the end of a frame; another one may follow.
            while !rest.is_empty() {
                out.read_all(&mut lz4_flex::frame::FrameDecoder::new(Unended(&mut rest)))?;
            }
        }
    }
    Ok(out.bytes.into())
}

/// lz4_flex takes the end of input between two blocks for the end of the frame; here only the end mark is.
struct Unended<'a, 'b>(&'a mut &'b [u8]);

impl Read for Unended<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the frame is truncated"));
        }
        self.0.read(buf)
    }
}

fn corrupt(error: std::io::Error) -> Failed {
    Failed::Corrupt(error.to_string())
}

struct Output<R> {
    bytes: Vec<u8>,
    limit: usize,
    room: R,
}

impl<R: FnMut(usize) -> Result<(), Exhausted>> Output<R> {
    /// Makes reserved room for one step; its size, 0 at the limit.
    fn step(&mut self) -> Result<usize, Failed> {
        let step = STEP_BYTES.min(self.limit - self.bytes.len());
        if step > 0 {
            (self.room)(step).map_err(Failed::NoRoom)?;
            self.bytes.resize(self.bytes.len() + step, 0);
        }
        Ok(step)
    }

    fn read_all(&mut self, from: &mut impl Read) -> Result<(), Failed> {
        loop {
            let start = self.bytes.len();
            let step = self.step()?;
            if step == 0 {
                let over = from.read(&mut [0]).map_err(corrupt)?;
                return if over == 0 { Ok(()) } else { Err(Failed::TooLarge) };
            }
            let mut filled = start;
            while filled < self.bytes.len() {
                let n = from.read(&mut self.bytes[filled..]).map_err(corrupt)?;
                if n == 0 {
                    self.bytes.truncate(filled);
                    return Ok(());
                }
                filled += n;
            }
        }
    }

    /// flate2's reader takes a truncated zlib stream for a complete one, so the stream's end is asked for here.
    fn zlib(&mut self, wire: &[u8]) -> Result<(), Failed> {
        let mut inflater = Decompress::new(true);
        let mut spare = [0];
        loop {
            let start = self.bytes.len();
            let at_limit = self.step()? == 0;
            let target: &mut [u8] = if at_limit { &mut spare } else { &mut self.bytes[start..] };
            let mut filled = 0;
            loop {
                let (read, made) = (position(inflater.total_in()), inflater.total_out());
                let status = inflater
                    .decompress(&wire[read..], &mut target[filled..], FlushDecompress::None)
                    .map_err(|e| Failed::Corrupt(e.to_string()))?;
                let n = position(inflater.total_out() - made);
                filled += n;
                if at_limit && filled > 0 {
                    return Err(Failed::TooLarge);
                }
                if status == Status::StreamEnd {
                    if !at_limit {
                        self.bytes.truncate(start + filled);
                    }
                    let after = wire.len() - position(inflater.total_in());
                    return if after == 0 {
                        Ok(())
                    } else {
                        Err(Failed::Corrupt(format!("{after} bytes after the end of the stream")))
                    };
                }
                if filled == target.len() {
                    break;
                }
                if n == 0 && position(inflater.total_in()) == read {
                    return Err(Failed::Corrupt("the stream is truncated".to_owned()));
                }
            }
        }
    }

    fn snappy_block(mut self, wire: &[u8]) -> Result<Bytes, Failed> {
        let damaged = |e: snap::Error| Failed::Corrupt(e.to_string());
        // The declared length is judged before anything is allocated: 20 bytes may announce 4 GiB.
        let length = snap::raw::decompress_len(wire).map_err(damaged)?;
        if length > self.limit {
            return Err(Failed::TooLarge);
        }
        (self.room)(length).map_err(Failed::NoRoom)?;
        Ok(snap::raw::Decoder::new().decompress_vec(wire).map_err(damaged)?.into())
    }
}

fn position(n: u64) -> usize {
    usize::try_from(n).expect("offsets within a slice fit usize")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ALL: [Coding; 6] =
        [Coding::Gzip, Coding::Zstd, Coding::Zlib, Coding::Snappy, Coding::SnappyFramed, Coding::Lz4];

    fn deflated(coding: Coding, plain: &[u8]) -> Bytes {
        let level = flate2::Compression::fast();
        match coding {
            Coding::Identity => plain.to_vec(),
            Coding::Gzip => {
                let mut e = flate2::write::GzEncoder::new(Vec::new(), level);
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
            Coding::Zlib => {
                let mut e = flate2::write::ZlibEncoder::new(Vec::new(), level);
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(plain, 1).unwrap(),
            Coding::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            Coding::SnappyFramed => {
                let mut e = snap::write::FrameEncoder::new(Vec::new());
                e.write_all(plain).unwrap();
                e.into_inner().unwrap()
            }
            Coding::Lz4 => {
                let mut e = lz4_flex::frame::FrameEncoder::new(Vec::new());
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
        }
        .into()
    }

    fn undo(coding: Coding, wire: &Bytes, limit: usize) -> Result<Bytes, Failed> {
        inflate(coding, wire, limit, |_| Ok(()))
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from((i * i / 7) % 251).unwrap()).collect()
    }

    #[test]
    fn every_coding_gives_back_what_was_sent_up_to_the_limit_and_not_a_byte_more() {
        for coding in ALL {
            for len in [1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 300_000] {
                let plain = sample(len);
                let wire = deflated(coding, &plain);
                assert!(undo(coding, &wire, len).unwrap() == plain, "{coding:?} {len}");
                assert_eq!(undo(coding, &wire, len - 1), Err(Failed::TooLarge), "{coding:?} {len}");
            }
        }
    }

    #[test]
    fn a_truncated_stream_and_bytes_after_it_are_corrupt() {
        for coding in ALL {
            let wire = deflated(coding, &sample(200_000));
            for cut in [wire.len() - 1, wire.len() / 2, 3] {
                let got = undo(coding, &wire.slice(..cut), 1 << 20);
                assert!(matches!(got, Err(Failed::Corrupt(_))), "{coding:?} cut at {cut}: {:?}", got.map(|b| b.len()));
            }
            let mut longer = wire.to_vec();
            longer.extend_from_slice(b"more");
            let got = undo(coding, &longer.into(), 1 << 20);
            assert!(matches!(got, Err(Failed::Corrupt(_))), "{coding:?}: {:?}", got.map(|b| b.len()));
            assert!(matches!(undo(coding, &Bytes::new(), 9), Err(Failed::Corrupt(_))), "{coding:?}");
        }
    }

    #[test]
    fn members_and_frames_may_follow_each_other() {
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Lz4] {
            let two = [deflated(coding, b"ab"), deflated(coding, b"cd")].concat();
            assert_eq!(undo(coding, &two.into(), 100).unwrap(), "abcd", "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_step_that_has_no_room() {
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Zlib, Coding::SnappyFramed, Coding::Lz4] {
            let bomb = deflated(coding, &vec![0; 32 << 20]);
            let mut steps = 0;
            let got = inflate(coding, &bomb, 64 << 20, |bytes| {
                assert!(bytes <= STEP_BYTES);
                steps += 1;
                if steps > 4 { Err(Exhausted { bytes: 1 }) } else { Ok(()) }
            });
            assert_eq!((got, steps), (Err(Failed::NoRoom(Exhausted { bytes: 1 })), 5), "{coding:?}");
        }
    }

    #[test]
    fn a_snappy_block_that_announces_4_gib_is_refused_before_allocation() {
        let wire = Bytes::from_static(b"\xff\xff\xff\xff\x0f0123456789abcde");
        assert_eq!(inflate(Coding::Snappy, &wire, 64 << 20, |_| panic!("no step is due")), Err(Failed::TooLarge));
    }

    #[test]
    fn a_zstd_frame_that_asks_for_a_window_over_8_mib_is_corrupt() {
        let mut e = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        e.window_log(27).unwrap();
        e.write_all(&sample(1000)).unwrap();
        let wire = Bytes::from(e.finish().unwrap());
        assert!(matches!(undo(Coding::Zstd, &wire, 64 << 20), Err(Failed::Corrupt(_))));
    }
}
