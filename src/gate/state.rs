//! The state machine of one key of one gate (gates.md 5).
//!
//! Duty: from a state, a tick and an input to the next state and its transitions; the two ends that come from outside (an
//! operator, the end of a generation). Guarantee: pure, so that daemon, replay and tests agree; an episode has one firing
//! and one resolved; what is held changes nothing. Left to others: what an outcome means (`verdict`), writing it down and
//! telling it (`book`, `journal`).

use serde::{Deserialize, Serialize};

use super::definition::FireAfter;
use super::verdict::Input;

mod older;
#[cfg(test)]
pub(in crate::gate) mod tests;

pub(in crate::gate) use older::StateV1;

/// Wall time for which a resolved alert is still told to those who ask again.
pub const RESOLVED_FOR_NS: i64 = 15 * 60 * 1_000_000_000;

/// How bad a breach is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// `warn` holds.
    Warn,
    /// Nothing holds.
    Fail,
}

impl Level {
    /// `warn` or `fail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing is wrong.
    #[default]
    Inactive,
    /// In breach, not yet long enough.
    Pending,
    /// In an episode.
    Firing(Level),
    /// In an episode; `clear` holds, not yet long enough.
    Recovering(Level),
    /// An episode ended less than 15 minutes ago.
    Resolved,
}

impl Phase {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing(_) => "firing",
            Self::Recovering(_) => "recovering",
            Self::Resolved => "resolved",
        }
    }

    /// Level of the episode it is in.
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::Firing(level) | Self::Recovering(level) => Some(level),
            Self::Inactive | Self::Pending | Self::Resolved => None,
        }
    }

    /// Firing or recovering.
    pub const fn is_open(self) -> bool {
        self.level().is_some()
    }
}

/// Why a phase changed; the column `cause` of `gate_transitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// A breach began that must last first.
    Pending,
    /// An episode began.
    Firing,
    /// From warn to fail.
    Raised,
    /// `clear` holds and must last first.
    Recovering,
    /// It did not last.
    Relapsed,
    /// The breach ended before it was an episode.
    Cancelled,
    /// `clear` held long enough.
    Passed,
    /// The key is gone.
    Stale,
    /// An operator closed the episode.
    Manual,
    /// The question changed.
    Superseded,
    /// The gate is gone.
    Removed,
    /// From fail to warn. Last, for rows of the journal hold the numbers of the others.
    Lowered,
}

impl Cause {
    /// The word in tables and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Raised => "raised",
            Self::Recovering => "recovering",
            Self::Relapsed => "relapsed",
            Self::Cancelled => "cancelled",
            Self::Passed => "passed",
            Self::Stale => "stale",
            Self::Manual => "manual",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
            Self::Lowered => "lowered",
        }
    }
}

/// One row of the journal to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Phase,
    /// After.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
    /// Episode and number of the transition inside it, from 0; `None` outside of episodes.
    pub episode: Option<(u64, u32)>,
    /// It would be told to receivers, and the gate is in `dry_run`.
    pub suppressed: bool,
}

impl Transition {
    /// Whether receivers are told, unless it is suppressed.
    pub const fn is_told(&self) -> bool {
        matches!(self.cause, Cause::Firing | Cause::Raised | Cause::Lowered) || matches!(self.to, Phase::Resolved)
    }

    /// Whether it is a moment at which `on_fail` may start its pipeline: never a lower level.
    pub const fn may_start(&self) -> bool {
        matches!(self.cause, Cause::Firing | Cause::Raised)
    }
}

/// Wall time at which the daemon did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downtime {
    /// When it was last known to run, ns since 1970.
    pub from_ns: i64,
    /// When it ran again.
    pub to_ns: i64,
}

/// The moment of a step.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The tick, ns since 1970.
    pub t_ns: i64,
    /// The wall clock; only the end of [`RESOLVED_FOR_NS`] depends on it.
    pub wall_ns: i64,
    /// All that are known.
    pub downtimes: &'a [Downtime],
}

/// What of the gate and its group decides, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// From the tick before to this one: the group's interval, or a step of the gate's schedule.
    pub interval_ns: i64,
    /// `for`; without effect beside `fire_after`.
    pub hold_for_ns: i64,
    /// `fire_after`
    pub fire_after: Option<FireAfter>,
    /// `keep_firing_for`
    pub keep_firing_for_ns: i64,
    /// `step_down_after`
    pub step_down_after_ns: Option<i64>,
    /// `mode: dry_run`
    pub dry_run: bool,
}

