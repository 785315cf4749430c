//! Names that a template uses and the renderer does not have (WG-GEN-012).
//!
//! Duty: find every filter, test and function in the text of a template, without rendering it. Guarantee: all of them in
//! one pass, with line and column; text, comments and raw blocks are not read; what a template defines itself (macros,
//! imports, loop and set variables) is known. Left to others: syntax errors (the template engine tells them), methods,
//! which depend on the value.

use std::collections::BTreeSet;

use super::error::Unsupported;
use crate::yaml::nearest;

/// The names there are.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) filters: &'a [&'static str],
    pub(super) tests: &'a [&'static str],
    pub(super) functions: &'a [&'static str],
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    /// Numbers and punctuation, one character each.
    Other(char),
    /// Start of a block tag, end of any tag.
    Block,
    End,
}

#[derive(Clone, Debug)]
struct At {
    token: Token,
    offset: usize,
}

/// Unsupported names in `text`, which messages call `path`.
pub(super) fn unsupported(path: &str, text: &str, known: &Known<'_>) -> Vec<Unsupported> {
    let tokens = tokens(text);
    let locals = locals(&tokens);
    let mut found = Vec::new();
    let mut tell = |kind: &'static str, name: &str, offset: usize, names: &[&'static str]| {
        if names.contains(&name) || (kind == "function" && locals.contains(name)) {
            return;
        }
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let near = nearest(name, names.iter().copied()).map(str::to_owned);
        found.push(Unsupported { path: path.to_owned(), line, column, kind, name: name.to_owned(), near });
    };
    for (at, current) in tokens.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).map(|i| &tokens[i].token);
        let after = |n: usize| tokens.get(at + n).map(|t| &t.token);
        let Token::Name(name) = &current.token else { continue };
        let is_filter = before(1) == Some(&Token::Other('|'))
            || (before(1) == Some(&name_of("filter")) && before(2) == Some(&Token::Block));
        let is_test = before(1) == Some(&name_of("is"))
            || (before(1) == Some(&name_of("not")) && before(2) == Some(&name_of("is")));
        if is_filter {
            tell("filter", name, current.offset, known.filters);
            named_by_text(&tokens, at, name, known, &mut tell);
        } else if is_test && name != "not" {
            tell("test", name, current.offset, known.tests);
        } else if after(1) == Some(&Token::Other('('))
            && before(1) != Some(&Token::Other('.'))
            && !KEYWORDS.contains(&name.as_str())
        {
            tell("function", name, current.offset, known.functions);
        }
    }
    found
}

/// `map("upper")`, `select("stable")`, `selectattr("type", "enum")` name filters and tests by text.
fn named_by_text(
    tokens: &[At],
    at: usize,
    filter: &str,
    known: &Known<'_>,
    tell: &mut impl FnMut(&'static str, &str, usize, &[&'static str]),
) {
    let argument = |n: usize| match (tokens.get(at + n), tokens.get(at + n + 1).map(|t| &t.token)) {
        (Some(At { token: Token::Text(name), offset }), Some(Token::Other(',' | ')'))) => Some((name.clone(), *offset)),
        _ => None,
    };
    if tokens.get(at + 1).map(|t| &t.token) != Some(&Token::Other('(')) {
        return;
    }
    let (found, kind, names) = match filter {
        "map" => (argument(2), "filter", known.filters),
        "select" | "reject" => (argument(2), "test", known.tests),
        "selectattr" | "rejectattr" if tokens.get(at + 3).map(|t| &t.token) == Some(&Token::Other(',')) => {
            (argument(4), "test", known.tests)
        }
        _ => return,
    };
    if let Some((name, offset)) = found {
        tell(kind, &name, offset, names);
    }
}

fn name_of(name: &str) -> Token {
    Token::Name(name.to_owned())
}

/// Words before `(` that are no calls.
const KEYWORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "elif",
    "else",
    "for",
    "set",
    "with",
    "call",
    "macro",
    "filter",
    "include",
    "import",
    "from",
    "extends",
    "block",
    "do",
    "autoescape",
    "recursive",
    "ignore",
    "missing",
    "as",
    "raw",
];

/// What the template binds itself. Coarse on purpose: a bound name anywhere is known everywhere.
fn locals(tokens: &[At]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["loop", "caller", "super", "self"].map(str::to_owned).into();
    let mut at = 0;
    while at < tokens.len() {
        let opens = at > 0 && tokens[at - 1].token == Token::Block;
        let Token::Name(word) = &tokens[at].token else {
            at += 1;
            continue;
        };
        if opens && matches!(word.as_str(), "set" | "for" | "with" | "macro" | "import" | "from" | "call") {
            let (word, mut value) = (word.clone(), false);
            at += 1;
            while at < tokens.len() && tokens[at].token != Token::End {
                match &tokens[at].token {
                    // behind `in` and `=` stand values, which bind nothing
                    Token::Name(name) if word == "for" && name == "in" => break,
                    Token::Other('=') if word == "set" => break,
                    Token::Other('=') => value = true,
                    Token::Other(',' | ')') => value = false,
                    Token::Name(name) if !value => drop(names.insert(name.clone())),
                    _ => {}
                }
                at += 1;
            }
        } else {
            at += 1;
        }
    }
    names
}

