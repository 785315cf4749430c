//! `learned_patterns`, `feedback` and `learn_runs` as tables (learn.md 3.4, 4, 6.3).
//!
//! Duty: rows of `learn.redb` to columns. Guarantee: a scan of `feedback` sees every try that engine and gates had committed
//! when it began, or fails; columns and their order are those of the specification. Left to others: the rows (`journal`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result};

use super::follow::{Follower, WAIT};
use super::journal::{Error, Feedback, Journal, RunRow};
use super::patterns::fold::Row;
use crate::error::Class;
use crate::query;
use crate::query::lazy::{Lazy, Rows};

/// The tables by name, over the open file and its follower; those of a learner that is off are empty and say so.
pub fn tables(journal: Option<&Journal>, follower: Option<&Follower>) -> Vec<(String, Arc<dyn TableProvider>)> {
    let of_file = |rows: fn(&Journal) -> std::result::Result<RecordBatch, Error>| {
        let journal = journal?.clone();
        let made = move || -> Rows { Box::pin(read(journal.clone(), rows)) };
        Some(made)
    };
    let of_patterns = of_file(|journal| Ok(patterns(&journal.pattern_rows()?)));
    let of_runs = of_file(|journal| Ok(runs(&journal.pattern_runs()?)));
    let of_feedback = follower.cloned().map(|follower| {
        move || -> Rows {
            let follower = follower.clone();
            Box::pin(async move {
                catch_up(&follower).await?;
                read(follower.journal().clone(), |journal| Ok(feedback(&journal.feedback()?))).await
            })
        }
    });
    vec![
        table("learned_patterns", "patterns", patterns(&[]).schema(), of_patterns),
        table("feedback", "feedback", feedback(&[]).schema(), of_feedback),
        table("learn_runs", "patterns", runs(&[]).schema(), of_runs),
    ]
}

fn table(
    name: &str,
    learner: &str,
    schema: SchemaRef,
    rows: Option<impl Fn() -> Rows + Send + Sync + 'static>,
) -> (String, Arc<dyn TableProvider>) {
    let off = || {
        format!(
            "`{name}` is empty because learning is off: it needs `learn.enabled: true` and `learn.learners.{learner}: on`"
        )
    };
    let table = match rows {
        Some(rows) => Lazy::new(schema, rows),
        None => Lazy::empty(schema, off()),
    };
    (name.to_owned(), Arc::new(table))
}

/// Waits until all that engine and gates have committed by now is taken in.
async fn catch_up(follower: &Follower) -> Result<()> {
    match tokio::time::timeout(WAIT, follower.level()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(unavailable(&error.to_string())),
        Err(_) => Err(unavailable("engine and gates are more than a second ahead")),
    }
}

async fn read(
    journal: Journal,
    rows: impl FnOnce(&Journal) -> std::result::Result<RecordBatch, Error> + Send + 'static,
) -> Result<RecordBatch> {
    match tokio::task::spawn_blocking(move || rows(&journal)).await {
        Ok(Ok(batch)) => Ok(batch),
        Ok(Err(error)) if error.class() == Class::Unavailable => Err(unavailable(&error.to_string())),
        Ok(Err(error)) => Err(DataFusionError::External(Box::new(error))),
        Err(_) => Err(unavailable("the reader stopped")),
    }
}

/// The statement may be sent again; `sql.busy` is the code of sql.md 10 that says so.
fn unavailable(why: &str) -> DataFusionError {
    let error = query::Error::new(query::Code::Busy, format!("learning cannot be read at the moment: {why}"));
    DataFusionError::External(Box::new(error.hint("send it again in a second")))
}

/// A column of a table: name, values, whether NULL may stand in it.
type Column = (&'static str, ArrayRef, bool);

fn batch(columns: Vec<Column>) -> RecordBatch {
    let field = |(name, array, nullable): &Column| Field::new(*name, array.data_type().clone(), *nullable);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    RecordBatch::try_new(schema, arrays)
        .expect("the columns are made from the same rows, and their types give the schema")
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn integers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))).collect::<Int64Array>())
}

