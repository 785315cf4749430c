//! The segment file's name and header (storage.md 4.2).
//!
//! Duty: `{first_lsn:020}.wal` and its first 4096 bytes, little-endian. Guarantee: a header that parses has its checksum
//! right, and belongs to the file's name, node and store. Left to others: when a file gets its name (`writer.rs`).

use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::store::Lsn;

/// Length of the header; records begin behind it.
pub const HEADER_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"WGWAL001";
const VERSION: u16 = 1;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The first record's.
    pub first_lsn: Lsn,
    /// Last lsn before this segment that counts; what an older segment holds above it is void.
    pub prev_lsn: Lsn,
    /// Random; part of every record's checksum, so that foreign or older bytes never pass as records.
    pub salt: u64,
    /// Unix ns.
    pub created_ns: i64,
    /// `node.id`
    pub node: Ulid,
    /// The store of `VERSION`.
    pub store: Ulid,
}

impl SegmentHeader {
    /// The 4096 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_lsn.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.prev_lsn.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ns.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.node.to_bytes());
        bytes[64..80].copy_from_slice(&self.store.to_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` unless every byte of it is as [`SegmentHeader::encode`] writes it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let ulid_at = |at: usize| Ulid::from_bytes(bytes[at..at + 16].try_into().expect("sixteen bytes"));
        let header = Self {
            first_lsn: u64_at(16),
            prev_lsn: u64_at(24),
            salt: u64_at(32),
            created_ns: i64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes")),
            node: ulid_at(48),
            store: ulid_at(64),
        };
        // Magic, version, flags (none are known), checksum and zero rest at once.
        (header.encode() == bytes).then_some(header)
    }
}

/// `{dir}/{first_lsn:020}.wal`
pub fn path(dir: &Path, first_lsn: Lsn) -> PathBuf {
    dir.join(format!("{first_lsn:020}.wal"))
}

/// The first lsn that the name of a segment file tells; `None` for other files.
pub fn lsn_of(path: &Path) -> Option<Lsn> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            first_lsn: 7,
            prev_lsn: 6,
            salt: 0x0123_4567_89ab_cdef,
            created_ns: 1_700_000_000_000_000_000,
            node: Ulid(1),
            store: Ulid(2),
        }
    }

    #[test]
    fn the_header_has_the_bytes_of_the_specification() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(&bytes[..12], b"WGWAL001\x01\0\0\0");
        assert_eq!(&bytes[16..40], b"\x07\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\xef\xcd\xab\x89\x67\x45\x23\x01");
        assert_eq!(bytes[40..48], 1_700_000_000_000_000_000_i64.to_le_bytes());
        assert_eq!((bytes[63], bytes[79]), (1, 2), "ULIDs are big-endian, as their text is");
        assert!(bytes[80..].iter().all(|b| *b == 0));
        let mut without = bytes.clone();
        without[12..16].fill(0);
        assert_eq!(bytes[12..16], crc32fast::hash(&without).to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Some(header()));
    }

    #[test]
    fn a_header_with_any_other_byte_is_none() {
        let good = header().encode();
        for at in [0, 8, 10, 12, 16, 32, 48, 80, 4095] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(SegmentHeader::decode(&bad), None, "byte {at}");
        }
        assert_eq!(SegmentHeader::decode(&good[..4095]), None);
    }

    #[test]
    fn names_sort_as_numbers_do() {
        assert_eq!(path(Path::new("wal"), 42), Path::new("wal/00000000000000000042.wal"));
        assert_eq!(lsn_of(Path::new("wal/00000000000000000042.wal")), Some(42));
        assert_eq!(lsn_of(Path::new("wal/next.tmp")), None);
        assert_eq!(lsn_of(Path::new("wal/42.wal")), None);
    }
}
