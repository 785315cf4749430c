//! The tokens file.
//!
//! Duty: one token and role a line; a missing file is made. Guarantee: a made file is readable by its owner only, replaces
//! none, and is there as a whole or not at all (where the file system has links or a rename that replaces nothing); a file
//! without a token is refused, and a comparison takes the same time for every wrong token. Left to others: headers.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Identity;
use super::config::Role;
use super::error::Error;
use crate::clock::Clock;

/// Shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

type Hash = [u8; 32];

/// Known tokens, by their hash: a lookup by hash tells an attacker nothing about the token's first characters.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    roles: HashMap<Hash, Role>,
    fresh: Option<String>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("count", &self.roles.len()).finish()
    }
}

impl Tokens {
    pub(super) fn open(path: &Path, clock: &Clock) -> Result<Self, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path, clock),
            Err(error) => Err(file("read", path, &error)),
        }
    }

    fn make(path: &Path, clock: &Clock) -> Result<Self, Error> {
        let token: String = (0..4).map(|_| format!("{:016x}", clock.random())).collect();
        let text = format!("# one token and role (admin, viewer) a line\n{token} admin\n");
        let write = || -> io::Result<()> {
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                fs::create_dir_all(dir)?;
            }
            let mut beside = path.as_os_str().to_owned();
            beside.push(format!(".{:016x}.partial", clock.random()));
            let beside = Path::new(&beside);
            written(beside, text.as_bytes())?;
            let placed = place(beside, path, text.as_bytes());
            // Nobody looks for it there.
            let _ = fs::remove_file(beside);
            placed
        };
        match write() {
            Ok(()) => Ok(Self { fresh: Some(token), ..Self::parse(path, &text)? }),
            // Another process made it meanwhile: its tokens count.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::parse(path, &fs::read_to_string(path).map_err(|e| file("read", path, &e))?)
            }
            Err(error) => Err(file("make", path, &error)),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let mut roles = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| Error::Line { path: path.to_owned(), line: at + 1, why };
            let mut words = line.split_whitespace();
            let (Some(token), Some(role), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("it does not have two words"));
            };
            let role = match role {
                "admin" => Role::Admin,
                "viewer" => Role::Viewer,
                _ => return Err(wrong("its role is not known")),
            };
            if token.len() < MIN_TOKEN {
                return Err(wrong("its token is shorter than 16 characters"));
            }
            if roles.insert(hash(token), role).is_some() {
                return Err(wrong("its token stands on an earlier line too"));
            }
        }
        if roles.is_empty() {
            return Err(Error::NoToken { path: path.to_owned() });
        }
        Ok(Self { roles, fresh: None })
    }

    pub(super) fn identify(&self, token: &str) -> Option<Identity> {
        let hash = hash(token);
        let role = *self.roles.get(&hash)?;
        let name = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Some(Identity { name: format!("token-{name}"), role })
    }

    pub(super) fn fresh(&self) -> Option<&str> {
        self.fresh.as_deref()
    }
}

/// Gives the whole file at `beside`, which holds `bytes`, the name `path`; `AlreadyExists` if another has it.
fn place(beside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_answer =
        |placed: &io::Result<()>| placed.as_ref().err().is_none_or(|e| e.kind() == io::ErrorKind::AlreadyExists);
    // Not every file system has links, nor a rename that replaces nothing.
    let linked = fs::hard_link(beside, path);
    if is_answer(&linked) {
        return linked;
    }
    let renamed = renamed(beside, path);
    if is_answer(&renamed) {
        return renamed;
    }
    // Here a crash may leave a part of the file, but none of another process is ever replaced.
    written(path, bytes)
}

fn renamed(beside: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, beside, CWD, path, RenameFlags::NOREPLACE)?)
}

/// Makes the file `path` of `bytes`, for its owner only; none is there after an error.
fn written(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = made.write_all(bytes).and_then(|()| made.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

fn file(action: &'static str, path: &Path, error: &io::Error) -> Error {
    Error::File { action, path: path.to_owned(), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn no_way_to_place_a_file_replaces_one_that_is_there() {
        type Way = fn(&Path, &Path) -> io::Result<()>;
        let ways: [(&str, Way); 4] = [
            ("any", |beside, path| place(beside, path, b"ours")),
            ("link", |beside, path| fs::hard_link(beside, path)),
            ("rename", renamed),
            ("write", |_, path| written(path, b"ours")),
        ];
        for (name, way) in ways {
            let dir = tempfile::tempdir().unwrap();
            let (beside, path) = (dir.path().join("beside"), dir.path().join("tokens"));
            written(&beside, b"ours").unwrap();
            fs::write(&path, "theirs").unwrap();
            let refused = way(&beside, &path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{name}");
            assert_eq!(fs::read(&path).unwrap(), b"theirs", "{name}");
            fs::remove_file(&path).unwrap();
            way(&beside, &path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"ours", "{name}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}
