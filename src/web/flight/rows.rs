//! Rows of an answer as Flight messages.
//!
//! Duty: plain Arrow types, as HTTP sends them, in messages that every client takes. Guarantee: a message has about 2 MiB
//! at most, unless one row alone has more; the next rows are asked for only when the client has taken these; dropping the
//! stream stops the statement. Left to others: statuses (`status`).
//!
//! The first message's `app_metadata` is `{"query_id", "snapshot", "notices"}`. Where rows are missing or notices came
//! late, a last batch without rows has `{"truncated", "incomplete", "notices"}`.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::utils::batches_to_flight_data;
use futures::{Stream, StreamExt as _, stream};
use serde_json::json;

use crate::query::render::arrow::{plain_batch, plain_schema};
use crate::query::render::value;
use crate::query::size::bytes_of;
use crate::query::{Answer, Error};
use crate::web;
use crate::web::status::grpc;

/// Bytes of a message: half of what a client takes that sets no limit of its own.
const MESSAGE: u64 = 2 << 20;

pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<FlightData, tonic::Status>> + Send>>;

/// The rows of `answer`.
pub(super) fn of_answer(answer: Answer) -> Messages {
    let schema: SchemaRef = Arc::new(plain_schema(&answer.schema, false));
    let told = answer.notices.len();
    let head = json!({
        "query_id": answer.query_id,
        "snapshot": value::snapshot(answer.snapshot_us),
        "notices": answer.notices,
    });
    let last = Arc::new(Mutex::new(None));
    let batches = batches(answer, schema.clone(), told, last.clone());
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_metadata(head.to_string().into())
        // `pieces` has split them by what they really hold.
        .with_max_flight_data_size(usize::MAX)
        .build(batches)
        .map(|message| message.map_err(tonic::Status::from));
    let end = stream::once(async move { last.lock().expect("no holder of this lock panics").take() });
    Box::pin(messages.chain(end.filter_map(|end| async move { end.map(Ok) })))
}

/// A listing that is at hand.
pub(super) fn of_batch(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    let batches = stream::iter(pieces(batch).into_iter().map(Ok));
    let messages = FlightDataEncoderBuilder::new().with_schema(schema).with_max_flight_data_size(usize::MAX);
    Box::pin(messages.build(batches).map(|message| message.map_err(tonic::Status::from)))
}

type Last = Arc<Mutex<Option<FlightData>>>;

fn batches(
    answer: Answer,
    schema: SchemaRef,
    told: usize,
    last: Last,
) -> impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static {
    let rows = stream::unfold(Some(answer), move |answer| {
        let (schema, last) = (schema.clone(), last.clone());
        async move {
            let mut answer = answer?;
            let taken = match answer.next().await {
                Ok(Some(batch)) => {
                    let schema = schema.clone();
                    let making = answer.apart(move || plain_batch(&batch, &schema).map(pieces));
                    making.await.and_then(|made| made).map(Some)
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match taken {
                Ok(Some(pieces)) => Some((Ok(pieces), Some(answer))),
                Ok(None) => {
                    *last.lock().expect("no holder of this lock panics") = end(&answer, &schema, told);
                    None
                }
                Err(error) => Some((Err(failed(error, &answer)), None)),
            }
        }
    });
    rows.flat_map(|pieces| {
        let pieces = match pieces {
            Ok(pieces) => pieces.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    })
}

fn failed(error: Error, answer: &Answer) -> FlightError {
    let error = error.of(&answer.query_id);
    tracing::warn!(query_id = answer.query_id, code = error.code.as_str(), %error, "an answer broke off");
    FlightError::from(grpc(&web::Error::Query(error)))
}

/// What is known only now, as a batch without rows.
fn end(answer: &Answer, schema: &SchemaRef, told: usize) -> Option<FlightData> {
    let late = answer.notices.get(told..).unwrap_or_default();
    if !answer.truncated && !answer.incomplete && late.is_empty() {
        return None;
    }
    let end = json!({"truncated": answer.truncated, "incomplete": answer.incomplete, "notices": late});
    let empty = RecordBatch::new_empty(schema.clone());
    let message = batches_to_flight_data(schema, vec![empty]).ok()?.pop()?;
    Some(FlightData { app_metadata: end.to_string().into(), ..message })
}

/// `batch` in pieces of [`MESSAGE`] bytes, as far as rows can be parted; none if it has no rows.
fn pieces(batch: RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Vec::new();
    }
    let bytes: u64 = batch.columns().iter().map(bytes_of).sum();
    if rows == 1 || bytes <= MESSAGE {
        return vec![batch];
    }
    let half = rows / 2;
    let mut all = pieces(batch.slice(0, half));
    all.extend(pieces(batch.slice(half, rows - half)));
    all
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, ListBuilder, StringArray, StringBuilder};
    use arrow::compute::concat_batches;
    use arrow_flight::utils::flight_data_to_batches;

    use super::*;
    use crate::query::gateway::{Limits, Shape};
    use crate::query::tests::fixture::{self, Span};
    use crate::query::{Config, Statement};

    /// Short rows with some of a MiB in the middle, as text and in a list.
    fn uneven() -> RecordBatch {
        let text = |row: usize| if (400..406).contains(&row) { "x".repeat(1 << 20) } else { format!("{row}") };
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..800 {
            lists.values().append_value(text(row));
            lists.append(true);
        }
        let texts = StringArray::from_iter_values((0..800).map(text));
        RecordBatch::try_from_iter([("t", Arc::new(texts) as ArrayRef), ("l", Arc::new(lists.finish()))]).unwrap()
    }

    #[tokio::test]
    async fn messages_stay_below_what_clients_take_also_where_wide_rows_lie_together() {
        let batch = uneven();
        let messages: Vec<FlightData> = of_batch(batch.clone()).map(Result::unwrap).collect().await;
        assert!(messages.len() < 30, "{}", messages.len());
        for message in &messages {
            assert!(message.data_body.len() < 4 << 20, "{}", message.data_body.len());
        }
        let read = flight_data_to_batches(&messages).unwrap();
        assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
    }

    #[tokio::test]
    async fn a_cut_answer_says_so_in_its_last_message_and_a_whole_one_has_none() {
        let spans: Vec<Span> = (1..=3).map(|id| Span::new(1, id)).collect();
        let gateway = fixture::gateway(&spans, Config { threads: 1, ..Config::default() });
        for (most, rows, truncated) in [(2, 2, true), (3, 3, false)] {
            let limits = Limits { rows: Some(most), ..Limits::default() };
            let statement = Statement { limits, shape: Shape::Arrow, ..Statement::new("SELECT name FROM spans") };
            let answer = gateway.run(statement).await.unwrap();
            let id = answer.query_id.clone();
            let messages: Vec<FlightData> = of_answer(answer).map(Result::unwrap).collect().await;
            let read = |of: &FlightData| serde_json::from_slice::<serde_json::Value>(&of.app_metadata).ok();
            let head = read(&messages[0]).unwrap();
            assert_eq!((&head["query_id"], head["notices"].as_array().map(Vec::len)), (&json!(id), Some(0)));
            let last = json!({"truncated": true, "incomplete": false, "notices": []});
            assert_eq!(read(messages.last().unwrap()), truncated.then_some(last));
            let batches = flight_data_to_batches(&messages).unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows);
        }
    }

    #[test]
    fn an_empty_batch_is_no_message() {
        assert_eq!(pieces(uneven().slice(0, 0)), Vec::<RecordBatch>::new());
    }
}