/// What is known of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Number of the open or last episode; 0 before the first.
    pub episode: u64,
    /// Number that the next transition inside that episode gets.
    pub next_transition: u32,
    /// First tick of the breach.
    pub active_at_ns: Option<i64>,
    /// Tick at which the open or last episode began.
    pub fired_at_ns: Option<i64>,
    /// Wall time at which the last episode ended.
    pub resolved_wall_ns: Option<i64>,
    /// The last effective tick and what it was.
    previous: Option<(i64, Input)>,
    /// h_any
    breach_ns: Option<i64>,
    /// h_fail
    fail_ns: Option<i64>,
    /// q
    clear_ns: Option<i64>,
    /// The last effective inputs, the newest at the end; empty without `fire_after`.
    ring: Vec<Input>,
    /// d
    calm_ns: Option<i64>,
}

impl State {
    /// Of a key that was never seen in this generation, whose last episode was number `episode`.
    pub fn fresh(episode: u64) -> Self {
        Self { episode, ..Self::default() }
    }

    /// The last effective tick of the key, ns since 1970.
    pub fn previous_ns(&self) -> Option<i64> {
        self.previous.map(|(t_ns, _)| t_ns)
    }

    /// Event time for which `clear` has held so far; `None` unless the key is recovering.
    pub fn cleared_for_ns(&self) -> Option<i64> {
        self.clear_ns
    }

    /// Event time to add for an effective tick at `now`.
    fn passed_ns(&self, now: &Now<'_>, rule: &Rule) -> i64 {
        let Some((previous_ns, _)) = self.previous else { return 0 };
        let lies_between = |d: &Downtime| previous_ns.max(d.from_ns) < now.t_ns.min(d.to_ns);
        if now.downtimes.iter().any(lies_between) {
            return 0;
        }
        // More than an interval means that other ticks lie between.
        (now.t_ns - previous_ns).clamp(0, rule.interval_ns)
    }

    fn count(&mut self, now: &Now<'_>, x: Input, rule: &Rule) {
        let passed_ns = self.passed_ns(now, rule);
        let before = self.previous.map(|(_, input)| input);
        let grow = |so_far: Option<i64>, counts: fn(Input) -> bool| {
            counts(x).then(|| match before {
                Some(before) if counts(before) => so_far.unwrap_or(0).saturating_add(passed_ns),
                _ => 0,
            })
        };
        self.breach_ns = grow(self.breach_ns, Input::is_breach);
        self.fail_ns = grow(self.fail_ns, |input| input == Input::Fail);
        if x == Input::Clear && matches!(self.phase, Phase::Recovering(_)) {
            self.clear_ns = Some(self.clear_ns.unwrap_or(0).saturating_add(passed_ns));
        }
        if self.phase.level() == Some(Level::Fail) {
            self.calm_ns = Some(match x {
                Input::Fail => 0,
                _ => self.calm_ns.unwrap_or(0).saturating_add(passed_ns),
            });
        }
        match rule.fire_after {
            Some(FireAfter { m, .. }) => {
                self.ring.push(x);
                let surplus = self.ring.len().saturating_sub(usize::from(m));
                self.ring.drain(..surplus);
            }
            None => self.ring.clear(),
        }
        self.previous = Some((now.t_ns, x));
    }

    /// The highest level whose breach, of which `x` is one, lasted long enough or came often enough.
    fn armed(&self, x: Input, rule: &Rule) -> Option<Level> {
        let lasted = |ns: Option<i64>| ns.is_some_and(|ns| ns >= rule.hold_for_ns);
        let often = |n: u8, counts: fn(Input) -> bool| {
            self.ring.iter().filter(|input| counts(**input)).count() >= usize::from(n)
        };
        let (fail, any) = match rule.fire_after {
            None => (lasted(self.fail_ns), lasted(self.breach_ns)),
            Some(FireAfter { n, .. }) => (often(n, |input| input == Input::Fail), often(n, Input::is_breach)),
        };
        match (fail && x == Input::Fail, any && x.is_breach()) {
            (true, _) => Some(Level::Fail),
            (false, true) => Some(Level::Warn),
            (false, false) => None,
        }
    }
}

/// The change in the making: a state and the transitions that led to it.
struct Change<'a> {
    state: State,
    transitions: Vec<Transition>,
    now: &'a Now<'a>,
    dry_run: bool,
}

impl Change<'_> {
    fn go(&mut self, to: Phase, cause: Cause) {
        let state = &mut self.state;
        let from = state.phase;
        if cause == Cause::Firing {
            state.episode += 1;
            state.next_transition = 0;
            state.fired_at_ns = Some(self.now.t_ns);
        }
        if to == Phase::Resolved {
            state.resolved_wall_ns = Some(self.now.wall_ns);
        }
        let episode = (from.is_open() || to.is_open()).then(|| {
            state.next_transition += 1;
            (state.episode, state.next_transition - 1)
        });
        state.phase = to;
        let mut transition = Transition { from, to, cause, episode, suppressed: false };
        transition.suppressed = self.dry_run && transition.is_told();
        self.transitions.push(transition);
    }
}

