//! Files of an earlier format, and answers that are kept.

use std::collections::BTreeSet;

use bpmn::core::{Body, Event, Trigger};

use super::*;
use crate::engine::history::RunState;

/// A run as format 1 wrote it.
#[derive(Serialize)]
struct OldRun {
    process: String,
    version: u32,
    hash: String,
    state: RunState,
    error_code: Option<String>,
    started_ms: i64,
    ended_ms: Option<i64>,
    message_key: Option<String>,
    trigger: Option<Trigger>,
    incidents: BTreeSet<u64>,
    generated_ms: Option<i64>,
}

/// An event as format 1 wrote it.
#[derive(Serialize)]
struct OldLogged {
    first: bool,
    seq: u64,
    at_ms: i64,
    actor: Option<String>,
    body: OldBody,
}

#[derive(Serialize)]
#[allow(dead_code, reason = "the number of a variant is its place")]
enum OldBody {
    Booted {
        boot_epoch: u64,
        engine_id: [u8; 16],
    },
    Deployed(()),
    InstanceCreated {
        instance: u64,
        process: String,
        version: u32,
        hash: String,
        start: Option<String>,
        message_key: Option<String>,
        trigger: Option<Trigger>,
    },
    InstanceCompleted {
        instance: u64,
    },
}

fn old<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![1]).unwrap()
}

fn trigger() -> Trigger {
    let (gate, key) = ("g".to_owned(), "service_name=a".to_owned());
    Trigger { gate, key, episode: 3, links: vec![("01".to_owned(), "02".to_owned())] }
}

/// Makes a file of format 1 with one run and three events.
fn write_old(path: &Path) {
    drop(Store::open(path).unwrap());
    let database = Database::open(path).unwrap();
    let write = database.begin_write().unwrap();
    {
        write.open_table(META).unwrap().insert("format", old(&1_u32).as_slice()).unwrap();
        let run = OldRun {
            process: "p".to_owned(),
            version: 2,
            hash: "h".to_owned(),
            state: RunState::Running,
            error_code: None,
            started_ms: 1_000,
            ended_ms: None,
            message_key: Some("g/service_name=a".to_owned()),
            trigger: Some(trigger()),
            incidents: BTreeSet::from([9]),
            generated_ms: Some(2_000),
        };
        write.open_table(RUNS).unwrap().insert(7, old(&run).as_slice()).unwrap();
        let created = OldBody::InstanceCreated {
            instance: 7,
            process: "p".to_owned(),
            version: 2,
            hash: "h".to_owned(),
            start: Some("s".to_owned()),
            message_key: Some("k".to_owned()),
            trigger: Some(trigger()),
        };
        let by_hand = OldBody::InstanceCreated {
            instance: 8,
            process: "p".to_owned(),
            version: 2,
            hash: "h".to_owned(),
            start: None,
            message_key: None,
            trigger: None,
        };
        let bodies = [created, by_hand, OldBody::InstanceCompleted { instance: 8 }];
        for (seq, body) in (1..).zip(bodies) {
            let logged = OldLogged { first: true, seq, at_ms: 1_000, actor: Some("gate".to_owned()), body };
            write.open_table(EVENTS).unwrap().insert(seq, old(&logged).as_slice()).unwrap();
        }
    }
    write.commit().unwrap();
}

#[test]
fn rows_written_before_runs_had_a_depth_read_as_depth_0_and_the_file_takes_the_new_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    write_old(&path);
    let store = Store::open(&path).unwrap();
    let run = store.run(7).unwrap().unwrap();
    assert_eq!((run.depth, run.generated_ms, run.trigger), (0, Some(2_000), Some(trigger())));
    assert_eq!((run.process.as_str(), run.version, run.incidents), ("p", 2, BTreeSet::from([9])));
    let bodies: Vec<Body> = store.events(0, 10).unwrap().into_iter().map(|logged| logged.event.body).collect();
    let created = |instance: u64, start: Option<&str>, key: Option<&str>, trigger: Option<Trigger>| {
        let (process, hash) = ("p".to_owned(), "h".to_owned());
        let (start, message_key) = (start.map(str::to_owned), key.map(str::to_owned));
        Body::InstanceCreated { instance, process, version: 2, hash, start, message_key, trigger, depth: 0 }
    };
    let want = [
        created(7, Some("s"), Some("k"), Some(trigger())),
        created(8, None, None, None),
        Body::InstanceCompleted { instance: 8 },
    ];
    assert_eq!(bodies, want);
    drop(store);
    let database = Database::open(&path).unwrap();
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    assert_eq!(
        meta.get("format").unwrap().unwrap().value(),
        [1, 2],
        "as the version before reads it, so it can refuse"
    );
}

#[test]
fn a_row_with_a_depth_comes_back_with_it_and_one_of_a_later_version_is_refused() {
    let body = Body::InstanceCreated {
        instance: 7,
        process: "p".to_owned(),
        version: 1,
        hash: "h".to_owned(),
        start: None,
        message_key: None,
        trigger: Some(trigger()),
        depth: 300,
    };
    let logged = Logged { first: true, event: Event { seq: 1, at_ms: 5, actor: None, body } };
    let mut row = encode(&logged).unwrap();
    assert_eq!(decode::<Logged>(&row).unwrap(), logged);
    row[0] = 3;
    assert!(matches!(decode::<Logged>(&row), Err(Error::Damaged(_))));
}

#[test]
fn the_answer_to_an_id_that_is_used_again_outlives_the_old_one() {
    let store = Store::in_memory().unwrap();
    let commit = |ids: &[String], at: i64, forget_before_ms: i64| {
        let requests = ids.iter().map(|id| (id.clone(), (at, bpmn::core::Answer::Done))).collect();
        store.commit(&Batch { requests, forget_before_ms, ..Batch::default() }).unwrap();
    };
    // more than one commit forgets, and `r` behind them
    let many: Vec<String> = (0..1_000).map(|at| format!("a{at}")).chain(["r".to_owned()]).collect();
    commit(&many, 1, 0);
    commit(&["r".to_owned()], 10_000, 9_000);
    commit(&[], 10_000, 9_000);
    assert_eq!(store.request("r").unwrap(), Some((10_000, bpmn::core::Answer::Done)));
    assert_eq!(store.request("a0").unwrap(), None);
}
