//! The life of a job: activated, ended, queued again.
//!
//! Duty: attempts. Guarantee: each activated attempt ends in exactly one way; a result for another attempt changes
//! nothing. Left to others: which jobs to activate and running them (`engine`).

use std::collections::BTreeMap;

use super::command::{Answer, Effect, JobStart, Rejection};
use super::element::{self, error as bpmn_error};
use super::event::{Body, Requeue};
use super::hash;
use super::incident::Fault;
use super::machine::{Machine, done};
use super::row::{HeaderValue, Held, IncidentKind, Job, JobStatus, OnUnknown};
use super::state::{Key, Row};
use super::value::{Value, Variables};
use super::{time, variables};

/// Header `timeout` of a `span-gate` when the task does not say.
const SPAN_GATE_TIMEOUT_MS: i64 = 2 * 60 * 1000;
/// Header `timeout` when the task does not say.
const TIMEOUT_MS: i64 = 600_000;
/// Header `retryBackoff` when the task does not say.
const BACKOFF_MS: [i64; 3] = [1_000, 10_000, 60_000];

/// How long an attempt may take, in ms: header `timeout`, default 10 minutes; of a `span-gate`, whose limit is over all of
/// its tries, 2 minutes (bpmn.md 10).
pub fn timeout_ms(job: &Job) -> i64 {
    let usual = if job.r#type == "span-gate" { SPAN_GATE_TIMEOUT_MS } else { TIMEOUT_MS };
    job.header("timeout").and_then(Value::as_str).and_then(time::duration_ms).unwrap_or(usual)
}

/// Header `retryBackoff` in ms: a list, or texts between commas.
fn backoffs(job: &Job) -> Option<Vec<i64>> {
    let all = match job.header("retryBackoff") {
        None => return Some(BACKOFF_MS.to_vec()),
        Some(Value::String(text)) => text.split(',').map(|text| time::duration_ms(text.trim())).collect(),
        Some(Value::List(items)) => items.iter().map(|item| item.as_str().and_then(time::duration_ms)).collect(),
        Some(_) => None,
    };
    all.filter(|all: &Vec<i64>| !all.is_empty() && all.iter().all(|ms| *ms >= 0))
}

/// Command `Boot`.
pub(super) fn boot(machine: &mut Machine<'_>, entropy: [u8; 16]) -> Answer {
    let meta = machine.view().meta();
    let engine_id = if meta.boot_epoch == 0 { entropy } else { meta.engine_id };
    machine.emit(Body::Booted { boot_epoch: meta.boot_epoch + 1, engine_id });
    let rows = machine.view().scan(&Key::Job(0), &Key::Job(u64::MAX), usize::MAX);
    for (key, row) in rows {
        if let (Key::Job(job), Row::Job(row)) = (key, row)
            && matches!(row.status, JobStatus::Active { .. })
        {
            let message = format!("the engine ended during attempt {}", row.attempt);
            not_known(machine, job, &row, message, 0);
        }
    }
    Answer::Done
}

/// Command `ActivateJobs`.
pub(super) fn activate(machine: &mut Machine<'_>, worker: &str, jobs: Vec<JobStart>) -> Answer {
    let mut activated = Vec::new();
    for start in jobs {
        let Some(row) = machine.view().job(start.job) else { continue };
        let JobStatus::Queued { due_ms, same_attempt } = row.status else { continue };
        if due_ms > machine.now_ms {
            continue;
        }
        if machine.find(row.element).is_none() {
            withdraw(machine, row.element);
            machine.at_or(row.element, Held::Job);
            continue;
        }
        match ready(&row, start.rendered, start.on_unknown) {
            Ok((headers, on_unknown)) => {
                if locked(machine, &row, &headers) {
                    continue;
                }
                let attempt = if same_attempt { row.attempt } else { row.attempt + 1 };
                let headers = Some(headers).filter(|headers| *headers != row.input.headers);
                machine.emit(Body::JobActivated {
                    job: start.job,
                    instance: row.instance,
                    element: row.element,
                    attempt,
                    boot_epoch: machine.view().meta().boot_epoch,
                    worker: worker.to_owned(),
                    headers,
                    on_unknown,
                });
                machine.effects.push(Effect::DispatchJob { job: start.job, attempt });
                activated.push(start.job);
            }
            Err(message) => unusable(machine, row.element, message),
        }
    }
    Answer::Activated { jobs: activated }
}

