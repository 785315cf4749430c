//! What lines of an Alertmanager keep, how much of it, and dead letters that come back.

use super::super::super::health::HealthKind;
use super::*;

/// Alert `alert` as it was told to a line.
fn row(alert: u8, until_ns: Option<i64>) -> ResendRow {
    ResendRow { notice: Notice { alert: AlertId([alert; 16]), ..notice(0) }, starts_at_ns: i64::from(alert), until_ns }
}

fn put(journal: &Journal, line: &str, rows: &[ResendRow]) {
    let rows: Vec<_> = rows.iter().map(|row| Resend::Put(Box::new(row.clone()))).collect();
    journal.mark_told(line, &[], &rows, &Batch::default(), 1).unwrap();
}

fn alerts(journal: &Journal, line: &str) -> Vec<u8> {
    let rows = journal.snapshot().unwrap().resends(line, None, 99).unwrap();
    rows.into_iter().map(|((AlertId(id), _), _)| id[0]).collect()
}

fn outbox(messages: &[(&str, Notice)]) -> Batch {
    let outbox = messages.iter().map(|(receiver, notice)| ((*receiver).to_owned(), notice.clone())).collect();
    Batch { outbox, ..Batch::default() }
}

#[test]
fn what_is_told_again_is_read_in_parts_and_forgotten_by_label_set_or_alert() {
    let (dir, journal) = journal();
    put(&journal, "am@a", &[row(1, None), row(2, None), row(3, None)]);
    put(&journal, "am@b", &[row(9, None)]);
    let mut other = row(2, Some(5));
    other.notice.labels.insert("level".into(), "warn".into());
    put(&journal, "am@a", std::slice::from_ref(&other));
    let read = journal.snapshot().unwrap();
    let first = read.resends("am@a", None, 2).unwrap();
    let rest = read.resends("am@a", Some(first[1].0), 9).unwrap();
    assert_eq!((first.len(), rest.len()), (2, 2));
    assert_eq!(read.resends_of("am@a", AlertId([2; 16])).unwrap().len(), 2);
    assert!(read.resends("am@a", Some((AlertId([255; 16]), LabelSet([255; 16]))), 9).unwrap().is_empty());
    let forget = [
        Resend::Forget(AlertId([2; 16]), LabelSet::of(&other.notice.labels)),
        Resend::ForgetAll(AlertId([1; 16])),
        Resend::ForgetAll(AlertId([7; 16])),
    ];
    journal.mark_told("am@a", &[], &forget, &Batch::default(), 1).unwrap();
    assert_eq!((alerts(&journal, "am@a"), alerts(&journal, "am@b")), (vec![2, 3], vec![9]));
    let size = journal.outbox_size("am@a");
    assert_eq!((size.messages, size.resends), (0, 2));
    drop((read, journal));
    let journal = Journal::open(&dir.path().join("gates.redb")).unwrap();
    assert_eq!(journal.outbox_size("am@a"), size, "counted again at the start");
}

#[test]
fn of_a_full_line_ends_go_first_then_dead_letters_and_what_fires_or_is_tried_never() {
    let journal = Medium::default().limited(6, u64::MAX);
    put(&journal, "hook", &[row(1, None), row(2, Some(9)), row(3, Some(8))]);
    fill(&journal, 3, &[0], 1);
    assert_eq!((alerts(&journal, "hook"), numbers(&journal)), (vec![1, 2, 3], vec![0, 1, 2]), "full is not too full");
    let more = |numbers: std::ops::Range<u32>| {
        let messages: Vec<_> = numbers.map(|number| ("hook", notice(number))).collect();
        journal.commit(&outbox(&messages), 2).unwrap();
    };
    more(3..4);
    assert_eq!(alerts(&journal, "hook"), [1, 2], "the end that is told for the shortest time");
    more(4..5);
    assert_eq!(alerts(&journal, "hook"), [1]);
    more(5..6);
    assert_eq!((alerts(&journal, "hook"), numbers(&journal)), (vec![1], vec![1, 2, 3, 4, 5]), "then the dead letter");
    more(6..9);
    assert_eq!(numbers(&journal), [1, 2, 3, 4, 5, 6, 7, 8], "nothing that is tried");
    put(&journal, "hook", &[row(4, None), row(5, Some(9))]);
    assert_eq!(alerts(&journal, "hook"), [1, 4], "who is not told again that it fires holds it for over");
    let size = journal.outbox_size("hook");
    assert_eq!((size.resends, size.firing), (2, 2));
    put(&journal, "hook", &[row(4, Some(9))]);
    assert_eq!(alerts(&journal, "hook"), [1], "once it has ended it may go");
    assert_eq!(journal.outbox_size("hook").firing, 1);
}

