//! The local disk as an object store whose puts are durable.
//!
//! Duty: [`SyncedLocal`], storage.md 13. Guarantee: a put that returned `Ok` survives power loss, whole; a create-only
//! put never replaces; a put that failed before its directory was synced leaves no visible name. Left to others: what
//! is put, and the order of puts (`part`, `manifest`).

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result, UploadPart,
};

use crate::clock::Clock;
use crate::disk::{Disk, Meta};

/// Its name in errors.
pub const STORE: &str = "SyncedLocal";
/// Where files lie until they are whole and synced; emptied at start by the store.
pub const TMP: &str = "tmp";

/// Objects as files below a folder; cheap to clone.
#[derive(Clone, Debug)]
pub struct SyncedLocal {
    root: PathBuf,
    disk: Disk,
    clock: Clock,
    /// Folders whose names are durable.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
    /// Shared by those who name a file, so that nobody removes its folder between making it and using it.
    naming: Arc<RwLock<()>>,
}

impl SyncedLocal {
    /// Objects below `root`. Nothing is touched until the first put, which makes `root` and its `tmp/` if they are absent:
    /// readers use folders that they may not write.
    pub fn new(root: impl Into<PathBuf>, disk: Disk, clock: Clock) -> Self {
        Self { root: root.into(), disk, clock, durable: Arc::default(), naming: Arc::default() }
    }

