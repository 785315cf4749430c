//! Rows as they come, in the format that is asked for.
//!
//! Duty: each format of `-o` from the rows of an answer. Guarantee: what is cut says so, in the format where it has a place
//! for it and on stderr where it has none. Left to others: the rows (`sql`), their bytes (`query::render`).

use std::io::Write;

use arrow::array::RecordBatch;

use super::super::sql::{Failure, MAX_TEXT_BYTES, Rows};
use super::{Look, Output, boxes, expanded, markdown};
use crate::query::render::{Format, Head, Lacks, Renderer};

/// Writes `rows`, of which at most `most` count, and gives how many there were.
///
/// Errors: the statement's, or of writing.
pub async fn write(rows: &mut Rows, look: Look, most: u64, out: &mut (dyn Write + Send)) -> Result<u64, Failure> {
    let written = match look.output {
        Output::Box => return people(rows, look.expanded, most, out).await,
        Output::Markdown => markdown(rows, most, out).await?,
        Output::Parquet => text(rows, Format::Parquet, most, out).await?,
        Output::Json => text(rows, Format::Json, most, out).await?,
        Output::Ndjson => text(rows, Format::Ndjson, most, out).await?,
        Output::Csv => text(rows, Format::Csv, most, out).await?,
        Output::Arrow => text(rows, Format::Arrow, most, out).await?,
    };
    let silent = !matches!(look.output, Output::Json | Output::Ndjson);
    if written.truncated && silent {
        eprintln!("notice: cut after {} rows; `--limit` raises it", written.rows);
    }
    Ok(written.rows)
}

/// What went out.
#[derive(Clone, Copy, Debug)]
struct Written {
    rows: u64,
    truncated: bool,
}

/// Hands out at most so many rows.
struct Taken {
    left: u64,
    rows: u64,
    truncated: bool,
}

impl Taken {
    fn of(most: u64) -> Self {
        Self { left: most, rows: 0, truncated: false }
    }

    fn take(&mut self, batch: &RecordBatch) -> RecordBatch {
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(batch.num_rows());
        self.truncated |= take < batch.num_rows();
        self.left -= take as u64;
        self.rows += take as u64;
        batch.slice(0, take)
    }
}

async fn people(rows: &mut Rows, expanded: bool, most: u64, out: &mut (dyn Write + Send)) -> Result<u64, Failure> {
    let schema = rows.schema();
    let (mut kept, mut count): (Vec<RecordBatch>, u64) = (Vec::new(), 0);
    let most_shown = usize::try_from(most).unwrap_or(usize::MAX).min(boxes::SHOWN);
    while let Some(batch) = rows.next().await? {
        let shown = usize::try_from(count).unwrap_or(usize::MAX);
        if shown < most_shown {
            kept.push(rows.shown(&batch.slice(0, batch.num_rows().min(most_shown - shown))));
        }
        count += batch.num_rows() as u64;
    }
    let more = count > most || rows.truncated();
    let text = match expanded {
        true => expanded::render(&kept, count.min(most), more)?,
        false => boxes::render(&schema, &kept, count.min(most), more)?,
    };
    out.write_all(text.as_bytes())?;
    Ok(count.min(most))
}

async fn text(rows: &mut Rows, format: Format, most: u64, out: &mut (dyn Write + Send)) -> Result<Written, Failure> {
    let (schema, query_id, snapshot) = (rows.schema(), rows.query_id(), rows.snapshot());
    let head = Head { query_id: &query_id, snapshot: &snapshot, schema: &schema, max_bytes: MAX_TEXT_BYTES };
    let (mut renderer, bytes) = Renderer::begin(format, false, head)?;
    out.write_all(&bytes)?;
    let mut taken = Taken::of(most);
    while let Some(batch) = rows.next().await? {
        let batch = taken.take(&rows.shown(&batch));
        out.write_all(&renderer.rows(&batch)?)?;
        if taken.truncated || renderer.is_full() {
            break;
        }
    }
    let truncated = taken.truncated || rows.truncated() || renderer.is_full();
    let lacks = Lacks { truncated, incomplete: rows.incomplete() };
    let bytes = renderer.end(rows.stats(), lacks, rows.notices())?;
    out.write_all(&bytes)?;
    Ok(Written { rows: taken.rows, truncated })
}

async fn markdown(rows: &mut Rows, most: u64, out: &mut (dyn Write + Send)) -> Result<Written, Failure> {
    out.write_all(markdown::head(&rows.schema()).as_bytes())?;
    let mut taken = Taken::of(most);
    while let Some(batch) = rows.next().await? {
        out.write_all(markdown::rows(&taken.take(&rows.shown(&batch)))?.as_bytes())?;
        if taken.truncated {
            break;
        }
    }
    Ok(Written { rows: taken.rows, truncated: taken.truncated || rows.truncated() })
}
