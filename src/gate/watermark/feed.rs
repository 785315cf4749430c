//! What spans that came say of their sources (gates.md 3, source).
//!
//! Duty: the latest end of each service in what the store took, in its order, and how many spans end in the future.
//! Guarantee: each record is heard once, whole; own spans and those of pipelines are no source; one pass over three columns,
//! off the way of an acknowledgement. Left to others: what follows for ticks (the parent).

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, ListArray};
use arrow::datatypes::Int32Type;
use futures::future::BoxFuture;

use super::sources::Limits;
use crate::gate::config::Config;
use crate::span::SpanBatch;
use crate::store::{Follower, Store};

/// The attribute that says who made a span.
const ORIGIN: &str = "weavergen.origin";
/// Its values that make it no source.
const OWN: [&str; 2] = ["self", "pipeline"];

/// Spans that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Store position, µs since 1970.
    pub position_us: i64,
    /// By service, the latest end of a span, as it was sent.
    pub latest: Vec<(String, i64)>,
    /// Spans that end later than `max_future_skew` lets them.
    pub future: u64,
}

/// What came next; nothing, if there is no more at the moment. The last of them ends a record.
pub type Hearing = BoxFuture<'static, Result<Vec<Heard>, String>>;

/// Tells what came behind a position of the store; cheap to clone.
#[derive(Clone)]
pub struct Feed {
    pub(super) limits: Limits,
    pub(super) hear: Option<Hear>,
    pub(super) news: Option<News>,
}

pub(super) type Hear = Arc<dyn Fn(i64) -> Hearing + Send + Sync>;
/// Waits until there may be more than was heard.
pub(super) type News = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("limits", &self.limits).field("hears", &self.hear.is_some()).finish()
    }
}

impl Feed {
    /// For those who choose ticks themselves, or by the clock alone.
    pub fn none() -> Self {
        Self { limits: Limits::default(), hear: None, news: None }
    }

    /// What `hear` tells; it is asked for what came behind a position, µs.
    pub fn new(limits: Limits, hear: impl Fn(i64) -> Hearing + Send + Sync + 'static) -> Self {
        Self { limits, hear: Some(Arc::new(hear)), news: None }
    }

    /// The spans of `store`.
    pub fn over(store: Store, config: &Config) -> Self {
        let limits = Limits::of(config);
        let kept: Arc<tokio::sync::Mutex<Option<(i64, Follower)>>> = Arc::default();
        let news = Arc::new(tokio::sync::Mutex::new(store.news()));
        let waits: News = Arc::new(move || -> BoxFuture<'static, ()> {
            let news = news.clone();
            Box::pin(async move { news.lock().await.came().await })
        });
        let hearing = Self::new(limits, move |after_us| {
            let (store, kept) = (store.clone(), kept.clone());
            Box::pin(async move {
                let mut kept = kept.lock().await;
                // One that stands elsewhere gave its rows to somebody who went away with them.
                let there = kept.take().filter(|(at_us, _)| *at_us == after_us);
                let mut follower = there.map_or_else(|| store.follow(after_us), |(_, follower)| follower);
                let came = follower.ready().await.map_err(|error| error.to_string())?;
                let latest_ns = |position_us| limits.latest_ns(position_us);
                let each = came.iter().map(|one| heard(&one.batch, one.position_us, latest_ns(one.position_us)));
                let each: Vec<Heard> = each.collect();
                *kept = Some((each.last().map_or(after_us, |last| last.position_us), follower));
                Ok(each)
            })
        });
        Self { news: Some(waits), ..hearing }
    }
}

/// What `batch` says; ends behind `latest_ns` lie in the future.
pub(super) fn heard(batch: &SpanBatch, position_us: i64, latest_ns: i64) -> Heard {
    let rows = batch.as_record_batch();
    let column = |name: &str| rows.column_by_name(name).expect("SpanBatch::try_new checked the schema");
    let services = column("service_name").as_dictionary::<Int32Type>();
    let words = services.values().as_string::<i32>();
    let resources = column("resource").as_dictionary::<Int32Type>();
    // Few batches hold the key at all, which their dictionaries of keys say.
    let own_resources = own(resources.values().as_list::<i32>());
    let own_spans = own(column("attributes").as_list::<i32>());
    let is_own = |row: usize| {
        let of_resource = || own_resources.as_ref().is_some_and(|own| own[index(resources.keys().values()[row])]);
        own_spans.as_ref().is_some_and(|own| own[row]) || of_resource()
    };
    let may_be_own = own_resources.is_some() || own_spans.is_some();
    let mut latest = vec![i64::MIN; words.len()];
    let mut future = 0;
    let (starts, lasts) = (batch.start_times(), batch.durations_ns());
    let ends = starts.values().iter().zip(lasts.values());
    for (row, ((start_ns, last_ns), service)) in ends.zip(services.keys().values()).enumerate() {
        if may_be_own && is_own(row) {
            continue;
        }
        let end_ns = start_ns.saturating_add(*last_ns);
        let so_far = &mut latest[index(*service)];
        *so_far = end_ns.max(*so_far);
        future += u64::from(end_ns > latest_ns);
    }
    let came = latest.into_iter().enumerate().filter(|(_, end_ns)| *end_ns > i64::MIN);
    let latest = came.map(|(word, end_ns)| (words.value(word).to_owned(), end_ns)).collect();
    Heard { position_us, latest, future }
}

fn index(key: i32) -> usize {
    usize::try_from(key).expect("keys of a dictionary are places in it")
}

/// Which of `lists` of attributes say that a span is our own; `None`: none can.
fn own(lists: &ListArray) -> Option<Vec<bool>> {
    let attributes = lists.values().as_struct();
    let keys = attributes.column(0).as_dictionary::<Int32Type>();
    let words = keys.values().as_string::<i32>();
    let origin: Vec<bool> = (0..words.len()).map(|word| words.value(word) == ORIGIN).collect();
    if !origin.contains(&true) {
        return None;
    }
    let texts = attributes.column(2).as_string_view();
    let is_own =
        |at: usize| origin[index(keys.keys().values()[at])] && texts.is_valid(at) && OWN.contains(&texts.value(at));
    let bounds = lists.value_offsets().windows(2);
    Some(bounds.map(|bound| (index(bound[0])..index(bound[1])).any(is_own)).collect())
}
