//! Delivery against a receiver that answers as told.

mod chaos;
mod kinds;
mod peers;

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use prometheus::Registry;

use super::super::config::{Config, Format, Kind, Receiver, Webhook};
use super::super::shown::transition;
use super::super::webhook::tests::notice;
use super::super::{webhook, wire};
use super::*;
use crate::gate::journal::Batch;

/// How the receiver treats a request.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Answer(u16, &'static str),
    Silence,
    Reset,
}

/// A body with this text is always refused.
const REFUSED: &str = "no good";

#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: serde_json::Value,
    /// Of the answer; 0 = none was given.
    code: u16,
}

impl Request {
    fn header(&self, name: &str) -> Option<String> {
        let line =
            self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    fn id(&self) -> String {
        self.header("Idempotency-Key").unwrap()
    }
}

/// A receiver on a port of its own.
#[derive(Clone)]
struct Peer {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    manners: Arc<Mutex<Vec<Manner>>>,
    accepting: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

impl Peer {
    /// `manners` in order of requests, then 200.
    async fn new(manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            seen: Arc::default(),
            manners: Arc::new(Mutex::new(manners.iter().rev().copied().collect())),
            accepting: Arc::default(),
        };
        peer.accept(listener);
        peer
    }

    /// It is gone, and its port refuses.
    async fn stop(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    /// It is back on its port.
    async fn start(&self) {
        let address = self.url.trim_start_matches("http://").trim_end_matches("/hook");
        self.accept(TcpListener::bind(address).await.unwrap());
    }

    fn accept(&self, listener: TcpListener) {
        let of_task = self.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let peer = of_task.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let mut part = [0; 4096];
                    let (head, body) = loop {
                        let n = socket.read(&mut part).await.unwrap();
                        if n == 0 {
                            return;
                        }
                        bytes.extend_from_slice(&part[..n]);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.lines().find_map(|l| {
                            l.to_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>().unwrap())
                        });
                        if body.len() >= length.unwrap_or(0) {
                            break (head.to_owned(), body.to_owned());
                        }
                    };
                    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                    let is_refused = body.to_string().contains(REFUSED);
                    let manner = peer.manners.lock().unwrap().pop().unwrap_or(Manner::Answer(200, ""));
                    let manner = if is_refused { Manner::Answer(400, "") } else { manner };
                    let code = if let Manner::Answer(code, _) = manner { code } else { 0 };
                    peer.seen.lock().unwrap().push(Request { head, body, code });
                    match manner {
                        Manner::Answer(code, headers) => {
                            let answer = format!(
                                "HTTP/1.1 {code} X\r\n{headers}content-length: 4\r\nconnection: close\r\n\r\ntext"
                            );
                            socket.write_all(answer.as_bytes()).await.unwrap();
                        }
                        Manner::Silence => std::future::pending().await,
                        Manner::Reset => {
                            let socket = socket.into_std().unwrap();
                            let socket = socket2_linger(socket);
                            drop(socket);
                        }
                    }
                });
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting);
    }

    fn ids(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(Request::id).collect()
    }
}

/// A socket that is reset when it is closed.
fn socket2_linger(socket: std::net::TcpStream) -> socket2::Socket {
    let socket = socket2::Socket::from(socket);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket
}

struct Bench {
    _dir: tempfile::TempDir,
    journal: Journal,
    clock: Clock,
    notifier: Notifier,
}

fn hook(url: &str) -> Webhook {
    Webhook { url: url.to_owned(), format: Format::Alertmanager, secret_file: None, headers: BTreeMap::new() }
}

fn webhook(url: &str) -> Receiver {
    Receiver::of(Kind::Webhook(hook(url)))
}

fn rim(journal: &Journal, clock: &Clock) -> Rim {
    let intervals = [("span_completeness".to_owned(), Duration::from_secs(30))].into();
    Rim { journal: journal.clone(), clock: clock.clone(), intervals, instance: "01J".to_owned() }
}

