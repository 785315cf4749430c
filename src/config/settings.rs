//! The settings in force, for people who ask for them (sql.md 4, `system.settings`).
//!
//! Duty: one line for each value that was written, with where, and for those of ours that most ask for what was taken by
//! default. Guarantee: what may be a secret is not in it: passwords, tokens, keys, headers, and addresses with more than a
//! host. Left to others: showing it (`app`).

use std::path::Path;

use super::{Config, defaults};
use crate::yaml::{Node, Value};

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Path, by dots.
    pub name: String,
    /// As text; a secret as [`HIDDEN`].
    pub value: String,
    /// `file:line:column`, the flag, or `default`.
    pub source: String,
}

/// What stands in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// What `--data` sets.
const DATA: &str = "storage.path";

pub(super) fn all(config: &Config, tree: &Node, data: Option<&Path>) -> Vec<Setting> {
    let mut settings = Vec::new();
    written(tree, &mut Vec::new(), &mut settings);
    if let Some(data) = data {
        // It holds wherever else the folder is written.
        settings.retain(|setting| setting.name != DATA);
        let (name, value) = (DATA.to_owned(), data.display().to_string());
        settings.push(Setting { name, value, source: "--data".to_owned() });
    }
    for (name, value) in defaults::values(config) {
        if !settings.iter().any(|setting| setting.name == name) {
            settings.push(Setting { name: name.to_owned(), value, source: "default".to_owned() });
        }
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    settings
}

fn written(node: &Node, path: &mut Vec<String>, into: &mut Vec<Setting>) {
    let value = match &node.value {
        Value::Map(map) => {
            for entry in map.entries() {
                path.push(entry.key.clone());
                written(&entry.value, path, into);
                path.pop();
            }
            return;
        }
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_) | Value::List(_))) => {
            for (at, item) in items.iter().enumerate() {
                path.push(at.to_string());
                written(item, path, into);
                path.pop();
            }
            return;
        }
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| scalar(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Null | Value::Reported if path.is_empty() => return,
        other => scalar(other),
    };
    let value = if is_secret(path) { HIDDEN.to_owned() } else { without_secret(&value) };
    into.push(Setting { name: path.join("."), value, source: node.mark.to_string() });
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(of) => of.to_string(),
        Value::Int(of) => of.to_string(),
        Value::Float(of) => of.to_string(),
        Value::Text(text) => text.clone(),
        Value::Null | Value::Reported | Value::List(_) | Value::Map(_) => String::new(),
    }
}

/// Whether a value below `path` may be a secret by the names on its way.
fn is_secret(path: &[String]) -> bool {
    const WORDS: [&str; 8] =
        ["password", "secret", "token", "credential", "authorization", "headers", "access_key", "private"];
    let is_one = |name: &String| {
        let name = name.to_ascii_lowercase();
        // Where a secret lies is none.
        WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("_file")
    };
    // Addresses of people's hooks let everybody in who knows them.
    let hook = path.first().is_some_and(|section| section == "notify")
        && path.last().is_some_and(|name| name.contains("url") || name.contains("key"));
    hook || is_hidden_option(path) || path.iter().any(is_one)
}

/// Whether `path` leads to an option of the bucket that is not known to hold nothing secret: among the others are keys of
/// several kinds, and each release of the client may add one.
fn is_hidden_option(path: &[String]) -> bool {
    const SHOWN: [&str; 13] = [
        "allow_http",
        "checksum_algorithm",
        "connect_timeout",
        "default_region",
        "endpoint",
        "endpoint_url",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "region",
        "server_side_encryption",
        "skip_signature",
        "timeout",
        "virtual_hosted_style_request",
    ];
    let [storage, store, options, rest @ ..] = path else { return false };
    if (storage.as_str(), store.as_str(), options.as_str()) != ("storage", "object_store", "options") {
        return false;
    }
    let [name] = rest else { return true };
    let name = name.to_ascii_lowercase();
    !SHOWN.contains(&name.strip_prefix("aws_").unwrap_or(&name))
}

