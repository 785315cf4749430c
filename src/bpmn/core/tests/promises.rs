//! Promises over generated models and stimuli: the machine and the oracle agree on every token after every step.
//!
//! [`Run`] adds: invariants, refold in equal bytes, the same command twice. 1,000 models; a failing one is shrunk.

use proptest::collection::vec;
use proptest::prelude::*;

use super::dsl;
use super::oracle::{Finish, Job, Oracle, counts, retries_unknown};
use super::run::{Run, number, vars};
use crate::core::{Action, Body, Effect, JobStart, JobStatus, OnUnknown};

/// One node of a generated graph.
#[derive(Clone, Debug)]
struct Plan {
    kind: u8,
    /// (target, condition).
    flows: Vec<(u8, u8)>,
    /// (kind, target).
    boundaries: Vec<(u8, u8)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (0_u8..20, vec((any::<u8>(), any::<u8>()), 0..4), vec((0_u8..4, any::<u8>()), 0..3))
        .prop_map(|(kind, flows, boundaries)| Plan { kind, flows, boundaries })
}

fn name(plans: &[Plan], at: usize) -> String {
    match plans[at].kind {
        _ if at == 0 => "start".to_owned(),
        0..12 => format!("t{at}"),
        12..17 => format!("gw{at}"),
        17..19 => format!("end{at}"),
        _ => format!("fail_E{at}"),
    }
}

/// The graph as text. A cycle always passes a task, so that every step ends.
fn text(plans: &[Plan]) -> String {
    let mut statements = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let from = name(plans, at);
        let waits = from.starts_with('t');
        if from.starts_with("end") || from.starts_with("fail") {
            continue;
        }
        let target = |wanted: u8, anywhere: bool| {
            let to = 1 + usize::from(wanted) % (plans.len() - 1);
            let to = if anywhere || to > at || name(plans, to).starts_with('t') { to } else { plans.len() - 1 };
            (to > at || anywhere || name(plans, to).starts_with('t')).then(|| name(plans, to))
        };
        let mut open = false;
        let mut default = false;
        for (wanted, condition) in &plan.flows {
            let Some(to) = target(*wanted, waits) else { continue };
            let condition = match condition % 10 {
                0..3 if from.starts_with("gw") && (open || default) => " [x = 1]".to_owned(),
                0..3 => {
                    open = true;
                    String::new()
                }
                3..5 => format!(" [x = {}]", condition % 3),
                5..7 => format!(" [x > {}]", condition % 3),
                7 if at > 0 => " [y]".to_owned(),
                _ if default || (open && from.starts_with("gw")) || at == 0 => " [x > 0]".to_owned(),
                _ => {
                    default = true;
                    " [default]".to_owned()
                }
            };
            statements.push(format!("{from}{condition} -> {to}"));
        }
        if waits {
            for (kind, wanted) in &plan.boundaries {
                let mark = ["!E1", "!*", "@PT5S", "~PT7S"][usize::from(*kind)];
                if !statements.iter().any(|s| s.starts_with(&format!("{from} {mark} "))) {
                    statements.extend(target(*wanted, true).map(|to| format!("{from} {mark} -> {to}")));
                }
            }
        }
    }
    if !statements.iter().any(|s| s.starts_with("start")) {
        statements.insert(0, "start -> t0".to_owned());
    }
    statements.join("; ")
}

/// One stimulus: what, which token, a number.
type Stimulus = (u8, u8, u8);

