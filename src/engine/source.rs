//! A BPMN file before it is deployed: read, parsed, checked.
//!
//! Duty: one way from a path or bytes to definitions and findings, for `pipeline check`, for deploys, for the pipelines
//! folder. Guarantee: at most one byte more than the largest legal file is read; a finding names its file; a bindings
//! file beside a file is never silently ignored. Left to others: the rules (`bpmn::lint`), what a deploy does.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bpmn::diagnostic::{self, At, Diagnostic, Severity};
use bpmn::lint::{self, Registry};
use bpmn::model::{self, Definitions};

/// Bytes that are read of a file: one more than is legal (bpmn.md 2), so that a larger one is told and not cut.
const READ_BYTES: u64 = (16 << 20) + 1;

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How people call it: the path as given, or the path below the pipelines folder.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Name of a bindings file beside it (bpmn.md 2), which we do not read yet.
    pub bindings: Option<String>,
}

/// A file as it was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// As [`Source::name`].
    pub name: String,
    /// `None` when it could not be parsed.
    pub definitions: Option<Definitions>,
    /// Sorted by line, column, rule.
    pub findings: Vec<Diagnostic>,
}

impl Checked {
    /// Whether a deploy would refuse it.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

impl Source {
    /// Bytes that came by another way than a path.
    pub fn new(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: content.into(), bindings: None }
    }

    /// Reads `path` and calls it `name`. Errors: those of the operating system.
    pub fn read(path: &Path, name: impl Into<String>) -> std::io::Result<Self> {
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(READ_BYTES).read_to_end(&mut content)?;
        let bindings = path.with_extension("bindings.yaml");
        let bindings = bindings.is_file().then(|| bindings.display().to_string());
        Ok(Self { name: name.into(), content, bindings })
    }

    /// Parses and checks it.
    pub fn check(&self, registry: &Registry) -> Checked {
        let (definitions, mut findings) = match model::parse(&self.content) {
            Ok(definitions) => {
                let findings = lint::check(&definitions, registry);
                (Some(definitions), findings)
            }
            Err(findings) => (None, findings),
        };
        if let Some(bindings) = &self.bindings {
            let message = format!("bindings files are not supported by weavergen yet, and {bindings} is one");
            let fix = format!("write what it binds into {} as extension elements, and rename {bindings}", self.name);
            let at = At { offset: 0, length: 0, line: 1, column: 1 };
            findings.push(Diagnostic::new("unsupported:bindings", Severity::Error, at, message, fix));
        }
        for finding in &mut findings {
            finding.file.clone_from(&self.name);
        }
        diagnostic::sort(&mut findings);
        Checked { name: self.name.clone(), definitions, findings }
    }
}

/// The `*.bpmn` files below `folder`, in the order of their paths; hidden folders and links to folders are left out.
///
/// Errors: a folder that cannot be read, with its path.
pub fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>, (PathBuf, std::io::Error)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let at = |error| (folder.clone(), error);
        for entry in std::fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(at)?);
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if kind.is_dir() && !hidden {
                folders.push(path);
            } else if !kind.is_dir() && path.extension().is_some_and(|extension| extension == "bpmn") && path.is_file()
            {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_folders_but_not_in_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.bpmn", "a/c.bpmn", "a/c.xml", ".git/d.bpmn"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = files_below(dir.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/c.bpmn", "b.bpmn"]);
        assert_eq!(files_below(&dir.path().join("none")).unwrap_err().0, dir.path().join("none"));
    }

    #[test]
    fn a_bindings_file_beside_a_good_file_refuses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bpmn");
        std::fs::write(&path, include_bytes!("../../pipelines/regenerate.bpmn")).unwrap();
        let registry = super::super::job::schema::lint_registry(Vec::new(), None);
        let good = Source::read(&path, "x.bpmn").unwrap().check(&registry);
        assert!(!good.has_errors(), "{:?}", good.findings);
        std::fs::write(dir.path().join("x.bindings.yaml"), "a: {}").unwrap();
        let bound = Source::read(&path, "x.bpmn").unwrap().check(&registry);
        let errors: Vec<_> = bound.findings.iter().filter(|f| f.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].rule.as_str(), errors[0].file.as_str()), ("unsupported:bindings", "x.bpmn"));
    }

    #[test]
    fn a_file_over_the_limit_is_refused_and_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.bpmn");
        let mut big = include_bytes!("../../pipelines/regenerate.bpmn").to_vec();
        big.resize((16 << 20) + 10, b' ');
        std::fs::write(&path, big).unwrap();
        let judged = Source::read(&path, "big.bpmn").unwrap().check(&Registry::default());
        assert_eq!(judged.findings[0].rule, "xml-limit");
        assert!(judged.has_errors());
    }
}
