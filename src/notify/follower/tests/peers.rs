//! Alertmanagers: batches, halving, re-sends, and P6 for them.

use serde_json::Value;

use super::super::super::config::{Alertmanager, Auth, Username};
use super::chaos::{PATIENCE, SEEDS, World, fault};
use super::*;

const S: i64 = 1_000_000_000;
/// `notify.resend_interval` of the tests.
const GAP: Duration = Duration::from_secs(60);

fn base(peer: &Peer) -> String {
    peer.url.trim_end_matches("/hook").to_owned()
}

fn of(urls: Vec<String>) -> Alertmanager {
    Alertmanager { urls, tls: None, auth: None }
}

fn am(peers: &[&Peer]) -> Receiver {
    Receiver::of(Kind::Alertmanager(of(peers.iter().map(|peer| base(peer)).collect())))
}

fn line(peer: &Peer) -> String {
    Alertmanager::line("am", &base(peer))
}

/// What alert `alert` says: its own label set a level.
fn says(alert: u8, number: u32, level: Level, status: Status) -> Notice {
    let mut notice = notice(alert, number, status);
    notice.labels.insert("service_name".into(), format!("s{alert}"));
    notice.labels.insert("level".into(), level.as_str().into());
    let ends_at_ns = (status == Status::Resolved).then_some(notice.window.end_ns);
    Notice { level, ends_at_ns, ..notice }
}

fn fires(alert: u8) -> Notice {
    says(alert, 0, Level::Fail, Status::Firing)
}

fn ends(alert: u8) -> Notice {
    says(alert, 1, Level::Fail, Status::Resolved)
}

fn ns(alert: &Value, name: &str) -> i64 {
    let at: jiff::Timestamp = alert[name].as_str().unwrap().parse().unwrap();
    i64::try_from(at.as_nanosecond()).unwrap()
}

/// `service level firing|resolved` of each alert of a request made at `now_ns`.
fn facts(request: &Request, now_ns: i64) -> Vec<String> {
    let fact = |alert: &Value| {
        let status = if ns(alert, "endsAt") > now_ns { "firing" } else { "resolved" };
        let label = |name: &str| alert["labels"][name].as_str().unwrap().to_owned();
        format!("{} {} {status}", label("service_name"), label("level"))
    };
    request.body.as_array().unwrap().iter().map(fact).collect()
}

impl Peer {
    /// Takes out what was seen, for those who look at every pass.
    fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Bench {
    /// A pass of the line of `peer`, and the facts of each request that it made.
    async fn told(&self, peer: &Peer) -> Vec<Vec<String>> {
        self.follower(&line(peer)).pass().await.unwrap();
        peer.take().iter().map(|request| facts(request, self.clock.now_ns())).collect()
    }
}

#[tokio::test]
async fn every_address_is_told_every_alert_in_batches_and_none_waits_for_another() {
    let (up, down) = (Peer::new(&[]).await, Peer::new(&[]).await);
    down.stop().await;
    let bench = bench(&[("am", am(&[&up, &down]))]);
    bench.write(&(0..130).map(|alert| ("am", fires(alert))).collect::<Vec<_>>());
    bench.follower(&line(&down)).pass().await.unwrap();
    let told = bench.told(&up).await;
    let sizes: Vec<usize> = told.iter().map(Vec::len).collect();
    assert_eq!(sizes, [64, 64, 2]);
    assert!(bench.rows("am").is_empty() && bench.rows(&line(&up)).is_empty());
    assert_eq!(bench.rows(&line(&down)).len(), 99, "all that this looks at");
    down.start().await;
    bench.drain(&line(&down), 9).await;
    let mut all: Vec<_> = down.take().iter().flat_map(|request| facts(request, bench.clock.now_ns())).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 130);
    let request = up.take().pop();
    assert!(request.is_none(), "what it took it is not sent again before its time");
}

