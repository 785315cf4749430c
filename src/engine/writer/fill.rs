//! Who gets a free worker.
//!
//! Duty: choose waiting jobs, render their templates, give them out. Guarantee: no worker is free while a job could run; of
//! one concurrency key one attempt at a time, until it has really ended. Left to others: the commit (`writer`), running
//! (`pool`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bpmn::core::{Action, Answer, HeaderValue, Job as JobRow, JobStart, StateView};

use super::{Open, Writer, json_headers, map};

/// Waiting jobs of a type that are looked at together for free workers.
const CANDIDATES: usize = 256;

impl Writer {
    /// Gives waiting jobs to free workers: oldest first, in turn over instances. Attempts that are `over` hold none.
    pub(super) fn fill(&self, work: &mut Open<'_>, over: &BTreeSet<(u64, u32)>) -> Vec<(String, u64)> {
        let running = || self.running.iter().filter(|(attempt, _)| !over.contains(attempt)).map(|(_, running)| running);
        let mut held: BTreeSet<String> = running().filter_map(|running| running.concurrency_key.clone()).collect();
        let mut served = Vec::new();
        let view: &dyn StateView = &work.overlay;
        for (r#type, _) in view.waiting_job_types() {
            let Some(limit) = self.jobs.limits.get(&r#type) else {
                self.refuse(work, &r#type);
                continue;
            };
            let busy = running().filter(|running| running.r#type == r#type).count();
            let mut free = limit.saturating_sub(busy);
            let mut tried = BTreeSet::new();
            while free > 0 {
                let after = served.iter().rev().find(|(of, _)| *of == r#type).map(|(_, instance)| *instance);
                let after = after.or_else(|| self.served.get(&r#type).copied()).unwrap_or(0);
                let chosen = self.choose(work, &r#type, (free, after), (&held, &tried));
                let Some((_, last)) = chosen.last() else { break };
                served.push((r#type.clone(), last.instance));
                tried.extend(chosen.iter().map(|(key, _)| *key));
                let jobs = chosen.iter().map(|(key, row)| self.start(*key, row)).collect();
                // what cannot be started is under an incident then, and its place is free for another
                let answer = work.step(Action::ActivateJobs { worker: "engine".to_owned(), jobs }, None);
                let Ok(Answer::Activated { jobs }) = answer else { break };
                free -= jobs.len().min(free);
                held.extend(chosen.iter().filter(|(key, _)| jobs.contains(key)).filter_map(|(_, row)| self.lock(row)));
            }
        }
        served
    }

    /// Jobs of a type that nobody works do not wait for ever in silence.
    fn refuse(&self, work: &mut Open<'_>, r#type: &str) {
        if self.external.as_ref().is_none_or(|external| external.contains(r#type)) {
            return;
        }
        let view: &dyn StateView = &work.overlay;
        for (_, job) in view.due_jobs(r#type, work.now_ms, None, CANDIDATES) {
            let message =
                format!("nobody works jobs of type `{type}`: correct the type, or name it in `jobs.external`");
            // it waits, or it could not be among those that are due
            let _ = work.step(Action::RefuseJob { job, message }, None);
        }
    }

    /// Up to `free` due jobs of a type that no lock keeps back: one an instance in turn, beginning after `after`.
    fn choose(
        &self,
        work: &Open<'_>,
        r#type: &str,
        (free, after): (usize, u64),
        (held, tried): (&BTreeSet<String>, &BTreeSet<u64>),
    ) -> Vec<(u64, JobRow)> {
        let view: &dyn StateView = &work.overlay;
        let mut waiting: BTreeMap<u64, VecDeque<(u64, JobRow, Option<String>)>> = BTreeMap::new();
        let mut locks = BTreeSet::new();
        let (mut ready, mut from) = (0, None);
        // jobs behind a lock do not hide those that come after them
        while ready < free {
            let page = view.due_jobs(r#type, work.now_ms, from, CANDIDATES.max(free));
            let Some(last) = page.last() else { break };
            from = Some(*last);
            for (_, key) in page {
                let Some(row) = view.job(key).filter(|_| !tried.contains(&key)) else { continue };
                let lock = self.lock(&row);
                if lock.as_ref().is_some_and(|lock| held.contains(lock) || view.is_locked(lock)) {
                    continue;
                }
                ready += usize::from(lock.as_ref().is_none_or(|lock| locks.insert(lock.clone())));
                waiting.entry(row.instance).or_default().push_back((key, row, lock));
            }
        }
        let mut chosen = Vec::new();
        let mut turn: Vec<u64> = waiting.range(after.saturating_add(1)..).map(|(key, _)| *key).collect();
        turn.extend(waiting.range(..=after).map(|(key, _)| *key));
        while chosen.len() < free && !waiting.is_empty() {
            for instance in &turn {
                let Some(queue) = waiting.get_mut(instance).filter(|_| chosen.len() < free) else { continue };
                // of those with one key the first
                chosen.extend(
                    queue
                        .pop_front()
                        .and_then(|(key, row, lock)| lock.is_none_or(|lock| locks.remove(&lock)).then_some((key, row))),
                );
                if queue.is_empty() {
                    waiting.remove(instance);
                }
            }
        }
        chosen
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
