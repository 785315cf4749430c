//! What people read about functions and relations.
//!
//! Duty: for each function and relation of ours a form, a text and an example with its output, all in `docs.txt`.
//! Guarantee: each has one, and each example gives what stands there (tests). Left to others: showing it
//! (`information_schema.routines`, shells), functions of the engine.

use std::sync::LazyLock;

/// What is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function of values.
    Scalar,
    /// A function of groups.
    Aggregate,
    /// A function that gives rows.
    Table,
    /// A table or view.
    Relation,
}

/// A function or relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// How it is written and what it gives; for a relation its columns.
    pub form: &'static str,
    /// What it does, in sentences.
    pub about: String,
    /// A statement that uses it.
    pub example: String,
    /// What that gives over the spans of the test: a line of names, then one a row, cells between ` | `.
    pub output: Vec<&'static str>,
}

/// All of them, as they stand in the file.
pub fn all() -> &'static [Doc] {
    static DOCS: LazyLock<Vec<Doc>> = LazyLock::new(|| read(include_str!("docs.txt")));
    &DOCS
}

/// That of a function or relation.
pub fn of(kind: Kind, name: &str) -> Option<&'static Doc> {
    all().iter().find(|doc| doc.kind == kind && doc.name == name)
}

/// Blocks of `## kind name`, the form, sentences, `> ` lines of a statement and `| ` lines of its output.
fn read(text: &'static str) -> Vec<Doc> {
    text.split("## ").skip(1).filter_map(block).collect()
}

fn block(text: &'static str) -> Option<Doc> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let (kind, name) = lines.next()?.split_once(' ')?;
    let kind = match kind {
        "scalar" => Kind::Scalar,
        "aggregate" => Kind::Aggregate,
        "table" => Kind::Table,
        "relation" => Kind::Relation,
        _ => return None,
    };
    let form = lines.next()?;
    let (mut about, mut example, mut output) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        match (line.strip_prefix("> "), line.strip_prefix("| ")) {
            (Some(sql), _) => example.push(sql),
            (_, Some(row)) => output.push(row),
            _ => about.push(line),
        }
    }
    Some(Doc { kind, name, form, about: about.join(" "), example: example.join("\n"), output })
}
