//! `POST /api/v1/sql` and `GET /api/v1/sql?q=` (sql.md 9.2).
//!
//! Duty: read a statement from a body or query string, run it, stream its rows in the format asked for. Guarantee: an
//! error before the first row has its status; one after it leaves the body without its end. Left to others: formats
//! (`query/render`), statuses (`status`).

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde::Deserialize;
use serde_json::json;

use super::{Api, status};
use crate::query::render::{self, ArrowStream, Format};
use crate::query::{Answer, Code, Error, Params, Statement};

const DEFAULT_ARROW_ROWS: u64 = 10_000_000;

/// The query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    q: Option<String>,
    format: Option<String>,
}

/// The JSON body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    sql: String,
    #[serde(default)]
    params: serde_json::Value,
    #[serde(default)]
    limits: Limits,
    /// A word of the caller's for the log.
    tag: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    rows: Option<u64>,
    bytes: Option<u64>,
    time_ms: Option<u64>,
}

/// `GET /api/v1/sql?q=`
pub(super) async fn get(State(api): State<Api>, query: Query<Options>, headers: HeaderMap) -> Response {
    let Query(options) = query;
    match options.q.clone() {
        Some(sql) => answer(&api, &options, &headers, Statement { sql, ..Statement::default() }, None).await,
        None => status::bad_request("the statement is missing", "GET /api/v1/sql?q=SELECT+1, or POST it"),
    }
}

/// `POST /api/v1/sql`
pub(super) async fn post(State(api): State<Api>, query: Query<Options>, headers: HeaderMap, body: Bytes) -> Response {
    let Query(options) = query;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let is_json = content_type.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        let Ok(sql) = String::from_utf8(body.to_vec()) else {
            return status::bad_request("the body is not UTF-8", "send SQL text, or JSON with its content type");
        };
        return answer(&api, &options, &headers, Statement { sql, ..Statement::default() }, None).await;
    }
    let ask: Ask = match serde_json::from_slice(&body) {
        Ok(ask) => ask,
        Err(error) => {
            let hint =
                "{\"sql\": \"…\", \"params\": [], \"limits\": {\"rows\", \"bytes\", \"time_ms\"}, \"tag\": \"…\"}";
            return status::bad_request(&format!("the body is not the JSON expected: {error}"), hint);
        }
    };
    let params = match Params::from_json(&ask.params) {
        Ok(params) => params,
        Err(error) => return status::error(&Error::new(Code::Argument, error.to_string(), ""), None),
    };
    if let Some(tag) = &ask.tag {
        tracing::debug!(%tag, "statement");
    }
    let timeout = ask.limits.time_ms.map(Duration::from_millis);
    let statement = Statement { sql: ask.sql, params, max_rows: ask.limits.rows, timeout };
    answer(&api, &options, &headers, statement, ask.limits.bytes).await
}

async fn answer(
    api: &Api,
    options: &Options,
    headers: &HeaderMap,
    mut statement: Statement,
    max_bytes: Option<u64>,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let format = match &options.format {
        Some(name) => Format::from_name(name),
        None => Format::from_accept(accept),
    };
    let Some(format) = format else {
        return status::not_acceptable(options.format.as_deref().unwrap_or(accept));
    };
    if format == Format::Arrow {
        statement.max_rows = statement.max_rows.or(Some(DEFAULT_ARROW_ROWS));
    }
    let mut answer = match api.gateway.run(statement).await {
        Ok(answer) => answer,
        Err((id, error)) => return status::error(&error, Some(id)),
    };
    // The first batch decides between a status and a body.
    let first = match answer.next().await {
        Some(Err(error)) => return status::error(&error, Some(answer.query_id)),
        Some(Ok(batch)) => Some(batch),
        None => None,
    };
    let (id, snapshot) = (answer.query_id.to_string(), render::time_text(answer.snapshot_us));
    let max_bytes = max_bytes.unwrap_or(api.gateway.config().max_bytes);
    let rows = match Rows::try_new(format, answer, first, max_bytes) {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(%error, query_id = %id, "result cannot be written");
            return status::error(&crate::query::error::internal(), None);
        }
    };
    let chunks = stream::unfold(Some(rows), |rows| async move {
        let mut rows = rows?;
        match rows.next().await {
            Ok(Some(chunk)) => Some((Ok(Bytes::from(chunk)), Some(rows))),
            Ok(None) => None,
            // The body ends without its terminator, which tells the client.
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    });
    let mut response = Body::from_stream(chunks).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    for (name, value) in [("x-weavergen-query-id", id), ("x-weavergen-snapshot", snapshot)] {
        fields.insert(name, HeaderValue::from_str(&value).expect("ids and times are ASCII"));
    }
    response
}

