//! gzip (RFC 1952) and zlib (RFC 1950) streams.
//!
//! Duty: members one after the other, each with its header, its checksum and its length checked; one zlib stream.
//! Guarantee: header fields are read past, never kept, so none can take memory. Left to others: inflating (flate2).

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::{Damage, corrupt};

const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// One or more gzip members.
#[derive(Debug)]
pub(super) struct Gzip {
    part: Part,
    /// The first bytes of the part, where it is one of fixed size.
    hold: [u8; 10],
    held: usize,
    flags: u8,
    header: Hasher,
    inflate: Decompress,
    content: Hasher,
    members: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Fixed,
    ExtraLength,
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Content,
    Trailer,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            part: Part::Fixed,
            hold: [0; 10],
            held: 0,
            flags: 0,
            header: Hasher::new(),
            inflate: Decompress::new(false),
            content: Hasher::new(),
            members: 0,
        }
    }
}

impl Gzip {
    /// Bytes written to `target`; fewer than it holds only if all input was taken.
    pub(super) fn step(&mut self, input: &mut &[u8], target: &mut [u8]) -> Result<usize, Damage> {
        let mut filled = 0;
        loop {
            if self.part != Part::Content {
                let Some((&byte, rest)) = input.split_first() else { return Ok(filled) };
                *input = rest;
                self.frame(byte)?;
                continue;
            }
            if filled == target.len() {
                return Ok(filled);
            }
            let (status, taken, made) = inflate(&mut self.inflate, input, &mut target[filled..])?;
            self.content.update(&target[filled..filled + made]);
            *input = &input[taken..];
            filled += made;
            if status == Status::StreamEnd {
                self.enter(Part::Trailer);
            } else if taken == 0 && made == 0 {
                return if input.is_empty() { Ok(filled) } else { corrupt("the deflate stream makes no progress") };
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.part == Part::Fixed && self.held == 0 && self.members > 0
    }

    fn enter(&mut self, part: Part) {
        (self.part, self.held) = (part, 0);
    }

    /// Takes one byte of a header or trailer.
    fn frame(&mut self, byte: u8) -> Result<(), Damage> {
        if !matches!(self.part, Part::HeaderCrc | Part::Trailer) {
            self.header.update(&[byte]);
        }
        let size = match self.part {
            Part::Fixed => 10,
            Part::ExtraLength | Part::HeaderCrc => 2,
            Part::Trailer => 8,
            Part::Extra(_) | Part::Name | Part::Comment | Part::Content => {
                self.pass_over(byte);
                return Ok(());
            }
        };
        self.hold[self.held] = byte;
        self.held += 1;
        let first = self.held == 1 && self.part == Part::Fixed;
        if first && byte != 0x1f {
            return corrupt(if self.members == 0 {
                "it is no gzip member"
            } else {
                "other bytes follow the last member"
            });
        }
        if self.held < size { Ok(()) } else { self.complete() }
    }

    /// Takes one byte of a part that tells us nothing.
    fn pass_over(&mut self, byte: u8) {
        match self.part {
            Part::Extra(1) => self.next_header_part(EXTRA),
            Part::Extra(left) => self.part = Part::Extra(left - 1),
            Part::Name if byte == 0 => self.next_header_part(NAME),
            Part::Comment if byte == 0 => self.next_header_part(COMMENT),
            _ => {}
        }
    }

    /// Judges a part of fixed size that is all there.
    fn complete(&mut self) -> Result<(), Damage> {
        let hold = self.hold;
        let short = u16::from_le_bytes([hold[0], hold[1]]);
        match self.part {
            Part::Fixed if hold[1] != 0x8b => corrupt("it is no gzip member"),
            Part::Fixed if hold[2] != 8 => corrupt("its method is not deflate"),
            Part::Fixed if hold[3] & RESERVED != 0 => corrupt("a reserved flag is set"),
            Part::Fixed => {
                self.flags = hold[3];
                self.next_header_part(0);
                Ok(())
            }
            Part::ExtraLength => {
                if short > 0 {
                    self.enter(Part::Extra(usize::from(short)))
                } else {
                    self.next_header_part(EXTRA)
                }
                Ok(())
            }
            Part::HeaderCrc => {
                let sum = self.header.clone().finalize() & 0xffff;
                if sum != u32::from(short) {
                    return corrupt("the header's checksum is wrong");
                }
                self.next_header_part(HEADER_CRC);
                Ok(())
            }
            Part::Trailer => {
                let sum = u32::from_le_bytes([hold[0], hold[1], hold[2], hold[3]]);
                let length = u32::from_le_bytes([hold[4], hold[5], hold[6], hold[7]]);
                if self.content.clone().finalize() != sum {
                    return corrupt("the checksum is wrong");
                }
                // RFC 1952: the length modulo 2^32.
                if self.inflate.total_out() & 0xffff_ffff != u64::from(length) {
                    return corrupt("the length is wrong");
                }
                self.members += 1;
                self.inflate.reset(false);
                (self.header, self.content) = (Hasher::new(), Hasher::new());
                self.enter(Part::Fixed);
                Ok(())
            }
            Part::Extra(_) | Part::Name | Part::Comment | Part::Content => {
                unreachable!("parts without a fixed size do not complete")
            }
        }
    }

    /// Goes to the first optional part of the header behind the one with the flag `done`.
    fn next_header_part(&mut self, done: u8) {
        // In the order of the format, which is not the order of the bits.
        let order =
            [(EXTRA, Part::ExtraLength), (NAME, Part::Name), (COMMENT, Part::Comment), (HEADER_CRC, Part::HeaderCrc)];
        let from = order.iter().position(|(flag, _)| *flag == done).map_or(0, |at| at + 1);
        let next = order[from..].iter().find(|(flag, _)| self.flags & flag != 0);
        self.enter(next.map_or(Part::Content, |(_, part)| *part));
    }
}

/// One zlib stream.
#[derive(Debug)]
pub(super) struct Zlib {
    inflate: Decompress,
    complete: bool,
}

impl Default for Zlib {
    fn default() -> Self {
        Self { inflate: Decompress::new(true), complete: false }
    }
}

impl Zlib {
    /// Bytes written to `target`; fewer than it holds only if all input was taken.
    pub(super) fn step(&mut self, input: &mut &[u8], target: &mut [u8]) -> Result<usize, Damage> {
        let mut filled = 0;
        while filled < target.len() {
            if self.complete {
                return if input.is_empty() { Ok(filled) } else { corrupt("other bytes follow the stream") };
            }
            let (status, taken, made) = inflate(&mut self.inflate, input, &mut target[filled..])?;
            *input = &input[taken..];
            filled += made;
            if status == Status::StreamEnd {
                self.complete = true;
            } else if taken == 0 && made == 0 {
                return if input.is_empty() { Ok(filled) } else { corrupt("the deflate stream makes no progress") };
            }
        }
        Ok(filled)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }
}

/// One call of the inflater: its status, bytes taken and bytes made.
fn inflate(state: &mut Decompress, input: &[u8], target: &mut [u8]) -> Result<(Status, usize, usize), Damage> {
    let (taken, made) = (state.total_in(), state.total_out());
    let status = state.decompress(input, target, FlushDecompress::None).or_else(corrupt)?;
    let size = |n: u64| usize::try_from(n).expect("no more than the slice handed in");
    Ok((status, size(state.total_in() - taken), size(state.total_out() - made)))
}
