//! The pages of a column chunk, and what its metadata says of them.
//!
//! Duty: [`Pages`]: encoded values in, compressed data pages (version 2), indexes, statistics and the chunk's metadata
//! out. Guarantee: as the `parquet` crate writes them; bounds are those of the values that the pages hold. Left to
//! others: encoding (`column`), the place in the file ([`super::super::Writer`]).

use std::cmp::Ordering;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, EncodingMask, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::properties::EnabledStatistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::values::Values;
use super::{Chunk, Compressor};

/// What a page holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) rows: usize,
    /// Values and nulls: as many as rows, but in lists.
    pub(super) entries: usize,
    pub(super) nulls: usize,
    /// Keys of the smallest and the largest value.
    pub(super) range: Option<(u32, u32)>,
    /// Bytes of all values, of types whose values differ in length.
    pub(super) text_bytes: Option<usize>,
}

/// The pages so far.
pub(super) struct Pages<'a, V> {
    values: &'a V,
    descr: ColumnDescPtr,
    statistics: EnabledStatistics,
    compressor: &'a mut Compressor,
    made: Vec<CompressedPage>,
    index: ColumnIndexBuilder,
    offsets: OffsetIndexBuilder,
    order: Order,
    range: Option<(u32, u32)>,
    rows: usize,
    entries: usize,
    nulls: usize,
    text_bytes: Option<usize>,
    levels: Option<LevelHistogram>,
}

/// Whether the bounds of the pages ascend or descend.
struct Order {
    ascending: bool,
    descending: bool,
    last: Option<(u32, u32)>,
}

/// The smaller and the larger of both ranges.
pub(super) fn widened<V: Values>(values: &V, range: Option<(u32, u32)>, by: (u32, u32)) -> (u32, u32) {
    let Some((min, max)) = range else { return by };
    let is = |a, b, order| values.order(a, b) == Some(order);
    (if is(by.0, min, Ordering::Less) { by.0 } else { min }, if is(by.1, max, Ordering::Greater) { by.1 } else { max })
}

impl<'a, V: Values> Pages<'a, V> {
    pub(super) fn new(
        values: &'a V,
        descr: ColumnDescPtr,
        statistics: EnabledStatistics,
        compressor: &'a mut Compressor,
    ) -> Self {
        let mut index = ColumnIndexBuilder::new(descr.physical_type());
        if statistics != EnabledStatistics::Page {
            index.to_invalid();
        }
        let has_statistics = statistics != EnabledStatistics::None;
        let levels = LevelHistogram::try_new(descr.max_def_level()).filter(|_| has_statistics);
        let order = Order { ascending: true, descending: true, last: None };
        let offsets = OffsetIndexBuilder::new();
        Self {
            values,
            descr,
            statistics,
            compressor,
            made: Vec::new(),
            index,
            offsets,
            order,
            range: None,
            rows: 0,
            entries: 0,
            nulls: 0,
            text_bytes: None,
            levels,
        }
    }

    /// Whether the ranges of pages are wanted.
    pub(super) fn has_statistics(&self) -> bool {
        self.statistics != EnabledStatistics::None
    }

    /// Adds a page: `levels`, of which the first `repetition` bytes are repetition levels and the others definition
    /// levels, then values in `encoding`.
    pub(super) fn add(
        &mut self,
        repetition: usize,
        levels: &[u8],
        values: &[u8],
        encoding: Encoding,
        held: &Held,
    ) -> Result<(), ParquetError> {
        self.describe(held);
        let (buf, is_compressed) = self.compressor.page(levels, values)?;
        let page = Page::DataPageV2 {
            buf,
            num_values: count(held.entries),
            encoding,
            num_nulls: count(held.nulls),
            num_rows: count(held.rows),
            def_levels_byte_len: count(levels.len() - repetition),
            rep_levels_byte_len: count(repetition),
            is_compressed,
            statistics: None,
        };
        self.made.push(CompressedPage::new(page, levels.len() + values.len()));
        Ok(())
    }

