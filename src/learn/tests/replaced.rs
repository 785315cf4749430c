//! Claims about an engine whose file is another one than before.

use super::*;

/// Run, variant and outcome of each try.
fn tries(journal: &Journal) -> Vec<(i64, String, Option<&'static str>)> {
    let rows = journal.feedback().unwrap().into_iter();
    rows.map(|(_, row)| (row.run, row.variant, row.decision.outcome.map(feedback::Outcome::as_str))).collect()
}

/// Of a run with two tries, of which the second is open.
fn before(house: &House) -> Journal {
    house.engine.happens(10, start(7));
    house.engine.happens(11, code(7, "e1", "a"));
    house.engine.happens(12, code(7, "e2", "b"));
    let follower = house.learn.follower().unwrap();
    follower.catch_up().unwrap();
    let of = |variant: &str, outcome: Option<&'static str>| (7_i64, variant.to_owned(), outcome);
    assert_eq!(tries(follower.journal()), [of("a", Some("not_better")), of("b", None)]);
    assert_eq!(house.metrics.lost_events.get(), 0);
    follower.journal().clone()
}

fn following(house: &House, journal: &Journal, engine: EngineEvents) -> follow::Follower {
    follow::Follower::new(journal.clone(), engine, GateFacts::none(), house.metrics.clone())
}

#[test]
fn an_engine_that_was_replaced_is_followed_from_its_first_event_and_its_runs_are_others() {
    let house = house(GateFacts::none());
    let journal = before(&house);
    let other = Engine::default();
    other.happens(20, start(7));
    other.happens(21, code(7, "f1", "c"));
    let follower = following(&house, &journal, other.handle_of([2; 16]));
    let of = |run: i64, variant: &str, outcome: Option<&'static str>| (run, variant.to_owned(), outcome);
    for longer in [false, true] {
        follower.catch_up().unwrap();
        assert_eq!(tries(&journal), [of(-7, "a", Some("not_better")), of(7, "c", None)], "{longer}");
        other.happens(22, EngineFact::Other);
    }
    assert_eq!(house.metrics.lost_events.get(), 1);
    assert!(house.metrics.degraded()[0].starts_with("engine.redb is not the one"), "{:?}", house.metrics.degraded());
    // One that has more events than were taken in shows itself by its id alone.
    let third = Engine::default();
    (0..9).for_each(|_| third.happens(30, EngineFact::Other));
    third.happens(31, start(7));
    third.happens(32, code(7, "g1", "d"));
    following(&house, &journal, third.handle_of([3; 16])).catch_up().unwrap();
    assert_eq!(tries(&journal), [of(-7, "a", Some("not_better")), of(7, "d", None)]);
    assert_eq!(house.metrics.lost_events.get(), 2);
}

#[test]
fn an_older_copy_of_the_engine_is_taken_in_again() {
    let house = house(GateFacts::none());
    let journal = before(&house);
    house.engine.0.lock().unwrap().truncate(2);
    let follower = house.learn.follower().unwrap();
    follower.catch_up().unwrap();
    let of = |variant: &str, outcome: Option<&'static str>| (7_i64, variant.to_owned(), outcome);
    assert_eq!(tries(&journal), [of("a", None)]);
    // It goes another way from there.
    house.engine.happens(30, code(7, "e2", "c"));
    follower.catch_up().unwrap();
    assert_eq!(tries(&journal), [of("a", Some("not_better")), of("c", None)]);
    assert_eq!(house.metrics.lost_events.get(), 1);
}

#[test]
fn an_older_copy_is_known_at_the_start_also_if_it_soon_has_as_many_events_again() {
    let house = house(GateFacts::none());
    drop(before(&house));
    let House { learn, engine, _dir: dir, .. } = house;
    drop(learn);
    engine.0.lock().unwrap().truncate(2);
    let parts = parts(dir.path(), &engine, GateFacts::none());
    let metrics = parts.metrics.clone();
    let learn = Learn::open(parts).unwrap();
    // The pipelines open before anybody follows.
    (0..5).for_each(|_| engine.happens(30, EngineFact::Other));
    let follower = learn.follower().unwrap();
    follower.catch_up().unwrap();
    assert_eq!(tries(follower.journal()), [(7, "a".to_owned(), None)]);
    assert_eq!(metrics.lost_events.get(), 1);
}
