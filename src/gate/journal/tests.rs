//! What a commit promises, whatever moment it is killed at.

mod told;

use std::collections::BTreeMap;

use super::super::result::Window;
use super::super::state::{Cause, Level, Phase, State};
use super::faulty::Medium;
use super::*;

const ALERT: AlertId = AlertId([7; 16]);

fn notice(number: u32) -> Notice {
    Notice {
        alert: ALERT,
        episode: 1,
        number,
        status: Status::Firing,
        health: false,
        gate: "g".into(),
        key: String::new(),
        by: BTreeMap::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        level: Level::Fail,
        outcome: None,
        reason: "firing".into(),
        value: Some(0.5),
        n: Some(3),
        window: Window { start_ns: 0, end_ns: 60 },
        trace_ids: vec![[1; 16]],
        pipeline: None,
        starts_at_ns: 60,
        ends_at_ns: None,
    }
}

/// A message to `receiver`.
pub(crate) fn message_to(receiver: &str) -> Batch {
    Batch { outbox: vec![(receiver.to_owned(), notice(0))], ..Batch::default() }
}

fn gate(last_tick_ns: i64) -> GateRow {
    GateRow {
        generation: 1,
        question: [0; 32],
        group: "gg".into(),
        last_tick_ns,
        floor: 0,
        errors: 0,
        loaded: true,
        seen_us: None,
    }
}

fn request() -> StartRequest {
    StartRequest {
        alert: ALERT,
        episode: 1,
        gate: "g".into(),
        key: String::new(),
        pipeline: "regenerate".into(),
        t_ns: 60,
        variables: "{}".into(),
        cooldown_ns: 0,
        max_runs: 3,
        max_runs_in_ns: 0,
        occasion: Default::default(),
    }
}

