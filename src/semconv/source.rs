//! Where the texts of a registry come from (semconv.md 1.1).
//!
//! Duty: a definition folder or a shipped registry to named texts in path order; the print by which a change is noticed.
//! Guarantee: hidden names and links are left out; what is read is bounded. Left to others: what the texts say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::builtin;
use super::problem::Error;

/// Bytes of all texts of a registry at most (semconv.md 7).
const MAX_BYTES: u64 = 64 << 20;
/// Folders within folders at most.
const MAX_DEPTH: usize = 64;
/// Names that hold no definitions.
const NOT_DEFINITIONS: [&str; 3] = ["manifest.yaml", "registry_manifest.yaml", "schema-next.yaml"];

/// A form of `semconv.registry` (semconv.md 1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of definitions.
    Folder(PathBuf),
    /// A registry that is compiled in: `builtin:NAME`.
    Builtin(&'static str),
}

/// A text with its path inside the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// As shown in problems.
    pub(super) name: String,
    pub(super) text: String,
}

/// The texts of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    /// `manifest.yaml`
    pub(super) manifest: Option<Text>,
    /// In path order.
    pub(super) definitions: Vec<Text>,
}

/// What is seen of the files of a registry without reading them; a change of a file changes it.
pub(super) type Print = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Source {
    /// The registry that `text` names.
    ///
    /// Errors: `builtin:` of a name that is not shipped, with those that are.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let Some(name) = text.strip_prefix("builtin:") else { return Ok(Self::Folder(PathBuf::from(text))) };
        let shipped = builtin::NAMES.iter().find(|known| **known == name);
        shipped.map(|name| Self::Builtin(name)).ok_or_else(|| Error::Unreadable {
            registry: text.to_owned(),
            why: format!("no registry `{name}` is shipped"),
            help: format!("there are {}; a folder is given by its path", shown(&builtin::NAMES)),
        })
    }

    /// Its texts; files of `engine_dir` replace shipped ones of the same path.
    pub(super) fn texts(&self, engine_dir: Option<&Path>) -> Result<Texts, Error> {
        match self {
            Self::Folder(folder) => {
                let files = walk(folder).map_err(|why| self.unreadable(why))?;
                let read = |(path, of): (String, PathBuf)| Ok((path, (of.display().to_string(), read(&of)?)));
                let files: Result<BTreeMap<_, _>, String> = files.into_iter().map(read).collect();
                split(files.map_err(|why| self.unreadable(why))?).map_err(|why| self.unreadable(why))
            }
            Self::Builtin(name) => {
                let mut files: BTreeMap<String, (String, String)> = builtin::files(name)
                    .map(|(path, text)| (path.to_owned(), (format!("builtin:{name}/{path}"), text.to_owned())))
                    .collect();
                if let Some(folder) = overlay(engine_dir, name) {
                    for (path, of) in walk(&folder).map_err(|why| self.unreadable(why))? {
                        let text = read(&of).map_err(|why| self.unreadable(why))?;
                        files.insert(path, (of.display().to_string(), text));
                    }
                }
                split(files).map_err(|why| self.unreadable(why))
            }
        }
    }

    /// See [`Print`]. A folder that cannot be read now has an empty one.
    pub(super) fn print(&self, engine_dir: Option<&Path>) -> Print {
        let folder = match self {
            Self::Folder(folder) => Some(folder.clone()),
            Self::Builtin(name) => overlay(engine_dir, name),
        };
        let files = folder.and_then(|folder| walk(&folder).ok()).unwrap_or_default();
        let seen = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok();
            let len = metadata.as_ref().map_or(0, fs::Metadata::len);
            (path, len, metadata.and_then(|metadata| metadata.modified().ok()))
        };
        files.into_values().map(seen).collect()
    }

    fn unreadable(&self, why: String) -> Error {
        let help = match self {
            Self::Folder(_) => format!("give a folder of `*.yaml` files or one of {}", shown(&builtin::NAMES)),
            Self::Builtin(_) => "its files come from `engine.dir`; correct or remove them there".to_owned(),
        };
        Error::Unreadable { registry: self.to_string(), why, help }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Builtin(name) => write!(f, "builtin:{name}"),
        }
    }
}

fn shown(names: &[&str]) -> String {
    names.iter().map(|name| format!("`builtin:{name}`")).collect::<Vec<_>>().join(", ")
}

