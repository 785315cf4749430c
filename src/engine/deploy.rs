//! Files to deploy: read, checked, compiled (bpmn.md 13).
//!
//! Duty: all that can be said about files before the writer sees them. Guarantee: a set with an error deploys nothing.
//! Left to others: versions (`bpmn::core`), keeping bytes (`store`).

use std::sync::Arc;

use bpmn::core::Models;
use bpmn::diagnostic::{Diagnostic, Severity};
use bpmn::lint::{self, Registry};
use bpmn::model::{self, Definitions};

use super::store::SourceRow;

/// A file as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// How findings call it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Files that can be deployed.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) files: Vec<PreparedFile>,
    /// What was found and does not keep them from it.
    pub findings: Vec<Diagnostic>,
}

#[derive(Clone, Debug)]
pub(super) struct PreparedFile {
    pub hash: String,
    pub source: SourceRow,
    pub definitions: Arc<Definitions>,
}

/// Reads and checks files. Errors: all findings, when one of them is an error.
pub fn prepare(files: Vec<SourceFile>, registry: &Registry) -> Result<Prepared, Vec<Diagnostic>> {
    let mut prepared = Prepared { files: Vec::new(), findings: Vec::new() };
    for file in files {
        let first = prepared.findings.len();
        match model::parse(&file.bytes) {
            Ok(definitions) => {
                prepared.findings.extend(lint::check(&definitions, registry));
                if let Err(errors) = Models::default().add("", &definitions)
                    && !prepared.findings[first..].iter().any(|finding| finding.severity == Severity::Error)
                {
                    prepared.findings.extend(errors.into_iter().map(|error| finding(&error)));
                }
                prepared.files.push(PreparedFile {
                    hash: model::version_hash(&file.bytes, None),
                    source: SourceRow { bytes: file.bytes, bindings: None },
                    definitions: Arc::new(definitions),
                });
            }
            Err(findings) => prepared.findings.extend(findings),
        }
        prepared.findings[first..].iter_mut().for_each(|finding| finding.file.clone_from(&file.name));
    }
    if prepared.findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(prepared.findings);
    }
    Ok(prepared)
}

/// What the machine cannot run although no rule named it.
fn finding(error: &bpmn::core::Error) -> Diagnostic {
    Diagnostic {
        rule: "unsupported:element".to_owned(),
        severity: Severity::Error,
        file: String::new(),
        at: bpmn::diagnostic::At { line: error.line, column: 1, ..Default::default() },
        element: Some(error.element.clone()),
        message: error.message.clone(),
        fix: format!("change element `{}`", error.element),
        related: Vec::new(),
    }
}
