//! `engine.jobs` of the configuration (bpmn.md 17).
//!
//! Duty: which commands may run, which folders may be written, how many jobs run at a time. Guarantee: a command without a
//! path and a hash is refused; what needs the sandbox that is not built is refused as coming. Left to others: all other
//! keys of `engine`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::yaml::Section;

/// `engine.jobs`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Commands by name.
    pub commands: BTreeMap<String, Executable>,
    /// Folders that `codegen` may write below, and that `command` may work in.
    pub roots: Vec<PathBuf>,
    /// Job type → jobs at a time.
    pub concurrency: BTreeMap<String, usize>,
    /// Job types whose workers come from outside.
    pub external: Vec<String>,
}

/// What a name of `jobs.commands` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executable {
    /// `path: self`
    This,
    /// A file.
    File {
        /// Absolute.
        path: PathBuf,
        /// Of its content, hex in lower case.
        sha256: String,
    },
}

/// Jobs at a time by type, if nothing is said.
const CONCURRENCY: [(&str, usize); 8] = [
    ("command", 2),
    ("http", 16),
    ("sql", 4),
    ("llm", 4),
    ("codegen", 1),
    ("vote", 8),
    ("span-gate", 8),
    ("choose", 8),
];

impl Default for Config {
    fn default() -> Self {
        let concurrency = CONCURRENCY.iter().map(|(name, jobs)| ((*name).to_owned(), *jobs)).collect();
        Self { commands: BTreeMap::new(), roots: Vec::new(), concurrency, external: Vec::new() }
    }
}

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let mut config = Self::default();
        let commands = section.block("commands");
        for entry in commands.entries() {
            if let Some(executable) = executable(&commands.block_of(entry)) {
                config.commands.insert(entry.key.clone(), executable);
            }
        }
        config.roots = section.texts("roots").unwrap_or_default().into_iter().map(PathBuf::from).collect();
        let concurrency = section.block("concurrency");
        for (name, _) in CONCURRENCY {
            if let Some(jobs) = concurrency.number(name, 1..=1024).and_then(|jobs| usize::try_from(jobs).ok()) {
                config.concurrency.insert(name.to_owned(), jobs);
            }
        }
        section.not_yet(&["external", "providers", "secrets"]);
        config
    }
}

fn executable(section: &Section<'_>) -> Option<Executable> {
    if section.boolean("network") == Some(false) {
        section.check("network", "false is not supported by weavergen yet: the sandbox is coming");
    }
    if section.has_items("write") {
        section.check("write", "is not supported by weavergen yet: the sandbox is coming");
    }
    let sha256 = section.text("sha256");
    let Some(path) = section.text("path") else {
        section.check("path", "is required: an absolute path, or self");
        return None;
    };
    if path == "self" {
        section.refuse("sha256", "is not needed for this binary itself");
        return Some(Executable::This);
    }
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        section.check("path", "must be absolute: commands are not searched in PATH");
    }
    let Some(sha256) = sha256 else {
        let help = format!("write what `sha256sum {}` prints", path.display());
        section.check_with_help("sha256", "is required: only the file that was looked at may run", help);
        return None;
    };
    if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        section.check("sha256", "must be 64 hexadecimal digits in lower case");
        return None;
    }
    path.is_absolute().then_some(Executable::File { path, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Mark, Problems, parse};

    fn read(text: &str) -> (Config, Vec<String>) {
        let problems = Problems::new();
        let node = parse(text, &Mark::of_source(0, "c")).unwrap();
        let config = Config::read(&Section::root(&node, &problems));
        (config, problems.into_sorted().into_iter().map(|p| format!("{}: {}", p.path, p.text)).collect())
    }

    #[test]
    fn commands_are_allowed_by_path_and_hash() {
        let hash = "a".repeat(64);
        let (config, problems) = read(&format!(
            "commands: {{deploy: {{path: /bin/true, sha256: {hash}, network: true}}, me: {{path: self}}}}\nroots: [/srv]\n\
             concurrency: {{command: 5}}"
        ));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(config.commands["me"], Executable::This);
        assert_eq!(config.commands["deploy"], Executable::File { path: "/bin/true".into(), sha256: hash });
        assert_eq!((config.concurrency["command"], config.concurrency["sql"]), (5, 4));
    }

    #[test]
    fn what_is_unsafe_or_not_built_is_refused_by_name() {
        let (config, problems) = read(
            "commands:\n  a: {path: bin/x, sha256: 1}\n  b: {path: /x}\n  c: {}\n  d: {path: /x, sha256: zz, network: false, write: [/]}\n\
             concurency: {}\nsecrets: {a: b}",
        );
        assert!(config.commands.is_empty());
        let all = problems.join("\n");
        for part in [
            "commands::a::path: must be absolute",
            "commands::b::sha256: is required",
            "commands::c::path: is required",
            "commands::d::network: false is not supported",
            "commands::d::write: is not supported",
            "commands::d::sha256: must be 64",
            "invalid keys: concurency",
            "secrets: is not supported",
        ] {
            assert!(all.contains(part), "{part} in\n{all}");
        }
    }
}
