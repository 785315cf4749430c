//! SHA-256, of one thing or of several parts.
//!
//! Duty: hex digests. Guarantee: parts are framed by their length, so no two lists of parts have the same bytes.

use sha2::{Digest, Sha256};

/// Hash over several parts: each as its length (u32, little-endian) and its bytes.
#[derive(Debug, Default)]
pub(super) struct Parts(Sha256);

impl Parts {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn part(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.update(len.to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Of `bytes`, hex in lower case.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
