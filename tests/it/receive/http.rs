//! OTLP/HTTP through reqwest.

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use weavergen::error::Class;

use super::{Running, alice_only, config};

const PROTO: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn post(running: &Running, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    Client::new().post(running.url("/v1/traces")).header("content-type", content_type).body(body)
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

async fn code(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["code"].clone())
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn success_has_the_request_s_media_type_and_a_length() {
    let running = Running::start(config()).await;
    for (sent, bare, body) in [(PROTO, PROTO, ""), ("APPLICATION/JSON; charset=utf-8", JSON, "{}")] {
        let response = send(post(&running, sent, "spans 2").header("accept-encoding", "gzip")).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type").as_str()), (200, bare));
        assert_eq!(header(&response, "content-length"), body.len().to_string());
        assert_eq!(response.text().await.unwrap(), body);
    }
    let taken = running.taken.lock().unwrap();
    assert!(taken[0].body.is_some() && taken[1].body.is_none(), "only protobuf is kept as it came");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_types_and_paths_have_the_answers_of_the_table() {
    let running = Running::start(config()).await;
    let client = Client::new();
    let url = running.url("/v1/traces");

    let get = send(client.get(&url)).await;
    assert_eq!((get.status().as_u16(), header(&get, "allow").as_str()), (405, "POST"));
    assert_eq!(header(&get, "content-type"), "text/plain");
    assert_eq!(get.text().await.unwrap(), "405 method not allowed, supported: [POST]");
    let patch = send(client.patch(&url).header("content-type", JSON).body("{}")).await;
    assert_eq!(code(patch).await, (405, json!(2)));
    let head = send(client.request(Method::HEAD, &url)).await;
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (405, 0));

    for wrong in ["text/plain", "json"] {
        let response = send(post(&running, wrong, "x")).await;
        assert_eq!(response.status().as_u16(), 415);
        let text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
        assert_eq!(response.text().await.unwrap(), text);
    }
    assert_eq!(send(client.post(&url).body("x")).await.status().as_u16(), 415, "no type at all");

    for path in ["/v1/metrics", "/v1/logs", "/v1development/profiles", "/v1/traces/", "/%zz", "/"] {
        let url = running.url(path);
        let json = send(client.post(&url).header("content-type", JSON).body("{}")).await;
        assert_eq!(code(json).await, (404, json!(12)), "{path}");
        let plain = send(client.post(&url).header("content-type", "text/plain").body("x")).await;
        assert_eq!((plain.status().as_u16(), plain.text().await.unwrap().as_str()), (404, "404 page not found"));
    }
    let query = send(client.post(running.url("/v1/%74races?a=b")).header("content-type", JSON).body("{}")).await;
    assert_eq!(query.status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_one_s_own_replaces_the_default() {
    for own in ["/otlp/in", "otlp/in"] {
        let mut config = config();
        config.http.as_mut().unwrap().traces_path = own.to_owned();
        let running = Running::start(config).await;
        let at = |path: &str| Client::new().post(running.url(path)).header("content-type", JSON).body("{}");
        assert_eq!(send(at("/otlp/in")).await.status().as_u16(), 200);
        assert_eq!(send(at("/v1/traces")).await.status().as_u16(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_is_told_in_the_request_s_encoding() {
    let running = Running::start(config()).await;
    let response = send(post(&running, JSON, "undecodable")).await;
    assert_eq!(response.status().as_u16(), 400);
    let got: Value = response.json().await.unwrap();
    assert_eq!(got["code"], 3);
    assert_eq!(got["details"][0]["fieldViolations"][0]["field"], "resourceSpans[0]");
    let response = send(post(&running, PROTO, "undecodable")).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type").as_str()), (400, PROTO));
    assert_eq!(response.bytes().await.unwrap()[..2], [8, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn codings_are_undone_and_others_refused() {
    let running = Running::start(config()).await;
    let zstd = zstd::encode_all(&b"spans 1"[..], 1).unwrap();
    assert_eq!(send(post(&running, PROTO, zstd).header("content-encoding", "ZSTD")).await.status().as_u16(), 200);
    let block = snap::raw::Encoder::new().compress_vec(b"spans 1").unwrap();
    assert_eq!(send(post(&running, PROTO, block).header("content-encoding", "snappy")).await.status().as_u16(), 200);
    let kept = running.taken.lock().unwrap().pop().unwrap().body.unwrap();
    assert_eq!(kept.bytes, "spans 1", "a coding the log cannot hold is kept decompressed");
    for coding in ["br", "gzip, gzip"] {
        let response = send(post(&running, "text/plain", "x").header("content-encoding", coding)).await;
        let got: Value = response.json().await.unwrap();
        assert_eq!(
            (&got["code"], &got["message"]),
            (&json!(3), &json!(format!("unsupported Content-Encoding: {coding}")))
        );
    }
    let corrupt = send(post(&running, JSON, "no gzip").header("content-encoding", "gzip")).await;
    assert_eq!(code(corrupt).await, (400, json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_413_on_the_wire_and_decompressed() {
    let mut config = config();
    config.http.as_mut().unwrap().max_body_bytes = 1 << 20;
    let running = Running::start(config).await;
    let over = vec![b' '; (1 << 20) + 1];
    assert_eq!(send(post(&running, JSON, vec![b' '; 1 << 20])).await.status().as_u16(), 200);
    let declared = send(post(&running, JSON, over.clone())).await;
    assert_eq!(header(&declared, "connection"), "close");
    assert_eq!(code(declared).await, (413, json!(2)));
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = over.chunks(1000).map(|c| Ok(c.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert_eq!(code(send(post(&running, JSON, chunked)).await).await, (413, json!(2)));
    let bomb = zstd::encode_all(&over[..], 1).unwrap();
    let response = send(post(&running, JSON, bomb).header("content-encoding", "zstd")).await;
    assert_eq!(code(response).await, (413, json!(2)));
    let snappy = b"\xff\xff\xff\xff\x0f0123456789abcde".to_vec();
    let response = send(post(&running, JSON, snappy).header("content-encoding", "snappy")).await;
    assert_eq!(code(response).await, (413, json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mb_is_answered_413_although_it_is_not_read() {
    let running = Running::start(config()).await;
    assert_eq!(code(send(post(&running, JSON, vec![b' '; 100_000_000])).await).await, (413, json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_503_with_retry_after_and_statuses_of_the_table() {
    let running = Running::start(config()).await;
    for (class, label, status, body, retry) in [
        (Class::Busy, "disk", 503, 14, "5"),
        (Class::Unavailable, "sync", 503, 14, "5"),
        (Class::Timeout, "internal", 503, 4, ""),
        (Class::Internal, "internal", 500, 13, ""),
        (Class::Invalid, "internal", 400, 3, ""),
        (Class::TooLarge, "internal", 413, 2, ""),
        (Class::Denied, "internal", 401, 16, ""),
    ] {
        running.refuse(class, label);
        let response = send(post(&running, JSON, "spans 1")).await;
        assert_eq!(header(&response, "retry-after"), retry, "{class}");
        assert_eq!(code(response).await, (status, json!(body)), "{class}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_says_nothing_of_how_soon_there_is_room() {
    let mut small = config();
    small.max_inflight_bytes = Some(4 << 20);
    let running = Running::start(small).await;
    running.refuse(Class::Busy, "memory");
    assert_eq!(send(post(&running, JSON, "spans 1")).await.status().as_u16(), 503);
    *running.refusal.lock().unwrap() = None;
    running.close().await;
    let mut filler = b"spans 1 ".to_vec();
    filler.resize(1 << 20, b' ');
    let held = tokio::spawn(post(&running, PROTO, filler.clone()).send());
    running.begun(2).await;
    // Had the refused one counted as a commit, commits would be known and have stalled: 5 s.
    let refused = send(post(&running, JSON, filler)).await;
    assert_eq!(header(&refused, "retry-after"), "2", "a second, up to 20 % more, rounded up");
    running.open();
    assert_eq!(held.await.unwrap().unwrap().status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_of_unknown_outcome_is_to_be_sent_again() {
    let running = Running::start(config()).await;
    running.refuse(Class::Internal, "panic");
    let response = send(post(&running, JSON, "spans 3")).await;
    assert_eq!(header(&response, "retry-after"), "5");
    assert_eq!(code(response).await, (503, json!(14)));
    assert_eq!(running.metric("otelcol_receiver_failed_spans", &[]), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earlier_of_two_violations_is_answered() {
    let mut small = config();
    small.max_inflight_bytes = Some(4 << 20);
    let running = Running::start(small).await;
    let client = Client::new();
    let url = running.url("/v1/traces");
    // 3 before 7, 7 before 8, 8 before 9, 9 before 10
    let long = format!("{url}?{}", "a".repeat(9000));
    assert_eq!(send(client.post(&long).header("content-encoding", "br")).await.status().as_u16(), 414);
    let br = client.post(running.url("/nowhere")).header("content-encoding", "br");
    assert_eq!(send(br).await.status().as_u16(), 400);
    assert_eq!(send(client.get(running.url("/nowhere"))).await.status().as_u16(), 404);
    assert_eq!(send(client.put(&url).header("content-type", "text/plain").body("x")).await.status().as_u16(), 405);
    // 10 before 11
    let over = vec![b'x'; (1 << 20) + 1];
    assert_eq!(send(post(&running, "text/plain", over.clone())).await.status().as_u16(), 415);
    // 11 before 12, 12 before 14
    running.close().await;
    let mut filler = b"spans 1 ".to_vec();
    filler.resize(1 << 20, b' ');
    let held = tokio::spawn(post(&running, PROTO, filler.clone()).send());
    running.begun(1).await;
    assert_eq!(send(post(&running, JSON, over)).await.status().as_u16(), 413);
    let mut bad = b"undecodable".to_vec();
    bad.resize(1 << 20, b' ');
    let refused = send(post(&running, JSON, bad)).await;
    assert_eq!(header(&refused, "retry-after"), "2", "a second, up to 20 % more, rounded up");
    assert_eq!(code(refused).await, (503, json!(14)));
    running.open();
    assert_eq!(held.await.unwrap().unwrap().status().as_u16(), 200);
    assert_eq!(send(post(&running, PROTO, filler)).await.status().as_u16(), 200, "room came back");
    // 13 before 14
    let corrupt = post(&running, JSON, "undecodable").header("content-encoding", "gzip");
    assert!(send(corrupt).await.text().await.unwrap().contains("corrupt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_success_in_json_counts_as_text() {
    let running = Running::start(config()).await;
    let got: Value = send(post(&running, JSON, "spans 10 bad 3")).await.json().await.unwrap();
    assert_eq!(got["partialSuccess"]["rejectedSpans"], "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_request_is_401_or_with_a_known_caller_403() {
    let running = Running::knowing(config(), alice_only()).await;
    let of = |who: &str| post(&running, JSON, "spans 1").header("authorization", who);
    assert_eq!(send(of("Bearer alice")).await.status().as_u16(), 200);
    let unknown = send(post(&running, JSON, "spans 1")).await;
    assert_eq!(header(&unknown, "www-authenticate"), "Bearer");
    assert_eq!(code(unknown).await, (401, json!(16)));
    let known = send(of("Bearer bob")).await;
    assert!(!known.headers().contains_key("www-authenticate"));
    assert_eq!(code(known).await, (403, json!(7)));
    running.refuse(Class::Denied, "internal");
    assert_eq!(code(send(of("Bearer alice")).await).await, (403, json!(7)));
    // H11: who fails to say who it is learns nothing else.
    let client = Client::new();
    assert_eq!(send(client.get(running.url("/nowhere"))).await.status().as_u16(), 401);
    assert_eq!(send(post(&running, JSON, "spans 1").header("content-encoding", "br")).await.status().as_u16(), 401);
    assert_eq!(running.taken(), 1);
}
