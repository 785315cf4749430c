//! What a manifest reads when its files are whole, gone or damaged.

use bytes::Bytes;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::store::part::{self, ARRIVAL, PartSpec, Source, WalRange};
use crate::store::{Config, samples};

mod behind;

/// A store without a log: parts with rows, and the manifest that names them.
struct Bench {
    objects: Arc<InMemory>,
    clock: Clock,
    node: Ulid,
    manifest: Manifest,
    lsn: Lsn,
}

impl Bench {
    async fn new() -> Self {
        let clock = Clock::manual(samples::NOW_NS, 1);
        let objects = Arc::new(InMemory::new());
        let manifest = Manifest::load(objects.clone()).await.unwrap();
        let mut bench = Self { objects, node: clock.ulid(), clock, manifest, lsn: 0 };
        bench.claim().await;
        bench
    }

    async fn claim(&mut self) {
        self.clock.advance(std::time::Duration::from_secs(1));
        self.manifest.claim(self.node, &self.clock).await.unwrap();
    }

    /// The parts of a generation of two lsns, one a seed, durable but not named.
    async fn put(&mut self, seeds: &[u64]) -> Vec<PartEntry> {
        self.clock.advance(std::time::Duration::from_secs(1));
        let (from, to) = (self.lsn + 1, self.lsn + 2);
        let mut entries = Vec::new();
        for (index, seed) in (0..).zip(seeds) {
            let of = u32::try_from(seeds.len()).unwrap();
            let wal = WalRange { node: self.node, epoch: self.manifest.epoch(), from, to, index, of };
            let (ulid, hour, source) = (self.clock.ulid(), "2023-11-14T22".to_owned(), Source::Log(wal));
            let spec = PartSpec { ulid, level: 0, hour, stray: false, sort: ARRIVAL, source };
            let rows = samples::batch(*seed, 3).with_ingest_time(i64::try_from(*seed).unwrap());
            let encoded = part::encode(&[rows], &spec, &Config::at("unused")).unwrap();
            entries.push(part::put(self.objects.as_ref(), &encoded).await.unwrap());
        }
        entries
    }

    async fn flush(&mut self, seeds: &[u64]) -> Vec<PartEntry> {
        let add = self.put(seeds).await;
        self.lsn += 2;
        let flushed = [(self.node.to_string(), self.lsn)].into();
        self.commit(Delta { add: add.clone(), flushed, ..Delta::default() }).await;
        add
    }

    /// The part made of `inputs`, durable but not named.
    async fn made_of(&mut self, inputs: &[PartEntry]) -> PartEntry {
        self.clock.advance(std::time::Duration::from_secs(1));
        let ulid = self.clock.ulid();
        let mut batches = Vec::new();
        for entry in inputs {
            let file = self.objects.get(&entry.path.as_str().into()).await.unwrap().bytes().await.unwrap();
            let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            batches.push(reader.next().unwrap().unwrap());
        }
        let rows = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        let lsn = [inputs[0].lsn[0], inputs[inputs.len() - 1].lsn[1]];
        let ulids: Vec<String> =
            inputs.iter().map(|entry| footers::ulid_of(&entry.path).unwrap().to_string()).collect();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        let pairs = [
            ("wg.format", serde_json::json!({"level": 1, "ulid": ulid.to_string(), "hour": "2023-11-14T22"})),
            ("wg.inputs", serde_json::json!({"inputs": ulids, "index": 0, "of": 1, "from": lsn[0], "to": lsn[1]})),
            ("wg.stats", part::stats_of(&[rows])),
        ];
        pairs.into_iter().for_each(|(key, value)| {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_string()));
        });
        let path = format!("spans/date=2023-11-14/hour=22/{ulid}.parquet");
        let file = Bytes::from(writer.into_inner().unwrap());
        self.objects.put(&part::sum_path(&path).into(), part::sum_of(&file).into()).await.unwrap();
        self.objects.put(&path.as_str().into(), file.into()).await.unwrap();
        part::read_back(self.objects.as_ref(), &path).await.unwrap()
    }

    async fn compact(&mut self, inputs: &[PartEntry]) -> PartEntry {
        let made = self.made_of(inputs).await;
        let remove = removals(inputs, Reason::Compacted);
        self.commit(Delta { add: vec![made.clone()], remove, ..Delta::default() }).await;
        made
    }

    async fn commit(&mut self, delta: Delta) {
        self.clock.advance(std::time::Duration::from_secs(1));
        self.manifest.commit(delta, &self.clock).await.unwrap();
    }

    async fn delete(&self, entry: &PartEntry) {
        self.objects.delete(&entry.path.as_str().into()).await.unwrap();
        self.objects.delete(&part::sum_path(&entry.path).into()).await.unwrap();
    }

    async fn damage(&self, path: &Path) {
        let mut bytes = self.objects.get(path).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.objects.put(path, bytes.into()).await.unwrap();
    }

    async fn load(&self) -> Manifest {
        Manifest::load(self.objects.clone()).await.unwrap()
    }
}

