//! What became of a try (learn.md 4).
//!
//! Duty: outcome, seconds and value of a row of `feedback` as a pure function of facts. Guarantee: the facts may become
//! known in any order of the two journals; a decision is made only when no fact that is still to come could change it.
//! Left to others: taking facts from the journals (`sources`), keeping them (`journal`).

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// Its last token ended.
    Completed,
    /// An error that nothing caught.
    Failed,
    /// By an operator.
    Cancelled,
}

/// Column `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// A further try followed, or the first verdict after the run was no pass.
    NotBetter,
    /// The run failed or was cancelled.
    GaveUp,
    /// The episode was resolved by passing spans.
    Recovered,
    /// It says nothing about the variant.
    Void,
}

impl Outcome {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotBetter => "not_better",
            Self::GaveUp => "gave_up",
            Self::Recovered => "recovered",
            Self::Void => "void",
        }
    }
}

/// What the engine's journal says about a try. Times in ns since 1970, here and below.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TryFacts {
    /// First activation of its job.
    pub at_ns: i64,
    /// The next try of the same run.
    pub next_ns: Option<i64>,
    /// Value of the newest `span-gate` completion before that.
    pub sandbox: Option<f64>,
}

/// The first effective verdict over a window that began after the run's end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its tick.
    pub t_ns: i64,
    /// Pass; otherwise warn or fail.
    pub is_pass: bool,
    /// Value judged.
    pub value: Option<f64>,
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeEnd {
    /// Its tick, or the wall time for what no tick decided.
    pub t_ns: i64,
    /// resolved(passed); otherwise stale, manual, superseded or removed.
    pub is_passed: bool,
}

/// What the gates' journal says about the episode of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpisodeFacts {
    /// Value at the firing; the outer `None` = the firing is not known yet.
    pub value_before: Option<Option<f64>>,
    /// Its end.
    pub ended: Option<EpisodeEnd>,
    /// See [`Verdict`]; `None` also while the run is not over.
    pub verdict: Option<Verdict>,
    /// Every tick of the gate up to here is known: an operator may close an episode at a wall time that the ticks have not
    /// reached.
    pub known_until_ns: i64,
}

/// The columns that facts decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// `None` = open.
    pub outcome: Option<Outcome>,
    /// From the try to the deciding fact.
    pub seconds: Option<f64>,
    /// The span-gate's value, after the run's end the verdict's.
    pub value_after: Option<f64>,
}

/// The first line of learn.md 4's table that applies.
pub fn decide(tried: &TryFacts, run: Option<(i64, RunEnd)>, episode: &EpisodeFacts) -> Decision {
    let open = |value_after| Decision { value_after, ..Decision::default() };
    let closed = |outcome, decided_ns: i64, value_after| {
        #[allow(clippy::cast_precision_loss, reason = "2^53 ns are a hundred days, at which a microsecond is lost")]
        let seconds = decided_ns.saturating_sub(tried.at_ns) as f64 / 1e9;
        Decision { outcome: Some(outcome), seconds: Some(seconds), value_after }
    };
    if let Some(next_ns) = tried.next_ns {
        return closed(Outcome::NotBetter, next_ns, tried.sandbox);
    }
    let Some((ended_ns, how)) = run else { return open(tried.sandbox) };
    if matches!(how, RunEnd::Failed | RunEnd::Cancelled) {
        return closed(Outcome::GaveUp, ended_ns, tried.sandbox);
    }
    // A verdict behind the episode's end belongs to what came after it.
    let counts = |verdict: &Verdict| episode.ended.is_none_or(|end| verdict.t_ns <= end.t_ns);
    let verdict = episode.verdict.filter(counts);
    let value_after = verdict.map_or(tried.sandbox, |verdict| verdict.value);
    if let Some(verdict) = verdict
        && !verdict.is_pass
        && episode.ended.is_none_or(|end| verdict.t_ns < end.t_ns)
    {
        return closed(Outcome::NotBetter, verdict.t_ns, value_after);
    }
    match episode.ended {
        // A tick before the end is still to come, and its verdict would go first.
        Some(end) if verdict.is_none() && episode.known_until_ns < end.t_ns => open(value_after),
        Some(end) if end.is_passed => closed(Outcome::Recovered, end.t_ns.max(ended_ns), value_after),
        Some(end) => closed(Outcome::Void, end.t_ns, value_after),
        None => open(value_after),
    }
}

#[cfg(test)]
mod tests;