fn bench(receivers: &[(&str, Receiver)]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let clock = Clock::manual(1_767_225_600_000_000_000, 9);
    let receivers = receivers.iter().map(|(name, receiver)| ((*name).to_owned(), receiver.clone())).collect();
    let config = Config { receivers, ..Config::default() };
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let client = wire::client(Duration::from_millis(300), None).unwrap();
    let notifier = Notifier::with(&config, rim(&journal, &clock), metrics, client).unwrap();
    Bench { _dir: dir, journal, clock, notifier }
}

impl Bench {
    fn write(&self, messages: &[(&str, Notice)]) {
        let outbox = messages.iter().map(|(receiver, notice)| ((*receiver).to_owned(), notice.clone())).collect();
        self.journal.commit(&Batch { outbox, ..Batch::default() }, self.clock.now_ns()).unwrap();
    }

    fn follower(&self, name: &str) -> &Follower {
        self.notifier.followers.iter().find(|follower| follower.name == name).unwrap()
    }

    fn rows(&self, receiver: &str) -> Vec<OutboxRow> {
        let rows = self.journal.snapshot().unwrap().outbox(receiver, 99).unwrap();
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Passes until the outbox of `receiver` is empty or `limit` passes are over; the longest wait between them.
    async fn drain(&self, receiver: &str, limit: usize) {
        for _ in 0..limit {
            self.follower(receiver).pass().await.unwrap();
            if self.journal.snapshot().unwrap().waiting(receiver, 0, 1).unwrap().is_empty() {
                return;
            }
            self.clock.advance(Duration::from_secs(301));
        }
    }
}

fn id(alert: u8, number: u32) -> String {
    transition(&notice(alert, number, Status::Firing))
}

#[tokio::test]
async fn a_message_arrives_through_errors_timeouts_and_resets_with_one_id_and_is_marked_only_then() {
    let manners = [Manner::Answer(500, ""), Manner::Silence, Manner::Reset, Manner::Answer(429, "retry-after: 7\r\n")];
    let peer = Peer::new(&manners).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing)), ("hook", notice(1, 1, Status::Resolved))]);
    bench.drain("hook", 9).await;
    let first = id(1, 0);
    let expected = [first.clone(), first.clone(), first.clone(), first.clone(), first, id(1, 1)];
    assert_eq!(peer.ids(), expected, "the second waits for the first");
    assert!(bench.rows("hook").is_empty());
    let sent = &bench.follower("hook").shared.metrics.sent;
    let count = |code: &str| sent.with_label_values(&["hook", code]).get();
    assert_eq!(["500", "timeout", "network", "429", "200"].map(count), [1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_is_left_alone_for_it() {
    let peer = Peer::new(&[Manner::Answer(503, "retry-after: 60\r\n")]).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing))]);
    let follower = bench.follower("hook");
    follower.pass().await.unwrap();
    bench.clock.advance(Duration::from_secs(59));
    let pass = follower.pass().await.unwrap();
    assert_eq!((pass.tried, peer.ids().len()), (0, 1));
    assert_eq!(pass.next_ns, Some(bench.clock.now_ns() + 1_000_000_000));
    bench.clock.advance(Duration::from_secs(1));
    follower.pass().await.unwrap();
    assert_eq!(peer.ids().len(), 2);
}

#[tokio::test]
async fn a_message_waits_only_for_its_own_alert() {
    let peer = Peer::new(&[Manner::Answer(500, "")]).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing))]);
    let follower = bench.follower("hook");
    follower.pass().await.unwrap();
    bench.write(&[("hook", notice(1, 1, Status::Resolved)), ("hook", notice(2, 0, Status::Firing))]);
    follower.pass().await.unwrap();
    assert!(peer.ids().contains(&id(2, 0)) && !peer.ids().contains(&id(1, 1)), "{:?}", peer.ids());
}

