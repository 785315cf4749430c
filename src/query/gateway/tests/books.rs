//! Claims about what is planned and not run: it takes a slot, is in the books meanwhile, and can be stopped.

use super::*;

/// All slots of `gateway`, in the hands of others.
async fn full(gateway: &Gateway) -> Vec<Slot> {
    let mut held = Vec::new();
    while gateway.inner.slots.free() > 0 {
        held.push(gateway.inner.slots.take("others").await.unwrap());
    }
    held
}

async fn stopped(gateway: &Gateway, id: &str) {
    let began = Instant::now();
    while gateway.cancel(id, |of| of == "me").is_none() {
        assert!(began.elapsed() < Duration::from_secs(4), "`{id}` is not in the books");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_planned_is_stopped_by_its_id_as_what_runs_is() {
    let gateway = gateway();
    let held = full(&gateway).await;
    let of = |id: &str| Statement {
        identity: "me".to_owned(),
        query_id: Some(id.to_owned()),
        ..Statement::new("SELECT name FROM spans")
    };
    let (described, ()) = tokio::join!(gateway.describe(of("one")), stopped(&gateway, "one"));
    assert_eq!(described.unwrap_err().code, Code::Cancelled);
    let (typed, ()) = tokio::join!(gateway.typed(of("two"), |_| Vec::new()), stopped(&gateway, "two"));
    assert_eq!(typed.unwrap_err().code, Code::Cancelled);
    drop(held);
    assert_eq!(gateway.describe(of("one")).await.unwrap().query_id, "one");
    assert_eq!(gateway.typed(of("two"), |_| Vec::new()).await.unwrap().schema.fields().len(), 1);
    // Nothing ran, so nothing is told of afterwards.
    let told = "SELECT count(*) FROM system.queries WHERE query_id IN ('one', 'two')";
    assert_eq!(one(&gateway, told).await.unwrap(), "0");
}

#[tokio::test]
async fn a_listing_waits_for_a_slot() {
    let gateway = gateway();
    let held = full(&gateway).await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), gateway.tables("me", "flight")).await;
    assert!(waiting.is_err(), "there is no slot");
    drop(held);
    let tables = gateway.tables("me", "flight").await.unwrap();
    assert_eq!(tables[0].schema, "public");
    assert!(tables.iter().any(|table| table.name == "queries" && table.schema == "system"));
}
