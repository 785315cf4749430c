//! The bytes of one row group, for a reader of files.
//!
//! Duty: [`Piece`]. Guarantee: a page of the row group is found where the footer says, any other place is an error; no
//! more than the row group is in memory. Left to others: whether the bytes are those that were written (`check.rs`).

use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

/// What a file has from `from` on, as far as it was read; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    from: u64,
    bytes: Bytes,
}

impl Piece {
    /// Reads the pages of `group` of the part at `path`.
    pub(super) async fn read(
        objects: &dyn ObjectStore,
        path: &Path,
        group: &RowGroupMetaData,
    ) -> object_store::Result<Self> {
        let from = group.columns().iter().map(first_byte).min().unwrap_or(0);
        let to = group.columns().iter().map(|chunk| first_byte(chunk).saturating_add(len(chunk))).max().unwrap_or(0);
        Ok(Self { from, bytes: objects.get_range(path, from..to).await? })
    }

    /// The bytes behind `start`.
    fn behind(&self, start: u64) -> Result<Bytes, ParquetError> {
        let at = start.checked_sub(self.from).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| *at <= self.bytes.len());
        let at = at.ok_or_else(|| ParquetError::EOF(format!("byte {start} is not of the row group")))?;
        Ok(self.bytes.slice(at..))
    }
}

/// Where the pages of `chunk` begin. What a footer claims may be anything.
fn first_byte(chunk: &ColumnChunkMetaData) -> u64 {
    u64::try_from(chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset())).unwrap_or(0)
}

fn len(chunk: &ColumnChunkMetaData) -> u64 {
    u64::try_from(chunk.compressed_size()).unwrap_or(0)
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

impl ChunkReader for Piece {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.behind(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.behind(start)?;
        match length <= bytes.len() {
            true => Ok(bytes.slice(..length)),
            false => Err(ParquetError::EOF(format!("{length} bytes at byte {start} are more than the row group has"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use object_store::memory::InMemory;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
    use ulid::Ulid;

    use super::super::{ARRIVAL, PartSpec, Source, WalRange, encode, put};
    use super::*;
    use crate::store::{Config, samples};

    fn rows<R: ChunkReader + 'static>(file: R, metadata: &ArrowReaderMetadata, group: usize) -> Vec<RecordBatch> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        builder.with_row_groups(vec![group]).build().unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[tokio::test]
    async fn a_row_group_is_read_from_its_own_bytes_as_from_the_whole_file() {
        let ulid = Ulid::from_parts(1_700_000_000_000, 7);
        let wal = WalRange { node: ulid, epoch: 1, from: 1, to: 9, index: 0, of: 1 };
        let (hour, source) = ("2023-11-14T22".to_owned(), Source::Log(wal));
        let spec = PartSpec { ulid, level: 0, hour, stray: false, sort: ARRIVAL, source };
        let config = Config { row_group_rows: 16_384, ..Config::at("unused") };
        let part = encode(&[samples::batch(3, 40_000).with_ingest_time(1_000)], &spec, &config).unwrap();
        let objects = InMemory::new();
        put(&objects, &part).await.unwrap();
        let path = Path::from(part.entry.path.as_str());
        let metadata = ArrowReaderMetadata::load(&part.file, Default::default()).unwrap();
        let groups = metadata.metadata().row_groups();
        assert!(groups.len() > 2, "{}", groups.len());
        for (at, group) in groups.iter().enumerate() {
            let piece = Piece::read(&objects, &path, group).await.unwrap();
            assert!(piece.bytes.len() < part.file.len() / 2, "{at}: {} of {}", piece.bytes.len(), part.file.len());
            assert!(piece.get_bytes(piece.len(), 1).is_err() && piece.get_read(piece.len() + 1).is_err());
            assert_eq!(rows(piece, &metadata, at), rows(part.file.clone(), &metadata, at), "{at}");
        }
    }
}
