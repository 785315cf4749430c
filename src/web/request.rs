//! What a request asks for.
//!
//! Duty: statement and format out of body, query and headers. Guarantee: an unknown field is an error, not ignored. Left
//! to others: running it (`answer`).

use std::time::Duration;

use axum::http::{HeaderMap, header};
use serde::Deserialize;

use super::Error;
pub(super) use crate::query::hints::KNOWN as KNOWN_HINTS;
use crate::query::render::Format;
use crate::query::{Hints, Limits, Params, Statement};

/// Bytes that a body may have: a statement of 64 KiB, and parameters.
pub(super) const MAX_BODY: usize = 1 << 20;
/// Characters of a tag that are kept.
const MAX_TAG: usize = 200;

/// `?format=&dictionaries=`, and `q=` for GET.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    pub q: Option<String>,
    pub format: Option<String>,
    pub dictionaries: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    sql: String,
    #[serde(default)]
    params: serde_json::Value,
    #[serde(default)]
    limits: Option<BodyLimits>,
    #[serde(default)]
    hints: serde_json::Value,
    #[serde(default)]
    as_of: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BodyLimits {
    rows: Option<u64>,
    bytes: Option<u64>,
    time_ms: Option<u64>,
}

/// The statement in `body`: JSON, or the text itself.
pub(super) fn statement(headers: &HeaderMap, body: &[u8]) -> Result<Statement, Error> {
    let text = std::str::from_utf8(body).map_err(|error| Error::Request {
        message: format!("the body is not UTF-8: byte {} does not fit", error.valid_up_to()),
        hint: "send UTF-8".to_owned(),
    })?;
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = declared.trim().to_ascii_lowercase().starts_with("application/json");
    // No statement begins with a brace, and `curl -d` declares a form.
    if !json && !text.trim_start().starts_with('{') {
        return Ok(Statement::new(text));
    }
    let body: Body = serde_json::from_str(text).map_err(|error| Error::Request {
        message: format!("the body is not what is expected: {error}"),
        hint: r#"{"sql": "…", "params": [], "limits": {"rows", "bytes", "time_ms"}, "hints", "as_of", "tag"}, or the statement itself"#
            .to_owned(),
    })?;
    let limits = body.limits.unwrap_or_default();
    Ok(Statement {
        sql: body.sql,
        params: Params::from_json(&body.params)?,
        limits: Limits { rows: limits.rows, bytes: limits.bytes, time: limits.time_ms.map(Duration::from_millis) },
        as_of_us: body.as_of.as_deref().map(position).transpose()?,
        hints: Hints::from_json(&body.hints)?,
        tag: body.tag.map(|tag| tag.chars().take(MAX_TAG).collect()),
        ..Statement::default()
    })
}

fn position(text: &str) -> Result<i64, Error> {
    let time: jiff::Timestamp = text.parse().map_err(|_| Error::Request {
        message: format!("`as_of` is `{}`, which is no time", text.chars().take(60).collect::<String>()),
        hint: "RFC 3339, as `snapshot` of an answer: `2026-01-02T03:04:05.000006Z`".to_owned(),
    })?;
    Ok(time.as_microsecond())
}

/// The format by `?format=`, else by `Accept`, else JSON.
pub(super) fn format(query: &Query, headers: &HeaderMap) -> Result<Format, Error> {
    let names = || Format::ALL.map(Format::name).join(", ");
    if let Some(name) = &query.format {
        return Format::named(name).ok_or_else(|| Error::Request {
            message: format!("there is no format `{}`", name.chars().take(40).collect::<String>()),
            hint: format!("formats: {}", names()),
        });
    }
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    if accept.trim().is_empty() {
        return Ok(Format::Json);
    }
    let mut best: Option<(f32, Format)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|p| p.strip_prefix("q=")).map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        let format = match media.as_str() {
            "*/*" | "application/*" | "application/json" => Format::Json,
            "application/x-ndjson" | "application/jsonl" | "application/ndjson" => Format::Ndjson,
            "application/vnd.apache.arrow.stream" => Format::Arrow,
            "application/vnd.apache.parquet" => Format::Parquet,
            "text/csv" | "text/*" => Format::Csv,
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(most, _)| quality > most) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format).ok_or_else(|| Error::Request {
        message: format!("no format of `Accept: {}` is served here", accept.chars().take(100).collect::<String>()),
        hint: format!("formats: {}; or `?format=`", Format::ALL.map(Format::content_type).join(", ")),
    })
}
