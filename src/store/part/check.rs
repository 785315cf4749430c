//! Whether a part on disk is what the manifest says.
//!
//! Duty: [`check`], for `weavergen store verify`. Guarantee: no problem after [`Depth::Deep`] means that every byte has
//! its checksum, every page decodes, and the rows are those that were counted when the part was written; one problem does
//! not hide the next, unless it makes the rest unreadable; of a part one row group is in memory at once. Left to others:
//! which parts there are, what to do about a damaged one.

use std::hash::Hasher as _;
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};
use arrow::compute::concat_batches;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use twox_hash::XxHash3_64;

use super::columns::promoted_name;
use super::encode::{Facts, STATS_KEY};
use super::keys::{self, Keys, Level};
use super::piece::Piece;
use super::reread::READ;
use super::sums::{self, Sums};
use super::{decode_footer, fetch, metadata_text};
use crate::span::schema;
use crate::store::manifest::PartEntry;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Sizes, checksum files, footers; of the log every record's checksum.
    Quick,
    /// All blocks; every page is decoded, and what the footer claims is computed again.
    Deep,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The part or its `.sum`, below the dataset's folder.
    pub file: String,
    /// Where in it; `None` = as a whole.
    pub place: Option<String>,
    /// What is wrong.
    pub what: String,
}

/// What is wrong with the part `entry` in `objects`, which are rooted at the dataset's folder; empty = nothing.
pub async fn check(objects: &dyn ObjectStore, entry: &PartEntry, depth: Depth) -> Vec<Problem> {
    let mut found = Found { entry, problems: Vec::new() };
    let path = Path::from(entry.path.as_str());
    match objects.head(&path).await {
        Ok(meta) if meta.size == entry.bytes => {}
        Ok(meta) => {
            found.part(None, format!("it has {} bytes, the manifest says {}", meta.size, entry.bytes));
            return found.problems;
        }
        Err(error) => {
            found.part(None, unread(&error));
            return found.problems;
        }
    }
    let sums = found.sums(objects).await;
    // Without sums the hash of the whole file still tells whether the part itself is damaged.
    let whole = depth == Depth::Deep || sums.is_none();
    let start = if whole { 0 } else { entry.bytes.saturating_sub(entry.footer_bytes) };
    let blocks = sums.as_ref().map(|sums| sums.blocks_of(start..entry.bytes));
    let span = match (&sums, &blocks) {
        (Some(sums), Some(blocks)) => sums.span(blocks),
        _ => 0..entry.bytes,
    };
    let footer_at = entry.bytes.saturating_sub(entry.footer_bytes);
    let (mut hash, mut damaged, mut footer, mut from) = (XxHash3_64::default(), Vec::new(), Vec::new(), span.start);
    while from < span.end {
        let to = span.end.min(from + READ);
        let bytes = match objects.get_range(&path, from..to).await {
            Ok(bytes) if bytes.len() as u64 == to - from => bytes,
            Ok(bytes) => {
                found.part(None, format!("{} of its bytes cannot be read", to - from - bytes.len() as u64));
                return found.problems;
            }
            Err(error) => {
                found.part(None, unread(&error));
                return found.problems;
            }
        };
        if let Some(sums) = &sums {
            damaged.extend(sums.damaged(&bytes, sums.blocks_of(from..to)));
        }
        hash.write(&bytes);
        let of_footer = usize::try_from(footer_at.saturating_sub(from)).unwrap_or(usize::MAX);
        footer.extend_from_slice(bytes.get(of_footer..).unwrap_or_default());
        from = to;
    }
    for block in &damaged {
        found.part(
            Some(format!("bytes {} to {}", block.start, block.end)),
            "the block does not have its checksum".to_owned(),
        );
    }
    if damaged.is_empty() && whole && format!("{:016x}", hash.finish()) != entry.file_xxh3 {
        found.part(None, "it is not the file that was written: its hash is not the manifest's".to_owned());
        return found.problems;
    }
    if !damaged.is_empty() {
        return found.problems;
    }
    let metadata = match decode_footer(&entry.path, &footer) {
        Ok(metadata) => metadata,
        Err(error) => {
            found.part(Some("footer".to_owned()), error.to_string());
            return found.problems;
        }
    };
    found.footer(&metadata);
    if depth == Depth::Deep && found.problems.iter().all(|problem| problem.file != entry.path) {
        found.problems.extend(rows(objects, entry, metadata).await);
    }
    found.problems
}