fn removals(entries: &[PartEntry], reason: Reason) -> Vec<Removal> {
    entries.iter().map(|entry| Removal { path: entry.path.clone(), reason, delete_after: 0 }).collect()
}

/// All that readers and the log rely on.
fn told(manifest: &Manifest) -> (Vec<PartEntry>, BTreeMap<String, Lsn>, i64) {
    let mut parts = manifest.parts().to_vec();
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    (parts, manifest.flushed().clone(), manifest.max_ingest_us())
}

fn adding(path: &str) -> Delta {
    let entry = serde_json::json!({
        "path": path, "level": 0, "hour": "2026-01-01T00", "rows": 1, "bytes": 1, "footer_bytes": 1, "start": [1, 1],
        "end": [1, 1], "ingest": [1, 1], "row_groups": [], "services": [], "lsn": [1, 1], "schema": 1, "file_xxh3": "0",
        "sum_xxh3": "0",
    });
    let add = vec![serde_json::from_value(entry).unwrap()];
    Delta { add, flushed: [("N".to_owned(), 7)].into(), ..Delta::default() }
}

#[tokio::test]
async fn what_was_committed_is_loaded() {
    let mut bench = Bench::new().await;
    bench.flush(&[1, 2]).await;
    bench.flush(&[3]).await;
    let manifest = bench.load().await;
    assert_eq!((manifest.version(), manifest.epoch(), manifest.parts().len()), (3, 1, 3));
    assert_eq!((told(&manifest), manifest.max_ingest_us()), (told(&bench.manifest), 3));
    assert!(manifest.recovered().is_none());
}

#[tokio::test]
async fn the_writer_with_the_lower_epoch_commits_nothing() {
    let mut bench = Bench::new().await;
    let (mut old, mut new) = (bench.load().await, bench.load().await);
    new.claim(bench.node, &bench.clock).await.unwrap();
    for path in ["spans/c", "spans/d"] {
        let error = old.commit(adding(path), &bench.clock).await.unwrap_err();
        assert!(matches!(error, Error::Superseded { version: 2, epoch: 2, .. }), "{error}");
    }
    bench.manifest = bench.load().await;
    assert_eq!(bench.manifest.parts().len(), 0);
}

#[tokio::test]
async fn a_flipped_byte_of_a_delta_changes_no_part() {
    let mut bench = Bench::new().await;
    bench.flush(&[1, 2]).await;
    let inputs = bench.flush(&[3]).await;
    bench.compact(&inputs).await;
    bench.claim().await;
    let right = told(&bench.manifest);
    for version in 1..=5 {
        let path = path_of(version);
        let good = bench.objects.get(&path).await.unwrap().bytes().await.unwrap();
        for at in (0..good.len()).step_by(5) {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            bench.objects.put(&path, bad.into()).await.unwrap();
            assert_eq!(told(&bench.load().await), right, "version {version}, byte {at}");
        }
        bench.objects.put(&path, good.into()).await.unwrap();
    }
}

#[tokio::test]
async fn versions_that_are_lost_are_named_anew_by_the_parts_and_the_next_start_needs_them_no_more() {
    for lost in [vec![2], vec![3], vec![4], vec![5], vec![2, 3], vec![3, 4], vec![4, 5], vec![2, 3, 4, 5]] {
        let mut bench = Bench::new().await;
        let first = bench.flush(&[1, 2]).await;
        let second = bench.flush(&[3]).await;
        bench.compact(&[first[0].clone(), second[0].clone()]).await;
        bench.flush(&[4, 5]).await;
        let right = told(&bench.manifest);
        for version in &lost {
            match version % 2 {
                // A newest delta that is gone altogether leaves no trace: the log has its rows.
                0 => bench.objects.delete(&path_of(*version)).await.unwrap(),
                _ => bench.damage(&path_of(*version)).await,
            }
        }
        let mut found = bench.load().await;
        assert_eq!(told(&found), right, "without {lost:?}");
        let recovery = found.recovered().unwrap();
        assert!(recovery.unplaced.is_empty(), "{recovery:?}");
        assert!(recovery.told.starts_with(&format!("{} manifest versions", lost.len())), "{recovery:?}");
        assert!(found.checkpoint_is_due());
        found.claim(bench.node, &bench.clock).await.unwrap();
        assert_eq!(told(&bench.load().await), right, "killed before the checkpoint, without {lost:?}");
        found.checkpoint(&bench.clock).await.unwrap();
        let after = bench.load().await;
        assert_eq!((told(&after), after.recovered(), after.unreadable()), (right, None, &[][..]));
        assert_eq!((after.version(), after.checkpoint_is_due()), (6, false));
    }
}

