//! Errors as statuses.
//!
//! Duty: the one place where an error of the API becomes an HTTP status (sql.md 10): its class decides, a few codes
//! decide otherwise; and the code of gRPC for Flight. Guarantee: nothing else in `web` names the status of an error. Left to others: texts (`error`).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::QUERY_ID;
use super::error::Error;
use crate::error::Class;
use crate::query;

/// Bytes of a text of gRPC: clients bound the headers that it is one of.
const MAX_GRPC_TEXT: usize = 3000;

fn status(class: Class, code: &str) -> StatusCode {
    match code {
        "sql.unknown_table" | "sql.unknown_column" | "sql.unknown_function" => return StatusCode::BAD_REQUEST,
        "sql.limit.rows" | "sql.limit.memory" | "sql.limit.spill" | "sql.limit.scan" => {
            return StatusCode::UNPROCESSABLE_ENTITY;
        }
        "sql.cancelled" => return StatusCode::from_u16(499).expect("499 is between 100 and 999"),
        "sql.unauthenticated" => return StatusCode::UNAUTHORIZED,
        // The peer is slow, not we.
        "web.late" => return StatusCode::REQUEST_TIMEOUT,
        "web.host" => return StatusCode::MISDIRECTED_REQUEST,
        "web.method" => return StatusCode::METHOD_NOT_ALLOWED,
        "web.not_built" => return StatusCode::NOT_IMPLEMENTED,
        _ => {}
    }
    match class {
        Class::Invalid => StatusCode::BAD_REQUEST,
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Conflict => StatusCode::CONFLICT,
        Class::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Class::Busy | Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Class::Denied => StatusCode::FORBIDDEN,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = status(self.class(), self.code());
        let body = format!("{}\n", self.to_json());
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::Store(error) = &self
            && let Some(wait) = error.retry_after()
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Self::Query(error) = &self {
            if let Some(wait) = error.retry_after() {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            if let Some(id) = error.query_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
                headers.insert(QUERY_ID, id);
            }
        }
        response
    }
}

fn grpc_code(class: Class, code: &str) -> tonic::Code {
    match code {
        "sql.cancelled" => return tonic::Code::Cancelled,
        "sql.unauthenticated" => return tonic::Code::Unauthenticated,
        "sql.part_corrupt" => return tonic::Code::DataLoss,
        "web.not_built" => return tonic::Code::Unimplemented,
        _ => {}
    }
    match class {
        Class::Invalid => tonic::Code::InvalidArgument,
        Class::NotFound => tonic::Code::NotFound,
        Class::Conflict => tonic::Code::Aborted,
        Class::TooLarge => tonic::Code::ResourceExhausted,
        Class::Busy | Class::Unavailable => tonic::Code::Unavailable,
        Class::Timeout => tonic::Code::DeadlineExceeded,
        Class::Denied => tonic::Code::PermissionDenied,
        Class::Internal => tonic::Code::Internal,
    }
}

/// An error for gRPC: code, place and hint stand in the text, which is all that most clients show; the JSON of HTTP is in
/// the metadata `x-weavergen-error`.
pub(super) fn grpc(error: &Error) -> tonic::Status {
    let mut text = format!("{}: {error}", error.code());
    if let Error::Query(query::Error { position: Some(at), .. }) = error {
        text.push_str(&format!(" (line {}, column {})", at.line, at.column));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("; hint: {hint}"));
    }
    if text.len() > MAX_GRPC_TEXT {
        let cut = (0..=MAX_GRPC_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    let mut status = tonic::Status::new(grpc_code(error.class(), error.code()), text);
    let json = ascii(&error.to_json()["error"]);
    if json.len() <= MAX_GRPC_TEXT
        && let Ok(json) = json.parse()
    {
        status.metadata_mut().insert("x-weavergen-error", json);
    }
    if let Error::Query(error) = error
        && let Some(id) = error.query_id.as_deref().and_then(|id| id.parse().ok())
    {
        status.metadata_mut().insert("x-weavergen-query-id", id);
    }
    status
}

/// `value` as JSON that a header may hold.
pub(super) fn ascii(value: &serde_json::Value) -> String {
    let text = value.to_string();
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // serde_json leaves DEL as it is; a header may not have it.
            ' '..='~' => ascii.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    ascii.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    ascii
}

/// An error of `/api/v1/pipelines`: `application/problem+json` (RFC 9457) with `code`, and what lint says.
#[derive(Debug)]
pub(super) struct Problem(Error);

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = match status(error.class(), error.code()) {
            // bpmn.md 17: what the file or the variables are is content, not syntax.
            StatusCode::BAD_REQUEST => StatusCode::UNPROCESSABLE_ENTITY,
            // A run of the key is active: nothing is overloaded.
            StatusCode::SERVICE_UNAVAILABLE if error.code() == "busy" => StatusCode::CONFLICT,
            status => status,
        };
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "code": error.code(),
            "detail": error.to_string(),
        });
        if let Some(hint) = error.hint() {
            body["hint"] = hint.into();
        }
        if let Error::Engine(crate::engine::Error::Refused(diagnostics)) = &error {
            body["diagnostics"] = serde_json::json!(diagnostics);
        }
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], format!("{body}\n")).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An error of what answers as Prometheus does: `{"status": "error", "errorType", "error"}`.
#[derive(Debug)]
pub(super) struct Prometheus(Error);

