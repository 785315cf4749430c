//! `gate_results`, `gate_state`, `gate_transitions`, `gate_episodes` (gates.md 10), `gate_ticks`, `gate_outbox`.
//!
//! Duty: the journal as tables of SQL, read piece by piece. Guarantee: a scan reads one commit of the journal; bounds on ticks
//! of `gate_results` and `gate_ticks` keep it from reading what lies outside. Left to others: columns (`columns`), exact
//! filters (above the scan), which of them gates may read (`schema`).

mod columns;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

use super::journal::{Error, Journal, RUN_NS, Snapshot};

/// Rows of one batch.
const PIECE: usize = 4_096;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Results,
    State,
    Transitions,
    Episodes,
    Ticks,
    Outbox,
}

/// All of them by name. Without a journal they are empty: for checking gate files offline.
pub fn tables(journal: Option<&Journal>) -> Vec<(String, Arc<dyn TableProvider>)> {
    let all = [
        ("gate_results", Kind::Results),
        ("gate_state", Kind::State),
        ("gate_transitions", Kind::Transitions),
        ("gate_episodes", Kind::Episodes),
        ("gate_ticks", Kind::Ticks),
        ("gate_outbox", Kind::Outbox),
    ];
    let table = |kind| Arc::new(Table { kind, journal: journal.cloned(), schema: columns::schema(kind) });
    all.into_iter().map(|(name, kind)| (name.to_owned(), table(kind) as Arc<dyn TableProvider>)).collect()
}

#[derive(Debug)]
struct Table {
    kind: Kind,
    journal: Option<Journal>,
    schema: SchemaRef,
}

#[async_trait::async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = Scan {
            kind: self.kind,
            journal: self.journal.clone(),
            schema: self.schema.clone(),
            ticks: Ticks::of(filters),
        };
        let limit = limit.filter(|_| filters.is_empty());
        let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(scan)];
        let none = std::iter::empty::<datafusion::physical_expr::LexOrdering>();
        let plan = StreamingTableExec::try_new(self.schema.clone(), partitions, projection, none, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// Ticks that rows of results, and ticks themselves, may lie at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    from_ns: i64,
    to_ns: i64,
}

impl Ticks {
    /// What `filters` leave of `first_tick`: bounds on it, and on `last_tick`, which lies at most five minutes behind. What they
    /// leave of `tick`.
    fn of(filters: &[Expr]) -> Self {
        let mut ticks = Self { from_ns: i64::MIN, to_ns: i64::MAX };
        for filter in filters {
            ticks.narrow(filter);
        }
        ticks
    }

    fn narrow(&mut self, filter: &Expr) {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return };
        if *op == Operator::And {
            self.narrow(left);
            self.narrow(right);
            return;
        }
        let (name, at_ns, op) = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => (&column.name, instant(value), *op),
            (Expr::Literal(value, _), Expr::Column(column)) => match op.swap() {
                Some(op) => (&column.name, instant(value), op),
                None => return,
            },
            _ => return,
        };
        let Some(at_ns) = at_ns else { return };
        let slack_ns = match name.as_str() {
            "last_tick" => RUN_NS,
            "first_tick" | "tick" => 0,
            _ => return,
        };
        if matches!(op, Operator::Gt | Operator::GtEq | Operator::Eq) {
            self.from_ns = self.from_ns.max(at_ns.saturating_sub(slack_ns));
        }
        if matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq) {
            self.to_ns = self.to_ns.min(at_ns);
        }
    }

    fn has(self, first_tick_ns: i64) -> bool {
        (self.from_ns..=self.to_ns).contains(&first_tick_ns)
    }
}

fn instant(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(at, _) => *at,
        ScalarValue::TimestampMicrosecond(at, _) => at.and_then(|at| at.checked_mul(1_000)),
        ScalarValue::TimestampMillisecond(at, _) => at.and_then(|at| at.checked_mul(1_000_000)),
        ScalarValue::TimestampSecond(at, _) => at.and_then(|at| at.checked_mul(1_000_000_000)),
        _ => None,
    }
}

