//! Errors as HTTP: the one place where the API's statuses are decided (sql.md 10).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use ulid::Ulid;

use crate::error::Class;
use crate::query::{Code, Error, render};

/// The status of a code.
fn status(code: Code) -> StatusCode {
    match code {
        Code::NotAllowed | Code::Denied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::LimitMemory | Code::LimitSpill => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled => StatusCode::from_u16(499).expect("499 is a status"),
        code => match code.class() {
            Class::Invalid => StatusCode::BAD_REQUEST,
            Class::Busy | Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// The answer to a statement that failed.
pub(super) fn error(error: &Error, query_id: Option<Ulid>) -> Response {
    let body = json!({ "error": render::error_json(error, query_id) });
    let mut response = (status(error.code), Json(body)).into_response();
    let headers = response.headers_mut();
    match error.code {
        Code::Busy => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
        Code::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    if let Some(id) = query_id.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        headers.insert("x-weavergen-query-id", id);
    }
    response
}

fn plain(status: StatusCode, code: &str, class: Class, message: &str, hint: &str) -> Response {
    let error = json!({
        "code": code, "class": class.as_str(), "message": message, "position": null, "hint": hint, "query_id": null,
    });
    (status, Json(json!({ "error": error }))).into_response()
}

/// A body or query string that is not what the API takes.
pub(super) fn bad_request(message: &str, hint: &str) -> Response {
    plain(StatusCode::BAD_REQUEST, "http.bad_request", Class::Invalid, message, hint)
}

/// No format that the caller accepts.
pub(super) fn not_acceptable(accept: &str) -> Response {
    let hint = "application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream";
    plain(
        StatusCode::NOT_ACCEPTABLE,
        "http.not_acceptable",
        Class::Invalid,
        &format!("no format fits `{accept}`"),
        hint,
    )
}

/// An unknown path.
pub(super) fn not_found() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "http.not_found",
        Class::NotFound,
        "there is nothing at this path",
        "GET / shows what there is",
    )
}

/// A method that the path does not take.
pub(super) fn method_not_allowed() -> Response {
    let hint = "statements are sent by POST";
    plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "http.method_not_allowed",
        Class::Invalid,
        "the method is not allowed here",
        hint,
    )
}

/// A `Host` that is not ours.
pub(super) fn misdirected(host: &str) -> Response {
    let message = format!("the host `{host}` is not served here");
    plain(StatusCode::MISDIRECTED_REQUEST, "http.host", Class::Denied, &message, "add it to `web.allowed_hosts`")
}
