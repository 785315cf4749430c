//! From the engine's errors to ours.
//!
//! Duty: code, place, cause and next move for every error that planning or running can end in. Guarantee: what is not
//! known to be about the statement becomes `sql.internal`, whose text says nothing of the engine. Left to others: errors
//! that our own steps make (`guard`, `gateway`).

use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::execution::context::SessionContext;
use datafusion::sql::sqlparser::parser::ParserError;

use super::error::{Code, Error, Position};
use super::functions::ArgumentError;
use super::nearest::nearest;
use super::relations::{self, DAEMON_ONLY};
use super::table_functions;
use crate::span::pinned;
use crate::store::part::{self, PartStore};

/// Longest cause that is passed on, in characters.
const LONGEST: usize = 600;

/// What `error` means for the writer of `sql`; `context` knows the names for hints.
pub fn translate(error: &DataFusionError, sql: &str, context: Option<&SessionContext>) -> Error {
    let position = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .and_then(|span| Position::at(sql, span.start.line, span.start.column));
    let root = error.find_root();
    let translated = match root {
        DataFusionError::SQL(inner, _) => syntax(inner, sql),
        DataFusionError::SchemaError(inner, _) => schema(inner, sql),
        DataFusionError::Plan(text) => plan(text, sql, context),
        DataFusionError::NotImplemented(text) => {
            Error::new(Code::NotAllowed, format!("not supported: {}", clean(text)))
                .hint("`SHOW FUNCTIONS` and `SHOW TABLES` list what there is")
        }
        DataFusionError::ResourcesExhausted(text) => exhausted(text),
        DataFusionError::Execution(text) => execution(text),
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::ParquetError(inner) => unreadable(inner.as_ref()),
        DataFusionError::ObjectStore(inner) => unreadable(inner.as_ref()),
        DataFusionError::External(inner) => match inner.downcast_ref::<ArgumentError>() {
            Some(argument) => {
                let named = argument.message.split('`').nth(1).unwrap_or_default();
                Error::new(Code::Argument, argument.message.clone()).at(place_of(named, sql))
            }
            None => match inner.downcast_ref::<Error>() {
                Some(own) => own.clone(),
                None if damaged_part(inner.as_ref()).is_some() => corrupt(inner.as_ref()),
                None if unreachable_part(inner.as_ref()).is_some() => unreadable(inner.as_ref()),
                None => internal(error),
            },
        },
        _ => internal(error),
    };
    translated.at(position)
}

/// The same for a statement that reads parts: what it found damaged is judged by who keeps them (storage.md 12.3).
pub fn translate_reading(
    error: &DataFusionError,
    sql: &str,
    context: Option<&SessionContext>,
    judged: Option<&PartStore>,
) -> Error {
    let translated = translate(error, sql, context);
    if let Some(parts) = judged.filter(|_| translated.code == Code::PartCorrupt) {
        match damage(error) {
            Some((path, _)) => parts.doubt(&path),
            // A decoder of the engine does not know what it reads.
            None => parts.check_anew(),
        }
    }
    translated
}

fn syntax(error: &ParserError, sql: &str) -> Error {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::new(Code::TooComplex, "the statement is nested deeper than 50 levels")
                .hint("flatten it: fewer parentheses or nested queries");
        }
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    let (text, position) = split_place(text, sql);
    let error = Error::new(Code::Syntax, clean(text)).at(position);
    match text.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((expected, "EOF")) => {
            Error { message: format!("the statement ends where {expected} is expected"), ..error }.hint("complete it")
        }
        Some((expected, found)) => {
            let expected = expected.trim();
            Error { message: format!("unexpected `{}`", clean(found)), ..error }.hint(format!("expected: {expected}"))
        }
        None => error.hint("one SELECT, WITH, VALUES, EXPLAIN, DESCRIBE or SHOW statement in PostgreSQL's dialect"),
    }
}

/// The parser writes the place behind its text.
fn split_place<'a>(text: &'a str, sql: &str) -> (&'a str, Option<Position>) {
    let Some((before, place)) = text.rsplit_once(" at Line: ") else {
        let end = sql.trim_end();
        let line = end.matches('\n').count() as u64 + 1;
        let column = end.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
        return (text, text.ends_with("found: EOF").then(|| Position::at(sql, line, column)).flatten());
    };
    let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<u64>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) => (before, Position::at(sql, line, column)),
        _ => (text, None),
    }
}

