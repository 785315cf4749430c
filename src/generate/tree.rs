//! Which paths may be written (WG-GEN-030).
//!
//! Duty: paths inside OUTPUT, as text and on disk. Guarantee: a path that passed names a regular file, or nothing yet,
//! below OUTPUT, whatever symlinks lie on the way. Left to others: reading and writing it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::Error;

/// The folder of ours inside OUTPUT.
pub(super) const OURS: &str = ".weavergen";

/// `path` as text with `/` and without `.`.
///
/// Errors: WG-GEN-030.
pub(super) fn normal(path: &str) -> Result<String, Error> {
    let wrong = |why: &str| Error::Path { path: path.to_owned(), why: why.to_owned() };
    if path.is_empty() {
        return Err(wrong("is empty"));
    }
    if path.len() > 1024 {
        return Err(wrong("is longer than 1,024 bytes"));
    }
    if path.starts_with('/') || path.contains('\\') {
        return Err(wrong("is absolute or holds a backslash"));
    }
    if path.chars().any(char::is_control) {
        return Err(wrong("holds a control character"));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            "" => return Err(wrong("names a folder, not a file")),
            ".." => return Err(wrong("leaves the output folder")),
            ".git" | ".hg" | ".svn" => return Err(wrong("lies in a folder that controls the tree")),
            part if part.starts_with(OURS) => return Err(wrong("lies in a folder that controls the tree")),
            part if part.len() > 255 => return Err(wrong("has a part longer than 255 bytes")),
            part => parts.push(part),
        }
    }
    if parts.is_empty() || path.ends_with("/.") {
        return Err(wrong("names a folder, not a file"));
    }
    Ok(parts.join("/"))
}

/// Refuses a set in which one path is a folder of another.
pub(super) fn check_set<'a>(paths: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let paths: std::collections::BTreeSet<&str> = paths.map(String::as_str).collect();
    for path in &paths {
        for (at, _) in path.match_indices('/') {
            if paths.contains(&path[..at]) {
                let why = format!("lies below `{}`, which is a file", &path[..at]);
                return Err(Error::Path { path: (*path).to_owned(), why });
            }
        }
    }
    Ok(())
}

/// Where `path`, which is [`normal`], lies below `root`, which is canonical.
///
/// Errors: WG-GEN-030 when a link on the way leads out, or what lies there is no regular file.
pub(super) fn place(root: &Path, path: &str) -> Result<PathBuf, Error> {
    let wrong = |why: String| Error::Path { path: path.to_owned(), why };
    let place = root.join(path);
    let mut at = root.to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    for (i, part) in parts.iter().enumerate() {
        at.push(part);
        let meta = match std::fs::symlink_metadata(&at) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(place),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(wrong("lies below a file".to_owned()));
            }
            Err(error) => return Err(Error::io("read", &at)(error)),
        };
        let last = i + 1 == parts.len();
        if last {
            let fine = meta.is_file();
            return if fine { Ok(place) } else { Err(wrong("is there and no regular file".to_owned())) };
        }
        if meta.is_symlink() {
            let to = at.canonicalize().map_err(|e| wrong(format!("goes through the link {}: {e}", at.display())))?;
            if !to.starts_with(root) || to.starts_with(root.join(OURS)) || !to.is_dir() {
                return Err(wrong(format!("goes through the link {}, which leads to {}", at.display(), to.display())));
            }
        } else if !meta.is_dir() {
            return Err(wrong(format!("lies below {}, which is no folder", at.display())));
        }
    }
    Ok(place)
}

/// The folder of ours below `root`, made if it is not there.
///
/// Errors: it is a link or a file, or cannot be made.
pub(super) fn ours(root: &Path, disk: &crate::disk::Disk) -> Result<PathBuf, Error> {
    let folder = root.join(OURS);
    match std::fs::symlink_metadata(&folder) {
        Ok(meta) if meta.is_dir() => Ok(folder),
        Ok(_) => Err(Error::Path { path: OURS.to_owned(), why: "is there and no folder".to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            disk.create_dir_all(&folder).map_err(Error::io("make", &folder))?;
            Ok(folder)
        }
        Err(error) => Err(Error::io("read", &folder)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_output_are_taken() {
        assert_eq!(normal("a/./b.rs").unwrap(), "a/b.rs");
        assert_eq!(normal(".github/x.yml").unwrap(), ".github/x.yml");
        let long = "x".repeat(256);
        let bad = [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a//b",
            "a/",
            ".",
            "a/.",
            ".weavergen/journal.json",
            "a/.git/hooks/x",
            "a\0b",
            "a\nb",
            "a\\b",
            &long,
        ];
        for path in bad {
            let error = normal(path).unwrap_err().to_string();
            assert!(error.starts_with("WG-GEN-030"), "{path:?}: {error}");
        }
        let set = ["a".to_owned(), "a/b".to_owned()];
        assert!(check_set(set.iter()).is_err());
    }

    #[test]
    fn no_link_leads_out() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::create_dir(root.join(".weavergen")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink("real", root.join("in")).unwrap();
        std::os::unix::fs::symlink(".weavergen", root.join("ours")).unwrap();
        std::os::unix::fs::symlink("/dev/null", root.join("null")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("broken")).unwrap();
        assert!(place(&root, "new/deep/file").is_ok());
        assert!(place(&root, "in/file").is_ok());
        for path in ["out/file", "ours/file", "null", "null/x", "broken/x", "broken", "real"] {
            assert!(place(&root, path).is_err(), "{path}");
        }
    }
}
