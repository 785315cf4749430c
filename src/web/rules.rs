//! `GET /api/v1/rules` and `/api/v1/alerts`, as Prometheus answers them (gates.md 10).
//!
//! Duty: gates as alerting rules, and what is pending or fires. Guarantee: a client of Prometheus reads it; of what is loaded
//! only a piece is in memory at a time, and without `group_limit` all of it is answered. Left to others: which alerts there
//! are (`gate`), their own view (`gates`).

mod ask;
mod selector;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};

use super::status::Prometheus;
use super::{AppState, Error, pieces};
use crate::gate::definition::Mode;
use crate::gate::journal;
use crate::gate::live::GateNow;
use crate::gate::{Alert, Gate, Group, Live};
use ask::{Ask, Chosen};

/// What Go writes for a time that is none.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Gates as rules, by groups.
pub(super) async fn rules(State(state): State<AppState>, uri: Uri) -> Result<Response, Prometheus> {
    let live = state.gates.ok_or(Error::NotFound)?;
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|error| Error::Request {
        message: format!("the query of the address cannot be read: {error}"),
        hint: "?type=alert&group_limit=100".to_owned(),
    })?;
    let ask = Ask::read(&pairs)?;
    let chosen = ask.choose(live.groups())?;
    let mut rules = Rules { live: live.clone(), chosen, exclude_alerts: ask.exclude_alerts, stage: Stage::Head };
    Ok(pieces::json(live, move |out| rules.step(out)))
}

