//! Gate files out of what other tools keep (gates.md 12, `gates import`).
//!
//! Duty: a file of OpenSLO or Tracetest to the tree of a gate file whose marks point into the file it came from. Guarantee:
//! everything that has no counterpart is told with its place, and then there is no tree: nothing is translated halfway; a
//! tree that is given passed the checks of any gate file. Left to others: writing it down (`yaml`, `cli`).

mod openslo;
mod reach;
mod tracetest;

use std::collections::BTreeMap;

use super::file::{self, Setting};
use super::files;
use super::load::Request;
use super::plan::Planner;
use super::problem::{Code, Problem, Problems, Who};
use crate::yaml::{Entry, Map, Mark, Node, Value, parse_documents};

/// Most nodes of a file after the expansion of aliases: as of a gate file.
const MAX_NODES: usize = 10_000;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenSLO v1: objects in any number of documents.
    OpenSlo,
    /// Tracetest: documents of `type: Test`.
    Tracetest {
        /// What makes the traces is left out, for whoever imports knows that gates send nothing.
        without_trigger: bool,
    },
}

/// A gate file.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its tree; marks point into the file that it was made of.
    pub root: Node,
    /// What a reader of it should know, one line each.
    pub notes: Vec<String>,
}

/// Reads `text`, which people know as `shown`.
///
/// The tree is there exactly if no problem is an error.
pub fn import(
    format: Format,
    shown: &str,
    text: &str,
    request: &Request<'_>,
    planner: &Planner,
) -> (Option<Imported>, Vec<Problem>) {
    let (problems, mark) = (Problems::default(), Mark::of_source(0, shown));
    let imported = read(format, text, &mark, &problems);
    let mut told = problems.into_sorted();
    // What is left out would be missed by its checks too.
    if !told.iter().any(|problem| problem.code.is_error())
        && let Some(imported) = &imported
    {
        told.extend(checked(&imported.root, &mark, request, planner));
    }
    let is_refused = told.iter().any(|problem| problem.code.is_error());
    (imported.filter(|_| !is_refused), told)
}

fn read(format: Format, text: &str, mark: &Mark, problems: &Problems) -> Option<Imported> {
    let (documents, faults) = parse_documents(text, mark, MAX_NODES);
    let is_lost = documents.is_empty() && !faults.is_empty();
    problems.add_faults(faults, |_| "correct the YAML");
    if is_lost {
        return None;
    }
    match format {
        Format::OpenSlo => openslo::read(&documents, mark, problems),
        Format::Tracetest { without_trigger } => tracetest::read(&documents, mark, without_trigger, problems),
    }
}

/// What any gate file is checked for, told at the places of the file that `root` came from.
fn checked(root: &Node, mark: &Mark, request: &Request<'_>, planner: &Planner) -> Vec<Problem> {
    let problems = Problems::default();
    let setting =
        Setting { config: request.config, queries_dir: request.queries_dir, known: request.known, problems: &problems };
    // It names no file of SQL, so it has no home.
    let home = files::Home::Builtin("");
    let text = files::Text { mark: mark.clone(), home, text: String::new(), named: true, only: None };
    let mut names: BTreeMap<String, Mark> = BTreeMap::new();
    for (gate, places) in file::of_root(root.clone(), &text, setting).into_iter().flat_map(|written| written.gates) {
        if let Some(first) = names.insert(gate.name.clone(), places.name.clone()) {
            let what = format!("the gate name `{}` is already used at {first}", gate.name);
            problems.add(Code::NameUsed, &places.name, &Who::Gate(gate.name.clone()), what, "rename one of them");
        }
        // Whether it shares buckets is asked where it is loaded.
        let _shares = planner.check(&gate, &places, &problems);
    }
    problems.into_sorted()
}

/// A mapping in order; what is `None` is left out.
fn map<const N: usize>(mark: &Mark, entries: [(&str, Option<Node>); N]) -> Node {
    let mut map = Map::default();
    for (key, value) in entries {
        if let Some(value) = value {
            map.put(Entry { key: key.to_owned(), mark: value.mark.clone(), value });
        }
    }
    Node { value: Value::Map(map), mark: mark.clone() }
}

