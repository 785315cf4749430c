//! The data folder: who it is, and its places.
//!
//! Duty: make the folder, read or write `VERSION`, `node.id`, `objects.url` and `epoch`, empty `tmp/` and `spill/`.
//! Guarantee: identity files are written once, durably, and never replaced: log segments carry both ids. Left to others:
//! what lies in the places.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Error;
use crate::clock::Clock;
use crate::disk::Disk;

/// Version of all formats under the folder.
const FORMAT: u32 = 1;

/// A data folder whose identity is known; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub root: PathBuf,
    /// Of `VERSION`.
    pub store: Ulid,
    /// Of `node.id`.
    pub node: Ulid,
}

/// What a data folder knows of its claims of a place (storage.md 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Of the last one that is known to have succeeded.
    pub epoch: u64,
    /// Nonces of those begun since, oldest first: each may have succeeded.
    pub begun: Vec<Ulid>,
}

impl Claims {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let epoch = lines.next()?.parse().ok()?;
        Some(Self { epoch, begun: lines.filter_map(|line| Ulid::from_string(line).ok()).collect() })
    }

    fn text(&self) -> String {
        let begun: String = self.begun.iter().map(|nonce| format!("{nonce}\n")).collect();
        format!("{}\n{begun}", self.epoch)
    }
}

#[derive(Serialize, Deserialize)]
struct Version {
    format: u32,
    store: String,
}

impl Folder {
    /// Opens the folder `root` for writing; makes what is absent. The caller holds its lock.
    pub fn open(disk: &Disk, root: &Path, clock: &Clock) -> Result<Self, Error> {
        let has_log = has_segments(disk, root)?;
        let version = root.join("VERSION");
        let store = match read(disk, &version)? {
            Some(text) => parse_version(&version, &text)?,
            None if has_log => return Err(orphaned(&version)),
            None => {
                let store = clock.ulid();
                let text = serde_json::to_string(&Version { format: FORMAT, store: store.to_string() })
                    .expect("two plain fields are JSON");
                write(disk, root, &version, format!("{text}\n").as_bytes())?;
                store
            }
        };
        let node_id = root.join("node.id");
        let node = match read(disk, &node_id)? {
            Some(text) => parse_node(&node_id, &text)?,
            None if has_log => return Err(orphaned(&node_id)),
            None => {
                let node = clock.ulid();
                write(disk, root, &node_id, format!("{node}\n").as_bytes())?;
                node
            }
        };
        let folder = Self { root: root.to_owned(), store, node };
        for dir in [folder.wal(), folder.quarantine(), folder.tmp(), folder.spill()] {
            disk.create_dir_all(&dir).map_err(|e| Error::io("create", &dir, &e))?;
        }
        for dir in [folder.tmp(), folder.spill()] {
            empty(disk, &dir)?;
        }
        disk.sync_dir(root).map_err(|e| Error::io("sync", root, &e))?;
        Ok(folder)
    }

    /// Opens the folder for reading, beside a running daemon or without one. Changes nothing.
    pub fn read(disk: &Disk, root: &Path) -> Result<Self, Error> {
        let absent = |path: &Path| Error::Folder {
            path: path.to_owned(),
            detail: "the file is missing: this is not a data folder of weavergen".to_owned(),
        };
        let (version, node_id) = (root.join("VERSION"), root.join("node.id"));
        let store = parse_version(&version, &read(disk, &version)?.ok_or_else(|| absent(&version))?)?;
        let node = parse_node(&node_id, &read(disk, &node_id)?.ok_or_else(|| absent(&node_id))?)?;
        Ok(Self { root: root.to_owned(), store, node })
    }

    /// `objects.url`: where the parts are, in a line of its own, unless they are here.
    pub fn objects_file(&self) -> PathBuf {
        self.root.join("objects.url")
    }

    /// Where the parts are; `None` = here.
    pub fn objects_url(&self, disk: &Disk) -> Result<Option<String>, Error> {
        Ok(read(disk, &self.objects_file())?.map(|text| text.trim().to_owned()))
    }

    /// Writes down, durably, that the parts are at `url`.
    pub fn write_objects_url(&self, disk: &Disk, url: &str) -> Result<(), Error> {
        match self.objects_url(disk)?.as_deref() == Some(url) {
            true => Ok(()),
            false => write(disk, &self.root, &self.objects_file(), format!("{url}\n").as_bytes()),
        }
    }

    /// `epoch`: the [`Claims`] from here, the epoch in the first line, a nonce in each further one.
    pub fn epoch_file(&self) -> PathBuf {
        self.root.join("epoch")
    }

    /// What is known of the claims from here; `None` where nothing was written down.
    pub fn claims(&self, disk: &Disk) -> Result<Option<Claims>, Error> {
        Ok(read(disk, &self.epoch_file())?.and_then(|text| Claims::parse(&text)))
    }

    /// Writes that down, durably.
    pub fn write_claims(&self, disk: &Disk, claims: &Claims) -> Result<(), Error> {
        write(disk, &self.root, &self.epoch_file(), claims.text().as_bytes())
    }