/// The body of an answer, chunk by chunk.
struct Rows {
    format: Format,
    answer: Answer,
    first: Option<arrow::array::RecordBatch>,
    arrow: Option<ArrowStream>,
    state: Stage,
    any_row: bool,
    bytes: u64,
    max_bytes: u64,
    cut: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Done,
}

impl Rows {
    fn try_new(
        format: Format,
        answer: Answer,
        first: Option<arrow::array::RecordBatch>,
        max_bytes: u64,
    ) -> Result<Self, arrow::error::ArrowError> {
        let arrow = (format == Format::Arrow).then(|| ArrowStream::try_new(&answer.schema)).transpose()?;
        // Arrow has a cap of its own by rows; text is capped by bytes.
        let max_bytes = if arrow.is_some() { 1 << 30 } else { max_bytes };
        Ok(Self { format, answer, first, arrow, state: Stage::Head, any_row: false, bytes: 0, max_bytes, cut: false })
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        loop {
            match self.state {
                Stage::Done => return Ok(None),
                Stage::Head => {
                    self.state = Stage::Body;
                    let head = self.head();
                    if !head.is_empty() {
                        return Ok(Some(head));
                    }
                }
                Stage::Body => {
                    let batch = match self.first.take() {
                        Some(batch) => Some(Ok(batch)),
                        None if self.cut => None,
                        None => self.answer.next().await,
                    };
                    let Some(batch) = batch else {
                        self.state = Stage::Done;
                        return Ok(Some(self.tail()?));
                    };
                    let chunk = match batch {
                        Ok(batch) => self.rows(&batch)?,
                        Err(error) if self.format == Format::NdJson => {
                            self.state = Stage::Done;
                            let line = json!({ "$error": render::error_json(&error, Some(self.answer.query_id)) });
                            return Ok(Some(format!("{line}\n").into_bytes()));
                        }
                        Err(error) => return Err(Box::new(error)),
                    };
                    self.bytes += chunk.len() as u64;
                    self.cut = self.bytes >= self.max_bytes;
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
            }
        }
    }

    fn head(&mut self) -> Vec<u8> {
        match self.format {
            Format::Csv => render::csv_header(&self.answer.schema).into_bytes(),
            Format::NdJson => Vec::new(),
            Format::Arrow => self.arrow.as_mut().map(ArrowStream::take).unwrap_or_default(),
            Format::Json => {
                let columns = render::json_columns(&self.answer.schema);
                let id = self.answer.query_id;
                let snapshot = render::time_text(self.answer.snapshot_us);
                format!(r#"{{"query_id":"{id}","snapshot":"{snapshot}","columns":{columns},"rows":["#).into_bytes()
            }
        }
    }

    fn rows(&mut self, batch: &arrow::array::RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        Ok(match self.format {
            Format::Csv => render::csv_rows(batch).into_bytes(),
            Format::Json => {
                let comma = if self.any_row { "," } else { "" };
                self.any_row = true;
                format!("{comma}{}", render::json_rows(batch)).into_bytes()
            }
            Format::NdJson => {
                let lines = (0..batch.num_rows()).map(|row| render::json_object(batch, row) + "\n");
                lines.collect::<String>().into_bytes()
            }
            Format::Arrow => match &mut self.arrow {
                Some(stream) => {
                    stream.write(batch)?;
                    stream.take()
                }
                None => Vec::new(),
            },
        })
    }

    fn tail(&mut self) -> Result<Vec<u8>, arrow::error::ArrowError> {
        let mut stats = self.answer.stats();
        stats.truncated |= self.cut;
        Ok(match self.format {
            Format::Csv => Vec::new(),
            Format::NdJson => (render::end_line(&stats) + "\n").into_bytes(),
            Format::Arrow => self.arrow.take().map(ArrowStream::finish).transpose()?.unwrap_or_default(),
            Format::Json => {
                let (truncated, stats) = (stats.truncated, render::stats_json(&stats));
                format!(r#"],"truncated":{truncated},"incomplete":false,"notices":[],"stats":{stats}}}"#).into_bytes()
            }
        })
    }
}