#[tokio::test]
async fn a_message_is_sent_however_many_wait_before_it() {
    let peer = Peer::new(&[Manner::Answer(500, "retry-after: 60\r\n")]).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    let many: Vec<_> = (0..2_100).map(|number| ("hook", notice(1, number, Status::Firing))).collect();
    bench.write(&many);
    bench.write(&[("hook", notice(2, 0, Status::Firing))]);
    let follower = bench.follower("hook");
    follower.pass().await.unwrap();
    follower.pass().await.unwrap();
    assert_eq!(peer.ids(), [id(1, 0), id(2, 0)]);
    assert_eq!(follower.shared.metrics.outbox.with_label_values(&["hook"]).get(), 2_101, "before it was sent");
}

#[tokio::test]
async fn a_refused_message_is_a_dead_letter_and_the_other_receivers_hear_of_it() {
    let (bad, good) = (Peer::new(&[Manner::Answer(400, "")]).await, Peer::new(&[]).await);
    let bench = bench(&[("bad", webhook(&bad.url)), ("good", webhook(&good.url))]);
    bench.write(&[("bad", notice(1, 0, Status::Firing)), ("bad", notice(1, 1, Status::Resolved))]);
    bench.follower("bad").pass().await.unwrap();
    let rows = bench.rows("bad");
    assert_eq!(rows[0].dead.as_deref(), Some("status 400: text"));
    assert_eq!(bench.follower("bad").shared.metrics.dead_letters.get(), 1);
    bench.drain("good", 3).await;
    let told = good.seen.lock().unwrap()[0].body.clone();
    assert_eq!((&told["status"], &told["commonLabels"]["alertname"]), (&"firing".into(), &"DeliveryFailing".into()));
    assert_eq!(told["commonLabels"]["receiver"], "bad");
    // The next message of the alert goes through, so the condition is over.
    bench.drain("bad", 3).await;
    assert_eq!(bad.ids(), [id(1, 0), id(1, 1)]);
    bench.drain("good", 3).await;
    assert_eq!(good.seen.lock().unwrap()[1].body["status"], "resolved");
}

#[tokio::test]
async fn what_waits_for_a_receiver_that_is_gone_is_given_up_and_its_health_alert_ends() {
    let (bad, good) = (Peer::new(&[Manner::Answer(400, "")]).await, Peer::new(&[]).await);
    let bench = bench(&[("bad", webhook(&bad.url)), ("worse", webhook(&bad.url)), ("good", webhook(&good.url))]);
    bench.write(&[("bad", notice(1, 0, Status::Firing)), ("bad", notice(1, 1, Status::Resolved))]);
    bench.follower("bad").pass().await.unwrap();
    bench.drain("good", 3).await;
    let alive_ns = bench.journal.snapshot().unwrap().alive_ns().unwrap();
    bench.clock.advance(Duration::from_secs(60));
    let receivers = [("good".to_owned(), webhook(&good.url))].into();
    let config = Config { receivers, ..Config::default() };
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let (client, rim) = (wire::client(Duration::from_millis(300), None).unwrap(), rim(&bench.journal, &bench.clock));
    let bench = Bench { notifier: Notifier::with(&config, rim, metrics, client).unwrap(), ..bench };
    // The second of `bad`, and what `worse` was to hear of it.
    assert_eq!(bench.follower("good").shared.metrics.dead_letters.get(), 2);
    let dead: Vec<_> = bench.rows("bad").into_iter().map(|row| row.dead.unwrap()).collect();
    assert_eq!(dead, ["status 400: text", "receiver bad is not configured any more"]);
    bench.drain("good", 3).await;
    let heard: Vec<_> = good.seen.lock().unwrap().iter().map(|request| request.body["status"].clone()).collect();
    assert_eq!(heard, ["firing", "resolved"]);
    assert_eq!(bench.journal.snapshot().unwrap().alive_ns().unwrap(), alive_ns, "the daemon does not run yet");
}

