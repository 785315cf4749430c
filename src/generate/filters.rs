//! Filters and tests over registry values (semconv.md 9.3).
//!
//! Duty: what `| name` and `is name` do. Guarantee: a filter is a function of its input and of `weaver.yaml`. Left to
//! others: the list of names (`jinja`), cases (`casing`), comments (`comment`).

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::casing;
use super::comment::{CommentFormat, INDENTS, Indent};
use super::config::Config;

/// Terminal filters and their codes.
pub(super) const ANSI: [(&str, &str); 36] = [
    ("ansi_black", "30"),
    ("ansi_red", "31"),
    ("ansi_green", "32"),
    ("ansi_yellow", "33"),
    ("ansi_blue", "34"),
    ("ansi_magenta", "35"),
    ("ansi_cyan", "36"),
    ("ansi_white", "37"),
    ("ansi_bright_black", "90"),
    ("ansi_bright_red", "91"),
    ("ansi_bright_green", "92"),
    ("ansi_bright_yellow", "93"),
    ("ansi_bright_blue", "94"),
    ("ansi_bright_magenta", "95"),
    ("ansi_bright_cyan", "96"),
    ("ansi_bright_white", "97"),
    ("ansi_bg_black", "40"),
    ("ansi_bg_red", "41"),
    ("ansi_bg_green", "42"),
    ("ansi_bg_yellow", "43"),
    ("ansi_bg_blue", "44"),
    ("ansi_bg_magenta", "45"),
    ("ansi_bg_cyan", "46"),
    ("ansi_bg_white", "47"),
    ("ansi_bg_bright_black", "100"),
    ("ansi_bg_bright_red", "101"),
    ("ansi_bg_bright_green", "102"),
    ("ansi_bg_bright_yellow", "103"),
    ("ansi_bg_bright_blue", "104"),
    ("ansi_bg_bright_magenta", "105"),
    ("ansi_bg_bright_cyan", "106"),
    ("ansi_bg_bright_white", "107"),
    ("ansi_bold", "1"),
    ("ansi_italic", "3"),
    ("ansi_underline", "4"),
    ("ansi_strikethrough", "9"),
];

pub(super) fn add(env: &mut Environment<'_>, config: &Arc<Config>) {
    for (name, case, drop_underscores) in casing::FILTERS {
        env.add_filter(name, move |text: String| casing::convert(&text, case, drop_underscores));
    }
    for (name, code) in ANSI {
        env.add_filter(name, move |text: &Value| format!("\u{1b}[{code}m{text}\u{1b}[0m"));
    }
    env.add_filter("capitalize_first", |text: String| casing::capitalize_first(&text));
    env.add_filter("split_id", |id: String| Value::from(id.split('.').map(str::to_owned).collect::<Vec<_>>()));
    env.add_filter("comment_with_prefix", |text: &Value, prefix: String| {
        text.to_string().lines().map(|line| format!("{prefix}{line}")).collect::<Vec<_>>().join("\n")
    });
    env.add_filter("toyaml", |value: &Value| {
        let mut out = String::new();
        yaml(value, 0, false, &mut out);
        out.trim_end_matches('\n').to_owned()
    });
    env.add_filter("print_member_value", member_value);
    env.add_filter("print_value", member_value);
    env.add_filter("flatten", flatten);
    env.add_filter("numsort", numsort);
    env.add_filter("attribute_sort", attribute_sort);
    env.add_filter("required", |list: &Value| level_filter(list, true));
    env.add_filter("not_required", |list: &Value| level_filter(list, false));
    add_ids(env);
    add_configured(env, config);
    add_tests(env);
}

fn add_configured(env: &mut Environment<'_>, config: &Arc<Config>) {
    let of = Arc::clone(config);
    env.add_filter("map_text", move |text: &Value, map: String, default: Option<Value>| {
        let Some(texts) = of.text_maps.get(&map) else {
            return Err(fails(format!("no text map `{map}` in weaver.yaml")));
        };
        let mapped = text.as_str().and_then(|text| texts.get(text)).map(|text| Value::from(text.as_str()));
        Ok(mapped.or(default).unwrap_or_else(|| text.clone()))
    });
    let of = Arc::clone(config);
    env.add_filter("type_mapping", move |text: &Value| {
        let mapped = text.as_str().and_then(|text| of.type_mapping.get(text));
        mapped.map_or_else(|| text.clone(), |text| Value::from(text.as_str()))
    });
    let of = Arc::clone(config);
    env.add_filter("acronym", move |text: String| acronyms(&text, &of.acronyms));
    let of = Arc::clone(config);
    env.add_filter("comment", move |text: &Value, options: Kwargs| comment(text, &options, &of));
}

