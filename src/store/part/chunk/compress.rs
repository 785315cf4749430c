//! Compressed pages.
//!
//! Duty: [`Compressor`], one for all chunks of a part: making the tables of one takes longer than compressing a small
//! page. Guarantee: the bytes are those of one zstd frame a page. Left to others: what is compressed.

use bytes::Bytes;
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;

/// Compresses pages at one level.
pub(super) struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    level: ZstdLevel,
    scratch: Vec<u8>,
    file: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(level: ZstdLevel) -> Result<Self, ParquetError> {
        let zstd = zstd::bulk::Compressor::new(level.compression_level())?;
        Ok(Self { zstd, level, scratch: Vec::new(), file: Vec::new() })
    }

    pub(super) fn level(&self) -> ZstdLevel {
        self.level
    }

    /// `levels` as they are and `values` compressed, if that is shorter.
    pub(super) fn page(&mut self, levels: &[u8], values: &[u8]) -> Result<(Bytes, bool), ParquetError> {
        self.compress(values)?;
        // The rule of the `parquet` crate, which counts the levels on one side only.
        let is_compressed = self.scratch.len() < levels.len() + values.len();
        let values = if is_compressed { &self.scratch } else { values };
        Ok((Bytes::from([levels, values].concat()), is_compressed))
    }

    /// All of `bytes`, compressed.
    pub(super) fn whole(&mut self, bytes: &[u8]) -> Result<Bytes, ParquetError> {
        self.compress(bytes)?;
        Ok(Bytes::copy_from_slice(&self.scratch))
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<(), ParquetError> {
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        self.zstd.compress_to_buffer(bytes, &mut self.scratch)?;
        Ok(())
    }

    /// Room for the bytes of a chunk, empty.
    pub(super) fn file(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.file)
    }

    /// Takes the room back.
    pub(super) fn reuse(&mut self, file: Bytes) {
        self.file = Vec::from(file);
        self.file.clear();
    }
}
