//! Snappy: the block format, the framing format, and telling them apart.
//!
//! Duty: both formats in bounded steps. Guarantee: a block's declared length is judged before anything is allocated
//! (H8), and a block decodes into the output itself, so it takes no other memory. Left to others: chunks of the framing
//! format and their checksums (snap).
//! Source: format_description.txt and framing_format.txt of google/snappy.

use std::io::Read;

use snap::read::FrameDecoder;

use super::{Damage, Window, corrupt, grow};

/// How a stream in the framing format begins.
pub(super) const STREAM_HEADER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";

/// Either format, told apart by [`STREAM_HEADER`].
#[derive(Debug, Default)]
pub(super) enum Snappy {
    /// Nothing is known yet.
    #[default]
    Start,
    /// This many bytes were those of the header.
    Header(usize),
    Block(Block),
    Framed(Box<SnappyFramed>),
}

impl Snappy {
    pub(super) fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        window: Window,
    ) -> Result<(), Damage> {
        loop {
            match self {
                Self::Start => *self = Self::Header(0),
                Self::Header(10) => {
                    let mut framed = Box::<SnappyFramed>::default();
                    framed.step(&mut &STREAM_HEADER[..], &mut [])?;
                    *self = Self::Framed(framed);
                }
                Self::Header(known) => {
                    let Some((byte, rest)) = input.split_first() else { return Ok(()) };
                    if *byte == STREAM_HEADER[*known] {
                        *known += 1;
                        *input = rest;
                    } else {
                        let mut block = Block::default();
                        let known = *known;
                        block.step(&mut &STREAM_HEADER[..known], out, window)?;
                        let made = block.made;
                        *self = Self::Block(block);
                        if made > 0 {
                            return Ok(());
                        }
                    }
                }
                Self::Block(block) => return block.step(input, out, window),
                Self::Framed(framed) => {
                    return super::fill(scratch, out, window, |target| framed.step(input, target));
                }
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Start => false,
            // Fewer than ten bytes, all of them the header's: the only such block is cut off.
            Self::Header(_) => false,
            Self::Block(block) => block.is_complete(),
            Self::Framed(framed) => framed.is_complete(),
        }
    }
}

/// The framing format: chunks.
pub(super) struct SnappyFramed {
    /// Whole chunks in, their content out.
    frames: FrameDecoder<Chunk>,
    /// The header of the chunk that is open, as far as it is there.
    header: [u8; 4],
    held: usize,
    /// Bytes of the open chunk still to come, and whether they count.
    left: usize,
    skipping: bool,
    started: bool,
}

/// A chunk as it is collected and read.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    read: usize,
    whole: bool,
}

impl Read for Chunk {
    fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
        let n = (&self.bytes[self.read..]).read(target)?;
        self.read += n;
        Ok(n)
    }
}

/// 64 KiB as snappy packs them at worst, and the checksum.
const MAX_CHUNK_BYTES: usize = 76_490 + 4;

impl Default for SnappyFramed {
    fn default() -> Self {
        let frames = FrameDecoder::new(Chunk::default());
        Self { frames, header: [0; 4], held: 0, left: 0, skipping: false, started: false }
    }
}

impl std::fmt::Debug for SnappyFramed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnappyFramed").field("held", &self.held).field("left", &self.left).finish_non_exhaustive()
    }
}

impl SnappyFramed {
    /// Bytes written to `target`; fewer than it holds only if all input was taken.
    pub(super) fn step(&mut self, input: &mut &[u8], target: &mut [u8]) -> Result<usize, Damage> {
        let mut filled = 0;
        loop {
            // A stream header has no content, so it needs no room.
            while self.frames.get_ref().whole && (filled < target.len() || self.header[0] == STREAM_HEADER[0]) {
                let n = self.frames.read(&mut target[filled..]).or_else(corrupt)?;
                filled += n;
                if n == 0 {
                    let chunk = self.frames.get_mut();
                    chunk.bytes.clear();
                    (chunk.read, chunk.whole) = (0, false);
                }
            }
            if self.frames.get_ref().whole {
                return Ok(filled);
            }
            if input.is_empty() {
                return Ok(filled);
            }
            self.collect(input)?;
        }
    }

