//! The section `learn` (learn.md 1).
//!
//! Duty: its keys and defaults. Guarantee: a key or learner that is specified and not built is refused by name. Left to
//! others: pattern files (`patterns`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::gate;
use crate::gate::scalar::duration_text;
use crate::yaml::{Mark, Section};

/// A part with a switch (L4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Learner {
    /// Pattern files.
    Patterns,
    /// The record of variants.
    Feedback,
}

/// What a learner does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Computes, records, and is acted on.
    #[default]
    On,
    /// Computes and records; nothing acts on it.
    Shadow,
    /// Nothing.
    Off,
}

const SWITCHES: [(&str, Switch); 3] = [("on", Switch::On), ("shadow", Switch::Shadow), ("off", Switch::Off)];
/// Learners that are specified and not built.
const COMING: [&str; 10] = [
    "statistics",
    "insights",
    "modes",
    "mining",
    "correlation",
    "choice",
    "evolution",
    "prediction",
    "risk",
    "sharing",
];

/// Least and most of `every`.
pub const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
/// Least and most of `window`.
pub const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(90 * 86_400));

/// What `learn.patterns` says of one file; it wins over the file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Where it stands.
    pub mark: Mark,
    /// Whether the file runs.
    pub enabled: bool,
    /// `every`.
    pub every: Option<Duration>,
    /// `window`.
    pub window: Option<Duration>,
}

/// Settings of the learning module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether anything is learned; `false` opens no file.
    pub enabled: bool,
    /// Pattern files.
    pub patterns_learner: Switch,
    /// The record of variants.
    pub feedback_learner: Switch,
    /// Grid of a pattern file that names none.
    pub interval: Duration,
    /// How far M must be past a tick.
    pub query_offset: Duration,
    /// Window of a pattern file that names none.
    pub window: Duration,
    /// By file stem.
    pub patterns: BTreeMap<String, Override>,
    /// Of all chance (F10).
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        let gates = gate::Config::default();
        Self {
            enabled: true,
            patterns_learner: Switch::On,
            feedback_learner: Switch::On,
            interval: gates.interval,
            query_offset: gates.query_offset,
            window: Duration::from_secs(300),
            patterns: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Config {
    /// Reads the section; `gates` gives the defaults of `interval` and `query_offset`.
    pub fn read(section: &Section<'_>, gates: &gate::Config) -> Self {
        let default = Self::default();
        let learners = section.block("learners");
        let switch = |key: &'static str| learners.choice(key, &SWITCHES).unwrap_or_default();
        let (patterns_learner, feedback_learner) = (switch("patterns"), switch("feedback"));
        // What chooses by it reads the table itself, and would have to be kept from it.
        if feedback_learner == Switch::Shadow {
            let text = "shadow is coming: weavergen does not have it for this learner yet";
            learners.check_with_help("feedback", text, "write on or off");
        }
        for key in COMING {
            if learners.choice(key, &SWITCHES).is_some_and(|switch| switch != Switch::Off) {
                learners.check(key, "is coming: weavergen does not have this learner yet");
            }
        }
        for key in ["memory", "bytes", "spans_per_slice"] {
            if section.is_set(key) {
                section.check(key, "is coming: weavergen does not keep slices yet");
            }
        }
        let interval = between(section, "interval", EVERY).unwrap_or(gates.interval);
        let query_offset = between(section, "query_offset", gate::config::QUERY_OFFSET).unwrap_or(gates.query_offset);
        Self {
            enabled: section.boolean("enabled").unwrap_or(default.enabled),
            patterns_learner,
            feedback_learner,
            interval,
            query_offset,
            window: between(section, "window", WINDOW).unwrap_or(default.window),
            patterns: overrides(&section.block("patterns")),
            seed: section.number("seed", 0..=u64::MAX).unwrap_or(default.seed),
        }
    }

    /// What `learner` does.
    pub fn switch(&self, learner: Learner) -> Switch {
        match (self.enabled, learner) {
            (false, _) => Switch::Off,
            (true, Learner::Patterns) => self.patterns_learner,
            (true, Learner::Feedback) => self.feedback_learner,
        }
    }
}

fn between(section: &Section<'_>, key: &'static str, (least, most): (Duration, Duration)) -> Option<Duration> {
    let value = section.duration(key)?;
    if value < least || value > most {
        section.check(key, format!("must be from {} to {}", duration_text(least), duration_text(most)));
    }
    Some(value)
}

fn overrides(block: &Section<'_>) -> BTreeMap<String, Override> {
    let read = |entry| {
        let of: Section<'_> = block.block_of(entry);
        Override {
            mark: entry.mark.clone(),
            enabled: of.boolean("enabled").unwrap_or(true),
            every: between(&of, "every", EVERY),
            window: between(&of, "window", WINDOW),
        }
    };
    block.entries().iter().map(|entry| (entry.key.clone(), read(entry))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Problems, parse};

    fn read(text: &str) -> (Config, Vec<String>) {
        let tree = parse(text, &Mark::of_source(0, "c.yaml")).unwrap();
        let problems = Problems::new();
        let config = Config::read(&Section::root(&tree, &problems).with_days(), &gate::Config::default());
        (config, problems.into_sorted().iter().map(|p| format!("{}: {}", p.path, p.text)).collect())
    }

    #[test]
    fn what_is_not_written_has_the_defaults_of_gates() {
        let (config, problems) = read("seed: 7");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(config, Config { seed: 7, ..Config::default() });
        assert_eq!((config.interval.as_secs(), config.query_offset.as_secs(), config.window.as_secs()), (30, 20, 300));
    }

    #[test]
    fn every_key_of_first_is_read() {
        let text = "enabled: true\nlearners: {patterns: shadow, feedback: off, risk: off}\ninterval: 1m\n\
                    query_offset: 5s\nwindow: 1h\npatterns: {a: {enabled: false, every: 2m, window: 1d}}";
        let (config, problems) = read(text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(config.switch(Learner::Patterns), Switch::Shadow);
        assert_eq!(config.switch(Learner::Feedback), Switch::Off);
        let of = &config.patterns["a"];
        assert_eq!((of.enabled, of.every.unwrap().as_secs(), of.window.unwrap().as_secs()), (false, 120, 86_400));
    }

    #[test]
    fn what_is_coming_unknown_or_out_of_range_is_told() {
        let text = "memory: 3\nlearners: {mining: on, nonsense: on, patterns: maybe, feedback: shadow}\nwindow: 91d\n\
                    intervall: 1s\npatterns: {a: {evry: 1s}}";
        let (_, problems) = read(text);
        let all = problems.join("\n");
        for part in [
            "memory: is coming",
            "learners::mining: is coming",
            "has invalid keys: nonsense",
            "learners::patterns: must be one of on, shadow, off",
            "learners::feedback: shadow is coming",
            "window: must be from 1s to 90d",
            "has invalid keys: intervall",
            "patterns::a: has invalid keys: evry",
        ] {
            assert!(all.contains(part), "{part} in\n{all}");
        }
    }
}
