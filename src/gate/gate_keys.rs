//! The keys of one gate (gates.md 1.2).
//!
//! Duty: a mapping to a [`Gate`] and the places of what planning checks. Guarantee: where a key is wrong the gate holds a
//! stand-in and a problem is told, so the rest is read too. Left to others: `on_fail` and `notify` (`effects`), SQL
//! (`plan`).

use std::time::Duration;

use super::arrivals;
use super::assertion;
use super::baseline;
use super::definition::{
    Class, Comparison, EventTime, FireAfter, Gate, Mode, On, Policy, Severities, Source, StaleAfter, Test, Unit,
};
use super::derived;
use super::effects;
use super::exemplars;
use super::file::{Inherited, Setting};
use super::files::Text;
use super::finding;
use super::numbers::Numbers;
use super::problem::{Code, Who};
use super::reader::Keys;
use super::scalar;
use super::schedule::{self, When};
use super::slo::Slo;
use super::slo_keys;
use super::sql_file;
use super::template::Use;
use crate::query::params;
use crate::yaml::{Mark, Node, Value};

/// Labels that the alert itself sets.
const RESERVED: [&str; 4] = ["alertname", "level", "gate_group", SEVERITY];
/// Set by the gate's key of that name.
const SEVERITY: &str = "severity";
const DAY: Duration = Duration::from_secs(86_400);

/// Where in its file what planning checks stands.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub name: Mark,
    /// `sql` or `sql_file`; `None` = there is no usable source.
    pub source: Option<Mark>,
    pub window: Mark,
    /// One a column.
    pub by: Vec<Mark>,
    pub value: Mark,
    pub n: Mark,
    pub guard: Mark,
    pub exemplars: Mark,
    /// Predicates of `slo`.
    pub slo: Option<slo_keys::Places>,
    /// Predicates of `assert`.
    pub assertion: Option<assertion::keys::Places>,
}

