//! Sources joined into one tree.
//!
//! Duty: merging (C3), `--set` (C4) and `a::b` keys (C5). Guarantee: every node keeps the mark of the source it came
//! from. Left to others: which sources there are (`config`).

use super::parse::value;
use super::{Entry, Map, Mark, Node, Problem, Value};

/// Lays `over` on `base`: mappings join deeply; everything else, `null` included, replaces.
pub fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => {
            for entry in over.into_entries() {
                match base.get_mut(&entry.key) {
                    Some(old) => {
                        // A key set again stands where it was set last.
                        if !matches!((&old.value.value, &entry.value.value), (Value::Map(_), Value::Map(_))) {
                            old.mark = entry.mark;
                        }
                        merge(&mut old.value, entry.value);
                    }
                    None => base.put(entry),
                }
            }
        }
        (_, value) => *base = Node { value, mark: over.mark },
    }
}

/// Lays the YAML `text` on the node that the segments `path` name, making mappings on the way.
///
/// Errors: `text` is not YAML (0001).
pub fn set(base: &mut Node, path: &[&str], text: &str, mark: &Mark) -> Result<(), Problem> {
    let mut node = value(text, mark)?;
    expand_paths(&mut node);
    merge(base, nest(path, node, mark));
    Ok(())
}

fn nest(path: &[&str], inner: Node, mark: &Mark) -> Node {
    path.iter().rev().fold(inner, |value, key| {
        let mut map = Map::default();
        map.put(Entry { key: (*key).to_owned(), mark: mark.clone(), value });
        Node { value: Value::Map(map), mark: mark.clone() }
    })
}

/// Turns keys with `::` into nested mappings: `a::b: 1` equals `a: {b: 1}`.
pub fn expand_paths(node: &mut Node) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(expand_paths),
        Value::Map(map) => {
            map.entries_mut().iter_mut().for_each(|entry| expand_paths(&mut entry.value));
            if map.entries().iter().any(|entry| is_path(&entry.key)) {
                let mut joined = Node::empty_map(node.mark.clone());
                for entry in std::mem::take(map).into_entries() {
                    let path: Vec<&str> =
                        if is_path(&entry.key) { entry.key.split("::").collect() } else { vec![&entry.key] };
                    merge(&mut joined, nest(&path, entry.value, &entry.mark));
                }
                *node = joined;
            }
        }
        _ => {}
    }
}

fn is_path(key: &str) -> bool {
    key.contains("::") && key.split("::").all(|segment| !segment.is_empty()) && key.split("::").count() <= 32
}
