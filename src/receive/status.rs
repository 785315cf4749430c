//! Failures to status codes: the only file that speaks them (otlp.md 5, S1 to S8).
//!
//! Duty: what each failure is called over gRPC and over HTTP, whether it is retryable and when. Guarantee: load is
//! always UNAVAILABLE / 503 with a delay, never a bare RESOURCE_EXHAUSTED or 429 (B3), and OUT_OF_RANGE is never made
//! here (G4). Left to others: how a status is written (`answer`).

use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use crate::error::Class;
use crate::otlp::Undecodable;
use crate::span::Refusal;

use super::admit;
use super::auth::{Caller, Denied};

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// gRPC: a method that is not served. HTTP: a path.
    Unrouted,
    /// HTTP: not POST.
    Method,
    /// HTTP: neither of the two media types.
    MediaType,
    /// HTTP: the URI is too long.
    UriTooLong,
    /// A content coding that is not served.
    Coding,
    /// gRPC framing, or a corrupt compressed stream.
    Corrupt,
    /// One of the error classes (S8).
    Class(Class),
    /// No answer at all: the connection or the stream is closed (H14, H15).
    Closed,
}

/// A request that is not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// English, without attribute values.
    pub(super) message: String,
    /// `RetryInfo` and `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// Path and description of a `BadRequest` detail.
    pub(super) violation: Option<Box<(String, String)>>,
    /// Counter label of a refusal (B7).
    pub(super) refused: Option<&'static str>,
    /// Whether it is known who sent the request.
    pub(super) caller_known: bool,
    /// `WWW-Authenticate`.
    pub(super) challenge: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message, retry_after: None, violation: None, refused: None, caller_known: false, challenge: None }
    }

    pub(super) fn closed() -> Self {
        Self::new(Kind::Closed, "")
    }

    /// Over a size limit (G3, H8): permanent.
    pub(super) fn too_large(what: &str, limit: u64) -> Self {
        Self::new(
            Kind::Class(Class::TooLarge),
            format!("{what} is larger than the limit of {limit} bytes; send smaller batches"),
        )
    }

    /// Columns that would not fit an empty pool, although the message does: permanent too.
    pub(super) fn too_wide(columns: u64, wire: u64, pool: u64) -> Self {
        let text = format!(
            "the message of {wire} bytes has so many short values that its columns need {columns} bytes and more, with the \
             message more than the {pool} bytes for all requests; send smaller batches, or raise memory.limit"
        );
        Self::new(Kind::Class(Class::TooLarge), text)
    }

    /// No room in the pool (B4).
    pub(super) fn no_room(delay: Duration) -> Self {
        Self {
            retry_after: Some(delay),
            refused: Some("memory"),
            ..Self::new(Kind::Class(Class::Busy), "too many bytes in flight; send the same again later")
        }
    }

    /// Shutting down (X2).
    pub(super) fn draining() -> Self {
        Self {
            retry_after: Some(admit::DRAINING),
            refused: Some("draining"),
            ..Self::new(Kind::Class(Class::Unavailable), "shutting down; send the same again later")
        }
    }

    /// A part that is needed does not answer.
    pub(super) fn unavailable(message: &str) -> Self {
        Self { retry_after: Some(admit::STALLED), ..Self::new(Kind::Class(Class::Unavailable), message) }
    }

    /// The sender may not send (G11, H11).
    pub(super) fn denied(denied: Denied) -> Self {
        let message = match &denied.caller {
            Some(caller) => format!("{} may not send spans here: {}", caller.name, denied.reason),
            None => denied.reason,
        };
        let (caller_known, challenge) = (denied.caller.is_some(), denied.challenge);
        Self { caller_known, challenge, ..Self::new(Kind::Class(Class::Denied), message) }
    }

    pub(super) fn timeout(message: &str) -> Self {
        Self::new(Kind::Class(Class::Timeout), message)
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::new(Kind::Class(Class::Internal), message)
    }

    /// Bad data (G7, H6).
    pub(super) fn undecodable(error: &Undecodable) -> Self {
        let description = format!("{} at byte {}", error.detail, error.offset);
        Self {
            violation: Some(Box::new((error.path.clone(), description))),
            ..Self::new(Kind::Class(Class::Invalid), error.to_string())
        }
    }

    /// What the pipeline said to `caller`; `busy` is the delay of B6.
    pub(super) fn refusal(refusal: Refusal, busy: Duration, caller: Option<&Caller>) -> Self {
        let retry_after = match refusal.class {
            Class::Busy | Class::Unavailable => refusal.retry_after.or(Some(match (refusal.class, refusal.label) {
                (Class::Unavailable, _) | (_, "disk" | "sync") => admit::STALLED,
                _ => busy,
            })),
            _ => None,
        };
        let refused = refusal.class.is_retryable().then_some(refusal.label);
        let caller_known = caller.is_some();
        Self { retry_after, refused, caller_known, ..Self::new(Kind::Class(refusal.class), refusal.reason) }
    }

    /// The gRPC code.
    pub(super) fn code(&self) -> Code {
        match self.kind {
            Kind::Unrouted | Kind::Coding => Code::Unimplemented,
            Kind::Corrupt => Code::Internal,
            Kind::Class(class) => code_of(class, self.caller_known),
            Kind::Closed => Code::Cancelled,
            Kind::Method | Kind::MediaType | Kind::UriTooLong => Code::Unknown,
        }
    }

    /// The HTTP status, and the code in its body.
    pub(super) fn http(&self) -> (StatusCode, Code) {
        let status = match self.kind {
            Kind::Unrouted => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::UriTooLong => StatusCode::URI_TOO_LONG,
            Kind::Coding | Kind::Corrupt => StatusCode::BAD_REQUEST,
            Kind::Class(Class::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Class(class) => {
                let code = code_of(class, self.caller_known);
                return (status_of(code), code);
            }
            Kind::Closed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, code_of_status(status))
    }
}

