//! OTLP/HTTP: one path, POST (otlp.md 3).
//!
//! Duty: the order of checks of the HTTP column of otlp.md 1, the body, the answer. Guarantee: no body byte is asked for
//! before admission, so `Expect: 100-continue` is only answered then (H13); every answer has a length. Left to others:
//! header limits and timeouts (`connection`), what the body means (`ingest`).

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::otlp::compress::Coding;

use super::activity::Activity;
use super::answer::{Format, Reply, encode_status};
use super::body::{Reader, Unread};
use super::config::Http;
use super::ingest::{Arrived, Ingest};
use super::metrics::Transport;
use super::status::{Failure, Kind, retry_after_seconds};

const MAX_URI_BYTES: usize = 8 << 10;

/// The connection is closed without an answer (H14, H15).
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub(super) struct Closed;

/// Answers one request.
pub(super) async fn answer(
    ingest: &Arc<Ingest>,
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: &Activity,
) -> Result<Response<Reply>, Closed> {
    let started = Instant::now();
    let Some(config) = &ingest.config.http else { return Err(Closed) };
    let counted = ingest.metrics.request(Transport::Http);
    let (head, body) = request.into_parts();
    let (method, version) = (head.method.clone(), head.version);
    let format = media_type(&head.headers);
    let mut reader = Reader::new(body, config.read_timeout.map(|limit| started + limit));
    let outcome = export(ingest, config, head, format, &mut reader, (peer, started)).await;
    let mut response = match outcome {
        Ok(response) => response,
        Err(failure) if failure.kind == Kind::Closed => {
            counted.ends("closed");
            return Err(Closed);
        }
        Err(failure) => refuse(&failure, &method, format),
    };
    counted.ends(response.status().as_str());
    if version < Version::HTTP_2 {
        if !reader.is_at_end() {
            activity.left_unread();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        } else if ingest.is_draining() || !config.keep_alive {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if method == Method::HEAD {
        let length = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = Reply::default();
    }
    Ok(response)
}

async fn export(
    ingest: &Arc<Ingest>,
    config: &Http,
    head: Parts,
    format: Option<Format>,
    reader: &mut Reader,
    (peer, started): (SocketAddr, Instant),
) -> Result<Response<Reply>, Failure> {
    if head.uri.path_and_query().map_or(0, |target| target.as_str().len()) > MAX_URI_BYTES {
        return Err(Failure::new(Kind::UriTooLong, "the URI is longer than 8192 bytes"));
    }
    let caller = ingest.caller(&head.headers, peer).await?;
    let coding = coding(&head.headers)?;
    route(ingest, &head.uri, &config.traces_path)?;
    if head.method != Method::POST {
        return Err(Failure::new(Kind::Method, "405 method not allowed, supported: [POST]"));
    }
    let Some(format) = format else {
        return Err(Failure::new(
            Kind::MediaType,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]",
        ));
    };
    let declared = http_body_length(&head.headers);
    // No room is reserved for it, and the body may take its time: on many streams at once it would be much.
    drop(head);
    if ingest.is_draining() {
        let failure = Failure::draining();
        ingest.count_refusal(&failure, Transport::Http, declared.unwrap_or(0));
        return Err(failure);
    }
    let limit = ingest.admission.message_limit(config.max_body_bytes);
    let too_large = || Failure::too_large("the body", limit);
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let no_room = |bytes| {
        let failure = Failure::no_room(ingest.admission.delay());
        ingest.count_refusal(&failure, Transport::Http, bytes);
        failure
    };
    let compressed = coding != Coding::Identity;
    let known = declared.unwrap_or(0);
    let mut reservation = ingest.admission.reserve(known, compressed).await.map_err(|_| no_room(known))?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let read = match declared {
        Some(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            reader.exactly(length, Some(ingest.admission.arriving())).await
        }
        None => reader.all(size, if compressed { 1 } else { 3 }, &ingest.admission, &mut reservation).await,
    };
    let wire = match read {
        Ok(wire) => wire,
        Err(Unread::TooLarge) => return Err(too_large()),
        Err(Unread::NoRoom) => return Err(no_room(reader.received())),
        Err(Unread::Late | Unread::Broken) => return Err(Failure::closed()),
    };
    // Declared bodies: over HTTP/1.1 the end is also read, which frees the connection for the next request.
    let ended = reader.ends(ingest.admission.arriving()).await;
    match ended {
        Ok(true) if declared.is_none_or(|length| length == wire.len() as u64) => {}
        Err(Unread::NoRoom) => return Err(no_room(reader.received())),
        _ => return Err(Failure::closed()),
    }
    let transport = Transport::Http;
    let arrived =
        Arrived { wire, coding, format, transport, peer, caller, reservation, columns: 0, limit: size, started };
    let success = ingest.take(arrived).await?;
    let mut response = Response::new(Reply::bytes(success.encode(format)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if http_body::Body::is_end_stream(response.body()) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(response)
}

fn http_body_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// H7, up to the name: one coding that is served.
fn coding(headers: &HeaderMap) -> Result<Coding, Failure> {
    let all: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    let value = all.join(", ");
    Coding::parse_http(value.trim())
        .ok_or_else(|| Failure::new(Kind::Coding, format!("unsupported Content-Encoding: {}", value.trim())))
}

/// H1, H5: the path after percent-decoding, to the letter.
fn route(ingest: &Ingest, uri: &http::Uri, traces_path: &str) -> Result<(), Failure> {
    let path = percent_decoded(uri.path());
    let served = traces_path.strip_prefix('/').unwrap_or(traces_path).as_bytes();
    if let Some(path) = &path
        && path.strip_prefix(b"/") == Some(served)
    {
        return Ok(());
    }
    let signal = match path.as_deref() {
        Some(b"/v1/metrics") => Some("metrics"),
        Some(b"/v1/logs") => Some("logs"),
        Some(b"/v1development/profiles") => Some("profiles"),
        _ => None,
    };
    if let Some(signal) = signal {
        ingest.other_signal(signal, Transport::Http);
        let text =
            format!("{signal} are not received here, only traces; switch the {signal} exporter off in the sender");
        return Err(Failure::new(Kind::Unrouted, text));
    }
    Err(Failure::new(Kind::Unrouted, "404 page not found"))
}

/// `None` for an escape that is none.
pub(super) fn percent_decoded(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut out = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).expect("two hex digits fit a byte"));
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// H2: exactly one `Content-Type` that parses as one of the two.
fn media_type(headers: &HeaderMap) -> Option<Format> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    let (essence, parameters) = match text.split_once(';') {
        Some((essence, parameters)) => (essence, parameters),
        None => (text, ""),
    };
    let well_formed = |p: &str| {
        p.trim().is_empty() || p.split_once('=').is_some_and(|(k, v)| !k.trim().is_empty() && !v.trim().is_empty())
    };
    if !parameters.split(';').all(well_formed) {
        return None;
    }
    let essence = essence.trim();
    [Format::Protobuf, Format::Json].into_iter().find(|format| essence.eq_ignore_ascii_case(format.media_type()))
}

fn refuse(failure: &Failure, method: &Method, format: Option<Format>) -> Response<Reply> {
    let (status, code) = failure.http();
    // Without a known media type: plain text, but an unknown coding is told in JSON (H4, H5, H7).
    let format = format.or((failure.kind == Kind::Coding).then_some(Format::Json));
    let (media_type, body) = match format {
        Some(format) => (format.media_type(), encode_status(failure, code, format)),
        None if status == StatusCode::NOT_FOUND => ("text/plain", b"404 page not found".to_vec()),
        None => ("text/plain", failure.message.clone().into_bytes()),
    };
    let mut response = Response::new(Reply::bytes(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(challenge) = failure.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = retry_after_seconds(status, failure.retry_after) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    tracing::debug!(%method, status = status.as_u16(), reason = %failure.message, "request not taken");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(values: &[&str]) -> Option<Format> {
        media_type(&values.iter().map(|v| (CONTENT_TYPE, HeaderValue::from_str(v).unwrap())).collect())
    }

    #[test]
    fn media_types_are_read_in_any_case_and_with_parameters() {
        assert_eq!(typed(&["APPLICATION/JSON"]), Some(Format::Json));
        assert_eq!(typed(&["application/json; charset=utf-8"]), Some(Format::Json));
        assert_eq!(typed(&["application/x-protobuf"]), Some(Format::Protobuf));
        for unsupported in [&["json"][..], &[], &["application/json", "application/json"], &["application/json; x"]] {
            assert_eq!(typed(unsupported), None, "{unsupported:?}");
        }
    }

    #[test]
    fn content_codings_are_read_in_any_case_and_only_one() {
        let of = |text: &str| coding(&HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(of("GZIP"), Ok(Coding::Gzip));
        assert_eq!(of("deflate"), Ok(Coding::Zlib));
        assert_eq!(coding(&HeaderMap::new()), Ok(Coding::Identity));
        assert_eq!(of("br").unwrap_err().message, "unsupported Content-Encoding: br");
        assert_eq!(of("gzip, gzip").unwrap_err().message, "unsupported Content-Encoding: gzip, gzip");
    }

    #[test]
    fn a_path_is_decoded_once_and_a_bad_escape_is_no_path() {
        assert_eq!(percent_decoded("/v1/%74races"), Some(b"/v1/traces".to_vec()));
        assert_eq!(percent_decoded("/v1/%2574races"), Some(b"/v1/%74races".to_vec()));
        assert_eq!([percent_decoded("/%zz"), percent_decoded("/%4")], [None, None]);
    }
}