fn schema(error: &SchemaError, sql: &str) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields, sql),
        SchemaError::AmbiguousReference { field } => {
            Error::new(Code::UnknownColumn, format!("the column `{}` is in more than one table", field.name))
                .hint(format!("say which: `t.{}`", field.name))
                .at(place_of(&field.name, sql))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(Code::UnknownColumn, format!("the name `{name}` stands for two columns"))
                .hint("give one of them another name with AS")
        }
    }
}

fn unknown_column(field: &Column, valid: &[Column], sql: &str) -> Error {
    let written = field.flat_name();
    let error = Error::new(Code::UnknownColumn, format!("there is no column `{}`", field.name)).at(field
        .spans()
        .first()
        .and_then(|span| Position::at(sql, span.start.line, span.start.column))
        .or_else(|| place_of(&field.name, sql)));
    // `http.route` is read as column `route` of table `http`.
    let key = written.replace('"', "");
    let error = match place_of(&key, sql) {
        Some(whole) if field.relation.is_some() => Error { position: Some(whole), ..error },
        _ => error,
    };
    if pinned::type_of(&key).is_some() || (field.relation.is_some() && key.matches('.').count() >= 2) {
        return Error { message: format!("there is no column `{key}`"), ..error }
            .hint(format!("an attribute is written `attributes['{key}']`"));
    }
    let has = |name: &str| valid.iter().any(|column| column.name == name);
    if field.name == "duration" && (valid.is_empty() || has("duration_ms")) {
        return error.hint("`duration_ms` (DOUBLE, ms) or `duration_ns` (BIGINT, ns)");
    }
    let names: Vec<_> = valid.iter().map(|column| column.name.as_str()).collect();
    let near = nearest(&field.name, names.iter().copied());
    if !near.is_empty() {
        return error.hint(format!("did you mean {}?", quoted(&near)));
    }
    let relation_known = match &field.relation {
        Some(relation) => valid.iter().any(|column| column.relation.as_ref() == Some(relation)),
        None => true,
    };
    if !relation_known && has("attributes") {
        return Error { message: format!("there is no column `{key}`"), ..error }
            .hint(format!("an attribute is written `attributes['{key}']`"));
    }
    if has("attributes") {
        return error.hint(format!(
            "`DESCRIBE spans` lists the columns; an attribute is written `attributes['{}']`",
            field.name
        ));
    }
    let some: Vec<_> = names.iter().copied().take(8).collect();
    match some.is_empty() {
        true => error.hint("`DESCRIBE spans` lists the columns of a table"),
        false => error.hint(format!("columns here: {}", quoted(&some))),
    }
}

fn plan(text: &str, sql: &str, context: Option<&SessionContext>) -> Error {
    let quoted_name = |prefix: &str| -> Option<&str> {
        let rest = text.strip_prefix(prefix)?;
        rest.split('\'').next()
    };
    if let Some(name) = quoted_name("table '").filter(|_| text.contains("not found")) {
        return unknown_table(name, sql, context);
    }
    if text.starts_with("failed to resolve schema: ") || text.starts_with("failed to resolve catalog: ") {
        let name = text.rsplit(": ").next().unwrap_or_default();
        let names = context.map(relations::tables).unwrap_or_default();
        return Error::new(Code::UnknownTable, format!("there is no schema `{}`", clean(name)))
            .hint(listed("tables here", &names))
            .at(place_of(name, sql));
    }
    if let Some(name) = quoted_name("Invalid function '").or_else(|| quoted_name("table function '")) {
        return unknown_function(name, sql, context);
    }
    let lower = text.to_lowercase();
    let about_types = ["coerc", "infer common", "no function matches", "cannot cast", "signature", "expects", "type "];
    if about_types.iter().any(|word| lower.contains(word)) {
        return Error::new(Code::Type, clean(text)).hint("convert one side: `x::bigint`, `x::double`, `x::text`");
    }
    if lower.contains("group by") {
        let named = text.split_once("column \"").and_then(|(_, rest)| rest.split('"').next());
        let message = match named.filter(|_| text.contains("must appear in the GROUP BY")) {
            Some(column) => format!("the column `{column}` is neither in GROUP BY nor in an aggregate"),
            None => clean(text),
        };
        return Error::new(Code::Syntax, message).hint("name the column in GROUP BY, or wrap it in an aggregate");
    }
    Error::new(Code::Syntax, clean(text)).hint("`DESCRIBE spans` lists columns, `SHOW FUNCTIONS` functions")
}

