//! OTLP/gRPC: an HTTP/2 client that sees every header, and tonic's.

use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use weavergen::error::Class;

use weavergen::span::SpanBatch;

use super::{Running, alice_only, config};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
type Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

/// One connection.
struct Client(SendRequest<Body>);

#[derive(Debug)]
struct Reply {
    http: u16,
    code: Option<i32>,
    message: String,
    details: Vec<u8>,
    headers: HeaderMap,
    body: Bytes,
}

impl Client {
    async fn to(running: &Running) -> Self {
        Self::connect(running.grpc()).await
    }

    async fn connect(address: std::net::SocketAddr) -> Self {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: Body) -> Result<Reply, hyper::Error> {
        let mut request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.ready().await?;
        let response = self.0.send_request(request.body(body).unwrap()).await?;
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let mut headers = head.headers;
        headers.extend(collected.trailers().cloned().unwrap_or_default());
        let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let details = text("grpc-status-details-bin").unwrap_or_default();
        Ok(Reply {
            http: head.status.as_u16(),
            code: text("grpc-status").map(|v| v.parse().unwrap()),
            message: text("grpc-message").unwrap_or_default(),
            details: base64::engine::general_purpose::STANDARD_NO_PAD.decode(details).unwrap(),
            body: collected.to_bytes(),
            headers,
        })
    }

    async fn export(&mut self, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        self.call(EXPORT, headers, whole(body)).await.unwrap()
    }
}

fn whole(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed()
}

/// A body that sends `first` and then nothing, without end.
fn stuck(first: Vec<u8>) -> Body {
    let pieces = futures::stream::once(async move { Ok(Frame::data(Bytes::from(first))) });
    BodyExt::boxed(StreamBody::new(Stuck(Box::pin(pieces))))
}

struct Stuck(std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync>>);

impl futures::Stream for Stuck {
    type Item = Result<Frame<Bytes>, std::io::Error>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        match self.0.as_mut().poll_next(cx) {
            std::task::Poll::Ready(None) => std::task::Poll::Pending,
            other => other,
        }
    }
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(plain).unwrap();
    e.finish().unwrap()
}

