//! A follower gets what was acknowledged, in its order, from wherever it is by then.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::span::{Check, Delivery, Origin, schema};
use crate::store::wal::payload::Decode;
use crate::store::{Config, decode, open, samples};

const HOUR_NS: i64 = 3600 * 1_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// What the store adds or fills in later.
const ADDED: &[&str] = &["ingest_time", "parent_service"];

async fn open_with(dir: &Path, clock: Clock, decode: Decode) -> Store {
    let config = Config { min_free_bytes: Some(0), by_hand: true, max_age: None, ..Config::at(dir) };
    let budget = crate::budget::Budget::try_new(1 << 30).unwrap();
    let registry = prometheus::Registry::new();
    open::open(config, Disk::Os, clock, &budget, &registry, decode, Check::none()).await.unwrap()
}

async fn open_at(dir: &Path, clock: &Clock) -> Store {
    let store = open_with(dir, clock.clone(), decode::otlp()).await;
    while !store.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store
}

/// A request of several hours in which everything varies, cut into `batches`.
fn delivery(id: u64, rows: usize, batches: usize) -> Delivery {
    let starts: Vec<i64> = (0..rows as i64).map(|row| samples::NOW_NS - (row % 3) * HOUR_NS - row * 1_000).collect();
    let of = |batch: usize| {
        let varied = samples::varied(id * 10 + batch as u64, &starts, samples::NOW_NS / 1000);
        let columns = schema::incoming().fields().iter();
        let columns: Vec<usize> = columns.map(|f| varied.schema_ref().index_of(f.name()).unwrap()).collect();
        SpanBatch::try_new(varied.project(&columns).unwrap()).unwrap()
    };
    Delivery { batches: (0..batches).map(of).collect(), body: None, identity: 0, origin: Origin::Received }
}

/// The rows of a request, in no order.
fn rows(batches: &[SpanBatch]) -> Vec<String> {
    let batches: Vec<_> = batches.iter().map(|batch| batch.with_ingest_time(0)).collect();
    let mut rows = samples::texts(&batches, ADDED);
    rows.sort();
    rows
}

async fn next(follower: &mut Follower) -> Option<Followed> {
    tokio::time::timeout(PATIENCE, follower.next()).await.expect("it waits for ever").unwrap()
}

#[tokio::test]
async fn news_come_with_rows_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path(), &Clock::manual(samples::NOW_NS, 1)).await;
    let mut news = store.news();
    let mut other = news.clone();
    store.append(delivery(1, 3, 1)).await.unwrap();
    tokio::time::timeout(PATIENCE, news.came()).await.expect("rows came");
    tokio::select! {
        biased;
        () = news.came() => panic!("no more came"),
        () = tokio::task::yield_now() => {}
    }
    tokio::time::timeout(PATIENCE, other.came()).await.expect("each is told");
}

/// The rows of the first `records` records, each with its position.
async fn all(follower: &mut Follower, records: usize) -> Vec<(i64, Vec<String>)> {
    let mut taken: Vec<(i64, Vec<SpanBatch>)> = Vec::new();
    let rows_of = |batches: &[SpanBatch]| batches.iter().map(SpanBatch::rows).sum::<usize>();
    for id in 0..records {
        let mut batches: Vec<SpanBatch> = Vec::new();
        let mut position = None;
        // A record has come when all its rows have.
        while batches.is_empty() || rows_of(&batches) < rows_of(&delivery_of(id).batches) {
            let followed = next(follower).await.expect("there are more");
            assert_eq!(*position.get_or_insert(followed.position_us), followed.position_us);
            batches.push(followed.batch);
        }
        taken.push((position.unwrap(), batches));
    }
    taken.into_iter().map(|(position, batches)| (position, rows(&batches))).collect()
}

fn delivery_of(id: usize) -> Delivery {
    delivery(id as u64 + 1, 1 + id * 7 % 20, 1 + id % 3)
}

