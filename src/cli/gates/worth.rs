//! What the outcome of a key is worth in CI (the second table of gates.md 12).
//!
//! Duty: from how a key fared to passed, warned, failed, skipped or an error, and all of them to an exit code. Guarantee: pure;
//! what was not judged is never good, unless its gate or the command line says so. Left to others: how it is shown (`report`).

use crate::cli::exit::Exit;
use crate::gate::definition::{FireAfter, Mode, Policy};
use crate::gate::playback::Found;
use crate::gate::scalar::duration_text;
use crate::gate::state::Level;
use crate::gate::verdict::Outcome;

/// `--fail-on`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Only what fails
    #[default]
    Fail,
    /// Warnings too: exit code 4
    Warn,
}

/// What the command line lets pass.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    /// `--allow-no-data`
    pub no_data: &'a [glob::Pattern],
    /// `--fail-on`
    pub fail_on: FailOn,
}

/// What a key is worth, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// `pass` holds.
    Passed,
    /// Not judged, and that is allowed.
    Skipped,
    /// `warn` holds.
    Warned,
    /// Not judged.
    Error,
    /// It failed.
    Failed,
}

impl Worth {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Warned => "warned",
            Self::Error => "not judged",
            Self::Failed => "failed",
        }
    }
}

/// The worth of `found`, and why it is no plain verdict.
pub fn worth(found: &Found, allowed: &Allowed<'_>) -> (Worth, Option<String>) {
    let (gate, outcome) = (&found.now.gate, found.now.run.outcome);
    let word = outcome.as_str();
    let is_dry = gate.mode == Mode::DryRun;
    let dry = |what: &str| (Worth::Skipped, Some(format!("{what}, and the gate is in `mode: dry_run`")));
    match found.bad {
        Some(level) if is_dry => return dry(level.as_str()),
        Some(Level::Fail) if outcome.is_effective() => return (Worth::Failed, None),
        Some(Level::Fail) => return (Worth::Failed, Some(format!("{word} counts as fail for this gate"))),
        Some(Level::Warn) if outcome == Outcome::Error => {
            return (Worth::Error, Some("beside it there was a warning".to_owned()));
        }
        Some(Level::Warn) if found.ends_bad.is_none() => return (Worth::Warned, None),
        Some(Level::Warn) | None => {}
    }
    // Whether it would have lasted is not in the spans: no verdict, as with too few samples. `--allow-no-data` does not
    // reach it, for there is data, and it is bad.
    if let Some(level) = found.ends_bad
        && outcome != Outcome::Error
    {
        if is_dry {
            return dry("pending");
        }
        let lacks = match gate.fire_after {
            Some(FireAfter { n, m }) => format!("was seen less often than `fire_after` {n} of {m}"),
            None => format!("had not lasted `for` {}", duration_text(gate.hold_for)),
        };
        let beside = match found.bad {
            Some(bad) => format!(" (level {}, beside an episode of level {})", level.as_str(), bad.as_str()),
            None => String::new(),
        };
        let text = format!(
            "the spans end in a breach that {lacks}, so nobody knows{beside}; give spans of a longer time, or judge once"
        );
        return (Worth::Error, Some(text));
    }
    let policy = match outcome {
        Outcome::Pass | Outcome::Warn | Outcome::Fail => {
            let brief = || match gate.fire_after {
                Some(FireAfter { n, m }) => format!("there was a breach less often than `fire_after` {n} of {m}"),
                None => "there was a breach shorter than `for`".to_owned(),
            };
            return (Worth::Passed, found.brief.then(brief));
        }
        Outcome::Error if is_dry => return dry(word),
        Outcome::Error => return (Worth::Error, None),
        Outcome::NoData => gate.no_data,
        Outcome::Insufficient => gate.insufficient,
        Outcome::Inconclusive => gate.inconclusive,
    };
    if policy == Policy::Pass {
        (Worth::Skipped, Some(format!("{word} is good for this gate")))
    } else if allowed.no_data.iter().any(|pattern| pattern.matches(&gate.name)) {
        (Worth::Skipped, Some(format!("{word} is allowed by `--allow-no-data`")))
    } else if is_dry {
        dry(word)
    } else {
        (Worth::Error, None)
    }
}

