//! Hashes over several parts, and effect keys.
//!
//! Duty: the one form of a hash: each part as its length (u32, little-endian) and its bytes, a number as 8 bytes
//! little-endian. Guarantee: lists of parts of one form never give the same bytes. Left to others: what is hashed.

use sha2::{Digest as _, Sha256};

/// Adds a part.
pub fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    hash.update(bytes);
}

/// Adds a number.
pub fn number(hash: &mut Sha256, number: u64) {
    hash.update(number.to_le_bytes());
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The effect key of an attempt group: 26 characters of base32 (bpmn.md 10).
pub fn effect_key(engine_id: &[u8; 16], instance: u64, element: u64, group: u32) -> String {
    let mut hash = Sha256::new();
    part(&mut hash, engine_id);
    number(&mut hash, instance);
    number(&mut hash, element);
    number(&mut hash, u64::from(group));
    let mut text = base32(&hash.finalize());
    text.truncate(26);
    text
}

/// A number below 1,000,000 drawn from an effect key and an attempt: the same on every replay.
pub fn draw(effect_key: &str, attempt: u32) -> u64 {
    let mut hash = Sha256::new();
    part(&mut hash, effect_key.as_bytes());
    number(&mut hash, u64::from(attempt));
    let bytes = hash.finalize();
    bytes.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)) % 1_000_000
}

/// RFC 4648, lower case, no padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648() {
        let all = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base32(text.as_bytes()));
        assert_eq!(all, ["", "my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"]);
    }

    #[test]
    fn an_effect_key_has_26_characters_and_changes_with_every_part() {
        let key = effect_key(&[1; 16], 2, 3, 0);
        assert_eq!(key.len(), 26);
        let others = [effect_key(&[2; 16], 2, 3, 0), effect_key(&[1; 16], 3, 3, 0), effect_key(&[1; 16], 2, 4, 0)];
        assert!(!others.contains(&key) && effect_key(&[1; 16], 2, 3, 1) != key);
    }
}