fn doubles(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn instants(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn cuts(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn trace_ids<'a>(values: impl Iterator<Item = &'a Vec<[u8; 16]>>) -> ArrayRef {
    let mut builder = ListBuilder::new(FixedSizeBinaryBuilder::new(16));
    for ids in values {
        for id in ids {
            builder.values().append_value(id).expect("an id has 16 bytes");
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn patterns(rows: &[(String, Row)]) -> RecordBatch {
    let of = || rows.iter().map(|(_, row)| row);
    let labels: Vec<String> = of().map(|row| serde_json::json!(row.labels).to_string()).collect();
    batch(vec![
        ("pattern", texts(rows.iter().map(|(name, _)| Some(name.as_str()))), false),
        ("key", texts(of().map(|row| Some(row.key.as_str()))), false),
        ("support", integers(of().map(|row| Some(row.support))), false),
        ("effect", doubles(of().map(|row| row.effect.map(|effect| effect.value))), true),
        ("first_seen", instants(of().map(|row| Some(row.first_seen_ns))), false),
        ("last_seen", instants(of().map(|row| Some(row.last_seen_ns))), false),
        ("trace_ids", trace_ids(of().map(|row| &row.trace_ids)), false),
        ("effect_kind", texts(of().map(|row| Some(if row.rest.is_some() { "ratio" } else { "share" }))), false),
        ("effect_low", doubles(of().map(|row| row.effect.map(|effect| effect.low))), true),
        ("effect_high", doubles(of().map(|row| row.effect.map(|effect| effect.high))), true),
        ("n", integers(of().map(|row| Some(row.n))), false),
        ("rest_support", integers(of().map(|row| row.rest.map(|(support, _)| support))), true),
        ("rest_n", integers(of().map(|row| row.rest.map(|(_, n)| n))), true),
        ("windows", integers(of().map(|row| Some(row.windows))), false),
        ("window_start", instants(of().map(|row| Some(row.window_start_ns))), false),
        ("window_end", instants(of().map(|row| Some(row.last_seen_ns))), false),
        ("cut", cuts(of().map(|row| Some(row.cut_us))), false),
        ("labels", texts(labels.iter().map(|text| Some(text.as_str()))), false),
        ("evidence", texts(of().map(|row| Some(row.evidence.as_str()))), false),
        ("expires_at", instants(of().map(|row| Some(row.expires_ns))), false),
    ])
}

fn feedback(rows: &[Feedback]) -> RecordBatch {
    let of = || rows.iter().map(|(_, row)| row);
    let runs: ArrayRef = Arc::new(of().map(|row| row.run).collect::<Int64Array>());
    batch(vec![
        ("gate", texts(of().map(|row| Some(row.gate.as_str()))), false),
        ("key", texts(of().map(|row| Some(row.key.as_str()))), false),
        ("episode", integers(of().map(|row| Some(row.episode))), false),
        ("pipeline", texts(of().map(|row| Some(row.pipeline.as_str()))), false),
        ("run", runs, false),
        ("target", texts(of().map(|row| Some(row.target.as_str()))), false),
        ("variant", texts(of().map(|row| Some(row.variant.as_str()))), false),
        ("value_before", doubles(of().map(|row| row.value_before.flatten())), true),
        ("value_after", doubles(of().map(|row| row.decision.value_after)), true),
        ("outcome", texts(of().map(|row| row.decision.outcome.map(super::feedback::Outcome::as_str))), true),
        ("seconds", doubles(of().map(|row| row.decision.seconds)), true),
        ("at", instants(of().map(|row| Some(row.facts.at_ns))), false),
    ])
}

fn runs(rows: &[(String, i64, RunRow)]) -> RecordBatch {
    let of = || rows.iter().map(|(_, _, row)| row);
    batch(vec![
        ("pattern", texts(rows.iter().map(|(name, ..)| Some(name.as_str()))), false),
        ("tick", instants(rows.iter().map(|(_, t_ns, _)| Some(*t_ns))), false),
        ("state", texts(of().map(|row| Some(row.state.as_str()))), false),
        ("cut", cuts(of().map(|row| row.cut_us)), true),
        ("window_start", instants(of().map(|row| Some(row.window_ns.0))), false),
        ("window_end", instants(of().map(|row| Some(row.window_ns.1))), false),
        ("missed_from", instants(of().map(|row| row.missed_from_ns)), true),
        ("rows", integers(of().map(|row| Some(row.rows))), false),
        ("below", integers(of().map(|row| Some(row.below))), false),
        ("over_limit", integers(of().map(|row| Some(row.over_limit))), false),
        ("evicted", integers(of().map(|row| Some(row.evicted))), false),
        ("elapsed_ns", integers(of().map(|row| Some(row.elapsed_ns))), false),
        ("error", texts(of().map(|row| row.error.as_deref())), true),
    ])
}
