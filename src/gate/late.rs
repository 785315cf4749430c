//! Spans that came too late for windows that had closed (gates.md 3, late).
//!
//! Duty: count those that came between two positions of the store and ended before an instant. Guarantee: exact, wherever
//! the rows lie by now; spans of pipelines and of this daemon are no source and do not count. Left to others: which
//! positions and instants (`book`).

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::rows;
use crate::query::gateway::{Shape, Statement};
use crate::query::params::{Param, Params};
use crate::query::quiet::Region;
use crate::query::within::{Spans, Within};
use crate::query::{Gateway, Prepared};

const SQL: &str =
    "SELECT count(*) AS value FROM spans WHERE ingest_time > $after AND ingest_time <= $until AND end_time < $before";

/// Which spans are late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// They came after this position, µs: that at which the tick before closed.
    pub after_us: i64,
    /// The last position.
    pub until_us: i64,
    /// They ended before: the tick that was closed when they came, ns since 1970.
    pub before_ns: i64,
}

/// The count to come.
pub type Count = BoxFuture<'static, Result<u64, String>>;

/// Counts late spans; cheap to clone.
#[derive(Clone)]
pub struct Late(Arc<dyn Fn(Between) -> Count + Send + Sync>);

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Late")
    }
}

impl Late {
    /// Counted by `count`.
    pub fn new(count: impl Fn(Between) -> Count + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }

    /// Counted over `gateway`, by SQL only where late spans may lie.
    pub fn over(gateway: Gateway) -> Self {
        let prepared = Prepared::default();
        Self::new(move |late| {
            let (gateway, prepared) = (gateway.clone(), prepared.clone());
            Box::pin(async move { count(&gateway, &prepared, late).await })
        })
    }

    /// How many there are.
    ///
    /// Errors: why they could not be counted.
    pub async fn count(&self, late: Between) -> Result<u64, String> {
        (self.0)(late).await
    }
}

async fn count(gateway: &Gateway, prepared: &Prepared, late: Between) -> Result<u64, String> {
    let Between { after_us, until_us, before_ns } = late;
    let region = Region { by_start: false, from_ns: i64::MIN, to_ns: before_ns, after_us, until_us };
    if !region.may_hold(&gateway.view()) {
        return Ok(0);
    }
    let instants =
        [("after", after_us.saturating_mul(1_000)), ("until", until_us.saturating_mul(1_000)), ("before", before_ns)];
    let params = instants.into_iter().map(|(name, ns)| (name.to_owned(), Param::Instant(ns))).collect();
    let statement =
        Statement { sql: SQL.to_owned(), params: Params::Map(params), shape: Shape::Arrow, ..Statement::default() };
    let within = Within { spans: Spans::NotOf(vec!["pipeline", "self"]), ..Within::default() };
    let mut answer = gateway.run_prepared(statement, within, prepared).await.map_err(|error| error.message)?;
    let batches = answer.collect().await.map_err(|error| error.message)?;
    rows::count(&batches).ok_or_else(|| "the count is not there".to_owned())
}