fn comment(text: &Value, options: &Kwargs, config: &Config) -> Result<String, Error> {
    let name = options.get::<Option<String>>("format")?.or_else(|| config.default_comment_format.clone());
    let mut format = match &name {
        Some(name) => config
            .comment_formats
            .get(name)
            .cloned()
            .ok_or_else(|| fails(format!("no comment format `{name}` in weaver.yaml")))?,
        None => CommentFormat::default(),
    };
    format.header = options.get::<Option<String>>("header")?.or(format.header);
    format.footer = options.get::<Option<String>>("footer")?.or(format.footer);
    format.prefix = options.get::<Option<String>>("prefix")?.unwrap_or(format.prefix);
    format.line_length = options.get::<Option<usize>>("line_length")?.or(format.line_length);
    if let Some(word) = options.get::<Option<String>>("indent_type")? {
        let found = INDENTS.iter().find(|(name, _)| *name == word);
        format.indent = found
            .map(|(_, indent): &(&str, Indent)| *indent)
            .ok_or_else(|| fails(format!("indent_type is space or tab, got \"{word}\"")))?;
    }
    let indent = options.get::<Option<usize>>("indent")?.unwrap_or(0);
    if indent > 1_000 {
        return Err(fails(format!("indent {indent} is above 1,000")));
    }
    options.assert_all_used()?;
    if text.is_undefined() || text.is_none() {
        return Ok(String::new());
    }
    let text = match text.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let parts = text.try_iter()?.filter(|part| !part.is_undefined() && !part.is_none());
            parts.map(|part| part.to_string()).collect::<Vec<_>>().join("\n")
        }
        _ => text.to_string(),
    };
    Ok(format.write(&text, indent))
}

fn acronyms(text: &str, acronyms: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let len = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(len);
        let spelled = acronyms.iter().find(|acronym| acronym.to_lowercase() == word.to_lowercase());
        out.push_str(spelled.map_or(word, String::as_str));
        let gap = tail.find(char::is_alphanumeric).unwrap_or(tail.len());
        out.push_str(&tail[..gap]);
        rest = &tail[gap..];
    }
    out
}

fn add_ids(env: &mut Environment<'_>) {
    env.add_filter("attribute_namespace", |id: String| match id.split_once('.') {
        Some((namespace, _)) => namespace.to_owned(),
        None => "other".to_owned(),
    });
    env.add_filter("attribute_id", |id: String| id.split_once('.').map_or(id.clone(), |(_, rest)| rest.to_owned()));
    env.add_filter("attribute_registry_namespace", |id: String| registry_namespace(&id));
    env.add_filter("attribute_registry_title", |id: String| {
        Ok::<_, Error>(casing::convert(&registry_namespace(&id)?, casing::Case::Title, false))
    });
    env.add_filter("attribute_registry_file", |id: String| {
        Ok::<_, Error>(format!("{}.md", casing::convert(&registry_namespace(&id)?, casing::Case::Kebab, false)))
    });
    env.add_filter("metric_namespace", |id: String| {
        let mut parts = id.split('.');
        match (parts.next(), parts.next()) {
            (Some("metric"), Some(namespace)) => Ok(namespace.to_owned()),
            _ => Err(fails(format!("`{id}` is no metric id: want `metric.<namespace>…`"))),
        }
    });
    env.add_filter("instantiated_type", |of: &Value| instantiated(of));
    env.add_filter("enum_type", |of: &Value| enum_type(of));
}

fn registry_namespace(id: &str) -> Result<String, Error> {
    let mut parts = id.split('.');
    match (parts.next(), parts.next()) {
        (Some("registry"), Some(namespace)) => Ok(namespace.to_owned()),
        _ => Err(fails(format!("`{id}` is no registry group: want `registry.<namespace>…`"))),
    }
}

fn add_tests(env: &mut Environment<'_>) {
    env.add_test("stable", |of: &Value| field(of, "stability").as_str() == Some("stable"));
    env.add_test("experimental", |of: &Value| field(of, "stability").as_str() != Some("stable"));
    env.add_test("deprecated", |of: &Value| field(of, "deprecated").kind() == ValueKind::Map);
    env.add_test("enum", |of: &Value| is_enum(&field(of, "type")));
    env.add_test("enum_type", |of: &Value| is_enum(of));
    env.add_test("simple_type", |of: &Value| of.as_str().is_some_and(is_simple));
    env.add_test("template_type", |of: &Value| of.as_str().is_some_and(|of| template_of(of).is_some()));
    env.add_test("array", |of: &Value| of.as_str().is_some_and(|of| of.ends_with("[]")));
}

