//! A manifest that is older than the parts, and versions that are lost of a store which several nodes wrote.

use super::*;

#[tokio::test]
async fn a_lost_flush_is_credited_to_the_node_that_its_parts_name() {
    let mut bench = Bench::new().await;
    bench.flush(&[1]).await;
    bench.node = bench.clock.ulid();
    bench.lsn = 10;
    bench.claim().await;
    bench.flush(&[2]).await;
    let right = told(&bench.manifest);
    bench.damage(&path_of(4)).await;
    assert_eq!(told(&bench.load().await), right);
}

#[tokio::test]
async fn a_compacted_part_of_several_nodes_raises_what_is_flushed_of_none() {
    let mut bench = Bench::new().await;
    let first = bench.node.to_string();
    let mut inputs = bench.flush(&[1]).await;
    bench.node = bench.clock.ulid();
    bench.lsn = 10;
    bench.claim().await;
    inputs.extend(bench.flush(&[2]).await);
    inputs.extend(bench.flush(&[3]).await);
    let made = bench.compact(&inputs).await;
    bench.delete(&inputs[2]).await;
    for version in [5, 6] {
        bench.damage(&path_of(version)).await;
    }
    let found = bench.load().await;
    assert_eq!(found.parts(), [made]);
    // Of the second node 14 is right: its log gives the rows of two lsns again, which costs less than to lose any.
    assert_eq!(*found.flushed(), BTreeMap::from([(first, 2), (bench.node.to_string(), 12)]));
}
