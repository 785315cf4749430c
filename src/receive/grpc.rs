//! OTLP/gRPC: one unary method, by hand (otlp.md 2).
//!
//! Duty: the order of checks of the gRPC column of otlp.md 1, the frame, the trailers. Guarantee: no body byte is read
//! for a request that a header already condemns, and none of a message over the limit; no head is kept while its body is
//! waited for; the connection stays usable after every answer. Left to others: HTTP/2 itself (hyper), what the message means (`ingest`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::otlp::compress::Coding;

use super::answer::{Format, Reply, Success, cut, encode_status};
use super::body::{Reader, Unread};
use super::ingest::{Arrived, Ingest};
use super::metrics::Transport;
use super::status::{Failure, Kind};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,snappy");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Longest `grpc-message`, percent-encoded (G14).
const MAX_MESSAGE_BYTES: usize = 1024;
/// Compression flag and length.
const FRAME_HEADER_BYTES: usize = 5;

/// Answers one call.
pub(super) async fn answer(ingest: &Arc<Ingest>, request: Request<Incoming>, peer: SocketAddr) -> Response<Reply> {
    let counted = ingest.metrics.request(Transport::Grpc);
    let started = Instant::now();
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let routed = route(ingest, uri.path());
    drop(uri);
    // The table's row 5: what does not speak gRPC gets plain HTTP.
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if routed.is_ok() && !is_grpc {
        counted.ends("415");
        let mut response = Response::new(Reply::bytes("content-type application/grpc is expected on this port"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        return response;
    }
    let deadline = timeout(&headers).map(|after| started + after);
    let outcome = match routed {
        Err(failure) => Err(failure),
        Ok(()) => {
            let call = export(ingest, headers, body, peer, started, deadline);
            match deadline {
                None => call.await,
                Some(deadline) => tokio::time::timeout_at(deadline, call).await.unwrap_or_else(|_| Err(late())),
            }
        }
    };
    match outcome {
        Ok(success) => {
            counted.ends("0");
            let mut response = Response::new(Reply::with_trailers(frame(&success), ok_trailers()));
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
        Err(failure) => {
            counted.ends(&(failure.code() as i32).to_string());
            refuse(&failure)
        }
    }
}

/// Row 4.
fn route(ingest: &Ingest, path: &str) -> Result<(), Failure> {
    if path == EXPORT {
        return Ok(());
    }
    let signal = ["metrics", "logs", "profiles"].into_iter().find(|signal| {
        let package = path.strip_prefix("/opentelemetry.proto.collector.");
        package.and_then(|rest| rest.strip_prefix(signal)).is_some_and(|rest| rest.starts_with('.'))
    });
    Err(Failure::new(
        Kind::Unrouted,
        match signal {
            Some(signal) => {
                ingest.other_signal(signal, Transport::Grpc);
                format!("{signal} are not received here, only traces; switch the {signal} exporter off in the sender")
            }
            None => format!("unknown method {}; {EXPORT} is served", cut(path, 200)),
        },
    ))
}

async fn export(
    ingest: &Arc<Ingest>,
    headers: HeaderMap,
    body: Incoming,
    peer: SocketAddr,
    started: Instant,
    deadline: Option<Instant>,
) -> Result<Success, Failure> {
    let named = headers.get(&ENCODING).map(HeaderValue::as_bytes);
    let Some(coding) = std::str::from_utf8(named.unwrap_or(b"identity")).ok().and_then(Coding::parse_grpc) else {
        let name = String::from_utf8_lossy(named.unwrap_or_default()).into_owned();
        return Err(Failure::new(Kind::Coding, format!("grpc-encoding {name} is not supported; use gzip")));
    };
    let caller = ingest.caller(&headers, peer).await?;
    // No room is reserved for them, and the body may take its time: on many streams at once they would be much.
    drop(headers);
    if ingest.is_draining() {
        let failure = Failure::draining();
        ingest.count_refusal(&failure, Transport::Grpc, 0);
        return Err(failure);
    }
    let limit = ingest.config.grpc.as_ref().map_or(0, |grpc| grpc.max_recv_bytes);
    let limit = ingest.admission.message_limit(limit);
    let read_by = ingest.config.grpc_read_timeout.map(|limit| started + limit);
    let mut reader = Reader::new(body, deadline.into_iter().chain(read_by).min());
    let framing = |why: &str| Failure::new(Kind::Corrupt, why);

    let header = reader.exactly(FRAME_HEADER_BYTES, None).await.map_err(unread)?;
    if header.is_empty() {
        return Err(framing("the call has no message, one is expected"));
    }
    let Ok([flag, length @ ..]) = <[u8; FRAME_HEADER_BYTES]>::try_from(&header[..]) else {
        return Err(framing("the message's frame header is truncated"));
    };
    let coding = match (flag, coding) {
        (0, _) => Coding::Identity,
        (1, Coding::Identity) => return Err(framing("a compressed message without grpc-encoding")),
        (1, coding) => coding,
        _ => return Err(framing("the compression flag is neither 0 nor 1")),
    };
    let length = u32::from_be_bytes(length);
    if u64::from(length) > limit {
        return Err(Failure::too_large("the message", limit));
    }
    let refused = |failure: Failure| {
        ingest.count_refusal(&failure, Transport::Grpc, u64::from(length));
        failure
    };
    let compressed = coding != Coding::Identity;
    let reservation = ingest
        .admission
        .reserve(u64::from(length), compressed)
        .await
        .map_err(|_| refused(Failure::no_room(ingest.admission.delay())))?;
    let not_read = |why: Unread| match why {
        Unread::NoRoom => refused(Failure::no_room(ingest.admission.delay())),
        why => unread(why),
    };
    let arriving = ingest.admission.arriving();
    let wire = reader.exactly(length as usize, Some(arriving)).await.map_err(not_read)?;
    if wire.len() < length as usize {
        return Err(framing("the message is shorter than its frame header says"));
    }
    if !reader.ends(arriving).await.map_err(not_read)? {
        return Err(framing("bytes after the message; a unary call has one"));
    }
    let arrived = Arrived {
        wire,
        coding,
        format: Format::Protobuf,
        transport: Transport::Grpc,
        peer,
        caller,
        reservation,
        columns: 0,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        started,
    };
    ingest.take(arrived).await
}

fn late() -> Failure {
    Failure::timeout("the call's deadline passed before its spans were acknowledged; they may still be stored")
}

fn unread(unread: Unread) -> Failure {
    match unread {
        Unread::Late => Failure::timeout("the message did not arrive in time"),
        Unread::Broken => Failure::new(Kind::Closed, "the stream was reset"),
        Unread::TooLarge | Unread::NoRoom => Failure::internal("a message of known length has no steps"),
    }
}

/// `grpc-timeout`: at most eight digits and a unit. One that does not parse is as good as none.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

fn frame(success: &Success) -> Bytes {
    let message = success.encode(Format::Protobuf);
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("answers are under 4 MiB"));
    frame.put_slice(&message);
    frame.freeze()
}

fn ok_trailers() -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
}

/// Headers only: no message, the status at once.
fn refuse(failure: &Failure) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(STATUS, HeaderValue::from(failure.code() as i32));
    headers.insert(MESSAGE, percent_encoded(&failure.message));
    if failure.kind == Kind::Coding {
        headers.insert(ACCEPT_ENCODING, ACCEPTED);
    }
    if failure.retry_after.is_some() || failure.violation.is_some() {
        let details = STANDARD_NO_PAD.encode(encode_status(failure, failure.code(), Format::Protobuf));
        headers.insert(DETAILS, HeaderValue::from_str(&details).expect("base64 is visible ASCII"));
    }
    response
}

