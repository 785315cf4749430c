//! Holds the house: who may name whom, what every file opens with, and what is linked once.
//!
//! It reads `src/` as text: a module names another by `crate::other` or, in the binary, `weavergen::other`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The table of design.md. Every module may also name `error` and `clock`.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("clock", &[]),
    ("disk", &[]),
    ("budget", &[]),
    ("yaml", &[]),
    ("span", &[]),
    ("otlp", &["span", "budget"]),
    ("access", &["yaml"]),
    ("semconv", &["span", "yaml"]),
    ("store", &["span", "otlp", "budget", "disk", "yaml"]),
    ("query", &["span", "store", "access", "budget", "yaml"]),
    ("receive", &["span", "otlp", "access", "budget", "disk", "yaml", "store::ledger"]),
    ("process", &["span", "otlp", "access", "budget", "disk", "yaml", "store::ledger"]),
    ("export", &["span", "otlp", "access", "budget", "disk", "yaml", "store"]),
    ("graph", &["receive", "process", "export", "access", "span", "yaml"]),
    ("generate", &["semconv", "disk", "yaml"]),
    ("gate", &["span", "store", "query", "semconv", "yaml"]),
    ("notify", &["gate", "access", "yaml"]),
    // `engine/job/*` and `engine/trigger.rs` may name more: ENGINE_RIM
    ("engine", &["bpmn", "span", "yaml", "access"]),
    ("learn", &["span", "store", "query", "gate", "engine", "yaml"]),
    ("telemetry", &["span", "yaml"]),
    (
        "web",
        &[
            "bpmn",
            "budget",
            "disk",
            "yaml",
            "span",
            "otlp",
            "access",
            "semconv",
            "store",
            "query",
            "generate",
            "gate",
            "notify",
            "engine",
            "learn",
            "telemetry",
        ],
    ),
    (
        "config",
        &[
            "yaml",
            "receive",
            "process",
            "export",
            "graph",
            "access",
            "semconv",
            "store",
            "query",
            "generate",
            "gate",
            "notify",
            "engine",
            "learn",
            "telemetry",
            "web",
            "budget",
        ],
    ),
    ("app", &["*"]),
    ("cli", &["*"]),
];

/// What the rim of the engine may name beside the engine's row.
const ENGINE_RIM: &[&str] = &["query", "gate", "generate", "disk"];

/// The layers of the member crate `bpmn`, of which nothing may name the rest of the house (bpmn.md 1).
const BPMN_MAY_NAME: &[(&str, &[&str])] = &[
    ("diagnostic", &[]),
    ("model", &["diagnostic"]),
    ("feel", &["diagnostic"]),
    ("lint", &["diagnostic", "model", "feel"]),
    ("core", &["diagnostic", "model", "feel"]),
    // tests over all layers
    ("claims", &["diagnostic", "model", "feel", "lint", "core"]),
];

fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join("src"), &mut files);
    files.iter().map(|f| f.strip_prefix(root).unwrap().to_owned()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The module of the house that a file belongs to: `src/store/part/mod.rs` and `src/store.rs` are `store`.
fn module(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Names after `crate::`, as `a` or `a::b`, outside comments. Braced imports are unfolded one level.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split(';').next().unwrap_or("");
            let mut depth = 0;
            let mut start = 0;
            for (i, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        names.insert(word(list[start..i].trim()));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        names.insert(word(list[start..i].trim()));
                        start = i + 1;
                    }
                    _ => {}
                }
            }
        } else {
            let first = word(rest);
            let second = rest[first.len()..].strip_prefix("::").map(word);
            names.insert(match second {
                Some(second) if !second.is_empty() => format!("{first}::{second}"),
                _ => first,
            });
        }
    }
    names.remove("");
    names
}

