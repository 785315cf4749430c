//! Parts of level 0 into other parts of level 0: joined, or split into home hours (storage.md 6.1, 9).
//!
//! Duty: [`join`] and [`split`]. Guarantee: row groups have the rows in arrival order, each sorted in itself; of stray rows those of the hours with most
//! rows get a part in their hour, and the rest stays one stray part, so that a sender who invents times makes no flood
//! of parts. Left to others: the proof and the commit (`step`).

use std::collections::HashMap;

use arrow::array::{AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{TimestampMicrosecondType, TimestampNanosecondType, UInt16Type};

use super::plan::Job;
use super::work::{Like, Outputs, Room, kernel_error, part_error};
use crate::store::Error;
use crate::store::part::{Opened, Promotion, SORTED_GROUPS, Writer, joined, sorted};
use crate::store::shelf::hour_text;
use crate::store::split::home_hour;

/// Hours that get a part of their own in one job.
const OWN_PARTS: usize = 64;

/// An output under way.
struct Target {
    hour: String,
    stray: bool,
    waiting: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    writer: Option<Writer>,
}

impl Target {
    fn new(hour: String, stray: bool) -> Self {
        Self { hour, stray, waiting: Vec::new(), rows: 0, bytes: 0, writer: None }
    }

    fn write(&mut self, room: &Room<'_>, promotion: &Promotion) -> Result<(), Error> {
        let Some(group) = joined(&self.waiting).map_err(|e| kernel_error(&e))? else { return Ok(()) };
        (self.waiting, self.rows, self.bytes) = (Vec::new(), 0, 0);
        if self.writer.is_none() {
            let writer = Writer::try_new(promotion.clone(), room.config);
            self.writer = Some(writer.map_err(|e| part_error(&e))?);
        }
        let group = sorted(group).map_err(|e| kernel_error(&e))?;
        self.writer.as_mut().expect("made above").write(&group).map_err(|e| part_error(&e))
    }
}

/// One part of all rows.
pub async fn join(job: &Job, inputs: &[Opened], room: &Room<'_>, outputs: &mut Outputs) -> Result<(), Error> {
    *outputs = Outputs::of(job, 1);
    let targets = vec![Target::new(job.hour.clone(), false)];
    scatter(inputs, room, outputs, targets, |_, _, _| 0).await
}

/// A part per home hour.
pub async fn split(job: &Job, inputs: &[Opened], room: &Room<'_>, outputs: &mut Outputs) -> Result<(), Error> {
    let mut counts: HashMap<i64, u64> = HashMap::new();
    for input in inputs {
        let groups = (0..input.entry.row_groups.len()).collect();
        let mut stream =
            input.rows(groups, Some(&["start_time", "ingest_time", "anomalies"]), 8192).map_err(|e| part_error(&e))?;
        while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
            room.go_on()?;
            for (start, ingest, anomalies) in times(&batch) {
                *counts.entry(home_hour(start, ingest, anomalies)).or_default() += 1;
            }
        }
    }
    let mut biggest: Vec<(i64, u64)> = counts.iter().map(|(hour, rows)| (*hour, *rows)).collect();
    biggest.sort_by_key(|(hour, rows)| (std::cmp::Reverse(*rows), *hour));
    biggest.truncate(OWN_PARTS);
    let places: HashMap<i64, usize> = biggest.iter().map(|(hour, _)| *hour).zip(0..).collect();
    let mut targets: Vec<Target> = biggest.iter().map(|(hour, _)| Target::new(hour_text(*hour), false)).collect();
    let rest = targets.len();
    if counts.len() > rest {
        targets.push(Target::new(job.hour.clone(), true));
    }
    *outputs = Outputs::of(job, u32::try_from(targets.len()).unwrap_or(u32::MAX));
    let place = |start, ingest, anomalies| places.get(&home_hour(start, ingest, anomalies)).copied().unwrap_or(rest);
    scatter(inputs, room, outputs, targets, place).await
}

fn times(batch: &RecordBatch) -> impl Iterator<Item = (i64, i64, u16)> {
    let column = |name: &str| batch.column_by_name(name).expect("the caller reads these columns");
    let starts = column("start_time").as_primitive::<TimestampNanosecondType>().values();
    let ingests = column("ingest_time").as_primitive::<TimestampMicrosecondType>().values();
    let anomalies = column("anomalies").as_primitive::<UInt16Type>().values();
    let times = starts.iter().zip(ingests.iter()).zip(anomalies.iter());
    times.map(|((start, ingest), anomalies)| (*start, *ingest, *anomalies))
}

async fn scatter(
    inputs: &[Opened],
    room: &Room<'_>,
    outputs: &mut Outputs,
    mut targets: Vec<Target>,
    place: impl Fn(i64, i64, u16) -> usize,
) -> Result<(), Error> {
    let rows: u64 = inputs.iter().map(|input| input.entry.rows).sum();
    let promotion = Promotion::of_parts(inputs.iter().map(|input| &input.keys), rows, room.config);
    let schema = promotion.schema();
    for input in inputs {
        let groups = (0..input.entry.row_groups.len()).collect();
        let mut stream = input.rows(groups, None, room.batch_rows(input)).map_err(|e| part_error(&e))?;
        while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
            room.go_on()?;
            let batch = input.reshape(&batch, &promotion, &schema).map_err(|e| part_error(&e))?;
            let mut of_target: Vec<Vec<u32>> = vec![Vec::new(); targets.len()];
            for ((start, ingest, anomalies), row) in times(&batch).zip(0..) {
                of_target[place(start, ingest, anomalies)].push(row);
            }
            for (target, rows) in targets.iter_mut().zip(of_target).filter(|(_, rows)| !rows.is_empty()) {
                let taken = if rows.len() == batch.num_rows() {
                    batch.clone()
                } else {
                    take_record_batch(&batch, &UInt32Array::from(rows)).map_err(|e| kernel_error(&e))?
                };
                // A row group never exceeds its number of rows: what would be too many goes first.
                if target.rows + taken.num_rows() > room.config.row_group_rows {
                    target.write(room, &promotion)?;
                }
                target.rows += taken.num_rows();
                target.bytes += taken.get_array_memory_size();
                target.waiting.push(taken);
                if target.bytes >= room.group_bytes() {
                    target.write(room, &promotion)?;
                }
            }
            while targets.iter().map(|target| target.bytes).sum::<usize>() > room.sort_bytes() {
                let largest = targets.iter_mut().max_by_key(|target| target.bytes);
                largest.expect("there is a target").write(room, &promotion)?;
            }
        }
    }
    for mut target in targets {
        target.write(room, &promotion)?;
        let writer = target.writer.ok_or_else(|| Error::Internal { detail: "a target without rows".to_owned() })?;
        let like = Like { level: 0, hour: &target.hour, stray: target.stray, sort: SORTED_GROUPS };
        outputs.put(room, writer, &like).await?;
    }
    Ok(())
}