#[tokio::test]
async fn what_fires_is_told_again_every_interval_and_an_end_for_fifteen_minutes_across_restarts() {
    let peer = Peer::new(&[]).await;
    let mut bench = bench(&[("am", am(&[&peer]))]);
    bench.clock.advance(Duration::from_secs(310));
    bench.write(&[("am", fires(1))]);
    let name = line(&peer);
    bench.follower(&name).pass().await.unwrap();
    let first = peer.take().remove(0);
    assert!(first.head.starts_with("POST /api/v2/alerts "), "{}", first.head);
    let start_ns = ns(&first.body[0], "startsAt");
    assert_eq!(start_ns, fires(1).starts_at_ns);
    for _ in 0..3 {
        bench.clock.advance(GAP - Duration::from_secs(1));
        assert_eq!(bench.told(&peer).await, [] as [Vec<String>; 0]);
        bench.clock.advance(Duration::from_secs(1));
        let pass = bench.follower(&name).pass().await.unwrap();
        let again = peer.take().remove(0);
        assert_eq!(ns(&again.body[0], "startsAt"), start_ns);
        assert_eq!(ns(&again.body[0], "endsAt"), bench.clock.now_ns() + 240 * S);
        assert_eq!(pass.next_ns, Some(bench.clock.now_ns() + 60 * S));
    }
    // A process that comes up knows, and tells at once.
    let receivers = [("am".to_owned(), am(&[&peer]))].into();
    let config = Config { receivers, ..Config::default() };
    let reopen = |bench: &Bench| {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let client = wire::client(Duration::from_millis(300), None).unwrap();
        Notifier::with(&config, rim(&bench.journal, &bench.clock), metrics, client).unwrap()
    };
    bench.notifier = reopen(&bench);
    assert_eq!(bench.told(&peer).await, [["s1 fail firing"]]);
    bench.write(&[("am", ends(1))]);
    assert_eq!(bench.told(&peer).await, [["s1 fail resolved"]]);
    bench.notifier = reopen(&bench);
    for _ in 0..15 {
        assert_eq!(bench.told(&peer).await, [["s1 fail resolved"]]);
        bench.clock.advance(GAP);
    }
    bench.told(&peer).await;
    bench.clock.advance(GAP);
    assert_eq!(bench.told(&peer).await, [] as [Vec<String>; 0], "fifteen minutes are over");
    assert_eq!(bench.journal.outbox_size(&name), crate::gate::journal::Size::default());
}

#[tokio::test]
async fn another_level_is_one_post_and_the_old_label_set_ends_in_it() {
    let peer = Peer::new(&[]).await;
    let bench = bench(&[("am", am(&[&peer]))]);
    bench.clock.advance(Duration::from_secs(400));
    bench.write(&[("am", says(1, 0, Level::Warn, Status::Firing))]);
    assert_eq!(bench.told(&peer).await, [["s1 warn firing"]]);
    bench.write(&[("am", says(1, 1, Level::Fail, Status::Firing))]);
    assert_eq!(bench.told(&peer).await, [["s1 warn resolved", "s1 fail firing"]]);
    bench.clock.advance(GAP);
    let mut again = bench.told(&peer).await.concat();
    again.sort();
    assert_eq!(again, ["s1 fail firing", "s1 warn resolved"]);
    bench.write(&[("am", says(1, 2, Level::Fail, Status::Resolved))]);
    assert_eq!(bench.told(&peer).await, [["s1 fail resolved"]]);
}

#[tokio::test]
async fn of_a_refused_batch_only_the_bad_alert_dies_with_the_answers_text() {
    let (peer, other) = (Peer::new(&[]).await, Peer::new(&[]).await);
    let bench = bench(&[("am", am(&[&peer])), ("other", webhook(&other.url))]);
    let mut bad = fires(7);
    bad.annotations.insert("summary".into(), REFUSED.into());
    let good = (0..64).filter(|alert| *alert != 7).map(fires);
    bench.write(&good.chain([bad]).map(|notice| ("am", notice)).collect::<Vec<_>>());
    bench.follower(&line(&peer)).pass().await.unwrap();
    let rows = bench.rows(&line(&peer));
    assert_eq!((rows.len(), rows[0].dead.as_deref()), (1, Some("status 400: text")));
    assert_eq!(rows[0].notice.labels["service_name"], "s7");
    let seen = peer.take();
    assert!(seen.len() <= 2 * 64_usize.ilog2() as usize + 2, "{}", seen.len());
    let taken = seen.iter().filter(|request| request.code == 200);
    let mut all: Vec<_> = taken.flat_map(|request| facts(request, bench.clock.now_ns())).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 63);
    bench.drain("other", 2).await;
    assert_eq!(other.take()[0].body["commonLabels"]["receiver"], line(&peer).as_str());
}

