//! The rows of an answer, whoever gives them.
//!
//! Duty: the daemon's stream and a statement that runs here as one. Guarantee: batches come as they arrive, none is kept.
//! Left to others: their form (`output`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::progress::Progress;
use super::{Failure, ask};
use crate::query::render::value;
use crate::query::units::UNIT;
use crate::query::{Answer, Stats};

/// The rows, as they come. Dropping them stops the statement.
#[derive(Debug)]
pub struct Rows {
    from: Origin,
    units: Vec<(String, String)>,
    progress: Progress,
    count: u64,
}

#[derive(Debug)]
pub(super) enum Origin {
    /// The daemon's Arrow stream.
    Daemon(Box<ask::Rows>),
    /// A statement that runs here.
    Offline(Box<Answer>),
}

impl Rows {
    /// With the units of columns whose names do not say them.
    pub(super) fn new(from: Origin, units: Vec<(String, String)>, progress: Progress) -> Self {
        Self { from, units, progress, count: 0 }
    }

    pub(in crate::cli) async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let next = async {
            match &mut self.from {
                Origin::Daemon(rows) => rows.next().await,
                Origin::Offline(answer) => Ok(answer.next().await?),
            }
        };
        let batch = self.progress.watch(self.count, next).await?;
        self.count += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        Ok(batch)
    }

    pub(in crate::cli) fn schema(&self) -> SchemaRef {
        let schema = match &self.from {
            Origin::Daemon(rows) => &rows.schema,
            Origin::Offline(answer) => &answer.schema,
        };
        if self.units.is_empty() {
            return schema.clone();
        }
        let fields = schema.fields().iter().map(|field| {
            let unit = self.units.iter().find(|(column, _)| column == field.name());
            let mut metadata = field.metadata().clone();
            metadata.extend(unit.map(|(_, unit)| (UNIT.to_owned(), unit.clone())));
            Field::clone(field).with_metadata(metadata)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Rows of the wire have attributes in plain types; formats know them as containers.
    pub(in crate::cli) fn shown(&self, batch: &RecordBatch) -> RecordBatch {
        let columns: Vec<_> = batch.columns().iter().map(value::with_containers).collect();
        let schema = batch.schema();
        let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
            Field::new(field.name(), column.data_type().clone(), true).with_metadata(field.metadata().clone())
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns).unwrap_or_else(|_| batch.clone())
    }

    pub(in crate::cli) fn query_id(&self) -> String {
        match &self.from {
            Origin::Daemon(rows) => rows.query_id.clone(),
            Origin::Offline(answer) => answer.query_id.clone(),
        }
    }

    pub(in crate::cli) fn snapshot(&self) -> String {
        match &self.from {
            Origin::Daemon(rows) => rows.snapshot.clone(),
            Origin::Offline(answer) => value::snapshot(answer.snapshot_us),
        }
    }

    pub(in crate::cli) fn notices(&self) -> &[String] {
        match &self.from {
            Origin::Daemon(rows) => &rows.notices,
            Origin::Offline(answer) => &answer.notices,
        }
    }

    /// The daemon's own figures stay with it: an Arrow stream has no place for them.
    pub(in crate::cli) fn stats(&self) -> Stats {
        match &self.from {
            Origin::Daemon(rows) => Stats { elapsed_ms: rows.elapsed_ms(), ..Stats::default() },
            Origin::Offline(answer) => answer.stats(),
        }
    }

    pub(in crate::cli) fn truncated(&self) -> bool {
        match &self.from {
            Origin::Daemon(_) => false,
            Origin::Offline(answer) => answer.truncated,
        }
    }

    pub(in crate::cli) fn incomplete(&self) -> bool {
        match &self.from {
            Origin::Daemon(_) => false,
            Origin::Offline(answer) => answer.incomplete,
        }
    }
}
