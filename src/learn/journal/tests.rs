//! Claims about the file: order, repetition, death at any moment, damage, bounds.

use std::collections::BTreeMap;

use redb::backends::InMemoryBackend;

use super::*;
use crate::gate::journal::faulty::Medium;
use crate::learn::feedback::{EpisodeEnd, EpisodeFacts, Outcome, RunEnd, Verdict};
use crate::learn::patterns::fold::{Row, Seen, Selected, Thresholds, Tick, select};
use crate::learn::sources::{CodegenMode, EngineEvent, EngineFact, Wanted};

const S: i64 = 1_000_000_000;
/// Of the gate.
const WINDOW: i64 = 10 * S;

fn on(medium: &Medium) -> Result<Journal, Error> {
    Journal::over(medium.database()?, LIMITS, &Clock::manual(1, 1))
}

fn in_memory(limits: Limits) -> Journal {
    let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    Journal::over(db, limits, &Clock::manual(1, 1)).unwrap()
}

/// A commit of the gates' journal about the one episode of these tests.
#[derive(Clone, Copy, Debug)]
struct Gates {
    /// Last closed tick, in seconds.
    tick_s: i64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Fired(f64),
    /// A verdict at this tick.
    Verdict(bool, f64),
    /// The episode ends, at this second.
    Ended(i64, bool),
    Tick,
}

fn look<'a>(gates: &'a [Gates]) -> impl Fn(&[Wanted]) -> Result<Vec<EpisodeFacts>, String> + 'a {
    move |wanted| {
        let facts = |of: &Wanted| {
            let mut facts = EpisodeFacts::default();
            for commit in gates {
                facts.known_until_ns = commit.tick_s * S;
                match commit.what {
                    What::Fired(value) => facts.value_before = Some(Some(value)),
                    What::Ended(t_s, is_passed) => facts.ended = Some(EpisodeEnd { t_ns: t_s * S, is_passed }),
                    What::Verdict(is_pass, value) => {
                        let t_ns = commit.tick_s * S;
                        if facts.verdict.is_none() && of.run_ended_ns.is_some_and(|end| t_ns >= end + WINDOW) {
                            facts.verdict = Some(Verdict { t_ns, is_pass, value: Some(value) });
                        }
                    }
                    What::Tick => {}
                }
            }
            facts
        };
        Ok(wanted.iter().map(facts).collect())
    }
}

fn start(run: i64) -> EngineFact {
    let (gate, key, pipeline) = ("g".to_owned(), "service_name=cart".to_owned(), "repair".to_owned());
    EngineFact::RunStarted { run, gate, key, episode: 3, pipeline }
}

fn code(run: i64, effect: &str, variant: &str, mode: CodegenMode) -> EngineFact {
    let (effect_key, target, variant) = (effect.to_owned(), "go".to_owned(), variant.to_owned());
    EngineFact::Generated { run, effect_key, target, variant, mode }
}

fn judged(run: i64, value: f64) -> EngineFact {
    EngineFact::Judged { run, value: Some(value) }
}

fn end(run: i64, how: RunEnd) -> EngineFact {
    EngineFact::RunEnded { run, how }
}

/// `(second, fact)` of each event.
fn events(of: Vec<(i64, EngineFact)>) -> Vec<EngineEvent> {
    let event =
        |(at, (at_s, fact)): (usize, (i64, EngineFact))| EngineEvent { sequence: at as u64 + 1, at_ns: at_s * S, fact };
    of.into_iter().enumerate().map(event).collect()
}

fn gates(of: &[(i64, What)]) -> Vec<Gates> {
    of.iter().map(|(tick_s, what)| Gates { tick_s: *tick_s, what: *what }).collect()
}