/// There is no table `name`, which may carry catalog and schema.
pub fn unknown_table(name: &str, sql: &str, context: Option<&SessionContext>) -> Error {
    let short = name.strip_prefix("weavergen.").unwrap_or(name);
    let short = short.strip_prefix("public.").unwrap_or(short);
    let error = Error::new(Code::UnknownTable, format!("there is no table `{}`", clean(short)));
    let error = error.at(place_of(short, sql).or_else(|| place_of(short.rsplit('.').next().unwrap_or(short), sql)));
    if DAEMON_ONLY.contains(&short) && context.is_some_and(relations::is_offline) {
        return error.hint(format!("`{short}` is there only in a daemon: ask it with `--url`"));
    }
    let names = context.map(relations::tables).unwrap_or_default();
    let near = nearest(short, names.iter().map(String::as_str));
    match near.is_empty() {
        true => error.hint(listed("tables here", &names)),
        false => error.hint(format!("did you mean {}?", quoted(&near))),
    }
}

fn unknown_function(name: &str, sql: &str, context: Option<&SessionContext>) -> Error {
    let error = Error::new(Code::UnknownFunction, format!("there is no function `{}`", clean(name)));
    let error = error.at(place_of(name, sql));
    if table_functions::NAMES.contains(&name) {
        return error.hint(format!("it gives rows: `SELECT * FROM {name}(…)`"));
    }
    let names = context.map(relations::functions).unwrap_or_default();
    let near = nearest(name, names.iter().map(String::as_str));
    match near.is_empty() {
        true => error.hint("`SHOW FUNCTIONS` lists them"),
        false => error.hint(format!("did you mean {}?", quoted(&near))),
    }
}

fn exhausted(text: &str) -> Error {
    // Consumers of memory that can spill are named in the text, too.
    if text.contains("used disk space") {
        return Error::new(Code::LimitSpill, "the statement needs more room on disk than it may use")
            .hint("narrow the time range, add a LIMIT, or sample with `in_sample(trace_id, 0.1)`");
    }
    Error::new(Code::LimitMemory, "the statement needs more memory than it may use")
        .hint("narrow the time range, add a LIMIT, or sample with `in_sample(trace_id, 0.1)`")
}

fn execution(text: &str) -> Error {
    if text.contains("Stack") || text.contains("panic") {
        return Error::new(Code::Internal, "internal error");
    }
    Error::new(Code::Argument, clean(text)).hint("a value does not fit the function or cast it is given to")
}

fn arrow(error: &arrow::error::ArrowError) -> Error {
    use arrow::error::ArrowError as E;
    match error {
        E::DivideByZero => {
            Error::new(Code::Argument, "division by zero").hint("divide by `nullif(x, 0)`: the result is then NULL")
        }
        E::CastError(text) | E::ParseError(text) => {
            Error::new(Code::Argument, clean(text)).hint("the text is no value of that type")
        }
        E::ArithmeticOverflow(text) | E::ComputeError(text) => {
            Error::new(Code::Argument, clean(text)).hint("compute with `x::double` if values get that large")
        }
        E::InvalidArgumentError(text) => Error::new(Code::Argument, clean(text)),
        E::ParquetError(_) => corrupt(error),
        E::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => translate(inner, "", None),
            None => Error::new(Code::Internal, "internal error"),
        },
        E::MemoryError(_) => exhausted(""),
        other => {
            tracing::error!(error = %other, "a statement failed in the engine");
            Error::new(Code::Internal, "internal error").hint("report it with the query id")
        }
    }
}

/// The error of a part that cannot be read: either the object store does not answer, or the part is damaged.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> Error {
    let Some(path) = unreachable_part(error) else { return corrupt(error) };
    tracing::warn!(%error, "a part cannot be read now");
    let message = format!("the part `{path}` cannot be read now: the object store does not answer");
    Error::new(Code::Busy, message).hint("run the statement again; the daemon's log tells why the object store fails")
}

/// The part whose object store failed, somewhere among the causes of `error`. The local disk is none: what it does not
/// read now it does not read later.
fn unreachable_part(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(part::Error::Objects { path, source }) = error.downcast_ref() {
            return (!part::is_local(source)).then(|| path.clone());
        }
        cause = error.source();
    }
    // Some layers of the engine keep the text only.
    let text = error.to_string();
    let path = text.split_once("Generic S3 error")?.0.rsplit_once("`spans/")?.1.split_once('`')?.0;
    (!path.contains(char::is_whitespace)).then(|| format!("spans/{path}"))
}

