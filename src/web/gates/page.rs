//! The page of a gate, to which messages to receivers link (gates.md 9, `generatorURL`).
//!
//! Duty: state, value and since when of a gate's keys, its last transitions; the key and the window of the message that led
//! here stand out. Guarantee: it needs no script and no other file, and every text of others is escaped; a gate that is not
//! there is a page that names those there are. Left to others: the same as JSON, and all of it (the parent).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::super::page::{escape, html};
use super::super::rules::{mode, time};
use super::super::{AppState, Error};
use super::JOURNALED;
use crate::gate::journal::{self, JournalRow, KeyRow, OutcomeRun};
use crate::gate::live::Page;
use crate::gate::scalar::{duration_text, word_of};
use crate::gate::state::Phase;
use crate::gate::{Gate, Group, Live};

/// Keys on the page.
const KEYS: usize = 200;
/// Gates on the page that says that one is not there.
const NAMES: usize = 1_000;

/// `?key=&window_start=&window_end=`, as messages have it. What others add to a link does no harm.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    key: Option<String>,
    window_start: Option<String>,
    window_end: Option<String>,
}

/// What the link was about.
#[derive(Debug, Default)]
struct About {
    key: Option<String>,
    /// Start and end, ns since 1970.
    window: (Option<i64>, Option<i64>),
}

impl About {
    fn read(uri: &Uri) -> Result<Self, Error> {
        let wrong = |message| Error::Request {
            message,
            hint: "?key=service_name=cart&window_start=2026-01-01T00:00:00Z&window_end=…, each of them or none"
                .to_owned(),
        };
        let Query(asked) = Query::<Asked>::try_from_uri(uri).map_err(|error| wrong(error.body_text()))?;
        let at = |name: &str, text: Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let read = text.parse::<jiff::Timestamp>().ok().and_then(|at| i64::try_from(at.as_nanosecond()).ok());
            read.map(Some).ok_or_else(|| wrong(format!("`{name}` is no time of RFC 3339")))
        };
        let window = (at("window_start", asked.window_start)?, at("window_end", asked.window_end)?);
        Ok(Self { key: asked.key, window })
    }
}

/// The page of a gate; 404 is a page too.
pub(in crate::web) async fn page(
    State(state): State<AppState>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    let live = state.gates.ok_or(Error::NotFound)?;
    let about = About::read(&uri)?;
    let _turn = live.turn().await;
    let reader = live.clone();
    let made = tokio::task::spawn_blocking(move || match reader.gate(&name) {
        Ok((group, gate)) => known(&reader, group, gate, &about).map(|body| (StatusCode::OK, body)),
        Err(_) => Ok((StatusCode::NOT_FOUND, unknown(&reader, &name))),
    });
    let (status, body) = made.await.map_err(|error| journal::Error::Damaged(error.to_string()))??;
    Ok((status, html(body)).into_response())
}

fn known(live: &Live, group: &Group, gate: &Gate, about: &About) -> Result<String, journal::Error> {
    let now = live.now(&gate.name);
    // What is wrong stands first, and before it what was asked for.
    let active = now.iter().flat_map(|now| now.active.iter().map(|active| &active.key));
    let mut seen = BTreeSet::new();
    let first: Vec<String> =
        about.key.iter().chain(active).filter(|key| seen.insert(*key)).take(KEYS).cloned().collect();
    let Page { journal, keys, is_cut } = live.page_with(&gate.name, &first, KEYS, JOURNALED)?;
    let (name, state) = (escape(&gate.name), now.as_ref().map_or("not judged yet", |now| now.state()));
    let mut out = format!("<h1>{name}: {state}</h1>\n");
    out.push_str(&definition(group, gate));
    if let Some(error) = now.as_ref().and_then(|now| now.error.as_ref()) {
        let _ = writeln!(out, "<p>The last evaluation failed: {}</p>", escape(error));
    }
    if let (Some(from_ns), Some(to_ns)) = about.window {
        let (from, to) = (time(Some(from_ns)), time(Some(to_ns)));
        let _ = writeln!(out, "<p>The message was about the window {from} to {to}.</p>");
    }
    if let Some(key) = about.key.as_ref().filter(|key| keys.first().is_none_or(|(first, ..)| first != *key)) {
        let _ = writeln!(out, "<p>The key {} is not there any more.</p>", shown_key(key));
    }
    out.push_str("<h2>Keys</h2>\n<table><tr><th>key<th>state<th>value<th>n<th>since<th>outcome<th>last tick</tr>\n");
    for (key, row, run) in &keys {
        let is_asked = about.key.as_ref() == Some(key);
        out.push_str(&key_row(gate, (key, row, run.as_ref()), is_asked));
    }
    out.push_str("</table>\n");
    if is_cut {
        let _ = writeln!(out, "<p>There are more keys; all are in <a href=\"../api/v1/gates/{name}\">JSON</a>.</p>");
    }
    out.push_str(
        "<h2>Last transitions</h2>\n<table><tr><th>tick<th>key<th>from<th>to<th>cause<th>episode<th>note</tr>\n",
    );
    for row in &journal {
        let is_asked = about.key.as_ref() == Some(&row.key) && about.window.1 == Some(row.t_ns);
        out.push_str(&transition_row(row, is_asked));
    }
    let _ = write!(out, "</table>\n<p><a href=\"../api/v1/gates/{name}\">as JSON</a></p>\n");
    Ok(document(&gate.name, &out))
}

