//! What tests are given from outside: clients that `tests/run.sh` installed, `../shared`, rights of the machine.
//!
//! A test without them is skipped by name on the error stream, which `cargo test` does not swallow, so that
//! `tests/run.sh` can count; in CI it fails.

use std::io::Write as _;
use std::path::PathBuf;

#[allow(clippy::disallowed_methods, reason = "tests/run.sh hands over what it installed")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says that `test` is skipped and why; panics in CI.
pub fn skipped(test: &str, why: &str) {
    assert!(variable("CI").is_none(), "{test} must not be skipped in CI: {why}");
    let _ = writeln!(std::io::stderr(), "skipped: {test} ({why})");
}

/// A variable that `tests/run.sh` sets.
pub fn installed(test: &str, name: &str) -> Option<String> {
    let value = variable(name);
    if value.is_none() {
        skipped(test, &format!("{name} is not set: run tests/run.sh"));
    }
    value
}

/// The folder of inputs that are not ours to keep.
#[allow(dead_code, reason = "its first reader comes with the pipelines")]
pub fn shared(test: &str) -> Option<PathBuf> {
    let given = variable("WEAVERGEN_SHARED").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")));
    if !folder.is_dir() {
        skipped(test, &format!("{} is not there; WEAVERGEN_SHARED says where it is", folder.display()));
        return None;
    }
    Some(folder)
}
