//! What a start believes: its clock, a manifest that is older than the parts, a folder of which there is a copy.

use super::*;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// The upkeep does nothing on its own: what it would do is what is asked for here.
fn by_hand(dir: &Path) -> Config {
    Config { by_hand: true, ..config(dir) }
}

async fn started(config: &Config, clock: Clock) -> Store {
    let store = try_open(config.clone(), Disk::Os, clock).await.unwrap();
    ready(&store).await;
    store
}

async fn flushed(store: &Store, seed: u64, rows: usize) -> String {
    store.append(request(seed, rows)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    store.reader().view().parts.parts.last().unwrap().entry.path.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_clock_is_a_month_ahead_expires_nothing_until_the_clock_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(&by_hand(dir.path()), clock()).await;
    flushed(&store, 1, 4).await;
    store.close().await.unwrap();
    let ahead_ns = samples::NOW_NS + 30 * 24 * HOUR_NS;
    let store = started(&by_hand(dir.path()), Clock::manual(ahead_ns, 4001)).await;
    let upkeep = store.inner.upkeep.clone();
    upkeep.retain_at(ahead_ns, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]), "the clock is not confirmed");
    upkeep.retain_at(ahead_ns + HOUR_NS / 6, Duration::from_secs(600)).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[]), "it is confirmed, and the hour is too old");
}
