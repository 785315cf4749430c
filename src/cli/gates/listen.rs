//! Spans from a listener (gates.md 12, `--otlp`).
//!
//! Duty: the daemon's own receiver on an address, until what `--until` says. Guarantee: a request that was acknowledged is
//! judged; requests in hand at the end are taken to their end. Left to others: the receiver (`receive`).

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use arrow::array::AsArray as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::house;
use super::input::Taken;
use crate::app::{self, decode};
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::scalar;
use crate::receive::{self, OnSetAside, Receiver, SetAside, Share, Wiring};
use crate::span::{Delivery, Next};

/// How long requests in hand may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// One `--until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// No span for so long, once there was one.
    Idle(Duration),
    /// So many spans came.
    Spans(u64),
    /// Spans of so many traces came.
    Traces(u64),
    /// So long after the start.
    Time(Duration),
    /// SIGINT or SIGTERM.
    Signal,
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = |given: &str| match scalar::duration(given) {
            Ok(time) if !time.is_zero() => Ok(time),
            Ok(_) => Err(format!("`{given}` is no time to wait; write e.g. 5s")),
            Err(why) => Err(format!("`{given}` is no duration: {why}; write e.g. 5s or 1m30s")),
        };
        let count = |given: &str| match given.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!("`{given}` is no number from 1 on")),
        };
        match text.split_once('=') {
            Some(("idle", given)) => Ok(Self::Idle(time(given)?)),
            Some(("time", given)) => Ok(Self::Time(time(given)?)),
            Some(("spans", given)) => Ok(Self::Spans(count(given)?)),
            Some(("trace", given)) => Ok(Self::Traces(count(given)?)),
            None if text == "signal" => Ok(Self::Signal),
            _ => Err("one of idle=5s, spans=N, trace=N, time=60s, signal is expected".to_owned()),
        }
    }
}

/// What came so far.
#[derive(Clone, Debug, Default)]
struct Came {
    spans: u64,
    traces: u64,
    last: Option<Instant>,
}

/// Listens on `address` until one of `until` holds; without any, until a signal.
///
/// Errors: the address cannot be bound (69); interrupted (130).
pub(super) async fn take(
    address: &str,
    until: &[Until],
    config: &Config,
    house: &house::Spans,
    clock: &Clock,
) -> anyhow::Result<Taken> {
    let (came, seen) = watch::channel(Came::default());
    let (came, aside) = (Arc::new(came), Arc::new(Mutex::new(Taken::default())));
    let wiring = Wiring {
        next: counted(house.next().context("a listener needs a store")?, came),
        decode: decode::otlp(),
        set_aside: set_aside(aside.clone()),
        clock: clock.clone(),
        authenticate: None,
    };
    let budget = house.budget().context("a listener needs a store")?;
    let settings = receiver(address, config)?;
    let share = Share::new(budget.inflight_bytes());
    let receiver = Receiver::bind(settings, wiring, &share, &prometheus::Registry::new()).await?;
    let signal = app::signals()?;
    let addresses = receiver.addresses();
    for (what, bound) in [("gRPC", &addresses.grpc), ("HTTP", &addresses.http)] {
        for address in bound {
            eprintln!("weavergen: listening for OTLP over {what} on http://{address}");
        }
    }
    let drain = CancellationToken::new();
    let stop = drain.clone();
    let serving = tokio::spawn(async move { receiver.serve(stop, DRAIN).await });
    let by_signal = until.is_empty() || until.contains(&Until::Signal);
    let ended = tokio::select! {
        () = signal.cancelled() => by_signal,
        () = all(until, seen) => true,
    };
    drain.cancel();
    drop(serving.await);
    if !ended {
        let text = "interrupted before `--until` came true; nothing was judged (with `--until signal` it would be)";
        return Err(Failure::new(Exit::Interrupted, text).into());
    }
    let taken = aside.lock().expect("no holder of this lock panics").clone();
    Ok(taken)
}

