//! Spans of runs, steps and attempts, made from events (bpmn.md 15).
//!
//! Duty: the spans of each commit, in event order, handed to a function; the cursor moves after it has taken them.
//! Guarantee: ids and content depend on events alone, so that what is sent again is the same; values of variables are
//! never in them. Left to others: what a span says (`trace`), encoding and delivery (the function), and dedup by identity
//! (the store).

mod attributes;
mod drawn;
mod trace;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bpmn::core::{Body, Event, StateView};
use futures::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use self::drawn::Drawn;
use self::trace::Trace;
use super::error::Error;
use super::store::Logged;
use super::{Engine, Store};

/// Name of the cursor: the last event whose spans are taken.
const CURSOR: &str = "export_cursor";
/// Events read at a time.
const PAGE: usize = 4_096;
/// Files whose tasks are kept in memory.
const KEPT_FILES: usize = 64;
/// Open runs whose events need not be read again.
const KEPT_RUNS: usize = 1_024;
/// Waits after a refusal, doubled from the first to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run.
    Server,
    /// A step.
    Internal,
    /// An attempt that calls another system.
    Client,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A list of texts.
    Texts(Vec<String>),
}

/// Something at a moment of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// ns since 1970.
    pub at_ns: i64,
    /// What.
    pub name: &'static str,
    /// Details.
    pub attributes: Vec<(&'static str, Value)>,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSpan {
    /// Of the root instance.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// None for a run.
    pub parent_span_id: Option<[u8; 8]>,
    /// Name of the element, or its id.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// ns since 1970.
    pub start_ns: i64,
    /// ns since 1970.
    pub end_ns: i64,
    /// Text of a status that is an error.
    pub error: Option<String>,
    /// In the order added.
    pub attributes: Vec<(&'static str, Value)>,
    /// In time order.
    pub moments: Vec<Moment>,
    /// (trace id, span id) as lower-case hex.
    pub links: Vec<(String, String)>,
}

/// The spans of one commit: one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the engine, for the identity: XXH3-128 over it and `first_seq`.
    pub engine_id: [u8; 16],
    /// Number of the commit's first event.
    pub first_seq: u64,
    /// In event order.
    pub spans: Vec<StepSpan>,
}

/// Takes a request; `Ok` = it is durably there.
pub type Deliver = Box<dyn Fn(Request) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Sends what is not sent yet, and then each commit, until `stop`. A refusal is tried again for ever, and so is a file that
/// cannot be read or written at the moment. Addresses of runs lie below `external_url`.
///
/// Errors: the file is damaged.
pub async fn run(engine: &Engine, external_url: &str, deliver: Deliver, stop: CancellationToken) -> Result<(), Error> {
    let mut wait = AGAIN.0;
    loop {
        let error = match follow(engine, external_url, &deliver, &stop, &mut wait).await {
            Err(error @ (Error::Storage(_) | Error::Unavailable)) => error,
            ended => return ended,
        };
        tracing::warn!(%error, "spans of pipeline runs wait until engine.redb can be read and written");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(AGAIN.1),
        }
    }
}

/// The same until an error; each delivery that is kept shortens the `again` that comes after one.
async fn follow(
    engine: &Engine,
    external_url: &str,
    deliver: &Deliver,
    stop: &CancellationToken,
    again: &mut Duration,
) -> Result<(), Error> {
    let mut commits = engine.subscribe();
    let mut spans = Spans::after(engine.store(), engine.store().cursor(CURSOR)?.unwrap_or(0), external_url)?;
    loop {
        while let Some((request, last_seq)) = spans.next_commit()? {
            if request.spans.is_empty() {
                // nothing to send twice: not worth a write
                continue;
            }
            let mut wait = AGAIN.0;
            while let Err(reason) = deliver(request.clone()).await {
                tracing::warn!(reason, "spans of pipeline runs were refused and will be sent again");
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(AGAIN.1),
                }
            }
            engine.store().set_cursor(CURSOR, last_seq)?;
            *again = AGAIN.0;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            commit = commits.recv() => if matches!(commit, Err(RecvError::Closed)) { return Ok(()) },
        }
    }
}

