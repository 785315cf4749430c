//! An object store in memory that fails as servers and networks do, for tests (storage.md 18, C9).
//!
//! Duty: delays, refused requests, answers that are lost, puts that arrive late, conflicts, lists that lack what is new.
//! Guarantee: the objects themselves are never wrong; the same seed draws the same chances. Left to others: what must
//! hold nevertheless.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Cheap to clone: all clones are the same server.
#[derive(Clone, Debug)]
pub struct Sick {
    well: Arc<InMemory>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chance: ChaCha12Rng,
    /// Of 100 requests so many fail.
    ill: u64,
    /// Everything fails until it is healed.
    dead: bool,
    /// Puts whose sender has given up, and which the server still carries out.
    late: Vec<(Path, PutPayload)>,
    /// The newest objects.
    newest: VecDeque<Path>,
    failed: u64,
    /// Who makes the next request panics.
    panics: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// It is refused.
    Refused,
    /// It is carried out, and the sender does not learn of it.
    Lost,
    /// It is carried out after the sender has given up.
    Late,
    /// Another one under the same name is under way: neither is carried out.
    Conflict,
    /// It is carried out, the answer is lost, and the client's own repeat finds the name taken.
    Repeated,
    /// A list that lags behind.
    Stale,
}

impl Sick {
    /// A server whose requests fail in `ill` of 100 cases.
    pub fn new(seed: u64, ill: u64) -> Self {
        let state = State {
            chance: ChaCha12Rng::seed_from_u64(seed),
            ill,
            dead: false,
            late: Vec::new(),
            newest: VecDeque::new(),
            failed: 0,
            panics: false,
        };
        Self { well: Arc::default(), state: Arc::new(Mutex::new(state)) }
    }

    /// From now on nothing fails, and nothing arrives late.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.ill, state.dead) = (0, false);
    }

    /// From now on nothing is answered.
    pub fn die(&self) {
        self.state.lock().unwrap().dead = true;
    }

    /// Whoever makes the next request panics.
    pub fn panic_once(&self) {
        self.state.lock().unwrap().panics = true;
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.state.lock().unwrap().failed
    }

    async fn fate(&self, of: &[Fate]) -> Fate {
        let (fate, pause, late) = {
            let mut state = self.state.lock().unwrap();
            if std::mem::take(&mut state.panics) {
                drop(state);
                panic!("planned panic");
            }
            let (percent, which) = (state.chance.next_u64() % 100, state.chance.next_u64());
            let fate = match (state.dead, percent < state.ill) {
                (true, _) => Fate::Refused,
                (false, true) => of[usize::try_from(which % of.len() as u64).unwrap()],
                (false, false) => Fate::Well,
            };
            state.failed += u64::from(fate != Fate::Well);
            let arrives = state.ill == 0 || state.chance.next_u64().is_multiple_of(3);
            let late = if arrives { std::mem::take(&mut state.late) } else { Vec::new() };
            (fate, if state.ill > 0 { state.chance.next_u64() % 3 } else { 0 }, late)
        };
        for (location, payload) in late {
            drop(self.create(&location, payload).await);
        }
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        fate
    }

    async fn create(&self, location: &Path, payload: PutPayload) -> Result<PutResult> {
        let put = self.well.put_opts(location, payload, PutMode::Create.into()).await?;
        let newest = &mut self.state.lock().unwrap().newest;
        newest.push_back(location.clone());
        if newest.len() > 3 {
            newest.pop_front();
        }
        Ok(put)
    }
}

fn failed(what: &'static str) -> Error {
    Error::Generic { store: "S3", source: what.into() }
}

fn taken(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "409 or 412".into() }
}

#[async_trait]
impl ObjectStore for Sick {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        assert_eq!(opts.mode, PutMode::Create, "no object is ever replaced");
        match self.fate(&[Fate::Refused, Fate::Lost, Fate::Late, Fate::Conflict, Fate::Repeated]).await {
            Fate::Well | Fate::Stale => self.create(location, payload).await,
            Fate::Refused => Err(failed("503 SlowDown")),
            Fate::Conflict => Err(taken(location)),
            Fate::Late => {
                self.state.lock().unwrap().late.push((location.clone(), payload));
                Err(failed("operation timed out"))
            }
            Fate::Lost => {
                drop(self.create(location, payload).await);
                Err(failed("connection reset"))
            }
            Fate::Repeated => {
                drop(self.create(location, payload).await);
                Err(taken(location))
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.well.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // Fewer than puts: a start reads the whole manifest, and each of its requests must be answered.
        match self.fate(&[Fate::Refused, Fate::Well, Fate::Well, Fate::Well]).await {
            Fate::Refused => Err(failed("500 InternalError")),
            _ => self.well.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.well.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let fate = this.fate(&[Fate::Refused, Fate::Stale]).await;
            let all: Vec<ObjectMeta> = this.well.list(prefix.as_ref()).try_collect().await?;
            match fate {
                Fate::Refused => Err(failed("503 SlowDown")),
                Fate::Stale => {
                    let newest = this.state.lock().unwrap().newest.clone();
                    Ok(all.into_iter().filter(|meta| !newest.contains(&meta.location)).collect())
                }
                _ => Ok(all),
            }
        };
        stream::once(listed).map_ok(|all: Vec<_>| stream::iter(all.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.well.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.well.copy_opts(from, to, options).await
    }
}

impl std::fmt::Display for Sick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sick")
    }
}
