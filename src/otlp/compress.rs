//! Content codings of a request, undone in bounded steps (otlp.md G5, H7, H8, L8).
//!
//! Duty: the closed set of codings, their names in headers, and [`Decoder`], which is fed wire bytes as they come.
//! Guarantee: a step appends at most [`STEP_BYTES`], so a caller can reserve memory before each; output never exceeds
//! the cap by more than one step; a stream that is cut off, damaged or followed by other bytes is corrupt. Left to
//! others: reading the wire and reserving (`receive`), status codes.

mod deflate;
mod lz4;
mod snappy;
mod zstd;

use crate::error::Class;
use crate::span;

use deflate::{Gzip, Zlib};
use lz4::Lz4;
use snappy::{Snappy, SnappyFramed};
use zstd::Zstd;

/// The most that one [`Decoder::step`] appends.
pub const STEP_BYTES: usize = 64 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Not compressed.
    Identity,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames, skippable ones included; windows up to 8 MiB.
    Zstd,
    /// RFC 1950; HTTP's `deflate` means the same.
    Zlib,
    /// Snappy: block or framing format, told apart by the stream header.
    Snappy,
    /// Snappy's framing format only.
    SnappyFramed,
    /// LZ4 frame format, one or more frames.
    Lz4,
}

impl Coding {
    /// All codings, as `Content-Encoding` names them, without the second names.
    pub const ALL: [Self; 7] =
        [Self::Identity, Self::Gzip, Self::Zstd, Self::Zlib, Self::Snappy, Self::SnappyFramed, Self::Lz4];

    /// The name in HTTP headers and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Zlib => "zlib",
            Self::Snappy => "snappy",
            Self::SnappyFramed => "x-snappy-framed",
            Self::Lz4 => "lz4",
        }
    }

    /// One value of `Content-Encoding`, in any letter case (H7); `None` if it is not served.
    pub fn parse_http(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::Identity);
        }
        if name.eq_ignore_ascii_case("deflate") {
            return Some(Self::Zlib);
        }
        Self::ALL.into_iter().find(|coding| coding.as_str().eq_ignore_ascii_case(name))
    }

    /// The value of `grpc-encoding` (G5); `None` if it is not served. `snappy` is the framing format there.
    pub fn parse_grpc(name: &str) -> Option<Self> {
        match name {
            "identity" => Some(Self::Identity),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "snappy" => Some(Self::SnappyFramed),
            _ => None,
        }
    }

    /// What the log calls this coding of `wire`, if it can hold it as it came (storage.md 4.1).
    pub fn to_logged(self, wire: &[u8]) -> Option<span::Coding> {
        match self {
            Self::Identity => Some(span::Coding::Identity),
            Self::Gzip => Some(span::Coding::Gzip),
            Self::Zstd => Some(span::Coding::Zstd),
            Self::SnappyFramed => Some(span::Coding::SnappyFramed),
            Self::Snappy if wire.starts_with(snappy::STREAM_HEADER) => Some(span::Coding::SnappyFramed),
            Self::Snappy | Self::Zlib | Self::Lz4 => None,
        }
    }
}

impl From<span::Coding> for Coding {
    fn from(coding: span::Coding) -> Self {
        match coding {
            span::Coding::Identity => Self::Identity,
            span::Coding::Gzip => Self::Gzip,
            span::Coding::Zstd => Self::Zstd,
            span::Coding::SnappyFramed => Self::SnappyFramed,
            span::Coding::Lz4 => Self::Lz4,
        }
    }
}

/// Why a body did not become a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message is longer than allowed.
    #[error("the body has more than {max} bytes once decompressed; send fewer spans in one request")]
    TooLarge {
        /// The cap in bytes.
        max: usize,
    },
    /// The bytes are no complete stream of their coding.
    #[error("the {coding} stream is corrupt at byte {offset}: {detail}", coding = coding.as_str())]
    Corrupt {
        /// What was to be undone.
        coding: Coding,
        /// How many bytes of the wire had been taken.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
}

impl Error {
    /// What the sender can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } => Class::TooLarge,
            Self::Corrupt { .. } => Class::Invalid,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Output was appended; there may be more without further input.
    Output,
    /// All input is taken and nothing is pending.
    NeedInput,
}

/// A stream being decompressed: feed it, then [`Decoder::finish`] it.
#[derive(Debug)]
pub struct Decoder {
    coding: Coding,
    max: usize,
    taken: u64,
    made: usize,
    stream: Stream,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Identity,
    Gzip(Box<Gzip>),
    Zlib(Box<Zlib>),
    Zstd(Box<Zstd>),
    Snappy(Snappy),
    SnappyFramed(Box<SnappyFramed>),
    Lz4(Box<Lz4>),
}