#[tokio::test]
async fn a_lost_compaction_is_found_after_its_inputs_were_deleted_and_after_its_output_went_on() {
    let mut bench = Bench::new().await;
    let first = bench.flush(&[1, 2]).await;
    let second = bench.flush(&[3]).await;
    let made = bench.compact(&[first[0].clone(), second[0].clone()]).await;
    bench.delete(&first[0]).await;
    bench.delete(&second[0]).await;
    bench.flush(&[4]).await;
    let right = told(&bench.manifest);
    bench.damage(&path_of(4)).await;
    assert_eq!(told(&bench.load().await), right);
    // The output becomes an input of a readable version, and is still there.
    let again = bench.compact(std::slice::from_ref(&made)).await;
    let right = told(&bench.manifest);
    assert!(right.0.contains(&again));
    assert_eq!(told(&bench.load().await), right);
    bench.delete(&made).await;
    let found = bench.load().await;
    assert_eq!(told(&found), right);
}

#[tokio::test]
async fn a_part_whose_set_lost_another_one_to_compaction_is_still_found() {
    let mut bench = Bench::new().await;
    let set = bench.flush(&[1, 2]).await;
    bench.compact(&set[..1]).await;
    bench.delete(&set[0]).await;
    let right = told(&bench.manifest);
    bench.damage(&path_of(2)).await;
    assert_eq!(told(&bench.load().await), right);
}

#[tokio::test]
async fn of_two_sets_with_the_same_rows_one_is_taken() {
    let mut bench = Bench::new().await;
    // A flush that died before its commit; its rows are replayed and flushed by the next start.
    let died = bench.put(&[1, 2]).await;
    bench.claim().await;
    let first = bench.flush(&[1, 2]).await;
    // A compaction that died before its commit, and the one that was done instead.
    bench.made_of(&first[..1]).await;
    bench.compact(&first).await;
    let right = told(&bench.manifest);
    for lost in [vec![3], vec![4], vec![3, 4]] {
        let path_before: Vec<_> = bench.objects_of_manifest().await;
        for version in &lost {
            bench.damage(&path_of(*version)).await;
        }
        let found = bench.load().await;
        assert_eq!(told(&found), right, "without {lost:?}");
        let unplaced = &found.recovered().unwrap().unplaced;
        assert!(died.iter().all(|entry| unplaced.contains(&entry.path)), "{unplaced:?}");
        bench.put_back(path_before).await;
    }
}

impl Bench {
    async fn objects_of_manifest(&self) -> Vec<(Path, Bytes)> {
        let mut all = Vec::new();
        for version in 1..=self.manifest.version() {
            let path = path_of(version);
            all.push((path.clone(), self.objects.get(&path).await.unwrap().bytes().await.unwrap()));
        }
        all
    }