    fn file(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        location: &Path,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(done) => done.map_err(|e| told(e, location)),
            Err(source) => Err(Error::JoinError { source }),
        }
    }

    fn write(&self, to: &FsPath, payload: &PutPayload, replace: bool) -> io::Result<()> {
        let dir = to.parent().expect("a location has a name below the root");
        self.make_dirs(&self.root.join(TMP))?;
        let temporary = self.root.join(TMP).join(format!("{}.put", self.clock.ulid()));
        let written = self.write_temporary(&temporary, payload).and_then(|()| self.name(&temporary, to, replace));
        // Before anything else is done: whatever ends this call early takes the name back.
        let mut unproven = Unproven { disk: &self.disk, name: (!replace && written.is_ok()).then_some(to) };
        if !replace || written.is_err() {
            // A temporary name that stays behind is removed at the next start; it is not worth failing the put.
            drop(self.disk.remove(&temporary));
        }
        written?;
        self.disk.sync_dir(dir)?;
        unproven.name = None;
        Ok(())
    }

    /// Gives a file another name without reading it, so that one goes to quarantine however damaged its disk is.
    fn move_file(&self, from: &FsPath, to: &FsPath, replace: bool) -> io::Result<()> {
        self.disk.metadata(from)?;
        self.name(from, to, replace)?;
        if !replace {
            self.disk.remove(from)?;
        }
        let (left, dir) = (from.parent(), to.parent());
        let (left, dir) = left.zip(dir).expect("a location has a name below the root");
        self.disk.sync_dir(dir)?;
        self.disk.sync_dir(left)?;
        self.remove_empty(left);
        Ok(())
    }

    /// Gives the file `from` the name `to` too, or instead where that may `replace`; makes the folder.
    fn name(&self, from: &FsPath, to: &FsPath, replace: bool) -> io::Result<()> {
        let _naming = self.naming.read().unwrap_or_else(PoisonError::into_inner);
        self.make_dirs(to.parent().expect("a location has a name below the root"))?;
        if replace { self.disk.rename(from, to) } else { self.disk.link(from, to) }
    }

    /// Removes `dir`, and those above it up to a folder right below the root, as far as they are empty: each hour has
    /// folders of its own. One that stays after a crash is no harm.
    fn remove_empty(&self, dir: &FsPath) {
        let _naming = self.naming.write().unwrap_or_else(PoisonError::into_inner);
        let is_deep =
            |dir: &&FsPath| dir.parent().is_some_and(|above| above != self.root && above.starts_with(&self.root));
        for dir in dir.ancestors().take_while(is_deep) {
            if self.disk.remove_dir(dir).is_err() {
                break;
            }
            self.durable().remove(dir);
        }
    }

    fn write_temporary(&self, path: &FsPath, payload: &PutPayload) -> io::Result<()> {
        let file = self.disk.create_new(path)?;
        let mut slices: Vec<_> = payload.iter().map(|bytes| io::IoSlice::new(bytes)).collect();
        file.write_all_vectored_at(&mut slices, 0)?;
        file.sync_data()
    }

    /// Makes `dir` below the root and syncs the names on the way, each once: a folder that another put has made, or an
    /// earlier process, may not have a durable name yet, and nothing in it would survive without one.
    fn make_dirs(&self, dir: &FsPath) -> io::Result<()> {
        let is_known = |dir: &FsPath| self.durable().contains(dir) && self.is_dir(dir);
        let unknown: Vec<_> = dir.ancestors().take_while(|d| d.starts_with(&self.root) && !is_known(d)).collect();
        for dir in unknown.into_iter().rev() {
            if dir == self.root {
                self.disk.create_dir_durable(dir)?;
            } else {
                self.disk.create_dir_all(dir)?;
                self.disk.sync_dir(dir.parent().expect("it lies below the root"))?;
            }
            self.durable().insert(dir.to_owned());
        }
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().expect("no holder of this lock panics")
    }

    fn is_dir(&self, path: &FsPath) -> bool {
        self.disk.metadata(path).is_ok_and(|meta| meta.is_dir)
    }

    fn meta(&self, location: &Path) -> io::Result<ObjectMeta> {
        let meta = self.disk.metadata(&self.file(location))?;
        if !meta.is_file {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(object_meta(location.clone(), &meta))
    }

    fn walk(&self, dir: &FsPath, deep: bool) -> io::Result<(Vec<ObjectMeta>, Vec<Path>)> {
        let (mut objects, mut folders, mut todo) = (Vec::new(), Vec::new(), vec![dir.to_owned()]);
        while let Some(dir) = todo.pop() {
            let entries = match self.disk.list(&dir) {
                Ok(entries) => entries,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                Err(e) => return Err(e),
            };
            for path in entries.into_iter().filter(|p| *p != self.root.join(TMP)) {
                let name = path.strip_prefix(&self.root).expect("the walk began below the root");
                // A name that no put of ours can have made is not an object.
                let Some(location) = name.to_str().and_then(|n| Path::parse(n).ok()) else { continue };
                match self.disk.metadata(&path) {
                    Ok(meta) if meta.is_dir && deep => todo.push(path),
                    Ok(meta) if meta.is_dir => folders.push(location),
                    Ok(meta) => objects.push(object_meta(location, &meta)),
                    // Deleted between the listing and now.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        folders.sort();
        Ok((objects, folders))
    }

    fn dir(&self, prefix: Option<&Path>) -> PathBuf {
        prefix.map_or_else(|| self.root.clone(), |p| self.file(p))
    }
}

/// A name that is visible and perhaps not durable: it is taken back, so that nobody reads it as committed.
struct Unproven<'a> {
    disk: &'a Disk,
    name: Option<&'a FsPath>,
}

impl Drop for Unproven<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            drop(self.disk.remove(name));
        }
    }
}

fn object_meta(location: Path, meta: &Meta) -> ObjectMeta {
    ObjectMeta { location, last_modified: meta.modified.into(), size: meta.len, e_tag: None, version: None }
}

/// An error with its path; the kernel's number stays to be found below it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct Told {
    path: String,
    source: io::Error,
}

fn told(error: io::Error, location: &Path) -> Error {
    let path = location.to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path, source: Box::new(error) },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: Box::new(error) },
        kind => {
            let source = Box::new(io::Error::new(kind, Told { path, source: error }));
            Error::Generic { store: STORE, source }
        }
    }
}