/// One scan, which takes its view of the journal when it runs.
struct Scan {
    kind: Kind,
    journal: Option<Journal>,
    schema: SchemaRef,
    ticks: Ticks,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("kind", &self.kind).field("ticks", &self.ticks).finish_non_exhaustive()
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = self.journal.as_ref().map(|journal| journal.snapshot().map(|view| Reader::new(self, view)));
        let pieces = stream::unfold(reader, |reader| async move {
            let mut reader = match reader? {
                Ok(reader) => reader,
                Err(error) => return Some((Err(failed(error)), None)),
            };
            match reader.next() {
                Ok(Some(batch)) => Some((Ok(batch), Some(Ok(reader)))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), pieces))
    }
}

fn failed(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Where a scan stands.
struct Reader {
    kind: Kind,
    view: Snapshot,
    ticks: Ticks,
    after: (i64, u64),
    from: u64,
    /// The last tick that was read, by group.
    tick: Option<(String, i64)>,
    /// The last message that was read, by receiver.
    message: (String, u64),
    done: bool,
}

impl Reader {
    fn new(scan: &Scan, view: Snapshot) -> Self {
        let before = (scan.ticks.from_ns, 0);
        Self {
            kind: scan.kind,
            view,
            ticks: scan.ticks,
            after: before,
            from: 0,
            tick: None,
            message: (String::new(), 0),
            done: false,
        }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.done {
            return Ok(None);
        }
        let batch = match self.kind {
            Kind::Results => {
                let rows = self.view.results(self.after, self.ticks.to_ns, PIECE).map_err(failed)?;
                if let Some((place, _)) = rows.last() {
                    self.after = *place;
                    columns::results(rows.iter().map(|(_, row)| row))
                } else {
                    self.done = true;
                    let running = self.view.all_running().map_err(failed)?;
                    columns::results(running.iter().filter(|row| self.ticks.has(row.first_tick_ns)))
                }
            }
            Kind::Transitions => {
                let rows = self.view.journal(self.from, PIECE).map_err(failed)?;
                match rows.last() {
                    Some((sequence, _)) => self.from = sequence + 1,
                    None => self.done = true,
                }
                columns::transitions(rows.iter().map(|(_, row)| row))
            }
            Kind::State => {
                self.done = true;
                let mut rows = Vec::new();
                for (name, gate) in self.view.gates().map_err(failed)?.into_iter().filter(|(_, gate)| gate.loaded) {
                    let keys = self.view.keys(&name, gate.generation).map_err(failed)?;
                    if keys.is_empty() {
                        rows.push((name, None));
                    } else {
                        rows.extend(keys.into_iter().map(|(key, row)| (name.clone(), Some((key, row)))));
                    }
                }
                columns::state(&rows)
            }
            Kind::Episodes => {
                self.done = true;
                columns::episodes(&self.view.episodes().map_err(failed)?)
            }
            Kind::Ticks => {
                let after = self.tick.as_ref().map(|(group, t_ns)| (group.as_str(), *t_ns));
                let span = (self.ticks.from_ns, self.ticks.to_ns);
                let rows = self.view.ticks_between(after, span, PIECE).map_err(failed)?;
                match rows.last() {
                    Some((group, t_ns, _)) => self.tick = Some((group.clone(), *t_ns)),
                    None => self.done = true,
                }
                columns::ticks(&rows)
            }
            Kind::Outbox => {
                let (receiver, number) = (self.message.0.as_str(), self.message.1);
                let rows = self.view.messages((receiver, number), PIECE).map_err(failed)?;
                match rows.last() {
                    Some((receiver, number, _)) => self.message = (receiver.clone(), *number),
                    None => self.done = true,
                }
                columns::outbox(&rows)
            }
        };
        Ok(Some(batch?))
    }
}