/// A tick that opens an episode, in every table.
fn opening(t_ns: i64) -> Batch {
    let id = KeyId { gate: "g".into(), generation: 1, key: String::new() };
    let row = KeyRow {
        labels: BTreeMap::new(),
        state: State::fresh(0),
        missing: 0,
        last: None,
        told: Some(Told { receivers: vec!["hook".into()], notice: notice(0) }),
        untold: None,
    };
    let opened = EpisodeRow {
        gate: "g".into(),
        key: String::new(),
        opened_ns: t_ns,
        closed_ns: None,
        level_max: Level::Warn,
        closed_by: None,
        pipeline_run: None,
    };
    let journal = JournalRow {
        at_ns: t_ns,
        t_ns,
        gate: "g".into(),
        key: String::new(),
        from: Phase::Inactive,
        to: Phase::Firing(Level::Fail),
        cause: Cause::Firing,
        episode: Some(1),
        transition: None,
        actor: None,
        summary: String::new(),
        looked_us: None,
        looked_ns: None,
    };
    Batch {
        gates: BTreeMap::from([("g".to_owned(), gate(t_ns))]),
        keys: BTreeMap::from([(id, Some(row))]),
        episodes: vec![(ALERT, 1, EpisodeEdit::Open(opened))],
        journal: vec![journal],
        ticks: BTreeMap::from([(("gg".to_owned(), t_ns), TickRow { cut_us: Some(5), ..TickRow::default() })]),
        outbox: vec![("hook".to_owned(), notice(0)), ("other".to_owned(), notice(0))],
        starts: vec![(ALERT, 1, StartEdit::Request(Box::new(request())))],
        ..Batch::default()
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    (dir, journal)
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let (dir, journal) = journal();
    journal.commit(&opening(60), 100).unwrap();
    drop(journal);
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    let read = journal.snapshot().unwrap();
    assert_eq!(read.alive_ns().unwrap(), Some(100));
    assert_eq!(read.gates().unwrap()["g"], gate(60));
    assert_eq!(read.keys("g", 1).unwrap()[""].told.as_ref().unwrap().notice, notice(0));
    assert!(read.keys("g", 2).unwrap().is_empty());
    assert_eq!(read.last_episodes(&[ALERT, AlertId([8; 16])]).unwrap(), [1, 0]);
    assert_eq!(read.tick("gg", 60).unwrap().unwrap().cut_us, Some(5));
    assert_eq!(read.journal(0, 10).unwrap().len(), 1);
    let outbox = read.outbox("hook", 10).unwrap();
    assert_eq!((outbox.len(), outbox[0].1.written_ns, &outbox[0].1.notice), (1, 100, &notice(0)));
    assert_eq!(read.due_starts().unwrap()[0].0.request, request());
}

#[test]
fn a_second_process_is_told_that_the_file_is_held() {
    let (dir, _journal) = journal();
    assert!(matches!(Journal::open(&dir.path().join("gates.redb")), Err(Error::Held)));
}

#[test]
fn a_file_of_another_format_is_refused() {
    let (dir, journal) = journal();
    let tx = journal.inner.db.begin_write().unwrap();
    tx.open_table(META).unwrap().insert("format", encode(&9_u32).as_slice()).unwrap();
    tx.commit().unwrap();
    drop(journal);
    assert!(matches!(Journal::open(&dir.path().join("gates.redb")), Err(Error::Format(9))));
}

#[test]
fn downtime_is_what_lies_between_the_last_commit_and_the_next_start() {
    let (_dir, journal) = journal();
    assert_eq!(journal.wake(1_000).unwrap(), [], "the first start follows nothing");
    journal.commit(&Batch::default(), 5_000).unwrap();
    let down = Downtime { from_ns: 5_000, to_ns: 9_000 };
    assert_eq!(journal.wake(9_000).unwrap(), [down]);
    assert_eq!(journal.wake(9_500).unwrap(), [down, Downtime { from_ns: 9_000, to_ns: 9_500 }]);
    let later = 91 * DAY_NS;
    assert_eq!(journal.wake(later).unwrap(), [Downtime { from_ns: 9_500, to_ns: later }]);
}

#[test]
fn numbers_of_the_outbox_never_repeat_after_its_messages_are_gone() {
    let (_dir, journal) = journal();
    journal.commit(&opening(60), 100).unwrap();
    let first = journal.snapshot().unwrap().outbox("hook", 1).unwrap()[0].0;
    journal.mark_sent("hook", &[(first, None)], &Batch::default(), 101).unwrap();
    assert!(journal.snapshot().unwrap().outbox("hook", 1).unwrap().is_empty());
    assert_eq!(journal.snapshot().unwrap().outbox("other", 1).unwrap().len(), 1);
    let batch = Batch { outbox: vec![("hook".into(), notice(1))], ..Batch::default() };
    journal.commit(&batch, 102).unwrap();
    assert!(journal.snapshot().unwrap().outbox("hook", 1).unwrap()[0].0 > first);
}

#[test]
fn the_engines_answer_survives_what_the_gate_writes_afterwards() {
    let (_dir, journal) = journal();
    journal.commit(&opening(60), 100).unwrap();
    let started = |row: &mut StartRow| row.state = StartState::Started { run: 42, at_ns: 110 };
    assert!(journal.answer_start(Occasion::Failed, ALERT, 1, started).unwrap());
    assert!(!journal.answer_start(Occasion::Failed, ALERT, 1, started).unwrap(), "it is answered");
    assert!(!journal.answer_start(Occasion::Failed, ALERT, 2, started).unwrap(), "there is none");
    let later = Batch {
        episodes: vec![(ALERT, 1, EpisodeEdit::Raise(Level::Fail)), (ALERT, 1, EpisodeEdit::Close(90, Cause::Passed))],
        starts: vec![(ALERT, 1, StartEdit::Request(Box::new(request()))), (ALERT, 1, StartEdit::Lapse)],
        ..Batch::default()
    };
    journal.commit(&later, 120).unwrap();
    let read = journal.snapshot().unwrap();
    let episode = read.episode(ALERT, 1).unwrap().unwrap();
    assert_eq!((episode.level_max, episode.closed_ns, episode.pipeline_run), (Level::Fail, Some(90), Some(42)));
    assert_eq!(read.start(ALERT, 1).unwrap().unwrap().state, StartState::Started { run: 42, at_ns: 110 });
    assert!(read.due_starts().unwrap().is_empty());
}

#[test]
fn a_start_lapses_with_its_episode() {
    let (_dir, journal) = journal();
    let mut batch = opening(60);
    batch.append(Batch { starts: vec![(ALERT, 1, StartEdit::Lapse)], ..Batch::default() });
    journal.commit(&batch, 100).unwrap();
    assert_eq!(journal.snapshot().unwrap().start(ALERT, 1).unwrap().unwrap().state, StartState::Lapsed);
}

#[test]
fn results_are_read_in_pieces_and_kept_for_thirty_days() {
    let (_dir, journal) = journal();
    let run = |first_tick_ns: i64| OutcomeRun {
        gate: "g".into(),
        generation: 1,
        group: "gg".into(),
        key: String::new(),
        outcome: super::super::verdict::Outcome::Pass,
        first_tick_ns,
        last_tick_ns: first_tick_ns,
        evaluations: 1,
        value: None,
        values: (0.0, 0),
        n: None,
        window: Window { start_ns: 0, end_ns: first_tick_ns },
        cut_us: 0,
        evidence: String::new(),
        trace_ids: vec![],
        dry_run: false,
        cost_ns: 0,
        baseline: None,
        ticks: vec![],
    };
    let batch = Batch {
        results: vec![run(10), run(20), run(20), run(DAY_NS)],
        ticks: [10, DAY_NS].map(|t| (("gg".to_owned(), t), TickRow::default())).into(),
        ..Batch::default()
    };
    journal.commit(&batch, 0).unwrap();
    let read = journal.snapshot().unwrap();
    let first = read.results((i64::MIN, 0), 20, 2).unwrap();
    assert_eq!(first.iter().map(|(_, row)| row.first_tick_ns).collect::<Vec<_>>(), [10, 20]);
    let second = read.results(first[1].0, 20, 2).unwrap();
    assert_eq!(second.iter().map(|(_, row)| row.first_tick_ns).collect::<Vec<_>>(), [20]);
    assert!(read.results(second[0].0, 20, 2).unwrap().is_empty());
    journal.prune(KEPT_NS + 30).unwrap();
    let read = journal.snapshot().unwrap();
    assert_eq!(read.results((i64::MIN, 0), i64::MAX, 9).unwrap().len(), 1);
    assert_eq!(read.ticks("gg").unwrap().len(), 1);
}

#[test]
fn an_evicted_episode_raises_the_floor_of_its_gate() {
    let (_dir, journal) = journal();
    journal.commit(&opening(60), 100).unwrap();
    let close = |alert, number, t| (alert, number, EpisodeEdit::Close(t, Cause::Passed));
    let Batch { episodes, .. } = opening(60);
    let EpisodeEdit::Open(row) = &episodes[0].2 else { panic!() };
    let other = AlertId([9; 16]);
    let more = Batch {
        episodes: vec![close(ALERT, 1, 90), (other, 5, EpisodeEdit::Open(row.clone())), close(other, 5, 80)],
        ..Batch::default()
    };
    journal.commit(&more, 100).unwrap();
    let tx = journal.inner.db.begin_write().unwrap();
    evict(&tx, 1).unwrap();
    tx.commit().unwrap();
    let read = journal.snapshot().unwrap();
    assert_eq!(read.last_episodes(&[ALERT, other]).unwrap(), [1, 0], "the one that closed first goes");
    assert_eq!(read.gates().unwrap()["g"].floor, 5);
    drop(read);
    journal.commit(&opening(120), 130).unwrap();
    let row = journal.snapshot().unwrap().gates().unwrap().remove("g").unwrap();
    assert_eq!((row.floor, row.last_tick_ns), (5, 120), "the next tick does not know of it");
}

#[test]
fn a_batch_knows_the_episodes_that_it_opens_and_how_high_they_rose() {
    let EpisodeEdit::Open(row) = opening(60).episodes.remove(0).2 else { panic!() };
    let mut batch = Batch::default();
    batch.edit(ALERT, 1, EpisodeEdit::Open(row.clone()));
    batch.edit(ALERT, 1, EpisodeEdit::Close(70, Cause::Passed));
    assert_eq!((batch.last_episode(ALERT), batch.levels[&(ALERT, 1)]), (1, Level::Warn));
    let mut later = Batch::default();
    later.edit(ALERT, 1, EpisodeEdit::Raise(Level::Fail));
    later.edit(ALERT, 2, EpisodeEdit::Open(row));
    batch.append(later);
    assert_eq!((batch.last_episode(ALERT), batch.levels[&(ALERT, 1)]), (2, Level::Fail));
    assert_eq!((batch.last_episode(AlertId([9; 16])), batch.episodes.len()), (0, 4));
}

#[test]
fn starts_are_kept_while_they_are_due_count_for_others_or_their_episode_is_open() {
    let (_dir, journal) = journal();
    let Batch { episodes, .. } = opening(60);
    let EpisodeEdit::Open(row) = &episodes[0].2 else { panic!() };
    let day = |days: i64| days * DAY_NS;
    let alert = |n: u8| AlertId([n; 16]);
    let asks = |n: u8, occasion, max_runs_in_ns| {
        let request = StartRequest { alert: alert(n), occasion, max_runs_in_ns, ..request() };
        (alert(n), 1, StartEdit::Request(Box::new(request)))
    };
    let (failed, resolved) = (Occasion::Failed, Occasion::Resolved);
    let mut batch = Batch {
        starts: vec![
            asks(1, failed, 0),
            asks(2, failed, 0),
            asks(3, failed, day(90)),
            asks(4, failed, 0),
            asks(5, failed, 0),
            asks(5, resolved, 0),
            asks(6, failed, 0),
        ],
        ..Batch::default()
    };
    for n in 1..=5 {
        batch.edit(alert(n), 1, EpisodeEdit::Open(row.clone()));
    }
    for n in [1, 3, 4, 5] {
        batch.edit(alert(n), 1, EpisodeEdit::Close(100, Cause::Passed));
    }
    journal.commit(&batch, 100).unwrap();
    let started = |row: &mut StartRow| row.state = StartState::Started { run: 1, at_ns: 70 };
    for n in [1, 2, 3, 5, 6] {
        assert!(journal.answer_start(failed, alert(n), 1, started).unwrap());
    }
    let kept = |now_ns| -> Vec<u8> {
        journal.prune(now_ns).unwrap();
        let read = journal.snapshot().unwrap();
        (1..=6).filter(|n| read.start(alert(*n), 1).unwrap().is_some()).collect()
    };
    assert_eq!(kept(KEPT_NS), [1, 2, 3, 4, 5, 6]);
    // 1 is over, 2 open, 3 counts for `max_runs`, 4 due, 5 has an end that asks for its run, the episode of 6 is gone.
    assert_eq!(kept(KEPT_NS + 200), [2, 3, 4, 5]);
    assert!(journal.answer_start(resolved, alert(5), 1, |row| row.state = StartState::Lapsed).unwrap());
    assert_eq!(kept(KEPT_NS + 200), [2, 3, 4], "both of 5");
    assert_eq!(journal.snapshot().unwrap().due_starts().unwrap().len(), 1);
    assert_eq!(kept(day(91)), [2, 4]);
}

#[test]
fn a_commit_that_is_killed_at_any_write_happened_wholly_or_not_at_all() {
    for power_cut in [false, true] {
        let medium = Medium::default();
        let journal = medium.journal().unwrap();
        journal.commit(&opening(60), 100).unwrap();
        let before = medium.changes();
        journal.commit(&opening(90), 130).unwrap();
        let writes = medium.changes() - before;
        assert!(writes > 3, "{writes}");
        for at in 0..=writes {
            let medium = Medium::default();
            let journal = medium.journal().unwrap();
            journal.commit(&opening(60), 100).unwrap();
            medium.die_at(medium.changes() + at);
            let done = journal.commit(&opening(90), 130).is_ok();
            drop(journal);
            medium.revive(power_cut);
            let journal = medium.journal().unwrap();
            let read = journal.snapshot().unwrap();
            let there = read.gates().unwrap()["g"].last_tick_ns == 90;
            assert!(there || !done, "acknowledged and lost at write {at}");
            let expected = if there { (2, 2, 130) } else { (1, 1, 100) };
            let counts = (
                read.journal(0, 9).unwrap().len(),
                read.outbox("hook", 9).unwrap().len(),
                read.alive_ns().unwrap().unwrap(),
            );
            assert_eq!(counts, expected, "write {at}, power cut {power_cut}");
        }
    }
}

#[test]
fn a_file_that_a_killed_process_began_to_make_is_in_nobody_s_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gates.redb");
    std::fs::write(path.with_extension("redb.new"), b"half of a header").unwrap();
    drop(Journal::open(&path).unwrap());
    assert!(path.exists() && !path.with_extension("redb.new").exists());
    drop(Journal::open(&path).unwrap());
}

