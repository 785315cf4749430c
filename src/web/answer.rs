//! `/api/v1/sql`.
//!
//! Duty: run, check or stop a statement, and send its rows as they come. Guarantee: an error before the first byte has
//! its status; one behind it ends the body without its end, so a client sees that it is cut. Left to others: formats
//! (`query::render`).

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query as Url, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::{Extension, Json};
use futures::Stream;

use super::request::{self, MAX_BODY, Query};
use super::status::ascii;
use super::{AppState, Error};
use crate::access::{self, Identity, Role};
use crate::query::gateway::Parameter;
use crate::query::render::{Format, Lacks, Renderer, columns, value};
use crate::query::sql_type::sql_type;
use crate::query::{self, Answer, Statement};

pub(super) const QUERY_ID: HeaderName = HeaderName::from_static("x-weavergen-query-id");
const SNAPSHOT: HeaderName = HeaderName::from_static("x-weavergen-snapshot");
/// What is told before the first row, as a JSON array in ASCII: Arrow and CSV have no place for it.
const NOTICES: HeaderName = HeaderName::from_static("x-weavergen-notices");
/// Notices that do not fit into so many bytes are left out of the header.
const MAX_NOTICES: usize = 4096;

/// `GET /api/v1/sql?q=`.
pub(super) async fn get(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Error> {
    let query = url(&request)?;
    let Some(sql) = query.q.clone() else {
        return Err(Error::Request {
            message: "the query has no `q`".to_owned(),
            hint: "`/api/v1/sql?q=SELECT+1`".to_owned(),
        });
    };
    let format = request::format(&query, request.headers())?;
    respond(&state, of(&identity, Statement::new(sql)), format, &query).await
}

/// `POST /api/v1/sql`.
pub(super) async fn post(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Error> {
    let query = url(&request)?;
    let format = request::format(&query, request.headers())?;
    let statement = of(&identity, read(request).await?);
    respond(&state, statement, format, &query).await
}

/// `POST /api/v1/sql/check`: plans the statement of the body and runs nothing.
///
/// `{"query_id", "snapshot", "columns", "parameters": [{"name", "type"}], "notices", "estimates": {"rows", "rows_exact",
/// "parts", "bytes"}}`; `columns` and `estimates` are null where they hang on parameters that the body does not give.
pub(super) async fn check(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<serde_json::Value>, Error> {
    let described = state.gateway.describe(of(&identity, read(request).await?)).await?;
    let parameter = |parameter: &Parameter| serde_json::json!({"name": parameter.name, "type": parameter.of.as_ref().map(sql_type)});
    let estimates = described.estimates.map(|of| {
        serde_json::json!({
            "rows": of.rows, "rows_exact": of.rows_exact, "parts": of.parts, "bytes": of.bytes,
        })
    });
    Ok(Json(serde_json::json!({
        "query_id": described.query_id,
        "snapshot": value::snapshot(described.snapshot_us),
        "columns": described.schema.map(|schema| columns(&schema)),
        "parameters": described.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "notices": described.notices,
        "estimates": estimates,
    })))
}

/// `DELETE /api/v1/sql/{id}`: stops the statement of this id, one's own or, for an admin, any.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    Path(id): Path<String>,
) -> Result<Json<serde_json::Value>, Error> {
    let may = |of: &str| of == identity.name || identity.role == Role::Admin;
    match state.gateway.cancel(&id, may) {
        Some(true) => Ok(Json(serde_json::json!({"query_id": id, "state": "cancelled"}))),
        Some(false) => Err(access::Error::Denied.into()),
        None => Err(Error::NoStatement { id: id.chars().take(60).collect() }),
    }
}

/// `statement` as one of `identity`.
pub(super) fn of(identity: &Identity, statement: Statement) -> Statement {
    Statement { identity: identity.name.clone(), surface: "http", ..statement }
}

async fn read(request: Request) -> Result<Statement, Error> {
    let (headers, body) = super::body::read(request, MAX_BODY).await?;
    request::statement(&headers, &body)
}

fn url(request: &Request) -> Result<Query, Error> {
    let Url(query) = Url::<Query>::try_from_uri(request.uri()).map_err(|error| Error::Request {
        message: format!("the query of the address cannot be read: {error}"),
        hint: "`?format=json`, `?q=SELECT+1`".to_owned(),
    })?;
    Ok(query)
}

async fn respond(state: &AppState, statement: Statement, format: Format, query: &Query) -> Result<Response, Error> {
    let statement = Statement { shape: format.shape(), ..statement };
    let answer = state.gateway.run(statement).await?;
    let snapshot = value::snapshot(answer.snapshot_us);
    let keep = query.dictionaries.as_deref() == Some("keep");
    let notices = in_header(&answer.notices);
    let (renderer, head) = Renderer::begin(format, keep, answer.head(&snapshot))?;
    let id = HeaderValue::from_str(&answer.query_id).expect("a ULID is ASCII");
    let snapshot = HeaderValue::from_str(&snapshot).expect("a time is ASCII");
    let mut response = Response::new(Body::from_stream(pieces(answer, renderer, head)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(QUERY_ID, id);
    headers.insert(SNAPSHOT, snapshot);
    if let Some(notices) = notices {
        headers.insert(NOTICES, notices);
    }
    Ok(response)
}

/// `notices`, the first that fit; `None` without any.
fn in_header(notices: &[String]) -> Option<HeaderValue> {
    let mut fitting = notices.len();
    while fitting > 0 {
        let ascii = ascii(&serde_json::Value::from(&notices[..fitting]));
        if ascii.len() <= MAX_NOTICES {
            return HeaderValue::from_str(&ascii).ok();
        }
        fitting -= 1;
    }
    None
}

enum Step {
    Head(Vec<u8>, Box<Answer>, Renderer),
    Rows(Box<Answer>, Renderer),
    Broken(query::Error),
    Done,
}

/// The body, piece by piece; dropping it stops the statement.
fn pieces(answer: Answer, renderer: Renderer, head: Vec<u8>) -> impl Stream<Item = Result<Bytes, query::Error>> {
    futures::stream::unfold(Step::Head(head, Box::new(answer), renderer), |step| async move {
        match step {
            Step::Head(head, answer, renderer) => Some((Ok(Bytes::from(head)), Step::Rows(answer, renderer))),
            Step::Rows(answer, renderer) => Some(piece(answer, renderer).await),
            Step::Broken(error) => Some((Err(error), Step::Done)),
            Step::Done => None,
        }
    })
}

async fn piece(mut answer: Box<Answer>, mut renderer: Renderer) -> (Result<Bytes, query::Error>, Step) {
    let batch = match answer.next().await {
        Ok(Some(batch)) => batch,
        Ok(None) => {
            let ending = end(&answer, renderer);
            return (ending.await, Step::Done);
        }
        Err(error) => return broken(error, &answer, Some(&renderer)),
    };
    let writing = answer.apart(move || (renderer.rows(&batch), renderer));
    let (written, renderer) = match writing.await {
        Ok(done) => done,
        Err(error) => return broken(error, &answer, None),
    };
    match written {
        Ok(bytes) if renderer.is_full() => {
            answer.enough();
            let ending = end(&answer, renderer);
            (ending.await.map(|tail| [bytes.as_slice(), &tail].concat().into()), Step::Done)
        }
        Ok(bytes) => (Ok(bytes.into()), Step::Rows(answer, renderer)),
        Err(error) => broken(error, &answer, Some(&renderer)),
    }
}

/// The bytes after the last row.
fn end(answer: &Answer, renderer: Renderer) -> impl Future<Output = Result<Bytes, query::Error>> + Send + use<> {
    let lacks = Lacks { truncated: answer.truncated, incomplete: answer.incomplete };
    let (stats, notices) = (answer.stats(), answer.notices.clone());
    let writing = answer.apart(move || renderer.end(stats, lacks, &notices).map(Bytes::from));
    async move { writing.await? }
}

fn broken(error: query::Error, answer: &Answer, renderer: Option<&Renderer>) -> (Result<Bytes, query::Error>, Step) {
    let error = error.of(&answer.query_id);
    tracing::warn!(query_id = answer.query_id, code = error.code.as_str(), %error, "an answer broke off");
    let told = renderer.map_or_else(Vec::new, |renderer| renderer.failed(&error));
    (Ok(told.into()), Step::Broken(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_a_json_array_in_ascii_as_far_as_they_fit() {
        let read = |notices: &[String]| {
            let header = in_header(notices)?;
            Some(serde_json::from_str::<Vec<String>>(header.to_str().unwrap()).unwrap())
        };
        let odd = vec!["`größe` is unknown: \u{1f600}\n\u{7f}".to_owned(), "two".to_owned()];
        assert_eq!(read(&odd), Some(odd.clone()));
        assert_eq!(read(&[]), None);
        let long = vec!["short".to_owned(), "x".repeat(MAX_NOTICES)];
        assert_eq!(read(&long), Some(long[..1].to_vec()));
        assert_eq!(read(&long[1..]), None);
    }
}
