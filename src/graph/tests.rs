//! Fan-out, and how answers join.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::error::Class;
use crate::span::Origin;

fn delivery() -> Delivery {
    Delivery { batches: Vec::new(), body: None, identity: 7, origin: Origin::Received }
}

fn taker(count: &Arc<AtomicUsize>, answer: Result<(), Refusal>) -> Next {
    let count = Arc::clone(count);
    Next::new(move |delivery| {
        assert_eq!(delivery.identity, 7);
        count.fetch_add(1, Ordering::Relaxed);
        let answer = answer.clone();
        Box::pin(async move { answer })
    })
}

fn refused(class: Class, reason: &str, seconds: Option<u64>) -> Result<(), Refusal> {
    let retry_after = seconds.map(Duration::from_secs);
    Err(Refusal { class, reason: reason.to_owned(), label: "queue", retry_after })
}

#[tokio::test]
async fn the_request_fails_for_good_only_if_every_failing_branch_does() {
    let (ok, busy, bad) = (Ok(()), refused(Class::Busy, "full", Some(2)), refused(Class::TooLarge, "large", None));
    for (a, b, want) in [
        (&ok, &ok, None),
        (&ok, &busy, Some((Class::Busy, "full"))),
        (&bad, &ok, Some((Class::TooLarge, "large"))),
        (&bad, &busy, Some((Class::Busy, "large; full"))),
        (&bad, &bad, Some((Class::TooLarge, "large"))),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let answer = fan_out(vec![taker(&count, a.clone()), taker(&count, b.clone())]).deliver(delivery()).await;
        let got = answer.err().map(|refusal| (refusal.class, refusal.reason));
        assert_eq!(got, want.map(|(class, reason)| (class, reason.to_owned())));
        assert_eq!(count.load(Ordering::Relaxed), 2, "both branches are tried");
    }
}

#[tokio::test]
async fn the_longest_delay_asked_for_is_told() {
    let count = Arc::new(AtomicUsize::new(0));
    let takers = vec![
        taker(&count, refused(Class::Busy, "a", Some(1))),
        taker(&count, refused(Class::Unavailable, "b", Some(5))),
    ];
    let refusal = fan_out(takers).deliver(delivery()).await.unwrap_err();
    assert_eq!((refusal.class, refusal.retry_after), (Class::Busy, Some(Duration::from_secs(5))));
}

#[tokio::test]
async fn branches_run_side_by_side() {
    // Each waits for the other: one after the other they would never end.
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let waiting = || {
        let both = Arc::clone(&both);
        Next::new(move |_| {
            let both = Arc::clone(&both);
            Box::pin(async move {
                both.wait().await;
                Ok(())
            })
        })
    };
    let delivered = fan_out(vec![waiting(), waiting()]).deliver(delivery());
    tokio::time::timeout(Duration::from_secs(5), delivered).await.expect("they met").unwrap();
}

#[tokio::test]
async fn a_receiver_of_two_pipelines_feeds_the_store_through_both() {
    let exporter = |id: &str, kind| export::Config { id: id.to_owned(), kind };
    let pipeline = |id: &str, receivers: &[&str], exporters: &[&str]| Pipeline {
        id: id.to_owned(),
        receivers: receivers.iter().map(|id| (*id).to_owned()).collect(),
        processors: Vec::new(),
        exporters: exporters.iter().map(|id| (*id).to_owned()).collect(),
    };
    let config = Config {
        exporters: vec![exporter("weavergen", export::Kind::Weavergen), exporter("nop", export::Kind::Nop)],
        pipelines: vec![
            pipeline("traces", &["otlp"], &["weavergen", "nop"]),
            pipeline("traces/2", &["otlp", "otlp/2"], &["weavergen"]),
        ],
    };
    let stored: Arc<Mutex<Vec<u128>>> = Arc::default();
    let store = {
        let stored = Arc::clone(&stored);
        Next::new(move |delivery: Delivery| {
            stored.lock().unwrap().push(delivery.identity);
            Box::pin(async { Ok(()) })
        })
    };
    let graph = Graph::build(&config, &store);
    let deliver = async |receiver: &str| {
        graph.entry(receiver).unwrap().deliver(delivery()).await.unwrap();
        std::mem::take(&mut *stored.lock().unwrap())
    };
    let both = deliver("otlp").await;
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1], "it is no repeat of itself");
    assert_eq!(deliver("otlp").await, both, "sent again it is known in both pipelines");
    assert_eq!(deliver("otlp/2").await, [both[1]], "and in the second one through any receiver of it");
    assert!(graph.entry("otlp/3").is_none());
}
