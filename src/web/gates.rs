//! `/api/v1/gates`: gates as they are here (gates.md 10), and closing an episode by hand.
//!
//! Duty: a list of gates; one gate with its definition, its keys, what ticks to come would say and the last rows of its journal;
//! `close`. Guarantee: lists
//! come in pages of bounded length; keys and journal are those of one commit; only an admin closes, and what is answered as
//! closed is durable. Left to others: a gate as a page for people (`page`), the shape of Prometheus (`rules`), what a close
//! does (`gate`).

mod definition;
pub(super) mod page;

use std::collections::BTreeMap;

use axum::extract::{Path, Query, Request, State};
use axum::http::Uri;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rules::{mode, seconds_of};
use super::{AppState, Error};
use crate::access::{self, Identity, Role};
use crate::gate::identity::{AlertId, TENANT};
use crate::gate::journal::{self, JournalRow, KeyRow, OutcomeRun};
use crate::gate::live::{GateNow, Page, Provisional};
use crate::gate::{Gate, Group, Live};
use crate::span::hex;
use definition::definition;

/// Gates or keys of a page, and at most so many.
const PAGE: (usize, usize) = (1_000, 10_000);
/// Rows of the journal that are shown.
const JOURNALED: usize = 20;
/// Bytes of a body.
const MAX_BODY: usize = 64 << 10;
/// Characters of a reason.
const MAX_REASON: usize = 1_000;
/// What callers without a token are in the journal.
const OPERATOR: &str = "operator";

/// `?limit=&after=`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    limit: Option<usize>,
    after: Option<String>,
}

impl Wanted {
    fn read(uri: &Uri) -> Result<(usize, Option<String>), Error> {
        let hint = || format!("?limit=1 to {}, and after= the `next` of the answer before", PAGE.1);
        let wrong = |message| Error::Request { message, hint: hint() };
        let Query(wanted) = Query::<Self>::try_from_uri(uri).map_err(|error| wrong(error.body_text()))?;
        let limit = wanted.limit.unwrap_or(PAGE.0);
        if !(1..=PAGE.1).contains(&limit) {
            return Err(wrong(format!("a `limit` of {limit} is not served")));
        }
        Ok((limit, wanted.after))
    }
}

/// Loaded gates by name: `{"gates": […], "next"}`, where `next` is the `after` of the page behind or null.
pub(super) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<Value>, Error> {
    let live = state.gates.ok_or(Error::NotFound)?;
    let (limit, after) = Wanted::read(&uri)?;
    let _turn = live.turn().await;
    let reader = live.clone();
    let shown = tokio::task::spawn_blocking(move || summaries(&reader, after.as_deref(), limit)).await;
    Ok(Json(shown.map_err(|error| journal::Error::Damaged(error.to_string()))?))
}

fn summaries(live: &Live, after: Option<&str>, limit: usize) -> Value {
    let behind = |gate: &Gate| after.is_none_or(|after| gate.name.as_str() > after);
    let mut gates = live.gates().filter(|(_, gate)| behind(gate));
    let page: Vec<(&Group, &Gate)> = gates.by_ref().take(limit).collect();
    let next = gates.next().and(page.last()).map(|(_, gate)| gate.name.as_str());
    let shown = page.iter().map(|(group, gate)| summary(live, group, gate));
    json!({ "gates": shown.collect::<Vec<_>>(), "next": next })
}