/// The exit code: 1 before 3 before 4. Without a span it is always 3.
pub fn exit(all: impl Iterator<Item = Worth>, overflow: bool, spans: u64, fail_on: FailOn) -> Exit {
    let worst = all.max().unwrap_or(Worth::Error);
    if spans == 0 {
        return Exit::NotJudged;
    }
    match worst {
        Worth::Failed => Exit::Bad,
        Worth::Error => Exit::NotJudged,
        _ if overflow => Exit::NotJudged,
        Worth::Warned if fail_on == FailOn::Warn => Exit::Warn,
        Worth::Warned | Worth::Skipped | Worth::Passed => Exit::Good,
    }
}

#[cfg(test)]
mod tests {
    use Worth::{Error, Failed, Passed, Skipped, Warned};

    use super::*;

    #[test]
    fn a_failure_goes_before_what_was_not_judged_and_that_before_a_warning() {
        let of = |all: &[Worth], fail_on| exit(all.iter().copied(), false, 1, fail_on) as u8;
        assert_eq!(of(&[Passed, Skipped], FailOn::Warn), 0);
        assert_eq!([of(&[Passed, Warned], FailOn::Fail), of(&[Passed, Warned], FailOn::Warn)], [0, 4]);
        assert_eq!(of(&[Warned, Error, Passed], FailOn::Warn), 3);
        assert_eq!(of(&[Error, Failed, Warned], FailOn::Warn), 1);
    }

    #[test]
    fn a_breach_that_is_no_episode_is_told_by_what_it_lacks() {
        use std::time::Duration;

        use serde_json::json;

        use crate::cli::gates::report::tests::found;
        use crate::gate::definition::tests::gate;
        use crate::gate::definition::{Gate, Test};

        let lasting = Gate { hold_for: Duration::from_secs(60), ..gate("g", Test::Above(0.9)) };
        let often = Gate { fire_after: Some(FireAfter { n: 3, m: 5 }), ..gate("g", Test::Above(0.9)) };
        let allowed = Allowed { no_data: &[glob::Pattern::new("*").unwrap()], fail_on: FailOn::Fail };
        let of = |gate: &Gate, outcome, ends_bad, bad| {
            let (worth, why) =
                worth(&Found { ends_bad, bad, brief: true, ..found(gate.clone(), outcome, &json!({})) }, &allowed);
            (worth, why.unwrap_or_default())
        };
        let (fail, warn) = (Some(Level::Fail), Some(Level::Warn));
        let ends = |lacks: &str, beside: &str| {
            format!(
                "the spans end in a breach that {lacks}, so nobody knows{beside}; give spans of a longer time, or judge once"
            )
        };
        let lasted = ends("had not lasted `for` 1m", "");
        assert_eq!(of(&lasting, Outcome::Fail, fail, None), (Error, lasted));
        let seen = ends("was seen less often than `fire_after` 3 of 5", "");
        assert_eq!(of(&often, Outcome::Fail, fail, None), (Error, seen));
        let worse = ends("had not lasted `for` 1m", " (level fail, beside an episode of level warn)");
        assert_eq!(of(&lasting, Outcome::Warn, fail, warn), (Error, worse));
        assert_eq!(of(&lasting, Outcome::Warn, None, warn), (Warned, String::new()));
        let brief = "there was a breach less often than `fire_after` 3 of 5".to_owned();
        assert_eq!(of(&often, Outcome::Pass, None, None), (Passed, brief));
        let brief = "there was a breach shorter than `for`".to_owned();
        assert_eq!(of(&lasting, Outcome::Pass, None, None), (Passed, brief));
    }

    #[test]
    fn no_span_no_key_or_an_unjudged_key_is_never_good() {
        for fail_on in [FailOn::Fail, FailOn::Warn] {
            assert_eq!(exit([Passed].into_iter(), false, 0, fail_on), Exit::NotJudged, "no span");
            assert_eq!(exit([Skipped].into_iter(), false, 0, fail_on), Exit::NotJudged, "no span, all allowed");
            assert_eq!(exit([Failed].into_iter(), false, 0, fail_on), Exit::NotJudged, "no span");
            assert_eq!(exit(std::iter::empty(), false, 9, fail_on), Exit::NotJudged, "no key");
            assert_eq!(exit([Passed].into_iter(), true, 9, fail_on), Exit::NotJudged, "keys over the limit");
        }
    }
}