#[tokio::test]
async fn nothing_is_told_again_of_an_alert_whose_next_message_may_have_arrived() {
    let peer = Peer::new(&[Manner::Answer(200, ""), Manner::Reset]).await;
    let bench = bench(&[("am", am(&[&peer]))]);
    bench.clock.advance(Duration::from_secs(400));
    bench.write(&[("am", fires(1)), ("am", fires(2))]);
    assert_eq!(bench.told(&peer).await.concat().len(), 2);
    bench.write(&[("am", ends(1))]);
    assert_eq!(bench.told(&peer).await, [["s1 fail resolved"]], "whose answer is lost");
    // Another process, without patience: it may not say that it fires.
    let mut rows = bench.journal.snapshot().unwrap().waiting(&line(&peer), 0, 9).unwrap();
    rows[0].1.next_try_ns = i64::MAX;
    let marks: Vec<_> = rows.into_iter().map(|(sequence, row)| (sequence, Some(row))).collect();
    bench.journal.mark_sent(&line(&peer), &marks, &Batch::default(), 0).unwrap();
    bench.clock.advance(GAP);
    assert_eq!(bench.told(&peer).await, [["s2 fail firing"]]);
}

#[tokio::test]
async fn a_message_that_waits_is_tried_as_often_as_its_alert_would_be_told_again() {
    let refusals = (0..20).map(|_| Manner::Answer(503, ""));
    let peer = Peer::new(&[Manner::Answer(200, "")].into_iter().chain(refusals).collect::<Vec<_>>()).await;
    let bench = bench(&[("am", am(&[&peer]))]);
    bench.clock.advance(Duration::from_secs(400));
    bench.write(&[("am", says(1, 0, Level::Warn, Status::Firing))]);
    assert_eq!(bench.told(&peer).await, [["s1 warn firing"]]);
    bench.write(&[("am", says(1, 1, Level::Fail, Status::Firing))]);
    for attempts in 0..=20 {
        let told = bench.told(&peer).await;
        assert_eq!(told, [["s1 warn resolved", "s1 fail firing"]], "after {attempts} failures");
        bench.clock.advance(GAP);
    }
    assert!(bench.rows(&line(&peer)).is_empty(), "the last one is taken");
}

#[tokio::test]
async fn a_peer_that_asks_for_time_is_not_told_again_before() {
    let peer = Peer::new(&[Manner::Answer(200, ""), Manner::Answer(429, "retry-after: 90\r\n")]).await;
    let bench = bench(&[("am", am(&[&peer]))]);
    bench.clock.advance(Duration::from_secs(400));
    bench.write(&[("am", fires(1))]);
    bench.told(&peer).await;
    bench.clock.advance(GAP);
    assert_eq!(bench.told(&peer).await, [["s1 fail firing"]], "which it does not take");
    bench.clock.advance(Duration::from_secs(89));
    assert_eq!(bench.told(&peer).await, [] as [Vec<String>; 0]);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.told(&peer).await, [["s1 fail firing"]]);
}

#[tokio::test]
async fn an_end_that_is_not_to_be_told_ends_the_telling() {
    let peer = Peer::new(&[]).await;
    let bench = bench(&[("am", Receiver { send_resolved: false, ..am(&[&peer]) })]);
    bench.write(&[("am", fires(1)), ("am", ends(1))]);
    bench.drain(&line(&peer), 5).await;
    peer.take();
    bench.clock.advance(GAP);
    assert_eq!(bench.told(&peer).await, [] as [Vec<String>; 0]);
    assert!(bench.rows(&line(&peer)).is_empty());
}

#[tokio::test]
async fn a_new_address_learns_what_fires_and_what_waited_for_the_old_one() {
    let (old, new) = (Peer::new(&[]).await, Peer::new(&[]).await);
    let mut bench = bench(&[("am", am(&[&old]))]);
    bench.write(&[("am", fires(1))]);
    bench.told(&old).await;
    old.stop().await;
    bench.write(&[("am", ends(1)), ("am", fires(2))]);
    bench.told(&old).await;
    let config = Config { receivers: [("am".to_owned(), am(&[&new]))].into(), ..Config::default() };
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let client = wire::client(Duration::from_millis(300), None).unwrap();
    bench.notifier = Notifier::with(&config, rim(&bench.journal, &bench.clock), metrics, client).unwrap();
    bench.clock.advance(Duration::from_secs(301));
    bench.follower(&line(&new)).pass().await.unwrap();
    let told: BTreeSet<String> = new.take().iter().flat_map(|r| facts(r, bench.clock.now_ns())).collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["s1 fail resolved", "s2 fail firing"]);
    assert_eq!(bench.journal.outbox_size(&line(&old)).resends, 0);
}