/// Command `RefuseJob`.
pub(super) fn refuse(machine: &mut Machine<'_>, job: u64, message: String) -> Result<Answer, Rejection> {
    match machine.view().job(job) {
        Some(row) if matches!(row.status, JobStatus::Queued { .. }) => unusable(machine, row.element, message),
        Some(row) => return Err(Rejection::LateCompletion { job, attempt: row.attempt }),
        None => return Err(Rejection::NotFound { what: "job".to_owned(), id: job.to_string() }),
    }
    done()
}

/// A job that cannot be given out: a resolve makes it again.
fn unusable(machine: &mut Machine<'_>, element: u64, message: String) {
    withdraw(machine, element);
    if let Some(at) = machine.at_or(element, Held::Job) {
        machine.raise(at.key, &at.row, Fault::new(IncidentKind::ExpressionError, message), Held::Job);
    }
}

type Headers = BTreeMap<String, HeaderValue>;

/// The headers to run with and the answer to an unknown outcome, or why they cannot be used.
fn ready(row: &Job, rendered: Result<Headers, String>, by_type: OnUnknown) -> Result<(Headers, OnUnknown), String> {
    let open = |headers: &Headers| headers.values().any(|value| matches!(value, HeaderValue::Template(_)));
    let headers = if open(&row.input.headers) { rendered? } else { row.input.headers.clone() };
    if open(&headers) {
        return Err("a header's template was not rendered".to_owned());
    }
    let mut checked = row.clone();
    checked.input.headers = headers;
    if backoffs(&checked).is_none() {
        return Err("header `retryBackoff` is no list of durations such as PT1S,PT10S".to_owned());
    }
    let timeout = checked.header("timeout").map(|value| value.as_str().and_then(time::duration_ms));
    if timeout.is_some_and(|timeout| timeout.is_none_or(|ms| ms <= 0)) {
        return Err("header `timeout` is no duration above 0 such as PT10M".to_owned());
    }
    let on_unknown = match checked.header("onUnknown") {
        None => by_type,
        Some(value) => value
            .as_str()
            .and_then(OnUnknown::parse)
            .ok_or_else(|| "header `onUnknown` is none of retry, incident, error:CODE".to_owned())?,
    };
    Ok((checked.input.headers, on_unknown))
}

/// Whether another job runs under the same concurrency key.
fn locked(machine: &Machine<'_>, row: &Job, headers: &Headers) -> bool {
    let mut ready = row.clone();
    ready.input.headers = headers.clone();
    ready.concurrency_key().is_some_and(|key| machine.view().is_locked(&key))
}

/// The job whose attempt this is, if it runs.
fn running(machine: &Machine<'_>, job: u64, attempt: u32) -> Result<Job, Rejection> {
    match machine.view().job(job) {
        Some(row) if row.attempt == attempt && matches!(row.status, JobStatus::Active { .. }) => Ok(row),
        None if job == 0 || job > machine.view().meta().last_key => {
            Err(Rejection::NotFound { what: "job".to_owned(), id: job.to_string() })
        }
        _ => Err(Rejection::LateCompletion { job, attempt }),
    }
}

