//! `sql_file` (gates.md 1.2).
//!
//! Duty: the text of the query that a gate file names. Guarantee: nothing outside the nearest parent folder named
//! `queries`, or else the gate file's own folder, is read, also not through a link. Left to others: what the text says.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::files::Home;
use crate::query::library;

/// Longest query, in bytes.
const MAX_BYTES: u64 = 256 << 10;

/// The text of `given`, as `home` names it, with the path to show. `Err` says what is wrong and the next move.
pub(super) fn read(
    home: &Home,
    given: &str,
    queries_dir: Option<&Path>,
) -> Result<(String, PathBuf), (String, &'static str)> {
    let outside = |root: &str| (format!("`{given}` lies outside {root}"), "keep queries inside that folder");
    match home {
        Home::Builtin(path) => {
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            let inner = lexical(&folder.join(given)).ok_or_else(|| outside("`queries/`"))?;
            if let Some(on_disk) = queries_dir.map(|dir| dir.join(&inner)).filter(|path| path.is_file()) {
                return Ok((text(&on_disk, given)?, on_disk));
            }
            compiled(&inner).ok_or_else(|| (format!("there is no built-in query `{given}`"), "correct the path"))
        }
        Home::Disk(path) => {
            let failed = |error: std::io::Error| (format!("`{given}` cannot be found: {error}"), "correct the path");
            let file = std::path::absolute(path).map_err(failed)?;
            let folder = file.parent().and_then(lexical_absolute).unwrap_or_default();
            let root = folder.ancestors().find(|dir| dir.ends_with("queries")).unwrap_or(&folder);
            let shown = format!("`{}`", root.display());
            let target = lexical_absolute(&folder.join(given)).filter(|target| target.starts_with(root));
            let target = target.ok_or_else(|| outside(&shown))?;
            if !target.exists()
                && let Some(dir) = queries_dir.and_then(|dir| lexical_absolute(&std::path::absolute(dir).ok()?))
                && let Some(found) = target.strip_prefix(dir).ok().and_then(compiled)
            {
                return Ok(found);
            }
            let real = target.canonicalize().map_err(failed)?;
            match root.canonicalize().is_ok_and(|root| real.starts_with(root)) {
                true => Ok((text(&target, given)?, path.parent().unwrap_or(Path::new("")).join(given))),
                false => Err(outside(&shown)),
            }
        }
    }
}

fn compiled(inner: &Path) -> Option<(String, PathBuf)> {
    let text = library::compiled(inner.to_str()?)?;
    Some((text.to_owned(), PathBuf::from(format!("builtin:{}", inner.display()))))
}

fn text(path: &Path, given: &str) -> Result<String, (String, &'static str)> {
    let mut bytes = Vec::new();
    let outcome = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    outcome.map_err(|error| (format!("`{given}` cannot be read: {error}"), "correct the path"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err((format!("`{given}` is larger than 256 KiB"), "write a shorter query"));
    }
    String::from_utf8(bytes).map_err(|_| (format!("`{given}` is not UTF-8 text"), "save it as UTF-8"))
}

/// `path`, which begins nowhere, without `.` and `..`; `None` if it leaves its start.
fn lexical(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// `path`, which begins at the root, without `.` and `..`.
fn lexical_absolute(path: &Path) -> Option<PathBuf> {
    let inner = lexical(path.strip_prefix("/").ok()?)?;
    Some(Path::new("/").join(inner))
}
