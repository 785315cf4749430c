//! What a test of gates expects against what was played.
//!
//! Duty: sentences about every difference, and the timeline of the keys that they are about. Guarantee: what is not given is
//! not compared; lists that are given are compared whole. Left to others: playing (`stage`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::stage::{Began, Played, Seen};
use crate::gate::journal::JournalRow;
use crate::gate::scalar::duration_text;
use crate::gate::suite::{Expect, Test};
use crate::gate::verdict::Outcome;

/// Differences, each a line or a few; none if the test holds.
pub(super) fn compare(test: &Test, file: &str, played: &Played) -> Vec<String> {
    let mut told = Vec::new();
    let mut about: BTreeSet<(&str, &str)> = BTreeSet::new();
    for expect in &test.expect {
        let wrong = differs(expect, test, played);
        if !wrong.is_empty() {
            let who = who(&expect.gate, &expect.key);
            told.push(format!("{file}:{}: at {} {who}: {}", expect.line, time(test, expect.at_ns), wrong.join("; ")));
            about.insert((&expect.gate, &expect.key));
        }
    }
    for (line, why) in &played.idle {
        told.push(format!("{file}:{line}: the event has no effect: {why}"));
    }
    let is_whole = test.transitions.is_some() || test.notifications.is_some() || test.pipelines.is_some();
    if is_whole && !played.closed {
        told.push("no tick closed, so nothing could have happened; add an `expect`, or a later span".to_owned());
    }
    let before = told.len();
    told.extend(transitions(test, played));
    told.extend(messages(test, played));
    told.extend(pipelines(test, played));
    if let Some(wanted) = test.transitions.as_ref().filter(|_| told.len() > before) {
        about.extend(wanted.iter().map(|change| (change.gate.as_str(), change.key.as_str())));
    }
    for (gate, key) in about {
        let line = timeline(test, gate, key, played);
        if !line.is_empty() {
            told.push(format!("timeline of {}:\n{line}", who(gate, key)));
        }
    }
    told
}

fn time(test: &Test, t_ns: i64) -> String {
    let since = t_ns.saturating_sub(test.start_ns);
    match u64::try_from(since) {
        Ok(since) => duration_text(Duration::from_millis(since / 1_000_000)),
        Err(_) => format!("{} s before the start", since / -1_000_000_000),
    }
}

fn who(gate: &str, key: &str) -> String {
    format!("{gate} {{{key}}}")
}

fn differs(expect: &Expect, test: &Test, played: &Played) -> Vec<String> {
    let of_key = |seen: &&Seen| seen.gate == expect.gate && seen.key == expect.key;
    let Some(seen) = played.seen.iter().filter(of_key).find(|seen| seen.t_ns == expect.at_ns) else {
        return vec![absent(expect, test, played)];
    };
    let mut wrong = Vec::new();
    let mut hold = |what: &str, got: String, want: String| {
        if got != want {
            wrong.push(format!("{what} is {got}, {want} is expected"));
        }
    };
    let none = || "none".to_owned();
    if let Some(outcome) = expect.outcome {
        let got = seen.outcome.map_or_else(|| "none: the key was not judged".to_owned(), |got| got.as_str().to_owned());
        hold("outcome", got, outcome.as_str().to_owned());
    }
    if let Some(state) = &expect.state {
        hold("state", seen.phase.as_str().to_owned(), state.clone());
    }
    if let Some(level) = expect.level {
        hold("level", seen.phase.level().map_or_else(none, |l| l.as_str().to_owned()), level.as_str().to_owned());
    }
    if let Some(n) = expect.n {
        hold("n", seen.n.map_or_else(none, |n| n.to_string()), n.to_string());
    }
    if let Some(episode) = expect.episode {
        hold("episode", seen.episode.to_string(), episode.to_string());
    }
    if let Some((want, off)) = expect.value {
        let close = seen.value.is_some_and(|got| (got - want).abs() <= off);
        if !close {
            let got = seen.value.map_or_else(none, |got| got.to_string());
            wrong.push(format!("value is {got}, {want} is expected"));
        }
    }
    wrong
}

/// Why there is nothing to compare with.
fn absent(expect: &Expect, test: &Test, played: &Played) -> String {
    if !played.gates.contains(&expect.gate) {
        let names: Vec<&str> = played.gates.iter().map(String::as_str).collect();
        return format!("there is no such gate; gates: {}", names.join(", "));
    }
    let ticks: BTreeSet<i64> =
        played.seen.iter().filter(|seen| seen.gate == expect.gate).map(|seen| seen.t_ns).collect();
    if !ticks.contains(&expect.at_ns) {
        let near = ticks.range(..expect.at_ns).next_back().into_iter().chain(ticks.range(expect.at_ns..).next());
        let near: Vec<String> = near.map(|t_ns| time(test, *t_ns)).collect();
        return format!("the gate has no tick then; the nearest: {}", near.join(", "));
    }
    let at = played.seen.iter().filter(|seen| seen.gate == expect.gate && seen.t_ns == expect.at_ns);
    let keys: Vec<String> = at.map(|seen| format!("{{{}}}", seen.key)).collect();
    format!("the gate has no such key then; keys: {}", keys.join(", "))
}

