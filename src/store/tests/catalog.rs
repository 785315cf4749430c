//! The catalogue equals a naive count of all rows, whatever happened to them.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType, TimestampNanosecondType, UInt8Type, UInt16Type};

use super::*;
use crate::span::schema;
use crate::store::catalog::{Day, Table};
use crate::store::part::{Level, Opened, Promotion};
use crate::store::split::home_hour;
use crate::store::upkeep::Upkeep;

const HOUR_NS: i64 = 3600 * 1_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;
/// Midnight.
const TODAY_NS: i64 = samples::NOW_NS - samples::NOW_NS % DAY_NS;
const MAX_AGE_DAYS: u64 = 3;

/// Table and names → types, and the rows of each day.
type Counted = BTreeMap<(usize, Vec<String>), (u8, Vec<Day>)>;
/// The same while it is counted.
type Counts = HashMap<(usize, Vec<String>), (u8, BTreeMap<i32, Day>)>;

/// Row by row, with nothing but texts.
async fn recounted(view: &View) -> Counted {
    let mut batches: Vec<RecordBatch> = view.memory.iter().map(|rows| rows.to_record_batch()).collect();
    let plain = Promotion::of_parts(std::iter::empty(), 0, &Config::at("unused"));
    for part in &view.parts.parts {
        let opened = Opened::open(view.objects.clone(), &part.entry).await.unwrap();
        let mut rows = opened.rows((0..part.entry.row_groups.len()).collect(), None, 8192).unwrap();
        while let Some(batch) = rows.next().await.unwrap() {
            batches.push(opened.reshape(&batch, &plain, &plain.schema()).unwrap());
        }
    }
    let mut counted = Counts::new();
    for batch in &batches {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let word = |name: &str, row: usize| {
            let words = column(name).as_dictionary::<Int32Type>();
            words.values().as_string::<i32>().value(words.keys().value(row) as usize).to_owned()
        };
        for row in 0..batch.num_rows() {
            let start = column("start_time").as_primitive::<TimestampNanosecondType>().value(row);
            let ingest = column("ingest_time").as_primitive::<TimestampMicrosecondType>().value(row);
            let anomalies = column("anomalies").as_primitive::<UInt16Type>().value(row);
            let day = i32::try_from(home_hour(start, ingest, anomalies).div_euclid(24)).unwrap();
            let mut count = |table: Table, names: Vec<String>, types: u8, errors: u64| {
                let (known, days) = counted.entry((table as usize, names)).or_default();
                *known |= types;
                let one = Day { day, rows: 1, errors, first_ns: start, last_ns: start };
                days.entry(day)
                    .and_modify(|of| {
                        of.rows += 1;
                        of.errors += errors;
                        of.first_ns = of.first_ns.min(start);
                        of.last_ns = of.last_ns.max(start);
                    })
                    .or_insert(one);
            };
            let errors = u64::from(word("status_code", row) == "error");
            let service = word("service_name", row);
            count(Table::Services, vec![service.clone()], 0, errors);
            count(Table::Operations, vec![service, word("name", row), word("kind", row)], 0, errors);
            for level in Level::ALL {
                let of = column(level.column());
                let list = match of.as_any_dictionary_opt() {
                    Some(shared) => {
                        let at = shared.keys().as_primitive::<Int32Type>().value(row) as usize;
                        shared.values().as_list::<i32>().value(at)
                    }
                    None => of.as_list::<i32>().value(row),
                };
                let list = list.as_struct();
                let keys = list.column(0).as_dictionary::<Int32Type>();
                let texts = keys.values().as_string::<i32>();
                let mut first: BTreeMap<&str, u8> = BTreeMap::new();
                for at in 0..list.len() {
                    let of = list.column(1).as_primitive::<UInt8Type>().value(at);
                    first.entry(texts.value(keys.keys().value(at) as usize)).or_insert(1 << of);
                }
                for (key, types) in first.into_iter().filter(|(key, _)| !key.starts_with("wg.")) {
                    count(Table::of_level(level), vec![key.to_owned()], types, 0);
                }
            }
        }
    }
    counted.into_iter().map(|(names, (types, days))| (names, (types, days.into_values().collect()))).collect()
}