/// Writes `count` messages to `hook`, of which those in `dead` are given up then.
fn fill(journal: &Journal, count: u32, dead: &[u32], now_ns: i64) {
    let outbox = (0..count).map(|number| ("hook".to_owned(), notice(number))).collect();
    journal.commit(&Batch { outbox, ..Batch::default() }, now_ns).unwrap();
    let rows = journal.snapshot().unwrap().waiting("hook", 0, usize::MAX).unwrap();
    let give_up = |(sequence, row): &(u64, OutboxRow)| {
        let is_dead = dead.contains(&row.notice.number);
        is_dead.then(|| (*sequence, Some(OutboxRow { dead: Some("status 400".into()), ..row.clone() })))
    };
    let marks: Vec<_> = rows.iter().filter_map(give_up).collect();
    journal.mark_sent("hook", &marks, &Batch::default(), now_ns).unwrap();
}

fn numbers(journal: &Journal) -> Vec<u32> {
    let rows = journal.snapshot().unwrap().outbox("hook", usize::MAX).unwrap();
    rows.into_iter().map(|(_, row)| row.notice.number).collect()
}

#[test]
fn of_a_full_outbox_the_oldest_dead_letters_go_and_what_is_tried_never() {
    let medium = Medium::default();
    let journal = medium.limited(6, u64::MAX);
    fill(&journal, 6, &[0, 2, 4], 1);
    assert_eq!(numbers(&journal), [0, 1, 2, 3, 4, 5], "full is not too full");
    let more = |numbers: std::ops::Range<u32>| Batch {
        outbox: numbers.map(|number| ("hook".to_owned(), notice(number))).collect(),
        ..Batch::default()
    };
    journal.commit(&more(6..8), 2).unwrap();
    assert_eq!(numbers(&journal), [1, 3, 4, 5, 6, 7]);
    journal.commit(&more(8..12), 3).unwrap();
    assert_eq!(numbers(&journal), [1, 3, 5, 6, 7, 8, 9, 10, 11], "all that is tried stays, over the limit too");
    assert_eq!((journal.outbox_size("hook").messages, journal.outbox_size("hook").dead), (9, 0));
    assert_eq!(journal.outbox_size("other"), Size::default());
}