/// Reads `node`; `None` where it is no mapping.
pub(super) fn read(node: &Node, text: &Text, inherited: &Inherited, setting: Setting<'_>) -> Option<(Gate, Places)> {
    let problems = setting.problems;
    let who = if inherited.group.is_empty() { Who::File } else { Who::Group(inherited.group.clone()) };
    let mut keys = Keys::of(node, "a gate", who, problems)?;
    keys.required("gate", "name the gate");
    let name = name(&mut keys);

    let about = ["description", "owner", "runbook_url"];
    let about = about.into_iter().filter_map(|key| Some((key.to_owned(), keys.text(key)?.0.to_owned()))).collect();
    let (mut source, mut source_mark) = source(&keys, text, setting);
    let (assertion, assertion_places) = assertion::keys::read(&keys, setting).unzip();
    // Objectives and assertions name their columns themselves.
    let (is_slo, is_assert) = (keys.is_given("slo"), keys.is_given("assert"));
    let is_made = is_slo || is_assert;
    let by = match (&assertion, &assertion_places) {
        (Some(asserted), Some(places)) => asserted.by.map(|column| (column.as_str(), &places.by)).into_iter().collect(),
        _ => keys.texts("by").unwrap_or_default(),
    };
    for (at, (column, mark)) in by.iter().enumerate() {
        check_label(&keys, column, mark);
        if by[..at].iter().any(|(other, _)| other == column) {
            keys.tell(Code::Label, mark, format!("the column `{column}` is given twice"), "remove one of them");
        }
        if let Some(label) = inherited.labels.get(*column) {
            let what = format!("the group's label `{column}` is a `by` column of this gate");
            keys.tell(Code::Label, label, what, "rename the label");
        }
    }
    let column = |key: &'static str| {
        let (text, mark) = keys.text(key)?;
        if text.is_empty() {
            keys.tell(Code::WrongType, mark, format!("`{key}` is empty, the name of a column is expected"), "name it");
        }
        Some(text.to_owned())
    };
    let when = schedule::on(&keys);
    let is_counted = is_made || when == When::Ingest;
    let value_column = column("value_column").filter(|_| !is_counted).unwrap_or_else(|| "value".to_owned());
    let n_column = column("n_column").filter(|_| !is_counted).unwrap_or_else(|| "n".to_owned());
    let unit = keys.choice("unit", &UNITS).filter(|_| !is_counted).unwrap_or_default();

    let (slo, slo_places) = slo_keys::read(&keys, setting).unzip();
    let window = if is_slo {
        slo.as_ref().map(Slo::longest)
    } else {
        keys.required("window", "say how far back the gate looks, e.g. `window: 5m`");
        keys.duration("window", (Duration::from_secs(1), 90 * DAY))
    };
    let cron = schedule::read(&keys);
    if let Some(window) = window {
        let place = keys.place(if is_slo { "slo" } else { "window" });
        schedule::check_window(&keys, window, (cron.as_ref(), inherited.interval), &place);
    }
    let time = keys.choice("time", &[("end", EventTime::End), ("start", EventTime::Start)]);
    let time = time.filter(|_| !is_assert).unwrap_or_default();
    if time == EventTime::Start {
        let what = "with `time: start` a span longer than `query_offset` comes late by construction";
        keys.tell(Code::StartTime, &keys.place("time"), what, "prefer `time: end`");
    }
    let judged = match is_slo {
        true => by_pairs(&keys),
        // Unless it says otherwise, every trace must pass, and no span may match.
        false => {
            let is = |text: &str, number| Comparison { text: text.to_owned(), test: Test::Is(number) };
            let usual = match when {
                When::Ingest => Some(is("== 0", 0.0)),
                _ => is_assert.then(|| is("== 1", 1.0)),
            };
            comparisons(&keys, unit, usual)
        }
    };
    let columns: Vec<String> = by.iter().map(|(column, _)| (*column).to_owned()).collect();
    let on = match when {
        When::Interval => On::Interval,
        When::Trace => On::Trace,
        When::Ingest => {
            arrivals::check_comparisons(&keys, &judged.pass, &judged.clear);
            let skew = setting.config.max_future_skew;
            let (matching, is_told) =
                arrivals::read(&keys, (source.sql.as_str(), source_mark.as_ref()), &columns, (time, skew));
            if is_told {
                // Planned as any other it would be told of columns that it must not have.
                source_mark = None;
            }
            matching.map_or(On::Interval, |matching| On::Ingest(Box::new(matching)))
        }
    };
    if let On::Ingest(matching) = &on {
        source = Source { sql: matching.sql(), explicit_window: true, ..source };
    }
    if let Some(slo) = slo.as_ref().filter(|_| source_mark.is_none()) {
        source = Source { sql: slo.sql(&columns, time), explicit_window: true, ..source };
        source_mark = keys.entry("slo").map(|entry| entry.value.mark.clone());
    }
    if let Some(finding) = finding::read(&keys, setting).filter(|_| source_mark.is_none() && !is_made) {
        source = Source { sql: finding.sql(&columns), ..source };
        source_mark = keys.entry("finding").map(|entry| entry.value.mark.clone());
    }
    if let Some(assertion) = assertion.as_ref().filter(|_| source_mark.is_none() && !is_slo) {
        source = Source { sql: assertion.sql(), explicit_window: true, ..source };
        source_mark = keys.entry("assert").map(|entry| entry.value.mark.clone());
    }
    let min_samples = keys.count("min_samples", (0, u64::MAX), Code::WrongType);
    if keys.entry("min_samples").is_none() && (is_slo || is_ratio(unit, &judged.pass)) {
        let what = "a ratio without `min_samples` is judged on a single sample";
        keys.tell(Code::NoSampleFloor, &judged.pass_mark, what, "set `min_samples`, e.g. 100");
    }
    let insufficient =
        keys.choice("insufficient", &[("hold", Policy::Hold), ("pass", Policy::Pass), ("fail", Policy::Fail)]);
    let insufficient = insufficient.unwrap_or_default();
    let inconclusive =
        keys.choice("inconclusive", &[("hold", Policy::Hold), ("alert", Policy::Alert), ("fail", Policy::Fail)]);
    let no_data = keys.choice(
        "no_data",
        &[("hold", Policy::Hold), ("ok", Policy::Pass), ("alert", Policy::Alert), ("fail", Policy::Fail)],
    );
    let no_data = no_data.unwrap_or_default();
    let alerts = keys.choice("on_error", &[("hold", false), ("alert", true)]).unwrap_or(true);
    let error_limit = keys.count("error_limit", (1, u64::from(u32::MAX)), Code::WrongType).unwrap_or(4);
    let error_limit = alerts.then(|| u32::try_from(error_limit).unwrap_or(u32::MAX));
    let mode = keys.choice("mode", &[("enforce", Mode::Enforce), ("dry_run", Mode::DryRun)]).unwrap_or_default();
    let labels = keys.templates("labels", Use::Label);
    for entry in keys.named("labels") {
        check_label(&keys, &entry.key, &entry.mark);
        if by.iter().any(|(column, _)| *column == entry.key) {
            keys.tell(Code::Label, &entry.mark, format!("the label `{}` is a `by` column", entry.key), "rename it");
        }
    }
    let annotations = keys.templates("annotations", Use::Text);
    for entry in keys.named("annotations").iter().filter(|entry| !is_label_name(&entry.key)) {
        let what = format!("`{}` is no name of an annotation", entry.key);
        keys.tell(Code::Label, &entry.mark, what, "use letters, digits and `_`");
    }
    let on_fail = effects::on_fail(&keys, &name, mode, no_data, insufficient, setting);
    let on_resolve = effects::on_resolve(&keys, &name, mode, setting);
    let notify = effects::notify(&keys, setting.known);
    let keep_firing_for = keys.duration("keep_firing_for", (Duration::ZERO, 30 * DAY)).unwrap_or_default();
    let keep_firing_for = if on.is_ingest() { keep_firing_for.max(arrivals::KEPT) } else { keep_firing_for };
    let gate = Gate {
        about,
        source,
        // Known once it is planned.
        class: Class::Rerun(String::new()),
        on,
        slo,
        assertion,
        by: columns,
        value_column,
        n_column,
        unit,
        window: window.unwrap_or(DAY),
        time,
        cron,
        pass: judged.pass,
        warn: judged.warn,
        clear: judged.clear,
        min_samples: min_samples.unwrap_or(1),
        insufficient,
        conclusive_when: judged.guard,
        inconclusive: inconclusive.unwrap_or_default(),
        baseline: baseline::read(&keys, setting),
        hold_for: keys.duration("for", (Duration::ZERO, 30 * DAY)).unwrap_or_default(),
        fire_after: fire_after(&keys),
        keep_firing_for,
        step_down_after: keys.duration("step_down_after", (Duration::ZERO, 30 * DAY)),
        no_data,
        stale_after: stale_after(&keys).unwrap_or(match on_fail {
            Some(_) => StaleAfter::Never,
            None => StaleAfter::Evaluations(2),
        }),
        error_limit,
        timeout: keys
            .duration("timeout", (Duration::from_millis(1), Duration::from_secs(300)))
            .unwrap_or(Duration::from_secs(30)),
        severity: severity(&keys),
        labels,
        annotations,
        exemplars: exemplars::read(&keys),
        limit: keys
            .count("limit", (1, 100_000), Code::Limit)
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(inherited.limit),
        mode,
        include_pipeline_spans: keys.boolean("include_pipeline_spans").unwrap_or(false),
        include_own_spans: keys.boolean("include_own_spans").unwrap_or(false),
        on_fail,
        on_resolve,
        notify,
        name,
        line: keys.place("gate").position().map_or(1, |(line, _)| line),
    };
    let of_result = |in_turn: &[&'static str]| {
        let given = in_turn.iter().find(|key| keys.is_given(key));
        given.map_or_else(|| source_mark.clone().unwrap_or_else(|| keys.mark.clone()), |key| keys.place(key))
    };
    let places = Places {
        name: keys.place("gate"),
        source: source_mark.clone(),
        window: keys.place("window"),
        by: by.iter().map(|(_, mark)| (*mark).clone()).collect(),
        value: of_result(&["value_column"]),
        n: of_result(&["n_column", "min_samples"]),
        guard: keys.place("conclusive_when"),
        exemplars: keys.place("exemplars"),
        slo: slo_places,
        assertion: assertion_places,
    };
    keys.finish(&[]);
    Some((gate, places))
}

