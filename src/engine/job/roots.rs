//! Which folders jobs may touch: `engine.jobs.roots`.
//!
//! Duty: one check. Guarantee: links and `..` are resolved before it. Left to others: what is done there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `path` with links resolved, as far as it exists, if it is one of `roots` or below one.
///
/// Errors: one sentence: it is relative, holds `..` where nothing exists, or is below no root.
pub(super) fn below(roots: &[PathBuf], path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("`{shown}` is not absolute"));
    }
    let real = resolved(path).map_err(|why| format!("`{shown}` {why}"))?;
    let allowed = roots.iter().filter_map(|root| root.canonicalize().ok()).any(|root| real.starts_with(root));
    if allowed {
        return Ok(real);
    }
    let known: Vec<_> = roots.iter().map(|root| format!("`{}`", root.display())).collect();
    let known = if known.is_empty() { "it names none".to_owned() } else { format!("it names {}", known.join(", ")) };
    Err(format!("`{shown}` is below no folder of `engine.jobs.roots`; {known}"))
}

/// The nearest existing folder resolved, and the rest as it is written.
fn resolved(path: &Path) -> Result<PathBuf, String> {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        match at.canonicalize() {
            Ok(real) => return Ok(rest.iter().rev().fold(real, |real: PathBuf, part| real.join(part))),
            // a broken link exists and leads nobody knows where
            Err(error) if error.kind() == ErrorKind::NotFound && at.symlink_metadata().is_err() => {}
            Err(error) => return Err(format!("cannot be resolved: {error}")),
        }
        let (Some(name), Some(parent)) = (at.file_name(), at.parent()) else {
            return Err("leads through `..` where nothing exists".to_owned());
        };
        rest.push(name.to_owned());
        at = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_really_lies_below_a_root_is_allowed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let roots = [root.path().to_owned()];
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        std::os::unix::fs::symlink("/nowhere/x", root.path().join("broken")).unwrap();
        let real = root.path().canonicalize().unwrap();
        assert_eq!(below(&roots, &root.path().join("new/deep")), Ok(real.join("new/deep")));
        assert_eq!(below(&roots, root.path()), Ok(real));
        for path in ["out", "out/x", "broken", "broken/x", "new/../../x"] {
            assert!(below(&roots, &root.path().join(path)).is_err(), "{path}");
        }
        assert!(below(&roots, Path::new("relative")).unwrap_err().contains("not absolute"));
        assert!(below(&[], root.path()).unwrap_err().contains("names none"));
    }
}