fn resting(run: &Run) -> Vec<(String, String)> {
    let what = |row: &crate::core::Element| match (&row.held, row.job) {
        (Some((incident, _)), _) => run.view().incident(*incident).unwrap().kind.as_str().to_owned(),
        (None, Some(job)) => match run.view().job(job).map(|job| (job.status, job.attempt)) {
            Some((JobStatus::Queued { due_ms, .. }, _)) => format!("queued {due_ms}"),
            Some((JobStatus::Active { .. }, attempt)) => format!("active {attempt}"),
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    };
    run.elements().into_iter().map(|(_, id, row)| (id, what(&row))).collect()
}

fn activate(run: &mut Run, at: usize) -> bool {
    let (_, id, row) = run.elements().swap_remove(at);
    let Some(job) = row.job else { return false };
    let on_unknown = if retries_unknown(&id) { OnUnknown::Retry } else { OnUnknown::Incident };
    let jobs = vec![JobStart { job, rendered: Ok(Default::default()), on_unknown }];
    run.ask(Action::ActivateJobs { worker: "w".to_owned(), jobs }).unwrap();
    matches!(run.effects.as_slice(), [Effect::DispatchJob { .. }])
}

fn finish(run: &mut Run, at: usize, how: &Finish) {
    let job = run.elements()[at].2.job.unwrap();
    let attempt = run.view().job(job).unwrap().attempt;
    let at_ms = run.now_ms + 1_000;
    run.ask(match how {
        Finish::Complete(x) => Action::JobCompleted { job, attempt, result: vars(&[("x", number(*x))]) },
        Finish::Fail { retryable } => {
            Action::JobFailed { job, attempt, message: "no".to_owned(), retryable: *retryable, backoff_ms: Some(1_000) }
        }
        Finish::Throw(code) => Action::JobError {
            job,
            attempt,
            code: (*code).to_owned(),
            message: String::new(),
            variables: Default::default(),
        },
        Finish::Later => Action::JobLater { job, attempt, at_ms },
    })
    .unwrap();
}

/// One stimulus for both; whether it was one.
fn stimulate(run: &mut Run, oracle: &mut Oracle<'_>, (what, which, n): Stimulus) {
    let tokens = oracle.tokens.len();
    if tokens == 0 {
        return;
    }
    let at = usize::from(which) % tokens;
    match what {
        0..3 => {
            let ms = i64::from(n % 8) * 1_000;
            run.advance(ms);
            oracle.advance(ms);
        }
        3 => {
            run.ask(Action::Boot { engine_id: [0; 16] }).unwrap();
            oracle.boot();
        }
        4 => {
            if let Some((incident, _)) = run.elements()[at].2.held {
                run.ask(Action::Resolve { incident }).unwrap();
            }
            oracle.resolve(at);
        }
        5..8 => assert_eq!(activate(run, at), oracle.activate(at)),
        _ => {
            if oracle.tokens[at].job != Some(Job::Active) {
                let given = oracle.activate(at);
                assert_eq!(activate(run, at), given);
                if !given {
                    return;
                }
            }
            let how = match n % 12 {
                0..8 => Finish::Complete(i64::from(n % 4)),
                8 => Finish::Fail { retryable: true },
                9 => Finish::Fail { retryable: n % 5 == 0 },
                10 => Finish::Throw(if n < 128 { "E1" } else { "E2" }),
                _ => Finish::Later,
            };
            finish(run, at, &how);
            oracle.finish(at, &how);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn machine_and_oracle_agree_on_every_token(
        plans in vec(plan(), 2..10),
        x in 0_i64..3,
        stimuli in vec((0_u8..16, any::<u8>(), any::<u8>()), 0..40),
    ) {
        let text = text(&plans);
        let definitions = dsl::definitions(&text);
        let mut run = Run::of(&text);
        let instance = run.start(&[("x", number(x)), ("y", number(1))]);
        let mut oracle = Oracle::start(&definitions, run.now_ms, x);
        for stimulus in stimuli {
            prop_assert_eq!(resting(&run), oracle.resting(), "{}", &text);
            stimulate(&mut run, &mut oracle, stimulus);
        }
        prop_assert_eq!(resting(&run), oracle.resting(), "{}", &text);
        prop_assert_eq!(run.end(), oracle.end.clone(), "{}", &text);
        prop_assert_eq!(counts(&run.trace()), counts(&oracle.completed), "{}", &text);
        if run.end().is_none() {
            prop_assert_eq!(run.view().variable(instance, "x"), oracle.x.map(number), "{}", &text);
        } else {
            let left = run.state.rows().filter(|(key, _)| !matches!(key,
                crate::core::Key::Meta | crate::core::Key::Definition(_) | crate::core::Key::Version(..) | crate::core::Key::VersionOf(..)));
            prop_assert_eq!(left.count(), 0, "state holds live things only");
        }
        let taken = run.log.iter().filter(|event| matches!(event.body, Body::FlowTaken { .. })).count();
        let arrived = run.log.iter().filter(|e| matches!(e.body, Body::ElementActivated { flow: Some(_), .. })).count();
        let failed = matches!(run.end().as_deref(), Some(end) if end.starts_with("failed"));
        prop_assert!(taken == arrived || failed, "a token on a flow arrives: {} {}", taken, arrived);
    }

    #[test]
    fn no_command_makes_the_machine_panic(
        plans in vec(plan(), 2..8),
        commands in vec((0_u8..12, 0_u64..40, 0_u32..4), 0..40),
    ) {
        let mut run = Run::of(&text(&plans));
        for (what, key, attempt) in commands {
            let message = String::new();
            let variables = vars(&[("x", number(i64::from(attempt)))]);
            let action = match what {
                0 => Action::Start { process: "p".to_owned(), version: None, start: None, variables },
                1 => Action::Tick,
                2 => Action::Boot { engine_id: [1; 16] },
                3 | 4 => Action::ActivateJobs {
                    worker: String::new(),
                    jobs: (0..key).map(|job| JobStart { job, rendered: Err(String::new()), on_unknown: OnUnknown::Retry }).collect(),
                },
                5 => Action::JobCompleted { job: key, attempt, result: variables },
                6 => Action::JobFailed { job: key, attempt, message, retryable: attempt % 2 == 0, backoff_ms: Some(-1) },
                7 => Action::JobError { job: key, attempt, code: "E1".to_owned(), message, variables },
                8 => Action::JobUnknown { job: key, attempt, message },
                9 => Action::Resolve { incident: key },
                10 => Action::Retry { job: key, retries: Some(attempt), variables },
                _ => Action::Cancel { instance: key, reason: None },
            };
            run.now_ms += i64::from(attempt) * 1_000;
            let _ = run.ask(action);
        }
    }
}