/// Where `engine.dir` may replace files of a shipped registry.
fn overlay(engine_dir: Option<&Path>, name: &str) -> Option<PathBuf> {
    engine_dir.map(|dir| dir.join("registry").join(name)).filter(|folder| folder.is_dir())
}

/// Path inside the folder (parts joined by `/`) → path, of all YAML files below it.
fn walk(folder: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    if folder.is_file() {
        return Err("it is a file: resolved registries are not supported by weavergen yet".to_owned());
    }
    let mut found = BTreeMap::new();
    let mut open = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((dir, prefix, depth)) = open.pop() {
        let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", dir.display()))?;
            let of = entry.file_type().map_err(|error| format!("{}: {error}", entry.path().display()))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(format!("{}: its name is not UTF-8", entry.path().display()));
            };
            // Links only with --follow-symlinks (semconv.md 1.1), which is not built.
            if name.starts_with('.') || of.is_symlink() {
                continue;
            }
            let path = format!("{prefix}{name}");
            if of.is_dir() {
                if depth == MAX_DEPTH {
                    return Err(format!("{}: folders are nested deeper than {MAX_DEPTH}", entry.path().display()));
                }
                open.push((entry.path(), format!("{path}/"), depth + 1));
            } else if name.ends_with(".yaml") || name.ends_with(".yml") {
                found.insert(path, entry.path());
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    let error = |error: std::io::Error| format!("{}: {error}", path.display());
    let len = fs::metadata(path).map_err(error)?.len();
    if len > MAX_BYTES {
        return Err(too_large());
    }
    fs::read_to_string(path).map_err(error)
}

fn too_large() -> String {
    format!("its files hold more than {} MiB", MAX_BYTES >> 20)
}

/// Path → (name in problems, text), taken apart.
fn split(files: BTreeMap<String, (String, String)>) -> Result<Texts, String> {
    let mut texts = Texts::default();
    let mut bytes = 0;
    for (path, (name, text)) in files {
        bytes += text.len() as u64;
        if bytes > MAX_BYTES {
            return Err(too_large());
        }
        let of = Text { name, text };
        match path.as_str() {
            "manifest.yaml" => texts.manifest = Some(of),
            "registry_manifest.yaml" if texts.manifest.is_none() => texts.manifest = Some(of),
            _ if NOT_DEFINITIONS.contains(&path.rsplit('/').next().unwrap_or(&path)) => {}
            _ => texts.definitions.push(of),
        }
    }
    if texts.definitions.is_empty() {
        return Err("it holds no `*.yaml` file with definitions (hidden names and links are left out)".to_owned());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_yaml_files_in_path_order_without_hidden_names_and_links() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["b.yaml", "a/z.yml", "a/.hidden.yaml", ".git/x.yaml", "manifest.yaml", "c/manifest.yaml", "n.txt"]
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.file_name().unwrap().to_str().unwrap()).unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("b.yaml"), dir.path().join("link.yaml")).unwrap();
        let texts = Source::Folder(dir.path().to_owned()).texts(None).unwrap();
        let names: Vec<_> = texts.definitions.iter().map(|text| text.text.as_str()).collect();
        assert_eq!(names, ["z.yml", "b.yaml"]);
        assert_eq!(texts.manifest.unwrap().text, "manifest.yaml");
    }

    #[test]
    fn a_file_of_the_users_pipelines_replaces_the_shipped_one_of_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("registry/shop");
        fs::create_dir_all(&folder).unwrap();
        let (path, _) = builtin::files("shop").find(|(path, _)| *path != "manifest.yaml").unwrap();
        fs::write(folder.join(path), "mine").unwrap();
        fs::write(folder.join("added.yaml"), "added").unwrap();
        let shipped = Source::Builtin("shop").texts(None).unwrap();
        let own = Source::Builtin("shop").texts(Some(dir.path())).unwrap();
        assert_eq!(own.definitions.len(), shipped.definitions.len() + 1);
        assert_eq!(own.definitions.iter().filter(|text| text.text == "mine").count(), 1);
    }

    #[test]
    fn a_registry_that_is_not_there_names_the_way_out() {
        let error = Source::parse("builtin:shap").unwrap_err().to_string();
        assert!(error.contains("there are `builtin:weavergen`, `builtin:shop`"), "{error}");
        let error = Source::parse("/no/such/folder").unwrap().texts(None).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder: No such file"), "{error}");
    }
}