async fn compacted(store: &Store) {
    let steps = &store.inner.upkeep;
    let (asked, stepped) = futures::future::join(store.compact(None), steps.step()).await;
    asked.unwrap();
    stepped.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_once_whole_and_in_order_while_their_rows_move_from_memory_to_parts() {
    for seed in 0..2 {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(samples::NOW_NS, seed + 1));
        let mut store = open_at(dir.path(), &clock).await;
        const RECORDS: usize = 16;
        let ahead = tokio::spawn({
            let mut follower = store.follow(i64::MIN);
            async move { all(&mut follower, RECORDS / 2).await }
        });
        for id in 0..RECORDS {
            store.append(delivery_of(id)).await.unwrap();
            match chance.next_u32() % 6 {
                0 | 1 => store.freeze_and_flush().await.unwrap(),
                2 => compacted(&store).await,
                _ => {}
            }
            if id == RECORDS / 2 {
                store.close().await.unwrap();
                store = open_at(dir.path(), &clock).await;
            }
        }
        let wanted: Vec<Vec<String>> = (0..RECORDS).map(|id| rows(&delivery_of(id).batches)).collect();
        let check = |came: &[(i64, Vec<String>)], of: &str| {
            assert!(came.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}, {of}");
            for (id, (came, wanted)) in came.iter().zip(&wanted).enumerate() {
                assert_eq!(came.1, *wanted, "seed {seed}, {of}, record {id}");
            }
        };
        check(&ahead.await.unwrap(), "ahead");
        let mut positions = Vec::new();
        for at_once_rows in [1, 30, AT_ONCE_ROWS] {
            let mut late = Follower { at_once_rows, ..store.follow(i64::MIN) };
            let came = all(&mut late, RECORDS).await;
            check(&came, &format!("late, {at_once_rows} rows at once"));
            positions = came.iter().map(|(position, _)| *position).collect();
        }
        store.freeze_and_flush().await.unwrap();
        compacted(&store).await;
        assert!(store.reader().view().memory.is_empty());
        for at_once_rows in [1, 30, AT_ONCE_ROWS] {
            let mut late = Follower { at_once_rows, ..store.follow(i64::MIN) };
            check(&all(&mut late, RECORDS).await, &format!("from parts, {at_once_rows} rows at once"));
        }
        // Behind a position comes the record after it.
        let mut rest = store.follow(positions[RECORDS - 2]);
        assert_eq!(next(&mut rest).await.unwrap().position_us, positions[RECORDS - 1]);
        store.close().await.unwrap();
        assert!(next(&mut rest).await.is_none(), "the store has ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_holds_little_and_waits_for_what_comes_next() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(samples::NOW_NS, 1));
    let store = open_at(dir.path(), &clock).await;
    let mut follower = Follower { at_once_rows: 40, ..store.follow(i64::MIN) };
    assert!(tokio::time::timeout(Duration::from_millis(50), follower.next()).await.is_err(), "there is nothing");
    let mut positions = Vec::new();
    for flush in [false, true] {
        for id in 0..30 {
            store.append(delivery(id + 1, 10, 1)).await.unwrap();
        }
        if flush {
            store.freeze_and_flush().await.unwrap();
        }
        for _ in 0..30 {
            positions.push(next(&mut follower).await.unwrap().position_us);
            assert!(follower.ready.len() < 5, "{} batches wait", follower.ready.len());
        }
    }
    assert!(positions.is_sorted_by(|a, b| a < b));
    let waits = tokio::spawn(async move { next(&mut follower).await.map(|followed| followed.batch.rows()) });
    store.append(delivery(99, 3, 1)).await.unwrap();
    assert_eq!(waits.await.unwrap(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_comes_without_waiting() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(samples::NOW_NS, 1));
    let store = open_at(dir.path(), &clock).await;
    let mut follower = Follower { at_once_rows: 15, ..store.follow(i64::MIN) };
    assert!(follower.ready().await.unwrap().is_empty(), "there is nothing");
    for id in 0..3 {
        store.append(delivery(id + 1, 10, 2)).await.unwrap();
        if id == 0 {
            store.freeze_and_flush().await.unwrap();
        }
    }
    let mut rows = Vec::new();
    loop {
        let came = follower.ready().await.unwrap();
        let Some(last) = came.last() else { break };
        assert_eq!(last.position_us, follower.position_us, "whole records");
        rows.push(came.iter().map(|followed| followed.batch.rows()).sum::<usize>());
    }
    assert_eq!((rows.iter().sum::<usize>(), rows.iter().all(|rows| *rows <= 20)), (60, true), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_replayed_nothing_comes_before_what_it_still_holds() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(samples::NOW_NS, 1));
    let store = open_at(dir.path(), &clock).await;
    let logged = |id: u64| {
        let text = id.to_string();
        let body = crate::span::RequestBody {
            decoded_len: u32::try_from(text.len()).unwrap(),
            bytes: bytes::Bytes::from(text),
            coding: crate::span::Coding::Identity,
        };
        Delivery { body: Some(body), ..samples::delivery(id, 2) }
    };
    for id in 1..=10 {
        store.append(logged(id)).await.unwrap();
    }
    let killed = tempfile::tempdir().unwrap();
    for folder in ["wal", "manifest"] {
        std::fs::create_dir_all(killed.path().join(folder)).unwrap();
        for path in Disk::Os.list(&dir.path().join(folder)).unwrap() {
            std::fs::copy(&path, killed.path().join(folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    for file in ["VERSION", "node.id"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    drop(store);
    static DECODED: AtomicU64 = AtomicU64::new(0);
    let slow: Decode = Arc::new(|| {
        Box::new(|body: &[u8], _, _| {
            std::thread::sleep(Duration::from_millis(30));
            DECODED.fetch_add(1, Ordering::Relaxed);
            let id = std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()).ok_or("no number")?;
            Ok(vec![samples::batch(id, 2)])
        })
    });
    let store = open_with(killed.path(), clock, slow).await;
    let mut follower = store.follow(i64::MIN);
    store.append(logged(11)).await.unwrap();
    assert!(DECODED.load(Ordering::Relaxed) < 10, "replay is over already");
    for id in 1..=11 {
        let followed = next(&mut follower).await.unwrap();
        let ids = [samples::id(id, 0), samples::id(id, 1)];
        assert_eq!(samples::span_ids(followed.batch.as_record_batch()), ids);
    }
}
