//! Where templates come from.
//!
//! Duty: a set of template files by path (`registry/<target>/[<variant>/]…`), compiled in or read from a folder, and the
//! part of it that one target uses. Guarantee: a set is read once and does not change while it renders; symlinks and
//! hidden names are left out. Left to others: what the files mean (`config`, `render`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::hash::Parts;

/// Of one template file, and of a set.
const MAX_FILE: u64 = 4 << 20;
const MAX_FILES: usize = 10_000;

/// Compiled in: path below `pipelines/templates/`, text. A test keeps it equal to the folder.
const BUILTIN: &[(&str, &str)] = &[
    (
        "registry/instrumentation/complete/instrumentation.yaml.j2",
        include_str!("../../pipelines/templates/registry/instrumentation/complete/instrumentation.yaml.j2"),
    ),
    (
        "registry/instrumentation/complete/weaver.yaml",
        include_str!("../../pipelines/templates/registry/instrumentation/complete/weaver.yaml"),
    ),
    (
        "registry/instrumentation/stable/instrumentation.yaml.j2",
        include_str!("../../pipelines/templates/registry/instrumentation/stable/instrumentation.yaml.j2"),
    ),
    (
        "registry/instrumentation/stable/weaver.yaml",
        include_str!("../../pipelines/templates/registry/instrumentation/stable/weaver.yaml"),
    ),
    ("registry/rust/attributes.rs.j2", include_str!("../../pipelines/templates/registry/rust/attributes.rs.j2")),
    ("registry/rust/spans.rs.j2", include_str!("../../pipelines/templates/registry/rust/spans.rs.j2")),
    ("registry/rust/weaver.yaml", include_str!("../../pipelines/templates/registry/rust/weaver.yaml")),
];

/// A set of template files; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    files: Arc<BTreeMap<String, File>>,
}

#[derive(Clone, Debug)]
struct File {
    text: Arc<str>,
    /// The path for messages.
    shown: String,
}

/// The files that one target (and variant) renders from.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `weaver.yaml` files from the root down, path for messages and text.
    pub(super) configs: Vec<(String, Arc<str>)>,
    /// Files that patterns may match: path inside the effective folder → source.
    pub(super) own: BTreeMap<String, Source>,
    /// Files of the target's folder that includes reach beside those, for a variant.
    pub(super) shared: BTreeMap<String, Source>,
    /// Over every file above.
    pub(super) hash: String,
}

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) text: Arc<str>,
    pub(super) shown: String,
}

impl Templates {
    /// The set that is compiled in.
    pub fn builtin() -> Self {
        let file = |(path, text): &(&str, &str)| {
            ((*path).to_owned(), File { text: Arc::from(*text), shown: format!("builtin:{path}") })
        };
        Self { files: Arc::new(BUILTIN.iter().map(file).collect()) }
    }

    /// The set in the folder `dir`, which holds `registry/<target>/…`.
    ///
    /// Errors: the folder or a file cannot be read, is no UTF-8, or is above 4 MiB.
    pub fn folder(dir: &Path) -> Result<Self, Error> {
        Self::default().overlaid(dir)
    }

    /// This set with the files in `dir` added; a file of the same path replaces.
    ///
    /// Errors: as [`Templates::folder`].
    pub fn overlaid(&self, dir: &Path) -> Result<Self, Error> {
        let mut files = (*self.files).clone();
        walk(dir, "", &mut files)?;
        Ok(Self { files: Arc::new(files) })
    }