#[tokio::test]
async fn an_address_that_takes_a_whole_round_again_fails_no_more() {
    let (peer, other) = (Peer::new(&[]).await, Peer::new(&[]).await);
    let bench = bench(&[("am", am(&[&peer])), ("other", webhook(&other.url))]);
    bench.write(&[("am", fires(1))]);
    bench.told(&peer).await;
    let mut bad = fires(2);
    bad.annotations.insert("summary".into(), REFUSED.into());
    bench.write(&[("am", bad)]);
    bench.told(&peer).await;
    bench.drain("other", 2).await;
    peer.manners.lock().unwrap().push(Manner::Answer(500, ""));
    let heard = || other.take().iter().map(|request| request.body["status"].clone()).collect::<Vec<_>>();
    assert_eq!(heard(), ["firing"]);
    bench.clock.advance(GAP);
    assert_eq!(bench.told(&peer).await.len(), 1, "which fails");
    bench.clock.advance(GAP);
    bench.told(&peer).await;
    bench.drain("other", 2).await;
    assert!(heard().is_empty(), "something failed in this round");
    bench.clock.advance(GAP);
    bench.told(&peer).await;
    bench.drain("other", 2).await;
    assert_eq!(heard(), ["resolved"]);
}

#[tokio::test]
async fn who_we_are_is_read_from_files_that_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "t0ken\n").unwrap();
    let peer = Peer::new(&[]).await;
    let bearer = Auth::Bearer { scheme: "Bearer".into(), filename: file.clone() };
    let basic = Auth::Basic { username: Username::Text("me".into()), password_file: file.clone() };
    for (auth, before, after) in
        [(bearer, "Bearer t0ken", "Bearer n3w"), (basic, "Basic bWU6dDBrZW4=", "Basic bWU6bjN3")]
    {
        std::fs::write(&file, "t0ken\n").unwrap();
        let receiver = Receiver::of(Kind::Alertmanager(Alertmanager { auth: Some(auth), ..of(vec![base(&peer)]) }));
        let bench = bench(&[("am", receiver)]);
        bench.write(&[("am", fires(1))]);
        bench.follower(&line(&peer)).pass().await.unwrap();
        assert_eq!(peer.take()[0].header("authorization").unwrap(), before);
        std::fs::write(&file, "n3w").unwrap();
        bench.clock.advance(GAP);
        bench.follower(&line(&peer)).pass().await.unwrap();
        assert_eq!(peer.take()[0].header("authorization").unwrap(), after);
        std::fs::remove_file(&file).unwrap();
        bench.clock.advance(GAP);
        bench.follower(&line(&peer)).pass().await.unwrap();
        assert!(peer.take().is_empty());
    }
}

/// Where a fact stands in the life of its alert: warn fires, fail fires and warn has ended, fail has ended.
fn stage(fact: &str) -> usize {
    match fact.split_once(' ').unwrap().1 {
        "warn firing" => 0,
        "warn resolved" | "fail firing" => 1,
        "fail resolved" => 2,
        other => panic!("{other}"),
    }
}

/// Checks what one pass told, and takes it into `stages` and `taken`.
fn check(seed: u64, seen: &[Request], now_ns: i64, stages: &mut BTreeMap<String, usize>, taken: &mut BTreeSet<String>) {
    for request in seen {
        let alerts = request.body.as_array().unwrap();
        assert!((1..=64).contains(&alerts.len()));
        for (alert, fact) in alerts.iter().zip(facts(request, now_ns)) {
            let (starts_ns, ends_ns) = (ns(alert, "startsAt"), ns(alert, "endsAt"));
            assert_eq!(starts_ns, fires(1).starts_at_ns, "seed {seed}: {fact}");
            assert!(ends_ns >= starts_ns, "seed {seed}: {fact}");
            if fact.ends_with("firing") {
                let gap_ns = i64::try_from(GAP.as_nanos()).unwrap();
                assert!(ends_ns - now_ns > 2 * gap_ns, "seed {seed}: {fact}");
            }
            if request.code == 400 {
                // What of it was taken is sent again and seen then.
                continue;
            }
            let service = fact.split(' ').next().unwrap().to_owned();
            let before = stages.entry(service).or_insert(0);
            // The end of the old label set is told again beside that of the new one.
            let reached = if fact.ends_with("warn resolved") { stage(&fact).max(*before) } else { stage(&fact) };
            assert!(reached >= *before, "seed {seed}: {fact} after stage {before}");
            *before = reached;
            if request.code == 200 {
                taken.insert(fact);
            }
        }
    }
}

