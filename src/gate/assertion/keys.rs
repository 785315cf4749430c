//! The key `assert` of a gate (gates.md 13).
//!
//! Duty: its mapping to an [`Assertion`], with code 032 where it makes no sense and where a selector cannot be read.
//! Guarantee: selectors are read to their end, predicates are conditions about one row. Left to others: their names and
//! types (`plan`), what they become (`statement`).

use std::time::Duration;

use super::selector::Selector;
use super::{Assertion, By, Check, Expect};
use crate::gate::definition::Unit;
use crate::gate::file::Setting;
use crate::gate::problem::Code;
use crate::gate::reader::{Keys, word};
use crate::gate::scalar::duration_text;
use crate::yaml::{Mark, Node, Value};

/// Keys of a gate that an assertion answers itself, and why.
const ANSWERED: [(&str, &str); 5] = [
    ("by", "write `by: root_name` or `by: root_service` inside `assert`"),
    ("value_column", "remove it"),
    ("n_column", "remove it"),
    ("unit", "remove it: the value is the share of traces that pass"),
    ("time", "remove it: traces settle by the ends of their spans"),
];
/// Checks of an assertion: each has a column of evidence.
const MOST_CHECKS: usize = 20;
/// Predicates of a check, and types that are waited for.
const MOST_LISTED: usize = 20;
const QUIET: Duration = Duration::from_secs(10);
const GIVE_UP: Duration = Duration::from_secs(300);
/// Twice this lies before the window, and scans reach back 90 days.
const LONGEST: Duration = Duration::from_secs(86_400);
const EXAMPLE: &str = "write e.g. `- {select: 'span[kind=\"server\"]', that: [\"status_code <> 'error'\"]}`";

/// Where things stand that planning looks at.
#[derive(Clone, Debug)]
pub(in crate::gate) struct Places {
    /// `by`, or the assertion.
    pub by: Mark,
    /// Predicates of all checks.
    pub that: Vec<(String, Mark)>,
}

/// `assert` of a gate, if it is given and can be used.
pub(in crate::gate) fn read(keys: &Keys<'_>, setting: Setting<'_>) -> Option<(Assertion, Places)> {
    let entry = keys.entry("assert")?;
    for (key, next) in ANSWERED {
        if let Some(given) = keys.entry(key) {
            let what = format!("`{key}` has no meaning beside `assert`");
            keys.tell(Code::Assertion, &given.mark, what, next);
        }
    }
    let assert = Keys::of(&entry.value, "`assert`", keys.who.clone(), setting.problems)?;
    let by = assert.choice("by", &[("root_name", By::RootName), ("root_service", By::RootService)]);
    let wait_for = texts(&assert, "wait_for");
    let is_complete = assert.boolean("complete").unwrap_or(false);
    let quiet = assert.duration("quiet", (Duration::from_millis(1), LONGEST)).unwrap_or(QUIET);
    let give_up = assert.duration("give_up", (Duration::from_secs(1), LONGEST)).unwrap_or(GIVE_UP);
    if quiet > give_up {
        let what = format!("`quiet` ({}) is longer than `give_up` ({})", duration_text(quiet), duration_text(give_up));
        let key = if assert.is_given("quiet") { "quiet" } else { "give_up" };
        assert.tell(Code::Assertion, &assert.place(key), what, "no trace would settle before it is given up");
    }
    let mut places = Places { by: assert.place("by"), that: Vec::new() };
    let checks = checks(&assert, &mut places, setting);
    let is_empty = !assert.is_given("checks") && !is_complete;
    if is_empty {
        assert.tell(
            Code::Assertion,
            &assert.mark,
            "`assert` asserts nothing",
            "list `checks`, or write `complete: true`",
        );
    }
    assert.finish(&[]);
    let wait_for = wait_for?.into_iter().map(|(of, _)| of.to_owned()).collect();
    let read = Assertion { by, wait_for, is_complete, quiet, give_up, checks: checks? };
    (!is_empty).then_some((read, places))
}

/// A list of texts, empty without the key; `None` if it cannot be used.
fn texts<'a>(keys: &Keys<'a>, key: &'static str) -> Option<Vec<(&'a str, &'a Mark)>> {
    let Some(entry) = keys.entry(key) else { return Some(Vec::new()) };
    let read = keys.texts(key)?;
    if read.len() > MOST_LISTED {
        let what = format!("`{key}` has {} entries, at most {MOST_LISTED} are read", read.len());
        keys.tell(Code::Assertion, &entry.value.mark, what, "remove some");
        return None;
    }
    if let Some((_, mark)) = read.iter().find(|(text, _)| text.trim().is_empty() || text.contains('\0')) {
        keys.tell(Code::Assertion, mark, format!("an entry of `{key}` is empty"), "write it or remove it");
        return None;
    }
    Some(read)
}

