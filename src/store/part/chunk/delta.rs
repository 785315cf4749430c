//! Integers in Parquet's delta encoding.
//!
//! Duty: [`put`]. Guarantee: the same bytes as the encoder of the `parquet` crate makes of the same numbers. Left to
//! others: nulls, which are not among the numbers, and compression.
//!
//! Source: parquet-format, `Encodings.md`, "Delta Encoding" (`DELTA_BINARY_PACKED`).

/// Numbers that share a width.
const MINI: usize = 64;
/// Groups with a width each that share their smallest difference.
const MINIS: usize = 4;
const BLOCK: usize = MINI * MINIS;

/// Appends `numbers` of 64 bits.
pub(super) fn put(numbers: &[i64], out: &mut Vec<u8>) {
    let first = numbers.first().copied().unwrap_or(0);
    for number in [BLOCK as u64, MINIS as u64, numbers.len() as u64, zigzag(first)] {
        put_varint(number, out);
    }
    let mut before = first;
    for block in numbers.get(1..).unwrap_or_default().chunks(BLOCK) {
        let mut differences = [0; BLOCK];
        for (difference, number) in differences.iter_mut().zip(block) {
            *difference = number.wrapping_sub(before);
            before = *number;
        }
        let differences = &differences[..block.len()];
        let least = differences.iter().copied().min().unwrap_or(0);
        put_varint(zigzag(least), out);
        let widths = out.len();
        out.extend_from_slice(&[0; MINIS]);
        for (at, mini) in differences.chunks(MINI).enumerate() {
            let above = |difference: i64| difference.wrapping_sub(least).cast_unsigned();
            let most = above(mini.iter().copied().max().unwrap_or(least));
            let width = u64::BITS - most.leading_zeros();
            out[widths + at] = width as u8;
            pack(mini.iter().map(|difference| above(*difference)), width, out);
        }
    }
}

/// One group of at most [`MINI`] numbers, filled up with zeros.
#[inline]
fn pack(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let end = out.len() + MINI / 8 * width as usize;
    let (mut bits, mut filled) = (0u128, 0);
    for number in numbers {
        bits |= u128::from(number) << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= u64::BITS;
            filled -= u64::BITS;
        }
    }
    out.extend_from_slice(&(bits as u64).to_le_bytes());
    out.resize(end, 0);
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