async fn one(seed: u64, client: wire::Client) {
    let chance = Clock::manual(0, seed);
    let manners: Vec<Manner> = (0..40).map(|_| fault(chance.random())).collect();
    let peer = Peer::new(&manners).await;
    let name = line(&peer);
    let mut world = World::of(seed, ("am", am(&[&peer])), name.clone(), client);
    world.clock.advance(Duration::from_secs(3_600));
    let life = |alert| {
        let stages = [(Level::Warn, Status::Firing), (Level::Fail, Status::Firing), (Level::Fail, Status::Resolved)];
        (0..).zip(stages).map(move |(number, (level, status))| (number, says(alert, number, level, status)))
    };
    let mut left: Vec<(u32, Notice)> = (1..=8).flat_map(life).collect();
    left.sort_by_key(|(number, notice)| std::cmp::Reverse((*number, notice.alert)));
    let (mut stages, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for pass in 0.. {
        assert!(pass < 400, "seed {seed}: {:?} waits", world.rows(&name));
        let now: Vec<_> = (0..chance.random() % 6).filter_map(|_| left.pop()).collect();
        if !now.is_empty() {
            let outbox = now.into_iter().map(|(_, notice)| ("am".to_owned(), notice)).collect();
            world.journal().commit(&Batch { outbox, ..Batch::default() }, world.clock.now_ns()).unwrap();
        }
        match chance.random() % 10 {
            0 => {
                peer.stop().await;
                world.follower().pass().await.unwrap();
                peer.start().await;
            }
            1 | 2 => world.die(chance.random() % 12, chance.random().is_multiple_of(2)).await,
            _ => drop(world.follower().pass().await.unwrap()),
        }
        check(seed, &peer.take(), world.clock.now_ns(), &mut stages, &mut taken);
        let snapshot = world.journal().snapshot().unwrap();
        let is_empty = |receiver: &str| snapshot.waiting(receiver, 0, 1).unwrap().is_empty();
        if left.is_empty() && is_empty("am") && is_empty(&name) {
            break;
        }
        world.clock.advance(Duration::from_secs(chance.random() % 400));
    }
    let dead: BTreeSet<_> = world.rows(&name).iter().map(|row| (row.notice.alert, row.notice.number)).collect();
    for (number, notice) in (1..=8).flat_map(life) {
        let status = if notice.status == Status::Firing { "firing" } else { "resolved" };
        // Where the change of level was given up, what ends is the set that still fired.
        let level = match notice.status == Status::Resolved && dead.contains(&(notice.alert, 1)) {
            true if !dead.contains(&(notice.alert, 0)) => Level::Warn,
            _ => notice.level,
        };
        let fact = format!("{} {} {status}", notice.labels["service_name"], level.as_str());
        assert!(dead.contains(&(notice.alert, number)) || taken.contains(&fact), "seed {seed}: {fact}");
    }
    peer.manners.lock().unwrap().clear();
    for _ in 0..18 {
        world.clock.advance(GAP);
        world.follower().pass().await.unwrap();
        check(seed, &peer.take(), world.clock.now_ns(), &mut stages, &mut taken);
    }
    let kept = world.journal().snapshot().unwrap().resends(&name, None, 99).unwrap();
    assert!(kept.is_empty(), "seed {seed}: all has ended and was told for long enough: {kept:?}");
}

#[tokio::test]
async fn through_any_faults_an_alertmanager_hears_every_transition_in_order_and_never_late() {
    let client = wire::client(PATIENCE, None).unwrap();
    for seeds in (0..SEEDS).collect::<Vec<_>>().chunks(20) {
        futures::future::join_all(seeds.iter().map(|seed| one(*seed, client.clone()))).await;
    }
}
