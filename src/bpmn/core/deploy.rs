//! Versions come into force (bpmn.md 13).
//!
//! Duty: command `Deploy`. Guarantee: all or nothing; a hash keeps its number. Left to others: reading, checking and
//! keeping files (`engine`).

use super::command::{Answer, DeployOutcome, Deployed, Rejection};
use super::event::{Body, DeployedVersion};
use super::machine::Machine;
use super::row::Change;
use super::state::{Key, Row};

pub(super) fn deploy(machine: &mut Machine<'_>, processes: &[(String, String)]) -> Result<Answer, Rejection> {
    let mut outcomes = Vec::new();
    for (process, hash) in processes {
        let Some(program) = machine.models.program(hash, process).cloned() else {
            return Err(Rejection::NotFound { what: "compiled process".to_owned(), id: format!("{process} {hash}") });
        };
        let before = machine.view().definition(process);
        let in_force = before.as_ref().and_then(|row| machine.view().version(process, row.version));
        if in_force.as_ref().is_some_and(|row| row.hash == *hash) {
            let version = before.map_or(1, |row| row.version);
            let (process, hash) = (process.clone(), hash.clone());
            outcomes.push(Deployed { process, version, hash, outcome: DeployOutcome::Same });
            continue;
        }
        let known = match machine.view().get(&Key::VersionOf(process.clone(), hash.clone())) {
            Some(Row::Number(version)) => u32::try_from(version).ok(),
            _ => None,
        };
        let change = match &in_force {
            None => Change::New,
            Some(row) if row.exec_hash == program.exec_hash => Change::Layout,
            Some(_) => Change::Executable,
        };
        let version = known.unwrap_or_else(|| before.map_or(0, |row| row.last_version) + 1);
        machine.emit(Body::Deployed(DeployedVersion {
            process: process.clone(),
            version,
            hash: hash.clone(),
            exec_hash: program.exec_hash.clone(),
            tag: program.version_tag.clone(),
            change,
            starts: program.message_starts(),
            again: known.is_some(),
        }));
        let outcome = if change == Change::Layout { DeployOutcome::LayoutOnly } else { DeployOutcome::New };
        outcomes.push(Deployed { process: process.clone(), version, hash: hash.clone(), outcome });
    }
    Ok(Answer::Deployed(outcomes))
}
