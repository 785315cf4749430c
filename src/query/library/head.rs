//! The comments at the head of a query file (sql.md 9.1).
//!
//! Duty: `-- key: value` lines to what a query is about, its parameters, examples and units. Guarantee: every problem of the
//! head is told, each at its place; nothing in a file panics. Left to others: keys of patterns (`learn`), values of a call
//! (`value`), the statement.
//!
//! | line | meaning |
//! |---|---|
//! | `-- about: sentence` | what it answers; each file has one |
//! | `-- param: name TYPE [= default] sentence` | a `$name` of the statement; without a default it must be given |
//! | `-- example: -p name=value …` | a call that answers |
//! | `-- unit: column unit` | the unit of a column whose name does not say it |

use super::value::Kind;
use crate::query::nearest::nearest;
use crate::query::params::names;

/// A place: line and column, both from 1.
pub type At = (u32, u32);

/// Parameters that need no declaration in files that gates and patterns use too: their window, and the gate's name.
pub const IMPLICIT: [&str; 3] = ["window_start", "window_end", "gate"];

const KEYS: [&str; 4] = ["about", "param", "example", "unit"];

/// One `-- key: value` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Before the colon.
    pub key: &'a str,
    /// Where it begins.
    pub key_at: At,
    /// Behind the colon, without the blanks around it.
    pub value: &'a str,
    /// Where it begins.
    pub value_at: At,
}

/// A `$name` of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Without the `$`.
    pub name: String,
    /// Of its values.
    pub kind: Kind,
    /// The value if none is given, as `-p` would have it.
    pub default: Option<String>,
    /// One sentence.
    pub about: String,
}

/// What a head says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// One sentence.
    pub about: String,
    /// In the order of the file; implicit ones that the statement names come last.
    pub params: Vec<Parameter>,
    /// Names and values of calls.
    pub examples: Vec<Vec<(String, String)>>,
    /// Columns and units.
    pub units: Vec<(String, String)>,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// What.
    pub what: String,
    /// The next move.
    pub next: String,
}

/// The `-- key: value` lines above the statement of `text`. Other comments there are comments.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let mut found = Vec::new();
    for (line, at) in text.lines().zip(1_u32..) {
        let body = line.trim_start();
        if body.is_empty() {
            continue;
        }
        let Some(comment) = body.strip_prefix("--") else { break };
        let Some((key, value)) = comment.split_once(':') else { continue };
        let name = key.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            continue;
        }
        let column = |rest: &str| count(&line[..line.len() - rest.len()]) + 1;
        let (key_rest, value_rest) = (comment.trim_start(), value.trim_start());
        found.push(Line {
            key: name,
            key_at: (at, column(key_rest)),
            value: value.trim(),
            value_at: (at, column(value_rest)),
        });
    }
    found
}

/// The head of the file `text`, and what is wrong with it; keys of `also` belong to others.
pub fn read(text: &str, also: &[&str]) -> (Head, Vec<Problem>) {
    let (mut head, mut problems) = (Head::default(), Vec::new());
    let mut has_about = false;
    let mut examples = Vec::new();
    for line in lines(text) {
        if also.contains(&line.key) {
            continue;
        }
        let mut tell = |at, what: String, next: String| problems.push(Problem { at, what, next });
        if !KEYS.contains(&line.key) {
            let next = match nearest(line.key, KEYS.into_iter().chain(also.iter().copied())).first() {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", KEYS.join(", ")),
            };
            tell(line.key_at, format!("unknown key `{}`", line.key), next);
            continue;
        }
        if line.value.is_empty() {
            tell(line.key_at, format!("`{}` has no value", line.key), "write one behind the colon".to_owned());
            continue;
        }
        match line.key {
            "about" if has_about => {
                tell(line.key_at, "`about` is given twice".to_owned(), "remove one of them".to_owned());
            }
            "about" => {
                has_about = true;
                head.about = line.value.to_owned();
            }
            "param" => match parameter(line.value) {
                Ok(new) if head.params.iter().any(|known| known.name == new.name) => {
                    tell(line.value_at, format!("`{}` is declared twice", new.name), "remove one of them".to_owned());
                }
                Ok(new) => head.params.push(new),
                Err((what, next)) => tell(line.value_at, what, next),
            },
            "example" => match pairs(line.value) {
                Ok(pairs) => examples.push((line.value_at, pairs)),
                Err(what) => {
                    tell(line.value_at, what, "write `-p name=value`, one for each parameter to set".to_owned());
                }
            },
            _ => match line.value.split_once(char::is_whitespace) {
                Some((column, unit)) => head.units.push((column.to_owned(), unit.trim().to_owned())),
                None => {
                    let what = format!("`unit` is `{}`", line.value);
                    tell(line.value_at, what, "write `column unit`, e.g. `share ratio`".to_owned());
                }
            },
        }
    }
    if !has_about {
        let next = "begin the file with `-- about: one sentence`".to_owned();
        problems.push(Problem { at: (1, 1), what: "`about` is missing".to_owned(), next });
    }
    declared(text, &mut head, &mut problems);
    for (at, pairs) in examples {
        let wrong = pairs.iter().find_map(|(name, value)| {
            let Some(of) = head.params.iter().find(|of| of.name == *name) else {
                return Some(format!("the example sets `{name}`, which is no parameter"));
            };
            of.kind.check(value).err().map(|why| format!("the example's `{name}`: {why}"))
        });
        match wrong {
            Some(what) => problems.push(Problem { at, what, next: "correct the example".to_owned() }),
            None => head.examples.push(pairs),
        }
    }
    problems.sort_by_key(|problem| problem.at);
    (head, problems)
}

