//! Files of spans below a folder.
//!
//! Duty: find them by their endings, others by their first bytes, and name those that are neither. Guarantee: a folder is
//! looked into once, whatever links lead to it; nothing is left out without being named. Left to others: reading them (`input`).

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::kind::{head, kind};
use super::unreadable;

/// Endings of files of spans.
const ENDINGS: [&str; 13] =
    ["json", "jsonl", "ndjson", "pb", "binpb", "bin", "otlp", "proto", "parquet", "arrow", "arrows", "ipc", "feather"];
/// Folders below a folder that are looked into.
const DEEPEST: usize = 16;
/// Files that are left out, of which so many are named.
const NAMED: usize = 5;

/// What lies below a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// To be read, in their order.
    pub(super) files: Vec<PathBuf>,
    /// Neither their endings nor their first bytes say that they hold spans.
    pub(super) left_out: Vec<PathBuf>,
}

impl Found {
    /// A sentence about the files that are left out.
    pub(super) fn left_out_text(&self, dir: &Path) -> Option<String> {
        let count = self.left_out.len();
        let names: Vec<String> = self.left_out.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
        (count > 0).then(|| {
            format!(
                "{}: left out, for neither ending nor first bytes tell spans: {}{more}; `--input FILE` reads one whatever its \
                 name",
                dir.display(),
                names.join(" ")
            )
        })
    }
}

/// All below `dir`.
///
/// Errors: it is a data folder, holds no file of spans, or cannot be read (74).
pub(super) fn files(dir: &Path) -> anyhow::Result<Found> {
    let shown = dir.display().to_string();
    if dir.join("VERSION").is_file() && dir.join("wal").is_dir() {
        return Err(unreadable(&shown, "this is a data folder of weavergen; give it to `--data`"));
    }
    let mut found = Found::default();
    walk(dir, DEEPEST, &mut BTreeSet::new(), &mut found)?;
    found.files.sort();
    found.left_out.sort();
    if found.files.is_empty() {
        let endings = ENDINGS.map(|ending| format!(".{ending}")).join(" ");
        let other = match found.left_out.first() {
            Some(path) => format!("; {} is none by its first bytes", path.display()),
            None => String::new(),
        };
        return Err(unreadable(&shown, format!("no file of spans lies below it; they end with {endings}{other}")));
    }
    Ok(found)
}

fn walk(dir: &Path, deepest: usize, seen: &mut BTreeSet<PathBuf>, found: &mut Found) -> anyhow::Result<()> {
    let failed = |error: std::io::Error| unreadable(&dir.display().to_string(), error);
    if !seen.insert(dir.canonicalize().map_err(failed)?) {
        return Ok(());
    }
    let entries = std::fs::read_dir(dir).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    // So that of several ways to a folder the same one is taken each time.
    paths.sort();
    for path in paths {
        let shown = path.display().to_string();
        let of = std::fs::metadata(&path).map_err(|error| match path.is_symlink() {
            true => unreadable(&shown, format!("the link leads nowhere: {error}; mend or remove it")),
            false => unreadable(&shown, error),
        })?;
        if of.is_dir() && deepest == 0 {
            let text = format!("it lies more than {DEEPEST} folders deep; name it beside the other");
            return Err(unreadable(&shown, text));
        } else if of.is_dir() {
            walk(&path, deepest - 1, seen, found)?;
        } else if of.is_file() && (has_ending(&path) || looks_like_spans(&path)?) {
            found.files.push(path);
        } else {
            found.left_out.push(path);
        }
    }
    Ok(())
}

fn has_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|of| of.to_str()).unwrap_or_default().to_ascii_lowercase();
    ENDINGS.contains(&ending.as_str())
}

fn looks_like_spans(path: &Path) -> anyhow::Result<bool> {
    let head = File::open(path).and_then(|mut file| head(&mut file));
    let head = head.map_err(|error| unreadable(&path.display().to_string(), format!("cannot be read: {error}")))?;
    Ok(kind(&head).is_plain())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[PathBuf], dir: &Path) -> Vec<String> {
        found.iter().map(|path| path.strip_prefix(dir).unwrap().display().to_string()).collect()
    }

    #[test]
    fn what_an_ending_does_not_tell_the_first_bytes_do_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("a.json", b"{}");
        write("b.jsonl.gz", b"\x1F\x8B\x08\x00");
        write("c", b"{\"resourceSpans\": []}");
        write("d.snappy.parquet.1", b"PAR1....");
        write("e.txt", b"hello");
        for name in ["f", "g", "h", "i", "j", "k"] {
            write(name, b"");
        }
        let found = files(dir.path()).unwrap();
        assert_eq!(names(&found.files, dir.path()), ["a.json", "b.jsonl.gz", "c", "d.snappy.parquet.1"]);
        assert_eq!(names(&found.left_out, dir.path()), ["e.txt", "f", "g", "h", "i", "j", "k"]);
        let text = found.left_out_text(dir.path()).unwrap();
        assert!(text.contains("/e.txt ") && text.contains("/i and 2 more;"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_into_a_folder_once_and_one_that_leads_nowhere_is_told() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("one")).unwrap();
        std::fs::write(dir.path().join("one/a.json"), "{}").unwrap();
        symlink(".", dir.path().join("loop")).unwrap();
        symlink("one", dir.path().join("two")).unwrap();
        symlink("../one", dir.path().join("one/self")).unwrap();
        let found = files(dir.path()).unwrap();
        assert_eq!(names(&found.files, dir.path()), ["one/a.json"]);
        symlink("absent", dir.path().join("gone.json")).unwrap();
        let why = files(dir.path()).unwrap_err().to_string();
        assert!(why.contains("gone.json: the link leads nowhere"), "{why}");
    }

    #[test]
    fn a_folder_that_is_too_deep_is_told_and_not_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..=DEEPEST).fold(dir.path().to_owned(), |path, _| path.join("d"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("a.json"), "{}").unwrap();
        std::fs::write(dir.path().join("a.json"), "{}").unwrap();
        let why = files(dir.path()).unwrap_err().to_string();
        assert!(why.contains("more than 16 folders deep"), "{why}");
    }
}
