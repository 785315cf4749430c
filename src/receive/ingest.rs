//! From wire bytes to the ack: what gRPC and HTTP do alike (otlp.md 1, rows 13 to 18).
//!
//! Duty: decompress, decode, set bad spans aside, hand over, count. Guarantee: success is returned only after
//! [`Next::deliver`] has returned `Ok`; a hand-over that has begun goes on when the client is gone (A5). Left to others:
//! framing (`grpc`, `http`), decoding itself ([`Decode`]), status codes (`status`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use twox_hash::XxHash3_128;

use crate::budget::Reservation;
use crate::error::Class;
use crate::otlp::compress::Coding;
use crate::otlp::{self, Decoded, Reason, Rejected, Undecodable};
use crate::span::hex;
use crate::span::{Delivery, Next, Origin, RequestBody};

use super::admit::{Admission, STEP_BYTES};
use super::answer::{Format, MAX_TEXT_BYTES, Success, cut};
use super::auth::{Authenticate, Caller};
use super::config::Config;
use super::inflate::{Failed, inflate};
use super::metrics::{Metrics, Transport};
use super::status::{Failure, Kind};
use super::{Decode, OnSetAside, Reading, SetAside};

/// Messages over this size, and all compressed ones, leave the threads that serve connections.
const INLINE_BYTES: usize = 1 << 20;
/// Rejections of one request that are recorded one by one (P4).
const SINGLE_ROWS: usize = 100;

/// What all connections of a receiver share.
#[derive(Debug)]
pub(super) struct Ingest {
    pub(super) config: Config,
    pub(super) admission: Admission,
    pub(super) metrics: Metrics,
    draining: AtomicBool,
    next: Next,
    decode: Decode,
    set_aside: OnSetAside,
    authenticate: Option<Authenticate>,
    /// Messages decoded at the same time off the connection threads.
    slots: Arc<Semaphore>,
    minutes: Minutes,
}

/// A request whose bytes are all here.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) wire: Bytes,
    pub(super) coding: Coding,
    pub(super) format: Format,
    pub(super) transport: Transport,
    pub(super) peer: SocketAddr,
    pub(super) caller: Option<Caller>,
    pub(super) reservation: Reservation,
    /// Bytes of it that are for columns.
    pub(super) columns: u64,
    /// Of the decompressed message, in bytes.
    pub(super) limit: usize,
    pub(super) started: Instant,
}

struct Message {
    decoded: Decoded,
    body: Option<RequestBody>,
    identity: u128,
}

enum Stopped {
    Inflate(Failed),
    Bad(Undecodable),
    /// Its columns, of so many bytes at least, would not fit the pool, were it empty.
    TooWide(u64),
    Panic,
}