async fn shown(view: &View) -> Counted {
    let tables = view.catalog.as_ref().unwrap().tables(view).await.unwrap();
    let mut counted = Counted::new();
    for table in Table::ALL {
        for line in tables.of(table) {
            let names = line.names.clone().expect("all fit");
            counted.insert((table as usize, names), (line.types, line.days.clone()));
        }
    }
    counted
}

/// The catalogue of `reader` has its rows, each once. A type that was seen on a day that has left stays known.
pub(super) async fn check(reader: &Reader, at: &str) {
    let view = reader.view();
    let (shown, recounted) = (shown(&view).await, recounted(&view).await);
    let names = |of: &Counted| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shown), names(&recounted), "{at}");
    for (names, (types, days)) in &recounted {
        let (shown_types, shown_days) = &shown[names];
        assert_eq!(shown_days, days, "{at}: {names:?}");
        assert_eq!(shown_types & types, *types, "{at}: {names:?}");
    }
}

fn delivery(seed: u64, starts: &[i64]) -> Delivery {
    let varied = samples::varied(seed, starts, samples::NOW_NS / 1000);
    let columns = schema::incoming().fields().iter();
    let columns: Vec<usize> = columns.map(|f| varied.schema_ref().index_of(f.name()).unwrap()).collect();
    let batch = SpanBatch::try_new(varied.project(&columns).unwrap()).unwrap();
    let status = batch.as_record_batch().schema_ref().index_of("status_code").unwrap();
    let words = (0..starts.len()).map(|row| ["ok", "error", "unset"][(row + seed as usize) % 3]);
    let words: arrow::array::DictionaryArray<Int32Type> = words.map(Some).collect();
    let batch = batch.with_column(status, Arc::new(words)).unwrap();
    Delivery { batches: vec![batch], body: None, identity: 0, origin: Origin::Received }
}

/// A store that lives through whatever its seed decides.
struct Life {
    chance: ChaCha12Rng,
    dir: tempfile::TempDir,
    clock: Clock,
    store: Store,
    sent: u64,
    /// Hours leave by age; then each request is of few hours, for a stray part keeps a day longer.
    expires: bool,
}

impl Life {
    fn config(dir: &Path, expires: bool) -> Config {
        Config { max_age: expires.then(|| Duration::from_secs(MAX_AGE_DAYS * 86_400)), ..config(dir) }
    }

    async fn new(seed: u64) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(TODAY_NS + HOUR_NS / 2, seed));
        let expires = seed.is_multiple_of(2);
        let store = try_open(Self::config(dir.path(), expires), Disk::Os, clock.clone()).await.unwrap();
        ready(&store).await;
        Self { chance: ChaCha12Rng::seed_from_u64(seed), dir, clock, store, sent: 0, expires }
    }

    fn draw(&mut self, of: u64) -> u64 {
        self.chance.next_u64() % of
    }

    async fn send(&mut self) {
        let now = self.clock.now_ns();
        let rows = 1 + self.draw(30);
        let starts: Vec<i64> = (0..rows)
            .map(|_| {
                let hours = match self.expires {
                    // Whole days apart.
                    true => 24 * self.draw(3),
                    false => self.draw(80),
                };
                match self.draw(40) {
                    // An outlier.
                    0 => now + 30 * HOUR_NS,
                    1 => 0,
                    _ => now - (hours as i64) * HOUR_NS - self.draw(20 * 60) as i64 * 1_000_000_000,
                }
            })
            .collect();
        self.sent += 1;
        self.store.append(delivery(self.sent, &starts)).await.unwrap();
    }

    fn steps(&self) -> Upkeep {
        Upkeep { chores: Arc::default(), ..self.store.inner.upkeep.clone() }
    }

    /// A day goes by, and what is too old leaves.
    async fn day(&mut self) {
        // Retention takes hours of parts: what is in memory goes into some first.
        self.store.freeze_and_flush().await.unwrap();
        let (now, steps) = (self.clock.now_ns(), self.steps());
        let mono = |ns: i64| Duration::from_nanos(ns.unsigned_abs());
        self.clock.advance(Duration::from_secs(86_400));
        steps.retain_at(now, mono(0)).await.unwrap();
        // Two readings, should the clock look as if it jumped.
        for after in [DAY_NS, DAY_NS + HOUR_NS / 4] {
            steps.retain_at(now + after, mono(after)).await.unwrap();
        }
        steps.catalog.keep().await.unwrap();
    }

    /// Another process; after a kill or a stop, and perhaps with damaged files.
    async fn restart(mut self) -> Self {
        let killed = tempfile::tempdir().unwrap();
        match self.draw(2) {
            0 => {
                self.store.close().await.unwrap();
                copy(self.dir.path(), killed.path());
            }
            _ => {
                copy(self.dir.path(), killed.path());
                drop(self.store);
            }
        }
        let choice = self.chance.next_u64() % 4;
        for path in Disk::Os.list(&killed.path().join("catalog")).unwrap_or_default() {
            match choice {
                0 => std::fs::remove_file(path).unwrap(),
                1 => {
                    let mut bytes = std::fs::read(&path).unwrap();
                    let at = self.chance.next_u64() as usize % bytes.len();
                    bytes[at] ^= 1 << (self.chance.next_u64() % 8);
                    std::fs::write(path, bytes).unwrap();
                }
                _ => {}
            }
        }
        let reader =
            offline::open_with(&Self::config(killed.path(), false), Disk::Os, self.clock.clone(), decode()).await;
        check(&reader.unwrap(), "without a store").await;
        let config = Self::config(killed.path(), self.expires);
        let store = try_open(config, Disk::Os, self.clock.clone()).await.unwrap();
        ready(&store).await;
        Self { dir: killed, store, ..self }
    }
}