/// A gate: what [`list`] has, `definition`, `keys`, `next_key`, `journal`; `provisional`: verdicts of ticks that are not closed,
/// of each at most `limit`, which pages behind the first leave out.
pub(super) async fn show(
    State(state): State<AppState>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Error> {
    let live = state.gates.ok_or(Error::NotFound)?;
    let (limit, after) = Wanted::read(&uri)?;
    live.gate(&name)?;
    let _turn = live.turn().await;
    let provisional = match after {
        None => live.provisional(&name, limit).await?,
        Some(_) => Vec::new(),
    };
    let reader = live.clone();
    let shown = tokio::task::spawn_blocking(move || whole(&reader, &name, (after.as_deref(), limit), &provisional));
    let shown = shown.await.map_err(|error| journal::Error::Damaged(error.to_string()))?;
    Ok(Json(shown?))
}

fn whole(
    live: &Live,
    name: &str,
    (after, limit): (Option<&str>, usize),
    provisional: &[Provisional],
) -> Result<Value, Error> {
    let (group, gate) = live.gate(name)?;
    let Page { journal, keys, is_cut } = live.page(name, after, limit, JOURNALED)?;
    let mut shown = summary(live, group, gate);
    shown["definition"] = definition(group, gate);
    let key = |(key, row, run): &(String, KeyRow, Option<OutcomeRun>)| key_json(gate, key, row, run.as_ref());
    shown["keys"] = keys.iter().map(key).collect();
    shown["next_key"] = keys.last().filter(|_| is_cut).map(|(key, ..)| key.as_str()).into();
    shown["journal"] = journal.iter().map(journal_json).collect();
    // A tick that closed meanwhile has its verdicts above.
    let closed_ns = live.now(name).map_or(i64::MIN, |now| now.last_tick_ns);
    let open = provisional.iter().filter(|verdict| verdict.window.end_ns > closed_ns);
    shown["provisional"] = open.map(provisional_json).collect();
    Ok(shown)
}

fn summary(live: &Live, group: &Group, gate: &Gate) -> Value {
    let mut shown = json!({
        "gate": gate.name,
        "group": group.name,
        "file": group.file,
        "class": gate.class(),
        "mode": mode(gate),
    });
    if let Some(now) = live.now(&gate.name) {
        let now_ns = live.clock_ns();
        extend(&mut shown, vitals(&now, now_ns));
    }
    shown
}

fn vitals(now: &GateNow, clock_ns: i64) -> Value {
    let counts: BTreeMap<&str, u64> = now.phases.into_iter().collect();
    json!({
        "generation": now.generation,
        "state": now.state(),
        "phases": counts,
        "last_tick": time(Some(now.last_tick_ns)),
        "last_evaluation": time(now.evaluated_ns),
        "evaluation_time": seconds_of(now.took_ns),
        "lag": seconds_of(u64::try_from(now.lag_ns(clock_ns)).unwrap_or(0)),
        "missed": now.missed,
        "error": now.error,
    })
}

fn key_json(gate: &Gate, key: &str, row: &KeyRow, run: Option<&OutcomeRun>) -> Value {
    let state = &row.state;
    let is_active = state.phase.as_str() == "pending" || state.phase.is_open();
    let mut shown = json!({
        "key": key,
        "labels": row.labels,
        "alert_id": AlertId::new(TENANT, &gate.name, &row.labels).to_string(),
        "phase": state.phase.as_str(),
        "level": state.phase.level().map(|level| level.as_str()),
        "episode": Some(state.episode).filter(|episode| *episode > 0),
        "active_at": time(state.active_at_ns.filter(|_| is_active)),
        "fired_at": time(state.fired_at_ns.filter(|_| state.phase.is_open())),
        "missing": row.missing,
        "verdict": Value::Null,
    });
    if let Some(run) = run {
        shown["verdict"] = verdict(run);
    }
    shown
}

/// The last verdict of a tick that is closed.
fn verdict(run: &OutcomeRun) -> Value {
    let evidence: Value = serde_json::from_str(&run.evidence).unwrap_or_default();
    json!({
        "outcome": run.outcome.as_str(),
        "final": true,
        "value": run.value,
        "n": run.n,
        "baseline": run.baseline,
        "tick": time(Some(run.last_tick_ns)),
        "window_start": time(Some(run.window.start_ns)),
        "window_end": time(Some(run.window.end_ns)),
        "evidence": evidence,
        "trace_ids": run.trace_ids.iter().map(|id| hex(id)).collect::<Vec<_>>(),
    })
}

fn provisional_json(verdict: &Provisional) -> Value {
    let evidence: Value = serde_json::from_str(&verdict.evidence).unwrap_or_default();
    json!({
        "key": verdict.key,
        "labels": verdict.labels,
        "outcome": verdict.outcome.as_str(),
        "final": false,
        "value": verdict.value,
        "n": verdict.n,
        "baseline": verdict.baseline,
        "tick": time(Some(verdict.window.end_ns)),
        "window_start": time(Some(verdict.window.start_ns)),
        "window_end": time(Some(verdict.window.end_ns)),
        "evidence": evidence,
        "trace_ids": verdict.trace_ids.iter().map(|id| hex(id)).collect::<Vec<_>>(),
    })
}

fn journal_json(row: &JournalRow) -> Value {
    json!({
        "at": time(Some(row.at_ns)),
        "tick": time(Some(row.t_ns)),
        "key": row.key,
        "from": row.from.as_str(),
        "to": row.to.as_str(),
        "cause": row.cause.as_str(),
        "level": row.to.level().or(row.from.level()).map(|level| level.as_str()),
        "episode": row.episode,
        "transition": row.transition,
        "actor": row.actor,
        "summary": row.summary,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseBody {
    /// Alert key; that of a gate without `by` is empty.
    #[serde(default)]
    key: String,
    #[serde(default)]
    reason: String,
}

/// Closes the open episode of a key: `{"key", "reason"}`.
///
/// 200 `{"gate", "key", "episode", "phase", "actor", "at"}` once it is durable; 404 no such gate or key; 409 the key is
/// neither firing nor recovering; 503 not written, 504 not durable in time.
pub(super) async fn close(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
    Path(gate): Path<String>,
    request: Request,
) -> Result<Json<Value>, Error> {
    if identity.role != Role::Admin {
        return Err(access::Error::Denied.into());
    }
    let live = state.gates.ok_or(Error::NotFound)?;
    let (_, body) = super::body::read(request, MAX_BODY).await?;
    let wrong = |message| Error::Request {
        message,
        hint: r#"{"key": "service_name=cart", "reason": "why it is over"}"#.to_owned(),
    };
    let body: CloseBody =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("the body is not what is expected: {error}")))?;
    let reason = body.reason.trim();
    if reason.is_empty() {
        return Err(wrong("a close by hand needs a `reason`".to_owned()));
    }
    if reason.chars().count() > MAX_REASON {
        return Err(wrong(format!("the `reason` is longer than {MAX_REASON} characters")));
    }
    let actor = if identity.name == access::ANONYMOUS { OPERATOR } else { &identity.name };
    let closed = live.close(&gate, &body.key, actor, reason).await?;
    Ok(Json(json!({
        "gate": gate,
        "key": body.key,
        "episode": closed.episode,
        "phase": "resolved",
        "actor": actor,
        "at": time(Some(closed.at_ns)),
    })))
}

/// RFC 3339, or null.
fn time(ns: Option<i64>) -> Value {
    ns.map(|ns| super::rules::time(Some(ns))).into()
}

fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend::<Map<String, Value>>(more);
    }
}

#[cfg(test)]
pub(super) mod tests;
