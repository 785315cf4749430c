//! P6: whatever the receiver, the network and the own process do, every transition arrives, in order, under its own id.

use super::*;
use crate::gate::journal::faulty::Medium;

pub(super) const SEEDS: u64 = 100;
const ALERTS: u8 = 4;
const MESSAGES: u32 = 4;
/// Of one answer; more than a busy machine takes for a local one.
pub(super) const PATIENCE: Duration = Duration::from_millis(150);

/// A notifier over bytes that outlive it.
pub(super) struct World {
    medium: Medium,
    pub(super) clock: Clock,
    config: Config,
    client: wire::Client,
    /// Of the follower that is looked at.
    line: String,
    life: Option<(Journal, Notifier)>,
}

impl World {
    fn new(seed: u64, url: &str, client: wire::Client) -> Self {
        Self::of(seed, ("hook", webhook(url)), "hook".to_owned(), client)
    }

    /// With one `receiver` that is looked at, and another that nobody reaches.
    pub(super) fn of(seed: u64, receiver: (&str, Receiver), line: String, client: wire::Client) -> Self {
        let other = webhook("http://127.0.0.1:9/nobody");
        let receivers = [(receiver.0.to_owned(), receiver.1), ("other".to_owned(), other)].into();
        let config = Config { receivers, ..Config::default() };
        let clock = Clock::manual(1_767_225_600_000_000_000, seed);
        let mut world = Self { medium: Medium::default(), clock, config, client, line, life: None };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let journal = self.medium.journal().unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let (clock, client) = (self.clock.clone(), self.client.clone());
        let notifier = Notifier::with(&self.config, rim(&journal, &clock), metrics, client).unwrap();
        self.life = Some((journal, notifier));
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.life.as_ref().unwrap().0
    }

    pub(super) fn follower(&self) -> &Follower {
        self.life.as_ref().unwrap().1.followers.iter().find(|follower| follower.name == self.line).unwrap()
    }

    pub(super) fn rows(&self, receiver: &str) -> Vec<OutboxRow> {
        let rows = self.journal().snapshot().unwrap().outbox(receiver, usize::MAX).unwrap();
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// A pass in which the process is killed, at any of its writes.
    pub(super) async fn die(&mut self, write: u64, power_cut: bool) {
        self.medium.die_at(self.medium.changes() + write);
        let _ = self.follower().pass().await;
        self.life = None;
        self.medium.revive(power_cut);
        self.begin();
    }
}

pub(super) fn fault(chance: u64) -> Manner {
    match chance % 12 {
        0 | 1 => Manner::Answer(500, ""),
        2 => Manner::Answer(503, "retry-after: 2\r\n"),
        3 => Manner::Answer(408, ""),
        4 => Manner::Answer(429, "retry-after: 400\r\n"),
        5 | 6 => Manner::Reset,
        7 => Manner::Silence,
        8 => Manner::Answer(400, ""),
        _ => Manner::Answer(200, ""),
    }
}

async fn one(seed: u64, client: wire::Client) {
    let chance = Clock::manual(0, seed);
    let manners: Vec<Manner> = (0..24).map(|_| fault(chance.random())).collect();
    let peer = Peer::new(&manners).await;
    let mut world = World::new(seed, &peer.url, client);
    let mut left: Vec<Notice> = (0..MESSAGES)
        .flat_map(|number| (1..=ALERTS).map(move |alert| notice(alert, number, Status::Firing)))
        .rev()
        .collect();
    for pass in 0.. {
        assert!(pass < 300, "seed {seed}: {:?} waits", world.rows("hook"));
        let now: Vec<_> = (0..chance.random() % 4).filter_map(|_| left.pop()).collect();
        if !now.is_empty() {
            let outbox = now.into_iter().map(|notice| ("hook".to_owned(), notice)).collect();
            world.journal().commit(&Batch { outbox, ..Batch::default() }, world.clock.now_ns()).unwrap();
        }
        match chance.random() % 10 {
            0 => {
                peer.stop().await;
                world.follower().pass().await.unwrap();
                peer.start().await;
            }
            1 | 2 => world.die(chance.random() % 9, chance.random().is_multiple_of(2)).await,
            _ => drop(world.follower().pass().await.unwrap()),
        }
        if left.is_empty() && world.journal().snapshot().unwrap().waiting("hook", 0, 1).unwrap().is_empty() {
            break;
        }
        world.clock.advance(Duration::from_secs(chance.random() % 400));
    }
    let ids = peer.ids();
    for alert in 1..=ALERTS {
        let all: Vec<String> = (0..MESSAGES).map(|number| id(alert, number)).collect();
        let mut seen: Vec<&String> = ids.iter().filter(|seen| all.contains(seen)).collect();
        // Repeats are of the same id, and none comes after the next one's.
        seen.dedup();
        assert_eq!(seen, all.iter().collect::<Vec<_>>(), "seed {seed}, alert {alert}");
    }
    let dead = world.rows("hook");
    assert!(dead.iter().all(|row| row.dead.as_deref() == Some("status 400: text")), "seed {seed}");
    assert!(dead.len() <= manners.iter().filter(|manner| matches!(manner, Manner::Answer(400, _))).count());
    let told = world.rows("other");
    assert!(told.iter().all(|row| row.notice.labels["alertname"] == "DeliveryFailing"));
    assert_eq!(told.is_empty(), dead.is_empty(), "seed {seed}: who fails is told to the others");
}

#[tokio::test]
async fn through_any_faults_every_message_arrives_in_order_and_repeats_only_its_id() {
    // Making one costs more than a world's whole life.
    let client = wire::client(PATIENCE, None).unwrap();
    for seeds in (0..SEEDS).collect::<Vec<_>>().chunks(20) {
        futures::future::join_all(seeds.iter().map(|seed| one(*seed, client.clone()))).await;
    }
}

#[tokio::test]
async fn what_arrived_goes_out_once_however_often_its_mark_fails() {
    let peer = Peer::new(&[]).await;
    let world = World::new(1, &peer.url, wire::client(PATIENCE, None).unwrap());
    let outbox = (1..=40).map(|alert| ("hook".to_owned(), notice(alert, 0, Status::Firing))).collect();
    world.journal().commit(&Batch { outbox, ..Batch::default() }, world.clock.now_ns()).unwrap();
    world.medium.die_at(world.medium.changes());
    for _ in 0..3 {
        assert!(world.follower().pass().await.is_err());
        world.clock.advance(Duration::from_secs(301));
    }
    let mut ids = peer.ids();
    let sent = ids.len();
    ids.sort();
    ids.dedup();
    assert!(ids.len() == sent && (1..=AT_A_TIME).contains(&sent), "{ids:?}");
    let kept = world.follower().unmarked.lock().unwrap().marks.len();
    assert_eq!(kept, sent, "also those that were on the wire when the first mark failed");
}