    /// Names of the targets.
    pub fn targets(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix("registry/")?.strip_suffix("/weaver.yaml"))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect();
        names.extend(self.files.keys().filter_map(|path| {
            let name = path.strip_prefix("registry/")?.strip_suffix("/weaver.yaml")?;
            name.split_once('/').map(|(target, _)| target.to_owned())
        }));
        names.sort();
        names.dedup();
        names
    }

    /// Names of the variants of `target`.
    pub fn variants(&self, target: &str) -> Vec<String> {
        let prefix = format!("registry/{target}/");
        let variant = |path: &String| {
            let name = path.strip_prefix(&prefix)?.strip_suffix("/weaver.yaml")?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        self.files.keys().filter_map(variant).collect()
    }

    pub(super) fn target(&self, target: &str, variant: Option<&str>) -> Result<Target, Error> {
        for (what, name) in [("target", Some(target)), ("variant", variant)] {
            if let Some(name) = name.filter(|name| !is_folder_name(name)) {
                return Err(Error::Argument(format!(
                    "{what} `{name}` is no folder name: letters, digits, `.`, `_`, `-`"
                )));
            }
        }
        let root = format!("registry/{target}");
        let folder = variant.map_or_else(|| root.clone(), |variant| format!("{root}/{variant}"));
        if !self.files.contains_key(&format!("{folder}/weaver.yaml")) {
            let known = match variant {
                Some(_) if self.targets().iter().any(|t| t == target) => self.variants(target),
                None if !self.variants(target).is_empty() => {
                    self.variants(target).iter().map(|v| format!("--variant {v}")).collect()
                }
                _ => self.targets(),
            };
            return Err(Error::NoTarget { wanted: format!("{folder}/weaver.yaml"), known });
        }
        let configs = ancestors(&folder).into_iter().filter_map(|path| {
            let file = self.files.get(&path)?;
            Some((file.shown.clone(), Arc::clone(&file.text)))
        });
        let (configs, own) = (configs.collect::<Vec<_>>(), self.below(&folder));
        let shared = if variant.is_some() { self.below(&root) } else { BTreeMap::new() };
        let mut hash = Parts::new();
        for (_, text) in &configs {
            hash.part(text.as_bytes());
        }
        for (path, source) in shared.iter().chain(&own) {
            hash.part(path.as_bytes()).part(source.text.as_bytes());
        }
        Ok(Target { configs, own, shared, hash: hash.hex() })
    }

    /// Files below `folder` but not in a folder with a `weaver.yaml` of its own, by path inside `folder`.
    fn below(&self, folder: &str) -> BTreeMap<String, Source> {
        let prefix = format!("{folder}/");
        let inner: Vec<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix)?.strip_suffix("weaver.yaml").map(str::to_owned))
            .filter(|inner| !inner.is_empty())
            .collect();
        let take = |(path, file): (&String, &File)| {
            let path = path.strip_prefix(&prefix)?;
            let own = path != "weaver.yaml" && !inner.iter().any(|inner| path.starts_with(inner.as_str()));
            own.then(|| (path.to_owned(), Source { text: Arc::clone(&file.text), shown: file.shown.clone() }))
        };
        self.files.iter().filter_map(take).collect()
    }
}

/// `weaver.yaml` in each folder from the root down to `folder`.
fn ancestors(folder: &str) -> Vec<String> {
    let mut paths = vec!["weaver.yaml".to_owned()];
    paths.extend(folder.match_indices('/').map(|(at, _)| format!("{}/weaver.yaml", &folder[..at])));
    paths.push(format!("{folder}/weaver.yaml"));
    paths
}

fn is_folder_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn walk(root: &Path, inside: &str, files: &mut BTreeMap<String, File>) -> Result<(), Error> {
    let folder = root.join(inside);
    let entries = std::fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &folder))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if name.starts_with('.') {
            continue;
        }
        let inner = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        let kind = entry.file_type().map_err(Error::io("read", &path))?;
        if kind.is_dir() {
            walk(root, &inner, files)?;
        } else if kind.is_file() {
            let size = entry.metadata().map_err(Error::io("read", &path))?.len();
            if size > MAX_FILE || files.len() >= MAX_FILES {
                let why = if size > MAX_FILE { "is above 4 MiB" } else { "is one file more than 10,000" };
                return Err(Error::Argument(format!("template {} {why}", path.display())));
            }
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Error::Argument(format!("template {} is no UTF-8", path.display())))?;
            files.insert(inner, File { text: Arc::from(text), shown: path.display().to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_set_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/templates");
        let read = Templates::folder(&folder).unwrap();
        let texts = |set: &Templates| set.files.iter().map(|(p, f)| (p.clone(), f.text.clone())).collect::<Vec<_>>();
        assert_eq!(texts(&read), texts(&Templates::builtin()));
    }

    #[test]
    fn a_folder_of_the_user_replaces_files_of_the_same_path_and_adds_others() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("registry/rust");
        std::fs::create_dir_all(target.join("loud")).unwrap();
        std::fs::write(target.join("spans.rs.j2"), "mine").unwrap();
        std::fs::write(target.join("loud/weaver.yaml"), "templates: []").unwrap();
        std::fs::write(target.join("loud/x.j2"), "x").unwrap();
        let set = Templates::builtin().overlaid(dir.path()).unwrap();
        assert_eq!(set.variants("rust"), ["loud"]);
        let plain = set.target("rust", None).unwrap();
        assert_eq!(&*plain.own["spans.rs.j2"].text, "mine");
        assert_eq!(plain.own.keys().collect::<Vec<_>>(), ["attributes.rs.j2", "spans.rs.j2"], "variants stay apart");
        let loud = set.target("rust", Some("loud")).unwrap();
        assert_eq!(loud.own.keys().collect::<Vec<_>>(), ["x.j2"]);
        assert_eq!(loud.configs.len(), 2, "the target's weaver.yaml comes first");
        assert_ne!(loud.hash, plain.hash);
    }

    #[test]
    fn an_unknown_target_is_told_with_the_near_one() {
        let error = Templates::builtin().target("rusd", None).unwrap_err().to_string();
        assert!(error.contains("`rust`") && error.contains("WG-GEN-002"), "{error}");
        let error = Templates::builtin().target("../rust", None).unwrap_err().to_string();
        assert!(error.contains("no folder name"), "{error}");
    }
}