struct Found<'a> {
    entry: &'a PartEntry,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn part(&mut self, place: Option<String>, what: String) {
        self.problems.push(Problem { file: self.entry.path.clone(), place, what });
    }

    async fn sums(&mut self, objects: &dyn ObjectStore) -> Option<Sums> {
        let path = sums::path_of(&self.entry.path);
        let wrong = match fetch(objects, &path).await {
            Ok(bytes) => {
                let want = Sums::file_len(self.entry.bytes);
                match Sums::read(&bytes, self.entry) {
                    Ok(sums) => return Some(sums),
                    Err(_) if bytes.len() as u64 != want => {
                        format!("it has {} bytes, the checksums of this part take {want}", bytes.len())
                    }
                    Err(_) => "it is not the file that was written: its hash is not the manifest's".to_owned(),
                }
            }
            Err(super::Error::Objects { source, .. }) => unread(&source),
            Err(error) => error.to_string(),
        };
        self.problems.push(Problem { file: path, place: None, what: wrong });
        None
    }

    /// What footer and manifest both say.
    fn footer(&mut self, metadata: &ParquetMetaData) {
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let mut wrong = Vec::new();
        if rows != self.entry.rows {
            wrong.push(format!("it counts {rows} rows, the manifest {}", self.entry.rows));
        }
        let groups = metadata.num_row_groups();
        if groups != self.entry.row_groups.len() {
            wrong.push(format!("it has {groups} row groups, the manifest {}", self.entry.row_groups.len()));
        }
        let source = super::SOURCE_KEYS.into_iter().find(|key| metadata_text(metadata, key).is_some());
        for key in ["wg.format", keys::METADATA_KEY, source.unwrap_or(super::SOURCE_KEYS[0]), STATS_KEY] {
            match metadata_text(metadata, key).map(serde_json::from_str::<serde_json::Value>) {
                Some(Ok(_)) => {}
                Some(Err(error)) => wrong.push(format!("`{key}` cannot be read: {error}")),
                None => wrong.push(format!("it has no `{key}`")),
            }
        }
        wrong.into_iter().for_each(|what| self.part(Some("footer".to_owned()), what));
    }
}

fn unread(error: &object_store::Error) -> String {
    match error {
        object_store::Error::NotFound { .. } => "the file is missing".to_owned(),
        other => format!("it cannot be read: {other}"),
    }
}

/// Decodes every page of the part `entry`, one row group after the other, and compares its rows with what footer and
/// manifest claim.
async fn rows(objects: &dyn ObjectStore, entry: &PartEntry, metadata: ParquetMetaData) -> Vec<Problem> {
    let problem = |place: Option<String>, what: String| Problem { file: entry.path.clone(), place, what };
    let metadata = match ArrowReaderMetadata::try_new(Arc::new(metadata), Default::default()) {
        Ok(metadata) => metadata,
        Err(error) => return vec![problem(Some("footer".to_owned()), error.to_string())],
    };
    let path = Path::from(entry.path.as_str());
    let (mut facts, mut promoted) = (Facts::default(), Promoted::of(metadata.metadata()));
    for (group, of_group) in metadata.metadata().row_groups().iter().enumerate() {
        let place = || Some(format!("row group {group}"));
        let piece = match Piece::read(objects, &path, of_group).await {
            Ok(piece) => piece,
            Err(error) => return vec![problem(place(), unread(&error))],
        };
        let metadata = metadata.clone();
        let decoding = tokio::task::spawn_blocking(move || {
            let read = read_group(&piece, &metadata, group, &mut promoted).map(|batch| facts.add(&batch));
            (read, facts, promoted)
        });
        match decoding.await {
            Ok((Ok(()), of_all, values)) => (facts, promoted) = (of_all, values),
            // The sums below would only repeat it.
            Ok((Err(what), ..)) => return vec![problem(place(), what)],
            Err(error) => return vec![problem(place(), format!("decoding its pages failed: {error}"))],
        }
    }
    let footer = || Some("footer".to_owned());
    let mut problems = Vec::new();
    let claimed = metadata_text(metadata.metadata(), STATS_KEY).and_then(|text| serde_json::from_str(text).ok());
    let claimed: serde_json::Value = claimed.unwrap_or_default();
    for (name, computed) in facts.stats().as_object().into_iter().flatten() {
        if claimed.get(name) != Some(computed) {
            let said = claimed.get(name).unwrap_or(&serde_json::Value::Null);
            problems.push(problem(footer(), format!("`wg.stats` says {name} {said}, its rows have {computed}")));
        }
    }
    for (group, (computed, said)) in facts.groups.iter().zip(&entry.row_groups).enumerate() {
        if computed != said {
            let what = "its start and end times are not those of the manifest".to_owned();
            problems.push(problem(Some(format!("row group {group}")), what));
        }
    }
    if facts.services() != (entry.services.clone(), entry.service_range.clone()) {
        problems.push(problem(None, "its services are not those of the manifest".to_owned()));
    }
    problems.extend(promoted.wrong().into_iter().map(|what| problem(footer(), what)));
    problems
}