/// One effective or held tick of a key: rows 1 to 16 and 19.
pub fn step(state: &State, now: &Now<'_>, x: Input, rule: &Rule) -> (State, Vec<Transition>) {
    let mut change = Change { state: state.clone(), transitions: Vec::new(), now, dry_run: rule.dry_run };
    if x.is_effective() {
        change.state.count(now, x, rule);
    }
    let armed = change.state.armed(x, rule);
    match (state.phase, x) {
        // Row 16 and row 15; a resolved key that goes is told already.
        (Phase::Firing(_) | Phase::Recovering(_), Input::Gone) => change.go(Phase::Resolved, Cause::Stale),
        (Phase::Pending, Input::Gone) => change.go(Phase::Inactive, Cause::Stale),
        // Row 19.
        (Phase::Resolved, Input::Pass | Input::Clear | Input::Hold | Input::Gone) => {
            let since_ns = state.resolved_wall_ns.map_or(i64::MAX, |at| now.wall_ns.saturating_sub(at));
            if since_ns >= RESOLVED_FOR_NS {
                change.state.phase = Phase::Inactive;
            }
        }
        // Row 14.
        (_, Input::Hold | Input::Gone) => {}
        // Rows 1 to 4.
        (Phase::Inactive | Phase::Resolved | Phase::Pending, Input::Warn | Input::Fail) => {
            if state.phase != Phase::Pending {
                change.state.active_at_ns = Some(now.t_ns);
            }
            match armed {
                Some(level) => change.go(Phase::Firing(level), Cause::Firing),
                None if state.phase == Phase::Pending => {}
                None => change.go(Phase::Pending, Cause::Pending),
            }
        }
        // Row 5.
        (Phase::Pending, Input::Pass | Input::Clear) => {
            if !change.state.ring.iter().any(|input| input.is_breach()) {
                change.go(Phase::Inactive, Cause::Cancelled);
            }
        }
        (Phase::Inactive, Input::Pass | Input::Clear) => {}
        // Rows 9 and 10.
        (Phase::Firing(level), Input::Clear) => {
            if rule.keep_firing_for_ns == 0 {
                change.go(Phase::Resolved, Cause::Passed);
            } else {
                change.state.clear_ns = Some(0);
                change.go(Phase::Recovering(level), Cause::Recovering);
            }
        }
        // Rows 11 and 12.
        (Phase::Recovering(_), Input::Clear) => {
            if change.state.clear_ns.is_some_and(|ns| ns >= rule.keep_firing_for_ns) {
                change.go(Phase::Resolved, Cause::Passed);
            }
        }
        // Row 7.
        (Phase::Firing(Level::Fail), Input::Warn | Input::Pass) => {
            let calm_ns = change.state.calm_ns.unwrap_or(0);
            if rule.step_down_after_ns.is_some_and(|after_ns| calm_ns >= after_ns) {
                change.go(Phase::Firing(Level::Warn), Cause::Lowered);
            }
        }
        // Rows 13, 6 and 8. A relapse never lowers at once: row 13 leads to row 6 alone.
        (Phase::Firing(level) | Phase::Recovering(level), Input::Warn | Input::Fail | Input::Pass) => {
            if matches!(state.phase, Phase::Recovering(_)) {
                change.state.clear_ns = None;
                change.go(Phase::Firing(level), Cause::Relapsed);
            }
            if level == Level::Warn && armed == Some(Level::Fail) {
                change.go(Phase::Firing(Level::Fail), Cause::Raised);
            }
        }
    }
    if !change.state.phase.is_open() {
        change.state.clear_ns = None;
    }
    if change.state.phase.level() != Some(Level::Fail) {
        change.state.calm_ns = None;
    }
    (change.state, change.transitions)
}

/// An operator closes the episode: row 17. `None` if there is no open one.
pub fn close(state: &State, now: &Now<'_>, dry_run: bool) -> Option<(State, Transition)> {
    state.phase.is_open().then(|| leave(state, now, dry_run, Phase::Resolved, Cause::Manual))
}

/// The generation of the key ends, because the question changed (`Cause::Superseded`) or the gate is gone
/// (`Cause::Removed`): row 18. `None` if nobody needs to know.
pub fn end(state: &State, now: &Now<'_>, cause: Cause, dry_run: bool) -> Option<(State, Transition)> {
    match state.phase {
        Phase::Inactive | Phase::Resolved => None,
        Phase::Pending => Some(leave(state, now, dry_run, Phase::Inactive, cause)),
        Phase::Firing(_) | Phase::Recovering(_) => Some(leave(state, now, dry_run, Phase::Resolved, cause)),
    }
}

fn leave(state: &State, now: &Now<'_>, dry_run: bool, to: Phase, cause: Cause) -> (State, Transition) {
    let mut change = Change { state: state.clone(), transitions: Vec::new(), now, dry_run };
    change.go(to, cause);
    (change.state.clear_ns, change.state.calm_ns) = (None, None);
    let transition = change.transitions.pop().expect("`go` pushed one");
    (change.state, transition)
}
