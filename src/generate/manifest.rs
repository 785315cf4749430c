//! The files of ours below `OUTPUT/.weavergen/`.
//!
//! Duty: the own list (`manifest.json`), manifests of staging folders, undo folders, the journal and the records of what
//! was done, as JSON. Guarantee: a file is whole or not there: written aside, synced, renamed, its folder synced. Left to
//! others: the order of writes (`stage`, `apply`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::error::Error;
use super::tree;
use crate::disk::{Disk, File};

/// Version of the files here.
pub(super) const FORMAT: u32 = 1;

/// `manifest.json`: what was generated into OUTPUT and still belongs to us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) format: u32,
    /// Id of the apply that revert takes back.
    pub(super) applied: Option<String>,
    pub(super) files: Vec<Row>,
}

/// A file of the own list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) path: String,
    pub(super) sha256: String,
    pub(super) target: String,
    pub(super) registry: String,
    pub(super) templates: String,
    pub(super) engine: String,
    pub(super) version: String,
    /// Staging folder that the bytes came from.
    pub(super) staged: String,
}

/// `.weavergen.json` of a staging folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staging {
    pub(super) format: u32,
    pub(super) target: String,
    pub(super) registry: String,
    pub(super) templates: String,
    pub(super) engine: String,
    pub(super) version: String,
    pub(super) files: Vec<Staged>,
    pub(super) outcome: Outcome,
}

/// A file of a staging folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    pub(super) path: String,
    pub(super) sha256: String,
}

/// `undo.json` of an undo folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    pub(super) format: u32,
    pub(super) target: String,
    pub(super) variant: Option<String>,
    /// The own list before.
    pub(super) list: List,
    pub(super) files: Vec<Undone>,
}

/// A file that an apply changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undone {
    pub(super) path: String,
    /// Hash before, and the name in the undo folder; none if it was not there.
    pub(super) before: Option<(String, String)>,
    /// Hash after; none if it was removed.
    pub(super) after: Option<String>,
}

/// `journal.json`: what must be finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) format: u32,
    pub(super) id: String,
    pub(super) steps: Vec<Step>,
    pub(super) list: List,
    pub(super) outcome: Outcome,
    /// Undo folder that is used up.
    pub(super) spent: Option<String>,
}

/// One rename or removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) path: String,
    /// Name in the folder `<id>.apply`; none removes.
    pub(super) put: Option<String>,
}

/// Paths below OUTPUT, which is canonical.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) root: PathBuf,
    pub(super) ours: PathBuf,
    pub(super) disk: Disk,
}

impl Home {
    /// Opens OUTPUT for writing: it and its `.weavergen` are made if they are not there.
    pub(super) fn open(output: &Path, disk: &Disk) -> Result<Self, Error> {
        disk.create_dir_all(output).map_err(Error::io("make", output))?;
        let root = output.canonicalize().map_err(Error::io("read", output))?;
        let ours = tree::ours(&root, disk)?;
        Ok(Self { root, ours, disk: disk.clone() })
    }

    /// For reading only; none if OUTPUT is not there.
    pub(super) fn look(output: &Path) -> Result<Option<Self>, Error> {
        match output.canonicalize() {
            Ok(root) => Ok(Some(Self { ours: root.join(tree::OURS), root, disk: Disk::Os })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", output)(error)),
        }
    }

    /// The exclusive lock on OUTPUT, held while the file is.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.ours.join("write.lock");
        let file = self.disk.open_or_create(&path).map_err(Error::io("make", &path))?;
        match file.try_lock() {
            Ok(true) => Ok(file),
            Ok(false) => Err(Error::Locked(self.root.clone())),
            Err(error) => Err(Error::io("lock", &path)(error)),
        }
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.ours.join("manifest.json")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.ours.join("journal.json")
    }

    pub(super) fn record(&self, id: &str) -> PathBuf {
        self.ours.join(format!("{id}.json"))
    }

    pub(super) fn staging(&self, id: &str) -> PathBuf {
        self.ours.join(id)
    }