/// Whether the local disk has the file and cannot give its bytes: a bad sector, most likely, and no better tomorrow.
pub fn is_unreadable(error: &(dyn std::error::Error + 'static)) -> bool {
    let errno = Some(rustix::io::Errno::IO.raw_os_error());
    causes(error).any(|at| at.downcast_ref::<io::Error>().is_some_and(|of_disk| of_disk.raw_os_error() == errno))
}

/// Whether there was no room on the local disk.
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let full =
        |of_disk: &io::Error| matches!(of_disk.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    causes(error).any(|at| at.downcast_ref::<io::Error>().is_some_and(full))
}

/// `error` and what lies below it.
pub fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&at| at.source())
}

#[async_trait]
impl ObjectStore for SyncedLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let replace = match opts.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "conditional update".into(),
                    implementer: STORE.into(),
                });
            }
        };
        let to = self.file(location);
        self.blocking(location, move |this| this.write(&to, &payload, replace)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { store: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (at, conditions) = (location.clone(), options.clone());
        let (meta, range, bytes) = self
            .blocking(location, move |this| {
                let meta = this.meta(&at)?;
                let range = match &options.range {
                    Some(range) => range.as_range(meta.size).map_err(|e| io::Error::other(e.to_string()))?,
                    None => 0..meta.size,
                };
                // The caller's conditions are checked before a byte is read.
                if options.head || options.check_preconditions(&meta).is_err() {
                    return Ok((meta, range, Bytes::new()));
                }
                let bytes = this.read(&at, &range)?;
                Ok((meta, range, bytes))
            })
            .await?;
        conditions.check_preconditions(&meta)?;
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    /// Each range by itself, with one handle: what lies between two costs more than a call.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (at, ranges) = (location.clone(), ranges.to_vec());
        let read = move |this: &Self| {
            let size = this.meta(&at)?.size;
            match ranges.iter().all(|range| range.end <= size) {
                true => this.read_each(&at, &ranges),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        self.blocking(location, read).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .and_then(move |location| {
                let this = this.clone();
                async move {
                    let file = this.file(&location);
                    this.blocking(&location, move |this| {
                        let dir = file.parent().expect("a location has a name below the root");
                        this.disk.remove(&file)?;
                        this.disk.sync_dir(dir)?;
                        this.remove_empty(dir);
                        Ok(())
                    })
                    .await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, dir, prefix) = (self.clone(), self.dir(prefix), prefix.cloned().unwrap_or_default());
        let listed = async move {
            let (objects, _) = this.blocking(&prefix, move |this| this.walk(&dir, true)).await?;
            Ok::<_, Error>(stream::iter(objects.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let dir = self.dir(prefix);
        let at = prefix.cloned().unwrap_or_default();
        let (objects, common_prefixes) = self.blocking(&at, move |this| this.walk(&dir, false)).await?;
        Ok(ListResult { common_prefixes, objects })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let bytes = self.get(from).await?.bytes().await?;
        let mode = match options.mode {
            CopyMode::Create => PutMode::Create,
            CopyMode::Overwrite => PutMode::Overwrite,
        };
        self.put_opts(to, bytes.into(), mode.into()).await.map(drop)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (source, target) = (self.file(from), self.file(to));
        let replace = options.target_mode == RenameTargetMode::Overwrite;
        self.blocking(from, move |this| this.move_file(&source, &target, replace)).await
    }
}

impl SyncedLocal {
    fn read(&self, location: &Path, range: &Range<u64>) -> io::Result<Bytes> {
        let mut read = self.read_each(location, std::slice::from_ref(range))?;
        Ok(read.pop().expect("one for each range"))
    }

    fn read_each(&self, location: &Path, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let file = self.disk.open_read(&self.file(location))?;
        let read = |range: &Range<u64>| {
            let length = range.end.saturating_sub(range.start);
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        };
        ranges.iter().map(read).collect()
    }
}

impl std::fmt::Display for SyncedLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STORE}({})", self.root.display())
    }
}

/// Parts are kept in memory until the upload completes: nothing of ours is uploaded in parts on a local disk.
#[derive(Debug)]
struct Upload {
    store: SyncedLocal,
    location: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.extend(data);
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload: PutPayload = std::mem::take(&mut self.parts).into_iter().collect();
        self.store.put_opts(&self.location, payload, PutMode::Overwrite.into()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
