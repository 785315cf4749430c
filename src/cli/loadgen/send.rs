//! Sends encoded requests over OTLP/gRPC or OTLP/HTTP, one at a time a connection.
//!
//! Duty: one [`Connection`] to one endpoint; what the peer said to each request. Guarantee: a request counts as
//! acknowledged only on gRPC OK or HTTP 200; the spans of a partial success are told apart. Left to others: how many
//! connections there are and how fast they go (`mod.rs`). Plain HTTP only: a load generator measures the peer, not TLS.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Compression, Protocol};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages of many MiB must not wait for window updates.
const HTTP2_WINDOW: u32 = 16 << 20;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken; `rejected` of its spans were not.
    Acknowledged {
        /// From the partial success, 0 without one.
        rejected: u64,
    },
    /// Refused, with the peer's words.
    Refused(String),
    /// The connection broke before there was an answer.
    Broken(String),
}

/// Where to send, and how.
#[derive(Clone, Debug)]
pub struct Target {
    authority: String,
    path: String,
    protocol: Protocol,
    compression: Compression,
}

/// The endpoint is not one.
#[derive(Debug, thiserror::Error)]
#[error("--endpoint `{endpoint}`: {why}; give `http://host:port`, for example http://localhost:4317")]
pub struct BadEndpoint {
    endpoint: String,
    why: String,
}

impl Target {
    /// `endpoint` is `http://host:port[/path]` or `host:port`; HTTP gets `/v1/traces` where it has no path.
    pub fn try_new(endpoint: &str, protocol: Protocol, compression: Compression) -> Result<Self, BadEndpoint> {
        let bad = |why: &str| BadEndpoint { endpoint: endpoint.to_owned(), why: why.to_owned() };
        let full = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        let uri: Uri = full.parse().map_err(|error: http::uri::InvalidUri| bad(&error.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("only plain http is spoken"));
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.port_u16().is_none() {
            return Err(bad("the port is missing"));
        }
        let path = match (protocol, uri.path()) {
            (Protocol::Grpc, _) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (_, "" | "/") => "/v1/traces",
            (_, path) => path,
        };
        Ok(Self { authority: authority.to_string(), path: path.to_owned(), protocol, compression })
    }

    /// The body of one request: `message` compressed, and framed for gRPC.
    pub fn body(&self, message: &[u8]) -> Result<Bytes, std::io::Error> {
        let compressed = match self.compression {
            Compression::None => message.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                std::io::Write::write_all(&mut encoder, message)?;
                encoder.finish()?
            }
            Compression::Zstd => zstd::encode_all(message, 1)?,
        };
        if self.protocol != Protocol::Grpc {
            return Ok(compressed.into());
        }
        let length = u32::try_from(compressed.len())
            .map_err(|_| std::io::Error::other("a gRPC message has at most 4 GiB: lower --spans-per-request"))?;
        let mut frame = BytesMut::with_capacity(compressed.len() + 5);
        frame.put_u8(u8::from(self.compression != Compression::None));
        frame.put_u32(length);
        frame.extend_from_slice(&compressed);
        Ok(frame.freeze())
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection, String> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| format!("cannot connect to {}: no answer in 5 s", self.authority))?
            .map_err(|error| format!("cannot connect to {}: {error}", self.authority))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let io = TokioIo::new(stream);
        let failed = |error: hyper::Error| format!("handshake with {}: {error}", self.authority);
        let sender = match self.protocol {
            Protocol::Grpc => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(HTTP2_WINDOW)
                    .initial_connection_window_size(HTTP2_WINDOW)
                    .handshake(io)
                    .await
                    .map_err(failed)?;
                tokio::spawn(driver);
                Sender::Http2(sender)
            }
            Protocol::Http | Protocol::HttpJson => {
                let (sender, driver) = http1::handshake(io).await.map_err(failed)?;
                tokio::spawn(driver);
                Sender::Http1(sender)
            }
        };
        Ok(Connection { target: self.clone(), sender })
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Sends one body (made by [`Target::body`]) and waits for the answer.
    pub async fn send(&mut self, body: Bytes) -> Outcome {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(body)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Broken(error.to_string()),
            Err(_) => Outcome::Broken("no answer in 60 s".to_owned()),
        }
    }

    async fn exchange(&mut self, body: Bytes) -> Result<Outcome, hyper::Error> {
        let request = self.request(body);
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        match self.target.protocol {
            Protocol::Grpc => grpc_outcome(response).await,
            Protocol::Http | Protocol::HttpJson => http_outcome(response).await,
        }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let target = &self.target;
        let builder = match target.protocol {
            Protocol::Grpc => Request::post(format!("http://{}{}", target.authority, target.path))
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers"),
            Protocol::Http => Request::post(&target.path).header(header::CONTENT_TYPE, "application/x-protobuf"),
            Protocol::HttpJson => Request::post(&target.path).header(header::CONTENT_TYPE, "application/json"),
        };
        let (builder, encoding) = match target.protocol {
            Protocol::Grpc => (builder, "grpc-encoding"),
            _ => (builder.header(header::HOST, &target.authority), "content-encoding"),
        };
        let builder = match target.compression {
            Compression::None => builder,
            Compression::Gzip => builder.header(encoding, "gzip"),
            Compression::Zstd => builder.header(encoding, "zstd"),
        };
        builder.body(Full::new(body)).expect("Target::try_new checked authority and path")
    }
}

