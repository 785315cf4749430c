//! The few messages the receiver writes: responses and statuses, as protobuf and as JSON (otlp.md 9.4, S6, H3, P1).
//!
//! Duty: bytes of `ExportTraceServiceResponse` and `google.rpc.Status`, and the body that carries them. Guarantee: every
//! text is at most 4 KiB, cut at a character boundary (L18). Left to others: codes (`status`), headers (`grpc`, `http`).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use tonic::Code;

use super::status::Failure;

/// Longest text in an answer, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 4096;
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// The encoding of a request and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/x-protobuf`, and everything on gRPC.
    Protobuf,
    /// `application/json`
    Json,
}

impl Format {
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// What a success says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Success {
    pub(super) rejected_spans: u64,
    /// Empty with 0 rejected spans: `partial_success` is left unset.
    pub(super) message: String,
}

impl Success {
    pub(super) fn encode(&self, format: Format) -> Vec<u8> {
        let unset = self.rejected_spans == 0 && self.message.is_empty();
        let message = cut(&self.message, MAX_TEXT_BYTES);
        match format {
            Format::Protobuf if unset => Vec::new(),
            Format::Protobuf => {
                let mut partial = Vec::new();
                put_number(&mut partial, 1, self.rejected_spans);
                put_bytes(&mut partial, 2, message.as_bytes());
                let mut out = Vec::new();
                put_message(&mut out, 1, &partial);
                out
            }
            Format::Json if unset => b"{}".to_vec(),
            Format::Json => {
                // int64 is a string in proto3 JSON.
                json!({"partialSuccess": {"rejectedSpans": self.rejected_spans.to_string(), "errorMessage": message}})
                    .to_string()
                    .into_bytes()
            }
        }
    }
}

/// `failure` as a `google.rpc.Status` with `code`.
pub(super) fn encode_status(failure: &Failure, code: Code, format: Format) -> Vec<u8> {
    let message = cut(&failure.message, MAX_TEXT_BYTES);
    let violation = failure
        .violation
        .as_deref()
        .map(|(field, description)| (cut(field, MAX_TEXT_BYTES), cut(description, MAX_TEXT_BYTES)));
    match format {
        Format::Protobuf => {
            let mut out = Vec::new();
            put_number(&mut out, 1, u64::try_from(code as i32).expect("codes are 0 to 16"));
            put_bytes(&mut out, 2, message.as_bytes());
            if let Some(delay) = failure.retry_after {
                let (mut duration, mut info) = (Vec::new(), Vec::new());
                put_number(&mut duration, 1, delay.as_secs());
                put_number(&mut duration, 2, u64::from(delay.subsec_nanos()));
                put_message(&mut info, 1, &duration);
                put_any(&mut out, RETRY_INFO, &info);
            }
            if let Some((field, description)) = violation {
                let (mut inner, mut detail) = (Vec::new(), Vec::new());
                put_bytes(&mut inner, 1, field.as_bytes());
                put_bytes(&mut inner, 2, description.as_bytes());
                put_message(&mut detail, 1, &inner);
                put_any(&mut out, BAD_REQUEST, &detail);
            }
            out
        }
        Format::Json => {
            let mut status = json!({"code": code as i32});
            if !message.is_empty() {
                status["message"] = Value::from(message);
            }
            let mut details = Vec::new();
            if let Some(delay) = failure.retry_after {
                details.push(json!({"@type": RETRY_INFO, "retryDelay": seconds(delay)}));
            }
            if let Some((field, description)) = violation {
                let violations = json!([{"field": field, "description": description}]);
                details.push(json!({"@type": BAD_REQUEST, "fieldViolations": violations}));
            }
            if !details.is_empty() {
                status["details"] = Value::from(details);
            }
            status.to_string().into_bytes()
        }
    }
}

