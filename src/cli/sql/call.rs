//! What is run: statements with their values, and commands of the shell.
//!
//! Duty: statements out of a text, a file or the library, each with the values of its `$names`. Guarantee: a value that is
//! given and not used is an error, so a slip in a name is seen. Left to others: running them (`shell`).

use serde_json::{Map, Value};

use super::Failure;
use super::repl::split::{self, Item};
use crate::query::library::{Query, head};
use crate::query::params;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    /// A command of the shell.
    Meta(String),
    /// A statement.
    Statement {
        sql: String,
        params: Map<String, Value>,
        /// Columns and their units, as the head of a query says.
        units: Vec<(String, String)>,
    },
}

impl Call {
    pub(super) fn plain(sql: String, params: Map<String, Value>) -> Self {
        Self::Statement { sql, params, units: Vec::new() }
    }

    /// A query of the library with the values `given`, the defaults of its head for the others.
    pub(super) fn query(query: &Query, given: &[(String, String)], now_ns: i64) -> Result<Self, Failure> {
        let params = query.bind(given, now_ns)?;
        Ok(Self::Statement { sql: query.sql.clone(), params, units: query.head.units.clone() })
    }

    /// Its plan instead of its rows.
    pub(super) fn explained(self) -> Self {
        match self {
            Self::Statement { sql, params, .. } => Self::plain(format!("EXPLAIN {sql}"), params),
            meta => meta,
        }
    }
}

/// The statements of the file `shown`, which says `text`. One with parameters in its head is a query, whose values are
/// typed by it.
pub(super) fn script(shown: &str, text: String, given: &[(String, String)], now_ns: i64) -> Result<Vec<Call>, Failure> {
    if head::lines(&text).iter().any(|line| line.key == "param") {
        let query = Query::read(shown, shown, text)?;
        return Ok(vec![Call::query(&query, given, now_ns)?]);
    }
    let values = typed(given)?;
    let mut unused: Vec<&String> = values.keys().collect();
    let mut calls = Vec::new();
    for item in split::all(&text) {
        calls.push(match item {
            Item::Meta(line) => Call::Meta(line),
            Item::Sql(sql) => {
                let names: Vec<String> = params::names(&sql).into_iter().map(|(name, _)| name).collect();
                unused.retain(|name| !names.contains(name));
                let of = values.iter().filter(|(name, _)| names.contains(name));
                Call::plain(sql, of.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
        });
    }
    if calls.is_empty() {
        return Err(Failure::Usage(format!(
            "{shown} has no statement; write one, e.g. `SELECT * FROM spans LIMIT 10`"
        )));
    }
    match unused.first() {
        Some(name) => {
            Err(Failure::Usage(format!("-p {name}: no statement of {shown} has `${name}`; correct the name")))
        }
        None => Ok(calls),
    }
}

/// `name=value` each.
pub(super) fn pairs(given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |pair: &String| {
        let usage = |why: &str| Failure::Usage(format!("-p {pair}: {why}; write -p name=value"));
        let (name, value) = pair.split_once('=').ok_or_else(|| usage("there is no `=`"))?;
        let name = name.strip_prefix('$').unwrap_or(name);
        match !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            true => Ok((name.to_owned(), value.to_owned())),
            false => Err(usage("its name is not letters, digits and `_`")),
        }
    };
    given.iter().map(pair).collect()
}

/// Values of a statement that says nothing of their types: a JSON scalar is of its type, all else is text.
pub(super) fn typed(pairs: &[(String, String)]) -> Result<Map<String, Value>, Failure> {
    let mut params = Map::new();
    for (name, text) in pairs {
        let value = match serde_json::from_str(text) {
            Ok(scalar @ (Value::Null | Value::Bool(_) | Value::String(_) | Value::Number(_))) => scalar,
            _ => Value::String(text.clone()),
        };
        if params.insert(name.clone(), value).is_some() {
            return Err(Failure::Usage(format!("-p {name}={text}: it is given twice; write -p name=value once")));
        }
    }
    Ok(params)
}