async fn live(seed: u64, steps: usize) {
    let mut life = Life::new(seed).await;
    for step in 0..steps {
        let choice = life.draw(20);
        match choice {
            0..=8 => life.send().await,
            9..=12 => life.store.freeze_and_flush().await.unwrap(),
            13 | 14 => drop(life.store.compact(None).await),
            15 => life.steps().catalog.write().await.unwrap(),
            16 | 17 if life.expires => life.day().await,
            _ => life = life.restart().await,
        }
        check(&life.store.reader(), &format!("seed {seed}, step {step}, choice {choice}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_equals_a_recount_after_any_flush_compaction_expiry_and_restart() {
    for seed in 0..4 {
        live(seed, 16).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "100 seeds"]
async fn it_equals_a_recount_after_any_flush_compaction_expiry_and_restart_over_100_seeds() {
    for seed in 0..100 {
        live(seed, 60).await;
    }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = Disk::Os
        .list(&dir.join("catalog"))
        .unwrap_or_default()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn three_files_stay_and_one_that_is_newer_than_the_manifest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let steps = Upkeep { chores: Arc::default(), ..store.inner.upkeep.clone() };
    for seed in 1..=5 {
        store.append(delivery(seed, &[samples::NOW_NS])).await.unwrap();
        store.freeze_and_flush().await.unwrap();
        steps.catalog.write().await.unwrap();
    }
    let kept = files(dir.path());
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[2], format!("{:020}.arrow.zst", steps.shelf.shown().version));
    steps.sweep_orphans(samples::NOW_NS + 48 * HOUR_NS).await.unwrap();
    assert_eq!(files(dir.path()), kept, "the sweep leaves them alone");
    drop(steps);
    store.close().await.unwrap();
    // Of a history that the manifest does not have: with another number it would be a file of ours.
    let foreign = dir.path().join(format!("catalog/{:020}.arrow.zst", 1_000));
    std::fs::copy(dir.path().join("catalog").join(&kept[2]), &foreign).unwrap();
    let stranger = dir.path().join("catalog/notes.txt");
    std::fs::write(&stranger, "mine").unwrap();
    let damaged = dir.path().join("catalog").join(&kept[2]);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[40] ^= 4;
    std::fs::write(&damaged, bytes).unwrap();
    let report = verify::verify(&config(dir.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    let told: Vec<&str> = report.findings.iter().map(|finding| finding.file.as_str()).collect();
    let of = |name: &str| format!("catalog/{name}");
    assert_eq!(told, [of(&kept[2]), of(&format!("{:020}.arrow.zst", 1_000)), of("notes.txt")]);

    let store = open_at(dir.path()).await;
    assert!(!foreign.exists());
    check(&store.reader(), "after the start").await;
    store.close().await.unwrap();
    assert!(stranger.exists() && !damaged.exists(), "{:?}", files(dir.path()));
    let report = verify::verify(&config(dir.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_nothing_is_counted_again_and_after_a_kill_only_what_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..4 {
        store.append(delivery(seed, &[samples::NOW_NS, samples::NOW_NS - HOUR_NS])).await.unwrap();
    }
    store.close().await.unwrap();
    let read = async |dir: &Path| offline::open_with(&config(dir), Disk::Os, clock(), decode()).await.unwrap();
    let reader = read(dir.path()).await;
    assert!(!reader.view().catalog.unwrap().is_behind());
    check(&reader, "after a stop").await;
    let store = open_at(dir.path()).await;
    store.append(delivery(4, &[samples::NOW_NS])).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let reader = read(killed.path()).await;
    assert!(reader.view().catalog.unwrap().is_behind());
    check(&reader, "after a kill").await;
    assert!(!reader.view().catalog.unwrap().is_behind());
}

/// A folder with parts of a request each and no file of the catalogue, as a kill leaves it.
async fn in_parts(dir: &Path, count: u64, rows: &[i64]) -> Vec<String> {
    let store = open_at(dir).await;
    for seed in 1..=count {
        store.append(delivery(seed, rows)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    let parts = store.reader().view().parts.parts.iter().map(|part| part.entry.path.clone()).collect();
    drop(store);
    std::fs::remove_dir_all(dir.join("catalog")).unwrap();
    parts
}

fn flip(dir: &Path, part: &str) {
    let mut bytes = std::fs::read(dir.join(part)).unwrap();
    bytes[100] ^= 1;
    std::fs::write(dir.join(part), bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_a_damaged_part_is_an_error_or_is_left_out_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let parts = in_parts(dir.path(), 3, &[samples::NOW_NS; 4]).await;
    flip(dir.path(), &parts[1]);
    let view = async |on_corrupt_part| {
        let config = Config { on_corrupt_part, ..config(dir.path()) };
        offline::open_with(&config, Disk::Os, clock(), decode()).await.unwrap().view()
    };
    let tables = async |view: &View| view.catalog.as_ref().unwrap().tables(view).await;
    let spans = |tables: &crate::store::catalog::Tables| -> u64 {
        tables.of(Table::Services).iter().flat_map(|line| &line.days).map(|day| day.rows).sum()
    };
    let failing = view(config::OnCorruptPart::Error).await;
    for _ in 0..2 {
        let error = tables(&failing).await.unwrap_err();
        assert!(error.to_string().contains(&parts[1]), "{error}");
    }
    let skipping = view(config::OnCorruptPart::Skip).await;
    for _ in 0..2 {
        assert_eq!(spans(&tables(&skipping).await.unwrap()), 8);
        assert_eq!(skipping.skipped.as_ref().unwrap().paths(), [parts[1].clone()]);
    }
    // Whoever comes later is told as well.
    let later = View { skipped: Some(Arc::default()), ..skipping };
    tables(&later).await.unwrap();
    assert_eq!(later.skipped.unwrap().paths(), [parts[1].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_of_a_damaged_part_is_counted_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { row_group_rows: 16_384, ..config(dir.path()) };
    let store = try_open(config.clone(), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    store.append(request(1, 80_000)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    let part = store.reader().view().parts.parts[0].entry.path.clone();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("catalog")).unwrap();
    flip(dir.path(), &part);
    let store = try_open(config, Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    // Counting is what finds the damage, upkeep takes the part out, and then all is counted again.
    let began = std::time::Instant::now();
    while store.reader().view().catalog.unwrap().is_behind() {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", store.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reader = store.reader();
    assert!(reader.view().parts.parts.iter().all(|live| live.entry.path != part));
    assert!((1..80_000).contains(&ids(&reader).await.len()));
    check(&reader, "after the quarantine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_count_within_a_part_and_nothing_of_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    in_parts(dir.path(), 1, &vec![samples::NOW_NS; 9_000]).await;
    let reader = offline::open_with(&config(dir.path()), Disk::Os, clock(), decode()).await.unwrap();
    let catalog = reader.view().catalog.unwrap();
    for more in [1, 2] {
        let asked = AtomicU64::new(0);
        let ended = catalog.catch_up(|| asked.fetch_add(1, Ordering::Relaxed) >= more).await;
        assert!(matches!(ended, Err(Error::Draining)), "{ended:?}");
        assert_eq!(asked.into_inner(), more + 1, "before the part, then after each batch");
    }
    assert!(catalog.is_behind());
    check(&reader, "after two stops").await;
}
