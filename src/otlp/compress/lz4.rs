//! LZ4 frames.
//!
//! Duty: frames one after the other, skippable ones included, with header, block and content checksums checked.
//! Guarantee: a block of up to 4 MiB decodes in steps into the output itself and takes no other memory. Left to others:
//! the legacy format and dictionaries, which no OTLP client sends.
//! Source: lz4_Frame_format.md 1.6.4 and lz4_Block_format.md of lz4/lz4.

use std::hash::Hasher as _;

use twox_hash::XxHash32;

use super::snappy::repeat;
use super::{Damage, Window, corrupt, grow};

const MAGIC: u32 = 0x184D_2204;
const HISTORY_BYTES: usize = 64 << 10;

/// One or more frames.
#[derive(Debug)]
pub(super) struct Lz4 {
    part: Part,
    hold: Vec<u8>,
    frame: Frame,
    block: Block,
    frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Magic,
    SkipLength,
    Skip(usize),
    Descriptor,
    BlockSize,
    Stored,
    Packed,
    BlockChecksum,
    ContentChecksum,
}

/// What the descriptor of the open frame says.
#[derive(Debug, Default)]
struct Frame {
    linked: bool,
    block_checksum: bool,
    content_checksum: bool,
    content_size: Option<u64>,
    max_block_bytes: usize,
    made: u64,
    content: XxHash32,
}

/// The block that is open.
#[derive(Debug, Default)]
struct Block {
    /// Wire bytes still to come.
    left: usize,
    made: usize,
    sequence: Sequence,
    checksum: XxHash32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Sequence {
    #[default]
    Token,
    LiteralLength {
        value: usize,
        match_token: u8,
    },
    Literal {
        left: usize,
        match_token: u8,
    },
    OffsetLow {
        match_token: u8,
    },
    OffsetHigh {
        low: u8,
        match_token: u8,
    },
    MatchLength {
        value: usize,
        offset: usize,
    },
    Match {
        left: usize,
        offset: usize,
    },
}

impl Default for Lz4 {
    fn default() -> Self {
        Self { part: Part::Magic, hold: Vec::new(), frame: Frame::default(), block: Block::default(), frames: 0 }
    }
}

impl Lz4 {
    pub(super) fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>, window: Window) -> Result<(), Damage> {
        let Window { mut room, left, .. } = window;
        loop {
            match self.part {
                Part::Stored if self.block.left == 0 => self.end_block(),
                Part::Stored => {
                    let n = self.block.left.min(room).min(input.len());
                    if n == 0 {
                        return Ok(());
                    }
                    let now = self.block.take(input, n, &self.frame);
                    grow(out, n, left);
                    out.extend_from_slice(now);
                    self.made(out, n, &mut room)?;
                }
                Part::Packed => match self.packed(input, out, (room, left))? {
                    Some(0) => return Ok(()),
                    Some(n) => self.made(out, n, &mut room)?,
                    None => self.end_block(),
                },
                Part::Skip(0) => {
                    self.frames += 1;
                    self.part = Part::Magic;
                }
                Part::Skip(left) => {
                    let n = left.min(input.len());
                    if n == 0 {
                        return Ok(());
                    }
                    *input = &input[n..];
                    self.part = Part::Skip(left - n);
                }
                _ => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(()) };
                    *input = rest;
                    self.hold.push(byte);
                    self.held()?;
                }
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.part == Part::Magic && self.hold.is_empty() && self.frames > 0
    }

    /// Judges what is held, if it is a whole part.
    fn held(&mut self) -> Result<(), Damage> {
        if self.part == Part::Descriptor {
            return self.descriptor();
        }
        let Ok(bytes) = <[u8; 4]>::try_from(self.hold.as_slice()) else { return Ok(()) };
        let word = u32::from_le_bytes(bytes);
        self.hold.clear();
        let length = |word: u32| usize::try_from(word).expect("32 bits");
        match self.part {
            Part::Magic if word == MAGIC => self.part = Part::Descriptor,
            Part::Magic if (0x184D_2A50..=0x184D_2A5F).contains(&word) => self.part = Part::SkipLength,
            Part::Magic if self.frames == 0 => return corrupt("it is no lz4 frame"),
            Part::Magic => return corrupt("other bytes follow the last frame"),
            Part::SkipLength => self.part = Part::Skip(length(word)),
            Part::BlockSize if word == 0 => return self.end_content(),
            Part::BlockSize => {
                let size = length(word & 0x7fff_ffff);
                if size == 0 || size > self.frame.max_block_bytes {
                    return corrupt(format!(
                        "a block announces {size} bytes, its frame allows {}",
                        self.frame.max_block_bytes
                    ));
                }
                self.block = Block { left: size, ..Block::default() };
                self.part = if word >> 31 == 1 { Part::Stored } else { Part::Packed };
            }
            Part::BlockChecksum if word != self.block.checksum.finish_32() => {
                return corrupt("the checksum of a block is wrong");
            }
            Part::BlockChecksum => self.part = Part::BlockSize,
            Part::ContentChecksum if word != self.frame.content.finish_32() => {
                return corrupt("the checksum of the content is wrong");
            }
            Part::ContentChecksum => self.end_frame(),
            Part::Descriptor | Part::Skip(_) | Part::Stored | Part::Packed => {
                unreachable!("these parts are not four bytes")
            }
        }
        Ok(())
    }