fn transitions(test: &Test, played: &Played) -> Vec<String> {
    let Some(wanted) = &test.transitions else { return Vec::new() };
    let mut wanted: Vec<_> = wanted.iter().collect();
    wanted.sort_by_key(|change| (change.at_ns, &change.gate, &change.key));
    let mut got: Vec<&JournalRow> = played.journal.iter().collect();
    got.sort_by_key(|row| (row.t_ns, &row.gate, &row.key));
    let shown = |row: &JournalRow| {
        let level = row.to.level().map(|level| format!(" ({})", level.as_str())).unwrap_or_default();
        let episode = row.episode.map(|episode| format!(", episode {episode}")).unwrap_or_default();
        let (at, who, to) = (time(test, row.t_ns), who(&row.gate, &row.key), row.to.as_str());
        format!("at {at} {who} to {to}{level}, {}{episode}", row.cause.as_str())
    };
    let same = got.len() == wanted.len()
        && got.iter().zip(&wanted).all(|(row, change)| {
            (row.t_ns, &row.gate, &row.key, row.to.as_str()) == (change.at_ns, &change.gate, &change.key, &change.to)
                && change.level.is_none_or(|level| row.to.level() == Some(level))
                && change.episode.is_none_or(|episode| row.episode == Some(episode))
                && change.cause.as_ref().is_none_or(|cause| row.cause.as_str() == cause)
        });
    if same {
        return Vec::new();
    }
    let mut text = format!("{} transitions are expected, there are {}:", wanted.len(), got.len());
    got.iter().for_each(|row| {
        let _ = write!(text, "\n  {}", shown(row));
    });
    vec![text]
}

fn messages(test: &Test, played: &Played) -> Vec<String> {
    let Some(wanted) = &test.notifications else { return Vec::new() };
    let suffix = |notice: &crate::gate::journal::Notice| format!("{}/{}", notice.episode, notice.number);
    let about = |notice: &crate::gate::journal::Notice| notice.labels.get("alertname").cloned().unwrap_or_default();
    let mut wanted: Vec<_> = wanted.iter().collect();
    // Receivers do not wait for each other; of one the order counts.
    wanted.sort_by_key(|message| &message.receiver);
    let got = &played.messages;
    let same = got.len() == wanted.len()
        && got.iter().zip(&wanted).all(|((receiver, notice), message)| {
            *receiver == message.receiver
                && message.id_suffix.as_ref().is_none_or(|wanted| *wanted == suffix(notice))
                && message.status.is_none_or(|status| status == notice.status)
                && message.gate.as_ref().is_none_or(|gate| *gate == notice.gate)
        });
    if same {
        return Vec::new();
    }
    let mut text = format!("{} notifications are expected, there are {}:", wanted.len(), got.len());
    for (receiver, notice) in got {
        let status = if notice.status == crate::gate::journal::Status::Firing { "firing" } else { "resolved" };
        let _ = write!(text, "\n  {receiver}: {} {status} {} {{{}}}", suffix(notice), about(notice), notice.key);
    }
    vec![text]
}

fn pipelines(test: &Test, played: &Played) -> Vec<String> {
    let Some(wanted) = &test.pipelines else { return Vec::new() };
    let got = &played.began;
    let same = got.len() == wanted.len()
        && got.iter().zip(wanted).all(|(began, start)| {
            began.pipeline == start.pipeline
                && start.episode.is_none_or(|wanted| began.episode == wanted)
                && start.key.as_ref().is_none_or(|wanted| *wanted == began.key)
        });
    if same {
        return Vec::new();
    }
    let mut text = format!("{} starts of pipelines are expected, there are {}:", wanted.len(), got.len());
    for Began { pipeline, episode, key } in got {
        let _ = write!(text, "\n  {pipeline}, episode {episode}, {{{key}}}");
    }
    vec![text]
}

/// Every tick of a key.
fn timeline(test: &Test, gate: &str, key: &str, played: &Played) -> String {
    let mut text = String::new();
    for seen in played.seen.iter().filter(|seen| seen.gate == gate && seen.key == key) {
        let outcome = seen.outcome.map_or("not judged", Outcome::as_str);
        let value = seen.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let n = seen.n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let level = seen.phase.level().map(|level| format!(" ({})", level.as_str())).unwrap_or_default();
        let (at, phase) = (time(test, seen.t_ns), seen.phase.as_str());
        let _ =
            writeln!(text, "  {at:>8}  {outcome:<12}  value {value}  n {n}  {phase}{level}  episode {}", seen.episode);
    }
    text.trim_end().to_owned()
}