#[test]
fn an_outbox_is_full_by_bytes_too_and_knows_its_size_after_a_restart() {
    let medium = Medium::default();
    let one = {
        let journal = medium.limited(99, u64::MAX);
        fill(&journal, 4, &[1, 2], 1);
        journal.outbox_size("hook").bytes / 4
    };
    let journal = medium.limited(99, one * 4);
    let size = journal.outbox_size("hook");
    assert_eq!((size.messages, size.dead), (4, 2));
    assert!(size.bytes >= one * 4);
    journal.commit(&Batch { outbox: vec![("hook".to_owned(), notice(9))], ..Batch::default() }, 2).unwrap();
    assert!(journal.outbox_size("hook").bytes <= one * 4, "{:?}", journal.outbox_size("hook"));
    assert!(numbers(&journal).ends_with(&[3, 9]) && !numbers(&journal).contains(&1), "{:?}", numbers(&journal));
    let before = journal.outbox_size("hook");
    drop(journal);
    assert_eq!(medium.limited(99, u64::MAX).outbox_size("hook"), before);
}

#[test]
fn dead_letters_are_kept_for_thirty_days() {
    let journal = Medium::default().journal().unwrap();
    fill(&journal, 3, &[1], 1);
    journal.prune(KEPT_NS).unwrap();
    assert_eq!(numbers(&journal), [0, 1, 2]);
    journal.prune(KEPT_NS + 2).unwrap();
    assert_eq!(numbers(&journal), [0, 2], "what is tried has a day, by another rule");
    assert_eq!(journal.outbox_size("hook").dead, 0);
}
