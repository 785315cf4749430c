//! Parts into parts of level 1: sorted, without duplicates, with the parents' services.
//!
//! Duty: [`sort`]. Guarantee: a row is read for its slice of time only, where row groups allow; memory stays within the
//! share; outputs are cut between 5-minute buckets unless one bucket alone is more than two outputs. Left to others:
//! the proof and the commit (`step`).

use std::collections::BTreeMap;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampNanosecondType;
use arrow::error::ArrowError;

use super::gather::Gather;
use super::parents::{self, Parents};
use super::pick::Cells;
use super::plan::{Job, hour_start_ns};
use super::same::Repeats;
use super::sorter::Sorter;
use super::spill::Stretch;
use super::vocabulary::Vocabulary;
use super::work::{Like, Outputs, Room, kernel_error, part_error};
use crate::store::Error;
use crate::store::part::{BUCKET_NS, Opened, Promotion, SORTED, Totals, Writer};

/// Rows at which dropped duplicates are summed up.
const DROPPED_ROWS: usize = 1024;

/// Makes the outputs of `job`; the sums over the duplicates that were dropped come back.
pub async fn sort(job: &Job, inputs: &[Opened], room: &Room<'_>, outputs: &mut Outputs) -> Result<Totals, Error> {
    let rows: u64 = inputs.iter().map(|input| input.entry.rows).sum();
    let bytes: u64 = inputs.iter().map(|input| input.entry.bytes).sum();
    let promotion = Promotion::of_parts(inputs.iter().map(|input| &input.keys), rows, room.config);
    let mut parents = Parents::new(room.parent_bytes());
    let at_once = parents.holds(rows);
    let counts = scan(inputs, room, at_once.then_some(&mut parents)).await?;
    let mut vocabulary = Vocabulary::new(promotion.schema(), room.word_bytes());
    let mut wanted = (bytes + room.target_bytes() / 2) / room.target_bytes();
    loop {
        let cuts = cuts(&counts, wanted);
        *outputs = Outputs::of(job, u32::try_from(cuts.len() + 1).unwrap_or(u32::MAX));
        let hour = [hour_start_ns(&job.hour), hour_start_ns(&job.hour).saturating_add(12 * BUCKET_NS - 1)];
        let mut out = Out {
            room,
            outputs: &mut *outputs,
            promotion: promotion.clone(),
            like: Like { level: 1, hour: &job.hour, stray: false, sort: SORTED },
            hour: hour.map(|ns| ns.div_euclid(BUCKET_NS)),
            cuts: cuts.clone(),
            seen: 0,
            bucket: None,
            gather: Gather::default(),
            writer: None,
            repeats: Repeats::default(),
            repeated: Gather::default(),
            dropped: Totals::default(),
        };
        for slice in slices(&counts, rows_that_fit(inputs, room)) {
            if !at_once {
                parents.clear();
                let around = [(slice[0] - 1).saturating_mul(BUCKET_NS), (slice[1] + 2).saturating_mul(BUCKET_NS) - 1];
                learn(inputs, room, around, &mut parents).await?;
            }
            out.slice(inputs, slice, &parents, &mut vocabulary).await?;
        }
        let dropped = out.finish(&vocabulary).await?;
        if outputs.put.len() == cuts.len() + 1 {
            return Ok(dropped);
        }
        // An output would have held duplicates alone; the footers of the others name a wrong number.
        wanted = outputs.put.len() as u64;
        outputs.discard(room).await;
    }
}

/// Rows by bucket; all spans go to `parents`.
async fn scan(
    inputs: &[Opened],
    room: &Room<'_>,
    mut parents: Option<&mut Parents>,
) -> Result<BTreeMap<i64, u64>, Error> {
    let mut counts = BTreeMap::new();
    let columns: &[&str] = if parents.is_some() { &parents::COLUMNS } else { &["start_time"] };
    for input in inputs {
        let groups = (0..input.entry.row_groups.len()).collect();
        let mut stream = input.rows(groups, Some(columns), 8192).map_err(|e| part_error(&e))?;
        while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
            room.go_on()?;
            let buckets: Vec<i64> = starts(&batch).iter().map(|start| start.div_euclid(BUCKET_NS)).collect();
            for run in buckets.chunk_by(|a, b| a == b) {
                *counts.entry(run[0]).or_default() += run.len() as u64;
            }
            if let Some(parents) = parents.as_mut() {
                parents.learn(&batch, |_| true);
            }
        }
    }
    Ok(counts)
}

async fn learn(inputs: &[Opened], room: &Room<'_>, around: [i64; 2], parents: &mut Parents) -> Result<(), Error> {
    for input in inputs {
        let groups = input.groups_in(around[0], around[1]);
        if groups.is_empty() {
            continue;
        }
        let mut stream = input.rows(groups, Some(&parents::COLUMNS), 8192).map_err(|e| part_error(&e))?;
        while !parents.is_full()
            && let Some(batch) = stream.next().await.map_err(|e| part_error(&e))?
        {
            room.go_on()?;
            parents.learn(&batch, |start| start >= around[0] && start <= around[1]);
        }
    }
    Ok(())
}

