//! PagerDuty, Slack and CloudEvents over the wire.

use super::super::super::config::{Alertmanager, Auth, PagerDuty, Slack, Tls, Username};
use super::super::target::Pace;
use super::*;

fn secret(dir: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A peer's address without its path.
fn base(peer: &Peer) -> String {
    peer.url.trim_end_matches("/hook").to_owned()
}

#[tokio::test]
async fn pagerduty_is_told_one_incident_an_alert_with_the_key_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::new(&[Manner::Answer(429, "retry-after: 3\r\n"), Manner::Answer(202, "")]).await;
    let pagerduty = PagerDuty { routing_key_file: secret(&dir, "key", "R0UT3\n"), url: base(&peer) };
    let bench = bench(&[("pd", Receiver::of(Kind::PagerDuty(pagerduty)))]);
    bench.write(&[("pd", notice(1, 0, Status::Firing)), ("pd", notice(1, 1, Status::Resolved))]);
    bench.drain("pd", 5).await;
    let seen = peer.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|request| request.head.starts_with("POST /v2/enqueue ")), "{:?}", seen[0]);
    let told: Vec<_> = seen.iter().map(|r| (r.body["event_action"].as_str().unwrap(), r.code)).collect();
    assert_eq!(told, [("trigger", 429), ("trigger", 202), ("resolve", 200)]);
    assert!(seen.iter().all(|r| r.body["routing_key"] == "R0UT3" && r.body["dedup_key"] == "01".repeat(16)));
    assert!(bench.rows("pd").is_empty());
    assert!(!format!("{:?}", bench.notifier).contains("R0UT3"));
}

#[tokio::test]
async fn slack_gets_at_most_one_message_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::new(&[]).await;
    let slack = Slack { url_file: secret(&dir, "url", &format!("{}\n", peer.url)) };
    let bench = bench(&[("chat", Receiver::of(Kind::Slack(slack)))]);
    bench.write(&[("chat", notice(1, 0, Status::Firing)), ("chat", notice(2, 0, Status::Firing))]);
    let follower = bench.follower("chat");
    let second = 1_000_000_000;
    for told in 0..2 {
        let pass = follower.pass().await.unwrap();
        assert_eq!((pass.tried, peer.seen.lock().unwrap().len()), (0, told), "one was sent just before");
        assert_eq!(pass.next_ns, Some(bench.clock.now_ns() + second));
        bench.clock.advance(Duration::from_secs(1));
        assert!(follower.pass().await.unwrap().tried > 0);
        assert_eq!(peer.seen.lock().unwrap().len(), told + 1);
    }
    let text = peer.seen.lock().unwrap()[0].body["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with(":red_circle: FIRING fail: span_completeness{service_name=cart}"), "{text}");
    assert!(!format!("{:?}", bench.notifier).contains(&peer.url));
}

#[tokio::test]
async fn slack_is_left_alone_for_as_long_as_it_asks_whatever_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::new(&[Manner::Answer(429, "retry-after: 30\r\n")]).await;
    let slack = Slack { url_file: secret(&dir, "url", &peer.url) };
    let bench = bench(&[("chat", Receiver::of(Kind::Slack(slack)))]);
    bench.write(&[("chat", notice(1, 0, Status::Firing)), ("chat", notice(2, 0, Status::Firing))]);
    let follower = bench.follower("chat");
    bench.clock.advance(Duration::from_secs(1));
    follower.pass().await.unwrap();
    let free_ns = bench.clock.now_ns() + 30 * 1_000_000_000;
    for _ in 0..3 {
        bench.clock.advance(Duration::from_secs(9));
        let pass = follower.pass().await.unwrap();
        assert_eq!((pass.tried, pass.next_ns), (0, Some(free_ns)));
        assert_eq!(peer.seen.lock().unwrap().len(), 1);
    }
    bench.clock.advance(Duration::from_secs(3));
    follower.pass().await.unwrap();
    assert_eq!(peer.seen.lock().unwrap().len(), 2);
}

#[test]
fn a_clock_that_is_set_back_holds_slack_for_no_longer_than_its_pace() {
    let second = 1_000_000_000;
    let pace = Pace::from(100 * second);
    pace.hold(100 * second, Duration::from_secs(30));
    pace.sent(100 * second);
    assert_eq!(pace.free_at(129 * second), Some(130 * second), "what it asked for goes before the pace");
    assert_eq!(pace.free_at(130 * second), None);
    assert_eq!(pace.free_at(50 * second), Some(51 * second));
    assert_eq!(pace.free_at(51 * second), None);
}

#[tokio::test]
async fn a_cloud_event_bears_its_media_type_id_and_signature() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::new(&[]).await;
    let secret_file = Some(secret(&dir, "secret", "s3cret"));
    let bus = Webhook { format: Format::CloudEvents, secret_file, ..hook(&peer.url) };
    let bench = bench(&[("bus", Receiver::of(Kind::Webhook(bus)))]);
    bench.write(&[("bus", notice(1, 0, Status::Firing))]);
    bench.drain("bus", 2).await;
    let request = peer.seen.lock().unwrap()[0].clone();
    assert_eq!(request.header("content-type").unwrap(), "application/cloudevents+json");
    assert_eq!((&request.body["id"], request.id()), (&id(1, 0).into(), id(1, 0)));
    assert_eq!(request.body["source"], "/weavergen/01J/gates/span_completeness");
    assert!(request.header("X-Weavergen-Signature").unwrap().starts_with("t=1767225600,v1="));
}

#[test]
fn secrets_that_are_no_good_are_refused_by_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let empty = secret(&dir, "empty", "\n");
    let no_url = secret(&dir, "no_url", "hunter2");
    let url = "http://h".to_owned();
    let am = |tls: Option<Tls>, auth: Option<Auth>| {
        Kind::Alertmanager(Alertmanager { urls: vec!["https://a".to_owned()], tls, auth })
    };
    let no_ca = Tls { ca_file: Some(no_url.clone()), ..Tls::default() };
    let no_key = Tls { identity: Some((no_url.clone(), no_url.clone())), ..Tls::default() };
    let user = Username::File(no_url.clone());
    let no_password = Auth::Basic { username: user, password_file: dir.path().join("none") };
    let no_token = Auth::Bearer { scheme: "Bearer".to_owned(), filename: empty.clone() };
    for (kind, expected) in [
        (Kind::PagerDuty(PagerDuty { routing_key_file: empty, url }), "pagerduty::routing_key_file: "),
        (Kind::Slack(Slack { url_file: no_url }), "slack::url_file: "),
        (am(Some(no_ca), None), "alertmanager::tls::ca_file: cannot use "),
        (am(Some(no_key), None), "alertmanager::tls::key_file: cannot use "),
        (am(None, Some(no_password)), "alertmanager::auth::basicauth::client_auth::password_file: cannot read "),
        (am(None, Some(no_token)), "alertmanager::auth::bearertokenauth::filename: "),
    ] {
        let receivers = BTreeMap::from([("x".to_owned(), Receiver::of(kind))]);
        let config = Config { receivers, ..Config::default() };
        let error = Notifier::open(&config, rim(&journal, &Clock::os()), &Registry::new()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("notify::receivers::x::{expected}")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