impl Ingest {
    pub(super) fn new(
        config: Config,
        admission: Admission,
        metrics: Metrics,
        (next, decode, set_aside): (Next, Decode, OnSetAside),
        authenticate: Option<Authenticate>,
    ) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
        let slots = Arc::new(Semaphore::new(threads));
        let draining = AtomicBool::new(false);
        let minutes = Minutes::default();
        Self { config, admission, metrics, draining, next, decode, set_aside, authenticate, slots, minutes }
    }

    /// Who sends a request with these headers; `None` where nobody asks.
    pub(super) async fn caller(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Option<Caller>, Failure> {
        match &self.authenticate {
            Some(authenticate) => authenticate.caller(headers, peer).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// A request of a signal that is not received here (G2, H5): counted, and told once a minute.
    pub(super) fn other_signal(&self, signal: &'static str, transport: Transport) {
        self.metrics.other_signals.with_label_values(&[signal, transport.as_str()]).inc();
        if self.minutes.is_due(signal) {
            tracing::warn!(
                signal,
                transport = transport.as_str(),
                hint = format!("OTEL_{}_EXPORTER=none in the sender switches the signal off", signal.to_uppercase()),
                "only traces are received here"
            );
        }
    }

    /// HTTP/1.1 on the gRPC port (G15): told once a minute.
    pub(super) fn not_grpc(&self, peer: SocketAddr) {
        if self.minutes.is_due("http1") {
            tracing::warn!(%peer, "HTTP/1.1 on the gRPC port, closed; OTLP over HTTP is received on port 4318");
        }
    }

    /// Counts one refusal by its reason (B7).
    pub(super) fn count_refusal(&self, failure: &Failure, transport: Transport, bytes: u64) {
        if let Some(reason) = failure.refused {
            self.metrics.refused(transport, reason, bytes);
        }
    }

    /// The whole way of one request, as an own span of the name that a Collector gives it.
    pub(super) async fn take(self: &Arc<Self>, arrived: Arrived) -> Result<Success, Failure> {
        let span = tracing::info_span!(
            target: "weavergen::own", "receiver/otlp/TraceDataReceived", otel.kind = "server", receiver = self.config.id.as_str(),
            transport = arrived.transport.as_str(), bytes = arrived.wire.len() as u64, error = Empty,
            accepted_spans = Empty, rejected_spans = Empty,
        );
        let outcome = self.taken(arrived, &span).instrument(span.clone()).await;
        if let Err(failure) = &outcome {
            span.record("error", failure.message.as_str());
        }
        outcome
    }

    async fn taken(self: &Arc<Self>, arrived: Arrived, span: &Span) -> Result<Success, Failure> {
        let (transport, peer, started) = (arrived.transport, arrived.peer, arrived.started);
        let caller = arrived.caller.clone();
        let wire_bytes = arrived.wire.len() as u64;
        let (Message { decoded, body, identity }, reservation) = self.read(arrived).await?;
        if decoded.spans == 0 {
            self.count_odd(&decoded.advisories, &decoded.unknown_fields);
            return Ok(Success::default());
        }
        if let (true, Some(first)) = (self.config.reject_request, decoded.rejected.first()) {
            self.metrics.undecodable.with_label_values(&[transport.as_str(), first.reason.as_str()]).inc();
            return Err(Failure {
                violation: Some(Box::new((first.path.clone(), first.detail.clone()))),
                ..Failure::new(Kind::Class(Class::Invalid), describe(&decoded))
            });
        }
        Metrics::of(&self.metrics.decoded_spans, transport).inc_by(decoded.spans as u64);
        let success = self.success(&decoded);
        span.record("accepted_spans", decoded.spans as u64 - success.rejected_spans);
        if success.rejected_spans > 0 {
            span.record("rejected_spans", success.rejected_spans);
        }
        let Decoded { batches, spans, rejected, rejected_by_reason, advisories, unknown_fields } = decoded;
        let delivery = Delivery { batches, body, identity, origin: Origin::Received };
        let ingest = self.clone();
        // A task of its own: a client that goes away must not cancel a commit in progress, nor its counting.
        let commit = tokio::spawn(async move {
            let counted = Counted { ingest: &ingest, transport, spans: spans as u64, done: false };
            let is_empty = delivery.batches.is_empty();
            let outcome = if is_empty { Ok(()) } else { ingest.next.deliver(delivery).await };
            // B6 estimates by what is stored: bytes of refused requests come back sooner, and are sent again.
            if outcome.is_ok() && !is_empty {
                ingest.admission.committed(reservation.bytes());
            }
            drop(reservation);
            match outcome {
                Ok(()) => {
                    counted.end(&ingest.metrics.accepted_spans);
                    ingest.metrics.acks(transport).observe(started.elapsed().as_secs_f64());
                    ingest.record(transport, peer, &rejected, &rejected_by_reason);
                    ingest.count_odd(&advisories, &unknown_fields);
                    Ok(())
                }
                Err(refusal) => {
                    counted.end(&ingest.metrics.refused_spans);
                    let failure = Failure::refusal(refusal, ingest.admission.delay(), caller.as_ref());
                    ingest.count_refusal(&failure, transport, wire_bytes);
                    Err(failure)
                }
            }
        });
        match commit.await {
            Ok(outcome) => outcome.map(|()| success),
            Err(e) => {
                tracing::error!(error = %e, "a hand-over ended without an answer");
                // It may be stored: the same bytes sent again are recognised, and lost if they are not.
                Err(Failure::unavailable("whether it was stored is unknown; send the same again later"))
            }
        }
    }

    /// Decompresses and decodes, on a thread where that does not hold up other connections.
    async fn read(self: &Arc<Self>, mut arrived: Arrived) -> Result<(Message, Reservation), Failure> {
        let (transport, limit, wire_bytes) = (arrived.transport, arrived.limit as u64, arrived.wire.len() as u64);
        let outcome = if arrived.coding == Coding::Identity && arrived.wire.len() <= INLINE_BYTES {
            // A defect in decoding is that request's, not its connection's. Nothing shared is left half changed: what
            // the decoder was building is dropped.
            match catch_unwind(AssertUnwindSafe(|| self.message(&mut arrived, None))) {
                // Only a thread of its own can wait for room.
                Ok(Err(Stopped::Bad(error))) if error.kind == otlp::NO_ROOM => self.read_apart(arrived).await,
                Ok(read) => read.map(|message| (message, arrived.reservation)),
                Err(_) => Err(Stopped::Panic),
            }
        } else {
            self.read_apart(arrived).await
        };
        outcome.map_err(|stopped| match stopped {
            Stopped::Panic => {
                tracing::error!(transport = transport.as_str(), "decoding panicked");
                Failure::internal("internal error while decoding; nothing was stored")
            }
            Stopped::Inflate(Failed::TooLarge) => Failure::too_large("the decompressed message", limit),
            Stopped::TooWide(bytes) => Failure::too_wide(bytes, wire_bytes, self.admission.pool().limit_bytes()),
            Stopped::Inflate(Failed::NoRoom(_)) => self.full(transport, wire_bytes),
            Stopped::Bad(error) if error.kind == otlp::NO_ROOM => self.full(transport, wire_bytes),
            Stopped::Inflate(Failed::Corrupt(why)) => Failure::new(Kind::Corrupt, why),
            Stopped::Bad(error) => {
                self.metrics.undecodable.with_label_values(&[transport.as_str(), error.kind]).inc();
                Failure::undecodable(&error)
            }
        })
    }

    /// No room (B4), counted (B7).
    fn full(&self, transport: Transport, wire_bytes: u64) -> Failure {
        let failure = Failure::no_room(self.admission.delay());
        self.count_refusal(&failure, transport, wire_bytes);
        failure
    }

    /// The same on a thread that may wait.
    async fn read_apart(self: &Arc<Self>, mut arrived: Arrived) -> Result<(Message, Reservation), Stopped> {
        let ingest = self.clone();
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let runtime = Handle::current();
        let work = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let message = ingest.message(&mut arrived, Some(&runtime))?;
            Ok((message, arrived.reservation))
        });
        work.await.unwrap_or(Err(Stopped::Panic))
    }

    fn message(&self, arrived: &mut Arrived, runtime: Option<&Handle>) -> Result<Message, Stopped> {
        let Arrived { wire, coding, format, reservation, columns, limit, .. } = arrived;
        let grow = |reservation: &mut Reservation, bytes: u64, runtime: Option<&Handle>| match runtime {
            Some(runtime) => runtime.block_on(self.admission.grow(reservation, bytes)),
            None => self.admission.try_grow(reservation, bytes),
        };
        // Once for the message, twice for its columns.
        let plain = inflate(*coding, wire, *limit, |bytes| grow(reservation, bytes as u64 * 3, runtime))
            .map_err(Stopped::Inflate)?;
        *columns = (*columns).max(plain.len() as u64 * 2);
        let mut too_wide = None;
        let mut decode = |waiting: Option<&Handle>| {
            // Rows and elements of few bytes have wider columns than that.
            let mut room = |bytes: u64| {
                let more = bytes.saturating_sub(*columns).next_multiple_of(STEP_BYTES as u64);
                if reservation.bytes().saturating_add(more) > self.admission.pool().limit_bytes() {
                    too_wide = Some(bytes);
                    return None;
                }
                grow(reservation, more, waiting).ok()?;
                *columns += more;
                Some(*columns)
            };
            let Config { limits, json_strict, .. } = &self.config;
            let reading = Reading { format: *format, limits, strict: *json_strict, may_wait: waiting.is_some() };
            (self.decode.0)(reading, &plain, &mut room)
        };
        // What is small is read anew to wait for room, which it seldom has to: what may wait costs more.
        let decoded = match runtime.filter(|_| plain.len() > INLINE_BYTES) {
            Some(runtime) => decode(Some(runtime)),
            None => match decode(None) {
                Err(error) if error.kind == otlp::NO_ROOM && runtime.is_some() => decode(runtime),
                decoded => decoded,
            },
        };
        let decoded = decoded.map_err(|error| too_wide.map_or(Stopped::Bad(error), Stopped::TooWide))?;
        let identity = XxHash3_128::oneshot(wire);
        let keep = *format == Format::Protobuf && decoded.rejected.is_empty();
        let body = u32::try_from(plain.len()).ok().filter(|_| keep).map(|decoded_len| match coding.to_logged(wire) {
            Some(coding) => RequestBody { bytes: wire.clone(), coding, decoded_len },
            // storage.md 4.1: any other coding is stored decompressed.
            None => RequestBody { bytes: plain.clone(), coding: crate::span::Coding::Identity, decoded_len },
        });
        Ok(Message { decoded, body, identity })
    }

    /// What was odd in an acknowledged request; one that is refused comes again.
    fn count_odd(&self, advisories: &BTreeMap<&'static str, u64>, unknown_fields: &BTreeMap<&'static str, u64>) {
        for (kind, n) in advisories {
            self.metrics.advisories.with_label_values(&[kind]).inc_by(*n);
        }
        for (message, n) in unknown_fields {
            self.metrics.unknown_fields.with_label_values(&[message]).inc_by(*n);
        }
    }

    fn success(&self, decoded: &Decoded) -> Success {
        if !decoded.rejected.is_empty() {
            return Success { rejected_spans: decoded.rejected_spans() as u64, message: describe(decoded) };
        }
        if self.config.partial_success_warnings && !decoded.advisories.is_empty() {
            let kinds: Vec<_> = decoded.advisories.iter().map(|(kind, n)| format!("{kind}={n}")).collect();
            return Success { rejected_spans: 0, message: format!("stored, although odd: {}", kinds.join(", ")) };
        }
        Success::default()
    }

    fn record(
        &self,
        transport: Transport,
        peer: SocketAddr,
        rejected: &[Rejected],
        by_reason: &BTreeMap<Reason, usize>,
    ) {
        if rejected.is_empty() {
            return;
        }
        for (reason, n) in by_reason {
            self.metrics.rejected_spans.with_label_values(&[transport.as_str(), reason.as_str()]).inc_by(*n as u64);
        }
        let blank = SetAside {
            component: self.config.id.clone(),
            transport,
            peer,
            reason: "",
            path: String::new(),
            trace_id: String::new(),
            span_id: String::new(),
            spans: 0,
            bytes: 0,
        };
        let rows = if rejected.len() <= SINGLE_ROWS {
            let row = |one: &Rejected| SetAside {
                reason: one.reason.as_str(),
                path: one.path.clone(),
                trace_id: hex(&one.trace_id),
                span_id: hex(&one.span_id),
                spans: 1,
                bytes: one.bytes as u64,
                ..blank.clone()
            };
            rejected.iter().map(row).collect()
        } else {
            let mut rows: BTreeMap<&str, SetAside> = BTreeMap::new();
            for one in rejected {
                let reason = one.reason.as_str();
                let row = rows.entry(reason).or_insert_with(|| SetAside { reason, ..blank.clone() });
                row.bytes += one.bytes as u64;
            }
            for (reason, n) in by_reason {
                // The decoder keeps details of some, the counts of all.
                let reason = reason.as_str();
                rows.entry(reason).or_insert_with(|| SetAside { reason, ..blank.clone() }).spans = *n as u64;
            }
            rows.into_values().collect()
        };
        (self.set_aside.0)(rows);
    }
}

