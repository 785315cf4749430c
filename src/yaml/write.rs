//! Trees as YAML in block style.
//!
//! Duty: [`text`]. Guarantee: a YAML reader gets the same values back, in the same order: text that could be taken for
//! anything else is quoted. Left to others: marks, which are not written, and comments.

use std::fmt::Write as _;

use super::{Node, Value};

/// `root` as a document.
pub fn text(root: &Node) -> String {
    let mut into = String::new();
    block(root, 0, &mut into);
    into
}

fn is_block(node: &Node) -> bool {
    match &node.value {
        Value::Map(map) => !map.is_empty(),
        Value::List(items) => !items.is_empty(),
        _ => false,
    }
}

/// Writes `node` at the start of a line.
fn block(node: &Node, indent: usize, into: &mut String) {
    let pad = " ".repeat(indent);
    match &node.value {
        Value::Map(map) if is_block(node) => {
            for entry in map.entries() {
                let _ = write!(into, "{pad}{}:", word(&entry.key));
                below(&entry.value, indent + 2, into);
            }
        }
        Value::List(items) if is_block(node) => {
            for item in items {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                // The item's first line goes behind the dash.
                let _ = write!(into, "{pad}- {}", inner.trim_start_matches(' '));
            }
        }
        _ => {
            let _ = writeln!(into, "{pad}{}", scalar(node));
        }
    }
}

/// Writes `node` behind a key.
fn below(node: &Node, indent: usize, into: &mut String) {
    if is_block(node) {
        into.push('\n');
        block(node, indent, into);
    } else {
        let _ = writeln!(into, " {}", scalar(node));
    }
}

fn scalar(node: &Node) -> String {
    match &node.value {
        Value::Null | Value::Reported => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => ".nan".to_owned(),
        Value::Float(number) if number.is_infinite() => if *number > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => word(text),
        // Only empty ones come here.
        Value::List(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

/// Text, quoted unless no YAML reader can take it for another thing.
fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        return text.to_owned();
    }
    let is_printable = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.contains('"') && !text.contains('\'') && text.chars().all(is_printable) {
        return format!("'{text}'");
    }
    // A JSON string is a double-quoted scalar of YAML.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{Mark, parse_documents, parse_strict};
    use super::*;

    fn bare(node: &Node) -> Node {
        let mut node = node.clone();
        node.visit_mut(&mut |node| {
            node.mark = Mark::of_source(0, "");
            if let Value::Map(map) = &mut node.value {
                map.entries_mut().iter_mut().for_each(|entry| entry.mark = Mark::of_source(0, ""));
            }
        });
        node
    }

    #[test]
    fn a_reader_gets_the_same_values_back_in_the_same_order() {
        let odd = "z: []\na: {}\nc: [[1, [2, {x: null}]], {d: true, e: [{f: 1.5}, 1e21, -3, .inf]}]\n\"true\": \"null\"\n\
                   g: [\"0x10\", \"1.5\", \"no\", \"\", \" x\", \"a: b\", \"# c\", \"é\\n\\\"\", \"-\", \"~\", a.b/c]\n\
                   s: ['span[name=\"it\\s\"]', \"it's \\\"x\\\"\", \"{x}\"]\nh i: {j: {k: l}}\n";
        let (root, faults) = parse_strict(odd, &Mark::of_source(0, "odd"), 1000);
        assert_eq!(faults, []);
        let written = text(&root.clone().unwrap());
        let (again, faults) = parse_strict(&written, &Mark::of_source(0, "out"), 1000);
        assert_eq!((bare(&again.unwrap()), faults), (bare(&root.unwrap()), vec![]), "{written}");
        assert!(written.starts_with("z: []\na: {}\n"), "{written}");
    }

    #[test]
    fn several_documents_are_read_with_their_lines_and_empty_ones_are_none() {
        let (roots, faults) = parse_documents("a: &x 1\n---\n---\nb: 2\n---\n- 3\n", &Mark::of_source(0, "many"), 1000);
        let at = |root: &Node| root.mark.position();
        assert_eq!(roots.iter().map(at).collect::<Vec<_>>(), [Some((1, 1)), Some((4, 1))]);
        assert_eq!(faults.iter().map(|fault| fault.mark.to_string()).collect::<Vec<_>>(), ["many:6:1"]);
        let (roots, faults) = parse_documents("a: &x 1\n---\nb: *x\n", &Mark::of_source(0, "many"), 1000);
        assert_eq!((roots.len(), faults.len()), (0, 1), "an alias does not reach into another document");
    }
}