/// `value` without the user, path and query of an address with a user or a query.
fn without_secret(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}"),
        None if path.contains('?') => {
            format!("{scheme}://{authority}{}?{HIDDEN}", path.split('?').next().unwrap_or(""))
        }
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Request, load};
    use crate::yaml::{Mark, parse};

    #[test]
    fn what_was_written_is_shown_with_its_place_and_a_secret_is_not() {
        let text = "exporters:\n  otlp/x:\n    endpoint: collector:4317\n    headers: {authorization: Bearer s3cret}\n\
                    access:\n  tokens_file: /etc/tokens\nlists:\n  - {a: 1}\n  - [true, 2.5]\n";
        let tree = parse(text, &Mark::of_source(0, "x.yaml")).unwrap();
        let mut settings = Vec::new();
        written(&tree, &mut Vec::new(), &mut settings);
        let lines: Vec<String> =
            settings.iter().map(|of| format!("{} = {} ({})", of.name, of.value, of.source)).collect();
        assert_eq!(
            lines,
            [
                "exporters.otlp/x.endpoint = collector:4317 (x.yaml:3:15)",
                "exporters.otlp/x.headers.authorization = (hidden) (x.yaml:4:30)",
                "access.tokens_file = /etc/tokens (x.yaml:6:16)",
                "lists.0.a = 1 (x.yaml:8:9)",
                "lists.1 = [true, 2.5] (x.yaml:9:5)",
            ]
        );
    }

    #[test]
    fn what_was_not_written_is_a_default_in_force() {
        let sets = vec!["query.timeout=7s".parse().unwrap()];
        let loaded = load(&Request { sets, ..Request::default() }, &Environment::default()).unwrap();
        let of = |name: &str| {
            let setting = loaded.config.settings.iter().find(|setting| setting.name == name).unwrap();
            (setting.value.clone(), setting.source.clone())
        };
        assert_eq!(of("query.timeout"), ("7s".to_owned(), "--set query.timeout".to_owned()));
        assert_eq!(of("query.planning_timeout"), ("5s".to_owned(), "default".to_owned()));
        let names: Vec<&String> = loaded.config.settings.iter().map(|setting| &setting.name).collect();
        assert!(names.windows(2).all(|two| two[0] < two[1]), "sorted, and each once: {names:?}");
    }

    #[test]
    fn the_data_folder_in_force_is_that_of_the_flag() {
        let of = |data: Option<&str>, sets: &[&str]| {
            let sets = sets.iter().map(|set| set.parse().unwrap()).collect();
            let request = Request { sets, data: data.map(Into::into), ..Request::default() };
            let settings = load(&request, &Environment::default()).unwrap().config.settings;
            let mut found = settings.into_iter().filter(|setting| setting.name == "storage.path");
            let setting = found.next().unwrap();
            assert_eq!(found.next(), None);
            (setting.value, setting.source)
        };
        let text = |value: &str, source: &str| (value.to_owned(), source.to_owned());
        assert_eq!(of(Some("/flag"), &[]), text("/flag", "--data"));
        assert_eq!(of(Some("/flag"), &["storage.path=/set"]), text("/flag", "--data"));
        assert_eq!(of(None, &["storage.path=/set"]), text("/set", "--set storage.path"));
    }

    #[test]
    fn addresses_lose_what_may_let_others_in() {
        for (value, shown) in [
            ("https://hooks.example/T0/B0", "https://hooks.example/T0/B0"),
            ("https://me:pass@host:1/x", "https://(hidden)@host:1"),
            ("https://host/x?sig=abc", "https://host/x?(hidden)"),
            ("localhost:8080", "localhost:8080"),
        ] {
            assert_eq!(without_secret(value), shown);
        }
        let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(is_secret(&path(&["notify", "receivers", "x", "slack", "url"])));
        assert!(is_secret(&path(&["storage", "s3", "secret_access_key"])));
        assert!(!is_secret(&path(&["storage", "path"])));
        let option = |name: &str| is_secret(&path(&["storage", "object_store", "options", name]));
        for name in ["sse_customer_key_base64", "aws_sse_customer_key_base64", "SSE_KMS_KEY_ID", "proxy_url", "new_one"]
        {
            assert!(option(name), "{name}");
        }
        for name in ["region", "aws_region", "AWS_Endpoint", "timeout", "skip_signature"] {
            assert!(!option(name), "{name}");
        }
        assert!(!is_secret(&path(&["storage", "object_store", "url"])));
    }
}
