//! `engine:` of the configuration (bpmn.md 17).
//!
//! Duty: the pipelines folder, jobs, and from which depth on evidence starts nothing. Guarantee: keys that are specified
//! and not built are refused by name. Left to others: `jobs` (`job::config`).

use std::path::PathBuf;

use super::job;
use super::trigger::MAX_DEPTH;
use crate::yaml::Section;

/// `engine`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `dir`: folder of pipelines; files replace compiled-in ones of the same path.
    pub dir: Option<PathBuf>,
    /// `jobs`
    pub jobs: job::Config,
    /// `spans.depth`: evidence from this depth on starts no pipeline.
    pub depth: u32,
}

impl Settings {
    /// Reads the section; `default_dir` stands where `dir` is not set.
    pub fn read(section: &Section<'_>, default_dir: Option<PathBuf>) -> Self {
        let dir = section.text("dir").map(PathBuf::from).or(default_dir);
        let jobs = job::Config::read(&section.block("jobs"));
        let spans = section.block("spans");
        let depth = spans.number("depth", 1..=1_000).and_then(|depth| u32::try_from(depth).ok()).unwrap_or(MAX_DEPTH);
        spans.not_yet(&["export"]);
        section.not_yet(&["timezone", "durability", "retention", "limits", "lint"]);
        Self { dir, jobs, depth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Mark, Problems, parse};

    fn read(text: &str) -> (Settings, Vec<String>) {
        let problems = Problems::new();
        let node = parse(text, &Mark::of_source(0, "c")).unwrap();
        let settings = Settings::read(&Section::root(&node, &problems), Some("./pipelines".into()));
        (settings, problems.into_sorted().into_iter().map(|p| format!("{}: {}", p.path, p.text)).collect())
    }

    #[test]
    fn the_folder_is_what_is_said_or_else_the_usual_one() {
        let (settings, problems) = read("dir: /srv/p\njobs: {roots: [/srv]}\nspans: {depth: 3}");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((settings.dir, settings.depth), (Some("/srv/p".into()), 3));
        assert_eq!(settings.jobs.roots, [PathBuf::from("/srv")]);
        let (usual, _) = read("jobs: {}");
        assert_eq!((usual.dir, usual.depth), (Some("./pipelines".into()), 1));
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let (_, problems) = read("retention: 1d\ntimezone: UTC\nspans: {export: true, depth: 0}");
        for key in ["retention", "timezone", "spans::export", "spans::depth"] {
            assert!(problems.iter().any(|problem| problem.contains(key)), "{key}: {problems:?}");
        }
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
