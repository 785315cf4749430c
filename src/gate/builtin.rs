//! Gate files and queries that are compiled into the binary.
//!
//! Duty: `queries/gates` and what they use. ★ add a file there and here. Guarantee: a test loads all of them. Left to
//! others: which of them run (`files`).

/// One compiled-in file.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Path below `queries/`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// `builtin:NAME` is the file `gates/NAME.yaml`.
pub const GATES: &[Builtin] =
    &[Builtin { path: "gates/founding.yaml", text: include_str!("../../queries/gates/founding.yaml") }];

/// Queries that gate files use.
pub const QUERIES: &[Builtin] = &[Builtin {
    path: "founding/span_completeness.sql",
    text: include_str!("../../queries/founding/span_completeness.sql"),
}];

impl Builtin {
    /// `founding` of `gates/founding.yaml`.
    pub fn name(&self) -> &'static str {
        self.path.trim_start_matches("gates/").trim_end_matches(".yaml")
    }
}

/// The text of the query at `path` below `queries/`.
pub fn query(path: &str) -> Option<&'static str> {
    QUERIES.iter().find(|file| file.path == path).map(|file| file.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::library::Query;

    #[test]
    fn every_query_says_what_it_is_about_and_declares_its_parameters() {
        for file in QUERIES {
            Query::read(file.path, file.path, file.text.to_owned()).unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}
