//! Which columns of which row groups a statement fetches.
//!
//! Duty: [`Recorder`], an object store that keeps which bytes are asked for, and [`fetched`], what they hold by the
//! parts' footers. Guarantee: a column of a row group is there if any of its bytes was asked for, however it is decoded
//! then. Left to others: footers, page indexes and trace indexes, which are no columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::store::{View, part};

/// Columns by part and row group; leaves of lists as `events.name`.
pub type Fetched = BTreeMap<(usize, usize), BTreeSet<String>>;

/// An object store that keeps what is asked of it.
#[derive(Debug)]
pub struct Recorder {
    objects: Arc<dyn ObjectStore>,
    asked: Mutex<Vec<(Path, Range<u64>)>>,
}

impl Recorder {
    /// Puts one before the objects of `view`.
    pub fn before(view: &mut View) -> Arc<Self> {
        let recorder = Arc::new(Self { objects: view.objects.clone(), asked: Mutex::default() });
        view.objects = recorder.clone();
        recorder
    }

    fn note(&self, location: &Path, range: &Range<u64>) {
        self.asked.lock().unwrap().push((location.clone(), range.clone()));
    }
}

/// What was fetched through `recorder` of the parts of `view`.
pub async fn fetched(view: &View, recorder: &Recorder) -> Fetched {
    let asked = recorder.asked.lock().unwrap().clone();
    let mut fetched = Fetched::new();
    for (number, of) in view.parts.parts.iter().enumerate() {
        let path = Path::from(of.entry.path.as_str());
        let footer = part::footer(recorder.objects.as_ref(), &of.entry).await.unwrap();
        for (group, row_group) in footer.row_groups().iter().enumerate() {
            for column in row_group.columns() {
                let (from, bytes) = column.byte_range();
                let is_of =
                    |(at, range): &(Path, Range<u64>)| *at == path && range.start < from + bytes && from < range.end;
                if asked.iter().any(is_of) {
                    let leaf = leaf(column.column_path().parts());
                    fetched.entry((number, group)).or_default().insert(leaf);
                }
            }
        }
    }
    fetched
}

/// A leaf without the levels that only lists have.
fn leaf(path: &[String]) -> String {
    let is_named = |part: &&str| !["list", "item", "element"].contains(part);
    path.iter().map(String::as_str).filter(is_named).collect::<Vec<_>>().join(".")
}

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.objects)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Recorder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.objects.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(GetRange::Bounded(range)) = &options.range {
            self.note(location, range);
        }
        self.objects.get_opts(location, options).await
    }

    // As they are asked for: united they would cover what lies between.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().for_each(|range| self.note(location, range));
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