/// Command `JobCompleted`.
pub(super) fn completed(
    machine: &mut Machine<'_>,
    job: u64,
    attempt: u32,
    result: Variables,
) -> Result<Answer, Rejection> {
    let row = running(machine, job, attempt)?;
    if let Some(at) = machine.find(row.element)
        && let super::program::Kind::ServiceTask(task) = &at.node().kind
        && let Ok(element::task::Given::Error { code, message }) = element::task::interpret(machine, &at, task, &result)
    {
        bpmn_error::of_task(machine, &at, Some((job, attempt)), code, message, Variables::new(), None);
        return done();
    }
    let (instance, element, r#type) = (row.instance, row.element, row.r#type);
    machine.emit(Body::JobCompleted { job, instance, element, attempt, r#type, result: result.clone() });
    element::go_on(machine, element, Held::Result(result));
    done()
}

/// Command `JobFailed`.
pub(super) fn failed(
    machine: &mut Machine<'_>,
    job: u64,
    attempt: u32,
    message: String,
    retryable: bool,
    backoff_ms: Option<i64>,
) -> Result<Answer, Rejection> {
    let row = running(machine, job, attempt)?;
    let (instance, element) = (row.instance, row.element);
    machine.emit(Body::JobFailed { job, instance, element, attempt, message: message.clone(), retryable });
    if retryable && row.retries_left > 1 {
        let wait = backoff_ms.unwrap_or_else(|| backoff(&row)).max(0);
        again(machine, job, &row, machine.now_ms.saturating_add(wait), row.retries_left - 1, Requeue::Failed);
    } else {
        give_up(machine, &row, message);
    }
    done()
}

fn give_up(machine: &mut Machine<'_>, row: &Job, message: String) {
    if let Some(at) = machine.at(row.element) {
        machine.raise(at.key, &at.row, Fault::new(IncidentKind::JobFailed, message), Held::JobEnded);
    }
}

fn again(machine: &mut Machine<'_>, job: u64, row: &Job, due_ms: i64, retries_left: u32, why: Requeue) {
    let (instance, element) = (row.instance, row.element);
    machine.emit(Body::JobRetryScheduled { job, instance, element, due_ms, retries_left, why, input: None });
    machine.effects.push(Effect::WakeAt(due_ms));
}

/// The nth retry waits the nth time of the list, +-20 % by effect key and attempt.
fn backoff(row: &Job) -> i64 {
    let list = backoffs(row).unwrap_or_else(|| BACKOFF_MS.to_vec());
    let nth = row.retries.saturating_sub(row.retries_left) as usize;
    let base = list.get(nth).or(list.last()).copied().unwrap_or(0);
    let draw = hash::draw(&row.input.effect_key, row.attempt);
    let scaled = i128::from(base) * i128::from(800_000 + draw * 2 / 5) / 1_000_000;
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// Command `JobError`.
pub(super) fn error(
    machine: &mut Machine<'_>,
    job: u64,
    attempt: u32,
    code: String,
    message: String,
    thrown: Variables,
) -> Result<Answer, Rejection> {
    let row = running(machine, job, attempt)?;
    // an attempt ends in one way whatever it brings: what it must not write is a failure of its own
    let refused = variables::allowed(&thrown).err().map(|rejection| rejection.to_string());
    match machine.find(row.element) {
        Some(at) if refused.is_none() => {
            bpmn_error::of_task(machine, &at, Some((job, attempt)), code, message, thrown, None);
        }
        _ => {
            let (instance, element) = (row.instance, row.element);
            let message = format!(
                "error `{code}` ({message}) was not thrown: {}",
                refused.unwrap_or_else(|| "its definition cannot be read".to_owned())
            );
            machine.emit(Body::JobFailed {
                job,
                instance,
                element,
                attempt,
                message: message.clone(),
                retryable: false,
            });
            give_up(machine, &row, message);
        }
    }
    done()
}

/// Command `JobUnknown`.
pub(super) fn unknown(machine: &mut Machine<'_>, job: u64, attempt: u32, message: String) -> Result<Answer, Rejection> {
    let row = running(machine, job, attempt)?;
    let wait = backoff(&row);
    not_known(machine, job, &row, message, wait);
    done()
}

fn not_known(machine: &mut Machine<'_>, job: u64, row: &Job, message: String, wait_ms: i64) {
    let (instance, element, attempt) = (row.instance, row.element, row.attempt);
    machine.emit(Body::JobUnknown { job, instance, element, attempt, message: message.clone() });
    match &row.on_unknown {
        OnUnknown::Retry if row.retries_left > 1 => {
            again(machine, job, row, machine.now_ms.saturating_add(wait_ms), row.retries_left - 1, Requeue::Unknown);
        }
        OnUnknown::Retry => give_up(machine, row, format!("{message}; no retries are left")),
        OnUnknown::Incident => {
            let message = format!("{message}: find out whether its effect happened, then retry or cancel");
            if let Some(at) = machine.at(element) {
                machine.raise(element, &at.row, Fault::new(IncidentKind::JobUnknownOutcome, message), Held::JobEnded);
            }
        }
        OnUnknown::Error(code) => {
            if let Some(at) = machine.at(element) {
                bpmn_error::of_task(machine, &at, None, code.clone(), message, Variables::new(), None);
            }
        }
    }
}

/// Command `JobLater`.
pub(super) fn later(machine: &mut Machine<'_>, job: u64, attempt: u32, at_ms: i64) -> Result<Answer, Rejection> {
    let row = running(machine, job, attempt)?;
    again(machine, job, &row, at_ms.max(machine.now_ms), row.retries_left, Requeue::Later);
    done()
}

/// Takes the job away from an activation that does not wait for it any more.
pub(super) fn withdraw(machine: &mut Machine<'_>, element: u64) {
    let Some(job) = machine.view().element(element).and_then(|row| row.job) else { return };
    let Some(row) = machine.view().job(job) else { return };
    let was_active = matches!(row.status, JobStatus::Active { .. });
    let (instance, attempt) = (row.instance, row.attempt);
    machine.emit(Body::JobCancelled { job, instance, element, attempt, was_active });
    if was_active {
        machine.effects.push(Effect::CancelJob { job, attempt });
    }
}