/// The columns of [`Facts::COLUMNS`] of one row group, all of whose pages were decoded.
pub(super) fn read_group<R: ChunkReader + Clone + 'static>(
    file: &R,
    metadata: &ArrowReaderMetadata,
    group: usize,
    promoted: &mut Promoted,
) -> Result<RecordBatch, String> {
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone());
    let reader = builder.with_row_groups(vec![group]).build().map_err(|e| e.to_string())?;
    let mut kept = Vec::new();
    let mut wanted = None;
    for batch in reader {
        let batch = batch.map_err(|e| e.to_string())?;
        promoted.add(&batch);
        let indices = Facts::COLUMNS.map(|name| batch.schema_ref().index_of(name).ok());
        let indices: Vec<usize> = indices.into_iter().flatten().collect();
        let columns = batch.project(&indices).map_err(|e| e.to_string())?;
        for name in Facts::COLUMNS {
            let stored = schema::stored().field_with_name(name).expect("a column of stored batches").data_type();
            if columns.column_by_name(name).is_none_or(|column| column.data_type() != stored) {
                return Err(format!("it has no column `{name}` of the type that spans have"));
            }
        }
        wanted = Some(columns.schema());
        kept.push(columns);
    }
    let schema = wanted.ok_or("it has no rows")?;
    concat_batches(&schema, &kept).map_err(|e| e.to_string())
}

/// The values of promoted columns, counted: `present = promoted + residual` (storage.md 7.2).
pub(super) struct Promoted {
    /// Column, values that `wg.keys` claims, values found.
    columns: Vec<(String, u64, u64)>,
}

impl Promoted {
    pub(super) fn of(metadata: &ParquetMetaData) -> Self {
        let keys = metadata_text(metadata, keys::METADATA_KEY).and_then(|text| serde_json::from_str::<Keys>(text).ok());
        let of_level = |level: Level| {
            let entries = keys.iter().flat_map(move |keys| keys.level(level)).filter(|key| key.promoted.is_some());
            entries.map(move |key| (promoted_name(level, &key.key), key.present.saturating_sub(key.residual), 0))
        };
        Self { columns: Level::ALL.into_iter().flat_map(of_level).collect() }
    }

    fn add(&mut self, batch: &RecordBatch) {
        for (name, _, found) in &mut self.columns {
            if let Some(column) = batch.column_by_name(name) {
                *found += (column.len() - column.null_count()) as u64;
            }
        }
    }

