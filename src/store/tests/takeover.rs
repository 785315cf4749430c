//! C10: two stores on one place, one paused past the other's start (storage.md 8, 18): the old epoch commits nothing.

use std::fmt;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as At;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::oracle::{DATA, Fate, Oracle, all, open_on, sent, upkeep};
use super::*;
use crate::disk::sim::Sim;
use crate::store::manifest::Manifest;
use crate::store::place::Place;

const ROUNDS: u64 = 50;
const AT_ONCE: usize = 5;

/// What one process sees of the place: from a request of its own on, all of its requests wait.
#[derive(Debug)]
pub(super) struct Pausing {
    place: Arc<InMemory>,
    left: AtomicU64,
    paused: watch::Sender<bool>,
    is_paused: watch::Sender<bool>,
}

impl Pausing {
    pub(super) fn new(place: &Arc<InMemory>) -> Arc<Self> {
        let left = AtomicU64::new(u64::MAX);
        Arc::new(Self {
            place: place.clone(),
            left,
            paused: watch::Sender::new(false),
            is_paused: watch::Sender::new(false),
        })
    }

    /// Lets `requests` more pass.
    pub(super) fn pause_after(&self, requests: u64) {
        self.left.store(requests, Ordering::SeqCst);
        self.paused.send_replace(true);
    }

    pub(super) fn go_on(&self) {
        self.left.store(u64::MAX, Ordering::SeqCst);
        self.paused.send_replace(false);
    }

    pub(super) async fn wait_until_paused(&self) {
        drop(self.is_paused.subscribe().wait_for(|paused| *paused).await);
    }

    async fn pass(&self) {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            self.is_paused.send_replace(true);
            drop(self.paused.subscribe().wait_for(|paused| !*paused).await);
        }
    }
}

impl fmt::Display for Pausing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pausing")
    }
}

#[async_trait]
impl ObjectStore for Pausing {
    async fn put_opts(&self, at: &At, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        self.pass().await;
        self.place.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &At,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.pass().await;
        self.place.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &At, options: GetOptions) -> object_store::Result<GetResult> {
        self.pass().await;
        self.place.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, object_store::Result<At>>,
    ) -> BoxStream<'static, object_store::Result<At>> {
        self.place.delete_stream(at)
    }

    fn list(&self, prefix: Option<&At>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.place.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&At>) -> object_store::Result<ListResult> {
        self.pass().await;
        self.place.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &At, to: &At, options: CopyOptions) -> object_store::Result<()> {
        self.pass().await;
        self.place.copy_opts(from, to, options).await
    }
}

fn start_ns(_: u64) -> i64 {
    samples::NOW_NS - 5 * 3600 * 1_000_000_000
}

async fn store_on(disk: &Sim, place: Arc<dyn ObjectStore>, seed: u64) -> Store {
    let config = Config { place: Place::Given(place), ..config(Path::new(DATA)) };
    open_on(disk, &config, &Clock::manual(samples::NOW_NS, seed)).await
}

/// The epoch that wrote it, version by version.
async fn epochs(place: &Arc<InMemory>) -> Vec<u64> {
    let listed: Vec<ObjectMeta> = place.list(Some(&At::from("manifest"))).try_collect().await.unwrap();
    let mut paths: Vec<At> = listed.into_iter().map(|meta| meta.location).collect();
    paths.sort();
    let mut epochs = Vec::new();
    for path in paths {
        let bytes = place.get(&path).await.unwrap().bytes().await.unwrap();
        let head = bytes.split(|byte| *byte == b'\n').next().unwrap();
        let head: serde_json::Value = serde_json::from_slice(head).unwrap();
        epochs.push(head["writer"]["epoch"].as_u64().unwrap());
    }
    epochs
}

/// The older one is paused before any of the requests of its flush and its compaction.
async fn round(seed: u64) {
    let mut chance = ChaCha12Rng::seed_from_u64(seed);
    let mut draw = |of: u64| chance.next_u64() % of;
    let place = Arc::new(InMemory::new());
    let (a, b) = (Sim::new(seed), Sim::new(seed));
    let pausing = Pausing::new(&place);
    let requests = Oracle::default();
    let older = store_on(&a, pausing.clone(), 2 * seed).await;
    // Two flushes of an hour that is over: something to compact.
    for id in [1, 2] {
        requests.send(&older, id, start_ns(id)).await.unwrap();
        older.freeze_and_flush().await.unwrap();
    }
    requests.send(&older, 4, start_ns(4)).await.unwrap();
    pausing.pause_after(draw(14));
    let steps = upkeep(&older);
    let merges = draw(2) == 0;
    let work = {
        let older = older.clone();
        tokio::spawn(async move {
            match merges {
                true => compact::step(&steps).await,
                false => older.freeze_and_flush().await,
            }
        })
    };
    // It may have less to do than that.
    drop(tokio::time::timeout(Duration::from_millis(300), pausing.wait_until_paused()).await);
    let newer = store_on(&b, place.clone(), 2 * seed + 1).await;
    let taken_over = epochs(&place).await.len();
    requests.send(&newer, 7, start_ns(7)).await.unwrap();
    newer.freeze_and_flush().await.unwrap();
    // If it does not know yet it may still take what its log keeps.
    if let Err(error) = requests.send(&older, 8, start_ns(8)).await {
        assert!(matches!(error, Error::Superseded { .. }), "seed {seed}: {error}");
        requests.note(8, Fate::Gone);
    }
    pausing.go_on();
    let done = work.await.unwrap();
    let refused = older.freeze_and_flush().await.unwrap_err();
    assert!(matches!(refused, Error::Superseded { .. }), "seed {seed}: {refused}, after {done:?}");
    let late = older.append(sent(5, start_ns(5))).await;
    assert!(matches!(late, Err(Error::Superseded { .. })), "seed {seed}: {late:?}");
    drop(compact::step(&upkeep(&older)).await);
    let epochs = epochs(&place).await;
    assert!(epochs[..taken_over - 1].iter().all(|epoch| *epoch == 1), "seed {seed}: {epochs:?}");
    assert!(epochs[taken_over - 1..].iter().all(|epoch| *epoch == 2), "seed {seed}: {epochs:?} after {taken_over}");
    // Everyone reads all that was flushed before the takeover, and nothing twice.
    let manifest = Manifest::load(place.clone()).await.unwrap();
    assert_eq!(manifest.epoch(), 2);
    drop(newer);
    drop(older);
    let older = store_on(&a, place.clone(), 3 * seed).await;
    requests.check(&older.reader(), start_ns, &format!("seed {seed}: the older one again")).await;
}

#[test]
fn of_two_stores_the_older_one_paused_past_the_start_of_the_newer_one_commits_nothing() {
    all(0..ROUNDS, AT_ONCE, round);
}