const UNITS: [(&str, Unit); 9] = [
    ("none", Unit::None),
    ("ratio", Unit::Ratio),
    ("percent", Unit::Percent),
    ("count", Unit::Count),
    ("bytes", Unit::Bytes),
    ("s", Unit::Seconds),
    ("ms", Unit::Milliseconds),
    ("us", Unit::Microseconds),
    ("ns", Unit::Nanoseconds),
];

/// A gate of this name could not be read over HTTP.
const UNREADABLE: &str = "outbox";

fn name(keys: &mut Keys<'_>) -> String {
    let Some((name, mark)) = keys.text("gate") else { return String::new() };
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !first || !rest || name.len() > 128 {
        let shown: String = name.chars().take(60).collect();
        let next = "use letters, digits, `_`, `.`, `-`, a letter or `_` first, at most 128";
        keys.tell(Code::GateName, mark, format!("`{shown}` is no name of a gate"), next);
        return String::new();
    }
    if name == UNREADABLE {
        let what = format!("`{name}` is a reserved name: `/api/v1/gates/{name}` lists messages to receivers");
        keys.tell(Code::GateName, mark, what, "choose another name");
        return String::new();
    }
    keys.who = Who::Gate(name.to_owned());
    name.to_owned()
}

fn source(keys: &Keys<'_>, text: &Text, setting: Setting<'_>) -> (Source, Option<Mark>) {
    let none = || Source { sql: String::new(), path: None, line: 0, explicit_window: false, is_derived: false };
    let (inline, file) = (keys.text("sql"), keys.text("sql_file"));
    let others = ["finding", "slo", "assert"].into_iter().filter(|key| keys.is_given(key)).count();
    let several = |key| keys.tell(Code::Source, &keys.place(key), "the gate has several sources", "keep one of them");
    match (keys.is_given("sql"), keys.is_given("sql_file"), others) {
        (false, false, 0) => {
            keys.tell(
                Code::Source,
                &keys.mark,
                "the gate has no source",
                "give it `sql`, `sql_file`, `finding`, `slo` or `assert`",
            );
        }
        (true, true, _) | (false, true, 1..) => several("sql_file"),
        (true, false, 1..) => several("sql"),
        (false, false, 2..) if keys.is_given("slo") => several("slo"),
        (false, false, 2..) => several("finding"),
        _ => {}
    }
    if let Some((sql, mark)) = inline {
        let (line, column) = mark.position().unwrap_or((1, 1));
        // A block's text begins on the line after its sign.
        let written = text.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
        let sign = written.chars().nth(column.saturating_sub(1) as usize);
        let line = if matches!(sign, Some('|' | '>')) { line + 1 } else { line };
        let (explicit_window, is_derived) = (is_explicit(sql), derived::is_derived(sql));
        return (Source { sql: sql.to_owned(), path: None, line, explicit_window, is_derived }, Some(mark.clone()));
    }
    let Some((given, mark)) = file else { return (none(), None) };
    match sql_file::read(&text.home, given, setting.queries_dir) {
        Ok((sql, path)) => {
            let (explicit_window, is_derived) = (is_explicit(&sql), derived::is_derived(&sql));
            (Source { sql, path: Some(path), line: 0, explicit_window, is_derived }, Some(mark.clone()))
        }
        Err((what, next)) => {
            keys.tell(Code::SqlFile, mark, format!("`sql_file`: {what}"), next);
            (none(), None)
        }
    }
}

