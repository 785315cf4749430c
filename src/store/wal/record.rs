//! The record header (storage.md 4.2).
//!
//! Duty: 72 bytes before each payload, little-endian, and the two checks over them: CRC-32 (with the segment's salt) of
//! the header, XXH3-64 of the payload. Guarantee: a header that parses was written into this segment. Left to others:
//! what a payload holds (`payload.rs`), and what a record that does not parse means (`scan.rs`).

use twox_hash::XxHash3_64;

use crate::store::Lsn;

/// Length of the header; the payload follows, padded to 8.
pub const HEADER_BYTES: usize = 72;
/// First bytes of a record.
pub const MAGIC: &[u8; 4] = b"WGRC";

/// What the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An OTLP request as it arrived.
    OtlpProto = 1,
    /// An Arrow IPC stream of span batches.
    ArrowIpc = 2,
    /// Clean shutdown.
    Mark = 3,
}

/// What the header of a record says, and what its payload is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Position in the log.
    pub lsn: Lsn,
    /// Bytes of the payload in the file.
    pub stored_len: u32,
    /// Bytes of the payload once decompressed.
    pub decoded_len: u32,
    /// What the payload is.
    pub kind: Kind,
    /// Number of [`crate::span::Coding`].
    pub codec: u8,
    /// The daemon's or a run's own spans.
    pub own: bool,
    /// Number of spans in the payload.
    pub spans: u32,
    /// Store position, unix µs.
    pub ingest_us: i64,
    /// XXH3-64 of the payload.
    pub payload_xxh3: u64,
    /// Request identity; 0 = none.
    pub identity: u128,
    /// Tenant; 0 = default.
    pub dataset: u32,
    /// Place in the group that one sync made durable; `lsn - position` names the group.
    pub position: u32,
}

impl RecordHeader {
    /// The 72 bytes.
    pub fn encode(&self, salt: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.decoded_len.to_le_bytes());
        bytes[24] = self.kind as u8;
        bytes[25] = self.codec;
        bytes[26..28].copy_from_slice(&u16::from(self.own).to_le_bytes());
        bytes[28..32].copy_from_slice(&self.spans.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.ingest_us.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.payload_xxh3.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.identity.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.dataset.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.position.to_le_bytes());
        let crc = checksum(salt, &bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`; `None` unless magic and checksum fit and the kind is known.
    pub fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let crc = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        if &bytes[..4] != MAGIC || crc != checksum(salt, bytes) {
            return None;
        }
        Self::fields(bytes)
    }

    /// The fields, whatever the checksum says: for a segment whose salt is lost.
    pub(super) fn fields(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let kind = match bytes[24] {
            1 => Kind::OtlpProto,
            2 => Kind::ArrowIpc,
            3 => Kind::Mark,
            _ => return None,
        };
        Some(Self {
            lsn: u64_at(8),
            stored_len: u32_at(16),
            decoded_len: u32_at(20),
            kind,
            codec: bytes[25],
            own: bytes[26] & 1 == 1,
            spans: u32_at(28),
            ingest_us: i64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes")),
            payload_xxh3: u64_at(40),
            identity: u128::from_le_bytes(bytes[48..64].try_into().expect("sixteen bytes")),
            dataset: u32_at(64),
            position: u32_at(68),
        })
    }

    /// Bytes of header, payload and padding.
    pub fn total_len(&self) -> usize {
        HEADER_BYTES + padded(self.stored_len as usize)
    }

    /// The first lsn of the record's group.
    pub fn group_start(&self) -> Lsn {
        self.lsn.saturating_sub(Lsn::from(self.position))
    }
}

/// `len` rounded up to 8.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// XXH3-64 of a payload.
pub fn payload_hash(payload: &[u8]) -> u64 {
    XxHash3_64::oneshot(payload)
}

fn checksum(salt: u64, header: &[u8; HEADER_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&header[8..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            lsn: 0x0102_0304_0506_0708,
            stored_len: 0x1112_1314,
            decoded_len: 0x2122_2324,
            kind: Kind::OtlpProto,
            codec: 2,
            own: true,
            spans: 0x3132_3334,
            ingest_us: 0x4142_4344_4546_4748,
            payload_xxh3: payload_hash(b"payload"),
            identity: 0x5152_5354_5556_5758_6162_6364_6566_6768,
            dataset: 0,
            position: 3,
        }
    }

    #[test]
    fn the_header_has_the_bytes_of_the_specification() {
        let bytes = header().encode(9);
        assert_eq!(&bytes[..4], b"WGRC");
        let mut crc_over = 9_u64.to_le_bytes().to_vec();
        crc_over.extend(&bytes[8..]);
        assert_eq!(bytes[4..8], crc32fast::hash(&crc_over).to_le_bytes());
        assert_eq!(&bytes[8..16], b"\x08\x07\x06\x05\x04\x03\x02\x01");
        assert_eq!(&bytes[16..32], b"\x14\x13\x12\x11\x24\x23\x22\x21\x01\x02\x01\0\x34\x33\x32\x31");
        assert_eq!(&bytes[32..40], b"\x48\x47\x46\x45\x44\x43\x42\x41");
        assert_eq!(bytes[40..48], payload_hash(b"payload").to_le_bytes());
        assert_eq!(&bytes[48..64], b"\x68\x67\x66\x65\x64\x63\x62\x61\x58\x57\x56\x55\x54\x53\x52\x51");
        assert_eq!(&bytes[64..72], b"\0\0\0\0\x03\0\0\0");
        assert_eq!(RecordHeader::decode(&bytes, 9), Some(header()));
    }

    #[test]
    fn a_header_of_another_segment_or_with_a_flipped_bit_is_none() {
        let good = header().encode(9);
        assert_eq!(RecordHeader::decode(&good, 8), None);
        for at in 0..HEADER_BYTES {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert_eq!(RecordHeader::decode(&bad, 9), None, "byte {at}");
        }
    }
}