/// The error of a part that is damaged, which names it if anything does (storage.md 12.3).
fn corrupt(error: &(dyn std::error::Error + 'static)) -> Error {
    tracing::error!(%error, "a part cannot be read");
    let message = damaged_part(error).unwrap_or_else(|| "a part of the store cannot be read".to_owned());
    Error::new(Code::PartCorrupt, message).hint("`weavergen store verify --deep` tells where it is damaged")
}

/// What the store said of a part, somewhere among the causes of `error`: only the store's own sentence is passed on.
fn damaged_part(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let (path, problem) = damage(error)?;
    Some(match problem {
        Some(problem) => format!("the part `{path}` is damaged: {problem}"),
        None => format!("the part `{path}` is damaged"),
    })
}

/// The part that the store found damaged, and what it said of it where the engine has kept that.
pub(super) fn damage(error: &(dyn std::error::Error + 'static)) -> Option<(String, Option<String>)> {
    const BEGIN: &str = "part `";
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(part::Error::Corrupt { path, problem }) = error.downcast_ref() {
            return Some((path.clone(), Some(problem.clone())));
        }
        cause = error.source();
    }
    // Some layers of the engine keep the text only.
    let text = error.to_string();
    let path = text.split_once(BEGIN)?.1.split_once("` is damaged: ")?.0;
    (path.starts_with("spans/") && !path.contains(char::is_whitespace)).then(|| (path.to_owned(), None))
}

fn internal(error: &DataFusionError) -> Error {
    tracing::error!(error = %error, "a statement failed in the engine");
    Error::new(Code::Internal, "internal error").hint("report it with the query id")
}

/// Where `name` stands in `sql` as a whole word, if at one place only; case does not count.
pub fn place_of(name: &str, sql: &str) -> Option<Position> {
    if name.is_empty() {
        return None;
    }
    let (text, name) = (sql.to_ascii_lowercase(), name.to_ascii_lowercase());
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let at = text.match_indices(&name).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back().is_some_and(word);
        let after = text[at + name.len()..].chars().next().is_some_and(word);
        !before && !after
    })?;
    let line = sql[..at].matches('\n').count() as u64 + 1;
    let column = sql[..at].rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    Position::at(sql, line, column)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn listed(what: &str, names: &[String]) -> String {
    let names: Vec<_> = names.iter().filter(|name| !name.contains('.')).map(String::as_str).take(12).collect();
    format!("{what}: {}", quoted(&names))
}

/// A cause without the engine's settings, traces and advice, cut to a readable length.
fn clean(text: &str) -> String {
    let text = text.split("\n\nbacktrace").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.contains("datafusion.") && !line.contains("Arrow error:"));
    let mut cleaned = lines.collect::<Vec<_>>().join(" ");
    cleaned = with_sql_types(&cleaned.replace("DataFusion", "the engine"));
    if cleaned.trim().is_empty() {
        return "the statement cannot be run".to_owned();
    }
    if let Some((cut, _)) = cleaned.char_indices().nth(LONGEST) {
        cleaned.truncate(cut);
        cleaned.push('…');
    }
    cleaned
}

/// `text` with the engine's names of types as SQL writes them.
fn with_sql_types(text: &str) -> String {
    const WHOLE: [(&str, &str); 8] = [
        ("Dictionary(Int32, Utf8)", "TEXT"),
        ("Timestamp(ns, \"UTC\")", "TIMESTAMP(9)"),
        ("Timestamp(µs, \"UTC\")", "TIMESTAMP(6)"),
        ("Timestamp(ns)", "TIMESTAMP(9)"),
        ("Timestamp(µs)", "TIMESTAMP(6)"),
        ("FixedSizeBinary(16)", "BINARY(16)"),
        ("FixedSizeBinary(8)", "BINARY(8)"),
        ("Date32", "DATE"),
    ];
    let text = WHOLE.iter().fold(text.to_owned(), |text, (engine, sql)| text.replace(engine, sql));
    let mut out = String::with_capacity(text.len());
    // Words and what lies between them, in turn.
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let sql = match word {
            "Utf8" | "LargeUtf8" | "Utf8View" => "TEXT",
            "Int8" | "Int16" | "Int32" | "Int64" | "UInt8" | "UInt16" | "UInt32" | "UInt64" => "BIGINT",
            "Float16" | "Float32" | "Float64" => "DOUBLE",
            "Boolean" => "BOOLEAN",
            "Binary" | "BinaryView" => "BINARY",
            other => other,
        };
        out.push_str(sql);
        out.push_str(&piece[word.len()..]);
    }
    out
}
