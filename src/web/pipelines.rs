//! `/api/v1/pipelines`: what changes pipelines (bpmn.md 17).
//!
//! Duty: `POST /deployments` and `POST /instances`. Guarantee: only an admin changes anything; the same
//! `Idempotency-Key` gets the same answer for 24 hours; their errors are `application/problem+json` with a code. Left to others: the work (`engine`), listing (statements over `pipeline_*`).

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Query as Url, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use bpmn::core::{Action, Answer, Deployed, Value, Variables};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;

use super::status::Problem;
use super::{AppState, Error};
use crate::access::{self, Identity, Role};
use crate::engine::{Engine, SourceFile};

/// Bytes of a body: several files of the legal size.
const MAX_BODY: usize = 64 << 20;
/// Characters of an `Idempotency-Key`.
const MAX_KEY: usize = 255;

/// `?name=&dry_run=` of a deployment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeployQuery {
    /// How findings call a file that is sent as it is.
    name: Option<String>,
    /// Say what would be done, do nothing.
    dry_run: bool,
}

/// A file of a JSON list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    /// The file as text.
    #[serde(default)]
    content: Option<String>,
    /// The file as base64, where it is no UTF-8.
    #[serde(default)]
    base64: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody {
    process_id: String,
    #[serde(default)]
    version: Option<u32>,
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    variables: serde_json::Map<String, serde_json::Value>,
}

/// Puts files in force, all or none. The body is one file, or, with a JSON content type, `[{"name", "content"}, …]`,
/// with `base64` in place of `content` where a file is no UTF-8.
///
/// 200 `{"deployed": [{"process_id", "version", "hash", "outcome"}]}`, outcome `new`, `same` or `layout-only`; 422 with
/// diagnostics when a file has errors.
pub(super) async fn deploy(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let engine = engine(&state, &identity)?;
    let Url(query) = Url::<DeployQuery>::try_from_uri(request.uri()).map_err(|error| {
        bad(format!("the query of the address cannot be read: {error}"), "`?name=x.bpmn&dry_run=true`")
    })?;
    let (headers, body) = super::body::read(request, MAX_BODY).await?;
    let files = files(&headers, &body, query.name)?;
    let deployed = if query.dry_run {
        let engine = engine.clone();
        let previewed = tokio::task::spawn_blocking(move || engine.preview(files)).await;
        previewed.map_err(|_| crate::engine::Error::Unavailable)??
    } else {
        let key = idempotency_key(&headers, &identity)?;
        // Reading and checking files takes long enough to hold up others.
        let (engine, actor, runtime) = (engine.clone(), identity.name.clone(), Handle::current());
        let deploying = tokio::task::spawn_blocking(move || runtime.block_on(engine.deploy(files, Some(actor), key)));
        match deploying.await.map_err(|_| crate::engine::Error::Unavailable)?? {
            Answer::Deployed(deployed) => deployed,
            _ => return Err(other_request()),
        }
    };
    let one = |deployed: &Deployed| {
        json!({
            "process_id": deployed.process,
            "version": deployed.version,
            "hash": deployed.hash,
            "outcome": deployed.outcome.as_str(),
        })
    };
    Ok(answer(StatusCode::OK, &json!({ "deployed": deployed.iter().map(one).collect::<Vec<_>>() })))
}

/// Starts a run: `{"process_id", "version"?, "start"?, "variables"?}`.
///
/// 201 `{"instance"}`; 404 no such process, version or start; 422 several starts and none named, or a variable of a name
/// that the engine owns.
pub(super) async fn start(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let engine = engine(&state, &identity)?;
    let (headers, body) = super::body::read(request, MAX_BODY).await?;
    let body: StartBody = serde_json::from_slice(&body).map_err(|error| {
        bad(
            format!("the body is not what is expected: {error}"),
            r#"{"process_id": "…", "version": 1, "start": "…", "variables": {}}"#,
        )
    })?;
    let variables: Variables =
        body.variables.iter().map(|(name, value)| (name.clone(), Value::from_json(value))).collect();
    let action = Action::Start { process: body.process_id, version: body.version, start: body.start, variables };
    let key = idempotency_key(&headers, &identity)?;
    match engine.submit(action, Some(identity.name.clone()), key).await? {
        Answer::Started { instance } => Ok(answer(StatusCode::CREATED, &json!({ "instance": instance }))),
        _ => Err(other_request()),
    }
}

/// The engine, for callers who may change it.
fn engine<'a>(state: &'a AppState, identity: &Identity) -> Result<&'a Engine, Problem> {
    if identity.role != Role::Admin {
        return Err(access::Error::Denied.into());
    }
    state.engine.as_ref().ok_or_else(|| Error::NotFound.into())
}

fn files(headers: &HeaderMap, body: &Bytes, name: Option<String>) -> Result<Vec<SourceFile>, Problem> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !declared.trim().to_ascii_lowercase().starts_with("application/json") {
        if body.is_empty() {
            return Err(bad("the body is empty".to_owned(), "send a BPMN file, or a JSON list of `{name, content}`"));
        }
        let name = name.unwrap_or_else(|| "body".to_owned());
        return Ok(vec![SourceFile { name, bytes: body.to_vec() }]);
    }
    let files: Vec<File> = serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body is not what is expected: {error}");
        bad(text, r#"[{"name": "x.bpmn", "content": "<…>"}], or the file itself as application/xml"#)
    })?;
    if files.is_empty() {
        return Err(bad("the list of files is empty".to_owned(), "name at least one file"));
    }
    files.into_iter().map(File::source).collect()
}

impl File {
    fn source(self) -> Result<SourceFile, Problem> {
        let name = self.name;
        let bytes = match (self.content, self.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| bad(format!("`base64` of `{name}`: {error}"), "RFC 4648 with padding"))?,
            _ => {
                let text = format!("`{name}` has not exactly one of `content` and `base64`");
                return Err(bad(text, "text goes into `content`, all else into `base64`"));
            }
        };
        Ok(SourceFile { name, bytes })
    }
}

/// The request id: one caller's key is not another's.
fn idempotency_key(headers: &HeaderMap, identity: &Identity) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let key = key.ok_or_else(|| {
        bad("the header `Idempotency-Key` is no text of 1 to 255 characters".to_owned(), "send e.g. a UUID")
    })?;
    Ok(Some(format!("{}/{key}", identity.name)))
}

/// The key was used for something else, whose answer is of another kind.
fn other_request() -> Problem {
    let message = "this `Idempotency-Key` was used for another request; use a new one".to_owned();
    crate::engine::Error::from(bpmn::core::Rejection::Conflict { message }).into()
}

fn bad(message: String, hint: &str) -> Problem {
    Error::Request { message, hint: hint.to_owned() }.into()
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests;
