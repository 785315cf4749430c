//! Damaged parts in a statement's way (storage.md 12.3): an error, or an answer that says it is incomplete.

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