fn starts(batch: &RecordBatch) -> &[i64] {
    let column = batch.column_by_name("start_time").expect("the caller reads this column");
    column.as_primitive::<TimestampNanosecondType>().values()
}

fn rows_that_fit(inputs: &[Opened], room: &Room<'_>) -> u64 {
    // Decompressed pages are smaller than arrays: a plain column about as large, a dictionary's codes much smaller.
    let row = inputs.iter().map(Opened::row_bytes).max().unwrap_or(0) * 2 + 512;
    (room.sort_bytes() as u64 / row).max(1)
}

/// Neighbouring buckets together, as far as their rows fit; [first, last] each.
fn slices(counts: &BTreeMap<i64, u64>, fit: u64) -> Vec<[i64; 2]> {
    let mut slices: Vec<([i64; 2], u64)> = Vec::new();
    for (bucket, rows) in counts {
        match slices.last_mut() {
            Some((slice, sum)) if *sum + rows <= fit => (slice[1], *sum) = (*bucket, *sum + rows),
            _ => slices.push(([*bucket; 2], *rows)),
        }
    }
    slices.into_iter().map(|(slice, _)| slice).collect()
}

/// Numbers of rows after which an output ends, the last one's left out, for about `wanted` outputs of equal size.
fn cuts(counts: &BTreeMap<i64, u64>, wanted: u64) -> Vec<u64> {
    let (rows, wanted) = (counts.values().sum::<u64>(), wanted.max(1));
    let size = (rows / wanted).max(1);
    let mut cuts = Vec::new();
    let mut at = 0;
    for count in counts.values() {
        let end = at + count;
        for cut in (1..wanted).map(|n| n * size).filter(|cut| (at..end).contains(cut)) {
            let nearest = if cut - at <= end - cut { at } else { end };
            cuts.push(if *count > 2 * size { cut } else { nearest });
        }
        at = end;
    }
    cuts.retain(|cut| *cut > 0 && *cut < rows);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The outputs under way.
struct Out<'a> {
    room: &'a Room<'a>,
    outputs: &'a mut Outputs,
    promotion: Promotion,
    like: Like<'a>,
    /// First and last bucket of the hour.
    hour: [i64; 2],
    cuts: Vec<u64>,
    /// Rows so far, duplicates too.
    seen: u64,
    bucket: Option<i64>,
    gather: Gather,
    writer: Option<Writer>,
    repeats: Repeats,
    repeated: Gather,
    dropped: Totals,
}