fn snappy_framed(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut e = snap::write::FrameEncoder::new(Vec::new());
    e.write_all(plain).unwrap();
    e.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_unimplemented_and_the_connection_stays_usable() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    for (path, word) in [
        ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "metrics"),
        ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "logs"),
        ("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "profiles"),
        ("/invented/Method", "invented"),
    ] {
        let reply = client.call(path, &[], whole(framed(0, b"x"))).await.unwrap();
        assert_eq!((reply.http, reply.code), (200, Some(12)), "{reply:?}");
        assert!(reply.message.contains(word), "{reply:?}");
    }
    let reply = client.export(&[], framed(0, b"spans 2")).await;
    assert_eq!((reply.code, reply.body.as_ref()), (Some(0), &[0, 0, 0, 0, 0][..]));
    assert_eq!(running.taken.lock().unwrap()[0].spans(), 2);
    assert!((running.metric("weavergen_other_signal_requests", &["transport=\"grpc\""]) - 3.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_coding_is_read_and_kept_as_it_arrived() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    let plain = b"spans 1";
    for (name, wire) in
        [("gzip", gzip(plain)), ("zstd", zstd::encode_all(&plain[..], 1).unwrap()), ("snappy", snappy_framed(plain))]
    {
        let reply = client.export(&[("grpc-encoding", name)], framed(1, &wire)).await;
        assert_eq!(reply.code, Some(0), "{name} {reply:?}");
        let last = running.taken.lock().unwrap().pop().unwrap();
        assert_eq!(last.body.unwrap().bytes, wire, "{name}");
        assert_eq!(last.identity, twox_hash::XxHash3_128::oneshot(&wire));
        let reply = client.export(&[("grpc-encoding", name)], framed(1, &wire[..wire.len() - 1])).await;
        assert_eq!(reply.code, Some(13), "{name} truncated: {reply:?}");
        let reply = client.export(&[("grpc-encoding", name)], framed(0, plain)).await;
        assert_eq!(reply.code, Some(0), "{name} named, not used");
    }
    for unknown in ["deflate", "br"] {
        let reply = client.export(&[("grpc-encoding", unknown)], framed(1, plain)).await;
        assert_eq!(reply.code, Some(12), "{reply:?}");
        assert_eq!(reply.headers["grpc-accept-encoding"], "identity,gzip,zstd,snappy");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_framing_is_internal() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    let good = framed(0, b"spans 1");
    for (what, headers, body) in [
        ("no message", &[][..], Vec::new()),
        ("half a frame header", &[], vec![0, 0]),
        ("flag 2", &[], framed(2, b"spans 1")),
        ("flag 1 without encoding", &[], framed(1, b"spans 1")),
        ("flag 1 with identity", &[("grpc-encoding", "identity")], framed(1, b"spans 1")),
        ("a second message", &[], [good.clone(), good.clone()].concat()),
        ("trailing bytes", &[], [good.clone(), vec![1]].concat()),
        ("a short message", &[], good[..good.len() - 1].to_vec()),
    ] {
        let reply = client.export(headers, body).await;
        assert_eq!(reply.code, Some(13), "{what}: {reply:?}");
    }
    assert_eq!(running.taken(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_limit_passes_and_one_byte_more_is_refused_for_good() {
    let mut config = config();
    config.grpc.as_mut().unwrap().max_recv_bytes = 1 << 20;
    let running = Running::start(config).await;
    let mut client = Client::to(&running).await;
    let mut message = b"spans 1 ".to_vec();
    message.resize(1 << 20, b' ');
    assert_eq!(client.export(&[], framed(0, &message)).await.code, Some(0));
    assert_eq!(client.export(&[("grpc-encoding", "gzip")], framed(1, &gzip(&message))).await.code, Some(0));
    message.push(b' ');
    let zstd = zstd::encode_all(&message[..], 1).unwrap();
    for (name, body) in [
        ("identity", framed(0, &message)),
        ("gzip", framed(1, &gzip(&message))),
        ("zstd", framed(1, &zstd)),
        ("snappy", framed(1, &snappy_framed(&message))),
    ] {
        let reply = client.export(&[("grpc-encoding", name)], body).await;
        assert_eq!((reply.code, reply.details.len()), (Some(8), 0), "{name}: {reply:?}");
    }
    // The frame is not read: only its header was sent.
    let declared = [vec![0], (64_u32 << 20).to_be_bytes().to_vec()].concat();
    let reply = client.call(EXPORT, &[], stuck(declared)).await.unwrap();
    assert_eq!(reply.code, Some(8));
    assert_eq!(client.export(&[], framed(0, b"spans 1")).await.code, Some(0), "the connection lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_64_mib_passes_quickly() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    let mut message = b"spans 1 ".to_vec();
    message.resize(64 << 20, b' ');
    let start = Instant::now();
    let reply = client.export(&[], framed(0, &message)).await;
    assert_eq!(reply.code, Some(0), "{reply:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    message.push(b' ');
    assert_eq!(client.export(&[], framed(0, &message)).await.code, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spans_are_a_success_that_moves_no_span_counter() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    for message in [&b""[..], b"empty envelope"] {
        assert_eq!(client.export(&[], framed(0, message)).await.code, Some(0));
    }
    assert_eq!(running.taken(), 0);
    assert!(running.metric("weavergen_receiver_decoded_spans", &[]).abs() < 0.1);
    assert!((running.metric("weavergen_receiver_requests", &["code=\"0\""]) - 2.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_names_the_place_and_bad_spans_are_set_aside() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    let reply = client.export(&[], framed(0, b"undecodable")).await;
    assert_eq!((reply.code, reply.message.as_str()), (Some(3), "resourceSpans[0] at byte 7: a length past the end"));
    let details = String::from_utf8_lossy(&reply.details).into_owned();
    assert!(details.contains("google.rpc.BadRequest") && details.contains("at byte 7"), "{details}");

    let reply = client.export(&[], framed(0, b"spans 10 bad 3")).await;
    assert_eq!(reply.code, Some(0));
    let want = "rejected 3 of 10 spans: invalid_trace_id=3; first: resourceSpans[0].scopeSpans[0].spans[0]: trace id \
                has 2 bytes, want 16";
    assert_eq!(reply.body[7..9], [8, 3]);
    assert!(reply.body.ends_with(want.as_bytes()), "{:?}", reply.body);
    let first = running.taken.lock().unwrap().pop().unwrap();
    assert_eq!((first.spans(), first.body.is_none()), (7, true));
    assert_eq!(running.set_aside.lock().unwrap().len(), 3);
    assert_eq!(running.set_aside.lock().unwrap()[0].trace_id, "abcd");

    let reply = client.export(&[], framed(0, b"spans 200 bad 200")).await;
    assert_eq!(reply.code, Some(0), "all rejected is a success too");
    let rows = running.set_aside.lock().unwrap();
    assert_eq!((rows.len(), rows[3].spans, rows[3].bytes), (4, 200, 2000), "one row a reason over 100");
    assert_eq!(running.taken(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reject_request_makes_one_bad_span_the_whole_request_s() {
    let mut config = config();
    config.reject_request = true;
    let running = Running::start(config).await;
    let mut client = Client::to(&running).await;
    assert_eq!(client.export(&[], framed(0, b"spans 10 bad 1")).await.code, Some(3));
    assert_eq!(running.taken(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earlier_of_two_violations_is_answered() {
    let mut small = config();
    small.max_inflight_bytes = Some(4 << 20);
    let running = Running::start(small).await;
    let mut client = Client::to(&running).await;
    let plain = ("content-type", "text/plain");
    let br = ("grpc-encoding", "br");
    let over = [vec![2], (2_u32 << 20).to_be_bytes().to_vec()].concat();
    // 4 before 5
    assert_eq!(client.call("/x/Y", &[plain], whole(vec![])).await.unwrap().code, Some(12));
    // 5 before 6
    assert_eq!(client.export(&[plain, br], vec![]).await.http, 415);
    // 6 before 10
    assert_eq!(client.export(&[br], framed(2, b"")).await.code, Some(12));
    // 10 before 11
    assert_eq!(client.export(&[], over).await.code, Some(13));
    // 11 before 12: the pool is full, and the message too long for good
    running.close().await;
    let mut filler = b"spans 1 ".to_vec();
    filler.resize(1 << 20, b' ');
    let mut other = Client::to(&running).await;
    let held = tokio::spawn(async move { other.export(&[], framed(0, &filler)).await });
    running.begun(1).await;
    let over = [vec![0], (2_u32 << 20).to_be_bytes().to_vec()].concat();
    assert_eq!(client.export(&[], over).await.code, Some(8));
    // 12 before 14: bad data, and no room for it
    let mut junk = b"undecodable".to_vec();
    junk.resize(1 << 20, b' ');
    let reply = client.export(&[], framed(0, &junk)).await;
    assert_eq!(reply.code, Some(14), "{reply:?}");
    assert!(String::from_utf8_lossy(&reply.details).contains("google.rpc.RetryInfo"), "{reply:?}");
    running.open();
    assert_eq!(held.await.unwrap().code, Some(0));
    // 13 before 14
    let corrupt = client.export(&[("grpc-encoding", "gzip")], framed(1, b"undecodable")).await;
    assert_eq!(corrupt.code, Some(13));
    assert!((running.metric("weavergen_receiver_refused_requests", &["reason=\"memory\""]) - 1.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_s_refusal_has_the_code_of_its_class() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    for (class, label, code, retry) in [
        (Class::Busy, "queue", 14, true),
        (Class::Unavailable, "sync", 14, true),
        (Class::Timeout, "internal", 4, false),
        (Class::Internal, "internal", 13, false),
        (Class::Invalid, "internal", 3, false),
        (Class::TooLarge, "internal", 8, false),
        (Class::Denied, "internal", 16, false),
    ] {
        running.refuse(class, label);
        let reply = client.export(&[], framed(0, b"spans 2")).await;
        assert_eq!(reply.code, Some(code), "{class}");
        assert_eq!(String::from_utf8_lossy(&reply.details).contains("RetryInfo"), retry, "{class}");
    }
    assert!((running.metric("otelcol_receiver_refused_spans", &[]) - 14.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_honoured_and_the_commit_goes_on() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    running.close().await;
    // Long enough that the commit has begun by then, on a busy machine as well.
    let call = client.export(&[("grpc-timeout", "1000m")], framed(0, b"spans 2"));
    let (reply, ()) = tokio::join!(call, running.begun(1));
    assert_eq!(reply.code, Some(4), "{reply:?}");
    running.open();
    running.until(|| running.taken() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_does_not_cancel_its_commit() {
    let running = Running::start(config()).await;
    running.close().await;
    let mut client = Client::to(&running).await;
    let call = tokio::spawn(async move { client.export(&[], framed(0, b"spans 2")).await });
    running.begun(1).await;
    call.abort();
    let _ = call.await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.open();
    running.until(|| running.taken() == 1).await;
    running.until(|| running.metric("otelcol_receiver_accepted_spans", &[]) > 1.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_stalls_is_a_deadline_and_the_connection_lives() {
    let mut config = config();
    config.grpc_read_timeout = Some(Duration::from_millis(200));
    let running = Running::start(config).await;
    let mut client = Client::to(&running).await;
    let mut part = framed(0, b"spans 1");
    part.truncate(8);
    assert_eq!(client.call(EXPORT, &[], stuck(part)).await.unwrap().code, Some(4));
    assert_eq!(client.export(&[], framed(0, b"spans 1")).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_s_panic_is_internal_and_the_receiver_lives() {
    let running = Running::start(config()).await;
    let mut client = Client::to(&running).await;
    assert_eq!(client.export(&[("grpc-encoding", "gzip")], framed(1, &gzip(b"panic"))).await.code, Some(13));
    assert_eq!(client.export(&[], framed(0, b"panic")).await.code, Some(13));
    assert_eq!(client.export(&[], framed(0, b"spans 1")).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tonic_s_client_is_served() {
    let running = Running::start(config()).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", running.grpc())).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    for _ in 0..3 {
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(EXPORT);
        let codec: tonic_prost::ProstCodec<Message, Message> = tonic_prost::ProstCodec::default();
        // Field 6 of string type: `2` + length + text begins as the scripted decoder does not know, so no spans.
        let message = Message { text: "hello".to_owned() };
        client.unary(tonic::Request::new(message), path, codec).await.unwrap();
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(string, tag = "6")]
    text: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_calls_in_hand_end_and_turns_away_the_rest() {
    let running = Running::start(config()).await;
    running.close().await;
    let mut client = Client::to(&running).await;
    let call = tokio::spawn(async move { client.export(&[], framed(0, b"spans 2")).await });
    running.begun(1).await;
    running.shutdown.cancel();
    running.until(|| running.receiver.is_draining()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(running.grpc()).await.is_err(), "not accepting any more");
    running.open();
    assert_eq!(call.await.unwrap().code, Some(0));
    running.until(|| running.serving.is_finished()).await;
    assert_eq!(running.taken(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_drain_deadline_calls_are_reset_without_an_answer() {
    let running = Running::start(config()).await;
    running.close().await;
    let mut client = Client::to(&running).await;
    let call = tokio::spawn(async move { client.call(EXPORT, &[], whole(framed(0, b"spans 2"))).await });
    running.begun(1).await;
    running.shutdown.cancel();
    assert!(call.await.unwrap().is_err());
    running.until(|| running.serving.is_finished()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_by_prior_knowledge_is_served_on_the_http_port_and_grpc_is_not() {
    let running = Running::start(config()).await;
    let mut client = Client::connect(running.http()).await;
    let json = ("content-type", "application/json");
    let reply = client.call("/v1/traces", &[json], whole(b"spans 3".to_vec())).await.unwrap();
    assert_eq!((reply.http, reply.body.as_ref()), (200, &b"{}"[..]));
    let reply = client.call(EXPORT, &[], whole(framed(0, b"spans 1"))).await.unwrap();
    assert_eq!((reply.http, reply.code), (404, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_over_16_kib_ends_its_stream_and_not_its_connection() {
    let running = Running::start(config()).await;
    let long = "a".repeat(20 << 10);
    // Each field counts 32 bytes beside its own.
    let many: Vec<(String, &str)> = (0..600).map(|n| (format!("x-{n}"), "a")).collect();
    let json = ("content-type", "application/json");
    for (address, path, body, good) in [
        (running.grpc(), EXPORT, framed(0, b"spans 1"), (200, Some(0))),
        (running.http(), "/v1/traces", b"spans 1".to_vec(), (200, None)),
    ] {
        let kind = if path == EXPORT { ("content-type", "application/grpc") } else { json };
        let mut client = Client::connect(address).await;
        let many = many.iter().map(|(name, value)| (name.as_str(), *value));
        for headers in [vec![("x-long", long.as_str()), kind], many.chain([kind]).collect()] {
            match client.call(path, &headers, whole(body.clone())).await {
                Ok(reply) => assert_eq!((reply.http, reply.code), (431, None)),
                Err(error) => assert!(!error.is_closed(), "{error}"),
            }
            let reply = client.call(path, &[kind], whole(body.clone())).await.unwrap();
            assert_eq!((reply.http, reply.code), good, "the connection lives");
        }
    }
    assert_eq!(running.taken(), 4, "what came with too many headers was not taken");
}

/// `spans` spans of the least that is accepted, each with `links` links of two bytes.
fn wide(spans: usize, links: usize) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = bytes.len();
        let digits = [length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14].map(|n| u8::try_from(n).unwrap());
        [&[number << 3 | 2][..], &digits, bytes].concat()
    };
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), [0x6a, 0].repeat(links)].concat();
    field(1, &field(2, &field(2, &span).repeat(spans)))
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_reserved_by_their_rows_and_elements_however_short_these_were_sent() {
    let mut config = config();
    config.max_inflight_bytes = Some(3 << 20);
    config.admission_wait = Duration::from_millis(300);
    let running = Running::start(config).await;
    let mut client = Client::to(&running).await;
    // 64 KiB with columns of more than 1.5 MB, held until commit.
    let message = wide(4, 8000);
    assert!(message.len() < 70_000);
    running.close().await;
    let mut first = Client::to(&running).await;
    let body = framed(0, &message);
    let held = tokio::spawn({
        let body = body.clone();
        async move { first.export(&[], body).await }
    });
    running.begun(1).await;
    running.until(|| running.metric("weavergen_receiver_inflight_bytes", &[]) > 1_500_000.0).await;
    for body in [body.clone(), framed(1, &gzip(&message))] {
        let coding: &[(&str, &str)] = if body[0] == 1 { &[("grpc-encoding", "gzip")] } else { &[] };
        let start = Instant::now();
        let refused = client.export(coding, body).await;
        assert_eq!(refused.code, Some(14), "{}", refused.message);
        assert!(String::from_utf8_lossy(&refused.details).contains("RetryInfo"));
        assert!(start.elapsed() > Duration::from_millis(250), "it waits for room: {:?}", start.elapsed());
    }
    assert!((running.metric("weavergen_receiver_refused_requests", &["reason=\"memory\""]) - 2.0).abs() < 0.1);
    running.open();
    assert_eq!(held.await.unwrap().code, Some(0));
    assert_eq!(client.export(&[], body).await.code, Some(0), "the same again later");
    let columns: u64 = running.taken.lock().unwrap()[0].batches.iter().map(SpanBatch::memory_bytes).sum();
    assert!(columns > 1 << 20, "{columns}");
    running.until(|| running.metric("weavergen_receiver_inflight_bytes", &[]) < 1.0).await;
    // What would never fit is told so for good: within the limit as a message, and not as columns.
    let never = client.export(&[], framed(0, &wide(40, 8000))).await;
    assert_eq!((never.code, never.details.len()), (Some(8), 0), "{}", never.message);
    assert!(never.message.contains("its columns need"), "{}", never.message);
    assert_eq!(running.taken(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_is_unauthenticated_or_with_a_known_caller_permission_denied() {
    let running = Running::knowing(config(), alice_only()).await;
    let mut client = Client::to(&running).await;
    let of = |who: &'static str| [("authorization", who)];
    let good = || framed(0, b"spans 1");
    assert_eq!(client.export(&of("Bearer alice"), good()).await.code, Some(0));
    let unknown = client.export(&[], good()).await;
    assert_eq!((unknown.code, unknown.message.as_str()), (Some(16), "a token is needed"));
    let known = client.export(&of("Bearer bob"), good()).await;
    assert_eq!((known.code, known.message.as_str()), (Some(7), "bob may not send spans here: read only"));
    // The pipeline's own refusal goes by what is known, too.
    running.refuse(Class::Denied, "internal");
    assert_eq!(client.export(&of("Bearer alice"), good()).await.code, Some(7));
    // Rows 6, 8, 10: a coding comes before the caller, and the caller before a byte of the body.
    assert_eq!(client.export(&[("grpc-encoding", "br")], good()).await.code, Some(12));
    assert_eq!(client.export(&[], framed(2, b"")).await.code, Some(16));
    let never_ends = stuck([vec![0], (100_u32 << 20).to_be_bytes().to_vec()].concat());
    let start = Instant::now();
    assert_eq!(client.call(EXPORT, &[], never_ends).await.unwrap().code, Some(16));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let late = client.export(&of("Bearer slow"), good()).await;
    assert_eq!(late.code, Some(14), "{}", late.message);
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(running.taken(), 1);
    let requests = |code: &str| running.metric("weavergen_receiver_requests", &["transport=\"grpc\"", code]);
    assert!((requests("code=\"16\"") - 3.0).abs() < 0.1 && (requests("code=\"7\"") - 2.0).abs() < 0.1);
}
