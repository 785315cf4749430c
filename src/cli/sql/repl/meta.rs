//! Commands of the shell itself.
//!
//! Duty: a line that begins with `\` or `.` to what it asks for. Guarantee: a wrong line says what would be right. Left to
//! others: doing it (`shell`).

use std::path::PathBuf;

use clap::ValueEnum as _;

use crate::cli::output::Output;
use crate::query::library::head::pairs;
use crate::yaml::nearest;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// A statement about names.
    Ask(String),
    /// One column a line; `None` turns it over.
    Expanded(Option<bool>),
    /// Time of each statement; `None` turns it over.
    Timing(Option<bool>),
    /// Format and file of what follows; `None` is what fits the terminal.
    Output(Option<Output>, Option<PathBuf>),
    /// Most rows; the outer `None` shows it, the inner one is no limit but the usual.
    Limit(Option<Option<u64>>),
    /// Run a file.
    Read(PathBuf),
    /// Run a query of the library.
    Named(String, Vec<(String, String)>),
    /// List the queries of the library.
    List,
    /// Explain the commands.
    Help,
    /// End.
    Quit,
}

/// Name, arguments and meaning of each command; `.help` shows it.
pub const COMMANDS: [(&str, &str, &str); 13] = [
    ("\\d", "[NAME]", "list the tables, or the columns of one"),
    ("\\dt", "", "list the tables"),
    ("\\df", "[PATTERN]", "list the functions, e.g. \\df p9%"),
    ("\\x", "[on|off]", "show each row as lines of column and value"),
    ("\\timing", "[on|off]", "tell how long each statement took"),
    (".output", "[FORMAT [PATH]]", "write what follows in another format, and to a file; alone: back to boxes here"),
    (".limit", "[N|off]", "most rows of an answer"),
    (".read", "FILE", "run the statements of a file"),
    (".list", "", "list the named queries"),
    (".named", "QUERY [-p name=value …]", "run a named query"),
    (".help", "", "this list"),
    ("\\?", "", "this list"),
    ("\\q", "", "end; so does Ctrl-D"),
];

/// What `.help` prints.
pub fn help() -> String {
    let left = |(name, args, _): &(&str, &str, &str)| format!("{name} {args}").trim_end().to_owned();
    let width = COMMANDS.iter().map(|command| left(command).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for command in &COMMANDS {
        text += &format!("{:width$}  {}\n", left(command), command.2);
    }
    text + "A statement ends with `;` and may have many lines. Ctrl-C stops it, and clears what is being typed.\n"
}

/// Reads `line`.
///
/// Errors: a sentence with the next move.
pub fn parse(line: &str) -> Result<Meta, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim()));
    let nothing = |meta: Meta| match rest {
        "" => Ok(meta),
        _ => Err(format!("{name} takes nothing, and there is `{rest}`")),
    };
    match name {
        "\\d" if !rest.is_empty() => describe(rest),
        "\\d" | "\\dt" => nothing(Meta::Ask("SHOW TABLES".to_owned())),
        "\\df" if !rest.is_empty() => Ok(Meta::Ask(format!("SHOW FUNCTIONS LIKE '{}'", rest.replace('\'', "''")))),
        "\\df" => Ok(Meta::Ask("SHOW FUNCTIONS".to_owned())),
        "\\x" => Ok(Meta::Expanded(switch(name, rest)?)),
        "\\timing" | ".timing" => Ok(Meta::Timing(switch(name, rest)?)),
        ".output" => output(rest),
        ".limit" => limit(rest),
        ".read" | "\\i" if rest.is_empty() => Err(format!("{name} which file? `{name} queries.sql`")),
        ".read" | "\\i" => Ok(Meta::Read(PathBuf::from(rest))),
        ".named" if rest.is_empty() => Err(".named which query? `.list` lists them".to_owned()),
        ".named" => {
            let (query, given) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let given = pairs(given.trim()).map_err(|why| format!("{why}; `.named {query} -p name=value`"))?;
            Ok(Meta::Named(query.to_owned(), given))
        }
        ".list" => nothing(Meta::List),
        ".help" | "\\?" | "\\h" => Ok(Meta::Help),
        "\\q" | ".quit" | ".exit" => nothing(Meta::Quit),
        other => Err(match nearest(other, COMMANDS.iter().map(|(name, ..)| *name)) {
            Some(near) => format!("there is no command `{other}`; did you mean `{near}`? `.help` lists them"),
            None => format!("there is no command `{other}`; `.help` lists them"),
        }),
    }
}

/// Only a name goes into the statement.
fn describe(name: &str) -> Result<Meta, String> {
    match name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"')) {
        true => Ok(Meta::Ask(format!("DESCRIBE {name}"))),
        false => Err(format!("`{name}` is no name of a table; `\\d` lists them")),
    }
}

fn switch(name: &str, rest: &str) -> Result<Option<bool>, String> {
    match rest {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        other => Err(format!("{name} is `on` or `off`, not `{other}`")),
    }
}

fn output(rest: &str) -> Result<Meta, String> {
    let (format, path) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if format.is_empty() {
        return Ok(Meta::Output(None, None));
    }
    let output = named(format)?;
    let path = Some(path.trim()).filter(|path| !path.is_empty()).map(PathBuf::from);
    match output.is_binary() && path.is_none() {
        true => Err(format!("{format} is not for a terminal; name a file: `.output {format} PATH`")),
        false => Ok(Meta::Output(Some(output), path)),
    }
}

fn named(format: &str) -> Result<Output, String> {
    Output::from_str(format, true).map_err(|_| {
        let names = formats();
        match nearest(format, names.iter().map(String::as_str)) {
            Some(near) => format!("there is no format `{format}`; did you mean `{near}`?"),
            None => format!("there is no format `{format}`; formats: {}", names.join(", ")),
        }
    })
}

/// Names of the formats.
pub fn formats() -> Vec<String> {
    let of = |output: &Output| output.to_possible_value().map(|value| value.get_name().to_owned());
    Output::value_variants().iter().filter_map(of).collect()
}

fn limit(rest: &str) -> Result<Meta, String> {
    match rest {
        "" => Ok(Meta::Limit(None)),
        "off" => Ok(Meta::Limit(Some(None))),
        number => match number.parse() {
            Ok(rows) => Ok(Meta::Limit(Some(Some(rows)))),
            Err(_) => Err(format!(".limit is a number of rows or `off`, not `{number}`")),
        },
    }
}
