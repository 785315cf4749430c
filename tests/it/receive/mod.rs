//! The `otlp` receiver over real sockets, with a scripted decoder and a scripted taker of spans.
//!
//! The decoder is scripted so that these tests judge the receiver alone: a message `spans N [bad B]` holds N spans of
//! which B are rejected, `undecodable` is bad data, a protobuf message is read as such, and anything else has no spans.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the finding")]

mod grpc;
mod http;
mod socket;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, make_array, new_null_array};
use arrow::datatypes::{DataType, Int32Type};
use futures::FutureExt;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weavergen::clock::Clock;
use weavergen::error::Class;
use weavergen::otlp::{Decoded, Limits, Reason, Rejected, Room, SpanBuilder, Undecodable, decode_within};
use weavergen::receive::{Authenticate, Caller, Config, Decode, Denied, OnSetAside, Receiver, SetAside, Share, Wiring};
use weavergen::span::{Delivery, Next, Refusal, SpanBatch, schema};

/// A running receiver and all it did.
struct Running {
    receiver: Arc<Receiver>,
    registry: Registry,
    taken: Arc<Mutex<Vec<Delivery>>>,
    set_aside: Arc<Mutex<Vec<SetAside>>>,
    refusal: Arc<Mutex<Option<Refusal>>>,
    /// One permit lets one hand-over end.
    gate: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

fn config() -> Config {
    let mut config = Config::default();
    config.grpc.as_mut().unwrap().endpoint = "127.0.0.1:0".to_owned();
    config.http.as_mut().unwrap().endpoint = "127.0.0.1:0".to_owned();
    config.max_inflight_bytes = Some(256 << 20);
    config
}

/// Knows alice, who may send, and bob, who may not; of `slow` it never tells.
fn alice_only() -> Option<Authenticate> {
    Some(Authenticate::new(|headers, _| {
        let of = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let caller = |name: &str| Caller { name: name.to_owned() };
        let outcome = match of.as_str() {
            "Bearer alice" => Ok(caller("alice")),
            "Bearer bob" => {
                Err(Denied { caller: Some(caller("bob")), reason: "read only".to_owned(), challenge: None })
            }
            "Bearer slow" => return futures::future::pending().boxed(),
            _ => Err(Denied {
                caller: None,
                reason: "a token is needed".to_owned(),
                challenge: Some("Bearer".to_owned()),
            }),
        };
        std::future::ready(outcome).boxed()
    }))
}

fn batch(rows: usize) -> SpanBatch {
    let schema = schema::incoming().clone();
    let columns = schema.fields().iter().map(|field| blank(field.data_type(), rows));
    SpanBatch::try_new(RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()).unwrap()
}

/// Zeros, empty text, empty lists.
fn blank(kind: &DataType, rows: usize) -> ArrayRef {
    if let DataType::Dictionary(_, values) = kind {
        let keys = Int32Array::from(vec![0; rows]);
        return Arc::new(DictionaryArray::<Int32Type>::try_new(keys, blank(values, 1)).unwrap());
    }
    make_array(new_null_array(kind, rows).to_data().into_builder().nulls(None).build().unwrap())
}

fn scripted(message: &[u8], limits: &Limits, room: &mut Room<'_>) -> Result<Decoded, Undecodable> {
    // Real spans, where it matters how wide they are.
    if message.starts_with(b"\x0a") {
        return decode_within(message, limits, room, &mut SpanBuilder::new());
    }
    if message == b"undecodable" {
        let (path, detail) = ("resourceSpans[0]".to_owned(), "a length past the end".to_owned());
        return Err(Undecodable { path, offset: 7, detail, kind: "truncated" });
    }
    let text = String::from_utf8_lossy(&message[..message.len().min(64)]).into_owned();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|w| w.parse::<usize>().ok()).unwrap_or(0);
    let (spans, bad) = match words.first() {
        Some(&"spans") => (number(1), number(3)),
        Some(&"panic") => panic!("a decoder's defect"),
        _ => (0, 0),
    };
    let rejected = (0..bad).map(|i| Rejected {
        reason: Reason::InvalidTraceId,
        path: format!("resourceSpans[0].scopeSpans[0].spans[{i}]"),
        detail: "trace id has 2 bytes, want 16".to_owned(),
        trace_id: vec![0xab, 0xcd],
        span_id: vec![1; 8],
        bytes: 10,
    });
    let batches = if spans > bad { vec![batch(spans - bad)] } else { Vec::new() };
    let rejected: Vec<_> = rejected.collect();
    let mut rejected_by_reason = std::collections::BTreeMap::new();
    rejected.iter().for_each(|one: &Rejected| *rejected_by_reason.entry(one.reason).or_default() += 1);
    Ok(Decoded { batches, spans, rejected, rejected_by_reason, ..Decoded::default() })
}

