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
    use crate::query::params::names;

    #[test]
    fn every_query_says_what_it_is_about_and_declares_its_parameters() {
        for file in QUERIES {
            let head: Vec<&str> = file.text.lines().take_while(|line| line.starts_with("-- ")).collect();
            assert!(head.first().is_some_and(|line| line.starts_with("-- about: ")), "{}", file.path);
            for (name, _) in names(file.text) {
                let declared = head.iter().any(|line| line.starts_with(&format!("-- param: {name} ")));
                let implicit = ["window_start", "window_end", "gate"].contains(&name.as_str());
                assert!(declared || implicit, "{}: ${name}", file.path);
            }
        }
    }
}