/// The settings of the daemon's receiver, on `address` and the port behind it.
fn receiver(address: &str, config: &Config) -> anyhow::Result<receive::Config> {
    let wrong = || {
        let text = format!(
            "--otlp {address}: HOST:PORT is expected, e.g. 127.0.0.1:4317; gRPC listens on it, HTTP on the next"
        );
        Failure::new(Exit::Usage, text)
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let next = match port {
        0 => 0,
        port => port.checked_add(1).ok_or_else(wrong)?,
    };
    let of_config = config.receivers.first().cloned().unwrap_or_default();
    let grpc = receive::config::Grpc { endpoint: address.to_owned(), ..of_config.grpc.unwrap_or_default() };
    let http = receive::config::Http { endpoint: format!("{host}:{next}"), ..of_config.http.unwrap_or_default() };
    Ok(receive::Config { id: "otlp".to_owned(), grpc: Some(grpc), http: Some(http), ..of_config })
}

/// Counts what `next` took.
fn counted(next: Next, came: Arc<watch::Sender<Came>>) -> Next {
    let traces: Arc<Mutex<HashSet<[u8; 16]>>> = Arc::default();
    Next::new(move |delivery: Delivery| {
        let (next, came, traces) = (next.clone(), came.clone(), traces.clone());
        Box::pin(async move {
            let (spans, batches) = (delivery.spans() as u64, delivery.batches.clone());
            next.deliver(delivery).await?;
            let count = {
                let mut traces = traces.lock().expect("no holder of this lock panics");
                for batch in &batches {
                    let ids = batch.as_record_batch().column(0).as_fixed_size_binary().iter().flatten();
                    traces.extend(ids.filter_map(|id| <[u8; 16]>::try_from(id).ok()));
                }
                traces.len() as u64
            };
            came.send_modify(|came| {
                *came = Came { spans: came.spans + spans, traces: count, last: Some(Instant::now()) }
            });
            Ok(())
        })
    })
}

fn set_aside(taken: Arc<Mutex<Taken>>) -> OnSetAside {
    OnSetAside::new(move |rows: Vec<SetAside>| {
        let mut taken = taken.lock().expect("no holder of this lock panics");
        for row in rows {
            taken.rejected += row.spans;
            *taken.rejected_by.entry(row.reason.to_owned()).or_default() += usize::try_from(row.spans).unwrap_or(0);
        }
    })
}

/// Ends when one of `until` holds; never, if none of them can.
async fn all(until: &[Until], mut seen: watch::Receiver<Came>) {
    let begun = Instant::now();
    loop {
        let came = seen.borrow_and_update().clone();
        let now = Instant::now();
        let mut wake = now + Duration::from_secs(3600);
        for condition in until {
            let due = match condition {
                Until::Spans(spans) if came.spans >= *spans => return,
                Until::Traces(traces) if came.traces >= *traces => return,
                Until::Time(time) => begun + *time,
                Until::Idle(time) => came.last.map_or(wake, |last| last + *time),
                Until::Spans(_) | Until::Traces(_) | Until::Signal => continue,
            };
            if due <= now {
                return;
            }
            wake = wake.min(due);
        }
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            changed = seen.changed() => if changed.is_err() {
                // The sender lives in the receiver, which is served as long as this is waited for.
                std::future::pending::<()>().await;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_wrong_ones_say_what_is_right() {
        let read = |text: &str| text.parse::<Until>();
        assert_eq!(read("idle=5s"), Ok(Until::Idle(Duration::from_secs(5))));
        assert_eq!([read("spans=3"), read("trace=1")], [Ok(Until::Spans(3)), Ok(Until::Traces(1))]);
        assert_eq!([read("time=1m"), read("signal")], [Ok(Until::Time(Duration::from_secs(60))), Ok(Until::Signal)]);
        for (text, why) in [("idle=5", "5s"), ("spans=0", "from 1 on"), ("idle=0", "5s"), ("forever", "idle=5s")] {
            assert!(read(text).unwrap_err().contains(why), "{text}");
        }
    }
}