    /// Takes what belongs to the open chunk.
    fn collect(&mut self, input: &mut &[u8]) -> Result<(), Damage> {
        if self.held < 4 {
            let (now, rest) = input.split_at((4 - self.held).min(input.len()));
            self.header[self.held..self.held + now.len()].copy_from_slice(now);
            self.held += now.len();
            *input = rest;
            if self.held < 4 {
                return Ok(());
            }
            self.open()?;
        }
        let (now, rest) = input.split_at(self.left.min(input.len()));
        *input = rest;
        self.left -= now.len();
        let chunk = self.frames.get_mut();
        if !self.skipping {
            chunk.bytes.extend_from_slice(now);
        }
        if self.left == 0 {
            chunk.whole = !self.skipping;
            self.held = 0;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Damage> {
        let [kind, a, b, c] = self.header;
        self.left = usize::try_from(u32::from_le_bytes([a, b, c, 0])).expect("24 bits");
        // 0x80 to 0xfe: padding and what later versions may add; a reader passes over it.
        self.skipping = matches!(kind, 0x80..=0xfe);
        if !self.started && kind != STREAM_HEADER[0] {
            return corrupt("it is no snappy stream in the framing format");
        }
        self.started = true;
        if !self.skipping {
            if self.left > MAX_CHUNK_BYTES {
                return corrupt(format!("a chunk announces {} bytes", self.left));
            }
            self.frames.get_mut().bytes.extend_from_slice(&self.header);
        }
        Ok(())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.started && self.held == 0 && !self.frames.get_ref().whole
    }
}

/// The block format.
#[derive(Debug, Default)]
pub(super) struct Block {
    state: State,
    /// What the block says of its own length, once that is known.
    length: Option<usize>,
    made: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Length { value: u64, shift: u32 },
    Tag,
    LiteralLength { value: usize, have: u32, want: u32 },
    Literal { left: usize },
    Offset { value: usize, have: u32, want: u32, length: usize },
    Copy { offset: usize, left: usize },
}

impl Default for State {
    fn default() -> Self {
        Self::Length { value: 0, shift: 0 }
    }
}

impl Block {
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>, window: Window) -> Result<(), Damage> {
        let mut room = window.room;
        loop {
            match self.state {
                State::Literal { left: 0 } | State::Copy { left: 0, .. } => self.state = State::Tag,
                State::Literal { left } => {
                    let n = left.min(room).min(input.len());
                    if n == 0 {
                        return Ok(());
                    }
                    let (now, rest) = input.split_at(n);
                    grow(out, n, window.left);
                    out.extend_from_slice(now);
                    *input = rest;
                    (self.made, room) = (self.made + n, room - n);
                    self.state = State::Literal { left: left - n };
                }
                State::Copy { offset, left } => {
                    let n = left.min(room);
                    if n == 0 {
                        return Ok(());
                    }
                    grow(out, n, window.left);
                    repeat(out, offset, n);
                    (self.made, room) = (self.made + n, room - n);
                    self.state = State::Copy { offset, left: left - n };
                }
                _ => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(()) };
                    *input = rest;
                    self.take(byte, window.max)?;
                }
            }
        }
    }

    /// Takes one byte that is not a literal's.
    fn take(&mut self, byte: u8, max: usize) -> Result<(), Damage> {
        let wide = usize::from(byte);
        self.state = match self.state {
            State::Length { value, shift } => {
                let value = value | u64::from(byte & 0x7f) << shift;
                if value > u64::from(u32::MAX) || (shift == 28 && byte >= 0x80) {
                    return corrupt("the length is above 32 bits");
                }
                if byte >= 0x80 {
                    State::Length { value, shift: shift + 7 }
                } else {
                    let length = usize::try_from(value).expect("32 bits");
                    if length > max {
                        return Err(Damage::TooLarge);
                    }
                    self.length = Some(length);
                    State::Tag
                }
            }
            State::Tag if self.is_complete() => return corrupt("other bytes follow the block"),
            State::Tag => match (byte & 3, wide >> 2) {
                (0, n @ 60..) => {
                    State::LiteralLength { value: 0, have: 0, want: u32::try_from(n - 59).expect("1 to 4") }
                }
                (0, n) => self.literal(n + 1)?,
                (1, n) => State::Offset { value: (n >> 3) << 8, have: 0, want: 1, length: (n & 7) + 4 },
                (2, n) => State::Offset { value: 0, have: 0, want: 2, length: n + 1 },
                (_, n) => State::Offset { value: 0, have: 0, want: 4, length: n + 1 },
            },
            State::LiteralLength { value, have, want } => {
                let value = value | wide << (8 * have);
                if have + 1 < want {
                    State::LiteralLength { value, have: have + 1, want }
                } else {
                    self.literal(value + 1)?
                }
            }
            State::Offset { value, have, want, length } => {
                let value = value | wide << (8 * have);
                if have + 1 < want {
                    State::Offset { value, have: have + 1, want, length }
                } else {
                    if value == 0 || value > self.made {
                        return corrupt(format!("a copy from {value} bytes back, {} are there", self.made));
                    }
                    self.within(length)?;
                    State::Copy { offset: value, left: length }
                }
            }
            State::Literal { .. } | State::Copy { .. } => unreachable!("these take no single bytes"),
        };
        Ok(())
    }

    fn literal(&self, length: usize) -> Result<State, Damage> {
        self.within(length)?;
        Ok(State::Literal { left: length })
    }

    fn within(&self, length: usize) -> Result<(), Damage> {
        let left = self.length.unwrap_or(0) - self.made;
        if length <= left { Ok(()) } else { corrupt("the content is longer than the block says") }
    }

    fn is_complete(&self) -> bool {
        self.length == Some(self.made)
    }
}

/// Appends `n` bytes that repeat those from `offset` back on, as LZ77 copies do: the source may run into the target.
pub(super) fn repeat(out: &mut Vec<u8>, offset: usize, n: usize) {
    let from = out.len() - offset;
    let mut left = n;
    while left > 0 {
        // What is there from `from` on is a whole number of periods, so each round can take twice as much.
        let now = left.min(out.len() - from);
        out.extend_from_within(from..from + now);
        left -= now;
    }
}
