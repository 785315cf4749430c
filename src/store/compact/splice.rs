//! Parts into fewer parts without writing their rows again.
//!
//! Duty: [`splice`], the row groups of a job's inputs in its outputs, byte for byte. Guarantee: row groups stay sorted as
//! they are, and their services are so few that a page has some of them only (storage.md 9 sorts the hour as a whole,
//! which costs more than receiving and flushing it); rows are read for their ids and times, so that repeats are seen, the
//! proof has their hashes, and parents in other row groups are found; inputs that promote other columns than most rows do are
//! written anew behind them; memory stays within the share. Left to others:
//! inputs that repeat each other's rows, have many services or small row groups (`sort`, `scatter`).

use std::collections::BTreeSet;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use hashbrown::HashSet;

use super::parents::{self, Id, Parents};
use super::plan::{Job, Kind};
use super::work::{Like, Outputs, Room, kernel_error, part_error};
use crate::store::Error;
use crate::store::part::{ARRIVAL, Opened, Promotion, SORTED_GROUPS, Writer, joined, row_hash};

/// Services of an hour at most: the pages of a row group have few of them each.
const SERVICES: usize = 64;
/// Full row groups have this share of the rows, or of the bytes, that they may have.
const FULL: u64 = 4;
/// So many small ones may be among the inputs, and two for each full one.
const SMALL: usize = 8;
/// Decompressed bytes of a full row group.
const GROUP_BYTES: u64 = 32 << 20;
/// Rows of a batch that is looked through.
const BATCH_ROWS: usize = 8192;
/// Memory of a hash.
const HASH_BYTES: u64 = 8;
/// Memory of the id of a parent that is looked for.
const ID_BYTES: u64 = 48;

/// What rows are known by, and which parents they lack.
const KNOWN_BY: [&str; 6] = ["trace_id", "span_id", "start_time", "duration_ns", "parent_span_id", "parent_service"];
/// The first of them have a part in the hash.
const HASHED: usize = 4;
const PARENTS: [&str; 3] = ["trace_id", "parent_span_id", "parent_service"];

/// What becomes of the inputs.
pub(super) struct Lots<'a> {
    /// Inputs with these columns are taken over as they are, the few others are written anew.
    promotion: &'a Promotion,
    /// The inputs of each output, by their places.
    lots: Vec<Vec<usize>>,
}

/// How to do without writing the rows of `inputs` again; `None` if most of them had to be.
pub(super) fn lots<'a>(inputs: &'a [Opened], room: &Room<'_>) -> Option<Lots<'a>> {
    let mut services = BTreeSet::new();
    let (mut rows, mut full, mut rows_of_full, mut small) = (0, 0, 0, 0);
    // Promoted columns, and rows of the inputs that have them.
    let mut kinds: Vec<(&Promotion, u64)> = Vec::new();
    for input in inputs {
        services.extend(input.entry.services.as_ref()?);
        rows += input.entry.rows;
        for of_group in input.group_rows().map(|rows| rows as u64) {
            let is_full = of_group * FULL >= room.config.row_group_rows as u64
                || of_group * input.row_bytes() * FULL >= GROUP_BYTES;
            match is_full {
                true => (full, rows_of_full) = (full + 1, rows_of_full + of_group),
                false => small += 1,
            }
        }
        // One is held as a whole, beside the output. Parts of older versions have rows as they arrived. A list of keys
        // that was cut says nothing of some, and beside other lists that would read as "has none".
        if input.entry.bytes > room.target_bytes() / 2 * 3 || input.sort() == ARRIVAL || !input.keys.complete {
            return None;
        }
        match kinds.iter_mut().find(|(kind, _)| kind.is_same(input.promotion())) {
            Some((_, of_kind)) => *of_kind += input.entry.rows,
            None => kinds.push((input.promotion(), input.entry.rows)),
        }
    }
    // A few small ones, as of a flush of little, are not worth that all of them are written again.
    let is_full = rows_of_full * 4 >= rows * 3 && small <= full * 2 + SMALL;
    let (promotion, taken_over) = kinds.into_iter().max_by_key(|(_, rows)| *rows)?;
    let fits = promotion.obeys(room.config, inputs.iter().map(|input| &input.keys), rows);
    if services.len() > SERVICES || !is_full || taken_over * 2 < rows || !fits {
        return None;
    }
    let mut in_time: Vec<usize> = (0..inputs.len()).collect();
    in_time.sort_by_key(|at| (inputs[*at].entry.start, inputs[*at].entry.lsn, *at));
    let mut lots: Vec<Vec<usize>> = Vec::new();
    let mut room_left = 0;
    for at in in_time {
        let size = inputs[at].entry.bytes;
        match lots.last_mut().filter(|_| size <= room_left) {
            Some(lot) => lot.push(at),
            None => {
                lots.push(vec![at]);
                room_left = room.target_bytes();
            }
        }
        room_left = room_left.saturating_sub(size);
    }
    Some(Lots { promotion, lots })
}

