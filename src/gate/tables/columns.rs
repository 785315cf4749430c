//! Rows of the journal as columns.
//!
//! Duty: the schemas of the tables and the batches that have them. Guarantee: a column that has no value in a row is NULL
//! there. Left to others: which rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::super::identity::{AlertId, transition_id};
use super::super::journal::{EpisodeRow, JournalRow, KeyRow, Missed, OutboxRow, OutcomeRun, Status, TickRow};
use super::super::state::{Level, Phase};
use super::Kind;
use crate::span::schema::{item, timestamp};

/// The columns of a table.
pub(super) fn schema(kind: Kind) -> SchemaRef {
    let text = DataType::Utf8;
    let count = DataType::Int64;
    let number = DataType::Float64;
    let truth = DataType::Boolean;
    let time = timestamp(TimeUnit::Nanosecond);
    let cut = timestamp(TimeUnit::Microsecond);
    let traces = DataType::List(item(DataType::FixedSizeBinary(16)));
    let columns: &[(&str, &DataType)] = match kind {
        Kind::Results => &[
            ("gate", &text),
            ("generation", &count),
            ("gate_group", &text),
            ("key", &text),
            ("outcome", &text),
            ("first_tick", &time),
            ("last_tick", &time),
            ("evaluations", &count),
            ("value", &number),
            ("value_avg", &number),
            ("n", &count),
            ("baseline", &number),
            ("window_start", &time),
            ("window_end", &time),
            ("cut", &cut),
            ("evidence", &text),
            ("trace_ids", &traces),
            ("mode", &text),
            ("cost_ns", &count),
        ],
        Kind::State => &[
            ("gate", &text),
            ("key", &text),
            ("phase", &text),
            ("level", &text),
            ("episode", &count),
            ("active_at", &time),
            ("fired_at", &time),
            ("last_outcome", &text),
            ("last_value", &number),
        ],
        Kind::Transitions => &[
            ("at", &time),
            ("tick", &time),
            ("gate", &text),
            ("key", &text),
            ("from_phase", &text),
            ("to_phase", &text),
            ("cause", &text),
            ("level", &text),
            ("episode", &count),
            ("transition", &text),
            ("actor", &text),
        ],
        Kind::Episodes => &[
            ("gate", &text),
            ("key", &text),
            ("episode", &count),
            ("opened", &time),
            ("closed", &time),
            ("level_max", &text),
            ("closed_by", &text),
            ("pipeline_run", &count),
        ],
        Kind::Ticks => &[
            ("gate_group", &text),
            ("tick", &time),
            ("derived", &truth),
            ("closed_at", &time),
            ("cut", &cut),
            ("late_spans", &count),
            ("gates", &count),
            ("missed", &count),
            ("overrun", &count),
            ("downtime", &count),
            ("timeout", &count),
            ("cost_ns", &count),
            ("outbox_waiting", &count),
            ("outbox_dead", &count),
        ],
        Kind::Outbox => &[
            ("id", &count),
            ("receiver", &text),
            ("gate", &text),
            ("key", &text),
            ("transition", &text),
            ("status", &text),
            ("level", &text),
            ("written_at", &time),
            ("attempts", &count),
            ("next_try", &time),
            ("dead", &text),
        ],
    };
    let fields: Vec<Field> = columns.iter().map(|(name, of)| Field::new(*name, (*of).clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

type Batch = Result<RecordBatch, ArrowError>;

pub(super) fn results<'a>(rows: impl Iterator<Item = &'a OutcomeRun>) -> Batch {
    let rows: Vec<&OutcomeRun> = rows.collect();
    let mut traces = ListBuilder::new(FixedSizeBinaryBuilder::new(16)).with_field(item(DataType::FixedSizeBinary(16)));
    for row in &rows {
        for id in &row.trace_ids {
            traces.values().append_value(id)?;
        }
        traces.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|r| Some(r.gate.as_str()))),
        counts(rows.iter().map(|r| Some(r.generation))),
        texts(rows.iter().map(|r| Some(r.group.as_str()))),
        texts(rows.iter().map(|r| Some(r.key.as_str()))),
        texts(rows.iter().map(|r| Some(r.outcome.as_str()))),
        times(rows.iter().map(|r| Some(r.first_tick_ns))),
        times(rows.iter().map(|r| Some(r.last_tick_ns))),
        counts(rows.iter().map(|r| Some(r.evaluations))),
        numbers(rows.iter().map(|r| r.value)),
        numbers(rows.iter().map(|r| r.value_avg())),
        counts(rows.iter().map(|r| r.n)),
        numbers(rows.iter().map(|r| r.baseline)),
        times(rows.iter().map(|r| Some(r.window.start_ns))),
        times(rows.iter().map(|r| Some(r.window.end_ns))),
        cuts(rows.iter().map(|r| Some(r.cut_us))),
        texts(rows.iter().map(|r| Some(r.evidence.as_str()))),
        Arc::new(traces.finish()),
        texts(rows.iter().map(|r| Some(if r.dry_run { "dry_run" } else { "enforce" }))),
        counts(rows.iter().map(|r| Some(r.cost_ns))),
    ];
    RecordBatch::try_new(schema(Kind::Results), columns)
}

