//! Reading parts with every block checked once per process (storage.md 7, 12.3).
//!
//! Duty: [`PartStore`], an object store that reads only. Guarantee: the first read of a block gives the bytes that were
//! written or an error that names the part, which is marked then; a file that no live entry names cannot be read. Left to
//! others: taking a damaged part out of the manifest.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as ObjectError, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, coalesce_ranges,
};
use tokio::sync::OnceCell;
use ulid::Ulid;

use super::sums::{self, Sums};
use super::{Error, fetch};
use crate::store::local::is_unreadable;
use crate::store::manifest::PartEntry;

const STORE: &str = "PartStore";
/// How often all blocks may have to be checked anew: what a defect of ours makes undecodable stays so, and a check reads
/// whole blocks.
const ANEW_EVERY: Duration = Duration::from_secs(60);

/// The live parts of a dataset as objects; cheap to clone.
#[derive(Clone, Debug)]
pub struct PartStore {
    objects: Arc<dyn ObjectStore>,
    known: Arc<RwLock<HashMap<String, Arc<Known>>>>,
    marks: Arc<Mutex<Marks>>,
}

/// What is held against parts.
#[derive(Debug, Default)]
struct Marks {
    /// Parts that are to be read again from their source.
    suspects: BTreeSet<String>,
    /// Those of them, and of what is being read again, whose blocks had their checksums.
    doubted: BTreeSet<String>,
    /// Parts that were doubted and whole at their source.
    whole: BTreeSet<String>,
    /// When all blocks were last to be checked anew.
    anew: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    entry: PartEntry,
    sums: OnceCell<(Sums, Vec<AtomicBool>)>,
}

impl Known {
    /// Whether every block of `range` was read and checked before.
    fn is_checked(&self, range: &Range<u64>) -> bool {
        let is_set = |block: &AtomicBool| block.load(Ordering::Acquire);
        let is_within = range.start <= range.end && range.end <= self.entry.bytes;
        let known = self.sums.get().filter(|_| is_within);
        known.is_some_and(|(sums, checked)| checked[sums.blocks_of(range.clone())].iter().all(is_set))
    }
}

impl PartStore {
    /// No parts yet; `objects` are rooted at the dataset's folder.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, known: Arc::default(), marks: Arc::default() }
    }

    /// Makes a part readable; call it before the snapshot that names the part is published.
    pub fn register(&self, entry: &PartEntry) {
        let known = Known { entry: entry.clone(), sums: OnceCell::new() };
        let mut all = self.known.write().expect("no holder of this lock panics");
        all.entry(entry.path.clone()).or_insert_with(|| Arc::new(known));
    }

    /// The parts that are readable here: live ones, those on their way into the manifest, those on their way out.
    pub fn names(&self) -> Vec<String> {
        self.known.read().expect("no holder of this lock panics").keys().cloned().collect()
    }

    /// Checks every block of a part anew, which was whole at its source.
    pub fn renew(&self, entry: &PartEntry) {
        self.known.write().expect("no holder of this lock panics").remove(&entry.path);
        self.register(entry);
        let mut marks = self.marks();
        // What the disk did not give for a moment says nothing of our code.
        if marks.doubted.remove(&entry.path) {
            marks.whole.insert(entry.path.clone());
        }
    }

    /// Marks a part as damaged until it is read again from its source (storage.md 12.3).
    pub fn suspect(&self, path: &str) {
        let mut marks = self.marks();
        marks.suspects.insert(path.to_owned());
        marks.doubted.remove(path);
        marks.whole.remove(path);
    }

    /// Marks a part that a decoder, or the hash of the whole file, found damaged: its blocks may have decayed since they were
    /// checked. Of one that was whole at its source after such a mark the damage is in our code: it is not read again.
    pub fn doubt(&self, path: &str) {
        let mut marks = self.marks();
        if !marks.whole.contains(path) && marks.suspects.insert(path.to_owned()) {
            marks.doubted.insert(path.to_owned());
        }
    }

    /// Has every block checked anew by the next read of it: a decoder has found damage, and nobody knows in which part. The
    /// read that meets it says so. At most once a minute.
    pub fn check_anew(&self) {
        {
            let mut marks = self.marks();
            if marks.anew.is_some_and(|last| last.elapsed() < ANEW_EVERY) {
                return;
            }
            marks.anew = Some(Instant::now());
        }
        let all = self.known.read().expect("no holder of this lock panics");
        for (_, checked) in all.values().filter_map(|known| known.sums.get()) {
            checked.iter().for_each(|block| block.store(false, Ordering::Release));
        }
    }

    /// Takes the parts that were marked.
    pub fn take_suspects(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.marks().suspects)
    }

    /// Forgets a part that no snapshot holds any more.
    pub fn forget(&self, path: &str) {
        self.known.write().expect("no holder of this lock panics").remove(path);
        let mut marks = self.marks();
        marks.doubted.remove(path);
        marks.whole.remove(path);
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().expect("no holder of this lock panics")
    }

    fn known(&self, location: &Path) -> Result<Arc<Known>> {
        let all = self.known.read().expect("no holder of this lock panics");
        all.get(location.as_ref()).cloned().ok_or_else(|| ObjectError::NotFound {
            path: location.to_string(),
            source: "the manifest names no such part".into(),
        })
    }

    async fn read(&self, known: &Known, range: Range<u64>) -> std::result::Result<Bytes, Error> {
        let path = &known.entry.path;
        let load = async || {
            let sums = match fetch(&*self.objects, &sums::path_of(path)).await {
                Err(Error::Objects { source: ObjectError::NotFound { .. }, .. }) => {
                    return Err(Error::corrupt(path, "its checksum file is missing"));
                }
                Err(Error::Objects { source, .. }) => return Err(Error::Objects { path: path.clone(), source }),
                bytes => Sums::read(&bytes?, &known.entry)?,
            };
            let checked = (0..sums.len()).map(|_| AtomicBool::new(false)).collect();
            Ok::<_, Error>((sums, checked))
        };
        let (sums, checked) = known.sums.get_or_try_init(load).await?;
        let blocks = sums.blocks_of(range.clone());
        if checked[blocks.clone()].iter().all(|block| block.load(Ordering::Acquire)) {
            return self.fetch_range(path, range).await;
        }
        let span = sums.span(&blocks);
        let bytes = self.fetch_range(path, span.clone()).await?;
        sums.check(path, &bytes, blocks.clone())?;
        checked[blocks].iter().for_each(|block| block.store(true, Ordering::Release));
        let at = |offset: u64| usize::try_from(offset - span.start).expect("these bytes are in memory");
        Ok(bytes.slice(at(range.start)..at(range.end)))
    }

    async fn fetch_range(&self, path: &str, range: Range<u64>) -> std::result::Result<Bytes, Error> {
        let want = range.end - range.start;
        match self.objects.get_range(&Path::from(path), range).await {
            Ok(bytes) if bytes.len() as u64 == want => Ok(bytes),
            Ok(_) => Err(Error::corrupt(path, "it is shorter than the manifest says")),
            Err(ObjectError::NotFound { .. }) => Err(Error::corrupt(path, "the file is missing")),
            Err(source) => match self.objects.head(&Path::from(path)).await {
                Ok(meta) if meta.size < want => Err(Error::corrupt(path, "it is shorter than the manifest says")),
                _ => Err(Error::Objects { path: path.to_owned(), source }),
            },
        }
    }
}

