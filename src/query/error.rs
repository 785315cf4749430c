//! What can go wrong with a statement (sql.md 10).
//!
//! Duty: one code, a place, a message and the next move for every failure, made from what the parser and the engine
//! say. Guarantee: no path, type or setting of the engine reaches the caller. Left to others: statuses (`web/status.rs`)
//! and exit codes (`cli`).

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

use super::functions::ArgumentError;
use crate::error::Class;

/// The codes of sql.md 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words are the table's")]
pub enum Code {
    Syntax,
    UnknownTable,
    UnknownColumn,
    UnknownFunction,
    Type,
    Argument,
    NotAllowed,
    TooComplex,
    LimitMemory,
    LimitSpill,
    Timeout,
    Cancelled,
    Busy,
    PartCorrupt,
    Unauthenticated,
    Denied,
    Internal,
}

impl Code {
    /// The word on every wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "sql.syntax",
            Self::UnknownTable => "sql.unknown_table",
            Self::UnknownColumn => "sql.unknown_column",
            Self::UnknownFunction => "sql.unknown_function",
            Self::Type => "sql.type",
            Self::Argument => "sql.argument",
            Self::NotAllowed => "sql.not_allowed",
            Self::TooComplex => "sql.too_complex",
            Self::LimitMemory => "sql.limit.memory",
            Self::LimitSpill => "sql.limit.spill",
            Self::Timeout => "sql.timeout",
            Self::Cancelled => "sql.cancelled",
            Self::Busy => "sql.busy",
            Self::PartCorrupt => "sql.part_corrupt",
            Self::Unauthenticated => "sql.unauthenticated",
            Self::Denied => "sql.denied",
            Self::Internal => "sql.internal",
        }
    }

    /// What the caller can do about it.
    pub const fn class(self) -> Class {
        match self {
            Self::Syntax
            | Self::UnknownTable
            | Self::UnknownColumn
            | Self::UnknownFunction
            | Self::Type
            | Self::Argument
            | Self::TooComplex => Class::Invalid,
            Self::NotAllowed | Self::Unauthenticated | Self::Denied => Class::Denied,
            Self::LimitMemory | Self::LimitSpill => Class::TooLarge,
            Self::Timeout | Self::Cancelled => Class::Timeout,
            Self::Busy => Class::Busy,
            Self::PartCorrupt | Self::Internal => Class::Internal,
        }
    }
}

/// A place in the text of a statement; line and column count from 1, the offset from 0 in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// From 0, in bytes.
    pub offset: usize,
}

/// Why a statement has no result, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which kind.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// Where, if it is known.
    pub position: Option<Position>,
    /// The next move.
    pub hint: Option<String>,
}

/// What is known when an error is explained: the text, and the names that could have been meant.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Tables of the catalog.
    pub tables: Vec<String>,
    /// Functions of the session.
    pub functions: Vec<String>,
}

impl Error {
    /// An error without a place.
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        Self { code, message: message.into(), position: None, hint: (!hint.is_empty()).then_some(hint) }
    }

    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        self.code.class()
    }

    /// The parser's refusal of `sql`.
    pub fn syntax(sql: &str, error: &ParserError) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => {
                return Self::new(Code::TooComplex, "the statement is nested more than 50 levels deep", "flatten it");
            }
        };
        let (message, position) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => (message.to_owned(), place_of(sql, place)),
            None => (text, None),
        };
        let hint = message.split_once("Expected: ").map(|(_, rest)| {
            let expected = rest.split(", found").next().unwrap_or(rest);
            format!("expected here: {expected}")
        });
        let message = message.trim_start_matches("sql parser error: ").to_owned();
        Self { code: Code::Syntax, message: format!("syntax error: {message}"), position, hint }
    }

    /// An error of the engine, told in our words.
    pub fn from_engine(sql: &str, error: &DataFusionError, names: &Names) -> Self {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).filter(|span| span.start.line > 0);
        let position = span.and_then(|span| position(sql, span.start.line, span.start.column));
        let mut told = explain(sql, error, names);
        told.position = told.position.or(position);
        told
    }
}

fn explain(sql: &str, error: &DataFusionError, names: &Names) -> Error {
    let root = error.find_root();
    match root {
        DataFusionError::SQL(error, _) => Error::syntax(sql, error),
        DataFusionError::SchemaError(error, _) => schema_error(error),
        DataFusionError::ResourcesExhausted(text) if text.contains("disk") || text.contains("spill") => Error::new(
            Code::LimitSpill,
            "the statement needs more temporary space than it may use",
            "narrow the time range, add LIMIT, or sample with in_sample(trace_id, 0.1)",
        ),
        DataFusionError::ResourcesExhausted(_) => Error::new(
            Code::LimitMemory,
            "the statement needs more memory than it may use",
            "narrow the time range, add LIMIT, or sample with in_sample(trace_id, 0.1)",
        ),
        DataFusionError::External(inner) if inner.downcast_ref::<ArgumentError>().is_some() => {
            Error::new(Code::Argument, inner.to_string(), "")
        }
        DataFusionError::External(inner) if inner.downcast_ref::<Error>().is_some() => {
            inner.downcast_ref::<Error>().cloned().expect("the guard just looked")
        }
        DataFusionError::ArrowError(error, _) => arrow_error(error),
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) | DataFusionError::Execution(text) => {
            from_text(text, names)
        }
        other => from_text(&other.to_string(), names),
    }
}