pub(super) fn state(rows: &[(String, Option<(String, KeyRow)>)]) -> Batch {
    let states = || rows.iter().map(|(_, row)| row.as_ref().map(|(_, row)| &row.state));
    let last = || rows.iter().map(|(_, row)| row.as_ref().and_then(|(_, row)| row.last));
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|(gate, _)| Some(gate.as_str()))),
        texts(rows.iter().map(|(_, row)| row.as_ref().map(|(key, _)| key.as_str()))),
        texts(states().map(|state| state.map(|state| state.phase.as_str()))),
        texts(states().map(|state| state.and_then(|state| state.phase.level()).map(Level::as_str))),
        counts(states().map(|state| state.map(|state| state.episode).filter(|episode| *episode > 0))),
        times(states().map(|state| {
            let is_active = |phase: Phase| phase == Phase::Pending || phase.is_open();
            state.filter(|state| is_active(state.phase)).and_then(|state| state.active_at_ns)
        })),
        times(states().map(|state| state.filter(|state| state.phase.is_open()).and_then(|state| state.fired_at_ns))),
        texts(last().map(|last| last.map(|(outcome, _)| outcome.as_str()))),
        numbers(last().map(|last| last.and_then(|(_, value)| value))),
    ];
    RecordBatch::try_new(schema(Kind::State), columns)
}

pub(super) fn transitions<'a>(rows: impl Iterator<Item = &'a JournalRow>) -> Batch {
    let rows: Vec<&JournalRow> = rows.collect();
    let columns: Vec<ArrayRef> = vec![
        times(rows.iter().map(|r| Some(r.at_ns))),
        times(rows.iter().map(|r| Some(r.t_ns))),
        texts(rows.iter().map(|r| Some(r.gate.as_str()))),
        texts(rows.iter().map(|r| Some(r.key.as_str()))),
        texts(rows.iter().map(|r| Some(r.from.as_str()))),
        texts(rows.iter().map(|r| Some(r.to.as_str()))),
        texts(rows.iter().map(|r| Some(r.cause.as_str()))),
        // That of the episode it leaves, where it leaves one.
        texts(rows.iter().map(|r| r.to.level().or(r.from.level()).map(Level::as_str))),
        counts(rows.iter().map(|r| r.episode)),
        texts(rows.iter().map(|r| r.transition.as_deref())),
        texts(rows.iter().map(|r| r.actor.as_deref())),
    ];
    RecordBatch::try_new(schema(Kind::Transitions), columns)
}