#[test]
fn what_fires_leaves_half_of_the_room_to_the_rest() {
    let firing: Vec<_> = (1..=9).map(|alert| row(alert, None)).collect();
    let measure = Medium::default().limited(99, u64::MAX);
    fill(&measure, 3, &[0], 1);
    let room = measure.outbox_size("hook").bytes;
    for journal in [Medium::default().limited(6, u64::MAX), Medium::default().limited(99, 2 * room)] {
        put(&journal, "hook", &firing);
        let size = journal.outbox_size("hook");
        assert!(size.firing == 9 && size.firing_bytes > room, "{size:?}");
        fill(&journal, 3, &[0], 1);
        assert_eq!(numbers(&journal), [0, 1, 2], "the dead letter stays");
        journal.commit(&outbox(&[("hook", notice(3))]), 2).unwrap();
        assert_eq!(numbers(&journal), [1, 2, 3], "once the rest needs more, it goes");
        assert_eq!(alerts(&journal, "hook").len(), 9);
    }
}

#[test]
fn messages_are_handed_on_to_every_line_in_order_under_new_numbers() {
    let (_dir, journal) = journal();
    let lines = ["am@a".to_owned(), "am@b".to_owned()];
    journal.commit(&outbox(&[("am", notice(0)), ("am", notice(1)), ("hook", notice(0))]), 5).unwrap();
    assert!(journal.hand_on("am", &lines).unwrap());
    assert!(!journal.hand_on("am", &lines).unwrap(), "once");
    journal.commit(&outbox(&[("am@a", notice(2))]), 6).unwrap();
    let read = journal.snapshot().unwrap();
    let of = |receiver: &str| read.outbox(receiver, 9).unwrap();
    assert!(of("am").is_empty());
    assert_eq!(of("hook").len(), 1);
    let numbers = |rows: &[(u64, OutboxRow)]| rows.iter().map(|(_, row)| row.notice.number).collect::<Vec<_>>();
    assert_eq!((numbers(&of("am@a")), numbers(&of("am@b"))), (vec![0, 1, 2], vec![0, 1]));
    assert!(of("am@a")[..2].iter().all(|(_, row)| row.written_ns == 5));
    assert_eq!((journal.outbox_size("am").messages, journal.outbox_size("am@b").messages), (0, 2));
    let all = read.messages(("", 0), 99).unwrap();
    assert_eq!(all.len(), 6);
    let (receiver, sequence, _) = &all[2];
    assert_eq!(read.messages((receiver, *sequence), 99).unwrap()[..], all[3..], "in parts");
}

#[test]
fn lines_that_are_gone_keep_nothing_and_new_ones_take_over() {
    let (_dir, journal) = journal();
    put(&journal, "am@old", &[row(1, None)]);
    put(&journal, "gone@x", &[row(2, None)]);
    journal.commit(&outbox(&[("am@old", notice(0)), ("am@old", notice(1))]), 5).unwrap();
    let first = journal.snapshot().unwrap().outbox("am@old", 9).unwrap();
    let dead = OutboxRow { dead: Some("status 400".into()), ..first[0].1.clone() };
    journal.mark_sent("am@old", &[(first[0].0, Some(dead))], &Batch::default(), 6).unwrap();
    let lines = BTreeMap::from([("am".to_owned(), vec!["am@new".to_owned()])]);
    for _ in 0..2 {
        journal.keep_lines(&lines).unwrap();
        assert_eq!((alerts(&journal, "am@old"), alerts(&journal, "am@new")), (vec![], vec![1]));
        assert!(alerts(&journal, "gone@x").is_empty());
        let read = journal.snapshot().unwrap();
        let numbers = |line: &str| -> Vec<u32> {
            read.outbox(line, 9).unwrap().iter().map(|(_, row)| row.notice.number).collect()
        };
        assert_eq!((numbers("am@old"), numbers("am@new")), (vec![0], vec![1]), "dead letters stay");
        assert_eq!(journal.outbox_size("am@old").dead, 1);
    }
}

fn lines(of: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    of.iter().map(|(name, lines)| ((*name).to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())).collect()
}