impl<E: Into<Error>> From<E> for Prometheus {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Prometheus {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let kind = match error.class() {
            Class::Invalid | Class::TooLarge | Class::Conflict => "bad_data",
            Class::NotFound => "not_found",
            Class::Busy | Class::Unavailable => "unavailable",
            Class::Timeout => "timeout",
            Class::Denied => "unauthorized",
            Class::Internal => "internal",
        };
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let body = serde_json::json!({"status": "error", "errorType": kind, "error": format!("{error}{hint}")});
        let status = status(error.class(), error.code());
        (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Code;

    #[test]
    fn every_code_has_the_status_of_the_specification() {
        let of = |code: Code| status(code.class(), code.as_str()).as_u16();
        let expected = [
            (Code::Syntax, 400),
            (Code::UnknownTable, 400),
            (Code::UnknownColumn, 400),
            (Code::UnknownFunction, 400),
            (Code::Type, 400),
            (Code::Argument, 400),
            (Code::NotAllowed, 403),
            (Code::TooComplex, 400),
            (Code::LimitRows, 422),
            (Code::LimitMemory, 422),
            (Code::LimitSpill, 422),
            (Code::LimitScan, 422),
            (Code::Timeout, 504),
            (Code::Cancelled, 499),
            (Code::Busy, 503),
            (Code::PartCorrupt, 500),
            (Code::Unauthenticated, 401),
            (Code::Denied, 403),
            (Code::Internal, 500),
        ];
        assert_eq!(Code::ALL.map(|code| (code, of(code))), expected);
    }

    #[test]
    fn an_error_of_grpc_says_all_in_its_text_and_as_json_in_its_metadata() {
        let position = query::Position { line: 2, column: 3, offset: 9 };
        let error = query::Error::new(Code::UnknownColumn, "no column `größe`").hint("did you mean `grade`?");
        let status = grpc(&error.at(Some(position)).of("01ABC").into());
        let text = "sql.unknown_column: no column `größe` (line 2, column 3); hint: did you mean `grade`?";
        assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, text));
        assert_eq!(status.metadata().get("x-weavergen-query-id").unwrap(), "01ABC");
        let json = status.metadata().get("x-weavergen-error").unwrap().to_str().unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&json["message"], &json["position"]["offset"]), (&"no column `größe`".into(), &9.into()));
        let long = grpc(&query::Error::new(Code::Syntax, "ü".repeat(5000)).into());
        assert!(long.message().len() < 3010 && long.metadata().get("x-weavergen-error").is_none());
    }

    #[test]
    fn every_code_has_a_code_of_grpc() {
        let of = |code: Code| grpc(&query::Error::new(code, "").into()).code();
        for (code, expected) in [
            (Code::Syntax, tonic::Code::InvalidArgument),
            (Code::UnknownTable, tonic::Code::NotFound),
            (Code::NotAllowed, tonic::Code::PermissionDenied),
            (Code::LimitMemory, tonic::Code::ResourceExhausted),
            (Code::Timeout, tonic::Code::DeadlineExceeded),
            (Code::Cancelled, tonic::Code::Cancelled),
            (Code::Busy, tonic::Code::Unavailable),
            (Code::PartCorrupt, tonic::Code::DataLoss),
            (Code::Unauthenticated, tonic::Code::Unauthenticated),
            (Code::Denied, tonic::Code::PermissionDenied),
            (Code::Internal, tonic::Code::Internal),
        ] {
            assert_eq!(of(code), expected, "{code:?}");
        }
        assert_eq!(grpc(&Error::NotBuilt { what: "x".to_owned() }).code(), tonic::Code::Unimplemented);
    }

    #[test]
    fn requests_that_never_reach_a_statement_have_statuses_too() {
        let of = |error: Error| error.into_response().status().as_u16();
        assert_eq!(of(Error::Host { host: "evil".to_owned() }), 421);
        assert_eq!(of(Error::CrossSite), 403);
        assert_eq!(of(Error::TooLarge { limit: 1 }), 413);
        let late = || Error::Late { within: std::time::Duration::from_secs(30) };
        assert_eq!((of(late()), Problem(late()).into_response().status().as_u16()), (408, 408));
        assert_eq!(grpc(&late()).code(), tonic::Code::DeadlineExceeded);
        assert_eq!(of(Error::NotFound), 404);
        assert_eq!(of(Error::Method), 405);
    }
}
