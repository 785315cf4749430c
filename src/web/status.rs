//! Errors as statuses.
//!
//! Duty: the one place where an error of the API becomes an HTTP status (sql.md 10): its class decides, a few codes
//! decide otherwise. Guarantee: nothing else in `web` names the status of an error. Left to others: texts (`error`).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::QUERY_ID;
use super::error::Error;
use crate::error::Class;

fn status(class: Class, code: &str) -> StatusCode {
    match code {
        "sql.unknown_table" | "sql.unknown_column" | "sql.unknown_function" => return StatusCode::BAD_REQUEST,
        "sql.limit.rows" | "sql.limit.memory" | "sql.limit.spill" | "sql.limit.scan" => {
            return StatusCode::UNPROCESSABLE_ENTITY;
        }
        "sql.cancelled" => return StatusCode::from_u16(499).expect("499 is between 100 and 999"),
        "sql.unauthenticated" => return StatusCode::UNAUTHORIZED,
        "web.host" => return StatusCode::MISDIRECTED_REQUEST,
        "web.method" => return StatusCode::METHOD_NOT_ALLOWED,
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
    fn requests_that_never_reach_a_statement_have_statuses_too() {
        let of = |error: Error| error.into_response().status().as_u16();
        assert_eq!(of(Error::Host { host: "evil".to_owned() }), 421);
        assert_eq!(of(Error::CrossSite), 403);
        assert_eq!(of(Error::TooLarge { limit: 1 }), 413);
        assert_eq!(of(Error::NotFound), 404);
        assert_eq!(of(Error::Method), 405);
    }
}