impl Running {
    async fn start(config: Config) -> Self {
        Self::knowing(config, None).await
    }

    /// A receiver that asks `authenticate` who sends.
    async fn knowing(config: Config, authenticate: Option<Authenticate>) -> Self {
        Self::sharing(config, authenticate, &Share::new(1 << 30)).await
    }

    /// One that has its room from `share`, unless `config` says otherwise.
    async fn sharing(config: Config, authenticate: Option<Authenticate>, share: &Share) -> Self {
        let taken: Arc<Mutex<Vec<Delivery>>> = Arc::default();
        let set_aside: Arc<Mutex<Vec<SetAside>>> = Arc::default();
        let refusal: Arc<Mutex<Option<Refusal>>> = Arc::default();
        let (gate, begun) = (Arc::new(Semaphore::new(1 << 20)), Arc::new(AtomicUsize::new(0)));
        let next = {
            let (taken, refusal, gate, begun) = (taken.clone(), refusal.clone(), gate.clone(), begun.clone());
            Next::new(move |delivery| {
                let (taken, refusal, gate) = (taken.clone(), refusal.clone(), gate.clone());
                begun.fetch_add(1, Ordering::SeqCst);
                async move {
                    gate.acquire().await.unwrap().forget();
                    let refusal = refusal.lock().unwrap().clone();
                    if let Some(refusal) = refusal {
                        assert_ne!(refusal.label, "panic", "a defect of who takes the spans");
                        return Err(refusal);
                    }
                    taken.lock().unwrap().push(delivery);
                    Ok(())
                }
                .boxed()
            })
        };
        let kept = set_aside.clone();
        let wiring = Wiring {
            next,
            decode: Decode::new(|reading, message, room| scripted(message, reading.limits, room)),
            set_aside: OnSetAside::new(move |rows| kept.lock().unwrap().extend(rows)),
            clock: Clock::manual(0, 1),
            authenticate,
        };
        let registry = Registry::new();
        let receiver = Arc::new(Receiver::bind(config, wiring, share, &registry).await.unwrap());
        let shutdown = CancellationToken::new();
        let (served, stop) = (receiver.clone(), shutdown.clone());
        let serving = tokio::spawn(async move { served.serve(stop, Duration::from_secs(3)).await });
        Self { receiver, registry, taken, set_aside, refusal, gate, begun, shutdown, serving }
    }

    fn grpc(&self) -> std::net::SocketAddr {
        self.receiver.addresses().grpc[0]
    }

    fn http(&self) -> std::net::SocketAddr {
        self.receiver.addresses().http[0]
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    /// Hand-overs wait from now on until [`Running::open`].
    async fn close(&self) {
        // Each hand-over so far has taken one.
        let left = u32::try_from(self.gate.available_permits()).unwrap();
        self.gate.acquire_many(left).await.unwrap().forget();
    }

    fn open(&self) {
        self.gate.add_permits(1 << 20);
    }

    fn refuse(&self, class: Class, label: &'static str) {
        let reason = "scripted".to_owned();
        *self.refusal.lock().unwrap() = Some(Refusal { class, reason, label, retry_after: None });
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Waits until `n` hand-overs have begun.
    async fn begun(&self, n: usize) {
        self.until(|| self.begun.load(Ordering::SeqCst) >= n).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("did not come to hold within 5 s");
    }

    /// The sum of a metric over the label pairs given, e.g. `transport="grpc"`.
    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let lines =
            text.lines().filter(|l| l.starts_with(&format!("{name}{{")) && labels.iter().all(|p| l.contains(p)));
        lines.map(|l| l.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