fn is_explicit(sql: &str) -> bool {
    params::names(sql).iter().any(|(name, _)| name == "window_start" || name == "window_end")
}

struct Judged {
    pass: Comparison,
    pass_mark: Mark,
    warn: Option<Comparison>,
    clear: Comparison,
    guard: Option<(String, Comparison)>,
}

/// `conclusive_when`: a column and what it is compared with.
fn guard(keys: &Keys<'_>) -> Option<(String, Comparison)> {
    let (text, mark) = keys.text("conclusive_when")?;
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (column, rest) = text.split_at(end);
    if column.is_empty() {
        let what = format!("`conclusive_when`: `{text}` does not begin with a column");
        keys.tell(Code::Comparison, mark, what, "write e.g. `match_rate >= 0.8`");
        return None;
    }
    Some((column.to_owned(), keys.comparison_of("conclusive_when", rest, mark, Unit::None)?))
}

/// `pass`, which must be there unless `usual` is meant without it, `warn` and `clear`.
fn comparisons(keys: &Keys<'_>, unit: Unit, usual: Option<Comparison>) -> Judged {
    if usual.is_none() {
        keys.required("pass", "say what is good, e.g. `pass: \"> 95%\"`");
    }
    let pass = if keys.is_given("pass") { keys.comparison("pass", unit) } else { usual };
    let (warn, clear) = (keys.comparison("warn", unit), keys.comparison("clear", unit));
    let weaker = |what: String, key: &'static str, next: &str| keys.tell(Code::Strength, &keys.place(key), what, next);
    if let Some(pass) = &pass {
        let good = Numbers::of(pass.test);
        if good.is_empty() {
            weaker(format!("no number satisfies `pass`: {}", pass.text), "pass", "put the smaller end first");
        }
        if let Some(warn) = &warn {
            let weak = Numbers::of(warn.test);
            if !good.is_within(&weak) || good == weak {
                let what = format!("`warn` ({}) is not weaker than `pass` ({})", warn.text, pass.text);
                weaker(what, "warn", "`warn` must hold wherever `pass` does, and for more");
            }
        }
        if let Some(clear) = &clear {
            let clears = Numbers::of(clear.test);
            if clears.is_empty() {
                weaker(format!("no number satisfies `clear`: {}", clear.text), "clear", "put the smaller end first");
            } else if !clears.is_within(&good) {
                let what = format!("`clear` ({}) holds where `pass` ({}) does not", clear.text, pass.text);
                weaker(what, "clear", "`clear` must be `pass` or stricter");
            }
        }
    }
    let guard = guard(keys);
    let pass_mark = keys.place("pass");
    let pass = pass.unwrap_or_else(|| Comparison { text: String::new(), test: Test::IsNot(0.0) });
    let clear = clear.unwrap_or_else(|| pass.clone());
    Judged { pass, pass_mark, warn, clear, guard }
}