/// Row as text: effect, variant, before, after, outcome, seconds.
type Told = (String, String, Option<f64>, Option<f64>, Option<&'static str>, Option<f64>);

fn told(journal: &Journal) -> Vec<Told> {
    let of = |(effect, row): Feedback| {
        let outcome = row.decision.outcome.map(Outcome::as_str);
        (effect, row.variant, row.value_before.flatten(), row.decision.value_after, outcome, row.decision.seconds)
    };
    journal.feedback().unwrap().into_iter().map(of).collect()
}

/// learn.md 4 as it is written, over all facts at once.
fn transcribed(events: &[EngineEvent], gates: &[Gates]) -> Vec<Told> {
    use CodegenMode::{Apply, Revert};
    let run_of = |fact: &EngineFact| match fact {
        EngineFact::RunStarted { run, .. }
        | EngineFact::Generated { run, .. }
        | EngineFact::Judged { run, .. }
        | EngineFact::RunEnded { run, .. } => *run,
        EngineFact::Other => 0,
    };
    let mut runs: Vec<i64> = Vec::new();
    for event in events {
        if let EngineFact::RunStarted { run, .. } = event.fact {
            runs.push(run);
        }
    }
    runs.sort_unstable();
    let before = gates.iter().find_map(|of| if let What::Fired(value) = of.what { Some(value) } else { None });
    let ended =
        gates.iter().find_map(|of| if let What::Ended(t, passed) = of.what { Some((t * S, passed)) } else { None });
    let mut rows = Vec::new();
    for run in runs {
        let own: Vec<&EngineEvent> = events.iter().filter(|event| run_of(&event.fact) == run).collect();
        // First activations, without reverts, retries and the installing of the newest.
        let mut tries: Vec<(i64, String, String)> = Vec::new();
        for event in &own {
            if let EngineFact::Generated { effect_key, variant, mode, .. } = &event.fact {
                let installs = *mode == Apply && tries.last().is_some_and(|(_, _, newest)| newest == variant);
                let is_retry = tries.iter().any(|(_, effect, _)| effect == effect_key);
                if *mode != Revert && !installs && !is_retry {
                    tries.push((event.at_ns, effect_key.clone(), variant.clone()));
                }
            }
        }
        let over = own.iter().find_map(|event| match event.fact {
            EngineFact::RunEnded { how, .. } => Some((event.at_ns, how)),
            _ => None,
        });
        for (at, (at_ns, effect, variant)) in tries.iter().enumerate() {
            let next = tries.get(at + 1).map(|(next_ns, ..)| *next_ns);
            let within = |event: &&&EngineEvent| event.at_ns >= *at_ns && next.is_none_or(|next| event.at_ns < next);
            let sandbox = own.iter().filter(within).rev().find_map(|event| match event.fact {
                EngineFact::Judged { value, .. } => Some(value),
                _ => None,
            });
            let sandbox = sandbox.flatten();
            let verdict = over.and_then(|(over_ns, _)| {
                gates.iter().find_map(|of| match of.what {
                    What::Verdict(passes, value) if of.tick_s * S >= over_ns + WINDOW => {
                        Some((of.tick_s * S, passes, value))
                    }
                    _ => None,
                })
            });
            let verdict = verdict.filter(|(t, ..)| ended.is_none_or(|(end, _)| *t <= end));
            let after = verdict.map(|(_, _, value)| value).or(sandbox);
            let (outcome, decided, value) = if let Some(next) = next {
                (Some("not_better"), Some(next), sandbox)
            } else if let Some((over_ns, how)) = over {
                let fails = verdict.filter(|(t, passes, _)| !passes && ended.is_none_or(|(end, _)| *t < end));
                match (how, fails, ended) {
                    (RunEnd::Failed | RunEnd::Cancelled, ..) => (Some("gave_up"), Some(over_ns), sandbox),
                    (_, Some((t, ..)), _) => (Some("not_better"), Some(t), after),
                    (_, None, Some((end, true))) => (Some("recovered"), Some(end.max(over_ns)), after),
                    (_, None, Some((end, false))) => (Some("void"), Some(end), after),
                    (_, None, None) => (None, None, after),
                }
            } else {
                (None, None, sandbox)
            };
            #[allow(clippy::cast_precision_loss, reason = "seconds of a test")]
            let seconds = decided.map(|decided| (decided - at_ns) as f64 / 1e9);
            rows.push((effect.clone(), variant.clone(), before, value, outcome, seconds));
        }
    }
    rows
}

type Scenario = (&'static str, Vec<EngineEvent>, Vec<Gates>);

fn scenarios() -> Vec<Scenario> {
    use CodegenMode::{Apply, Revert, Stage};
    use RunEnd::{Cancelled, Completed, Failed};
    use What::{Ended, Fired, Tick, Verdict};
    let one_try = |how| {
        let of = vec![(10, start(1)), (11, code(1, "e1", "a", Stage)), (13, judged(1, 0.7)), (15, end(1, how))];
        events(of)
    };
    let fired = (5, Fired(0.2));
    vec![
        ("recovered", one_try(Completed), gates(&[fired, (25, Verdict(true, 0.9)), (30, Ended(30, true))])),
        ("not better", one_try(Completed), gates(&[fired, (25, Verdict(false, 0.3)), (40, Ended(40, true))])),
        ("passes, then open", one_try(Completed), gates(&[fired, (24, Verdict(false, 0.1)), (25, Verdict(true, 0.9))])),
        (
            "resolved before the run's end",
            one_try(Completed),
            gates(&[fired, (14, Ended(14, true)), (25, Verdict(false, 0.1))]),
        ),
        ("stale", one_try(Completed), gates(&[fired, (20, Ended(20, false)), (26, Verdict(false, 0.1))])),
        (
            "closed by hand ahead of a tick",
            one_try(Completed),
            gates(&[fired, (24, Ended(28, false)), (26, Verdict(false, 0.1)), (30, Tick)]),
        ),
        ("failed", one_try(Failed), gates(&[fired, (25, Verdict(false, 0.3)), (40, Ended(40, true))])),
        ("cancelled", one_try(Cancelled), gates(&[fired, (40, Ended(40, true))])),
        (
            "retry, revert, two tries, then install",
            events(vec![
                (10, start(1)),
                (11, code(1, "e1", "a", Stage)),
                (12, code(1, "e1", "a", Stage)),
                (13, judged(1, 0.4)),
                (14, code(1, "e2", "b", Stage)),
                (15, judged(1, 0.95)),
                (16, code(1, "e3", "b", Apply)),
                (17, code(1, "e4", "b", Revert)),
                (18, end(1, Completed)),
            ]),
            gates(&[fired, (28, Verdict(true, 0.96)), (30, Ended(30, true))]),
        ),
        (
            "two runs of one episode, one without a try",
            events(vec![
                (10, start(1)),
                (11, start(2)),
                (12, code(2, "e5", "c", Apply)),
                (13, EngineFact::Other),
                (14, end(1, Completed)),
                (15, end(2, Completed)),
            ]),
            gates(&[fired, (26, Verdict(false, 0.3))]),
        ),
        (
            "not over",
            events(vec![(10, start(1)), (11, code(1, "e1", "a", Stage)), (12, judged(1, 0.5))]),
            gates(&[fired, (20, Ended(20, true))]),
        ),
    ]
}

/// Takes the next of engine (`false`) or gates (`true`).
fn step(
    journal: &Journal,
    events: &[EngineEvent],
    all: &[Gates],
    taken: &mut (usize, usize),
    gate: bool,
) -> Result<(), Error> {
    if gate {
        journal.take_gates(taken.1 as u64 + 1, &look(&all[..=taken.1]))?;
        taken.1 += 1;
    } else {
        journal.take_engine(&events[taken.0..=taken.0], &look(&all[..taken.1]))?;
        taken.0 += 1;
    }
    Ok(())
}

/// Every order in which `n` of one and `m` of the other can come.
fn interleavings(n: usize, m: usize) -> Vec<Vec<bool>> {
    if n == 0 || m == 0 {
        return vec![[vec![false; n], vec![true; m]].concat()];
    }
    let with = |first: bool, rest: Vec<Vec<bool>>| rest.into_iter().map(move |tail| [vec![first], tail].concat());
    with(false, interleavings(n - 1, m)).chain(with(true, interleavings(n, m - 1))).collect()
}

#[test]
fn rows_are_the_same_for_every_interleaving_of_the_two_journals() {
    for (name, events, all) in scenarios() {
        let wanted = transcribed(&events, &all);
        for order in interleavings(events.len(), all.len()) {
            let journal = in_memory(LIMITS);
            let mut taken = (0, 0);
            let mut closed: BTreeMap<String, Told> = BTreeMap::new();
            for gate in &order {
                step(&journal, &events, &all, &mut taken, *gate).unwrap();
                for row in told(&journal).into_iter().filter(|row| row.4.is_some()) {
                    let known = closed.entry(row.0.clone()).or_insert_with(|| row.clone());
                    // Only the value at the firing may become known later.
                    assert_eq!((&known.3, known.4, known.5), (&row.3, row.4, row.5), "{name}: a row closes once");
                }
            }
            assert_eq!(told(&journal), wanted, "{name}: {order:?}");
        }
    }
}

#[test]
fn repeating_anything_changes_nothing() {
    for (name, events, all) in scenarios() {
        let journal = in_memory(LIMITS);
        for at in 0..events.len() {
            journal.take_engine(&events[..=at], &look(&all)).unwrap();
            journal.take_engine(&events[..=at], &look(&all)).unwrap();
            journal.take_gates(all.len() as u64, &look(&all)).unwrap();
        }
        assert_eq!(told(&journal), transcribed(&events, &all), "{name}");
        assert_eq!(journal.cursors().unwrap(), Cursors { engine: events.len() as u64, gates: all.len() as u64 });
    }
}

#[test]
fn what_is_decided_is_no_longer_watched() {
    for (name, events, all) in scenarios() {
        let journal = in_memory(LIMITS);
        journal.take_engine(&events, &look(&all)).unwrap();
        let is_open = told(&journal).iter().any(|row| row.4.is_none());
        use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
        let tx = journal.db.begin_read().unwrap();
        let kept = (tx.open_table(WATCH).unwrap().len().unwrap(), tx.open_table(RUN).unwrap().len().unwrap());
        assert_eq!(kept == (0, 0), !is_open, "{name}: {kept:?}");
    }
}

#[test]
fn killed_at_any_change_of_the_file_the_rows_are_those_of_an_undisturbed_run() {
    let (_, events, all) = scenarios().swap_remove(8);
    let order: Vec<bool> = [vec![true], vec![false; events.len()], vec![true; all.len() - 1]].concat();
    let wanted = transcribed(&events, &all);
    let ticks: Vec<TickDone> = (1..4).map(|t| done("p", [1; 32], t * 60, &["a", "b"])).collect();
    let work = |journal: &Journal, taken: &mut (usize, usize)| -> Result<(), Error> {
        let at = taken.0 + taken.1;
        for gate in &order[at..] {
            step(journal, &events, &all, taken, *gate)?;
        }
        for tick in &ticks {
            journal.commit_ticks(std::slice::from_ref(tick))?;
        }
        Ok(())
    };
    let whole = Medium::default();
    let journal = on(&whole).unwrap();
    work(&journal, &mut (0, 0)).unwrap();
    let (patterns, runs) = (journal.pattern_rows().unwrap(), journal.pattern_runs().unwrap());
    drop(journal);
    let changes = whole.changes();
    assert!(changes > 50, "{changes}");
    let stride = usize::try_from(changes / 150).unwrap().max(1);
    for dies_at in (1..changes).step_by(stride) {
        for power_cut in [false, true] {
            let medium = Medium::default();
            medium.die_at(dies_at);
            let mut taken = (0, 0);
            if let Ok(journal) = on(&medium) {
                let _ = work(&journal, &mut taken);
            }
            medium.revive(power_cut);
            // Killed while the file was made, it is no file yet: `open` moves it away and begins another.
            let journal = match on(&medium) {
                Ok(journal) => journal,
                Err(error) => {
                    assert!(error.is_damage() && taken == (0, 0), "{dies_at} {power_cut}: {error}");
                    on(&Medium::default()).unwrap()
                }
            };
            // The sources begin again behind the cursor; what was already taken in is offered once more.
            let from = usize::try_from(journal.cursors().unwrap().engine).unwrap();
            assert!(from >= taken.0, "what was said to be taken in is there");
            let mut again = (from.saturating_sub(2), 0);
            while again.1 < 1 {
                step(&journal, &events, &all, &mut again, true).unwrap();
            }
            while again.0 < events.len() {
                step(&journal, &events, &all, &mut again, false).unwrap();
            }
            while again.1 < all.len() {
                step(&journal, &events, &all, &mut again, true).unwrap();
            }
            for tick in &ticks {
                journal.commit_ticks(std::slice::from_ref(tick)).unwrap();
            }
            assert_eq!(told(&journal), wanted, "{dies_at} {power_cut}");
            assert_eq!(journal.pattern_rows().unwrap(), patterns, "{dies_at} {power_cut}");
            assert_eq!(journal.pattern_runs().unwrap(), runs, "{dies_at} {power_cut}");
        }
    }
}

#[test]
fn over_the_bound_the_oldest_closed_tries_go_and_open_ones_never() {
    let journal = in_memory(Limits { tries: 3, ..LIMITS });
    let mut of = Vec::new();
    for run in 1..=6 {
        of.push((run * 10, start(run)));
        of.push((run * 10 + 1, code(run, &format!("e{run}"), "a", CodegenMode::Stage)));
        if run != 2 {
            of.push((run * 10 + 2, end(run, RunEnd::Failed)));
        }
    }
    for event in events(of) {
        journal.take_engine(&[event], &look(&gates(&[(5, What::Fired(0.1))]))).unwrap();
    }
    let left: Vec<String> = told(&journal).into_iter().map(|row| row.0).collect();
    assert_eq!(left, ["e2", "e5", "e6"]);
}

#[test]
fn an_episode_that_the_gates_have_lost_is_not_waited_for() {
    let journal = in_memory(LIMITS);
    let of = vec![(10, start(1)), (11, code(1, "e1", "a", CodegenMode::Stage)), (15, end(1, RunEnd::Failed))];
    journal.take_engine(&events(of), &look(&gates(&[(10, What::Tick)]))).unwrap();
    use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
    let watched = || journal.db.begin_read().unwrap().open_table(WATCH).unwrap().len().unwrap();
    assert_eq!(watched(), 1, "the firing may still come");
    journal.take_gates(1, &look(&gates(&[(11, What::Tick)]))).unwrap();
    assert_eq!(watched(), 0);
    assert_eq!(told(&journal)[0].2, None);
}

#[test]
fn a_source_that_fails_leaves_the_file_as_it_was() {
    let journal = in_memory(LIMITS);
    let (_, events, _) = scenarios().swap_remove(0);
    let fails = |_: &[Wanted]| Err("down".to_owned());
    assert!(matches!(journal.take_engine(&events, &fails), Err(Error::Source(_))));
    assert_eq!((journal.cursors().unwrap(), told(&journal)), (Cursors::default(), vec![]));
}

fn done(pattern: &str, statement: [u8; 32], t_s: i64, keys: &[&str]) -> TickDone {
    let seen = |key: &str| Seen {
        labels: BTreeMap::from([("k".to_owned(), key.to_owned())]),
        support: 7,
        n: 9,
        rest: None,
        trace_ids: vec![],
        evidence: "{}".to_owned(),
    };
    let rows = keys.iter().map(|key| ((*key).to_owned(), seen(key))).collect();
    TickDone {
        pattern: pattern.to_owned(),
        statement,
        tick: Tick { t_ns: t_s * S, window_start_ns: (t_s - 60) * S, cut_us: t_s, expire_ns: 600 * S },
        run: RunRow {
            cut_us: Some(t_s),
            window_ns: ((t_s - 60) * S, t_s * S),
            state: RunState::Done,
            missed_from_ns: None,
            rows: 0,
            below: 0,
            over_limit: 0,
            evicted: 0,
            elapsed_ns: 1,
            error: None,
        },
        selected: Some(select(rows, Thresholds { min_support: 1, min_effect: None, limit: 100 })),
    }
}

fn keys(journal: &Journal) -> Vec<String> {
    let of = |(pattern, row): (String, Row)| format!("{pattern}/{}@{}", row.key, row.last_seen_ns / S);
    journal.pattern_rows().unwrap().into_iter().map(of).collect()
}

#[test]
fn a_tick_at_or_below_the_last_committed_one_is_refused() {
    let journal = in_memory(LIMITS);
    journal.commit_ticks(&[done("p", [1; 32], 60, &["a"])]).unwrap();
    journal.commit_ticks(&[done("p", [1; 32], 60, &["b"]), done("p", [1; 32], 30, &["c"])]).unwrap();
    assert_eq!(keys(&journal), ["p/a@60"]);
    assert_eq!(journal.pattern_runs().unwrap().len(), 1);
}

#[test]
fn another_question_removes_the_rows_at_its_first_good_tick() {
    let journal = in_memory(LIMITS);
    journal.commit_ticks(&[done("p", [1; 32], 60, &["a"])]).unwrap();
    let mut fails = done("p", [2; 32], 120, &[]);
    fails.selected = None;
    fails.run.state = RunState::Error;
    journal.commit_ticks(&[fails]).unwrap();
    assert_eq!(keys(&journal), ["p/a@60"]);
    assert_eq!(journal.clocks().unwrap()["p"].generation, 1);
    journal.commit_ticks(&[done("p", [2; 32], 180, &["b"])]).unwrap();
    assert_eq!(keys(&journal), ["p/b@180"]);
    assert_eq!(journal.clocks().unwrap()["p"].generation, 2);
}

#[test]
fn over_all_patterns_the_oldest_row_goes_then_the_last_key() {
    let journal = in_memory(Limits { patterns: 4, ..LIMITS });
    journal.commit_ticks(&[done("p", [1; 32], 60, &["a", "b"]), done("q", [1; 32], 60, &["c"])]).unwrap();
    let written = journal.commit_ticks(&[done("q", [1; 32], 120, &["d", "e", "f"])]).unwrap();
    assert_eq!(keys(&journal), ["p/a@60", "q/d@120", "q/e@120", "q/f@120"]);
    assert_eq!(written.evicted, BTreeMap::from([("p".to_owned(), 1), ("q".to_owned(), 1)]));
    let runs = journal.pattern_runs().unwrap();
    assert_eq!(runs.last().unwrap().2.evicted, 2);
}

#[test]
fn runs_are_kept_for_a_day_and_rows_of_a_file_that_is_gone_until_they_expire() {
    let journal = in_memory(LIMITS);
    journal.commit_ticks(&[done("p", [1; 32], 60, &["a"])]).unwrap();
    journal.commit_ticks(&[done("p", [1; 32], 86_400 + 61, &[])]).unwrap();
    assert_eq!(journal.pattern_runs().unwrap().len(), 1);
    journal.commit_ticks(&[done("q", [1; 32], 60, &["b"])]).unwrap();
    let loaded = ["p".to_owned()].into();
    assert_eq!(journal.expire_unloaded(&loaded, 659 * S).unwrap(), 0);
    assert_eq!(keys(&journal), ["q/b@60"]);
    assert_eq!(journal.expire_unloaded(&loaded, 660 * S).unwrap(), 1);
    assert_eq!(keys(&journal), Vec::<String>::new());
    assert!(!journal.clocks().unwrap().contains_key("q"));
}

#[test]
fn an_empty_selection_changes_no_row() {
    let journal = in_memory(LIMITS);
    journal.commit_ticks(&[done("p", [1; 32], 60, &["a"])]).unwrap();
    let before = journal.pattern_rows().unwrap();
    let empty = TickDone { selected: Some(Selected::default()), ..done("p", [1; 32], 120, &[]) };
    journal.commit_ticks(&[empty]).unwrap();
    assert_eq!(journal.pattern_rows().unwrap(), before);
}

#[test]
fn a_damaged_file_is_moved_away_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (path, quarantine) = (dir.path().join("learn.redb"), dir.path().join("quarantine"));
    let clock = Clock::manual(77, 1);
    {
        let opened = Journal::open(&path, &quarantine, &clock).unwrap();
        assert_eq!(opened.quarantined, None);
        opened.journal.commit_ticks(&[done("p", [1; 32], 60, &["a"])]).unwrap();
    }
    {
        let again = Journal::open(&path, &quarantine, &clock).unwrap().journal;
        assert_eq!(keys(&again), ["p/a@60"]);
        assert_eq!(again.lost_before_ns().unwrap(), None);
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[..512].fill(0xa5);
    bytes.truncate(half);
    std::fs::write(&path, &bytes).unwrap();
    let opened = Journal::open(&path, &quarantine, &clock).unwrap();
    let moved = opened.quarantined.unwrap();
    assert_eq!(std::fs::read(moved).unwrap(), bytes);
    assert_eq!(keys(&opened.journal), Vec::<String>::new());
    assert_eq!(opened.journal.lost_before_ns().unwrap(), Some(77));
}

#[test]
fn a_file_that_was_not_made_to_its_end_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, quarantine) = (dir.path().join("learn.redb"), dir.path().join("quarantine"));
    std::fs::write(dir.path().join("learn.redb.new"), b"half").unwrap();
    let opened = Journal::open(&path, &quarantine, &Clock::manual(77, 1)).unwrap();
    assert_eq!((opened.quarantined, keys(&opened.journal)), (None, vec![]));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (path, quarantine) = (dir.path().join("learn.redb"), dir.path().join("quarantine"));
    let clock = Clock::manual(77, 1);
    let opened = Journal::open(&path, &quarantine, &clock).unwrap();
    let tx = opened.journal.begin().unwrap();
    tx.open_table(META).unwrap().insert("format", encode(&9_u32).as_slice()).unwrap();
    tx.commit().unwrap();
    drop(opened);
    assert!(matches!(Journal::open(&path, &quarantine, &clock), Err(Error::Format(9))));
    assert!(path.exists() && !quarantine.exists());
}