    /// Whether `manifest/` has files.
    pub fn has_manifest(&self, disk: &Disk) -> Result<bool, Error> {
        let manifest = self.root.join("manifest");
        match disk.list(&manifest) {
            Ok(paths) => Ok(!paths.is_empty()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("list", &manifest, &error)),
        }
    }

    /// `wal/`
    pub fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// `quarantine/`
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// `ledger/`
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// `tmp/`
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// `spill/`
    pub fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }
}

fn has_segments(disk: &Disk, root: &Path) -> Result<bool, Error> {
    let wal = root.join("wal");
    match disk.list(&wal) {
        Ok(paths) => Ok(paths.iter().any(|p| super::wal::segment::lsn_of(p).is_some())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("list", &wal, &error)),
    }
}

fn orphaned(path: &Path) -> Error {
    Error::Folder {
        path: path.to_owned(),
        detail: "the file is missing although wal/ holds segments that name it: put it back from a copy, or move wal/ \
                 away to start without them"
            .to_owned(),
    }
}

fn read(disk: &Disk, path: &Path) -> Result<Option<String>, Error> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

fn parse_version(path: &Path, text: &str) -> Result<Ulid, Error> {
    let bad = |detail: String| Error::Folder { path: path.to_owned(), detail };
    let version: Version = serde_json::from_str(text)
        .map_err(|e| bad(format!("not `{{\"format\": 1, \"store\": \"<ULID>\"}}` ({e}): put it back from a copy")))?;
    if version.format > FORMAT {
        return Err(bad(format!(
            "format {} is newer than {FORMAT}, the newest this release knows: use a newer weavergen",
            version.format
        )));
    }
    Ulid::from_string(&version.store).map_err(|e| bad(format!("`store` is not a ULID ({e}): put it back from a copy")))
}

fn parse_node(path: &Path, text: &str) -> Result<Ulid, Error> {
    Ulid::from_string(text.trim()).map_err(|e| Error::Folder {
        path: path.to_owned(),
        detail: format!("not one line with a ULID ({e}): put it back from a copy"),
    })
}

/// A whole file of `dir` or none: a temporary file, synced, then renamed.
pub(super) fn write(disk: &Disk, dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let tmp = path.with_extension("new");
    let io = |e: std::io::Error| Error::io("write", path, &e);
    // One that is left over may have failed a sync, and is not to be trusted any more.
    match disk.remove(&tmp) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let file = disk.create_new(&tmp).map_err(io)?;
    file.write_all_at(bytes, 0).map_err(io)?;
    file.sync_data().map_err(io)?;
    disk.rename(&tmp, path).map_err(io)?;
    disk.sync_dir(dir).map_err(io)
}

/// Removes all that is in `dir`; none is as good as an empty one.
pub(super) fn empty(disk: &Disk, dir: &Path) -> Result<(), Error> {
    let paths = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        paths => paths.map_err(|e| Error::io("list", dir, &e))?,
    };
    for path in paths {
        disk.remove_all(&path).map_err(|e| Error::io("remove", &path, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Clock::manual(1_000_000_000_000, 1), Clock::manual(2_000_000_000_000, 2));
        let first = Folder::open(&Disk::Os, dir.path(), &a).unwrap();
        std::fs::write(first.tmp().join("left"), b"x").unwrap();
        std::fs::create_dir_all(first.spill().join("df/1")).unwrap();
        assert_eq!(Folder::open(&Disk::Os, dir.path(), &b).unwrap(), first);
        assert_eq!(Folder::read(&Disk::Os, dir.path()).unwrap(), first);
        assert_eq!(std::fs::read_dir(first.tmp()).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(first.spill()).unwrap().count(), 0);
    }

    #[test]
    fn claims_are_read_as_they_were_written_also_by_a_release_that_knew_the_epoch_alone() {
        for begun in [vec![], vec![Ulid::from_parts(1, 2), Ulid::from_parts(3, 4)]] {
            let claims = Claims { epoch: 7, begun };
            assert_eq!(Claims::parse(&claims.text()), Some(claims));
        }
        assert_eq!(Claims::parse("7\n"), Some(Claims { epoch: 7, begun: vec![] }));
        assert_eq!(Claims::parse(""), None);
    }

    #[test]
    fn a_newer_format_or_a_lost_identity_is_refused_with_the_next_move() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000_000_000, 1);
        let folder = Folder::open(&Disk::Os, dir.path(), &clock).unwrap();
        std::fs::write(dir.path().join("VERSION"), format!("{{\"format\":2,\"store\":\"{}\"}}", folder.store)).unwrap();
        let error = Folder::open(&Disk::Os, dir.path(), &clock).unwrap_err().to_string();
        assert!(error.contains("use a newer weavergen"), "{error}");
        std::fs::write(folder.wal().join("00000000000000000001.wal"), b"").unwrap();
        std::fs::remove_file(dir.path().join("VERSION")).unwrap();
        let error = Folder::open(&Disk::Os, dir.path(), &clock).unwrap_err().to_string();
        assert!(error.contains("put it back"), "{error}");
    }
}