/// Makes the outputs of `job`; `false`, and nothing made, if rows may repeat each other or are better written again.
pub async fn splice(job: &Job, inputs: &[Opened], room: &Room<'_>, outputs: &mut Outputs) -> Result<bool, Error> {
    let level = u8::from(job.kind == Kind::Sort);
    let Some(Lots { promotion, lots }) = lots(inputs, room) else { return Ok(false) };
    if level == 0 && lots.len() > 1 {
        return Ok(false);
    }
    let Some(wanted) = look_through(inputs, room).await? else { return Ok(false) };
    let parents = find(inputs, &wanted, room).await?;
    *outputs = Outputs::of(job, u32::try_from(lots.len()).unwrap_or(u32::MAX));
    for lot in &lots {
        let mut writer = Writer::try_new(promotion.clone(), room.config).map_err(|e| part_error(&e))?;
        for at in lot {
            match inputs[*at].promotion().is_same(promotion) {
                true => take_over(&inputs[*at], &parents, &mut writer, room).await?,
                false => write_anew(&inputs[*at], promotion, &parents, &mut writer, room).await?,
            }
        }
        let like = Like { level, hour: &job.hour, stray: false, sort: SORTED_GROUPS };
        outputs.put(room, writer, &like).await?;
    }
    Ok(true)
}

/// The ids of parents whose services are not known; `None` if two rows have the same hash.
///
/// Hashes that do not fit into memory are compared in several passes.
pub(super) async fn look_through(inputs: &[Opened], room: &Room<'_>) -> Result<Option<HashSet<Id>>, Error> {
    let rows: u64 = inputs.iter().map(|input| input.entry.rows).sum();
    let passes = (rows * HASH_BYTES).div_ceil((room.share / 4).max(HASH_BYTES)).max(1);
    let most = usize::try_from(room.parent_bytes() / ID_BYTES).unwrap_or(usize::MAX);
    let mut wanted = HashSet::new();
    let mut hashes: Vec<u64> = Vec::with_capacity(usize::try_from(rows / passes).unwrap_or(0));
    for pass in 0..passes {
        hashes.clear();
        for input in inputs {
            let groups = (0..input.entry.row_groups.len()).collect();
            let columns = if pass == 0 { &KNOWN_BY[..] } else { &KNOWN_BY[..HASHED] };
            let mut stream = input.rows(groups, Some(columns), BATCH_ROWS).map_err(|e| part_error(&e))?;
            while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
                room.go_on()?;
                hashes.extend(hashes_of(&batch).filter(|hash| hash % passes == pass));
                if pass == 0 {
                    add_wanted(&batch, most, &mut wanted);
                }
            }
        }
        hashes.sort_unstable();
        if hashes.windows(2).any(|two| two[0] == two[1]) {
            return Ok(None);
        }
    }
    Ok(Some(wanted))
}

