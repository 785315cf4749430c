//! `weavergen gates test FILES` (gates.md 15).
//!
//! Duty: read files of tests, play them one after the other, tell what differs. Guarantee: a file with a problem runs nothing;
//! a glob that matches nothing is an error, not a success. Left to others: playing (`stage`), comparing (`compare`).

use std::path::PathBuf;

use anyhow::Context as _;

use super::{compare, load_gates, must_match, stage};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::Lines;
use crate::cli::sources;
use crate::config::{Assignment, Config};
use crate::gate::suite::{self, Suite};
use crate::semconv;

/// Flags of `gates test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of tests, or globs
    #[arg(value_name = "FILES", required = true)]
    pub files: Vec<String>,
    /// Configuration whose queries, registry and receivers the gates use; repeatable
    #[arg(long, value_name = "FILE")]
    pub config: Vec<String>,
    /// Set one key of that configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
}

/// Exit: 0 all hold, 1 one does not, 78 a file of tests or gates is wrong.
///
/// Errors: see there; 74 for a file that cannot be read.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    must_match(&args.files)?;
    let (config, set) = (args.config, args.set);
    let config = sources::Args { config, set, ..sources::Args::default() }.load()?.config;
    let suites = suites(&args.files)?;
    let (mut passed, mut failed) = (0_usize, 0_usize);
    // Whoever stops reading still gets the exit code.
    let mut lines = Lines::stdout();
    for (path, suite) in suites {
        let config = with_registry(&config, &suite, &path)?;
        let name = path.display().to_string();
        // Planned once: that takes longer than most tests.
        let groups = load_gates(&config, &suite.gate_files)?;
        for test in &suite.tests {
            let played = stage::play(test, &groups, &config).await;
            let played = played.with_context(|| format!("{name}:{}: test {}", test.line, test.name))?;
            for (what, spans) in &played.taken.rejected_by {
                let input = test.input.as_deref().unwrap_or(&path).display();
                eprintln!(
                    "weavergen: {name}:{}: {spans} spans of {input} were set aside: {what}; the test goes without them",
                    test.line
                );
            }
            let told = compare::compare(test, &name, &played);
            if told.is_empty() {
                passed += 1;
                lines.put(format!("ok    {name}: {}", test.name))?;
                continue;
            }
            failed += 1;
            lines.put(format!("FAIL  {name}:{}: {}", test.line, test.name))?;
            for line in told.iter().flat_map(|text| text.lines()) {
                lines.put(format!("      {line}"))?;
            }
        }
    }
    lines.put(format!("{passed} passed, {failed} failed"))?;
    if passed + failed == 0 {
        return Err(Failure::new(Exit::Config, "the files hold no test").into());
    }
    Ok(if failed == 0 { Exit::Good } else { Exit::Bad })
}

fn suites(patterns: &[String]) -> anyhow::Result<Vec<(PathBuf, Suite)>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        if pattern.contains(['*', '?', '[']) && !PathBuf::from(pattern).is_file() {
            paths.extend(glob::glob(pattern)?.filter_map(Result::ok).filter(|path| path.is_file()));
        } else {
            paths.push(PathBuf::from(pattern));
        }
    }
    let (mut suites, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::new(Exit::Io, format!("{}: the file cannot be read: {error}", path.display())))?;
        match suite::read(&path, &text) {
            Ok(suite) => suites.push((path, suite)),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    if problems.is_empty() { Ok(suites) } else { Err(Failure::new(Exit::Config, problems.join("\n")).into()) }
}

fn with_registry(config: &Config, suite: &Suite, path: &std::path::Path) -> anyhow::Result<Config> {
    let mut config = config.clone();
    if let Some(registry) = &suite.registry {
        let source = semconv::Source::parse(registry)
            .map_err(|error| Failure::new(Exit::Config, format!("{}: `registry`: {error}", path.display())))?;
        config.semconv.registry = Some(source);
    }
    Ok(config)
}
