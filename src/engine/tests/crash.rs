//! The file stops at every write of a scenario: nothing is lost, nothing happens twice.

use std::collections::BTreeMap;

use bpmn::core::{Body, Event};

use super::faulty::{Cut, Disk, Passing};
use super::scenario::{Life, stimuli};
use crate::engine::store::Store;

/// What happened, without what a repeat may change: keys, times, attempts.
fn trace(events: &[Event]) -> Vec<String> {
    let mut ids = BTreeMap::new();
    let mut by_run: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for event in events {
        match &event.body {
            Body::ElementActivated { instance, element, id, .. } => {
                ids.insert(*element, id.clone());
                by_run.entry(*instance).or_default().push(format!("in {id}"));
            }
            Body::ElementCompleted { instance, element, .. } => {
                by_run.entry(*instance).or_default().push(format!("out {}", ids[element]));
            }
            Body::ElementTerminated { instance, element, .. } => {
                by_run.entry(*instance).or_default().push(format!("closed {}", ids[element]));
            }
            Body::FlowTaken { instance, flow, .. } => by_run.entry(*instance).or_default().push(flow.clone()),
            Body::InstanceCompleted { instance } => by_run.entry(*instance).or_default().push("completed".to_owned()),
            Body::InstanceFailed { instance, .. } => by_run.entry(*instance).or_default().push("failed".to_owned()),
            _ => {}
        }
    }
    by_run.into_values().map(|steps| steps.join(", ")).collect()
}

/// What a life left: its events, and every (effect key, input) that reached a worker.
type Left = (Vec<Event>, Vec<(String, String)>);

/// Runs the scenario. A stop in the middle is a crash: reopen, boot, repeat what has no answer.
///
/// The file is there already: `Store::open` makes it under another name first, which a disk without names cannot.
fn run(mut disk: Disk, stop: Option<(u64, Cut)>) -> Left {
    drop(Store::on(disk.clone()).unwrap());
    if let Some((at, cut)) = stop {
        disk.stop_at(at, cut);
    }
    let steps = stimuli();
    let mut inputs = Vec::new();
    let mut life: Option<Life> = None;
    let mut at = 0;
    while at < steps.len() {
        let (id, now_ms, step) = &steps[at];
        let result = match &mut life {
            None => Store::on(disk.clone()).and_then(|store| Life::open(store, *now_ms)).map(|opened| {
                life = Some(opened);
                false
            }),
            Some(life) => {
                life.now_ms = *now_ms;
                life.step(id, step).map(|()| true)
            }
        };
        match result {
            Ok(done) => at += usize::from(done),
            Err(error) => {
                let cut = stop.map(|(_, cut)| cut).filter(|_| disk.stopped());
                let cut = cut.unwrap_or_else(|| panic!("failed without a stop: {error}"));
                inputs.extend(life.take().map(|life| life.inputs).unwrap_or_default());
                disk = disk.after(cut);
            }
        }
    }
    let life = life.unwrap();
    inputs.extend(life.inputs.clone());
    (life.checked_events(), inputs)
}

/// Runs the scenario on a disk with an error that passes. The life goes on: it opens the file again and repeats what has no
/// answer.
fn live_on(at: u64, how: Passing) -> (bool, Vec<Event>) {
    let disk = Disk::new();
    let store = Store::by(disk.opener()).unwrap();
    let steps = stimuli();
    let mut life = Life::open(store, steps[0].1).unwrap();
    disk.fail_at(at, how);
    let (mut at, mut failed) = (0, false);
    while at < steps.len() {
        let (id, now_ms, step) = &steps[at];
        life.now_ms = *now_ms;
        match life.step(id, step) {
            Ok(()) => at += 1,
            Err(_) => {
                assert!(!failed, "one error fails one commit");
                failed = true;
                life.reopen().unwrap();
            }
        }
    }
    (failed, life.checked_events())
}

#[test]
fn an_error_that_passes_loses_and_repeats_nothing_also_when_its_commit_is_there() {
    let (_, undisturbed) = live_on(u64::MAX / 2, Passing::Done);
    for how in [Passing::Done, Passing::Lost] {
        let mut failed = 0;
        for at in 1..120 {
            let (has_failed, events) = live_on(at, how);
            failed += u32::from(has_failed);
            assert_eq!(trace(&events), trace(&undisturbed), "{how:?} at {at}");
        }
        assert!(failed > 100, "{failed}");
    }
}

#[test]
fn a_stop_at_a_write_loses_and_repeats_nothing() {
    // strides without a common factor with the writes of a commit; the whole is below
    stop_at_every(5);
}

#[test]
#[ignore = "all of the writes: a minute"]
fn a_stop_at_any_write_loses_and_repeats_nothing() {
    stop_at_every(1);
}

fn stop_at_every(stride: usize) {
    let disk = Disk::new();
    let (events, _) = run(disk.clone(), None);
    let undisturbed = trace(&events);
    assert_eq!(undisturbed.len(), 3);
    assert!(
        undisturbed.iter().all(|run| run.ends_with("completed") && run.contains("closed hangs")),
        "{undisturbed:#?}"
    );
    let fresh = Disk::new();
    drop(Store::on(fresh.clone()).unwrap());
    let changes = disk.changes() - fresh.changes();
    assert!(changes > 100, "{changes}");
    for cut in [Cut::Clean, Cut::Torn, Cut::LostTail] {
        let stride = if cut == Cut::Clean || stride == 1 { stride } else { stride * 3 + 2 };
        for at in (1..=changes).step_by(stride) {
            let (events, inputs) = run(Disk::new(), Some((at, cut)));
            assert_eq!(trace(&events), undisturbed, "stop at {at}, {cut:?}");
            let mut by_key = BTreeMap::new();
            for (key, input) in inputs {
                let known = by_key.entry(key.clone()).or_insert_with(|| input.clone());
                assert_eq!(*known, input, "stop at {at}, {cut:?}: effect key {key} has two inputs");
            }
        }
    }
}