impl Decoder {
    /// A decoder whose output may have `max` bytes.
    pub fn new(coding: Coding, max: usize) -> Self {
        let stream = match coding {
            Coding::Identity => Stream::Identity,
            Coding::Gzip => Stream::Gzip(Box::default()),
            Coding::Zlib => Stream::Zlib(Box::default()),
            Coding::Zstd => Stream::Zstd(Box::default()),
            Coding::Snappy => Stream::Snappy(Snappy::default()),
            Coding::SnappyFramed => Stream::SnappyFramed(Box::default()),
            Coding::Lz4 => Stream::Lz4(Box::default()),
        };
        Self { coding, max, taken: 0, made: 0, stream, scratch: Vec::new() }
    }

    /// Takes some of `input` and appends up to [`STEP_BYTES`] to `out`, which grows by no more than it must.
    ///
    /// `out` is to keep what earlier steps appended: some codings copy from it. Errors: more than the cap, or corrupt;
    /// the decoder is of no use afterwards.
    pub fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Progress, Error> {
        // One byte above the cap tells a message of exactly the cap from a longer one.
        let left = self.max.saturating_sub(self.made).saturating_add(1);
        let window = Window { room: left.min(STEP_BYTES), left, max: self.max };
        let scratch = &mut self.scratch;
        let (start, available) = (out.len(), input.len());
        let done = match &mut self.stream {
            Stream::Identity => {
                let (now, later) = input.split_at(window.room.min(input.len()));
                grow(out, now.len(), left);
                out.extend_from_slice(now);
                *input = later;
                Ok(())
            }
            Stream::Snappy(stream) => stream.step(input, out, scratch, window),
            Stream::Lz4(stream) => stream.step(input, out, window),
            Stream::Gzip(stream) => fill(scratch, out, window, |target| stream.step(input, target)),
            Stream::Zlib(stream) => fill(scratch, out, window, |target| stream.step(input, target)),
            Stream::Zstd(stream) => fill(scratch, out, window, |target| stream.step(input, target)),
            Stream::SnappyFramed(stream) => fill(scratch, out, window, |target| stream.step(input, target)),
        };
        self.taken += (available - input.len()) as u64;
        self.made += out.len() - start;
        match done {
            Err(Damage::TooLarge) => Err(Error::TooLarge { max: self.max }),
            Err(Damage::Corrupt(detail)) => Err(self.corrupt(detail)),
            Ok(()) if self.made > self.max => {
                out.truncate(out.len() - (self.made - self.max));
                Err(Error::TooLarge { max: self.max })
            }
            Ok(()) if out.len() > start => Ok(Progress::Output),
            Ok(()) => Ok(Progress::NeedInput),
        }
    }

    /// Says whether the stream is complete once all input was fed.
    pub fn finish(self) -> Result<(), Error> {
        let complete = match &self.stream {
            Stream::Identity => true,
            Stream::Gzip(stream) => stream.is_complete(),
            Stream::Zlib(stream) => stream.is_complete(),
            Stream::Zstd(stream) => stream.is_complete(),
            Stream::Snappy(stream) => stream.is_complete(),
            Stream::SnappyFramed(stream) => stream.is_complete(),
            Stream::Lz4(stream) => stream.is_complete(),
        };
        if complete { Ok(()) } else { Err(self.corrupt("it ends early".to_owned())) }
    }

    fn corrupt(&self, detail: String) -> Error {
        Error::Corrupt { coding: self.coding, offset: self.taken, detail }
    }
}

/// A whole body that is there already, as the log's replay has it; at most `max` bytes come back.
pub fn decompress(coding: span::Coding, bytes: &[u8], max: usize) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new(coding.into(), max);
    let (mut input, mut out) = (bytes, Vec::new());
    while decoder.step(&mut input, &mut out)? == Progress::Output {}
    decoder.finish()?;
    Ok(out)
}

/// Why a stream cannot go on.
#[derive(Debug, PartialEq, Eq)]
enum Damage {
    TooLarge,
    Corrupt(String),
}

fn corrupt<T>(detail: impl ToString) -> Result<T, Damage> {
    Err(Damage::Corrupt(detail.to_string()))
}

/// How far one step may go.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Bytes this step may append.
    room: usize,
    /// Bytes all steps to come may append.
    left: usize,
    /// Bytes the message may have.
    max: usize,
}

/// Makes room for `step` bytes: doubles like any vector, but never beyond what the cap can use.
fn grow(out: &mut Vec<u8>, step: usize, left: usize) {
    if out.capacity() - out.len() < step {
        out.reserve_exact(out.len().max(STEP_BYTES).min(left).max(step));
    }
}

/// Lets `step` write up to `window.room` bytes into `scratch`; it says how many, and they are appended to `out`.
///
/// A buffer of our own costs a copy of what is made; writing behind `out` would cost clearing a whole step for each
/// piece of input, however small.
fn fill(
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
    window: Window,
    step: impl FnOnce(&mut [u8]) -> Result<usize, Damage>,
) -> Result<(), Damage> {
    if scratch.is_empty() {
        *scratch = vec![0; STEP_BYTES];
    }
    let made = step(&mut scratch[..window.room])?;
    grow(out, made, window.left);
    out.extend_from_slice(&scratch[..made]);
    Ok(())
}

#[cfg(test)]
mod tests;
