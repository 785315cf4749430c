//! Due timers (S22).
//!
//! Duty: command `Tick`. Guarantee: in (due, key) order, each once, the consequences of one before the next. Left to
//! others: when to tick (`engine`).

use super::command::Answer;
use super::element::boundary;
use super::machine::Machine;
use super::message;
use super::state::Key;

/// Timers that one step fires; the rest is told to the caller, who ticks again.
const MOST_TIMERS: u32 = 256;

pub(super) fn tick(machine: &mut Machine<'_>) -> Answer {
    message::forget(machine);
    let mut fired = 0;
    // one at a time: an earlier one may close the host of a later one
    while fired < MOST_TIMERS {
        let Some((timer, row)) = machine.view().due_timers(machine.now_ms, 1).pop() else { break };
        let due_ms = machine
            .view()
            .timers_of(row.element)
            .into_iter()
            .find_map(|(key, due)| (key == timer).then_some(due))
            .unwrap_or(machine.now_ms);
        boundary::fire(machine, timer, due_ms, &row);
        machine.run();
        fired += 1;
    }
    let to = Key::Timer(machine.now_ms.saturating_add(1), 0);
    let more = !machine.view().scan(&Key::Timer(i64::MIN, 0), &to, 1).is_empty();
    Answer::Ticked { fired, more }
}