/// Numbers of what waits for `line`.
fn waiting(journal: &Journal, line: &str) -> Vec<u32> {
    let rows = journal.snapshot().unwrap().waiting(line, 0, 99).unwrap();
    rows.into_iter().map(|(_, row)| row.notice.number).collect()
}

#[test]
fn a_new_line_begins_with_what_its_best_neighbour_was_told_and_with_what_waits_for_it() {
    let (_dir, journal) = journal();
    journal.keep_lines(&lines(&[("am", &["am@a", "am@b"])])).unwrap();
    put(&journal, "am@a", &[row(1, None)]);
    put(&journal, "am@b", &[row(1, None), row(2, None)]);
    journal.commit(&outbox(&[("am@a", notice(1)), ("am@a", notice(2)), ("am@b", notice(2))]), 5).unwrap();
    let of = journal.snapshot().unwrap().waiting("am@b", 0, 9).unwrap();
    let tried: Vec<_> =
        of.into_iter().map(|(n, row)| (n, Some(OutboxRow { attempts: 3, next_try_ns: 9, ..row }))).collect();
    journal.mark_sent("am@b", &tried, &Batch::default(), 6).unwrap();
    for _ in 0..2 {
        journal.keep_lines(&lines(&[("am", &["am@a", "am@b", "am@c"])])).unwrap();
        assert_eq!((alerts(&journal, "am@c"), waiting(&journal, "am@c")), (vec![1, 2], vec![2]));
        assert_eq!((waiting(&journal, "am@a"), waiting(&journal, "am@b")), (vec![1, 2], vec![2]));
    }
    let fresh = journal.snapshot().unwrap().waiting("am@c", 0, 9).unwrap().remove(0).1;
    assert_eq!((fresh.attempts, fresh.next_try_ns, fresh.written_ns), (0, 0, 5), "nobody tried it yet");
    assert_eq!((journal.outbox_size("am@c").messages, journal.outbox_size("am@c").resends), (1, 2));
}

#[test]
fn a_known_line_without_rows_is_not_new() {
    let (_dir, journal) = journal();
    let both = lines(&[("am", &["am@a", "am@b"])]);
    journal.keep_lines(&both).unwrap();
    put(&journal, "am@a", &[row(1, None)]);
    journal.commit(&outbox(&[("am@a", notice(1))]), 5).unwrap();
    journal.keep_lines(&both).unwrap();
    assert_eq!((alerts(&journal, "am@b"), waiting(&journal, "am@b")), (vec![], vec![]), "it was told the end already");
}

#[test]
fn names_that_begin_alike_do_not_take_from_each_other() {
    let (_dir, journal) = journal();
    let all = lines(&[("am", &["am@a"]), ("am-2", &["am-2@a"]), ("am.x", &["am.x"])]);
    journal.keep_lines(&all).unwrap();
    for line in ["am@a", "am-2@a"] {
        put(&journal, line, &[row(1, None)]);
    }
    journal
        .commit(&outbox(&[("am@a", notice(1)), ("am-2@a", notice(2)), ("am.x", notice(3)), ("am", notice(4))]), 5)
        .unwrap();
    journal.keep_lines(&lines(&[("am", &["am@b"]), ("am-2", &["am-2@a"]), ("am.x", &["am.x"])])).unwrap();
    assert_eq!((alerts(&journal, "am-2@a"), waiting(&journal, "am-2@a")), (vec![1], vec![2]));
    assert_eq!(
        (waiting(&journal, "am.x"), waiting(&journal, "am")),
        (vec![3], vec![4]),
        "what is to be handed on stays"
    );
    assert_eq!(
        (alerts(&journal, "am@b"), waiting(&journal, "am@b"), waiting(&journal, "am@a")),
        (vec![1], vec![1], vec![])
    );
}

