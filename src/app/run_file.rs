//! `run.json`: where the daemon listens (design.md, the data folder).
//!
//! Duty: write it when all is bound, remove it at a clean stop, read it for other commands. Guarantee: it is replaced
//! as a whole, so a reader sees the old or the new one. Left to others: what a stale file means to a command.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

/// The file's name in the data folder.
pub const NAME: &str = "run.json";

/// Addresses that are bound.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// OTLP/gRPC.
    pub grpc: Vec<SocketAddr>,
    /// OTLP/HTTP.
    pub http: Vec<SocketAddr>,
    /// The API.
    pub api: Vec<SocketAddr>,
    /// `/metrics`
    pub metrics: Vec<SocketAddr>,
    /// Health.
    pub health: Vec<SocketAddr>,
    /// Clients of PostgreSQL.
    pub pg: Vec<SocketAddr>,
    /// Whose token the commands of whoever may read it send where one is asked for, absolute; not told if it is no text.
    pub tokens_file: Option<String>,
    /// ns since 1970.
    pub started_ns: i64,
}

/// The written file.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}; check the rights and the disk of the data folder", .path.display())]
pub struct Unwritten {
    path: PathBuf,
    error: std::io::Error,
}

impl RunFile {
    /// Writes the file into `folder`.
    ///
    /// Errors: [`Unwritten`].
    pub fn write(folder: &Path, endpoints: &Endpoints) -> anyhow::Result<Self> {
        let text = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let started = jiff::Timestamp::from_nanosecond(i128::from(endpoints.started_ns)).unwrap_or_default();
        let content = json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "started": started.to_string(),
            "receivers": { "otlp": { "grpc": text(&endpoints.grpc), "http": text(&endpoints.http) } },
            "api": text(&endpoints.api),
            "metrics": text(&endpoints.metrics),
            "health": text(&endpoints.health),
            "pg": text(&endpoints.pg),
            "tokens_file": endpoints.tokens_file,
        });
        let path = folder.join(NAME);
        let written = folder.join("tmp").join(NAME);
        let bytes = serde_json::to_string_pretty(&content).context("addresses are plain data")? + "\n";
        std::fs::write(&written, bytes)
            .and_then(|()| std::fs::rename(&written, &path))
            .map_err(|error| Unwritten { path: path.clone(), error })?;
        Ok(Self { path })
    }

    /// Removes it; a file that is gone already is fine.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `path` as the file tells it: absolute; `None` if it, or the working folder, is no UTF-8.
pub(super) fn told(path: &Path) -> Option<String> {
    std::path::absolute(path).ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_path_that_is_no_text_is_left_out_and_the_file_is_written() {
        assert_eq!(told(Path::new("/etc/tokens")).as_deref(), Some("/etc/tokens"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let tokens_file = told(Path::new(OsStr::from_bytes(b"/caf\xe9/tokens")));
        assert_eq!(tokens_file, None);
        RunFile::write(folder.path(), &Endpoints { tokens_file, ..Endpoints::default() }).unwrap();
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        let run: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(run["tokens_file"].is_null(), "{text}");
    }
}