    fn describe(&mut self, held: &Held) {
        if let Some(range) = held.range {
            self.range = Some(widened(self.values, self.range, range));
        }
        if self.index.valid() {
            match held.range {
                // Parquet: a page of nulls has empty bounds.
                _ if held.nulls == held.entries => self.index.append(true, vec![], vec![], held.nulls as i64),
                // Numbers that are none have no bounds, and the index needs those of every page.
                None => self.index.to_invalid(),
                Some((min, max)) => {
                    self.order.next(self.values, (min, max));
                    let (min, max) = self.values.bounds(min, max);
                    self.index.append(false, min, max, held.nulls as i64);
                }
            }
        }
        if let Some(sum) = &mut self.levels {
            let of_page = LevelHistogram::try_new(self.descr.max_def_level()).map(|mut of_page| {
                of_page.increment_by(0, held.nulls as i64);
                of_page.increment_by(1, (held.entries - held.nulls) as i64);
                of_page
            });
            of_page.iter().for_each(|of_page| sum.add(of_page));
            self.index.append_histograms(&None, &of_page);
        }
        self.offsets.append_row_count(held.rows as i64);
        self.offsets.append_unencoded_byte_array_data_bytes(held.text_bytes.map(|bytes| bytes as i64));
        if let Some(bytes) = held.text_bytes {
            *self.text_bytes.get_or_insert(0) += bytes;
        }
        self.rows += held.rows;
        self.entries += held.entries;
        self.nulls += held.nulls;
    }

    /// The chunk, with a page of the values of `dictionary` if it has one.
    pub(super) fn finish(
        mut self,
        dictionary: Option<&[u32]>,
        bloom_filter: Option<parquet::bloom_filter::Sbbf>,
    ) -> Result<Chunk, ParquetError> {
        let dictionary = dictionary.map(|keys| self.dictionary_page(keys)).transpose()?;
        let mut metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(Compression::ZSTD(self.compressor.level()))
            .set_num_values(self.entries as i64);
        let mut sink = TrackedWrite::new(self.compressor.file());
        let mut encodings = vec![Encoding::RLE];
        let mut stats: Vec<PageEncodingStats> = Vec::new();
        let (mut bytes, mut uncompressed) = (0, 0);
        let mut writer = SerializedPageWriter::new(&mut sink);
        for page in dictionary.into_iter().chain(self.made) {
            let (page_type, encoding) = (page.page_type(), page.encoding());
            encodings.push(encoding);
            match stats.last_mut().filter(|last| (last.page_type, last.encoding) == (page_type, encoding)) {
                Some(last) => last.count += 1,
                None => stats.push(PageEncodingStats { page_type, encoding, count: 1 }),
            }
            let at = writer.write_page(page)?;
            bytes += at.bytes_written;
            uncompressed += at.uncompressed_size;
            if page_type == PageType::DICTIONARY_PAGE {
                metadata = metadata.set_dictionary_page_offset(Some(at.offset as i64));
                continue;
            }
            self.offsets.append_offset_and_size(at.offset as i64, at.compressed_size as i32);
        }
        writer.close()?;
        let file = sink.into_inner()?;
        let offset_index = self.offsets.build();
        let first = offset_index.page_locations.first().map_or(0, |page| page.offset);
        metadata = metadata
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(stats)
            .set_data_page_offset(first)
            .set_total_compressed_size(bytes as i64)
            .set_total_uncompressed_size(uncompressed as i64);
        if self.statistics != EnabledStatistics::None {
            metadata = metadata
                .set_statistics(self.values.statistics(self.range, self.nulls as u64))
                .set_unencoded_byte_array_data_bytes(self.text_bytes.map(|bytes| bytes as i64))
                .set_definition_level_histogram(self.levels);
        }
        self.index.set_boundary_order(self.order.boundary_order());
        let column_index = if self.index.valid() { Some(self.index.build()?) } else { None };
        let close = ColumnCloseResult {
            bytes_written: bytes,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter,
            column_index,
            offset_index: Some(offset_index),
        };
        Ok(Chunk { bytes: Bytes::from(file), close })
    }

    fn dictionary_page(&mut self, keys: &[u32]) -> Result<CompressedPage, ParquetError> {
        let mut plain = Vec::with_capacity(keys.iter().map(|key| self.values.size(*key)).sum());
        keys.iter().for_each(|key| self.values.put(*key, &mut plain));
        let buf = self.compressor.whole(&plain)?;
        let num_values = count(keys.len());
        let page = Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
        Ok(CompressedPage::new(page, plain.len()))
    }
}

impl Order {
    fn next<V: Values>(&mut self, values: &V, range: (u32, u32)) {
        if let Some(last) = self.last.replace(range) {
            let is_above = |a, b| values.order(a, b) == Some(Ordering::Greater);
            self.ascending &= !is_above(last.0, range.0) && !is_above(last.1, range.1);
            self.descending &= !is_above(range.0, last.0) && !is_above(range.1, last.1);
        }
    }

    fn boundary_order(&self) -> BoundaryOrder {
        match (self.ascending, self.descending) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        }
    }
}

/// A size within a page, whose header has 31 bits for it.
fn count(size: usize) -> u32 {
    u32::try_from(size).expect("a page has a zone's rows at most, and values until 1 MiB is full")
}
