//! The comments at the head of a pattern file (learn.md 3.1).
//!
//! Duty: keys with units and ranges. Guarantee: every problem of the head is told, each at its place; nothing in a
//! file panics. Left to others: lines and parameters (`query::library`), the statement below (`plan`), what the configuration
//! says over it (`load`).

use std::time::Duration;

use super::problem::{At, Code, Teller};
use crate::gate::scalar::{duration, duration_text};
use crate::learn::config::{EVERY, WINDOW};
use crate::query::library::head::{Line, lines, parameter};
use crate::yaml::nearest;

const KEYS: [&str; 11] = [
    "about",
    "by",
    "every",
    "window",
    "min_support",
    "min_effect",
    "limit",
    "expire",
    "include_pipeline_spans",
    "example",
    "unit",
];
const PARAM: &str = "param";
/// Columns with a meaning of their own, so never part of a key.
const TAKEN: [&str; 5] = ["support", "n", "rest_support", "rest_n", "trace_ids"];
const MOST_KEYS: usize = 8;
const MOST_ROWS: u64 = 10_000;
const EXPIRE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(365 * 86_400));

/// What the head says; absent keys have their defaults, `every` and `window` those of the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// One sentence.
    pub about: String,
    /// Key columns as written, with their places.
    pub by: Vec<(String, At)>,
    /// `every`, with its place.
    pub every: Option<(Duration, At)>,
    /// `window`, with its place.
    pub window: Option<(Duration, At)>,
    /// Rows below are left out.
    pub min_support: u64,
    /// Rows whose `effect_low` is below are left out.
    pub min_effect: Option<f64>,
    /// Most rows a run.
    pub limit: usize,
    /// Event time without being seen after which a row goes.
    pub expire: Duration,
    /// Also spans made by pipelines.
    pub include_pipeline_spans: bool,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            about: String::new(),
            by: Vec::new(),
            every: None,
            window: None,
            min_support: 5,
            min_effect: None,
            limit: 1000,
            expire: Duration::from_secs(7 * 86_400),
            include_pipeline_spans: false,
        }
    }
}

/// Reads the comments above the statement of `text`.
pub fn read(text: &str, teller: Teller<'_>) -> Header {
    let mut header = Header::default();
    let mut seen: Vec<&str> = Vec::new();
    for line in lines(text) {
        let repeats = matches!(line.key, PARAM | "example" | "unit");
        if line.key != PARAM && !KEYS.contains(&line.key) {
            let next = match nearest(line.key, KEYS.into_iter().chain([PARAM])) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}, {PARAM}", KEYS.join(", ")),
            };
            teller.tell(Code::Header, line.key_at, format!("unknown key `{}`", line.key), next);
            continue;
        }
        if !repeats && seen.contains(&line.key) {
            teller.tell(Code::Header, line.key_at, format!("`{}` is given twice", line.key), "remove one of them");
            continue;
        }
        seen.push(line.key);
        if line.value.is_empty() {
            teller.tell(
                Code::Header,
                line.key_at,
                format!("`{}` has no value", line.key),
                "write one behind the colon",
            );
            continue;
        }
        take(&mut header, &line, teller);
    }
    for key in ["about", "by"] {
        if !seen.contains(&key) {
            let next = match key {
                "about" => "begin the file with `-- about: one sentence`",
                _ => "name the result columns that form the key: `-- by: service_name`",
            };
            teller.tell(Code::Missing, (1, 1), format!("`{key}` is missing"), next);
        }
    }
    header
}

fn take(header: &mut Header, line: &Line<'_>, teller: Teller<'_>) {
    match line.key {
        "about" => header.about = line.value.to_owned(),
        "by" => header.by = columns(line, teller),
        "every" => header.every = time(line, EVERY, teller).map(|every| (every, line.value_at)),
        "window" => header.window = time(line, WINDOW, teller).map(|window| (window, line.value_at)),
        "expire" => header.expire = time(line, EXPIRE, teller).unwrap_or(header.expire),
        "min_support" => header.min_support = number(line, 1, u64::MAX, teller).unwrap_or(header.min_support),
        "limit" => {
            let limit = number(line, 1, MOST_ROWS, teller).and_then(|limit| usize::try_from(limit).ok());
            header.limit = limit.unwrap_or(header.limit);
        }
        "min_effect" => match line.value.parse::<f64>().ok().filter(|effect| effect.is_finite() && *effect >= 0.0) {
            Some(effect) => header.min_effect = Some(effect),
            None => {
                let what = format!("`min_effect` is `{}`", line.value);
                teller.tell(Code::Range, line.value_at, what, "write a number that is not negative, e.g. `2`");
            }
        },
        "include_pipeline_spans" => match line.value {
            "true" => header.include_pipeline_spans = true,
            "false" => header.include_pipeline_spans = false,
            other => {
                let what = format!("`include_pipeline_spans` is `{other}`");
                teller.tell(Code::Header, line.value_at, what, "write `true` or `false`");
            }
        },
        PARAM => {
            if let Err((what, next)) = parameter(line.value) {
                teller.tell(Code::Header, line.value_at, what, next);
            }
        }
        _ => {}
    }
}

fn columns(line: &Line<'_>, teller: Teller<'_>) -> Vec<(String, At)> {
    let mut columns: Vec<(String, At)> = Vec::new();
    let mut before = 0_u32;
    for part in line.value.split(',') {
        let lead = count(&part[..part.len() - part.trim_start().len()]);
        let at = (line.value_at.0, line.value_at.1 + before + lead);
        before += count(part) + 1;
        let name = part.trim();
        let wrong = if name.is_empty() {
            Some(("`by` has an empty name".to_owned(), "remove the comma"))
        } else if TAKEN.contains(&name) {
            Some((format!("`{name}` is a count or evidence, it cannot be part of the key"), "name another column"))
        } else if columns.iter().any(|(known, _)| known == name) {
            Some((format!("`by` names `{name}` twice"), "remove one of them"))
        } else {
            None
        };
        match wrong {
            Some((what, next)) => teller.tell(Code::Header, at, what, next),
            None => columns.push((name.to_owned(), at)),
        }
    }
    if columns.len() > MOST_KEYS {
        let what = format!("`by` has {} columns", columns.len());
        teller.tell(Code::Header, line.value_at, what, "name at most 8");
    }
    columns
}

fn time(line: &Line<'_>, (least, most): (Duration, Duration), teller: Teller<'_>) -> Option<Duration> {
    let told = |what: String| {
        let next = format!("write a duration from {} to {}", duration_text(least), duration_text(most));
        teller.tell(Code::Range, line.value_at, what, next);
    };
    match duration(line.value) {
        Err(why) => told(format!("`{}`: `{}`: {why}", line.key, line.value)),
        Ok(value) if value < least || value > most => told(format!("`{}` is {}", line.key, line.value)),
        Ok(value) => return Some(value),
    }
    None
}

fn number(line: &Line<'_>, least: u64, most: u64, teller: Teller<'_>) -> Option<u64> {
    let value = line.value.parse::<u64>().ok().filter(|value| (least..=most).contains(value));
    if value.is_none() {
        let what = format!("`{}` is `{}`", line.key, line.value);
        let next = match most {
            u64::MAX => format!("write a whole number of at least {least}"),
            _ => format!("write a whole number from {least} to {most}"),
        };
        teller.tell(Code::Range, line.value_at, what, next);
    }
    value
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
