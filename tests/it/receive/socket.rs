//! Hostile and broken peers, byte by byte.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weavergen::receive::{Config, Share};

use super::{Running, config};

const HEAD: &str = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

/// All that comes until the peer closes, and how long that took.
async fn rest(socket: &mut TcpStream) -> (String, Duration) {
    let start = Instant::now();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut bytes)).await;
    let _ = read.expect("the peer closes within 10 s");
    (String::from_utf8_lossy(&bytes).into_owned(), start.elapsed())
}

/// One response head and its body of the length it says.
async fn response(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
    socket.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

async fn quick() -> Running {
    let mut config = config();
    let http = config.http.as_mut().unwrap();
    http.read_header_timeout = Some(Duration::from_millis(300));
    http.read_timeout = Some(Duration::from_millis(600));
    http.idle_timeout = Some(Duration::from_millis(900));
    Running::start(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_a_slow_body_and_an_idle_connection_are_closed_without_an_answer() {
    let running = quick().await;
    for (what, sent, at_least) in [
        ("nothing", "", 250),
        ("half a head", &HEAD[..30], 250),
        ("half a body", &format!("{HEAD}content-length: 10\r\n\r\n{{")[..], 550),
    ] {
        let mut socket = TcpStream::connect(running.http()).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        let (text, after) = rest(&mut socket).await;
        assert_eq!(text, "", "{what}");
        assert!(after > Duration::from_millis(at_least) && after < Duration::from_secs(3), "{what}: {after:?}");
    }
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(format!("{HEAD}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
    assert!(response(&mut socket).await.starts_with("HTTP/1.1 200"));
    // Longer than the header timeout, shorter than the idle timeout: the connection is still there.
    tokio::time::sleep(Duration::from_millis(500)).await;
    socket.write_all(format!("{HEAD}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
    assert!(response(&mut socket).await.starts_with("HTTP/1.1 200"));
    let (text, after) = rest(&mut socket).await;
    assert_eq!(text, "");
    assert!(after > Duration::from_millis(800) && after < Duration::from_secs(3), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_of_heads_a_connection_that_says_nothing_is_idle() {
    let mut config = config();
    let http = config.http.as_mut().unwrap();
    (http.read_header_timeout, http.idle_timeout) = (None, Some(Duration::from_millis(500)));
    let running = Running::start(config).await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    let (text, after) = rest(&mut socket).await;
    assert_eq!(text, "");
    assert!(after > Duration::from_millis(450) && after < Duration::from_secs(3), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_at_a_time_buys_no_time() {
    let running = quick().await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    let start = Instant::now();
    for byte in HEAD.bytes() {
        if socket.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(start.elapsed() < Duration::from_secs(3), "still open");
    }
}

/// HTTP/2: what a peer says first.
fn opening() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// `:method: POST`, `:scheme: http`, `:path: /`, by their numbers in HPACK's table.
const BLOCK: &[u8] = &[0x83, 0x86, 0x84];

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_over_http2_is_closed_also_beside_a_request_in_hand() {
    let running = quick().await;
    // HEADERS without END_HEADERS: the block goes on in a frame that never comes.
    let half = frame(1, 0, 1, BLOCK);
    let post = b"\x83\x86\x04\x0a/v1/traces\x0f\x10\x10application/json";
    let stuck = [frame(1, 4, 1, post), frame(1, 0, 3, BLOCK)].concat();
    for (what, sent) in [
        ("no settings", opening()[..24].to_vec()),
        ("half a block", [opening(), half].concat()),
        ("half a frame", [opening(), frame(1, 4, 1, BLOCK)[..10].to_vec()].concat()),
        ("half a block behind a request", [opening(), stuck].concat()),
    ] {
        let mut socket = TcpStream::connect(running.http()).await.unwrap();
        socket.write_all(&sent).await.unwrap();
        let after = rest(&mut socket).await.1;
        assert!(after > Duration::from_millis(250) && after < Duration::from_millis(800), "{what}: {after:?}");
    }
    // Small pieces of a head buy no time.
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(&[opening(), frame(1, 0, 1, BLOCK)].concat()).await.unwrap();
    let start = Instant::now();
    while socket.write_all(&frame(9, 0, 1, &[0x84])).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(start.elapsed() < Duration::from_secs(3), "still open");
    }
    // A connection between requests is idle, not slow.
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(&opening()).await.unwrap();
    let after = rest(&mut socket).await.1;
    assert!(after > Duration::from_millis(800), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_on_the_grpc_port_is_closed_after_ten_seconds() {
    let running = quick().await;
    let mut socket = TcpStream::connect(running.grpc()).await.unwrap();
    socket.write_all(&[opening(), frame(1, 0, 1, BLOCK)].concat()).await.unwrap();
    let start = Instant::now();
    let closed = tokio::time::timeout(Duration::from_secs(15), socket.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "still open");
    assert!(start.elapsed() > Duration::from_millis(9900), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_headers_and_too_long_ones_are_431() {
    let running = Running::start(config()).await;
    let many: String = (0..200).map(|i| format!("x-{i}: a\r\n")).collect();
    let long = format!("x: {}\r\n", "a".repeat(30 << 10));
    for headers in [many, long] {
        let mut socket = TcpStream::connect(running.http()).await.unwrap();
        socket.write_all(format!("{HEAD}{headers}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
        let text = response(&mut socket).await;
        assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_on_the_grpc_port_is_closed_without_an_answer() {
    let running = Running::start(config()).await;
    let mut socket = TcpStream::connect(running.grpc()).await.unwrap();
    socket.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut socket).await.0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_shorter_than_declared_is_a_close() {
    let running = Running::start(config()).await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(format!("{HEAD}content-length: 10\r\n\r\n{{}}").as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(rest(&mut socket).await.0, "");
    assert_eq!(running.taken(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_is_answered_only_after_admission() {
    let mut config = config();
    config.http.as_mut().unwrap().max_body_bytes = 1000;
    let running = Running::start(config).await;
    for (length, first) in [(5000, "HTTP/1.1 413"), (7, "HTTP/1.1 100")] {
        let mut socket = TcpStream::connect(running.http()).await.unwrap();
        let head = format!("{HEAD}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let text = response(&mut socket).await;
        assert!(text.starts_with(first), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_are_closed_at_once() {
    let mut config = config();
    config.max_connections_per_ip = 3;
    let running = Running::start(config).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(running.http()).await.unwrap());
    }
    running.until(|| running.metric("weavergen_receiver_connections", &["transport=\"http\""]) > 2.5).await;
    let mut over = TcpStream::connect(running.http()).await.unwrap();
    assert_eq!(rest(&mut over).await.0, "");
    drop(open);
    running.until(|| running.metric("weavergen_receiver_connections", &["transport=\"http\""]) < 0.5).await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(format!("{HEAD}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
    assert!(response(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_in_hand_when_draining_begins_is_503_and_the_last_on_its_connection() {
    let running = Running::start(config()).await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    let mut idle = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(&HEAD.as_bytes()[..40]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.shutdown.cancel();
    running.until(|| running.receiver.is_draining()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket.write_all(&HEAD.as_bytes()[40..]).await.unwrap();
    socket.write_all(b"content-length: 2\r\n\r\n{}").await.unwrap();
    let (text, _) = rest(&mut socket).await;
    assert!(text.starts_with("HTTP/1.1 503") && text.to_lowercase().contains("retry-after: 1"), "{text}");
    assert!(text.to_lowercase().contains("connection: close"), "{text}");
    assert_eq!(rest(&mut idle).await.0, "", "an idle connection is closed");
    running.until(|| running.serving.is_finished()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_bodies_and_sends_none_keeps_nobody_out() {
    let mut config = config();
    config.max_inflight_bytes = Some(4 << 20);
    let running = Running::start(config).await;
    let mut silent = Vec::new();
    // Three parts of the pool for a message as large as may be, the fourth for one that is compressed.
    for coding in ["", "content-encoding: gzip\r\n"] {
        let mut socket = TcpStream::connect(running.http()).await.unwrap();
        let head = format!("{HEAD}{coding}content-length: {}\r\n\r\n", 1 << 20);
        socket.write_all(head.as_bytes()).await.unwrap();
        silent.push(socket);
    }
    running.until(|| running.metric("weavergen_receiver_inflight_bytes", &[]) >= f64::from(4 << 20)).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(format!("{HEAD}content-length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
    let text = response(&mut socket).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    for mut socket in silent {
        let text = response(&mut socket).await;
        assert!(text.starts_with("HTTP/1.1 503") && text.to_lowercase().contains("retry-after"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_without_a_pool_of_their_own_take_from_one() {
    let share = Share::new(4 << 20);
    let of_share = || Config { max_inflight_bytes: None, ..config() };
    let one = Running::sharing(of_share(), None, &share).await;
    let other = Running::sharing(of_share(), None, &share).await;
    let own = Running::sharing(config(), None, &share).await;
    let head = format!("{HEAD}content-length: {}\r\n\r\n", 1 << 20);
    let mut silent = TcpStream::connect(one.http()).await.unwrap();
    silent.write_all(head.as_bytes()).await.unwrap();
    for running in [&one, &other] {
        running.until(|| running.metric("weavergen_receiver_inflight_bytes", &[]) >= f64::from(3 << 20)).await;
        assert!(running.metric("weavergen_receiver_inflight_bytes_limit", &[]) <= f64::from(4 << 20));
    }
    assert!(own.metric("weavergen_receiver_inflight_bytes", &[]) < 1.0);
    assert!(own.metric("weavergen_receiver_inflight_bytes_limit", &[]) >= f64::from(256 << 20));
    // Who holds room for nothing gives it back also to a sender of another receiver.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut socket = TcpStream::connect(other.http()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&[b"{}".to_vec(), vec![b' '; (1 << 20) - 2]].concat()).await.unwrap();
    let text = response(&mut socket).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let text = response(&mut silent).await;
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_gone_does_not_hold_up_a_shutdown() {
    let running = Running::start(config()).await;
    // It has said what HTTP/2 begins with and answers nothing, no ping either.
    let mut gone = TcpStream::connect(running.grpc()).await.unwrap();
    gone.write_all(&[opening(), frame(4, 1, 0, &[])].concat()).await.unwrap();
    running.until(|| running.metric("weavergen_receiver_connections", &["transport=\"grpc\""]) > 0.5).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    running.shutdown.cancel();
    running.until(|| running.serving.is_finished()).await;
    // Of the 3 s that requests in hand would have.
    assert!(start.elapsed() < Duration::from_millis(2800), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_crosses_the_goodbye_of_an_idle_connection_is_answered_however_long_it_takes() {
    let mut config = config();
    config.http.as_mut().unwrap().idle_timeout = Some(Duration::from_millis(300));
    let running = Running::start(config).await;
    running.close().await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(&[opening(), frame(4, 1, 0, &[])].concat()).await.unwrap();
    // GOAWAY is on its way, and its ping is not answered yet.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let head = b"\x83\x86\x04\x0a/v1/traces\x0f\x10\x10application/json";
    socket.write_all(&[frame(1, 4, 1, head), frame(0, 1, 1, b"spans 1")].concat()).await.unwrap();
    running.begun(1).await;
    // Longer than the peer has to go.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    running.open();
    let start = Instant::now();
    let mut bytes = Vec::new();
    let answered = |bytes: &[u8]| frames(bytes).any(|(kind, stream)| (kind, stream) == (1, 1));
    while !answered(&bytes) {
        let mut more = [0; 4096];
        let n = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut more)).await.unwrap().unwrap();
        assert!(n > 0, "closed without an answer after {:?}: {bytes:?}", start.elapsed());
        bytes.extend_from_slice(&more[..n]);
    }
    assert_eq!(running.taken(), 1);
}

/// Type and stream of each frame that is there whole.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (u8, u8)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        rest = after.get(length..)?;
        Some((head[3], head[8]))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_peer_goes_away_is_counted_and_its_spans_are_stored() {
    let running = Running::start(config()).await;
    running.close().await;
    let mut socket = TcpStream::connect(running.http()).await.unwrap();
    socket.write_all(format!("{HEAD}content-length: 7\r\n\r\nspans 1").as_bytes()).await.unwrap();
    running.begun(1).await;
    drop(socket);
    let requests = |code: &str| running.metric("weavergen_receiver_requests", &[code]);
    running.until(|| requests("code=\"cancelled\"") > 0.5).await;
    running.open();
    running.until(|| running.taken() == 1).await;
    assert!(requests("receiver") < 1.5, "once");
}