    fn wrong(&self) -> Vec<String> {
        let wrong = self.columns.iter().filter(|(_, claimed, found)| claimed != found);
        wrong
            .map(|(name, claimed, found)| format!("`wg.keys` says {claimed} values in `{name}`, it has {found}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use ulid::Ulid;

    use super::super::{ARRIVAL, EncodedPart, PartSpec, Source, WalRange, encode, put, sum_path};
    use super::*;
    use crate::store::{Config, samples};

    async fn stored(rows: usize) -> (Arc<InMemory>, EncodedPart) {
        let ulid = Ulid::from_parts(1_700_000_000_000, 7);
        let wal = WalRange { node: ulid, epoch: 1, from: 1, to: 9, index: 0, of: 1 };
        let hour = "2023-11-14T22".to_owned();
        let spec = PartSpec { ulid, level: 0, hour, stray: false, sort: ARRIVAL, source: Source::Log(wal) };
        let part = encode(&[samples::batch(3, rows).with_ingest_time(1_000)], &spec, &Config::at("unused")).unwrap();
        let objects = Arc::new(InMemory::new());
        put(objects.as_ref(), &part).await.unwrap();
        (objects, part)
    }

    async fn told(objects: &InMemory, entry: &PartEntry, depth: Depth) -> Vec<String> {
        let problems = check(objects, entry, depth).await;
        problems.iter().map(|p| format!("{}|{}|{}", p.file, p.place.as_deref().unwrap_or("-"), p.what)).collect()
    }

    #[tokio::test]
    async fn a_part_as_it_was_written_has_no_problem() {
        let (objects, part) = stored(40_000).await;
        for depth in [Depth::Quick, Depth::Deep] {
            assert_eq!(told(&objects, &part.entry, depth).await, Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn every_flipped_byte_is_found_in_its_block() {
        let (objects, part) = stored(40_000).await;
        let path = Path::from(part.entry.path.as_str());
        for at in (0..part.file.len()).step_by(part.file.len() / 12) {
            let mut bad = part.file.to_vec();
            bad[at] ^= 0x10;
            objects.put(&path, bad.into()).await.unwrap();
            let told = told(&objects, &part.entry, Depth::Deep).await;
            assert_eq!(told.len(), 1, "byte {at}: {told:?}");
            let block = at / (256 << 10) * (256 << 10);
            assert!(told[0].contains(&format!("|bytes {block} to ")), "byte {at}: {told:?}");
        }
        objects.put(&path, part.file.slice(..part.file.len() - 1).into()).await.unwrap();
        assert!(told(&objects, &part.entry, Depth::Quick).await[0].contains("the manifest says"));
        objects.delete(&path).await.unwrap();
        assert!(told(&objects, &part.entry, Depth::Quick).await[0].ends_with("|-|the file is missing"));
    }

    #[tokio::test]
    async fn a_damaged_checksum_file_is_told_apart_from_a_damaged_part() {
        let (objects, part) = stored(40_000).await;
        let sum = Path::from(sum_path(&part.entry.path));
        objects.put(&sum, part.sum.slice(..part.sum.len() - 3).into()).await.unwrap();
        let told_of_sum = told(&objects, &part.entry, Depth::Quick).await;
        assert_eq!(told_of_sum.len(), 1, "{told_of_sum:?}");
        assert!(told_of_sum[0].starts_with("index/sum/") && told_of_sum[0].contains("take"), "{told_of_sum:?}");
        let mut bad = part.file.to_vec();
        bad[9] ^= 1;
        objects.put(&Path::from(part.entry.path.as_str()), bad.into()).await.unwrap();
        assert_eq!(told(&objects, &part.entry, Depth::Quick).await.len(), 2);
    }

    #[tokio::test]
    async fn rows_that_are_not_those_that_were_counted_are_found_only_by_decoding() {
        let (objects, part) = stored(500).await;
        // Another part under the same name, with checksums that fit it: what a defect of ours would look like.
        let (_, other) = stored(500).await;
        let mut entry = PartEntry { start: other.entry.start, ..part.entry.clone() };
        entry.row_groups[0].start[0] -= 1;
        entry.services = Some(vec!["other".to_owned()]);
        assert_eq!(told(&objects, &entry, Depth::Quick).await, Vec::<String>::new());
        let told_deep = told(&objects, &entry, Depth::Deep).await;
        assert_eq!(told_deep.len(), 2, "{told_deep:?}");
        assert!(told_deep[0].contains("row group 0") && told_deep[1].contains("services"), "{told_deep:?}");
        entry.rows += 1;
        assert!(told(&objects, &entry, Depth::Quick).await[0].contains("|footer|it counts 500 rows, the manifest 501"));
    }
}