/// The spans of commits, one after the other. What open runs need is kept, so that each event is read once; of a run
/// that began before, its earlier events are read once more.
pub struct Spans {
    store: Store,
    engine_id: [u8; 16],
    /// Where people find this daemon.
    external_url: Arc<str>,
    /// Last event that was read.
    read: u64,
    /// Events behind it that are read already.
    page: VecDeque<Logged>,
    runs: BTreeMap<u64, Trace>,
    /// By content hash.
    files: BTreeMap<String, Arc<Drawn>>,
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spans").field("read", &self.read).field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}

impl Spans {
    /// Those of the commits after event `cursor`. Addresses of runs lie below `external_url`.
    ///
    /// Errors: the file cannot be read.
    pub fn after(store: &Store, cursor: u64, external_url: &str) -> Result<Self, Error> {
        let view = store.view()?;
        let engine_id = (&view as &dyn StateView).meta().engine_id;
        view.failed()?;
        Ok(Self {
            store: store.clone(),
            engine_id,
            external_url: external_url.trim_end_matches('/').into(),
            read: cursor,
            page: VecDeque::new(),
            runs: BTreeMap::new(),
            files: BTreeMap::new(),
        })
    }

    /// The next commit, and the number of its last event; `None` until there is another.
    ///
    /// Errors: the file cannot be read.
    pub fn next_commit(&mut self) -> Result<Option<(Request, u64)>, Error> {
        let commit = self.commit()?;
        let (Some(first_seq), Some(last_seq)) = (commit.first().map(|e| e.seq), commit.last().map(|e| e.seq)) else {
            return Ok(None);
        };
        let mut spans = Vec::new();
        for event in &commit {
            let Some(run) = event.body.instance() else { continue };
            self.begin(run, first_seq)?;
            let drawn = match &event.body {
                Body::InstanceCreated { hash, .. } => Some(self.drawn(hash)?),
                _ => None,
            };
            let Some(trace) = self.runs.get_mut(&run) else { continue };
            // A flow is taken when the span of its step is made already: it is looked for among those of the commit.
            trace.spans = std::mem::take(&mut spans);
            trace.take(event);
            trace.newest = event.seq;
            spans = std::mem::take(&mut trace.spans);
            if let Some(drawn) = drawn {
                trace.drawn = drawn;
            }
            let ended = matches!(
                event.body,
                Body::InstanceCompleted { .. } | Body::InstanceFailed { .. } | Body::InstanceCancelled { .. }
            );
            if ended {
                self.runs.remove(&run);
            }
        }
        while self.runs.len() > KEPT_RUNS {
            let idle = self.runs.iter().min_by_key(|(_, trace)| trace.newest).map(|(run, _)| *run);
            self.runs.remove(&idle.expect("there are more than none"));
        }
        Ok(Some((Request { engine_id: self.engine_id, first_seq, spans }, last_seq)))
    }

    /// The events of the next commit; empty if there is none.
    fn commit(&mut self) -> Result<Vec<Event>, Error> {
        let mut commit = Vec::new();
        loop {
            if self.page.is_empty() {
                self.page = self.store.events(self.read + 1, PAGE)?.into();
            }
            match self.page.front() {
                Some(logged) if commit.is_empty() || !logged.first => {}
                // A commit is there whole or not at all: the next one begins, or this was the last.
                _ => return Ok(commit),
            }
            let logged = self.page.pop_front().expect("the front was looked at");
            self.read = logged.event.seq;
            commit.push(logged.event);
        }
    }

    /// Makes sure that what happened in `run` before event `first_seq` is known.
    fn begin(&mut self, run: u64, first_seq: u64) -> Result<(), Error> {
        if self.runs.contains_key(&run) {
            return Ok(());
        }
        let mut trace = Trace::new(self.engine_id, run, self.external_url.clone());
        trace.newest = first_seq;
        for seq in self.store.events_of(run)?.into_iter().take_while(|seq| *seq < first_seq) {
            for logged in self.store.events(seq, 1)? {
                trace.take(&logged.event);
                if let Body::InstanceCreated { hash, .. } = &logged.event.body {
                    trace.drawn = self.drawn(hash)?;
                }
            }
        }
        trace.spans.clear();
        self.runs.insert(run, trace);
        Ok(())
    }

    /// What the file of this content hash says of its tasks.
    fn drawn(&mut self, hash: &str) -> Result<Arc<Drawn>, Error> {
        if let Some(drawn) = self.files.get(hash) {
            return Ok(drawn.clone());
        }
        let drawn = Arc::new(self.store.definition(hash)?.map(|row| Drawn::of(&row.bytes)).unwrap_or_default());
        if self.files.len() >= KEPT_FILES {
            self.files.clear();
        }
        self.files.insert(hash.to_owned(), drawn.clone());
        Ok(drawn)
    }
}