/// S8.
fn code_of(class: Class, caller_known: bool) -> Code {
    match class {
        Class::Invalid => Code::InvalidArgument,
        Class::TooLarge => Code::ResourceExhausted,
        Class::Busy | Class::Unavailable => Code::Unavailable,
        Class::Timeout => Code::DeadlineExceeded,
        Class::Denied if caller_known => Code::PermissionDenied,
        Class::Denied => Code::Unauthenticated,
        Class::Internal | Class::NotFound | Class::Conflict => Code::Internal,
    }
}

/// S2.
pub(super) fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => StatusCode::SERVICE_UNAVAILABLE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// S3.
pub(super) fn code_of_status(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 => Code::ResourceExhausted,
        502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// S4: whole seconds, rounded up, at least 1; only on 429 and 503.
pub(super) fn retry_after_seconds(status: StatusCode, delay: Option<Duration>) -> Option<u64> {
    let delay = delay?;
    matches!(status.as_u16(), 429 | 503).then(|| {
        let rounded_up = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        rounded_up.max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_codes_become_the_statuses_of_the_table() {
        let got: Vec<u16> = (0..17).map(|n| status_of(Code::from_i32(n)).as_u16()).collect();
        assert_eq!(got, [500, 503, 500, 400, 503, 500, 500, 403, 429, 500, 503, 503, 404, 500, 503, 503, 401]);
    }

    #[test]
    fn statuses_become_the_codes_of_the_table() {
        let got = [400, 401, 403, 404, 429, 502, 503, 504, 405, 413, 415, 500]
            .map(|s| code_of_status(StatusCode::from_u16(s).unwrap()) as i32);
        assert_eq!(got, [3, 16, 7, 12, 8, 14, 14, 14, 2, 2, 2, 2]);
    }

    #[test]
    fn each_class_has_its_code_and_status() {
        let (nobody, somebody) = (None, Some(Caller { name: "alice".to_owned() }));
        let cases = [
            (Class::Invalid, [(3, 400, 3); 2]),
            (Class::TooLarge, [(8, 413, 2); 2]),
            (Class::Busy, [(14, 503, 14); 2]),
            (Class::Unavailable, [(14, 503, 14); 2]),
            (Class::Timeout, [(4, 503, 4); 2]),
            (Class::Denied, [(16, 401, 16), (7, 403, 7)]),
            (Class::Internal, [(13, 500, 13); 2]),
        ];
        for (class, expected) in cases {
            for (caller, expected) in [&nobody, &somebody].into_iter().zip(expected) {
                let refusal = Refusal { class, reason: String::new(), label: "internal", retry_after: None };
                let failure = Failure::refusal(refusal, Duration::ZERO, caller.as_ref());
                let (got, code) = failure.http();
                assert_eq!((failure.code() as i32, got.as_u16(), code as i32), expected, "{class}, {caller:?}");
            }
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up_and_only_on_429_and_503() {
        let after = |status, millis| {
            retry_after_seconds(StatusCode::from_u16(status).unwrap(), Some(Duration::from_millis(millis)))
        };
        assert_eq!([after(503, 200), after(503, 1500), after(429, 0)], [Some(1), Some(2), Some(1)]);
        assert_eq!([after(500, 1000), after(413, 1000)], [None, None]);
        assert_eq!(retry_after_seconds(StatusCode::SERVICE_UNAVAILABLE, None), None);
    }

    #[test]
    fn a_refusal_is_told_with_a_delay_when_it_passes_and_without_when_it_does_not() {
        let of = |class, label, retry_after| {
            let refusal = Refusal { class, reason: "why".to_owned(), label, retry_after };
            Failure::refusal(refusal, Duration::from_secs(2), None).retry_after
        };
        assert_eq!(of(Class::Busy, "queue", None), Some(Duration::from_secs(2)));
        assert_eq!(of(Class::Busy, "disk", None), Some(Duration::from_secs(5)));
        assert_eq!(of(Class::Unavailable, "sync", None), Some(Duration::from_secs(5)));
        assert_eq!(of(Class::Busy, "queue", Some(Duration::from_secs(9))), Some(Duration::from_secs(9)));
        assert_eq!(of(Class::Internal, "internal", Some(Duration::from_secs(9))), None);
    }
}