impl Out<'_> {
    async fn slice(
        &mut self,
        inputs: &[Opened],
        slice: [i64; 2],
        parents: &Parents,
        vocabulary: &mut Vocabulary,
    ) -> Result<(), Error> {
        let schema = vocabulary.schema().clone();
        let first = slice[0].saturating_mul(BUCKET_NS);
        let last = slice[1].saturating_add(1).saturating_mul(BUCKET_NS).saturating_sub(1);
        // The last bucket of time ends with it.
        let last = if slice[1] == i64::MAX.div_euclid(BUCKET_NS) { i64::MAX } else { last };
        let mut sorter = Sorter::new(self.room);
        for input in inputs {
            let groups = input.groups_in(first, last);
            if groups.is_empty() {
                continue;
            }
            let mut stream = input.rows(groups, None, self.room.batch_rows(input)).map_err(|e| part_error(&e))?;
            while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
                self.room.go_on()?;
                let Some(batch) = within(&batch, first, last).map_err(|e| kernel_error(&e))? else { continue };
                let batch = input.reshape(&batch, &self.promotion, &schema).map_err(|e| part_error(&e))?;
                let batch = parents.fill(batch)?;
                sorter.push(vocabulary.carry(&batch).map_err(|e| kernel_error(&e))?, vocabulary)?;
            }
        }
        let sorted = sorter.finish(vocabulary)?;
        let mut cursor = sorted.cursor(vocabulary)?;
        while let Some(stretch) = cursor.next(vocabulary)? {
            self.stretch(&stretch, vocabulary).await?;
        }
        // The blocks go with the slice, and rows of the next one begin later.
        self.repeats.clear();
        self.sum_dropped(vocabulary)?;
        self.gather.settle(vocabulary).map_err(|e| kernel_error(&e))
    }

    async fn stretch(&mut self, stretch: &Stretch, vocabulary: &Vocabulary) -> Result<(), Error> {
        self.gather.enter(stretch.blocks.len());
        self.repeated.enter(stretch.blocks.len());
        for row in 0..stretch.rows.len() {
            let (at, bucket) = (stretch.rows.at(row), stretch.rows.bucket(row));
            if self.bucket != Some(bucket) || self.cuts.first() == Some(&self.seen) {
                self.before(bucket, vocabulary).await?;
            }
            self.seen += 1;
            if self.repeats.is_repeat(stretch, row, vocabulary) {
                self.repeated.push(&stretch.blocks, at);
                if self.repeated.len() >= DROPPED_ROWS {
                    self.sum_dropped(vocabulary)?;
                }
                continue;
            }
            self.gather.push(&stretch.blocks, at);
            if self.gather.len() >= self.room.config.row_group_rows || self.gather.bytes() >= self.room.group_bytes() {
                self.write_group(vocabulary)?;
            }
        }
        Ok(())
    }

    /// Ends what ends before a row of `bucket`.
    async fn before(&mut self, bucket: i64, vocabulary: &Vocabulary) -> Result<(), Error> {
        let inside = |bucket: i64| (self.hour[0]..=self.hour[1]).contains(&bucket);
        // Row groups hold time outliers or rows of the hour: the times of the latter then tell which buckets they touch.
        if self.bucket.replace(bucket).is_some_and(|before| inside(before) != inside(bucket)) {
            self.write_group(vocabulary)?;
        }
        if self.cuts.first() == Some(&self.seen) {
            self.cuts.remove(0);
            self.end_output(vocabulary).await?;
        }
        Ok(())
    }

    fn write_group(&mut self, vocabulary: &Vocabulary) -> Result<(), Error> {
        let Some((columns, rows)) = self.gather.take(vocabulary).map_err(|e| kernel_error(&e))? else { return Ok(()) };
        self.room.go_on()?;
        let config = self.room.config;
        if self.writer.is_none() {
            let writer = Writer::try_new(self.promotion.clone(), config);
            self.writer = Some(writer.map_err(|e| part_error(&e))?);
        }
        let writer = self.writer.as_mut().expect("made above");
        let mut column = |at: usize| vocabulary.restore(at, &columns[at].each(rows)?);
        writer.write_columns(rows, &mut column).map_err(|e| part_error(&e))
    }

    async fn end_output(&mut self, vocabulary: &Vocabulary) -> Result<(), Error> {
        self.write_group(vocabulary)?;
        match self.writer.take() {
            Some(writer) => self.outputs.put(self.room, writer, &self.like).await,
            None => Ok(()),
        }
    }

    fn sum_dropped(&mut self, vocabulary: &Vocabulary) -> Result<(), Error> {
        let Some((columns, rows)) = self.repeated.take(vocabulary).map_err(|e| kernel_error(&e))? else {
            return Ok(());
        };
        let restored = |(at, cells): (usize, Cells)| vocabulary.restore(at, &cells.each(rows)?);
        let columns = columns.into_iter().enumerate().map(restored).collect::<Result<_, _>>();
        let batch = columns.and_then(|columns| RecordBatch::try_new(vocabulary.schema().clone(), columns));
        let batch = batch.map_err(|e| kernel_error(&e))?;
        self.dropped.add(&Totals::of_rows(&batch, &self.promotion));
        Ok(())
    }

    async fn finish(mut self, vocabulary: &Vocabulary) -> Result<Totals, Error> {
        self.end_output(vocabulary).await?;
        Ok(self.dropped)
    }
}

/// The rows with start times in `first..=last`; `None` without any.
fn within(batch: &RecordBatch, first: i64, last: i64) -> Result<Option<RecordBatch>, ArrowError> {
    let is_wanted = |start: &i64| (first..=last).contains(start);
    if starts(batch).iter().all(is_wanted) {
        return Ok(Some(batch.clone()));
    }
    let wanted: BooleanArray = starts(batch).iter().map(|start| Some(is_wanted(start))).collect();
    match wanted.true_count() {
        0 => Ok(None),
        _ => filter_record_batch(batch, &wanted).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[u64]) -> BTreeMap<i64, u64> {
        (0..).zip(rows.iter().copied()).collect()
    }

    #[test]
    fn outputs_end_between_buckets_unless_one_is_more_than_two_outputs() {
        assert_eq!(cuts(&counts(&[10; 12]), 1), Vec::<u64>::new());
        assert_eq!(cuts(&counts(&[10; 12]), 3), [40, 80]);
        assert_eq!(cuts(&counts(&[10; 12]), 5), [20, 50, 70, 100]);
        assert_eq!(cuts(&counts(&[1, 118, 1]), 2), [1], "one big bucket of two outputs stays whole");
        assert_eq!(cuts(&counts(&[100]), 4), [25, 50, 75]);
        assert_eq!(cuts(&counts(&[1, 1]), 9), [1]);
    }

    #[test]
    fn slices_are_neighbours_that_fit_together() {
        assert_eq!(slices(&counts(&[5, 5, 5, 90, 1]), 10), [[0, 1], [2, 2], [3, 3], [4, 4]]);
        assert_eq!(slices(&counts(&[1; 12]), 100), [[0, 11]]);
    }
}