fn text(text: impl Into<String>, mark: &Mark) -> Node {
    Node { value: Value::Text(text.into()), mark: mark.clone() }
}

fn list(items: Vec<Node>, mark: &Mark) -> Node {
    Node { value: Value::List(items), mark: mark.clone() }
}

/// `given` as a template that gives just it: texts of other tools are no templates of ours.
fn literal(given: &str) -> String {
    let is_plain = !["{{", "{%", "{#"].iter().any(|sign| given.contains(sign));
    // Each by itself: a block `raw` ends wherever `given` says so.
    if is_plain { given.to_owned() } else { given.replace('{', "{{ '{' }}") }
}

#[cfg(test)]
mod tests {
    use super::super::file::Known;
    use super::super::{Config, schema, template};
    use super::*;
    use crate::query;

    /// Whether a file is taken, by what it is told to be; all that is said of it, a line each.
    pub(super) fn said(format: Format, text: &str) -> (Option<String>, Vec<String>) {
        let (config, known) = (Config::default(), Known::default());
        let planner = Planner::new(query::Config::default(), schema::empty_tables());
        let request = Request { config: &config, queries_dir: None, known: &known };
        let (imported, told) = import(format, "in.yaml", text, &request, &planner);
        let told = told.iter().map(ToString::to_string).collect();
        let Some(imported) = imported else { return (None, told) };
        let written = crate::yaml::text(&imported.root);
        // What is written is what was checked.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.yaml");
        std::fs::write(&path, &written).unwrap();
        let files = Config { files: Some(vec![path.display().to_string()]), ..Config::default() };
        let request = Request { config: &files, queries_dir: None, known: &known };
        let loaded = super::super::load(&request, &planner);
        let errors: Vec<_> = loaded.problems.iter().filter(|problem| problem.code.is_error()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{written}");
        (Some(written), told)
    }

    #[test]
    fn a_file_that_is_no_yaml_or_holds_nothing_is_refused_with_its_place() {
        for format in [Format::OpenSlo, Format::Tracetest { without_trigger: true }] {
            let (written, told) = said(format, "a: [\n");
            assert!(written.is_none() && told[0].starts_with("WG-GATE-002 in.yaml:"), "{told:?}");
            let (written, told) = said(format, "---\n");
            assert!(written.is_none() && told[0].starts_with("WG-GATE-006 in.yaml:1:1: "), "{told:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn no_text_panics(noise in "\\PC{0,60}") {
            let quoted = serde_json::to_string(&noise).unwrap();
            for value in [quoted.as_str(), noise.as_str()] {
                let slo = format!(
                    "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: a}}\nspec: {{timeWindow: [{{duration: {value}}}], objectives: \
                     [{{target: {value}}}], indicator: {{spec: {{ratioMetric: {{total: {{metricSource: {{spec: {{query: {value}}}}}}}}}}}}}}}\n"
                );
                let test = format!(
                    "type: Test\nspec:\n  name: {value}\n  specs:\n    - selector: {value}\n      assertions: [{value}]\n"
                );
                for (format, text) in [(Format::OpenSlo, slo), (Format::Tracetest { without_trigger: false }, test)] {
                    let (problems, mark) = (Problems::default(), Mark::of_source(0, "in.yaml"));
                    let read = read(format, &text, &mark, &problems);
                    let told = problems.into_sorted();
                    proptest::prop_assert!(read.is_some() || !told.is_empty(), "{text}");
                }
            }
        }
    }

    #[test]
    fn texts_of_other_tools_are_no_templates() {
        assert_eq!(literal("plain { text }"), "plain { text }");
        assert_eq!(literal("{{ x }}"), "{{ '{' }}{{ '{' }} x }}");
        for given in
            ["{{ .Values.x | nope }}", "{% endraw %}{{ value }}{% raw %}", "a {# b", "{{ '$value' }}' $value {{{"]
        {
            let template = literal(given);
            assert_eq!(template::check(&template, template::Use::Text), Ok(()), "{given}");
            assert_eq!(template::render(&template, &template::Values::default()), given);
        }
    }
}
