//! Timers.
//!
//! Duty: `timer-unparsable`, `timer-local-time`, `timer-in-past`, `cycle-on-catch`. Guarantee: a literal that passes can be
//! read at run time. Left to others: timers given as FEEL (`expression` compiles them; their value is known at run time).

use super::Check;
use crate::model::timer::{self, Instant};
use crate::model::{BoundaryTrigger, Node, NodeKind, Text, Timer};

pub(super) fn check(check: &mut Check<'_>) {
    for node in &check.process.scope.nodes {
        if let NodeKind::Boundary { interrupting, trigger: BoundaryTrigger::Timer(timer), .. } = &node.kind {
            one(check, node, timer, *interrupting);
        }
    }
}

fn one(check: &mut Check<'_>, node: &Node, timer: &Timer, interrupting: bool) {
    let id = &node.id;
    match timer {
        Timer::Missing => {
            let message = format!("the timer of `{id}` says neither a date nor a duration");
            let fix = format!("give `{id}` a timeDuration such as `PT10M`");
            check.error("timer-unparsable", node.at, id, message, fix);
        }
        Timer::Duration(text) if text.feel().is_none() => {
            if let Err(what) = timer::duration(&text.text) {
                unparsable(check, node, text, what, "PT10M");
            }
        }
        Timer::Date(text) if text.feel().is_none() => match timer::date(&text.text) {
            Err(what) => unparsable(check, node, text, what, "2025-01-31T08:00:00Z"),
            Ok(Instant::Local(_)) => {
                let message =
                    format!("the date `{}` of `{id}` has no offset, so the configured zone decides", text.text);
                let fix = format!("end the date of `{id}` with `Z` or an offset such as `+01:00`");
                check.info("timer-local-time", text.at, id, message, fix);
            }
            Ok(Instant::Utc(due)) => {
                if check.registry.now_ms.is_some_and(|now| due < now) {
                    let message = format!("the date `{}` of `{id}` is past, so the timer fires at once", text.text);
                    check.warning(
                        "timer-in-past",
                        text.at,
                        id,
                        message,
                        format!("give `{id}` a date to come or a duration"),
                    );
                }
            }
        },
        Timer::Cycle(text) => {
            if interrupting && text.feel().is_none() && !matches!(text.text.split('/').next(), Some("R1" | "R0")) {
                let message = format!("`{id}` interrupts, so of the cycle `{}` only the first time counts", text.text);
                check.warning("cycle-on-catch", text.at, id, message, format!("give `{id}` a timeDuration"));
            }
        }
        Timer::Duration(_) | Timer::Date(_) => {}
    }
}

fn unparsable(check: &mut Check<'_>, node: &Node, text: &Text, what: String, valid: &str) {
    let id = &node.id;
    check.error(
        "timer-unparsable",
        text.at,
        id,
        format!("the timer of `{id}`: {what}"),
        format!("write e.g. `{valid}` in `{id}`"),
    );
}