async fn grpc_outcome(response: http::Response<Incoming>) -> Result<Outcome, hyper::Error> {
    let head = response.headers().clone();
    let collected = response.into_body().collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let field = |name: &str| {
        let value = trailers.get(name).or_else(|| head.get(name));
        value.and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let body = collected.to_bytes();
    Ok(match field("grpc-status").as_deref() {
        Some("0") => Outcome::Acknowledged { rejected: rejected_spans(body.get(5..).unwrap_or_default()) },
        Some(code) => Outcome::Refused(format!("gRPC status {code}: {}", field("grpc-message").unwrap_or_default())),
        None => Outcome::Broken("the answer has no grpc-status".to_owned()),
    })
}

async fn http_outcome(response: http::Response<Incoming>) -> Result<Outcome, hyper::Error> {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == "application/json");
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        return Ok(Outcome::Refused(format!("HTTP status {status}: {text}")));
    }
    let rejected = if is_json { rejected_spans_json(&body) } else { rejected_spans(&body) };
    Ok(Outcome::Acknowledged { rejected })
}

fn rejected_spans_json(body: &[u8]) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = &value["partialSuccess"]["rejectedSpans"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0)
}

/// `partial_success.rejected_spans` of an `ExportTraceServiceResponse`; 0 where there is none.
fn rejected_spans(response: &[u8]) -> u64 {
    field(response, 1).and_then(|(_, partial)| Some(field(partial?, 1)?.0)).unwrap_or(0)
}

/// The value of field `wanted`: as a number, and as bytes if it has a length.
fn field(mut message: &[u8], wanted: u64) -> Option<(u64, Option<&[u8]>)> {
    fn varint(message: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = message.split_first()?;
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let number = varint(&mut message)?;
        let bytes = match tag & 7 {
            0 => None,
            2 => {
                let (bytes, rest) = message.split_at_checked(usize::try_from(number).ok()?)?;
                message = rest;
                Some(bytes)
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some((number, bytes));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_read_from_both_encodings() {
        assert_eq!(rejected_spans(&[0x0a, 4, 0x08, 3, 0x12, 0]), 3);
        assert_eq!(rejected_spans(&[]), 0);
        assert_eq!(rejected_spans(&[0x0a, 0x7f]), 0);
        assert_eq!(rejected_spans_json(br#"{"partialSuccess":{"rejectedSpans":"7"}}"#), 7);
        assert_eq!(rejected_spans_json(b"{}"), 0);
    }

    #[test]
    fn an_endpoint_without_port_or_with_tls_is_told() {
        let text = |endpoint| Target::try_new(endpoint, Protocol::Http, Compression::None).unwrap_err().to_string();
        assert!(text("http://localhost").contains("the port is missing"));
        assert!(text("https://localhost:4318").contains("only plain http"));
        let target = Target::try_new("localhost:4318", Protocol::Http, Compression::None).unwrap();
        assert_eq!(target.path, "/v1/traces");
    }
}