/// `checks`, empty without the key; `None` if one cannot be used.
fn checks(assert: &Keys<'_>, places: &mut Places, setting: Setting<'_>) -> Option<Vec<Check>> {
    let Some(entry) = assert.entry("checks") else { return Some(Vec::new()) };
    let Value::List(items) = &entry.value.value else {
        let what = format!("`checks` is {}, a list is expected", word(&entry.value.value));
        assert.tell(Code::WrongType, &entry.value.mark, what, EXAMPLE);
        return None;
    };
    if items.is_empty() || items.len() > MOST_CHECKS {
        let what = format!("`checks` has {} entries, it must have 1 to {MOST_CHECKS}", items.len());
        assert.tell(Code::Assertion, &entry.value.mark, what, EXAMPLE);
        return None;
    }
    // All of them are told.
    let read: Vec<Option<Check>> = items.iter().map(|item| check(assert, item, places, setting)).collect();
    read.into_iter().collect()
}

fn check(assert: &Keys<'_>, item: &Node, places: &mut Places, setting: Setting<'_>) -> Option<Check> {
    let keys = Keys::of(item, "a check", assert.who.clone(), setting.problems)?;
    for key in ["select", "that", "expect", "before"] {
        // Known, whichever of them is given.
        keys.entry(key);
    }
    let read = match (keys.is_given("select"), keys.is_given("before")) {
        (false, false) => {
            keys.tell(Code::Missing, &keys.mark, "the check has neither `select` nor `before`", EXAMPLE);
            None
        }
        (false, true) => before(&keys, setting),
        (true, is_both) => {
            if is_both {
                let what = "`before` has no meaning beside `select`";
                keys.tell(Code::Assertion, &keys.place("before"), what, "make two checks of them");
            }
            spans(&keys, places).filter(|_| !is_both)
        }
    };
    keys.finish(&[]);
    read
}

fn spans(keys: &Keys<'_>, places: &mut Places) -> Option<Check> {
    let select = selector(keys, "select");
    let expect = expect(keys);
    let mut that = Some(Vec::new());
    for (text, mark) in texts(keys, "that")? {
        match keys.condition_of(Code::Assertion, "that", text, mark) {
            Some(read) => {
                places.that.push((read.clone(), mark.clone()));
                that.iter_mut().for_each(|that: &mut Vec<String>| that.push(read.clone()));
            }
            None => that = None,
        }
    }
    Some(Check::Spans { select: select?, that: that?, expect: expect? })
}

fn before(keys: &Keys<'_>, setting: Setting<'_>) -> Option<Check> {
    for key in ["that", "expect"] {
        if let Some(given) = keys.entry(key) {
            let what = format!("`{key}` has no meaning beside `before`");
            keys.tell(Code::Assertion, &given.mark, what, "put it beside a `select`");
        }
    }
    let node = &keys.entry("before")?.value;
    let pair = Keys::of(node, "`before`", keys.who.clone(), setting.problems)?;
    for key in ["first", "then"] {
        pair.required(key, "write e.g. `{first: 'span[name=\"reserve\"]', then: 'span[name=\"charge\"]'}`");
    }
    let (first, then) = (selector(&pair, "first"), selector(&pair, "then"));
    pair.finish(&[]);
    Some(Check::Before { first: first?, then: then? })
}

fn selector(keys: &Keys<'_>, key: &'static str) -> Option<Selector> {
    let (text, mark) = keys.text(key)?;
    match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(fault) => {
            keys.tell(Code::Assertion, mark, format!("`{key}` column {}: {}", fault.column, fault.what), fault.next);
            None
        }
    }
}

/// `expect`: `all` without the key; `None` if it cannot be used.
fn expect(keys: &Keys<'_>) -> Option<Expect> {
    if !keys.is_given("expect") {
        return Some(Expect::All);
    }
    let (text, mark) = keys.text("expect")?;
    match text {
        "all" => return Some(Expect::All),
        "any" => return Some(Expect::Any),
        "none" => return Some(Expect::None),
        _ => {}
    }
    let Some(rest) = text.strip_prefix("count").filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric())) else {
        let what = format!("`expect` is `{text}`, all, any, none or `count` with a comparison is expected");
        keys.tell(Code::Assertion, mark, what, "write e.g. `count >= 2`");
        return None;
    };
    let read = keys.comparison_of("expect", rest.trim(), mark, Unit::Count)?;
    Some(Expect::Count(read.text, read.test))
}
