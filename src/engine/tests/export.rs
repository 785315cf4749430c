//! Spans of a scenario: ids, tree, links, repeats.

use std::collections::{BTreeMap, BTreeSet};

use super::scenario::{Life, stimuli};
use crate::engine::export::{Request, StepSpan, Value, next};
use crate::engine::store::Store;

fn requests(store: &Store) -> Vec<Request> {
    let mut all = Vec::new();
    let mut cursor = 0;
    while let Some((request, last)) = next(store, cursor).unwrap() {
        all.push(request);
        cursor = last;
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