fn definition(group: &Group, gate: &Gate) -> String {
    let mut out = String::new();
    if let Some(text) = gate.about.get("description") {
        let _ = writeln!(out, "<p>{}</p>", escape(text));
    }
    if let Some(owner) = gate.about.get("owner") {
        let _ = writeln!(out, "<p>Owner: {}</p>", escape(owner));
    }
    if let Some(url) = gate.about.get("runbook_url") {
        // A link of another scheme could run a script.
        let is_http = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        let url = escape(url);
        let _ = match is_http {
            true => writeln!(out, "<p>Runbook: <a href=\"{url}\">{url}</a></p>"),
            false => writeln!(out, "<p>Runbook: {url}</p>"),
        };
    }
    let wanted = match (&gate.slo, &gate.warn) {
        (Some(slo), _) => slo.told(),
        (None, Some(warn)) => format!("{} (warn {})", gate.pass.text, warn.text),
        (None, None) => gate.pass.text.clone(),
    };
    let ticks = match &gate.cron {
        Some(cron) => format!("by {cron}"),
        None => format!("every {}", duration_text(group.interval)),
    };
    let _ = writeln!(
        out,
        "<p>Wanted: {}, over {} {}; {}:{}, class {}, mode {}</p>",
        escape(&wanted),
        duration_text(gate.window),
        escape(&ticks),
        escape(&group.file),
        gate.line,
        gate.class(),
        mode(gate)
    );
    out
}

fn key_row(gate: &Gate, (key, row, run): (&str, &KeyRow, Option<&OutcomeRun>), is_asked: bool) -> String {
    let state = &row.state;
    let since_ns = match state.phase {
        Phase::Pending | Phase::Firing(_) | Phase::Recovering(_) => state.active_at_ns,
        Phase::Resolved => state.resolved_wall_ns,
        Phase::Inactive => None,
    };
    let unit = match word_of(gate.unit) {
        "none" => String::new(),
        unit => format!(" {unit}"),
    };
    let value = run.and_then(|run| run.value).map(|value| format!("{value}{unit}"));
    let cells = [
        shown_key(key),
        shown_phase(state.phase),
        or_dash(value),
        or_dash(run.and_then(|run| run.n)),
        or_dash(since_ns.map(|at_ns| time(Some(at_ns)))),
        or_dash(run.map(|run| run.outcome.as_str())),
        or_dash(run.map(|run| time(Some(run.last_tick_ns)))),
    ];
    table_row(&cells, is_asked)
}

fn shown_phase(phase: Phase) -> String {
    match phase.level() {
        Some(level) => format!("{} ({})", phase.as_str(), level.as_str()),
        None => phase.as_str().to_owned(),
    }
}

fn transition_row(row: &JournalRow, is_asked: bool) -> String {
    let by = row.actor.as_ref().map(|actor| format!("by {}: ", escape(actor))).unwrap_or_default();
    let cells = [
        time(Some(row.t_ns)),
        shown_key(&row.key),
        shown_phase(row.from),
        shown_phase(row.to),
        row.cause.as_str().to_owned(),
        or_dash(row.episode),
        format!("{by}{}", escape(&row.summary)),
    ];
    table_row(&cells, is_asked)
}

/// `cells` are escaped.
fn table_row(cells: &[String], is_asked: bool) -> String {
    let class = if is_asked { " class=\"asked\"" } else { "" };
    format!("<tr{class}><td>{}</tr>\n", cells.join("<td>"))
}

fn shown_key(key: &str) -> String {
    if key.is_empty() { "{}".to_owned() } else { escape(key) }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn unknown(live: &Live, name: &str) -> String {
    let mut out = format!(
        "<h1>There is no gate {}</h1>\n<p>It may have had another name, or its file is not loaded any more.",
        escape(name)
    );
    let mut names = live.gates().map(|(_, gate)| gate.name.as_str()).peekable();
    if names.peek().is_none() {
        out.push_str(" No gate is loaded.</p>\n");
        return document("no such gate", &out);
    }
    out.push_str(" Those there are:</p>\n<ul>\n");
    for name in names.by_ref().take(NAMES) {
        let name = escape(name);
        let _ = writeln!(out, "<li><a href=\"{name}\">{name}</a></li>");
    }
    out.push_str("</ul>\n");
    if names.next().is_some() {
        out.push_str("<p>There are more; all are in <a href=\"../api/v1/gates\">JSON</a>.</p>\n");
    }
    document("no such gate", &out)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} - weavergen</title>\n\
         <style>td, th {{ text-align: left; padding-right: 1em }} .asked {{ font-weight: bold }}</style></head><body>\n\
         {body}</body></html>\n",
        escape(title)
    )
}