fn hashes_of(batch: &RecordBatch) -> impl Iterator<Item = u64> {
    let column = |name: &str| batch.column_by_name(name).expect("it is among those that are read");
    let (traces, spans) = (column("trace_id").as_fixed_size_binary(), column("span_id").as_fixed_size_binary());
    let starts = column("start_time").as_primitive::<TimestampNanosecondType>();
    let durations = column("duration_ns").as_primitive::<Int64Type>();
    (0..batch.num_rows())
        .map(|row| row_hash(traces.value(row), spans.value(row), starts.value(row), durations.value(row)))
}

fn add_wanted(batch: &RecordBatch, most: usize, wanted: &mut HashSet<Id>) {
    let column = |name: &str| batch.column_by_name(name).expect("it is among those that are read");
    let (traces, ids) = (column("trace_id").as_fixed_size_binary(), column("parent_span_id").as_fixed_size_binary());
    let services = column("parent_service");
    for row in (0..batch.num_rows()).filter(|row| ids.is_valid(*row) && services.is_null(*row)) {
        if wanted.len() >= most {
            return;
        }
        wanted.insert(parents::id(traces.value(row), ids.value(row)));
    }
}

/// The spans `wanted` among the inputs' rows.
async fn find(inputs: &[Opened], wanted: &HashSet<Id>, room: &Room<'_>) -> Result<Parents, Error> {
    let mut found = Parents::new(room.parent_bytes());
    if wanted.is_empty() {
        return Ok(found);
    }
    for input in inputs {
        let groups = (0..input.entry.row_groups.len()).collect();
        let mut stream = input.rows(groups, Some(&parents::COLUMNS), BATCH_ROWS).map_err(|e| part_error(&e))?;
        while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
            room.go_on()?;
            found.learn_those(&batch, |id, _| wanted.contains(id));
        }
    }
    Ok(found)
}

/// All row groups of `input`.
async fn take_over(input: &Opened, parents: &Parents, writer: &mut Writer, room: &Room<'_>) -> Result<(), Error> {
    let whole = input.whole().await.map_err(|e| part_error(&e))?;
    writer.take_over_keys(input);
    for group in 0..input.entry.row_groups.len() {
        room.go_on()?;
        let facts = whole.read(group, &Opened::TAKEN_OVER).map_err(|e| part_error(&e))?;
        let filled = match parents.is_empty() {
            true => None,
            false => parents.filled(&whole.read(group, &PARENTS).map_err(|e| part_error(&e))?)?,
        };
        writer.take_over(&whole, group, &facts, filled.as_ref()).map_err(|e| part_error(&e))?;
    }
    Ok(())
}

/// All rows of `input`, with other promoted columns, in the order they have.
async fn write_anew(
    input: &Opened,
    promotion: &Promotion,
    parents: &Parents,
    writer: &mut Writer,
    room: &Room<'_>,
) -> Result<(), Error> {
    let schema = promotion.schema();
    for group in 0..input.entry.row_groups.len() {
        let mut stream = input.rows(vec![group], None, room.batch_rows(input)).map_err(|e| part_error(&e))?;
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = stream.next().await.map_err(|e| part_error(&e))? {
            room.go_on()?;
            let batch = input.reshape(&batch, promotion, &schema).map_err(|e| part_error(&e))?;
            bytes += batch.get_array_memory_size();
            waiting.push(batch);
            if bytes >= room.group_bytes() {
                write(&mut waiting, parents, writer)?;
                bytes = 0;
            }
        }
        // Rows of the next one may belong before these.
        write(&mut waiting, parents, writer)?;
    }
    Ok(())
}

/// What waits, as a row group.
fn write(waiting: &mut Vec<RecordBatch>, parents: &Parents, writer: &mut Writer) -> Result<(), Error> {
    let Some(group) = joined(waiting).map_err(|e| kernel_error(&e))? else { return Ok(()) };
    waiting.clear();
    writer.write(&parents.fill(group)?).map_err(|e| part_error(&e))
}
