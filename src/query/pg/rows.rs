//! Rows of a running statement on the wire.
//!
//! Duty: send batches as they come. Guarantee: at most one piece is written ahead of the client, a cancel or a client
//! that leaves stops the statement at once, and a client that reads too slowly is cut at the statement's deadline. Left
//! to others: starting it (`connection`).

use std::future::Future;
use std::io;

use arrow::array::RecordBatch;
use jiff::tz::TimeZone;

use super::back::{self, Field};
use super::cancel::Signal;
use super::copy::Copy;
use super::kind::Kind;
use super::problem::Problem;
use super::value::Column;
use super::wire::{Broken, PIECE, Wire};
use crate::query::Answer;
use crate::query::error::{Code, Error};

/// Why something that was asked for is not done.
#[derive(Debug)]
pub enum Stop {
    /// Told to the client; the connection goes on.
    Problem(Box<Problem>),
    /// The connection ends.
    Broken(Broken),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Waits for `work` while the client may cancel it or leave.
///
/// Errors: 57014 once it is cancelled, [`Broken::Gone`] once it has left.
pub async fn attended<T>(wire: &mut Wire, signal: &Signal, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::select! {
        biased;
        () = signal.cancelled() => Err(cancelled().into()),
        done = work => Ok(done),
        () = wire.gone() => Err(Broken::Gone(io::ErrorKind::UnexpectedEof.into()).into()),
    }
}

fn cancelled() -> Problem {
    let error = Error::new(Code::Cancelled, "the statement was cancelled").hint("send it again, or a smaller one");
    Problem::of(&error, "", 0)
}

/// The rows of a statement that runs.
#[derive(Debug)]
pub struct Rows {
    /// The statement.
    pub answer: Answer,
    /// Its columns.
    pub fields: Vec<Field>,
    /// Whether they are sent as a file.
    copy: Option<Copy>,
    batch: Option<Batch>,
}

#[derive(Debug)]
struct Batch {
    columns: Vec<Column>,
    rows: usize,
    next: usize,
}

/// How far rows were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All that there are; so many now.
    All(u64),
    /// As many as were asked for; there may be more.
    Some,
}

impl Rows {
    /// Those of `answer`, whose columns are `fields`.
    pub fn new(answer: Answer, fields: Vec<Field>) -> Self {
        Self { answer, fields, copy: None, batch: None }
    }

    /// As a file.
    #[must_use]
    pub fn into_file(self, copy: Copy) -> Self {
        Self { copy: Some(copy), ..self }
    }

    /// Sends up to `most` rows.
    ///
    /// Errors: what the statement ends in, 57014 once it is cancelled, [`Broken`].
    pub async fn send(
        &mut self,
        wire: &mut Wire,
        signal: &Signal,
        zone: &TimeZone,
        most: Option<u64>,
    ) -> Result<Sent, Stop> {
        let mut sent = 0;
        loop {
            if let Some(batch) = &mut self.batch {
                while batch.next < batch.rows {
                    if most.is_some_and(|most| sent >= most) {
                        return Ok(Sent::Some);
                    }
                    let row = batch.next;
                    match &self.copy {
                        Some(copy) => copy.row(&batch.columns, row, zone, &mut wire.out),
                        None => back::row(&mut wire.out, self.fields.len(), |out| {
                            for (column, field) in batch.columns.iter().zip(&self.fields) {
                                column.write(row, field.binary, zone, out);
                            }
                        }),
                    }
                    batch.next += 1;
                    sent += 1;
                    if wire.out.len() >= PIECE {
                        push(&self.answer, wire, signal).await?;
                    }
                }
                self.batch = None;
                // What is whole goes out before the next rows are waited for, unless it is next to nothing.
                if wire.out.len() >= PIECE / 16 {
                    push(&self.answer, wire, signal).await?;
                }
            }
            let next = attended(wire, signal, self.answer.next()).await?;
            match next.map_err(|error| Problem::of(&error, "", 0))? {
                Some(batch) => {
                    let kinds: Vec<Kind> = self.fields.iter().map(|field| field.of).collect();
                    let making = self.answer.apart(move || columns(&batch, &kinds));
                    let made = attended(wire, signal, making).await?.map_err(|error| Problem::of(&error, "", 0))?;
                    self.batch = Some(made?);
                }
                None => return Ok(Sent::All(sent)),
            }
        }
    }

    /// What to tell at the end.
    pub fn notices(&self) -> Vec<Problem> {
        let mut notices: Vec<Problem> =
            self.answer.notices.iter().map(|notice| Problem::new("01000", notice.clone())).collect();
        if self.answer.truncated {
            let text = format!("rows were left out behind the first {}", self.answer.stats().rows);
            notices.push(Problem::new("01000", text).hint("narrow the time range, aggregate, or read them as Arrow"));
        }
        notices
    }
}

fn columns(batch: &RecordBatch, kinds: &[Kind]) -> Result<Batch, Problem> {
    let column = |(array, of): (_, &Kind)| Column::try_new(array, *of);
    let columns = batch.columns().iter().zip(kinds).map(column).collect::<Result<Vec<_>, _>>();
    let columns = columns.map_err(|error| Problem::new("22003", format!("a value has no form here: {error}")))?;
    Ok(Batch { columns, rows: batch.num_rows(), next: 0 })
}

async fn push(answer: &Answer, wire: &mut Wire, signal: &Signal) -> Result<(), Stop> {
    let deadline = answer.deadline();
    tokio::select! {
        biased;
        () = signal.cancelled() => Err(cancelled().into()),
        flushed = tokio::time::timeout_at(deadline, wire.flush()) => match flushed {
            Ok(flushed) => flushed.map_err(|error| Broken::Gone(error).into()),
            // An error could not reach it either.
            Err(_) => Err(Broken::Gone(io::ErrorKind::TimedOut.into()).into()),
        },
    }
}
