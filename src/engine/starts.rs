//! Which messages start which processes: what gate files are checked against (gates.md 030).
//!
//! Duty: process id → names of its message starts, of what is in force or of files. Guarantee: a process without a message
//! start is there with no name. Left to others: the check (`gate::file`).

use std::collections::BTreeMap;

use bpmn::core::{Key, Row, StateView as _};
use bpmn::model::{Definitions, NodeKind, StartTrigger};

use super::{Engine, Error};

impl Engine {
    /// Of every process in force. Errors: the file of the engine cannot be read.
    pub fn message_starts(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let view = self.store.view()?;
        // Keys of definitions are ordered by process id; no id is beyond this one.
        let (from, to) = (Key::Definition(String::new()), Key::Definition("\u{10ffff}".to_owned()));
        let rows = view.scan(&from, &to, usize::MAX);
        view.failed()?;
        let of = |(key, row): (Key, Row)| match (key, row) {
            (Key::Definition(process), Row::Definition(row)) => {
                Some((process, row.starts.into_iter().map(|(message, _)| message).collect()))
            }
            _ => None,
        };
        Ok(rows.into_iter().filter_map(of).collect())
    }
}

/// Of every executable process of a file.
pub fn message_starts(definitions: &Definitions) -> BTreeMap<String, Vec<String>> {
    let names = |process: &bpmn::model::Process| {
        let nodes = process.scope.nodes.iter();
        let messages = nodes.filter_map(|node| match &node.kind {
            NodeKind::Start(StartTrigger::Message { message }) => *message,
            _ => None,
        });
        messages.filter_map(|message| definitions.messages.get(message)?.name.clone()).collect()
    };
    let executable = definitions.processes.iter().filter(|process| process.is_executable());
    executable.map(|process| (process.id.clone(), names(process))).collect()
}