    async fn put_back(&self, files: Vec<(Path, Bytes)>) {
        for (path, bytes) in files {
            self.objects.put(&path, bytes.into()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_checkpoint_stands_for_all_before_it_and_old_files_go() {
    let mut bench = Bench::new().await;
    let kept = bench.flush(&[1, 2]).await;
    for round in 0..4 {
        assert!(!bench.manifest.checkpoint_is_due(), "round {round}");
        while !bench.manifest.checkpoint_is_due() {
            bench.claim().await;
        }
        bench.manifest.checkpoint(&bench.clock).await.unwrap();
    }
    bench.commit(Delta { remove: removals(&kept[..1], Reason::Expired), ..Delta::default() }).await;
    let newest = bench.manifest.version();
    assert_eq!(newest, 4 * checkpoint::EVERY + 1);
    let listed: Vec<String> = futures::TryStreamExt::try_collect::<Vec<_>>(bench.objects.list(Some(&FOLDER.into())))
        .await
        .unwrap()
        .into_iter()
        .map(|meta| meta.location.filename().unwrap().to_owned())
        .collect();
    let checkpoints: Vec<u64> = listed.iter().filter_map(|name| checkpoint::version_of(name)).collect();
    assert_eq!(checkpoints, [256, 384, 512]);
    let deltas: Vec<u64> = listed.iter().filter_map(|name| version_of(name)).collect();
    assert_eq!(deltas, (257..=newest).collect::<Vec<_>>());
    let found = bench.load().await;
    assert_eq!((told(&found), found.version(), found.epoch()), (told(&bench.manifest), newest, bench.manifest.epoch()));
    assert_eq!(found.removed().collect::<Vec<_>>(), bench.manifest.removed().collect::<Vec<_>>());
    // The store position of a part that is gone still counts.
    assert_eq!((found.parts().len(), found.max_ingest_us()), (1, 2));
    for damaged in [512, 384] {
        bench.damage(&checkpoint::path_of(damaged)).await;
        let found = bench.load().await;
        assert_eq!((told(&found), found.version()), (told(&bench.manifest), newest), "without {damaged}");
        assert!(found.recovered().is_none() && found.checkpoint_is_due());
    }
    bench.damage(&checkpoint::path_of(256)).await;
    let error = Manifest::load(bench.objects.clone()).await.unwrap_err();
    assert!(error.to_string().contains("more than 128 versions"), "{error}");
    let found = Manifest::rebuild(bench.objects.clone()).await.unwrap();
    assert_eq!((found.parts(), found.flushed()), (bench.manifest.parts(), bench.manifest.flushed()));
}

#[tokio::test]
async fn a_flipped_byte_of_a_checkpoint_changes_no_part() {
    let mut bench = Bench::new().await;
    let first = bench.flush(&[1, 2]).await;
    bench.manifest.checkpoint(&bench.clock).await.unwrap();
    bench.flush(&[3]).await;
    bench.commit(Delta { remove: removals(&first[..1], Reason::Expired), ..Delta::default() }).await;
    let right = told(&bench.manifest);
    let path = checkpoint::path_of(2);
    let good = bench.objects.get(&path).await.unwrap().bytes().await.unwrap();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        // The frame's header says how to decompress; what comes out is under its checksum.
        assert!((4..6).contains(&at) || checkpoint::decode(2, &bad).is_err(), "byte {at}");
        if at % 5 == 0 || at < 16 {
            bench.objects.put(&path, bad.into()).await.unwrap();
            assert_eq!(told(&bench.load().await), right, "byte {at}");
        }
    }
    for cut in [0, 1, good.len() / 2, good.len() - 1] {
        bench.objects.put(&path, good.slice(..cut).into()).await.unwrap();
        assert_eq!(told(&bench.load().await), right, "cut at {cut}");
    }
}

/// C6, C15 in small: random histories, then one to three damaged or lost files of the manifest.
#[tokio::test]
async fn whatever_is_damaged_of_a_random_history_each_row_counts_once() {
    for seed in 0..24 {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |below: usize| usize::try_from(chance.next_u64() % below as u64).unwrap();
        let mut bench = Bench::new().await;
        let mut next = 1;
        for _ in 0..4 + draw(12) {
            let live = bench.manifest.parts().to_vec();
            match draw(6) {
                0 => bench.claim().await,
                1 if live.len() >= 2 => {
                    let (from, count) = (draw(live.len() - 1), 1 + draw(2));
                    let inputs = &live[from..(from + count).min(live.len())];
                    bench.compact(inputs).await;
                    if draw(2) == 0 {
                        for input in inputs {
                            bench.delete(input).await;
                        }
                    }
                }
                2 => bench.manifest.checkpoint(&bench.clock).await.unwrap(),
                3 => {
                    bench.put(&[next]).await;
                    bench.claim().await;
                }
                _ => {
                    let seeds: Vec<u64> = (next..=next + draw(2) as u64).collect();
                    next += seeds.len() as u64;
                    bench.flush(&seeds).await;
                }
            }
        }
        let listed: Vec<_> =
            futures::TryStreamExt::try_collect::<Vec<_>>(bench.objects.list(Some(&FOLDER.into()))).await.unwrap();
        for _ in 0..1 + draw(3) {
            let path = &listed[draw(listed.len())].location;
            let newest = path_of(bench.manifest.version());
            let is_there = bench.objects.head(path).await.is_ok();
            match draw(3) {
                // Without a trace of the newest version its rows come from the log.
                0 if is_there && *path != newest => bench.objects.delete(path).await.unwrap(),
                _ if is_there => bench.damage(path).await,
                _ => {}
            }
        }
        let (found, wanted) = (bench.load().await, bench.rows(&bench.manifest).await);
        let rows = bench.rows(&found).await;
        assert!(rows.values().all(|count| *count == 1), "seed {seed}: {rows:?}");
        assert!(wanted.keys().all(|id| rows.contains_key(id)), "seed {seed}: {rows:?} without some of {wanted:?}");
        // A flush that died before its commit may count, if the log is then not asked for its rows.
        let more = rows.keys().any(|id| !wanted.contains_key(id));
        let (flushed, right) = (found.flushed_lsn(bench.node), bench.manifest.flushed_lsn(bench.node));
        assert!(if more { flushed == right + 2 } else { flushed == right }, "seed {seed}: {flushed} {right}");
    }
}

impl Bench {
    /// Span id → how often it is in the live parts.
    async fn rows(&self, manifest: &Manifest) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for entry in manifest.parts() {
            let file = self.objects.get(&entry.path.as_str().into()).await.unwrap().bytes().await.unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                for id in samples::span_ids(&batch.unwrap()) {
                    *counts.entry(id).or_default() += 1;
                }
            }
        }
        counts
    }
}
