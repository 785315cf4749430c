//! P5: killed at every write of every round, and at random with downtime.

use super::*;

const ROUNDS: i64 = 45;

fn gates() -> Vec<Gate> {
    let warn = Some(comparison(Test::AtLeast(0.5)));
    let patient = Gate {
        name: "patient".into(),
        hold_for: Duration::from_secs(30),
        keep_firing_for: Duration::from_secs(30),
        warn: warn.clone(),
        ..by_service(0.9)
    };
    vec![Gate { warn, ..by_service(0.9) }, patient]
}

fn history() -> Vec<(i64, &'static str, bool)> {
    let mut all = spans("a", 0, 120, false);
    all.extend(spans("a", 120, 260, true));
    all.extend(spans("a", 260, 600, false));
    all.extend((0..160).step_by(5).map(|at| (at, "b", at % 3 != 0)));
    all.extend(spans("b", 160, 600, true));
    all.sort_by_key(|(at, ..)| *at);
    all
}

/// Everything durable that somebody can see, without wall times.
pub(super) fn image(daemon: &Daemon) -> (Vec<String>, Vec<String>, Vec<String>) {
    let rows = daemon.rows();
    let journal =
        rows.iter().map(|r| format!("{} {} {} {:?} {:?}", r.t_ns / S - BEGIN_S, r.gate, r.key, r.cause, r.transition));
    let outbox = daemon.outbox();
    let told = outbox.iter().map(|o| {
        let n = &o.notice;
        format!("{}/{}/{} {:?} {:?} {}", n.alert, n.episode, n.number, n.status, n.value, n.window.end_ns / S - BEGIN_S)
    });
    let episodes = daemon.journal().snapshot().unwrap().episodes().unwrap();
    let episodes = episodes.iter().map(|(alert, number, row)| format!("{alert} {number} {row:?}"));
    (journal.collect(), told.collect(), episodes.collect())
}

/// One run; in round `kill.0`, the `kill.1`-th write fails and the process dies.
async fn run(kill: Option<(i64, u64)>, power_cut: bool) -> (Daemon, Vec<u64>) {
    let mut daemon = Daemon::new(vec![every_30s(gates())]);
    let mut left = history().into_iter().peekable();
    let mut writes = Vec::new();
    for round in 0..ROUNDS {
        daemon.wait(10);
        while left.peek().is_some_and(|(at, ..)| *at < daemon.now_s()) {
            daemon.store.take([left.next().unwrap()]);
        }
        // Alive at this very moment: a kill now is no downtime.
        daemon.journal().commit(&Batch::default(), daemon.clock.now_ns()).unwrap();
        let before = daemon.medium.changes();
        if let Some((_, write)) = kill.filter(|(at, _)| *at == round) {
            daemon.medium.die_at(before + write);
            let _ = daemon.evaluator.as_mut().unwrap().round().await;
            daemon.kill();
            daemon.medium.revive(power_cut);
            daemon.start();
        }
        daemon.round().await;
        writes.push(daemon.medium.changes() - before);
    }
    (daemon, writes)
}

#[tokio::test]
async fn killed_at_any_write_it_tells_what_it_would_have_told() {
    let (unharmed, writes) = run(None, false).await;
    let expected = image(&unharmed);
    assert!(expected.1.len() >= 8, "{expected:#?}");
    for (round, writes) in (0..).zip(&writes) {
        for write in 0..*writes {
            let power_cut = (round + write as i64) % 2 == 0;
            let (daemon, _) = run(Some((round, write)), power_cut).await;
            assert_eq!(image(&daemon), expected, "round {round}, write {write}, power cut {power_cut}");
        }
    }
}

#[tokio::test]
async fn killed_at_random_with_downtime_every_episode_still_fires_and_resolves_once() {
    let chance = Clock::manual(0, 3);
    for case in 0..40 {
        let mut daemon = Daemon::new(vec![every_30s(gates())]);
        let mut left = history().into_iter().peekable();
        while daemon.now_s() < 450 {
            daemon.wait(1 + chance.random() % 15);
            while left.peek().is_some_and(|(at, ..)| *at < daemon.now_s()) {
                daemon.store.take([left.next().unwrap()]);
            }
            if chance.random().is_multiple_of(6) {
                let at = daemon.medium.changes() + chance.random() % 12;
                daemon.medium.die_at(at);
                let _ = daemon.evaluator.as_mut().unwrap().round().await;
                daemon.kill();
                daemon.medium.revive(chance.random().is_multiple_of(2));
                daemon.wait(chance.random() % 40);
                daemon.start();
            }
            daemon.round().await;
        }
        let mut open: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut episodes = 0;
        for row in daemon.rows() {
            let key = (row.gate.clone(), row.key.clone());
            match row.cause {
                Cause::Firing => {
                    episodes += 1;
                    assert_eq!(open.insert(key, row.episode.unwrap()), None, "case {case}: two open episodes");
                }
                Cause::Passed => assert_eq!(open.remove(&key), row.episode, "case {case}"),
                _ => {}
            }
        }
        assert!(episodes >= 3, "case {case}");
        let outbox = daemon.outbox();
        let ids: std::collections::BTreeSet<_> =
            outbox.iter().map(|o| (o.notice.alert, o.notice.episode, o.notice.number)).collect();
        assert_eq!(ids.len(), outbox.len(), "case {case}: a transition is told once");
        // Its breach lasts 140 s from 260 s on, far beyond any downtime here, so it must be open in the end.
        let last = ("good".to_owned(), "service=a".to_owned());
        assert!(open.contains_key(&last), "case {case}: {:?}", daemon.seen());
    }
}
