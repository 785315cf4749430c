//! `${…}` in values (collector_config.md 2).
//!
//! Duty: refuse references, by name, until expansion is built (0022), and unescape `$$` (E6). Guarantee: the text after
//! `:-` of a reference, and anything but a variable's name, is not printed: it may be a secret (D7). Left to others: none.

use crate::yaml::{Code, Node, Problem, Problems, Value};

/// Reports every reference and takes its value out of the tree, so that nothing else is said of it.
pub(super) fn refuse_references(tree: &mut Node, problems: &Problems) {
    walk(tree, &mut Vec::new(), problems);
}

fn walk(node: &mut Node, path: &mut Vec<String>, problems: &Problems) {
    match &mut node.value {
        Value::Map(map) => {
            for entry in map.entries_mut() {
                path.push(entry.key.clone());
                walk(&mut entry.value, path, problems);
                path.pop();
            }
        }
        Value::List(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                path.push(i.to_string());
                walk(item, path, problems);
                path.pop();
            }
        }
        Value::Text(text) => match unescape(text) {
            Ok(plain) => *text = plain,
            Err(reference) => {
                problems.add(Problem {
                    code: Code::Expansion,
                    path: path.join("::"),
                    text: format!("{reference}: expansion is not supported by weavergen yet"),
                    mark: node.mark.clone(),
                    help: Some("write the value, or pass it with --set; `$$` stands for one `$`".to_owned()),
                });
                node.value = Value::Reported;
            }
        },
        _ => {}
    }
}

/// The text with `$$` as `$`; `Err` names the first reference.
fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("${") {
            return Err(name(rest));
        }
        plain.push('$');
        rest = rest.strip_prefix("$$").unwrap_or(&rest[1..]);
    }
    plain.push_str(rest);
    Ok(plain)
}

/// `${env:NAME}` as written; whatever else stands in a reference is left out.
fn name(reference: &str) -> String {
    let inner = &reference[2..];
    let inner = inner.split('}').next().unwrap_or(inner);
    let (scheme, rest) = inner.strip_prefix("env:").map_or(("", inner), |rest| ("env:", rest));
    let variable = rest.split(":-").next().unwrap_or(rest);
    let is_name = !variable.is_empty() && variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match (is_name, rest.len() > variable.len()) {
        (true, false) => format!("${{{scheme}{variable}}}"),
        (true, true) => format!("${{{scheme}{variable}:-[REDACTED]}}"),
        (false, _) => match rest.split_once(':') {
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                format!("${{{scheme}:[REDACTED]}}")
            }
            _ => "${[REDACTED]}".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_unescaped_and_references_named_without_their_secrets() {
        for (text, want) in [
            ("a", Ok("a")),
            ("$$a$$", Ok("$a$")),
            ("$X costs 5$", Ok("$X costs 5$")),
            ("$${X}", Ok("${X}")),
            ("${X}", Err("${X}")),
            ("a${env:TOKEN}b", Err("${env:TOKEN}")),
            ("${env:TOKEN:-hunter2}", Err("${env:TOKEN:-[REDACTED]}")),
            ("${yaml:hunter2}", Err("${yaml:[REDACTED]}")),
            ("${file:/run/x}", Err("${file:[REDACTED]}")),
            ("${a b}", Err("${[REDACTED]}")),
            ("$${X}${Y}", Err("${Y}")),
        ] {
            assert_eq!(unescape(text), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
