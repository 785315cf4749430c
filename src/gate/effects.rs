//! What a gate does when it fails and when it passes again: `on_fail`, `on_resolve` and `notify` (gates.md 9, 11).
//!
//! Duty: read both and check their names against those that are known. Guarantee: a pipeline that could not be started
//! by the gate is told. Left to others: starting and sending (`engine`, `notify`).

use std::time::Duration;

use super::definition::{Mode, OnFail, Policy};
use super::file::{Known, Setting};
use super::problem::Code;
use super::reader::Keys;
use super::scalar;
use super::template::Use;
use crate::yaml::{Mark, nearest};

const DAY: Duration = Duration::from_secs(86_400);

/// `notify`: receivers; `None` = `notify.default`.
pub(super) fn notify(keys: &Keys<'_>, known: &Known) -> Option<Vec<String>> {
    let listed = keys.texts("notify")?;
    if let Some(receivers) = &known.receivers {
        for (name, mark) in &listed {
            if !receivers.iter().any(|receiver| receiver == name) {
                let next = choose(name, receivers.iter().map(String::as_str), "`notify.receivers` has none");
                keys.tell(Code::Receiver, mark, format!("there is no receiver `{name}`"), next);
            }
        }
    }
    Some(listed.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// `on_fail` of the gate `gate`.
pub(super) fn on_fail(
    keys: &Keys<'_>,
    gate: &str,
    mode: Mode,
    no_data: Policy,
    insufficient: Policy,
    setting: Setting<'_>,
) -> Option<OnFail> {
    keys.entry("on_fail")?;
    for (key, policy, word) in [("no_data", no_data, "ok"), ("insufficient", insufficient, "pass")] {
        if policy == Policy::Pass {
            let what = format!("`{key}: {word}` would close with silence what `on_fail` opened");
            keys.tell(Code::OnFail, &keys.place(key), what, "set it to `hold`, or remove `on_fail`");
        }
    }
    pipeline(keys, "on_fail", Use::Text, gate, mode, setting)
}

/// `on_resolve` of the gate `gate`.
pub(super) fn on_resolve(keys: &Keys<'_>, gate: &str, mode: Mode, setting: Setting<'_>) -> Option<OnFail> {
    pipeline(keys, "on_resolve", Use::Resolve, gate, mode, setting)
}

/// The pipeline at `key`, whose inputs are templates for `of`.
fn pipeline(
    keys: &Keys<'_>,
    key: &'static str,
    of: Use,
    gate: &str,
    mode: Mode,
    setting: Setting<'_>,
) -> Option<OnFail> {
    let entry = keys.entry(key)?;
    if mode == Mode::DryRun {
        let what = format!("`{key}` starts nothing while `mode` is dry_run");
        keys.tell(Code::DryRunOnFail, &entry.mark, what, "set `mode: enforce` once the gate has proved itself");
    }
    let inner = Keys::of(&entry.value, &format!("`{key}`"), keys.who.clone(), setting.problems)?;
    inner.required("pipeline", "name the BPMN process to start");
    let pipeline = inner.text("pipeline").map(|(id, mark)| {
        check_pipeline(&inner, id, mark, gate, setting.known);
        id.to_owned()
    });
    let input = inner.templates("input", of);
    if let Some(entry) = inner.named("input").iter().find(|entry| entry.key == "run") {
        inner.tell(Code::OnFail, &entry.mark, "the input `run` is set by the engine", "choose another name");
    }
    let on_warn = inner.choice("only", &[("fail", false), ("warn", true)]).unwrap_or(false);
    let cooldown = inner.duration("cooldown", (Duration::ZERO, 366 * DAY)).unwrap_or(Duration::from_secs(3600));
    if cooldown < Duration::from_secs(60) {
        inner.tell(Code::OnFail, &inner.place("cooldown"), "`cooldown` is shorter than 1m", "set at least `1m`");
    }
    let max_runs = inner.text("max_runs").and_then(|(text, mark)| match scalar::max_runs(text) {
        Ok(read) => Some(read),
        Err(why) => {
            inner.tell(Code::OnFail, mark, format!("`max_runs`: `{text}`: {why}"), "write e.g. `3/24h`");
            None
        }
    });
    let (max_runs, max_runs_in) = max_runs.unwrap_or((3, DAY));
    inner.finish(&[]);
    Some(OnFail { pipeline: pipeline.unwrap_or_default(), input, on_warn, cooldown, max_runs, max_runs_in })
}

fn check_pipeline(keys: &Keys<'_>, id: &str, mark: &Mark, gate: &str, known: &Known) {
    let Some(pipelines) = &known.pipelines else { return };
    let Some(starts) = pipelines.get(id) else {
        let next = choose(id, pipelines.keys().map(String::as_str), "no pipeline is deployed");
        keys.tell(Code::OnFail, mark, format!("there is no pipeline `{id}`"), next);
        return;
    };
    let own = format!("weavergen.gate.{gate}");
    if !starts.iter().any(|start| start == "weavergen.gate" || *start == own) {
        let what = format!("the pipeline `{id}` has no message start `weavergen.gate` or `{own}`");
        keys.tell(Code::OnFail, mark, what, "give it a message start event of that name");
    }
}

/// The next move for a name that is not among `names`.
fn choose<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone, none: &str) -> String {
    match nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let some: Vec<&str> = names.take(12).collect();
            if some.is_empty() { none.to_owned() } else { format!("known: {}", some.join(", ")) }
        }
    }
}
