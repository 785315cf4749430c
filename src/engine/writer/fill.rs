//! Who gets a free worker.
//!
//! Duty: choose waiting jobs, render their templates, give them out. Guarantee: no worker is free while a job could run; of
//! one concurrency key one attempt at a time, until it has really ended, and no attempt twice under one number; what waits
//! behind a key is decoded once, not in each batch. Left to others: the commit (`writer`), running (`pool`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bpmn::core::{Action, Answer, Body, Event, HeaderValue, Job as JobRow, JobStart, JobStatus, StateView};

use super::{Open, Writer, json_headers, map};

/// Waiting jobs of a type that are looked at together for free workers.
const CANDIDATES: usize = 256;

/// What is to be known of a job as long as it waits.
#[derive(Debug)]
pub(super) struct Waiting {
    instance: u64,
    /// Its concurrency key.
    lock: Option<String>,
}

/// Forgets what `events` change of jobs that waited.
pub(super) fn forget(waiting: &mut BTreeMap<u64, Waiting>, events: &[Event]) {
    for event in events {
        if let Body::JobActivated { job, .. } | Body::JobRetryScheduled { job, .. } | Body::JobCancelled { job, .. } =
            &event.body
        {
            waiting.remove(job);
        }
    }
}

impl Writer {
    /// Gives waiting jobs to free workers: oldest first, in turn over instances. Attempts that are `over` hold none.
    pub(super) fn fill(&self, work: &mut Open<'_>, over: &BTreeSet<(u64, u32)>) -> Vec<(String, u64)> {
        let running = || self.running.iter().filter(|(attempt, _)| !over.contains(attempt)).map(|(_, running)| running);
        let mut held: BTreeSet<String> = running().filter_map(|running| running.concurrency_key.clone()).collect();
        let mut served = Vec::new();
        forget(&mut work.waiting, &work.batch.events);
        let view: &dyn StateView = &work.overlay;
        for (r#type, _) in view.waiting_job_types() {
            let Some(limit) = self.jobs.limits.get(&r#type) else {
                self.refuse(work, &r#type);
                continue;
            };
            let busy = running().filter(|running| running.r#type == r#type).count();
            let mut free = limit.saturating_sub(busy);
            let mut after = self.served.get(&r#type).copied().unwrap_or(0);
            let mut tried = BTreeSet::new();
            while free > 0 {
                let chosen = self.choose(work, &r#type, (free, after), (&held, &tried, over));
                let Some((_, last)) = chosen.last() else { break };
                after = last.instance;
                served.push((r#type.clone(), after));
                tried.extend(chosen.iter().map(|(key, _)| *key));
                let jobs = chosen.iter().map(|(key, row)| self.start(*key, row)).collect();
                // what cannot be started is under an incident then, and its place is free for another
                let answer = work.step(Action::ActivateJobs { worker: "engine".to_owned(), jobs }, None);
                let Ok(Answer::Activated { jobs }) = answer else { break };
                free -= jobs.len();
                held.extend(jobs.iter().filter_map(|key| work.waiting.get(key)?.lock.clone()));
            }
        }
        served
    }

    /// Jobs of a type that nobody works do not wait for ever in silence.
    fn refuse(&self, work: &mut Open<'_>, r#type: &str) {
        if self.external.as_ref().is_none_or(|external| external.contains(r#type)) {
            return;
        }
        loop {
            let view: &dyn StateView = &work.overlay;
            let page = view.due_jobs(r#type, work.now_ms, None, CANDIDATES);
            let is_last = page.len() < CANDIDATES;
            for (_, job) in page {
                let message =
                    format!("nobody works jobs of type `{type}`: correct the type, or name it in `jobs.external`");
                // it waits, or it could not be among those that are due; else the same page would come again
                if work.step(Action::RefuseJob { job, message }, None).is_err() {
                    return;
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Up to `free` due jobs of a type that no lock keeps back: one an instance in turn, beginning after `after`.
    fn choose(
        &self,
        work: &mut Open<'_>,
        r#type: &str,
        (free, after): (usize, u64),
        (held, tried, over): (&BTreeSet<String>, &BTreeSet<u64>, &BTreeSet<(u64, u32)>),
    ) -> Vec<(u64, JobRow)> {
        let view: &dyn StateView = &work.overlay;
        let mut waiting: BTreeMap<u64, VecDeque<(u64, Option<String>)>> = BTreeMap::new();
        let mut locks = BTreeSet::new();
        // each key is looked for once
        let mut taken: BTreeMap<String, bool> = BTreeMap::new();
        let (mut ready, mut from) = (0, None);
        // jobs behind a lock do not hide those that come after them
        while ready < free {
            let page = view.due_jobs(r#type, work.now_ms, from, CANDIDATES.max(free));
            let Some(last) = page.last() else { break };
            from = Some(*last);
            for (_, key) in page {
                if tried.contains(&key) || self.is_out(view, key, over) {
                    continue;
                }
                let job = match work.waiting.entry(key) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => {
                        let Some(row) = view.job(key) else { continue };
                        unknown.insert(Waiting { instance: row.instance, lock: self.lock(&row) })
                    }
                };
                if let Some(lock) = &job.lock {
                    let is_taken = match taken.get(lock) {
                        Some(is_taken) => *is_taken,
                        None => {
                            let is_taken = held.contains(lock) || view.is_locked(lock);
                            taken.insert(lock.clone(), is_taken);
                            is_taken
                        }
                    };
                    if is_taken {
                        continue;
                    }
                }
                ready += usize::from(job.lock.as_ref().is_none_or(|lock| locks.insert(lock.clone())));
                waiting.entry(job.instance).or_default().push_back((key, job.lock.clone()));
            }
        }
        let mut chosen = Vec::new();
        let mut turn: Vec<u64> = waiting.range(after.saturating_add(1)..).map(|(key, _)| *key).collect();
        turn.extend(waiting.range(..=after).map(|(key, _)| *key));
        while chosen.len() < free && !waiting.is_empty() {
            for instance in &turn {
                let Some(queue) = waiting.get_mut(instance).filter(|_| chosen.len() < free) else { continue };
                // of those with one key the first
                chosen.extend(queue.pop_front().and_then(|(key, lock)| {
                    let is_first = lock.is_none_or(|lock| locks.remove(&lock));
                    is_first.then(|| view.job(key)).flatten().map(|row| (key, row))
                }));
                if queue.is_empty() {
                    waiting.remove(instance);
                }
            }
        }
        chosen
    }

    /// Whether a worker still has the attempt that would be given out: its end is in the file, and it has not heard so, as
    /// the commit was told to have failed. It comes back, and only then its place and its number are free.
    fn is_out(&self, view: &dyn StateView, key: u64, over: &BTreeSet<(u64, u32)>) -> bool {
        let mut out = self.running.range((key, 0)..=(key, u32::MAX)).filter(|(attempt, _)| !over.contains(attempt));
        out.any(|((_, attempt), _)| {
            view.job(key).is_some_and(|row| {
                row.attempt == *attempt && matches!(row.status, JobStatus::Queued { same_attempt: true, .. })
            })
        })
    }

    /// The concurrency key of a job, also of one whose templates are not rendered yet.
    fn lock(&self, row: &JobRow) -> Option<String> {
        match row.input.headers.get("concurrencyKey") {
            // what cannot be rendered is said when the job is started
            Some(HeaderValue::Template(text)) => {
                (self.jobs.render)(text, &map(&row.input.variables)).ok().filter(|key| !key.is_empty())
            }
            _ => row.concurrency_key(),
        }
    }

    /// What the engine adds to a job: rendered templates, and what its type says about unknown outcomes.
    fn start(&self, key: u64, row: &JobRow) -> JobStart {
        let variables = map(&row.input.variables);
        let rendered = row
            .input
            .headers
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    HeaderValue::Template(text) => {
                        let text =
                            (self.jobs.render)(text, &variables).map_err(|why| format!("header `{name}`: {why}"))?;
                        HeaderValue::Value(text.into())
                    }
                    ready => ready.clone(),
                };
                Ok((name.clone(), value))
            })
            .collect::<Result<BTreeMap<_, _>, String>>();
        let headers = rendered.as_ref().map(json_headers).unwrap_or_default();
        JobStart { job: key, rendered, on_unknown: (self.jobs.on_unknown)(&row.r#type, &headers) }
    }
}