fn schema_error(error: &SchemaError) -> Error {
    let SchemaError::FieldNotFound { field, valid_fields } = error else {
        return Error::new(Code::UnknownColumn, first_line(&error.to_string()), "qualify the name with its table");
    };
    let known: Vec<&str> = valid_fields.iter().map(|column| column.name()).collect();
    let hint = column_hint(field.name(), &known);
    Error::new(Code::UnknownColumn, format!("there is no column `{}` here", field.name()), hint)
}

fn column_hint(name: &str, known: &[&str]) -> String {
    if name == "duration" && known.contains(&"duration_ms") {
        return "use duration_ms (milliseconds) or duration_ns (nanoseconds)".to_owned();
    }
    if crate::span::pinned::type_of(name).is_some() {
        let level =
            if name.starts_with("service.") || name.starts_with("telemetry.") { "resource" } else { "attributes" };
        return format!("an attribute is read in brackets: {level}['{name}']");
    }
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? An attribute is read in brackets: attributes['{name}']"),
        None => format!("`DESCRIBE spans` lists the columns; an attribute is read in brackets: attributes['{name}']"),
    }
}

fn arrow_error(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::new(Code::Argument, "division by zero", "use nullif(divisor, 0)"),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            Error::new(Code::Type, first_line(text), "cast explicitly, or filter the values that do not convert")
        }
        ArrowError::ArithmeticOverflow(text) => Error::new(Code::Argument, first_line(text), "cast to DOUBLE first"),
        ArrowError::ExternalError(inner) => from_text(&inner.to_string(), &Names::default()),
        other => from_text(&other.to_string(), &Names::default()),
    }
}

/// Errors that the engine tells by text alone.
fn from_text(text: &str, names: &Names) -> Error {
    if text.contains("store verify") {
        return Error::new(Code::PartCorrupt, first_line(text), "run `weavergen store verify`");
    }
    if let Some(table) = between(text, "table '", "' not found") {
        let table = table.rsplit('.').next().unwrap_or(table);
        let hint = match nearest(table, names.tables.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? SHOW TABLES lists all"),
            None => format!("there are: {}", names.tables.join(", ")),
        };
        return Error::new(Code::UnknownTable, format!("there is no table `{table}`"), hint);
    }
    if let Some(function) = between(text, "Invalid function '", "'") {
        let near = nearest(function, names.functions.iter().map(String::as_str));
        let hint = near.map_or("SHOW FUNCTIONS lists all".to_owned(), |near| format!("did you mean `{near}`?"));
        return Error::new(Code::UnknownFunction, format!("there is no function `{function}`"), hint);
    }
    if let Some(function) = between(text, "table function '", "'") {
        return Error::new(
            Code::UnknownFunction,
            format!("there is no table function `{function}`"),
            "SHOW TABLES lists what can be read",
        );
    }
    const TYPE_WORDS: [&str; 8] = [
        "coerc",
        "Cannot cast",
        "Cannot infer common",
        "signature",
        "data type",
        "No function matches",
        "Cannot compare",
        "type",
    ];
    if TYPE_WORDS.iter().any(|word| text.contains(word)) {
        return Error::new(Code::Type, clean(text), "cast one side, e.g. `x::bigint`");
    }
    if text.contains("not supported") || text.contains("Unsupported") || text.contains("not implemented") {
        return Error::new(
            Code::NotAllowed,
            clean(text),
            "statements that read are allowed: SELECT, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW",
        );
    }
    if text.is_empty() {
        return internal();
    }
    Error::new(Code::Argument, clean(text), "")
}

/// A defect of ours; the log has the details under the query id.
pub fn internal() -> Error {
    Error::new(
        Code::Internal,
        "the statement failed inside weavergen",
        "the daemon's log has the details under this query id",
    )
}

/// The first line without the engine's prefixes, backtrace or advice about its settings.
fn clean(text: &str) -> String {
    let line = first_line(text);
    let prefixes =
        ["Error during planning: ", "Execution error: ", "This feature is not implemented: ", "Arrow error: "];
    let mut rest = line.as_str();
    while let Some(short) = prefixes.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = short;
    }
    rest.to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// `12, Column: 5` of the parser's messages.
fn place_of(sql: &str, place: &str) -> Option<Position> {
    let (line, column) = place.split_once(", Column: ")?;
    position(sql, line.trim().parse().ok()?, column.trim().parse().ok()?)
}

/// A place by line and column, both from 1.
pub fn position(sql: &str, line: u64, column: u64) -> Option<Position> {
    let skip = usize::try_from(line.checked_sub(1)?).ok()?;
    let before: usize = sql.split_inclusive('\n').take(skip).map(str::len).sum();
    let text = sql.split_inclusive('\n').nth(skip).unwrap_or("");
    let characters = usize::try_from(column.checked_sub(1)?).ok()?;
    let within: usize = text.chars().take(characters).map(char::len_utf8).sum();
    Some(Position { line, column, offset: before + within })
}

/// The known name that is closest to `name`, if one is close.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let most = if name.len() < 5 { 1 } else { 2 + name.len() / 6 };
    known
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one_and_bytes_from_zero() {
        let sql = "select 'é',\n  x from";
        assert_eq!(position(sql, 2, 3), Some(Position { line: 2, column: 3, offset: 15 }));
        assert_eq!(position(sql, 1, 1), Some(Position { line: 1, column: 1, offset: 0 }));
        assert_eq!(position(sql, 0, 1), None);
    }

    #[test]
    fn names_that_are_close_are_offered_and_others_are_not() {
        let known = ["spans", "traces", "span_events"];
        assert_eq!(nearest("span", known.into_iter()), Some("spans"));
        assert_eq!(nearest("trace", known.into_iter()), Some("traces"));
        assert_eq!(nearest("customers", known.into_iter()), None);
    }
}