#[tokio::test]
async fn a_receiver_that_is_new_hears_of_a_line_that_fails_on_and_of_its_end() {
    let (bad, good) = (Peer::new(&[Manner::Answer(400, "")]).await, Peer::new(&[]).await);
    let mut bench = bench(&[("bad", webhook(&bad.url)), ("good", webhook(&good.url))]);
    bench.write(&[("bad", notice(1, 0, Status::Firing))]);
    bench.follower("bad").pass().await.unwrap();
    let told = |bench: &Bench, receiver: &str| -> Vec<Notice> {
        bench.rows(receiver).into_iter().map(|row| row.notice).collect()
    };
    for _ in 0..2 {
        let receivers = ["bad", "good", "new"].map(|name| (name.to_owned(), webhook(&bad.url))).into();
        let config = Config { receivers, ..Config::default() };
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let client = wire::client(Duration::from_millis(300), None).unwrap();
        bench.notifier = Notifier::with(&config, rim(&bench.journal, &bench.clock), metrics, client).unwrap();
        let heard = told(&bench, "new");
        assert_eq!((heard.len(), heard), (1, told(&bench, "good")), "the same begin, once");
    }
    bench.write(&[("bad", notice(1, 1, Status::Resolved))]);
    bench.follower("bad").pass().await.unwrap();
    for receiver in ["good", "new"] {
        let heard: Vec<_> = told(&bench, receiver).into_iter().map(|notice| notice.status).collect();
        assert_eq!(heard, [Status::Firing, Status::Resolved], "{receiver}");
    }
}

#[tokio::test]
async fn a_message_that_is_a_day_old_is_given_up() {
    let peer = Peer::new(&[Manner::Answer(500, ""); 9]).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing))]);
    bench.clock.advance(Duration::from_secs(86_399));
    bench.follower("hook").pass().await.unwrap();
    assert_eq!(bench.rows("hook")[0].dead, None);
    bench.clock.advance(Duration::from_secs(301));
    bench.follower("hook").pass().await.unwrap();
    assert_eq!(bench.rows("hook")[0].dead.as_deref(), Some("not delivered within a day; last: status 500"));
}

#[tokio::test]
async fn levels_below_the_least_and_unwanted_ends_are_left_out_and_health_alerts_are_not() {
    let peer = Peer::new(&[]).await;
    let only = Receiver { min_level: Level::Fail, send_resolved: false, ..webhook(&peer.url) };
    let bench = bench(&[("hook", only)]);
    let warn = Notice { level: Level::Warn, ..notice(1, 0, Status::Firing) };
    let lowered = Notice { level: Level::Warn, reason: "lowered".into(), ..notice(1, 3, Status::Firing) };
    let health = Notice { health: true, ..Notice { level: Level::Warn, ..notice(4, 0, Status::Firing) } };
    bench.write(&[
        ("hook", warn),
        ("hook", notice(1, 1, Status::Firing)),
        ("hook", notice(1, 2, Status::Resolved)),
        ("hook", lowered),
        ("hook", health),
    ]);
    bench.drain("hook", 6).await;
    let mut ids = peer.ids();
    ids.sort();
    assert_eq!(ids, [id(1, 1), id(1, 3), id(4, 0)]);
    assert!(bench.rows("hook").is_empty());
}

#[tokio::test]
async fn a_message_is_signed_with_the_secret_of_its_receiver() {
    let peer = Peer::new(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let secret_file = dir.path().join("secret");
    std::fs::write(&secret_file, "s3cret\n").unwrap();
    let headers = BTreeMap::from([("X-Team".to_owned(), "shop".to_owned())]);
    let signed = Webhook { secret_file: Some(secret_file), headers, ..hook(&peer.url) };
    let bench = bench(&[("hook", Receiver::of(Kind::Webhook(signed)))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing))]);
    bench.drain("hook", 2).await;
    let request = peer.seen.lock().unwrap()[0].clone();
    let body = webhook::body(&notice(1, 0, Status::Firing), "hook", "http://localhost:8080");
    assert_eq!(request.header("X-Weavergen-Signature"), Some(webhook::signature(b"s3cret", 1_767_225_600, &body)));
    assert_eq!(request.header("X-Team"), Some("shop".to_owned()));
    assert_eq!(request.body, serde_json::from_str::<serde_json::Value>(&body).unwrap());
}

