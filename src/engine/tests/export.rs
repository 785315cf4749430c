//! Spans of a scenario: ids, tree, links, repeats.

use std::collections::{BTreeMap, BTreeSet};

use super::scenario::{Life, stimuli};
use crate::engine::export::{Request, Spans, StepSpan, Value};
use crate::engine::store::Store;
use crate::engine::tables::Table;
use crate::engine::wanted::Wanted;

/// Where people find the daemon.
const HERE: &str = "http://here/";

fn requests(store: &Store) -> Vec<Request> {
    let mut spans = Spans::after(store, 0, HERE).unwrap();
    let mut all = Vec::new();
    while let Some((request, _)) = spans.next_commit().unwrap() {
        all.push(request);
    }
    all
}

fn has(span: &StepSpan, key: &str, wanted: &str) -> bool {
    span.attributes.iter().any(|(name, value)| *name == key && *value == Value::Text(wanted.to_owned()))
}

#[test]
fn every_run_is_one_tree_of_spans_and_a_repeat_is_the_same() {
    let mut life: Option<Life> = None;
    for (id, now_ms, step) in stimuli() {
        let life = life.get_or_insert_with(|| Life::open(Store::in_memory().unwrap(), now_ms).unwrap());
        life.now_ms = now_ms;
        life.step(&id, &step).unwrap();
    }
    let store = life.unwrap().writer.store;
    let sent = requests(&store);
    assert_eq!(sent, requests(&store), "sent again, it is the same");
    let seqs: Vec<u64> = sent.iter().map(|request| request.first_seq).collect();
    assert!(seqs.is_sorted() && BTreeSet::from_iter(&seqs).len() == seqs.len(), "one request a commit");
    let spans: Vec<&StepSpan> = sent.iter().flat_map(|request| &request.spans).collect();
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id, *span)).collect();
    assert_eq!(by_id.len(), spans.len(), "no id twice");
    let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_none()).collect();
    assert_eq!(roots.len(), 3);
    assert!(roots.iter().all(|root| has(root, "cicd.pipeline.result", "success") && root.name == "RUN everything"));
    for span in &spans {
        let Some(parent) = span.parent_span_id else { continue };
        let parent = by_id[&parent];
        assert_eq!(parent.trace_id, span.trace_id);
        assert!(parent.start_ns <= span.start_ns && span.end_ns <= parent.end_ns, "{span:#?} in {parent:#?}");
    }
    let retried: Vec<_> =
        spans.iter().filter(|span| has(span, "bpmn.element.id", "fail_once") && !span.links.is_empty()).collect();
    assert_eq!(retried.len(), 3, "the second attempt of each run links to the first");
    let late =
        spans.iter().filter(|s| has(s, "cicd.pipeline.task.run.result", "timeout") && has(s, "bpmn.cause", "late"));
    assert_eq!(late.count(), 3);
}

#[test]
fn after_a_restart_at_any_event_the_rest_is_the_same_and_a_commit_that_comes_later_is_found() {
    let mut life: Option<Life> = None;
    let mut waiting: Option<Spans> = None;
    let mut live = Vec::new();
    for (id, now_ms, step) in stimuli() {
        let life = life.get_or_insert_with(|| Life::open(Store::in_memory().unwrap(), now_ms).unwrap());
        life.now_ms = now_ms;
        life.step(&id, &step).unwrap();
        let spans = waiting.get_or_insert_with(|| Spans::after(&life.writer.store, 0, HERE).unwrap());
        while let Some((request, _)) = spans.next_commit().unwrap() {
            live.push(request);
        }
    }
    let store = life.unwrap().writer.store;
    let mut cursor = 0;
    let mut whole = Vec::new();
    // Each commit by one that has just begun, as after a kill.
    while let Some((request, last)) = Spans::after(&store, cursor, HERE).unwrap().next_commit().unwrap() {
        whole.push(request);
        cursor = last;
    }
    assert_eq!(live, whole);
    assert_eq!(whole, requests(&store));
    assert!(whole.len() > 10, "{}", whole.len());
}

#[test]
fn a_scan_of_one_run_or_of_the_newest_reads_no_others() {
    let mut life: Option<Life> = None;
    for (id, now_ms, step) in stimuli() {
        let life = life.get_or_insert_with(|| Life::open(Store::in_memory().unwrap(), now_ms).unwrap());
        life.now_ms = now_ms;
        life.step(&id, &step).unwrap();
    }
    let store = life.unwrap().writer.store;
    let runs = store.runs().unwrap();
    let rows = |table: Table, wanted: &Wanted| table.rows(&store, wanted).unwrap().num_rows();
    let all = Wanted::default();
    assert_eq!(rows(Table::Runs, &all), 3);
    let mut steps = 0;
    for (run, _) in &runs {
        let one = Wanted { runs: *run..=*run, ..Wanted::default() };
        assert_eq!(rows(Table::Runs, &one), 1);
        steps += rows(Table::Steps, &one);
        assert!(rows(Table::Steps, &one) < rows(Table::Steps, &all));
    }
    assert_eq!(steps, rows(Table::Steps, &all));
    for (at, (_, row)) in runs.iter().enumerate() {
        let since = Wanted { since_ms: row.started_ms, ..Wanted::default() };
        let younger = runs[..at].iter().filter(|(_, before)| before.started_ms < row.started_ms).count();
        assert_eq!(rows(Table::Runs, &since), 3 - younger);
    }
    #[allow(clippy::reversed_empty_ranges, reason = "a filter can leave nothing")]
    let none = Wanted { runs: 9..=3, ..Wanted::default() };
    assert_eq!((rows(Table::Runs, &none), rows(Table::Steps, &none)), (0, 0));
}