#[test]
fn nobody_names_a_module_that_the_table_does_not_allow() {
    let table: BTreeMap<&str, &[&str]> = MAY_NAME.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources() {
        let of = module(&path);
        if matches!(of.as_str(), "lib" | "main" | "bpmn") {
            continue;
        }
        let rim = of == "engine"
            && (path.starts_with("src/engine/job")
                || path.starts_with("src/engine/trigger")
                || path.ends_with("job.rs")
                || path.ends_with("trigger.rs"));
        let Some(allowed) = table.get(of.as_str()) else {
            wrong.push(format!("{}: module `{of}` is not in the table", path.display()));
            continue;
        };
        for name in named(&read(&path)) {
            let first = name.split("::").next().unwrap();
            let fine = first == of
                || matches!(first, "error" | "clock")
                || !table.contains_key(first)
                || allowed.iter().any(|a| *a == "*" || *a == first || name == *a)
                || (rim && ENGINE_RIM.contains(&first))
                // of the exporters only the one into the store knows the store
                || (of == "export" && first == "store" && path.ends_with("weavergen.rs"));
            let forbidden =
                (of == "export" && first == "store" && !path.ends_with("weavergen.rs")) && name != "store::ledger";
            if !fine || forbidden || (first == "cli" && of != "cli") {
                wrong.push(format!("{}: names `{name}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "the house of design.md does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn the_layers_of_bpmn_name_only_what_is_below_them() {
    let table: BTreeMap<&str, &[&str]> = BPMN_MAY_NAME.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources().iter().filter(|p| p.starts_with("src/bpmn")) {
        let of = path.components().nth(2).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(allowed) = table.get(of.as_str()) else {
            assert_eq!(of, "lib", "{}: layer `{of}` is not in the table", path.display());
            continue;
        };
        let names = named(&read(path)).into_iter().map(|name| name.split("::").next().unwrap().to_owned());
        wrong.extend(
            names
                .filter(|n| *n != of && table.contains_key(n.as_str()) && !allowed.contains(&n.as_str()))
                .map(|name| format!("{}: names `{name}`", path.display())),
        );
    }
    assert!(wrong.is_empty(), "the layers of bpmn.md 1 do not allow:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_names_sees_every_form_of_import() {
    let text = "use crate::span::TraceId;\nuse crate::{error::Class, store::{Store, part}, yaml};\nlet a = crate::disk::x();\n// crate::web";
    let names: Vec<_> = named(text).into_iter().collect();
    assert_eq!(names, ["disk::x", "error", "span::TraceId", "store", "yaml"]);
}

#[test]
fn every_file_opens_with_its_duty() {
    let silent: Vec<_> = sources().into_iter().filter(|p| !read(p).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "these do not open with `//! `: {silent:?}");
}

#[test]
fn no_file_hides_a_second_one() {
    let long: Vec<_> = sources().into_iter().filter(|p| read(p).lines().count() > 600).collect();
    assert!(long.is_empty(), "over 600 lines: {long:?}");
}

#[test]
fn no_folder_is_a_drawer_for_everything() {
    let drawers = ["utils", "util", "common", "helpers", "types", "misc"];
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|p| p.components().any(|c| drawers.contains(&c.as_os_str().to_str().unwrap().trim_end_matches(".rs"))))
        .filter(|p| !p.ends_with("query/types.rs"))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_must_be_one_copy_is_linked_once() {
    #[derive(serde::Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let lock: Lock = toml::from_str(&read(Path::new("Cargo.lock"))).unwrap();
    for name in ["arrow", "parquet", "datafusion", "object_store", "reqwest", "hyper", "rustls", "tonic"] {
        let versions: Vec<_> = lock.package.iter().filter(|p| p.name == name).map(|p| p.version.as_str()).collect();
        assert_eq!(versions.len(), 1, "{name} is linked as {versions:?}");
    }
}

#[test]
fn every_command_that_a_text_names_is_one() {
    let cli = <weavergen::cli::Cli as clap::CommandFactory>::command();
    let mut named = 0;
    for file in sources().into_iter().chain([PathBuf::from("README.md")]) {
        for rest in read(&file).split("`weavergen ").skip(1) {
            let is_of_words = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '-' | ' ');
            let words = rest.split(|c: char| !is_of_words(c)).next().unwrap_or_default();
            let mut at = &cli;
            for word in words.split_whitespace().take_while(|word| !word.starts_with('-')) {
                match at.find_subcommand(word) {
                    Some(found) => (at, named) = (found, named + 1),
                    None => {
                        let file = file.display();
                        assert!(!at.has_subcommands(), "{file}: `weavergen {words}`: there is no `{word}`");
                        break;
                    }
                }
            }
        }
    }
    assert!(named > 50, "only {named} words of commands were found");
}