/// `name TYPE [= default] sentence`.
///
/// Errors: what is wrong, and the next move.
pub fn parameter(text: &str) -> Result<Parameter, (String, String)> {
    let form = || (format!("`param` is `{text}`"), "write `name TYPE one sentence`".to_owned());
    let (name, rest) = word(text);
    let (of, rest) = word(rest);
    if name.is_empty() || of.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(form());
    }
    let kind = Kind::named(of).ok_or_else(|| {
        (format!("`{name}` is of the type `{of}`"), format!("types: {}", Kind::ALL.map(Kind::name).join(", ")))
    })?;
    let (default, about) = match rest.strip_prefix('=') {
        None => (None, rest),
        Some(rest) => {
            let (value, rest) = literal(rest.trim_start()).ok_or_else(form)?;
            kind.check(&value).map_err(|why| (format!("the default of `{name}`: {why}"), "correct it".to_owned()))?;
            (Some(value), rest)
        }
    };
    match about.trim() {
        "" => Err((format!("`{name}` has no sentence"), "write `name TYPE one sentence`".to_owned())),
        about => Ok(Parameter { name: name.to_owned(), kind, default, about: about.to_owned() }),
    }
}

/// Holds the declarations against the `$names` of the statement, and adds the implicit ones that it uses.
fn declared(text: &str, head: &mut Head, problems: &mut Vec<Problem>) {
    let used = names(text);
    for (name, at) in &used {
        if head.params.iter().any(|known| known.name == *name) {
            continue;
        }
        if let Some(implicit) = implicit(name) {
            head.params.push(implicit);
            continue;
        }
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let at = at.map_or((1, 1), |at| (number(at.line), number(at.column)));
        let next = format!("declare it: `-- param: {name} TYPE one sentence`");
        problems.push(Problem { at, what: format!("`${name}` is not declared"), next });
    }
    for line in lines(text).iter().filter(|line| line.key == "param") {
        let (name, _) = word(line.value);
        if !used.iter().any(|(known, _)| known == name) {
            let what = format!("the statement has no `${name}`");
            problems.push(Problem { at: line.value_at, what, next: "use it, or remove the line".to_owned() });
        }
    }
}

fn implicit(name: &str) -> Option<Parameter> {
    let (kind, default, about) = match name {
        "window_start" => (Kind::Timestamp, "now-1h", "begin of the window"),
        "window_end" => (Kind::Timestamp, "now", "end of the window"),
        "gate" => (Kind::Text, "", "name of the gate that asks"),
        _ => return None,
    };
    let (name, default, about) = (name.to_owned(), Some(default.to_owned()), about.to_owned());
    Some(Parameter { name, kind, default, about })
}

/// `-p name=value` and so on; a value with blanks stands in `'…'`.
///
/// Errors: what is not of this form.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (flag, behind) = word(rest);
        let equals = behind.find('=').filter(|at| !behind[..*at].contains(char::is_whitespace));
        let (Some(at), "-p") = (equals, flag) else { return Err(format!("`{rest}` is not `-p name=value`")) };
        let value = &behind[at + 1..];
        let (value, behind_value) = match value.is_empty() || value.starts_with(char::is_whitespace) {
            true => (String::new(), value.trim_start()),
            false => literal(value).ok_or_else(|| format!("`{value}` has no end"))?,
        };
        pairs.push((behind[..at].to_owned(), value));
        rest = behind_value;
    }
    Ok(pairs)
}

/// The first word, and what follows the blanks behind it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    (word, rest.trim_start())
}

/// A value, a word or `'…'` in which `''` is one quote, and what follows. `None` if there is none, or it has no end.
fn literal(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let (word, rest) = word(text);
        return (!word.is_empty()).then(|| (word.to_owned(), rest));
    };
    let (mut value, mut rest) = (String::new(), quoted);
    loop {
        let end = rest.find('\'')?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, rest.trim_start())),
        }
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}