/// G14: everything but visible ASCII and space, and `%` itself, as `%XX`; cut before a character that does not fit.
fn percent_encoded(message: &str) -> HeaderValue {
    let mut out = String::new();
    let mut utf8 = [0; 4];
    for c in message.chars() {
        let mut piece = String::new();
        if matches!(c, ' '..='~') && c != '%' {
            piece.push(c);
        } else {
            for byte in c.encode_utf8(&mut utf8).bytes() {
                piece.push_str(&format!("%{byte:02X}"));
            }
        }
        if out.len() + piece.len() > MAX_MESSAGE_BYTES {
            break;
        }
        out.push_str(&piece);
    }
    HeaderValue::from_str(&out).expect("percent-encoded text is visible ASCII")
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    /// OTLP's list.
    const RETRYABLE: [Code; 6] =
        [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss];

    #[test]
    fn a_message_is_percent_encoded_and_cut_between_characters() {
        assert_eq!(percent_encoded("a% é\n"), "a%25 %C3%A9%0A");
        let long = percent_encoded(&"é".repeat(1000));
        assert_eq!(long.len(), 1020, "170 characters of six bytes");
    }

    #[test]
    fn timeouts_have_the_units_of_the_protocol() {
        let of = |text: &str| timeout(&HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(of("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!([of("5m"), of("7u")], [Some(Duration::from_millis(5)), Some(Duration::from_micros(7))]);
        assert_eq!([of("S"), of("123456789S"), of("-1S"), of("1x"), of("")], [None; 5]);
    }

    #[test]
    fn permanent_failures_have_codes_that_clients_do_not_retry() {
        for failure in [
            Failure::too_large("the message", 1),
            Failure::new(Kind::Corrupt, ""),
            Failure::new(Kind::Coding, ""),
            Failure::new(Kind::Unrouted, ""),
        ] {
            assert!(!RETRYABLE.contains(&failure.code()), "{failure:?}");
            assert!(!refuse(&failure).headers().contains_key(DETAILS), "{failure:?}");
        }
    }
}
