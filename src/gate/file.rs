//! Gate files to groups (gates.md 1).
//!
//! Duty: one YAML text to groups of gates, with the places that planning needs. Guarantee: all problems of a text are
//! told, not the first; a group is usable only if none of them is an error. Left to others: the keys of a gate
//! (`gate_keys`), which files there are (`files`), SQL (`plan`), names over all files (`load`).

use std::collections::BTreeMap;
use std::path::Path;

use super::config::{self, Config};
use super::definition::{Gate, Group};
use super::files::Text;
use super::gate_keys::{self, Places};
use super::problem::{Code, Problems, Who};
use super::reader::Keys;
use super::template::Use;
use crate::yaml::{Mark, Node, Value, parse_strict};

/// Most nodes of a file after the expansion of aliases.
const MAX_NODES: usize = 10_000;
/// Keys per gate without `limit`.
const LIMIT: usize = 1000;

/// Names that gate files may point at. `None`: not known here, so nothing is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Receivers of `notify`.
    pub receivers: Option<Vec<String>>,
    /// BPMN process ids with the message names of their message starts.
    pub pipelines: Option<BTreeMap<String, Vec<String>>>,
}

/// What reading needs beside the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub config: &'a Config,
    pub queries_dir: Option<&'a Path>,
    pub known: &'a Known,
    pub problems: &'a Problems,
}

/// A group as it was written.
#[derive(Debug)]
pub(super) struct Written {
    /// Without its gates.
    pub group: Group,
    /// Where it begins.
    pub place: Mark,
    /// Its gates with their places.
    pub gates: Vec<(Gate, Places)>,
}

/// What a gate takes over from its group.
#[derive(Clone, Debug)]
pub(super) struct Inherited {
    /// Name of the group.
    pub group: String,
    /// The grid.
    pub interval: std::time::Duration,
    /// Most keys.
    pub limit: usize,
    /// The group's labels and where they stand.
    pub labels: BTreeMap<String, Mark>,
}

/// Reads `text`.
pub(super) fn read(text: &Text, setting: Setting<'_>) -> Vec<Written> {
    let problems = setting.problems;
    let (root, faults) = parse_strict(&text.text, &text.mark, MAX_NODES);
    problems.add_faults(faults, |mark| syntax_hint(text, mark));
    let Some(root) = root else { return Vec::new() };
    of_root(root, text, setting)
}

/// Reads the tree of `text`.
pub(super) fn of_root(mut root: Node, text: &Text, setting: Setting<'_>) -> Vec<Written> {
    let problems = setting.problems;
    // Keys of the user's own, as places for anchors.
    if let Value::Map(map) = &mut root.value {
        map.entries_mut().retain(|entry| !entry.key.starts_with("x-"));
    }
    let Some(keys) = Keys::of(&root, "the file", Who::File, problems) else { return Vec::new() };
    let mut written = Vec::new();
    if let Some(node) = keys.required("groups", "begin the file with `groups:`") {
        match &node.value {
            Value::List(items) => {
                let mut names: BTreeMap<String, Mark> = BTreeMap::new();
                for item in items {
                    written.extend(group(item, text, setting, &mut names));
                }
            }
            other => {
                let what = format!("`groups` is {}, a list is expected", super::reader::word(other));
                keys.tell(Code::WrongType, &node.mark, what, "write `- name: …` below it");
            }
        }
    }
    keys.finish(&[]);
    written
}

/// The scanner's words for the commonest slip say nothing of it.
fn syntax_hint(text: &Text, mark: &Mark) -> &'static str {
    let (line, _) = mark.position().unwrap_or((1, 1));
    let line = text.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
    let bare = [": >", ": <", ": !=", ": =="].iter().any(|sign| line.contains(sign));
    if bare { "put the comparison in quotes: \"> 95%\"" } else { "correct the YAML" }
}

fn group(node: &Node, text: &Text, setting: Setting<'_>, names: &mut BTreeMap<String, Mark>) -> Option<Written> {
    let problems = setting.problems;
    let mut keys = Keys::of(node, "a group", Who::File, problems)?;
    keys.required("name", "name the group");
    let name = keys.text("name").map(|(name, mark)| {
        if name.trim().is_empty() {
            keys.tell(Code::GroupName, mark, "the name of the group is empty", "name the group");
        } else if let Some(first) = names.get(name) {
            let what = format!("the group name `{name}` is already used at {first}");
            keys.tell(Code::GroupName, mark, what, "choose another name");
        } else {
            names.insert(name.to_owned(), mark.clone());
        }
        name.to_owned()
    });
    let name = name.unwrap_or_default();
    if !name.is_empty() {
        keys.who = Who::Group(name.clone());
    }
    let interval = keys.duration("interval", config::INTERVAL).unwrap_or(setting.config.interval);
    let query_offset = keys.duration("query_offset", config::QUERY_OFFSET).unwrap_or(setting.config.query_offset);
    let limit = keys.count("limit", (1, 100_000), Code::Limit).and_then(|n| usize::try_from(n).ok());
    let labels = keys.templates("labels", Use::Label);
    let mut label_marks = BTreeMap::new();
    for entry in keys.named("labels") {
        gate_keys::check_label(&keys, &entry.key, &entry.mark);
        label_marks.insert(entry.key.clone(), entry.mark.clone());
    }
    let inherited = Inherited { group: name.clone(), interval, limit: limit.unwrap_or(LIMIT), labels: label_marks };
    let mut gates = Vec::new();
    if let Some(node) = keys.required("gates", "list the gates of the group") {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                keys.tell(Code::Missing, &node.mark, "`gates` is empty", "list at least one gate");
            }
            Value::List(items) => {
                gates.extend(items.iter().filter_map(|item| gate_keys::read(item, text, &inherited, setting)));
            }
            other => {
                let what = format!("`gates` is {}, a list is expected", super::reader::word(other));
                keys.tell(Code::WrongType, &node.mark, what, "write `- gate: …` below it");
            }
        }
    }
    keys.finish(&[]);
    let file = text.mark.source().to_owned();
    let group = Group { name, file, interval, query_offset, labels, gates: Vec::new() };
    Some(Written { group, place: node.mark.clone(), gates })
}