/// Decoded spans that end in exactly one counter, also when the hand-over panics.
struct Counted<'a> {
    ingest: &'a Ingest,
    transport: Transport,
    spans: u64,
    done: bool,
}

impl Counted<'_> {
    fn end(mut self, counter: &prometheus::IntCounterVec) {
        self.done = true;
        Metrics::of(counter, self.transport).inc_by(self.spans);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.done {
            Metrics::of(&self.ingest.metrics.failed_spans, self.transport).inc_by(self.spans);
        }
    }
}

/// P3: `rejected 3 of 10 spans: invalid_trace_id=2, span_too_large=1; first: PATH: DETAIL`.
fn describe(decoded: &Decoded) -> String {
    let counts: Vec<_> =
        decoded.rejected_by_reason.iter().map(|(reason, n)| format!("{}={n}", reason.as_str())).collect();
    let mut text = format!("rejected {} of {} spans: {}", decoded.rejected_spans(), decoded.spans, counts.join(", "));
    if let Some(first) = decoded.rejected.first() {
        text.push_str(&format!("; first: {}: {}", first.path, first.detail));
    }
    cut(&text, MAX_TEXT_BYTES).to_owned()
}

/// What may be said once a minute was last said when.
#[derive(Debug, Default)]
struct Minutes(std::sync::Mutex<BTreeMap<&'static str, Instant>>);

impl Minutes {
    fn is_due(&self, topic: &'static str) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock().expect("no holder of this lock panics");
        let due = last.get(topic).is_none_or(|said| now.duration_since(*said) >= Duration::from_secs(60));
        if due {
            last.insert(topic, now);
        }
        due
    }
}