#[test]
fn a_secret_that_cannot_be_read_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let hook = Webhook { secret_file: Some(dir.path().join("none")), ..hook("http://h") };
    let receivers = BTreeMap::from([("hook".to_owned(), Receiver::of(Kind::Webhook(hook)))]);
    let config = Config { receivers, ..Config::default() };
    let error = Notifier::open(&config, rim(&journal, &Clock::os()), &Registry::new()).unwrap_err();
    assert!(error.to_string().starts_with("notify::receivers::hook::webhook::secret_file: cannot read"), "{error}");
}

#[tokio::test]
async fn the_running_follower_sends_what_is_written_later_and_ends_when_told() {
    let peer = Peer::new(&[]).await;
    let Bench { _dir, journal, clock, notifier } = bench(&[("hook", webhook(&peer.url))]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(notifier.run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let outbox = vec![("hook".to_owned(), notice(1, 0, Status::Firing))];
    journal.commit(&Batch { outbox, ..Batch::default() }, clock.now_ns()).unwrap();
    for _ in 0..100 {
        if !peer.ids().is_empty() && journal.snapshot().unwrap().outbox("hook", 1).unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(peer.ids(), [id(1, 0)]);
    assert!(journal.snapshot().unwrap().outbox("hook", 1).unwrap().is_empty());
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_mark_that_was_lost_sends_the_same_id_again() {
    let peer = Peer::new(&[]).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing))]);
    let follower = bench.follower("hook");
    let (rows, _) = follower.waiting(0).await.unwrap();
    // Sent, and killed before the mark.
    let Target::Each(each) = &follower.target else { panic!() };
    assert!(matches!(follower.send(each, &rows[0].1.notice).await, Reply::Status { code: 200, .. }));
    bench.drain("hook", 2).await;
    assert_eq!(peer.ids(), [id(1, 0), id(1, 0)]);
}

#[tokio::test]
async fn what_could_not_be_marked_is_marked_before_anything_is_sent() {
    let peer = Peer::new(&[]).await;
    let bench = bench(&[("hook", webhook(&peer.url))]);
    bench.write(&[("hook", notice(1, 0, Status::Firing)), ("hook", notice(1, 1, Status::Resolved))]);
    let follower = bench.follower("hook");
    let (rows, _) = follower.waiting(0).await.unwrap();
    // It arrived, and the disk did not take the mark.
    let marks = vec![(rows[0].0, None)];
    *follower.unmarked.lock().unwrap() = Unmarked { marks, failing: Some(None), ..Unmarked::default() };
    follower.pass().await.unwrap();
    assert_eq!(peer.ids(), [id(1, 1)]);
    assert!(bench.rows("hook").is_empty());
}

#[test]
fn pauses_after_failures_double_from_a_second_to_a_minute() {
    let seconds = [1, 2, 3, 6, 7, u32::MAX].map(|failures| pause(failures).as_secs());
    assert_eq!(seconds, [1, 2, 4, 32, 60, 60]);
}

#[tokio::test]
async fn while_another_writes_the_outbox_the_threads_that_serve_go_on() {
    let bench = bench(&[("hook", webhook("http://127.0.0.1:9/nobody"))]);
    let (locked, is_locked) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let journal = bench.journal.clone();
    let writer = std::thread::spawn(move || {
        journal.hold_sizes(|| {
            locked.send(()).unwrap();
            released.recv_timeout(Duration::from_secs(5)).is_ok()
        })
    });
    is_locked.recv().unwrap();
    let others = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        release.send(()).unwrap();
    };
    let (pass, ()) = tokio::join!(bench.follower("hook").pass(), others);
    assert_eq!(pass.unwrap().tried, 0);
    assert!(writer.join().unwrap(), "the only thread of this runtime was not held up");
}