fn tokens(text: &str) -> Vec<At> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|i| at + i) {
        let rest = &text[open..];
        if rest.starts_with("{#") {
            let Some(end) = rest.find("#}") else { return out };
            at = open + end + 2;
        } else if rest.starts_with("{%") || rest.starts_with("{{") {
            let block = rest.starts_with("{%");
            let start = out.len();
            if block {
                out.push(At { token: Token::Block, offset: open });
            }
            at = tag(text, open + 2, if block { "%}" } else { "}}" }, &mut out);
            out.push(At { token: Token::End, offset: at });
            let is_raw = block && out[start + 1..].first().is_some_and(|t| t.token == name_of("raw"));
            if is_raw {
                at = end_of_raw(text, at);
            }
        } else {
            at = open + 1;
        }
    }
    out
}

/// Reads a tag from `at` to behind `close`.
fn tag(text: &str, mut at: usize, close: &str, out: &mut Vec<At>) -> usize {
    let mut depth = 0_usize;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if depth == 0 && rest.starts_with(close) {
            return at + close.len();
        }
        let len = if c == '"' || c == '\'' {
            let end = string_end(rest, c);
            let inner = rest[1..end].strip_suffix(c).unwrap_or(&rest[1..end]);
            out.push(At { token: Token::Text(inner.to_owned()), offset: at });
            end
        } else if c.is_alphabetic() || c == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            out.push(At { token: Token::Name(rest[..len].to_owned()), offset: at });
            len
        } else if c.is_ascii_digit() {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            out.push(At { token: Token::Other('0'), offset: at });
            len
        } else {
            match c {
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            // `==` is no assignment
            let len = if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { c.len_utf8() };
            if !c.is_whitespace() {
                let token = if len == 2 && c.is_ascii() { '?' } else { c };
                out.push(At { token: Token::Other(token), offset: at });
            }
            len
        };
        at += len;
    }
    at
}

/// Length of the string literal that `rest` starts with, quotes included.
fn string_end(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The place behind `{% endraw %}`.
fn end_of_raw(text: &str, mut at: usize) -> usize {
    while let Some(open) = text[at..].find("{%").map(|i| at + i) {
        let inner = text[open + 2..].trim_start_matches(['-', '+']).trim_start();
        let end = text[open..].find("%}").map_or(text.len(), |i| open + i + 2);
        if inner.starts_with("endraw") {
            return end;
        }
        at = open + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: Known<'_> = Known {
        filters: &["upper", "map", "select", "selectattr", "join"],
        tests: &["stable", "defined"],
        functions: &["range"],
    };

    fn names(text: &str) -> Vec<String> {
        let told = |u: Unsupported| format!("{}:{} {} {}", u.line, u.column, u.kind, u.name);
        unsupported("t", text, &KNOWN).into_iter().map(told).collect()
    }

    #[test]
    fn every_form_of_a_name_is_seen_with_its_place() {
        assert_eq!(names("{{ a | upper }}\n  {{ a|uper }}"), ["2:8 filter uper"]);
        assert_eq!(names("é{% if a is not stabel %}{% endif %}"), ["1:17 test stabel"]);
        assert_eq!(names("{% filter shout %}x{% endfilter %}"), ["1:11 filter shout"]);
        assert_eq!(
            names("{{ a | map('shout') | select(\"odd\") | selectattr('a', 'b') }}"),
            ["1:12 filter shout", "1:30 test odd", "1:55 test b"]
        );
        assert_eq!(
            names("{{ now() }}{% for i in lipsum(3) %}{% endfor %}{{ x == lipsum (1) }}"),
            ["1:4 function now", "1:24 function lipsum", "1:56 function lipsum"]
        );
    }

    #[test]
    fn text_comments_raw_blocks_and_strings_hold_no_names() {
        let text = "a | b is c {# {{ x|nope }} #}{% raw %}{{ x|nope }}{% endraw %}{{ 'x|nope' ~ \"is no('\" }} { | }";
        assert_eq!(names(text), Vec::<String>::new());
    }

    #[test]
    fn what_the_template_defines_is_known() {
        let text = "{% macro field(a, b=1) %}{{ caller() }}{% endmacro %}{% from 'm' import other as mine %}{{ field(1) }}\
                    {{ mine(2) }}{% import 'm' as m %}{{ m.any(1) }}{% set f = field %}{{ f() }}{% for g, h in x recursive %}\
                    {{ g() }}{{ loop(h) }}{% endfor %}{% call(x) field(2) %}{% endcall %}{% if (a) and not (b) %}{% endif %}";
        assert_eq!(names(text), Vec::<String>::new());
    }

    #[test]
    fn a_near_name_is_offered_in_the_exact_words() {
        let text = unsupported("t/a.j2", "{{ a | uper }}", &KNOWN)[0].to_string();
        assert_eq!(
            text,
            "WG-GEN-012 t/a.j2:1:8: filter \"uper\" is not supported by the built-in renderer; run with --engine weaver or \
             remove it; did you mean \"upper\"?"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|raw|['\"|\\\\\n]){0,60}") {
            let _ = unsupported("t", &text, &KNOWN);
        }
    }
}