#[test]
fn what_waits_for_a_receiver_that_is_gone_is_given_up_and_does_not_come_back_with_its_name() {
    let (_dir, journal) = journal();
    let all = lines(&[("hook", &["hook"]), ("am", &["am@a"]), ("other", &["other"])]);
    assert_eq!(journal.keep_lines(&all).unwrap(), 0);
    journal.commit(&opening(60), 5).unwrap();
    journal.commit(&outbox(&[("am@a", notice(0)), ("am", notice(1))]), 5).unwrap();
    put(&journal, "am@a", &[row(1, None)]);
    assert_eq!(journal.keep_lines(&lines(&[("other", &["other"])])).unwrap(), 3);
    for (queue, name) in [("hook", "hook"), ("am@a", "am"), ("am", "am")] {
        let rows = journal.snapshot().unwrap().outbox(queue, 9).unwrap();
        let why = format!("receiver {name} is not configured any more");
        assert_eq!((rows.len(), rows[0].1.dead.as_deref()), (1, Some(why.as_str())));
        assert_eq!(journal.revive(rows[0].0, 300).unwrap(), Revived::Gone(name.to_owned()));
        assert_eq!(journal.outbox_size(queue).dead, 1);
    }
    assert!(alerts(&journal, "am@a").is_empty());
    assert_eq!(waiting(&journal, "other"), [0]);
    assert_eq!(journal.keep_lines(&all).unwrap(), 0);
    assert_eq!((waiting(&journal, "hook"), waiting(&journal, "am@a")), (vec![], vec![]), "it stays given up");
    let dead = journal.snapshot().unwrap().outbox("hook", 9).unwrap()[0].0;
    assert!(matches!(journal.revive(dead, 300).unwrap(), Revived::Again(_)), "people may ask for it");
    journal.prune(KEPT_NS + 6).unwrap();
    assert!(journal.snapshot().unwrap().outbox("am@a", 9).unwrap().is_empty());
}

#[test]
fn what_waits_for_a_receiver_that_changed_its_kind_goes_on_once_and_in_order() {
    let (_dir, journal) = journal();
    journal.keep_lines(&lines(&[("r", &["r@a", "r@b"])])).unwrap();
    put(&journal, "r@a", &[row(1, None)]);
    // One has the first already, the other got its messages later.
    journal
        .commit(&outbox(&[("r@a", notice(1)), ("r@a", notice(2)), ("r@b", notice(0)), ("r@b", notice(1))]), 5)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(journal.keep_lines(&lines(&[("r", &["r"])])).unwrap(), 0);
        assert_eq!(waiting(&journal, "r"), [0, 1, 2]);
        assert_eq!(
            (waiting(&journal, "r@a"), waiting(&journal, "r@b"), alerts(&journal, "r@a")),
            (vec![], vec![], vec![])
        );
    }
    assert_eq!((journal.outbox_size("r").messages, journal.outbox_size("r@a")), (3, Size::default()));
    // And back: what waits is handed on.
    journal.keep_lines(&lines(&[("r", &["r@a"])])).unwrap();
    assert!(journal.hand_on("r", &["r@a".to_owned()]).unwrap());
    assert_eq!(waiting(&journal, "r@a"), [0, 1, 2]);
}

#[test]
fn what_fires_is_not_forgotten_only_to_make_room_for_more() {
    let journal = Medium::default().limited(300, u64::MAX);
    let many: Vec<_> = (0..200).map(|alert| row(alert, (alert < 2).then_some(9))).collect();
    put(&journal, "am@a", &many);
    let messages: Vec<_> = (0..149).map(|number| ("am@a", notice(number))).collect();
    journal.commit(&outbox(&messages), 2).unwrap();
    // What fires counts for half of the room: one is too many, and with it three more would go.
    assert_eq!(journal.outbox_size("am@a").resends, 198, "both ends went, and nothing that fires");
    assert!(alerts(&journal, "am@a").iter().all(|alert| *alert >= 2));
}

#[test]
fn the_end_of_what_fires_again_in_its_episode_stays_dead() {
    let (_dir, journal) = journal();
    let mut silent = opening(60);
    silent.keys.values_mut().flatten().for_each(|row| row.told = None);
    silent.outbox = vec![("hook".to_owned(), Notice { status: Status::Resolved, ends_at_ns: Some(90), ..notice(1) })];
    journal.commit(&silent, 100).unwrap();
    let end = give_up(&journal);
    let Revived::Again(_) = journal.revive(end, 200).unwrap() else { panic!("the gate is silent") };
    let end = give_up(&journal);
    let mut again = opening(60);
    again.outbox.clear();
    journal.commit(&again, 300).unwrap();
    assert_eq!(journal.revive(end, 400).unwrap(), Revived::Overtaken);
}

/// Gives up the first message of `hook` that waits; its number.
fn give_up(journal: &Journal) -> u64 {
    let (sequence, row) = journal.snapshot().unwrap().waiting("hook", 0, 1).unwrap().remove(0);
    let row = OutboxRow { dead: Some("status 400".into()), attempts: 4, ..row };
    journal.mark_sent("hook", &[(sequence, Some(row))], &Batch::default(), 200).unwrap();
    sequence
}