fn is_simple(of: &str) -> bool {
    matches!(of.strip_suffix("[]").unwrap_or(of), "string" | "int" | "double" | "boolean")
}

fn template_of(of: &str) -> Option<&str> {
    of.strip_prefix("template[")?.strip_suffix(']')
}

fn is_enum(of: &Value) -> bool {
    !field(of, "members").is_undefined()
}

/// The type itself, T of a template, or the type of an enum's values.
fn instantiated(of: &Value) -> Result<String, Error> {
    match of.as_str() {
        Some(text) => Ok(template_of(text).unwrap_or(text).to_owned()),
        None => enum_type(of),
    }
}

fn enum_type(of: &Value) -> Result<String, Error> {
    let members = field(of, "members");
    if members.is_undefined() {
        return Err(fails(format!("`{of}` is no enum type")));
    }
    let kind = |member: Value| {
        let value = field(&member, "value");
        match value.kind() {
            ValueKind::Number if value.is_integer() => "int",
            ValueKind::Number => "double",
            ValueKind::Bool => "boolean",
            _ => "string",
        }
    };
    let mut kinds: Vec<_> = members.try_iter()?.map(kind).collect();
    kinds.dedup();
    Ok(if let [one] = kinds[..] { one } else { "string" }.to_owned())
}

fn member_value(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => serde_json::Value::from(value.as_str().unwrap_or_default()).to_string(),
        ValueKind::Number | ValueKind::Bool => value.to_string(),
        _ => String::new(),
    }
}

fn flatten(list: &Value) -> Result<Value, Error> {
    let mut out = Vec::new();
    for item in list.try_iter()? {
        match item.kind() {
            ValueKind::Seq | ValueKind::Iterable => out.extend(item.try_iter()?),
            _ => out.push(item),
        }
    }
    Ok(Value::from(out))
}

fn numsort(map: &Value) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    for key in map.try_iter()? {
        let text = key.to_string();
        let number: f64 = text.parse().map_err(|_| fails(format!("numsort: the key `{text}` is no number")))?;
        pairs.push((number, key.clone(), map.get_item(&key)?));
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Value::from(pairs.into_iter().map(|(_, key, value)| Value::from(vec![key, value])).collect::<Vec<_>>()))
}

/// 0 required, 1 conditionally required, 2 recommended, 3 opt-in.
fn level(attribute: &Value) -> u8 {
    let level = field(attribute, "requirement_level");
    let word = level.as_str().map(str::to_owned);
    let word = word.or_else(|| level.try_iter().ok()?.next().map(|key| key.to_string()));
    match word.as_deref() {
        Some("required") => 0,
        Some("conditionally_required") => 1,
        Some("opt_in") => 3,
        _ => 2,
    }
}

fn attribute_sort(list: &Value) -> Result<Value, Error> {
    let name = |attribute: &Value| {
        let key = field(attribute, "key");
        let name = if key.is_undefined() { field(attribute, "name") } else { key };
        name.as_str().unwrap_or_default().to_owned()
    };
    let mut items: Vec<(u8, String, Value)> = list.try_iter()?.map(|item| (level(&item), name(&item), item)).collect();
    items.sort_by(|a, b| match a.0.cmp(&b.0) {
        Ordering::Equal => a.1.cmp(&b.1),
        order => order,
    });
    Ok(Value::from(items.into_iter().map(|(_, _, item)| item).collect::<Vec<_>>()))
}

fn level_filter(list: &Value, required: bool) -> Result<Value, Error> {
    Ok(Value::from(list.try_iter()?.filter(|item| (level(item) == 0) == required).collect::<Vec<_>>()))
}

fn field(of: &Value, name: &str) -> Value {
    of.get_attr(name).unwrap_or(Value::UNDEFINED)
}