/// Bytes that the disk has and cannot give are damage to who reads them; whether they stay so is for the judgement.
fn of_sector(error: Error) -> Error {
    match error {
        Error::Objects { path, source } if is_unreadable(&source) => {
            Error::corrupt(&path, format!("the disk cannot give its bytes: {source}"))
        }
        other => other,
    }
}

fn meta(known: &Known, location: &Path) -> ObjectMeta {
    let name = location.filename().and_then(|name| name.strip_suffix(".parquet"));
    let written_ms = name.and_then(|name| Ulid::from_string(name).ok()).map_or(0, |ulid| ulid.timestamp_ms());
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(written_ms);
    let size = known.entry.bytes;
    ObjectMeta { location: location.clone(), last_modified: modified.into(), size, e_tag: None, version: None }
}

fn read_only() -> ObjectError {
    ObjectError::NotImplemented { operation: "anything but reading".into(), implementer: STORE.into() }
}

#[async_trait]
impl ObjectStore for PartStore {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let known = self.known(location)?;
        let meta = meta(&known, location);
        options.check_preconditions(&meta)?;
        let generic = |source| ObjectError::Generic { store: STORE, source };
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(|e| generic(Box::new(e)))?,
            None => 0..meta.size,
        };
        let bytes = match options.head {
            true => Bytes::new(),
            false => {
                let read = self.read(&known, range.clone()).await.map_err(of_sector);
                if let Err(Error::Corrupt { path, .. }) = &read {
                    self.suspect(path);
                }
                read.map_err(|e| generic(Box::new(e)))?
            }
        };
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let known = self.known(location)?;
        if ranges.iter().all(|range| known.is_checked(range))
            && let Ok(read) = self.objects.get_ranges(location, ranges).await
            && read.iter().map(|bytes| bytes.len() as u64).eq(ranges.iter().map(|range| range.end - range.start))
        {
            return Ok(read);
        }
        // Whole blocks have to be read: those between near ranges too. It also tells what is wrong with the file.
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.known.read().expect("no holder of this lock panics");
        let mut found: Vec<_> = all.values().map(|known| meta(known, &Path::from(known.entry.path.as_str()))).collect();
        found.retain(|meta| prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix)));
        found.sort_by(|a, b| a.location.cmp(&b.location));
        stream::iter(found.into_iter().map(Ok)).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}

impl std::fmt::Display for PartStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STORE}({})", self.objects)
    }
}