/// A `Duration` of proto3 JSON: 0, 3, 6 or 9 decimal places.
fn seconds(delay: std::time::Duration) -> String {
    let (whole, nanos) = (delay.as_secs(), delay.subsec_nanos());
    match nanos {
        0 => format!("{whole}s"),
        n if n % 1_000_000 == 0 => format!("{whole}.{:03}s", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{whole}.{:06}s", n / 1_000),
        n => format!("{whole}.{n:09}s"),
    }
}

/// The longest prefix of `text` of at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let fits = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..fits.unwrap_or(0)]
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).expect("seven bits") | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).expect("seven bits"));
}

fn put_number(out: &mut Vec<u8>, field: u64, n: u64) {
    if n != 0 {
        put_varint(out, field << 3);
        put_varint(out, n);
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_message(out, field, bytes);
    }
}

fn put_message(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_any(out: &mut Vec<u8>, type_url: &str, value: &[u8]) {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, type_url.as_bytes());
    put_bytes(&mut any, 2, value);
    put_message(out, 3, &any);
}

/// A body of at most one piece, then trailers.
#[derive(Debug, Default)]
pub(super) struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    pub(super) fn bytes(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self { data: (!data.is_empty()).then_some(data), trailers: None }
    }

    pub(super) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self { data: Some(data), trailers: Some(trailers) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.data.take() {
            Some(data) => Some(Frame::data(data)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.trailers.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.data.as_ref().map_or(0, |d| d.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn failure() -> Failure {
        Failure {
            retry_after: Some(Duration::from_millis(1500)),
            violation: Some(Box::new(("resourceSpans[0]".to_owned(), "truncated".to_owned()))),
            ..Failure::draining()
        }
    }

    #[test]
    fn a_status_in_json_has_the_forms_of_s6() {
        let got: Value = serde_json::from_slice(&encode_status(&failure(), Code::Unavailable, Format::Json)).unwrap();
        let want = json!({"code": 14, "message": "shutting down; send the same again later", "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"},
            {"@type": "type.googleapis.com/google.rpc.BadRequest",
             "fieldViolations": [{"field": "resourceSpans[0]", "description": "truncated"}]},
        ]});
        assert_eq!(got, want);
        let bare = Failure { message: String::new(), ..Failure::closed() };
        assert_eq!(encode_status(&bare, Code::Unknown, Format::Json), b"{\"code\":2}");
    }

    #[test]
    fn a_status_in_protobuf_reads_back() {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Any {
            #[prost(string, tag = "1")]
            type_url: String,
            #[prost(bytes = "vec", tag = "2")]
            value: Vec<u8>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Status {
            #[prost(int32, tag = "1")]
            code: i32,
            #[prost(string, tag = "2")]
            message: String,
            #[prost(message, repeated, tag = "3")]
            details: Vec<Any>,
        }
        let bytes = encode_status(&failure(), Code::Unavailable, Format::Protobuf);
        let status = <Status as prost::Message>::decode(&bytes[..]).unwrap();
        assert_eq!((status.code, status.message.as_str()), (14, "shutting down; send the same again later"));
        let urls: Vec<_> = status.details.iter().map(|any| any.type_url.as_str()).collect();
        assert_eq!(urls, [RETRY_INFO, BAD_REQUEST]);
        // Duration { seconds: 1, nanos: 500_000_000 } in field 1.
        assert_eq!(status.details[0].value, b"\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01");
        assert_eq!(status.details[1].value, b"\x0a\x1d\x0a\x10resourceSpans[0]\x12\x09truncated");
    }

    #[test]
    fn a_success_is_empty_unless_spans_were_rejected() {
        assert_eq!(Success::default().encode(Format::Protobuf), b"");
        assert_eq!(Success::default().encode(Format::Json), b"{}");
        let partial = Success { rejected_spans: 3, message: "why".to_owned() };
        assert_eq!(partial.encode(Format::Protobuf), b"\x0a\x07\x08\x03\x12\x03why");
        let got: Value = serde_json::from_slice(&partial.encode(Format::Json)).unwrap();
        assert_eq!(got, json!({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}}));
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(cut("aé", 2), "a");
        let partial = Success { rejected_spans: 1, message: "é".repeat(4000) };
        assert!(partial.encode(Format::Protobuf).len() < 4200);
    }
}