/// An objective is judged by its pairs: a value above 1 is that of a hot one.
fn by_pairs(keys: &Keys<'_>) -> Judged {
    let pass = Comparison { text: "<= 1".to_owned(), test: Test::AtMost(1.0) };
    Judged { clear: pass.clone(), pass, pass_mark: keys.place("slo"), warn: None, guard: guard(keys) }
}

fn is_ratio(unit: Unit, pass: &Comparison) -> bool {
    matches!(unit, Unit::Ratio | Unit::Percent) || pass.text.contains('%')
}

fn stale_after(keys: &Keys<'_>) -> Option<StaleAfter> {
    let (text, mark) = keys.text("stale_after")?;
    if text == "never" {
        return Some(StaleAfter::Never);
    }
    let mut words = text.split_ascii_whitespace();
    if let (Some(count), Some("evaluation" | "evaluations"), None) = (words.next(), words.next(), words.next()) {
        let count = count.parse().ok().filter(|count| *count > 0);
        if count.is_none() {
            let what = format!("`stale_after` is `{text}`, at least 1 evaluation is expected");
            keys.tell(Code::Duration, mark, what, "write e.g. `2 evaluations`");
        }
        return count.map(StaleAfter::Evaluations);
    }
    keys.duration_of("stale_after", text, mark, (Duration::from_millis(1), 366 * DAY)).map(StaleAfter::Time)
}

fn fire_after(keys: &Keys<'_>) -> Option<FireAfter> {
    let (text, mark) = keys.text("fire_after")?;
    if let Some(hold) = keys.entry("for") {
        let what = "`for` and `fire_after` are given: a breach becomes an episode by one of them";
        keys.tell(Code::FireAfter, &hold.value.mark, what, "remove one of them");
    }
    match scalar::n_of_m(text) {
        Ok((n, m)) => Some(FireAfter { n, m }),
        Err(why) => {
            keys.tell(Code::FireAfter, mark, format!("`fire_after`: `{text}`: {why}"), "write e.g. `2 of 3`, up to 60");
            None
        }
    }
}

fn severity(keys: &Keys<'_>) -> Severities {
    let usual = Severities { warn: "warning".to_owned(), fail: "critical".to_owned() };
    let Some(entry) = keys.entry("severity") else { return usual };
    match &entry.value.value {
        Value::Text(text) => Severities { warn: text.clone(), fail: text.clone() },
        Value::Map(_) => {
            let Some(levels) = Keys::of(&entry.value, "`severity`", keys.who.clone(), keys.problems) else {
                return usual;
            };
            let of = |key, usual: String| levels.text(key).map_or(usual, |(text, _)| text.to_owned());
            let read = Severities { warn: of("warn", usual.warn.clone()), fail: of("fail", usual.fail.clone()) };
            levels.finish(&[]);
            read
        }
        other => {
            let what = format!("`severity` is {}, text or a mapping by level is expected", super::reader::word(other));
            keys.tell(Code::WrongType, &entry.value.mark, what, "write e.g. `{warn: warning, fail: critical}`");
            usual
        }
    }
}

/// Tells what is wrong with `name` as a label.
pub(super) fn check_label(keys: &Keys<'_>, name: &str, mark: &Mark) {
    if !is_label_name(name) {
        let what = format!("`{name}` is no name of a label");
        keys.tell(Code::Label, mark, what, "use letters, digits and `_`; AS renames a column");
    } else if RESERVED.contains(&name) || name.starts_with("__") {
        let next = if name == SEVERITY { "use the gate's key `severity`" } else { "choose another name" };
        keys.tell(Code::Label, mark, format!("the label `{name}` is reserved"), next);
    }
}

fn is_label_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
