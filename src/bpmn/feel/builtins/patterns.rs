//! Functions of text with regular expressions.
//!
//! Duty: `matches`, `replace`, `split`, `extract`. Guarantee: matching takes time linear in the text; a pattern that is
//! none, or too large, gives null and says why. Left to others: text without patterns (`texts`).

use regex::{Regex, RegexBuilder};

use super::super::eval::Machine;
use super::super::value::{Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("matches", &["input", "pattern", "flags"], 2, Run::Plain(matches)).gives(Type::Boolean),
    Builtin::new("replace", &["input", "pattern", "replacement", "flags"], 3, Run::Plain(replace)).gives(Type::String),
    Builtin::new("split", &["string", "delimiter"], 2, Run::Plain(split)).gives(Type::List),
    Builtin::new("extract", &["string", "pattern"], 2, Run::Plain(extract)).gives(Type::List),
];

/// Bytes that a compiled pattern may take.
const MAX_PROGRAM: usize = 1 << 20;
/// What compiling a pattern counts, in operations.
const COMPILE: usize = 200;

/// A compiled pattern, kept for the next call with the same one.
pub(in super::super) struct Pattern {
    text: String,
    flags: String,
    regex: Regex,
}

/// The pattern, compiled; counts compiling and matching against `input`.
fn pattern(machine: &mut Machine, text: &str, flags: &str, input: &str) -> Result<Regex, Failure> {
    machine.work(1 + input.len().saturating_mul(1 + text.len() / 16) / 64)?;
    if let Some(last) = machine.pattern.as_ref().filter(|last| last.text == text && last.flags == flags) {
        return Ok(last.regex.clone());
    }
    machine.work(COMPILE + text.len())?;
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_PROGRAM).dfa_size_limit(MAX_PROGRAM);
    for flag in flags.chars() {
        match flag {
            's' => builder.dot_matches_new_line(true),
            'm' => builder.multi_line(true),
            'i' => builder.case_insensitive(true),
            'x' => builder.ignore_whitespace(true),
            other => return Err(Failure::Null(format!("the flags are of `s` `m` `i` `x`, found `{other}`"))),
        };
    }
    let regex = builder.build().map_err(|error| {
        let reason = error.to_string();
        Failure::Null(format!("not a pattern: {}", reason.lines().last().unwrap_or("")))
    })?;
    machine.pattern = Some(Pattern { text: text.to_owned(), flags: flags.to_owned(), regex: regex.clone() });
    Ok(regex)
}

fn matches(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let input = arguments.text(0)?;
    let regex = pattern(machine, arguments.text(1)?, arguments.optional_text(2)?.unwrap_or(""), input)?;
    Ok(Value::Bool(regex.is_match(input)))
}

fn replace(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let input = arguments.text(0)?;
    let regex = pattern(machine, arguments.text(1)?, arguments.optional_text(3)?.unwrap_or(""), input)?;
    let replacement = groups(arguments.text(2)?);
    let mut text = String::new();
    let mut end = 0;
    for found in regex.captures_iter(input) {
        machine.work(1)?;
        let Some(whole) = found.get(0) else { continue };
        let before = text.len();
        text.push_str(&input[end..whole.start()]);
        found.expand(&replacement, &mut text);
        end = whole.end();
        machine.spend((text.len() - before) as u64)?;
    }
    text.push_str(&input[end..]);
    machine.string(text)
}

/// `$1` ends at its digits, whatever follows; `\$` is a dollar, as in XPath.
fn groups(replacement: &str) -> String {
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('$') => text.push_str("$$"),
                Some(other) => text.push(other),
                None => text.push('\\'),
            },
            '$' if rest.peek().is_some_and(char::is_ascii_digit) => {
                text.push_str("${");
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    text.push(digit);
                }
                text.push('}');
            }
            '$' => text.push_str("$$"),
            c => text.push(c),
        }
    }
    text
}

fn split(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let input = arguments.text(0)?;
    let regex = pattern(machine, arguments.text(1)?, "", input)?;
    strings(machine, regex.split(input))
}

fn extract(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let input = arguments.text(0)?;
    let regex = pattern(machine, arguments.text(1)?, "", input)?;
    strings(machine, regex.find_iter(input).map(|found| found.as_str()))
}

fn strings<'t>(machine: &mut Machine, parts: impl Iterator<Item = &'t str>) -> Given {
    let mut values = Vec::new();
    for part in parts {
        machine.work(1)?;
        values.push(machine.string(part.to_owned())?);
    }
    Ok(Value::List(values))
}