    pub(super) fn applying(&self, id: &str) -> PathBuf {
        self.ours.join(format!("{id}.apply"))
    }

    pub(super) fn undo(&self, id: &str) -> PathBuf {
        self.ours.join(format!("{id}.undo"))
    }

    pub(super) fn list(&self) -> Result<List, Error> {
        let list: Option<List> = self.read(&self.manifest())?;
        let list = list.unwrap_or_default();
        if list.format > FORMAT {
            let text = format!("{} is of format {}, made by a newer weavergen", self.manifest().display(), list.format);
            return Err(Error::Argument(text));
        }
        Ok(list)
    }

    /// A JSON file; none if it is not there.
    pub(super) fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, Error> {
        let bytes = match self.disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let invalid = |error: serde_json::Error| std::io::Error::new(ErrorKind::InvalidData, error);
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::io("read", path)(invalid(error)))
    }

    /// Writes a JSON file whole: aside, synced, renamed. The folder is not synced.
    pub(super) fn write<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec_pretty(value).expect("texts, numbers and lists of them are JSON");
        bytes.push(b'\n');
        let aside = path.with_extension("json.tmp");
        self.discard(&aside)?;
        self.put(&aside, &bytes)?;
        self.disk.rename(&aside, path).map_err(Error::io("rename", path))
    }

    /// Makes a new file with `bytes`, synced.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.put_all([(path.to_owned(), bytes)])
    }

    /// Makes new files, synced. Some are written before the first is synced: one commit of the file system then serves
    /// all of them.
    pub(super) fn put_all<'a>(&self, files: impl IntoIterator<Item = (PathBuf, &'a [u8])>) -> Result<(), Error> {
        const AT_ONCE: usize = 128;
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let mut open = Vec::new();
            for (path, bytes) in files.by_ref().take(AT_ONCE) {
                let file = self.disk.create_new(&path).map_err(Error::io("make", &path))?;
                file.write_all_at(bytes, 0).map_err(Error::io("write", &path))?;
                open.push((path, file));
            }
            sync_together(&open)?;
        }
        Ok(())
    }

    pub(super) fn sync(&self, folder: &Path) -> Result<(), Error> {
        self.disk.sync_dir(folder).map_err(Error::io("sync", folder))
    }

    /// Removes a file or folder if it is there.
    pub(super) fn discard(&self, path: &Path) -> Result<(), Error> {
        match self.disk.remove_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// An empty folder at `path`, whatever a crash left there.
    pub(super) fn fresh(&self, path: &Path) -> Result<(), Error> {
        self.discard(path)?;
        self.disk.create_dir_all(path).map_err(Error::io("make", path))
    }

    /// The bytes at `path` of the tree; none if nothing is there.
    ///
    /// Errors: WG-GEN-030, or it cannot be read.
    pub(super) fn current(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let place = tree::place(&self.root, path)?;
        match self.disk.read(&place) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &place)(error)),
        }
    }
}

/// Syncs `files` from a few threads: syncs that wait at the same time share the disk's flushes.
fn sync_together(files: &[(PathBuf, File)]) -> Result<(), Error> {
    const THREADS: usize = 16;
    let sync = |files: &[(PathBuf, File)]| {
        files.iter().try_for_each(|(path, file)| file.sync_data().map_err(Error::io("sync", path)))
    };
    if files.len() < THREADS {
        return sync(files);
    }
    std::thread::scope(|scope| {
        let parts = files.chunks(files.len().div_ceil(THREADS));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || sync(part))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(), Error>>| {
            thread.join().expect("a sync does not panic")
        };
        // All are waited for, whichever fails.
        running.into_iter().map(join).fold(Ok(()), Result::and)
    })
}

/// Refuses an id that could name something else of ours.
pub(super) fn check_id(id: &str) -> Result<(), Error> {
    let fine =
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fine { Ok(()) } else { Err(Error::Argument(format!("`{id}` is no id: letters, digits, `_`, `-`, at most 64"))) }
}