    fn descriptor(&mut self) -> Result<(), Damage> {
        let flags = self.hold[0];
        if flags >> 6 != 1 || flags & 0b10 != 0 {
            return corrupt("the frame is of an unknown version");
        }
        if flags & 1 != 0 {
            return corrupt("the frame needs a dictionary");
        }
        let has_size = flags & 0b1000 != 0;
        let size = if has_size { 11 } else { 3 };
        if self.hold.len() < size {
            return Ok(());
        }
        let (said, told) = (&self.hold[..size - 1], self.hold[size - 1]);
        if (XxHash32::oneshot(0, said) >> 8) & 0xff != u32::from(told) {
            return corrupt("the checksum of a frame's header is wrong");
        }
        let max_block_bytes = match said[1] {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            other => return corrupt(format!("the frame's block size {other:#04x} does not exist")),
        };
        self.frame = Frame {
            linked: flags & 0b10_0000 == 0,
            block_checksum: flags & 0b1_0000 != 0,
            content_checksum: flags & 0b100 != 0,
            content_size: has_size.then(|| u64::from_le_bytes(said[2..10].try_into().expect("8 bytes"))),
            max_block_bytes,
            ..Frame::default()
        };
        self.hold.clear();
        self.part = Part::BlockSize;
        Ok(())
    }

    /// One turn of a packed block: bytes made, 0 if it needs input or room, `None` at its end.
    fn packed(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        (room, left): (usize, usize),
    ) -> Result<Option<usize>, Damage> {
        loop {
            let (frame, block) = (&self.frame, &mut self.block);
            match block.sequence {
                Sequence::Literal { left: 0, match_token } => {
                    // The last sequence is literals only.
                    if block.left == 0 {
                        return Ok(None);
                    }
                    block.sequence = Sequence::OffsetLow { match_token };
                }
                Sequence::Literal { left: want, match_token } => {
                    if want > block.left {
                        return corrupt("literals reach past the end of their block");
                    }
                    let n = want.min(room).min(input.len());
                    grow(out, n, left);
                    out.extend_from_slice(block.take(input, n, frame));
                    block.sequence = Sequence::Literal { left: want - n, match_token };
                    return Ok(Some(n));
                }
                Sequence::Match { left: 0, .. } => block.sequence = Sequence::Token,
                Sequence::Match { left: want, offset } => {
                    let n = want.min(room);
                    grow(out, n, left);
                    repeat(out, offset, n);
                    block.sequence = Sequence::Match { left: want - n, offset };
                    return Ok(Some(n));
                }
                _ if block.left == 0 => return corrupt("a block ends within a sequence"),
                _ if input.is_empty() => return Ok(Some(0)),
                _ => {
                    let byte = block.take(input, 1, frame)[0];
                    block.sequence = block.next(byte, frame)?;
                }
            }
        }
    }

    /// Counts `n` bytes that were appended.
    fn made(&mut self, out: &[u8], n: usize, room: &mut usize) -> Result<(), Damage> {
        *room -= n;
        self.block.made += n;
        self.frame.made += n as u64;
        if self.frame.content_checksum {
            self.frame.content.write(&out[out.len() - n..]);
        }
        if self.block.made > self.frame.max_block_bytes {
            return corrupt("a block is longer than its frame allows");
        }
        Ok(())
    }

    fn end_block(&mut self) {
        self.part = if self.frame.block_checksum { Part::BlockChecksum } else { Part::BlockSize };
    }

    fn end_content(&mut self) -> Result<(), Damage> {
        if self.frame.content_size.is_some_and(|size| size != self.frame.made) {
            return corrupt("the content is not as long as its frame says");
        }
        if self.frame.content_checksum {
            self.part = Part::ContentChecksum;
        } else {
            self.end_frame();
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        self.frames += 1;
        self.part = Part::Magic;
    }
}

impl Block {
    /// The next `n` wire bytes of the block.
    fn take<'a>(&mut self, input: &mut &'a [u8], n: usize, frame: &Frame) -> &'a [u8] {
        let (now, rest) = input.split_at(n);
        *input = rest;
        self.left -= n;
        if frame.block_checksum {
            self.checksum.write(now);
        }
        now
    }

    /// What follows `byte`, which is not a literal's.
    fn next(&self, byte: u8, frame: &Frame) -> Result<Sequence, Damage> {
        let wide = usize::from(byte);
        Ok(match self.sequence {
            Sequence::Token => match (wide >> 4, byte & 15) {
                (15, match_token) => Sequence::LiteralLength { value: 15, match_token },
                (left, match_token) => Sequence::Literal { left, match_token },
            },
            Sequence::LiteralLength { value, match_token } if byte == 255 => {
                Sequence::LiteralLength { value: value + wide, match_token }
            }
            Sequence::LiteralLength { value, match_token } => Sequence::Literal { left: value + wide, match_token },
            Sequence::OffsetLow { match_token } => Sequence::OffsetHigh { low: byte, match_token },
            Sequence::OffsetHigh { low, match_token } => {
                let offset = usize::from(u16::from_le_bytes([low, byte]));
                let there = if frame.linked {
                    usize::try_from(frame.made).unwrap_or(HISTORY_BYTES).min(HISTORY_BYTES)
                } else {
                    self.made
                };
                if offset == 0 || offset > there {
                    return corrupt(format!("a copy from {offset} bytes back, {there} are there"));
                }
                let value = usize::from(match_token) + 4;
                if match_token == 15 {
                    Sequence::MatchLength { value, offset }
                } else {
                    Sequence::Match { left: value, offset }
                }
            }
            Sequence::MatchLength { value, offset } if byte == 255 => {
                Sequence::MatchLength { value: value + wide, offset }
            }
            Sequence::MatchLength { value, offset } => Sequence::Match { left: value + wide, offset },
            Sequence::Literal { .. } | Sequence::Match { .. } => unreachable!("these take no single bytes"),
        })
    }
}
