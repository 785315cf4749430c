//! Damaged parts in a statement's way (storage.md 12.3): an error, or an answer that says it is incomplete; also where
//! only a decoder sees the damage.

use std::time::{Duration, Instant};

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;

use super::fixture::NOW;
use crate::clock::Clock;
use crate::query::gateway::{Gateway, Statement};
use crate::query::{Code, Config};
use crate::store::config::OnCorruptPart;
use crate::store::samples::{self, store_with};

const STATEMENT: &str = "SELECT name, status_message FROM spans";

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_ends_a_statement_or_is_left_out_of_an_answer_that_says_so() {
    for on_corrupt_part in [OnCorruptPart::Error, OnCorruptPart::Skip] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW, 1));
        let config = crate::store::Config { on_corrupt_part, ..crate::store::Config::at(dir.path()) };
        let store = store_with(config, clock.clone()).await;
        for seed in 1..=5 {
            store.append(samples::delivery(seed, 10)).await.unwrap();
            store.freeze_and_flush().await.unwrap();
        }
        store.append(samples::delivery(6, 10)).await.unwrap();
        let registry = prometheus::Registry::new();
        let gateway =
            Gateway::new(store.reader(), Config { threads: 2, ..Config::default() }, clock, &registry).unwrap();
        let view = store.reader().view();
        let path = view.parts.parts[2].entry.path.clone();
        let file = dir.path().join(&path);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let run = async {
            let mut answer = gateway.run(Statement::new(STATEMENT)).await?;
            let rows: usize = answer.collect().await?.iter().map(|batch| batch.num_rows()).sum();
            Ok((rows, answer.incomplete, answer.notices.clone()))
        };
        let ran: Result<_, crate::query::Error> = run.await;
        match on_corrupt_part {
            OnCorruptPart::Error => assert_eq!(ran.unwrap_err().code, Code::PartCorrupt),
            OnCorruptPart::Skip => {
                let (rows, incomplete, notices) = ran.unwrap();
                assert_eq!((rows, incomplete, notices.len()), (50, true, 1));
                assert!(notices[0].contains(&path), "{notices:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_reads_no_row_counts_what_is_stored_until_a_damaged_part_is_put_aside() {
    for on_corrupt_part in [OnCorruptPart::Error, OnCorruptPart::Skip] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW, 1));
        let config = crate::store::Config { on_corrupt_part, ..crate::store::Config::at(dir.path()) };
        let store = store_with(config, clock.clone()).await;
        for seed in 1..=3 {
            store.append(samples::delivery(seed, 10)).await.unwrap();
            store.freeze_and_flush().await.unwrap();
        }
        let registry = prometheus::Registry::new();
        let gateway =
            Gateway::new(store.reader(), Config { threads: 2, ..Config::default() }, clock, &registry).unwrap();
        let file = dir.path().join(&store.reader().view().parts.parts[1].entry.path);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let counted = async || {
            let mut answer = gateway.run(Statement::new("SELECT count(*) AS n FROM spans")).await.unwrap();
            let batches = answer.collect().await.unwrap();
            assert!(!answer.incomplete, "a count leaves nothing out");
            batches[0].column_by_name("n").unwrap().as_primitive::<Int64Type>().value(0)
        };
        assert_eq!(counted().await, 30);
        // The damage is met, and the part judged by the store's own thread.
        let met = async {
            let mut answer = gateway.run(Statement::new(STATEMENT)).await?;
            answer.collect().await.map(drop)
        };
        assert_eq!(met.await.is_ok(), on_corrupt_part == OnCorruptPart::Skip);
        let began = Instant::now();
        while counted().await != 20 {
            assert!(began.elapsed() < Duration::from_secs(60), "it stays");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_decayed_since_its_blocks_were_checked_is_judged_once_a_decoder_fails_on_it() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW, 1));
    let store = store_with(crate::store::Config::at(dir.path()), clock.clone()).await;
    for seed in 1..=5 {
        store.append(samples::delivery(seed, 10)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    let gateway =
        Gateway::new(store.reader(), Config { threads: 2, ..Config::default() }, clock, &prometheus::Registry::new())
            .unwrap();
    let rows = async || {
        let mut answer = gateway.run(Statement::new(STATEMENT)).await?;
        let rows: usize = answer.collect().await?.iter().map(|batch| batch.num_rows()).sum();
        Ok::<_, crate::query::Error>(rows)
    };
    assert_eq!(rows().await.unwrap(), 50);
    let entry = store.reader().view().parts.parts[2].entry.clone();
    let file = dir.path().join(&entry.path);
    let mut bytes = std::fs::read(&file).unwrap();
    // All but the footer: no page is one any more, and no block is read for the first time.
    let end = bytes.len() - usize::try_from(entry.footer_bytes).unwrap();
    bytes[4..end].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let (began, mut failed) = (Instant::now(), 0);
    // It is named by the next statement, and has left with a step of the store's own thread.
    while rows().await.map_err(|error| assert_eq!(error.code, Code::PartCorrupt, "{error}")) != Ok(40) {
        failed += 1;
        assert!(began.elapsed() < Duration::from_secs(60), "it stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(failed > 0);
    let reasons = store.health().reasons;
    assert!(reasons.iter().any(|reason| reason.contains(&entry.path)), "{reasons:?}");
}