/// What is pending or fires, of gates that are enforced; then health alerts.
pub(super) async fn alerts(State(state): State<AppState>) -> Result<Response, Prometheus> {
    let live = state.gates.ok_or(Error::NotFound)?;
    let reader = live.clone();
    let health = tokio::task::spawn_blocking(move || reader.health()).await;
    let health = health.map_err(|error| journal::Error::Damaged(error.to_string()))??;
    let names = live.gates().filter(|(_, gate)| gate.mode == Mode::Enforce).map(|(_, gate)| gate.name.clone());
    let mut names: Vec<String> = names.collect();
    names.reverse();
    let mut health = health.into_iter();
    let (reader, mut now, mut is_first) = (live.clone(), None::<(String, Arc<GateNow>, usize)>, true);
    let mut is_begun = false;
    let step = move |out: &mut Vec<u8>| {
        if !is_begun {
            is_begun = true;
            out.extend_from_slice(br#"{"status":"success","data":{"alerts":["#);
            return true;
        }
        let alert = match &mut now {
            Some((name, gate, at)) if *at < gate.active.len() => {
                let Ok((group, definition)) = reader.gate(name) else { return false };
                *at += 1;
                Alert::of(group, definition, &gate.active[*at - 1])
            }
            _ => match (names.pop(), health.as_slice().first()) {
                (Some(name), _) => {
                    now = reader.now(&name).map(|gate| (name, gate, 0));
                    return true;
                }
                (None, Some(_)) => {
                    now = None;
                    let Some(notice) = health.next() else { return true };
                    Alert::of_health(&notice)
                }
                (None, None) => {
                    out.extend_from_slice(b"]}}\n");
                    return false;
                }
            },
        };
        pieces::write(out, is_first, &alert_json(&alert));
        is_first = false;
        true
    };
    Ok(pieces::json(live, step))
}

/// Where an answer stands.
enum Stage {
    Head,
    /// At the group of this place among the chosen.
    Group(usize),
    /// At the gate of this place in it.
    Rule(usize, usize),
    /// At the alert of this place.
    Alert(usize, usize, usize, Arc<GateNow>),
}

struct Rules {
    live: Live,
    chosen: Chosen,
    exclude_alerts: bool,
    stage: Stage,
}

impl Rules {
    /// Writes a little and goes on; `false`: the answer is whole.
    fn step(&mut self, out: &mut Vec<u8>) -> bool {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Head) {
            Stage::Head => {
                out.extend_from_slice(br#"{"status":"success","data":{"groups":["#);
                Stage::Group(0)
            }
            Stage::Group(g) => {
                let Some((at, _)) = self.chosen.groups.get(g) else {
                    out.push(b']');
                    if let Some(token) = &self.chosen.next_token {
                        out.extend_from_slice(
                            format!(",\"groupNextToken\":{}", Value::from(token.as_str())).as_bytes(),
                        );
                    }
                    out.extend_from_slice(b"}}\n");
                    return false;
                };
                pieces::open(out, g == 0, &self.group(&self.live.groups()[*at]), "rules");
                Stage::Rule(g, 0)
            }
            Stage::Rule(g, r) => match self.at(g, r) {
                None => {
                    out.extend_from_slice(b"]}");
                    Stage::Group(g + 1)
                }
                Some((group, gate)) => match self.live.now(&gate.name) {
                    // Not loaded any more.
                    None => Stage::Rule(g, r + 1),
                    Some(now) => {
                        pieces::open(out, r == 0, &rule(group, gate, &now, self.live.clock_ns()), "alerts");
                        Stage::Alert(g, r, 0, now)
                    }
                },
            },
            Stage::Alert(g, r, a, now) => match (self.at(g, r), now.active.get(a).filter(|_| !self.exclude_alerts)) {
                (Some((group, gate)), Some(key)) if gate.mode == Mode::Enforce => {
                    pieces::write(out, a == 0, &alert_json(&Alert::of(group, gate, key)));
                    Stage::Alert(g, r, a + 1, now)
                }
                _ => {
                    out.extend_from_slice(b"]}");
                    Stage::Rule(g, r + 1)
                }
            },
        };
        true
    }

    fn at(&self, g: usize, r: usize) -> Option<(&Group, &Gate)> {
        let (at, gates) = self.chosen.groups.get(g)?;
        let group = &self.live.groups()[*at];
        gates.get(r).map(|at| (group, &group.gates[*at]))
    }

    fn group(&self, group: &Group) -> Value {
        let now: Vec<Arc<GateNow>> = group.gates.iter().filter_map(|gate| self.live.now(&gate.name)).collect();
        json!({
            "name": group.name,
            "file": group.file,
            "interval": seconds(group.interval),
            "limit": group.gates.iter().map(|gate| gate.limit).max(),
            "evaluationTime": now.iter().map(|now| seconds_of(now.took_ns)).sum::<f64>(),
            "lastEvaluation": time(now.iter().filter_map(|now| now.evaluated_ns).max()),
        })
    }
}

fn rule(group: &Group, gate: &Gate, now: &GateNow, clock_ns: i64) -> Value {
    let health = match (&now.error, now.evaluated_ns) {
        (Some(_), _) => "err",
        (None, Some(_)) => "ok",
        (None, None) => "unknown",
    };
    let mut annotations = gate.about.clone();
    annotations.extend(gate.annotations.clone());
    let mut rule = json!({
        "type": "alerting",
        "name": gate.name,
        "query": gate.source.sql,
        "duration": seconds(gate.hold_for),
        "keepFiringFor": seconds(gate.keep_firing_for),
        "labels": labels(group, gate),
        "annotations": annotations,
        // Of a gate in `dry_run` nobody is told, so there are no alerts of it; how it stands is said beside.
        "state": if gate.mode == Mode::Enforce { now.state() } else { "inactive" },
        "health": health,
        "evaluationTime": seconds_of(now.took_ns),
        "lastEvaluation": time(now.evaluated_ns),
        "weavergen": {
            "class": gate.class(),
            "mode": mode(gate),
            "state": now.state(),
            "generation": now.generation,
            "lag": seconds_of(u64::try_from(now.lag_ns(clock_ns)).unwrap_or(0)),
            "missed": now.missed,
        },
    });
    if let Some(error) = &now.error {
        rule["lastError"] = error.as_str().into();
    }
    rule
}

/// Labels of every alert of a gate as its file has them: templates are not rendered, `severity` is that of level fail.
fn labels(group: &Group, gate: &Gate) -> BTreeMap<String, String> {
    let mut labels = group.labels.clone();
    labels.extend(gate.labels.clone());
    labels.insert("gate_group".to_owned(), group.name.clone());
    labels.insert("severity".to_owned(), gate.severity.fail.clone());
    labels
}

fn alert_json(alert: &Alert) -> Value {
    let mut shown = json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.state,
        "activeAt": time(Some(alert.active_at_ns)),
        "value": go_float(alert.value.unwrap_or(f64::NAN)),
    });
    if let Some(since_ns) = alert.keeps_since_ns {
        shown["keepFiringSince"] = time(Some(since_ns)).into();
    }
    shown
}

pub(super) fn mode(gate: &Gate) -> &'static str {
    match gate.mode {
        Mode::Enforce => "enforce",
        Mode::DryRun => "dry_run",
    }
}

/// RFC 3339.
pub(super) fn time(ns: Option<i64>) -> String {
    let at = ns.and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok());
    at.map_or_else(|| NO_TIME.to_owned(), |at| at.to_string())
}

fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 { duration.as_secs().into() } else { duration.as_secs_f64().into() }
}

pub(super) fn seconds_of(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

/// As Go's `strconv.FormatFloat(value, 'e', -1, 64)` writes it: `5e-01`.
fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}
