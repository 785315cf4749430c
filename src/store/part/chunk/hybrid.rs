//! Small numbers in Parquet's hybrid of runs and packed bits.
//!
//! Duty: [`put`], for dictionary indices, levels and flags. Guarantee: the same bytes as the encoder of the `parquet`
//! crate makes of the same numbers. Left to others: the prefix with width or length.
//!
//! Source: parquet-format, `Encodings.md`, "Run Length Encoding / Bit-Packing Hybrid".

use arrow::buffer::BooleanBuffer;

/// Numbers are packed in groups of so many.
const GROUP: usize = 8;
/// Groups of one packed run: more would need a longer header.
const PACKED_GROUPS: usize = 63;

/// Bits that the numbers up to `most` need.
pub(super) fn width(most: u32) -> u32 {
    u32::BITS - most.leading_zeros()
}

/// Appends `numbers`, each of at most `width` bits.
pub(super) fn put<T: Copy + PartialEq + Into<u32>>(numbers: &[T], width: u32, out: &mut Vec<u8>) {
    let mut rest = numbers;
    while let Some(&first) = rest.first() {
        if is_run(rest) {
            let run = rest.iter().take_while(|number| **number == first).count();
            put_run(first.into(), run, width, out);
            rest = &rest[run..];
            continue;
        }
        let mut groups = 0;
        let header = out.len();
        out.push(0);
        // A short rest of equal numbers is a run of its own only where no packed run is open.
        while groups < PACKED_GROUPS && !rest.is_empty() && (groups == 0 || rest.len() < GROUP || !is_run(rest)) {
            let (group, after) = rest.split_at(rest.len().min(GROUP));
            pack(group, width, out);
            rest = after;
            groups += 1;
        }
        out[header] = u8::try_from(groups << 1 | 1).expect("63 groups at most");
    }
}

/// Appends flags as [`put`] does with one bit each, without looking at each of them.
pub(super) fn put_flags(flags: &BooleanBuffer, out: &mut Vec<u8>) {
    let chunks = flags.bit_chunks();
    let words: Vec<u64> = chunks.iter_padded().chain([0]).collect();
    let count = flags.len();
    // Up to eight flags from `at`; what is behind the last is 0.
    let group = |at: usize| {
        let low = words[at / 64] >> (at % 64);
        let high = if at % 64 > 56 { words[at / 64 + 1] << (64 - at % 64) } else { 0 };
        (low | high) as u8
    };
    let is_run = |at: usize| match count - at {
        left @ ..GROUP => matches!(group(at), 0) || group(at) == (1 << left) - 1,
        _ => matches!(group(at), 0 | 0xff),
    };
    let mut at = 0;
    while at < count {
        if is_run(at) {
            let first = group(at) & 1 == 1;
            let mut end = at;
            while end < count && (words[end / 64] >> (end % 64) & 1 == 1) == first {
                let rest = words[end / 64] >> (end % 64);
                let run = if first { rest.trailing_ones() } else { rest.trailing_zeros() } as usize;
                end = (end + run.min(64 - end % 64)).min(count);
            }
            put_run(first.into(), end - at, 1, out);
            at = end;
            continue;
        }
        let mut groups = 0;
        let header = out.len();
        out.push(0);
        while groups < PACKED_GROUPS && at < count && (groups == 0 || count - at < GROUP || !is_run(at)) {
            out.push(group(at));
            at = (at + GROUP).min(count);
            groups += 1;
        }
        out[header] = u8::try_from(groups << 1 | 1).expect("63 groups at most");
    }
}

/// `count` times `number`, as [`put`] of so many.
pub(super) fn put_run(number: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    let mut header = count as u64 * 2;
    while header >= 0x80 {
        out.push(header as u8 | 0x80);
        header >>= 7;
    }
    out.push(header as u8);
    out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Whether the next group, or what is left of one, is one number.
#[inline]
fn is_run<T: Copy + PartialEq>(numbers: &[T]) -> bool {
    match numbers.first_chunk::<GROUP>() {
        Some(group) => group.iter().all(|number| *number == group[0]),
        None => numbers.iter().all(|number| *number == numbers[0]),
    }
}

/// One group, filled up with zeros.
#[inline]
fn pack<T: Copy + Into<u32>>(group: &[T], width: u32, out: &mut Vec<u8>) {
    if width <= 16 {
        let mut bits = 0u128;
        for (number, at) in group.iter().zip(0..) {
            bits |= u128::from((*number).into()) << (at * width);
        }
        out.extend_from_slice(&bits.to_le_bytes()[..width as usize]);
        return;
    }
    let (mut bits, mut filled) = (0u64, 0);
    for at in 0..GROUP {
        bits |= group.get(at).map_or(0, |number| u64::from((*number).into())) << filled;
        filled += width;
        while filled >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            filled -= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader makes of it, by the letter of the format.
    fn read(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let mut header = 0u64;
            for shift in (0..).step_by(7) {
                let (byte, rest) = bytes.split_first().unwrap();
                bytes = rest;
                header |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let of = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
            if header & 1 == 0 {
                let (value, rest) = bytes.split_at(width.div_ceil(8) as usize);
                numbers.extend(std::iter::repeat_n(of(value), usize::try_from(header >> 1).unwrap()));
                bytes = rest;
                continue;
            }
            let (packed, rest) = bytes.split_at((header >> 1) as usize * width as usize);
            let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
            for number in 0..(header >> 1) as usize * 8 {
                numbers.push((0..width as usize).map(|at| bit(number * width as usize + at) << at).sum());
            }
            bytes = rest;
        }
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        numbers.truncate(count);
        numbers
    }

    #[test]
    fn what_is_put_is_read_back_at_every_width() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        for bits in 0..=32 {
            for round in 0..40 {
                let mut numbers = Vec::new();
                while numbers.len() < round * 40 {
                    let number = if bits == 0 { 0 } else { next() >> (32 - bits).min(31) & (u32::MAX >> (32 - bits)) };
                    let run = if next().is_multiple_of(3) { next() % 30 + 1 } else { 1 };
                    numbers.extend(std::iter::repeat_n(number, run as usize));
                }
                let mut out = Vec::new();
                put(&numbers, bits, &mut out);
                assert_eq!(read(&out, bits, numbers.len()), numbers, "{bits} bits");
            }
        }
    }

    #[test]
    fn flags_are_put_as_numbers_of_one_bit_are() {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for round in 0..400 {
            let (length, longest) = (next() % 1500, [1, 3, 9, 70, 700][round % 5]);
            let mut flags = Vec::new();
            while flags.len() < length {
                flags.extend(std::iter::repeat_n(next().is_multiple_of(2), next() % longest + 1));
            }
            let from = next() % (flags.len() + 1);
            let (mut expected, mut out) = (Vec::new(), Vec::new());
            put(&flags[from..].iter().map(|flag| u8::from(*flag)).collect::<Vec<_>>(), 1, &mut expected);
            put_flags(&BooleanBuffer::from(flags.as_slice()).slice(from, flags.len() - from), &mut out);
            assert_eq!(out, expected, "{:?}", &flags[from..]);
        }
    }

    #[test]
    fn the_width_holds_the_largest_number() {
        assert_eq!([0, 1, 2, 3, 4, 255, 256, u32::MAX].map(width), [0, 1, 2, 2, 3, 8, 9, 32]);
    }
}