#[test]
fn a_dead_letter_comes_back_under_a_new_number_behind_all_others() {
    let (_dir, journal) = journal();
    journal.commit(&opening(60), 100).unwrap();
    let changes = journal.outbox_changes();
    let dead = give_up(&journal);
    assert_eq!(journal.revive(dead + 1_000, 300).unwrap(), Revived::Unknown);
    let Revived::Again(again) = journal.revive(dead, 300).unwrap() else { panic!() };
    let rows = journal.snapshot().unwrap().waiting("hook", dead, 9).unwrap();
    let expected = OutboxRow { notice: notice(0), written_ns: 300, attempts: 0, next_try_ns: 0, dead: None };
    assert_eq!(rows, [(again, expected)]);
    assert!(changes.has_changed().unwrap());
    assert_eq!(journal.revive(again, 301).unwrap(), Revived::Waiting);
    assert_eq!(journal.revive(dead, 301).unwrap(), Revived::Unknown);
    assert_eq!((journal.outbox_size("hook").messages, journal.outbox_size("hook").dead), (1, 0));
}

#[test]
fn what_a_later_transition_has_overtaken_stays_dead() {
    let (_dir, journal) = journal();
    journal.commit(&opening(60), 100).unwrap();
    let fired = give_up(&journal);
    let end = Notice { status: Status::Resolved, ends_at_ns: Some(90), ..notice(1) };
    let close =
        |episode| Batch { episodes: vec![(ALERT, episode, EpisodeEdit::Close(90, Cause::Passed))], ..Batch::default() };
    let mut ended = close(1);
    ended.outbox.push(("hook".to_owned(), end));
    journal.commit(&ended, 110).unwrap();
    let resolved = give_up(&journal);
    assert_eq!(journal.revive(fired, 300).unwrap(), Revived::Overtaken, "it does not fire any more");
    let Revived::Again(resolved) = journal.revive(resolved, 300).unwrap() else { panic!("its end is the latest") };
    assert_eq!(give_up(&journal), resolved);
    let mut next = opening(120);
    next.episodes[0].1 = 2;
    next.outbox.clear();
    journal.commit(&next, 120).unwrap();
    assert_eq!(journal.revive(resolved, 300).unwrap(), Revived::Overtaken, "it fires again");
}

#[test]
fn a_health_alert_comes_back_only_while_it_is_as_it_says() {
    let (_dir, journal) = journal();
    let health = Notice { health: true, ..notice(0) };
    let row = |told: Option<Told>| HealthRow {
        kind: HealthKind::GateError,
        about: "g".into(),
        key: BTreeMap::new(),
        episode: 1,
        told,
    };
    let told = Some(Told { receivers: vec!["hook".into()], notice: health.clone() });
    let mut batch = outbox(&[("hook", health)]);
    batch.health.insert(ALERT, row(told));
    journal.commit(&batch, 100).unwrap();
    let Revived::Again(_) = journal.revive(give_up(&journal), 300).unwrap() else { panic!() };
    journal.commit(&Batch { health: [(ALERT, row(None))].into(), ..Batch::default() }, 100).unwrap();
    assert_eq!(journal.revive(give_up(&journal), 300).unwrap(), Revived::Overtaken);
}

#[test]
fn a_health_alert_is_told_again_with_what_it_says_now() {
    let (_dir, journal) = journal();
    let sent = ResendRow { notice: Notice { health: true, ..notice(0) }, starts_at_ns: 1, until_ns: None };
    put(&journal, "am@a", std::slice::from_ref(&sent));
    let write = |notice: &Notice| {
        let told = Told { receivers: vec!["am".into()], notice: notice.clone() };
        let (kind, key, episode) = (HealthKind::GateOverflow, BTreeMap::new(), notice.episode);
        let row = HealthRow { kind, about: "g".into(), key, episode, told: Some(told) };
        journal.commit(&Batch { health: [(ALERT, row)].into(), ..Batch::default() }, 100).unwrap();
    };
    let again = || journal.snapshot().unwrap().resends("am@a", None, 9).unwrap().remove(0).1;
    let mut now = sent.notice.clone();
    now.annotations.insert("summary".into(), "5 keys".into());
    write(&now);
    assert_eq!(again(), ResendRow { notice: now.clone(), ..sent.clone() });
    write(&Notice { episode: now.episode + 1, ..now });
    assert_eq!(again(), sent, "another episode says nothing of this one");
}
