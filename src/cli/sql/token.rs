//! The token that a command sends.
//!
//! Duty: read it from the file that the caller names, or from the one that `run.json` names. Guarantee: of the latter only
//! what is a token leaves this process, only if the file belongs to whoever wrote `run.json`, and only towards this
//! machine: else a data folder of somebody else could have any file of the caller's read out to any address. Left to
//! others: when it is sent (`ask`), what it opens (`access`).

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Failure;

/// As the daemon has it: shorter ones are none.
const MIN_TOKEN: usize = 16;

/// The first token of the file that the caller names.
pub(super) fn named(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Data(format!("--token-file {}: {error}", path.display())))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let token = line.and_then(|line| line.split_whitespace().next());
    token.map(str::to_owned).ok_or_else(|| Failure::Data(format!("--token-file {}: it is empty", path.display())))
}

/// The token of the daemon at `address` from `path`, the tokens file that its `run.json` names, whose owner is `owner`;
/// `None` if it may not be used or has none: then the daemon says what is missing.
pub(super) fn of_daemon(path: &Path, owner: u32, address: SocketAddr) -> Option<String> {
    if !is_here(address) {
        return None;
    }
    // Of the file that is read, whatever the path leads to by then.
    let mut file = File::open(path).ok()?;
    let is_theirs = file.metadata().is_ok_and(|meta| meta.is_file() && meta.uid() == owner);
    let mut text = String::new();
    if !is_theirs || file.read_to_string(&mut text).is_err() {
        return None;
    }
    best(&text).map(str::to_owned)
}

/// Whether who is asked at `address` is this machine: a socket can be bound to it.
fn is_here(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback() || UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok()
}

/// The first token of an admin in `text`, else that of a viewer.
fn best(text: &str) -> Option<&str> {
    let tokens = |wanted: &str| {
        text.lines().map(str::trim).filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut words = line.split_whitespace();
            let (token, role, rest) = (words.next()?, words.next()?, words.next());
            (role == wanted && token.len() >= MIN_TOKEN && rest.is_none()).then_some(token)
        })
    };
    tokens("admin").or_else(|| tokens("viewer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_an_admin_is_preferred_and_what_is_none_is_not_sent() {
        let (admin, viewer) = ("0123456789abcdef", "fedcba9876543210");
        for (text, wanted) in [
            (format!("# who\n{viewer} viewer\n{admin} admin\n"), Some(admin)),
            (format!("  {viewer}\tviewer\n"), Some(viewer)),
            (format!("{admin}\n{admin} owner\n{admin} admin now\n#{admin} admin\nshort admin\n"), None),
            ("-----BEGIN PRIVATE KEY-----\n".to_owned(), None),
            ("root:x:0:0:root:/root:/bin/sh\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(best(&text), wanted, "{text}");
        }
    }

    #[test]
    fn only_a_file_of_the_owner_of_run_json_is_sent_and_only_to_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "0123456789abcdef admin\n").unwrap();
        let owner = std::fs::metadata(&path).unwrap().uid();
        let at = |address: &str| address.parse::<SocketAddr>().unwrap();
        let here = at("127.0.0.1:8080");
        assert_eq!(of_daemon(&path, owner, here).as_deref(), Some("0123456789abcdef"));
        assert_eq!(of_daemon(&path, owner + 1, here), None);
        assert_eq!(of_daemon(dir.path(), owner, here), None);
        // RFC 5737: addresses for documentation, which no machine has.
        assert_eq!(of_daemon(&path, owner, at("192.0.2.7:8080")), None);
    }
}