pub(super) fn episodes(rows: &[(AlertId, u64, EpisodeRow)]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|(.., r)| Some(r.gate.as_str()))),
        texts(rows.iter().map(|(.., r)| Some(r.key.as_str()))),
        counts(rows.iter().map(|(_, number, _)| Some(*number))),
        times(rows.iter().map(|(.., r)| Some(r.opened_ns))),
        times(rows.iter().map(|(.., r)| r.closed_ns)),
        texts(rows.iter().map(|(.., r)| Some(r.level_max.as_str()))),
        texts(rows.iter().map(|(.., r)| r.closed_by.map(|cause| cause.as_str()))),
        Arc::new(rows.iter().map(|(.., r)| r.pipeline_run).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(Kind::Episodes), columns)
}

/// Ticks of groups, each a row; of a gate that missed one for several reasons each is counted, and the gate once.
pub(super) fn ticks(rows: &[(String, i64, TickRow)]) -> Batch {
    let of = || rows.iter().map(|(.., row)| row.of.as_ref());
    let missed = |why: Missed| counts(rows.iter().map(move |(.., row)| Some(missed_by(row, |of| of == why))));
    let any = rows.iter().map(|(.., row)| {
        let gates: BTreeSet<&str> = row.missed.iter().map(|(gate, _)| gate.as_str()).collect();
        Some(gates.len() as u64)
    });
    let columns: Vec<ArrayRef> = vec![
        texts(of().map(|of| of.map(|of| of.group.as_str()))),
        times(rows.iter().map(|(_, t_ns, _)| Some(*t_ns))),
        Arc::new(of().map(|of| of.map(|of| of.is_derived)).collect::<BooleanArray>()),
        times(rows.iter().map(|(.., row)| row.closed_ns)),
        cuts(rows.iter().map(|(.., row)| row.cut_us)),
        counts(rows.iter().map(|(.., row)| row.late)),
        counts(of().map(|of| of.map(|of| of.gates))),
        counts(any),
        missed(Missed::Overrun),
        missed(Missed::Downtime),
        missed(Missed::Timeout),
        // What an earlier version wrote does not say it.
        counts(rows.iter().map(|(.., row)| row.of.as_ref().map(|_| row.cost_ns))),
        counts(rows.iter().map(|(.., row)| row.outbox.map(|outbox| outbox.messages))),
        counts(rows.iter().map(|(.., row)| row.outbox.map(|outbox| outbox.dead))),
    ];
    RecordBatch::try_new(schema(Kind::Ticks), columns)
}

fn missed_by(row: &TickRow, is_meant: impl Fn(Missed) -> bool) -> u64 {
    row.missed.iter().filter(|(_, why)| is_meant(*why)).count() as u64
}

/// Messages that wait or were given up.
pub(super) fn outbox(rows: &[(String, u64, OutboxRow)]) -> Batch {
    let notices = || rows.iter().map(|(.., row)| &row.notice);
    let transitions: Vec<String> = notices().map(|n| transition_id(n.alert, n.episode, n.number)).collect();
    let columns: Vec<ArrayRef> = vec![
        counts(rows.iter().map(|(_, number, _)| Some(*number))),
        texts(rows.iter().map(|(receiver, ..)| Some(receiver.as_str()))),
        texts(notices().map(|notice| Some(notice.gate.as_str()))),
        texts(notices().map(|notice| Some(notice.key.as_str()))),
        texts(transitions.iter().map(|id| Some(id.as_str()))),
        texts(notices().map(|notice| {
            Some(match notice.status {
                Status::Firing => "firing",
                Status::Resolved => "resolved",
            })
        })),
        texts(notices().map(|notice| Some(notice.level.as_str()))),
        times(rows.iter().map(|(.., row)| Some(row.written_ns))),
        counts(rows.iter().map(|(.., row)| Some(u64::from(row.attempts)))),
        // What was never tried is due since it was written.
        times(rows.iter().map(|(.., row)| row.dead.is_none().then(|| row.next_try_ns.max(row.written_ns)))),
        texts(rows.iter().map(|(.., row)| row.dead.as_deref())),
    ];
    RecordBatch::try_new(schema(Kind::Outbox), columns)
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn counts(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(|n| i64::try_from(n).unwrap_or(i64::MAX))).collect::<Int64Array>())
}

fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn cuts(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}
