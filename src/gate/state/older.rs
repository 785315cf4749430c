//! States as earlier versions wrote them.
//!
//! Duty: their shape, and what they are now. Guarantee: a state that an earlier version wrote goes on where it was; what it
//! did not count begins at nothing. Left to others: which version a row has (`journal::rows`).

use serde::{Deserialize, Serialize};

use super::super::verdict::Input;
use super::{Phase, State};

/// Before `fire_after` and `step_down_after`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::gate) struct StateV1 {
    phase: Phase,
    episode: u64,
    next_transition: u32,
    active_at_ns: Option<i64>,
    fired_at_ns: Option<i64>,
    resolved_wall_ns: Option<i64>,
    previous: Option<(i64, Input)>,
    breach_ns: Option<i64>,
    fail_ns: Option<i64>,
    clear_ns: Option<i64>,
}

impl From<StateV1> for State {
    fn from(old: StateV1) -> Self {
        Self {
            phase: old.phase,
            episode: old.episode,
            next_transition: old.next_transition,
            active_at_ns: old.active_at_ns,
            fired_at_ns: old.fired_at_ns,
            resolved_wall_ns: old.resolved_wall_ns,
            previous: old.previous,
            breach_ns: old.breach_ns,
            fail_ns: old.fail_ns,
            clear_ns: old.clear_ns,
            ring: Vec::new(),
            calm_ns: None,
        }
    }
}

#[cfg(test)]
impl From<&State> for StateV1 {
    /// What an earlier version would have written.
    fn from(state: &State) -> Self {
        Self {
            phase: state.phase,
            episode: state.episode,
            next_transition: state.next_transition,
            active_at_ns: state.active_at_ns,
            fired_at_ns: state.fired_at_ns,
            resolved_wall_ns: state.resolved_wall_ns,
            previous: state.previous,
            breach_ns: state.breach_ns,
            fail_ns: state.fail_ns,
            clear_ns: state.clear_ns,
        }
    }
}
