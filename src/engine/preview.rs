//! What a deploy would do (`--dry-run`, bpmn.md 17).
//!
//! Duty: outcome and version number of each process of files that could be deployed. Guarantee: changes nothing; says what
//! a deploy at this moment would answer. Left to others: deploying (`bpmn::core`), findings (`deploy`).

use std::collections::BTreeSet;

use bpmn::core::{DeployOutcome, Deployed, Key, Rejection, Row, StateView};
use bpmn::model;

use super::{Engine, Error, SourceFile, prepare};

impl Engine {
    /// Checks files as [`Engine::deploy`] does and says what it would do with each of their processes.
    ///
    /// Errors: those of a deploy, or the file of the engine cannot be read. Blocks on the disk's cache only.
    pub fn preview(&self, files: Vec<SourceFile>) -> Result<Vec<Deployed>, Error> {
        let prepared = prepare(files, &self.registry).map_err(Error::Refused)?;
        let view = self.store.view()?;
        let mut would = Vec::new();
        let mut seen = BTreeSet::new();
        for file in &prepared.files {
            let exec_hash = model::exec_hash(&file.definitions);
            for process in file.definitions.processes.iter().filter(|process| process.is_executable()) {
                if !seen.insert(process.id.clone()) {
                    let message = format!("two files define process `{}`: give one another id", process.id);
                    return Err(Rejection::Conflict { message }.into());
                }
                would.push(outcome(&view, &process.id, &file.hash, &exec_hash));
            }
        }
        view.failed()?;
        Ok(would)
    }
}

fn outcome(view: &dyn StateView, process: &str, hash: &str, exec_hash: &str) -> Deployed {
    let definition = view.definition(process);
    let in_force = definition.as_ref().and_then(|row| Some((row.version, view.version(process, row.version)?)));
    let known = match view.get(&Key::VersionOf(process.to_owned(), hash.to_owned())) {
        Some(Row::Number(version)) => u32::try_from(version).ok(),
        _ => None,
    };
    let next = known.unwrap_or_else(|| definition.map_or(0, |row| row.last_version) + 1);
    let (version, outcome) = match in_force {
        Some((version, row)) if row.hash == hash => (version, DeployOutcome::Same),
        Some((_, row)) if row.exec_hash == exec_hash => (next, DeployOutcome::LayoutOnly),
        _ => (next, DeployOutcome::New),
    };
    Deployed { process: process.to_owned(), version, hash: hash.to_owned(), outcome }
}
