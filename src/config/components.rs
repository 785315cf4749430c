//! Component ids and the sections that define components.
//!
//! Duty: `type[/name]` (0005, 0006) and the definitions of one section. Guarantee: a definition that is handed out has a
//! well-formed id that is unique in its section. Left to others: whether its type is known, and its body.

use super::registry::ComponentKind;
use crate::yaml::{Code, Entry, Mark, Problem, Problems, Section};

const MAX_NAME_BYTES: usize = 1024;

/// `type[/name]`, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) kind: String,
    pub(super) name: Option<String>,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

impl Id {
    /// Reads an id; `Err` is the text of 0005.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind.trim(), Some(name.trim())),
            None => (text.trim(), None),
        };
        if kind.is_empty() {
            return Err(format!("\"{text}\": type is empty"));
        }
        let mut letters = kind.bytes();
        let starts = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
        if !starts || kind.len() > 63 || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!("\"{text}\": invalid character in type"));
        }
        if let Some(name) = name {
            if name.is_empty() {
                return Err(format!("\"{text}\": name is empty"));
            }
            if name.len() > MAX_NAME_BYTES {
                let start: String = text.chars().take(40).collect();
                return Err(format!("\"{start}…\": name is longer than {MAX_NAME_BYTES} bytes"));
            }
            if name.chars().any(|c| c.is_whitespace() || c.is_control() || is_symbol(c)) {
                return Err(format!("\"{text}\": invalid character in name"));
            }
        }
        Ok(Self { kind: kind.to_owned(), name: name.map(str::to_owned) })
    }
}

/// ASCII of the Unicode category Symbol: the Collector's pattern for names refuses `\p{S}`.
fn is_symbol(c: char) -> bool {
    matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
        || matches!(u32::from(c), 0xA2..=0xA9 | 0xAC | 0xAE..=0xB1 | 0xB4 | 0xB8 | 0xD7 | 0xF7)
        || matches!(u32::from(c), 0x2044 | 0x2052 | 0x207A..=0x207C | 0x20A0..=0x20C0 | 0x2100..=0x2101)
        || matches!(u32::from(c), 0x2190..=0x2307 | 0x230C..=0x2328 | 0x232B..=0x2426 | 0x2500..=0x2767)
        || matches!(u32::from(c), 0x1F000..=0x1FAFF)
}

/// One entry of a section of components.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    pub(super) kind: ComponentKind,
    pub(super) id: Id,
    pub(super) entry: &'a Entry,
    pub(super) path: String,
}

/// The components defined in the section of `kind`.
pub(super) fn definitions<'a>(root: &Section<'a>, kind: ComponentKind, problems: &Problems) -> Vec<Definition<'a>> {
    let section = root.block(kind.section());
    let mut found: Vec<Definition<'a>> = Vec::new();
    for entry in section.entries() {
        let path = format!("{}::{}", kind.section(), entry.key);
        match Id::parse(&entry.key) {
            Err(text) => problem(problems, Code::BadId, section.path(), text, &entry.mark, None),
            Ok(id) if found.iter().any(|earlier| earlier.id == id) => {
                let text = format!("duplicate id \"{id}\"");
                problem(problems, Code::DuplicateId, section.path(), text, &entry.mark, None);
            }
            Ok(id) => found.push(Definition { kind, id, entry, path }),
        }
    }
    found
}

/// Adds a problem.
pub(super) fn problem(
    problems: &Problems,
    code: Code,
    path: &str,
    text: impl Into<String>,
    mark: &Mark,
    help: Option<String>,
) {
    let (path, mark) = (path.to_owned(), mark.clone());
    problems.add(Problem { code, path, text: text.into(), mark, help });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_type_and_a_name() {
        for (text, want) in [
            ("otlp", Ok("otlp")),
            (" otlp / edge ", Ok("otlp/edge")),
            ("otlp/a/b", Ok("otlp/a/b")),
            ("otlp/ünï-1.2_x", Ok("otlp/ünï-1.2_x")),
            ("/x", Err("type is empty")),
            ("otlp/", Err("name is empty")),
            ("1otlp", Err("invalid character in type")),
            ("ot-lp", Err("invalid character in type")),
            ("otlp/a b", Err("invalid character in name")),
            ("otlp/a$", Err("invalid character in name")),
            ("otlp/→", Err("invalid character in name")),
        ] {
            match (Id::parse(text), want) {
                (Ok(id), Ok(want)) => assert_eq!(id.to_string(), want),
                (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
                (got, want) => panic!("{text}: got {got:?}, want {want:?}"),
            }
        }
        assert!(Id::parse(&format!("otlp/{}", "x".repeat(1025))).unwrap_err().contains("longer than 1024 bytes"));
        assert!(Id::parse(&format!("o{}", "x".repeat(63))).is_err());
    }
}