fn fails(text: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

/// Block style; texts are quoted as JSON wherever plain text could be read as something else.
fn yaml(value: &Value, depth: usize, inline: bool, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value.kind() {
        ValueKind::Map if value.len() != Some(0) => {
            let Ok(keys) = value.try_iter() else { return };
            for (at, key) in keys.enumerate() {
                if !(inline && at == 0) {
                    out.push_str(&pad);
                }
                out.push_str(&scalar(&key));
                out.push(':');
                let inner = value.get_item(&key).unwrap_or_default();
                nested(&inner, depth, out);
            }
        }
        ValueKind::Map => out.push_str("{}\n"),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter().map(Iterator::collect).unwrap_or_default();
            if items.is_empty() {
                out.push_str("[]\n");
            }
            for (at, item) in items.iter().enumerate() {
                if !(inline && at == 0) {
                    out.push_str(&pad);
                }
                out.push_str("- ");
                yaml(item, depth + 1, true, out);
            }
        }
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    let filled = value.len().is_some_and(|len| len > 0);
    if filled && matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        out.push('\n');
        yaml(value, depth + 1, false, out);
    } else {
        out.push(' ');
        yaml(value, depth, false, out);
    }
}

fn scalar(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => "null".to_owned(),
        ValueKind::Bool | ValueKind::Number => value.to_string(),
        _ => {
            let text = value.to_string();
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-'))
                && text.starts_with(|c: char| c.is_ascii_alphabetic())
                && !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
                );
            if plain { text } else { serde_json::Value::from(text).to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::{jinja, view};
    use super::*;

    fn render(text: &str) -> String {
        let config = Config {
            text_maps: BTreeMap::from([("rust".into(), BTreeMap::from([("int".into(), "i64".into())]))]),
            acronyms: vec!["HTTP".into(), "iOS".into()],
            ..Config::default()
        };
        let env = jinja::environment(&Arc::new(config));
        let data = view::value(&json!({
            "attrs": [
                {"key": "b.x", "type": "int", "requirement_level": "opt_in", "stability": "stable"},
                {"key": "z", "type": {"members": [{"id": "a", "value": "a"}, {"id": "b", "value": "b"}]},
                 "requirement_level": {"conditionally_required": "if so"}, "deprecated": {"reason": "obsoleted"}},
                {"key": "a.y", "type": "template[string[]]", "requirement_level": "required"},
                {"key": "c", "type": "any"},
            ],
            "nested": {"a": [1, {"b": "x y", "c": []}], "n": null, "t": "true"},
        }));
        env.render_str(text, data).unwrap_or_else(|e| format!("{e:#}"))
    }

    #[test]
    fn attributes_sort_by_level_then_key_and_are_tested_by_their_fields() {
        assert_eq!(render("{{ attrs | attribute_sort | map(attribute='key') | join(' ') }}"), "a.y z c b.x");
        assert_eq!(render("{{ attrs | required | map(attribute='key') | join }}"), "a.y");
        assert_eq!(render("{{ attrs | not_required | length }}"), "3");
        let marks = "{% for a in attrs %}{{ a is stable }} {{ a is deprecated }} {{ a is enum }} {{ a.type is simple_type }} \
                     {{ a.type is template_type }};{% endfor %}";
        assert_eq!(
            render(marks),
            "True False False True False;False True True False False;False False False False True;False False False False \
             False;"
        );
        assert_eq!(
            render("{{ attrs[1].type | enum_type }} {{ attrs[2].type | instantiated_type }}"),
            "string string[]"
        );
    }

    #[test]
    fn texts_map_or_stay() {
        assert_eq!(
            render("{{ 'int' | map_text('rust') }} {{ 'x' | map_text('rust') }} {{ 'x' | map_text('rust', '?') }}"),
            "i64 x ?"
        );
        assert!(render("{{ 'int' | map_text('go') }}").contains("no text map `go`"));
        assert_eq!(render("{{ 'http calls of ios-apps' | acronym }}"), "HTTP calls of iOS-apps");
        assert_eq!(
            render("{{ 'a.b.c' | attribute_id }} {{ 'a' | attribute_namespace }} {{ 'a' | attribute_id }}"),
            "b.c other a"
        );
        assert_eq!(render("{{ ['a', nothing, 'b\nc'] | comment(prefix='// ', indent=2) }}"), "// a\n  // b\n  // c");
        assert_eq!(render("{{ nothing | comment(prefix='// ') }}"), "");
        assert!(render("{{ 'a' | comment(prefx='// ') }}").contains("prefx"));
    }

    #[test]
    fn toyaml_writes_what_reads_back() {
        let text = render("{{ nested | toyaml }}");
        let node = crate::yaml::parse(&text, &crate::yaml::Mark::of_source(0, "t")).unwrap();
        assert_eq!(
            super::super::config::json(&node),
            json!({"a": [1, {"b": "x y", "c": []}], "n": null, "t": "true"}),
            "{text}"
        );
    }
}
