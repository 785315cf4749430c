//! What can be typed at a place.
//!
//! Duty: names that go on with what stands before the cursor: attribute keys within brackets, tables, columns, functions,
//! keywords, meta commands. Guarantee: pure; it offers names that it was given and nothing else. Left to others: where the
//! names come from (`names`), the editor (`editor`).

use std::collections::BTreeMap;

use super::meta;

/// What there is to name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Columns of each table; a table of another schema has it before a dot.
    pub tables: BTreeMap<String, Vec<String>>,
    /// Functions.
    pub functions: Vec<String>,
    /// Keys of each level: `attributes`, `resource`, `scope`.
    pub keys: BTreeMap<String, Vec<String>>,
    /// Named queries.
    pub queries: Vec<String>,
}

const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SHOW",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];
const LEVELS: [&str; 3] = ["attributes", "resource", "scope"];

/// Where the completion begins in `line`, and what can stand from there to the cursor at `pos`, in the order to offer.
pub fn complete(line: &str, pos: usize, names: &Names) -> (usize, Vec<String>) {
    let before = line.get(..pos).unwrap_or(line);
    let trimmed = before.trim_start();
    if trimmed.starts_with('\\') || trimmed.starts_with('.') {
        return command(before, names);
    }
    if let Some(found) = bracket(before, names) {
        return found;
    }
    if is_in_text(before) {
        return (pos, Vec::new());
    }
    word(line, before, names)
}

/// Of a meta command or its argument.
fn command(before: &str, names: &Names) -> (usize, Vec<String>) {
    let lead = before.len() - before.trim_start().len();
    let Some((name, _)) = before[lead..].split_once(char::is_whitespace) else {
        let all = meta::COMMANDS.iter().map(|(name, ..)| (*name).to_owned());
        return (lead, fitting(&before[lead..], all));
    };
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let typed = &before[start..];
    let found = match name {
        "\\d" => fitting(typed, names.tables.keys().cloned()),
        "\\df" => fitting(typed, names.functions.iter().cloned()),
        ".output" => fitting(typed, meta::formats().into_iter()),
        ".named" => fitting(typed, names.queries.iter().cloned()),
        _ => Vec::new(),
    };
    (start, found)
}

/// Keys, quoted, behind `attributes[` and its kin.
fn bracket(before: &str, names: &Names) -> Option<(usize, Vec<String>)> {
    let open = before.rfind('[')?;
    let inside = &before[open + 1..];
    let typed = inside.trim_start();
    let typed = typed.strip_prefix('\'').unwrap_or(typed);
    if typed.contains([']', '\'']) {
        return None;
    }
    let container = before[..open].trim_end();
    let container = container.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?.to_lowercase();
    if !LEVELS.contains(&container.as_str()) {
        return None;
    }
    let keys = names.keys.get(&container).map(Vec::as_slice).unwrap_or_default();
    let quoted = |key: String| format!("'{}']", key.replace('\'', "''"));
    let found = fitting(typed, keys.iter().cloned()).into_iter().map(quoted).collect();
    Some((open + 1, found))
}

/// Whether the end of `before` is within `'…'`.
fn is_in_text(before: &str) -> bool {
    before.matches('\'').count() % 2 == 1
}

fn word(line: &str, before: &str, names: &Names) -> (usize, Vec<String>) {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let start = before.rfind(|c: char| !is_part(c)).map_or(0, |at| at + char_len(before, at));
    let typed = &before[start..];
    let aliases = aliases(line);
    if is_after_table_word(&before[..start]) {
        return (start, fitting(typed, names.tables.keys().cloned()));
    }
    if let Some((qualifier, part)) = typed.rsplit_once('.') {
        let at = start + qualifier.len() + 1;
        let table = aliases.get(&qualifier.to_lowercase()).map_or(qualifier, String::as_str);
        let columns = names.tables.get(table).map(Vec::as_slice).unwrap_or_default();
        return (at, fitting(part, columns.iter().cloned()));
    }
    let mut tables: Vec<&String> = aliases.values().filter(|table| names.tables.contains_key(*table)).collect();
    let usual = "spans".to_owned();
    if tables.is_empty() {
        tables.push(&usual);
    }
    let columns = tables.iter().filter_map(|table| names.tables.get(*table)).flatten().cloned();
    let mut found = fitting(typed, columns);
    if typed.is_empty() {
        return (start, found);
    }
    found.extend(fitting(typed, names.functions.iter().cloned()).into_iter().map(|name| name + "("));
    let is_lower = !typed.contains(|c: char| c.is_uppercase());
    let keywords = KEYWORDS.iter().map(|word| if is_lower { word.to_lowercase() } else { (*word).to_owned() });
    found.extend(fitting(typed, keywords));
    (start, found)
}

fn char_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

fn is_after_table_word(before: &str) -> bool {
    let last = before.trim_end().rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    before.ends_with(char::is_whitespace)
        && ["from", "join", "describe", "table"].iter().any(|word| last.eq_ignore_ascii_case(word))
}

/// Tables behind FROM and JOIN, by the names that they have in the statement.
fn aliases(line: &str) -> BTreeMap<String, String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut words = line.split(|c: char| !is_part(c)).filter(|word| !word.is_empty()).peekable();
    let mut found = BTreeMap::new();
    while let Some(word) = words.next() {
        if !word.eq_ignore_ascii_case("from") && !word.eq_ignore_ascii_case("join") {
            continue;
        }
        let Some(table) = words.peek().map(|word| word.to_lowercase()) else { break };
        words.next();
        let is_as = words.peek().is_some_and(|word| word.eq_ignore_ascii_case("as"));
        let alias = if is_as { words.nth(1) } else { words.peek().copied() };
        let is_keyword = |word: &str| KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
        if let Some(alias) = alias.filter(|word| !is_keyword(word)) {
            found.insert(alias.to_lowercase(), table.clone());
        }
        found.insert(table.clone(), table);
    }
    found
}

/// Names that begin with `typed`, whatever its case, each once.
fn fitting(typed: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let typed = typed.to_lowercase();
    let mut found: Vec<String> = names.filter(|name| name.to_lowercase().starts_with(&typed)).collect();
    found.sort();
    found.dedup();
    found
}
