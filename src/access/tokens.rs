//! The tokens file: one token and role a line.
//!
//! Duty: read it, or make it with one random admin token. Guarantee: a made file is readable by its owner only; tokens
//! are compared by hash, so a comparison tells nothing by its time; tokens are never printed whole by `Debug`. Left to
//! others: what a role may do.

use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::config::Role;
use crate::clock::Clock;

/// Known tokens; cheap to clone.
#[derive(Clone, Default)]
pub struct Tokens(Arc<HashMap<[u8; 32], Role>>);

/// The tokens file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read or made.
    #[error("access.tokens_file {path}: {source}; make the folder writable for the daemon, or name another file")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("access.tokens_file line {line}: {why}; a line is `<token> admin` or `<token> viewer`")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

impl Tokens {
    /// Reads `path`; a missing file is made. Also gives the token of a file that was made, to be shown once.
    pub fn load(path: &Path, clock: &Clock) -> Result<(Self, Option<String>), TokensError> {
        let io = |source| TokensError::Io { path: path.to_owned(), source };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok((Self::parse(&text)?, None)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let token = format!("wg_{:016x}{:016x}{:016x}", clock.random(), clock.random(), clock.random());
                let mut options = std::fs::OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
                let line = format!("{token} admin\n");
                file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
                Ok((Self::parse(&line)?, Some(token)))
            }
            Err(error) => Err(io(error)),
        }
    }

    /// Reads the lines of a file; empty lines and `#` comments are passed over.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            let wrong = |why| TokensError::Line { line: line_number, why };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let token = words.next().ok_or(wrong("the token is missing"))?;
            let role = match words.next() {
                Some("admin") => Role::Admin,
                Some("viewer") => Role::Viewer,
                Some(_) => return Err(wrong("the role is unknown")),
                None => return Err(wrong("the role is missing")),
            };
            if words.next().is_some() {
                return Err(wrong("there is more than a token and a role"));
            }
            tokens.insert(hash(token), role);
        }
        Ok(Self(Arc::new(tokens)))
    }

    /// The role of a token.
    pub fn role(&self, token: &str) -> Option<Role> {
        self.0.get(&hash(token)).copied()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} of [REDACTED])", self.0.len())
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_missing_file_is_made_with_one_admin_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let (made, token) = Tokens::load(&path, &Clock::manual(0, 1)).unwrap();
        let token = token.unwrap();
        assert_eq!(made.role(&token), Some(Role::Admin));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (read, shown) = Tokens::load(&path, &Clock::manual(0, 2)).unwrap();
        assert_eq!((read.role(&token), shown), (Some(Role::Admin), None));
        assert!(!format!("{read:?}").contains(&token));
    }

    #[test]
    fn a_wrong_line_is_told_by_number() {
        let text = Tokens::parse("a admin\n\n# note\nb boss\n").unwrap_err().to_string();
        assert!(text.contains("line 4: the role is unknown"), "{text}");
    }
}
