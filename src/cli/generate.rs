//! `weavergen generate` (semconv.md 9).
//!
//! Duty: render a target, show the difference, write it. Guarantee: `--check` and `--diff` change no file; stdout carries
//! differences only. Left to others: all of it (`generate`, `semconv`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::exit::{Exit, Failure};
use super::lines::print;
use crate::clock::Clock;
use crate::config::pipelines_dir;
use crate::disk::Disk;
use crate::error::Class;
use crate::generate::{self, Apply, Conflict, Error, Input, Registry, Stage, Templates};
use crate::semconv;

/// Flags of `generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of templates below registry/
    pub target: String,
    /// Folder to write to
    #[arg(default_value = "output")]
    pub output: PathBuf,
    /// Registry: a folder of definitions, or builtin:NAME
    #[arg(long, value_name = "R")]
    pub registry: String,
    /// Folder that holds registry/<TARGET>/ [default: the compiled-in set, with files of ./pipelines/templates over it]
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// Folder below the target's
    #[arg(long, value_name = "V")]
    pub variant: Option<String>,
    /// Set one parameter, over all files; repeatable
    #[arg(short = 'D', value_name = "KEY=YAML")]
    pub define: Vec<String>,
    /// YAML mapping of parameters, over those of weaver.yaml
    #[arg(long, value_name = "FILE")]
    pub params: Option<PathBuf>,
    /// Renderer
    #[arg(long, value_enum, default_value = "builtin")]
    pub engine: Engine,
    /// Write nothing; print the difference and end with 1 if there is one
    #[arg(long)]
    pub check: bool,
    /// Write nothing; print the difference
    #[arg(long)]
    pub diff: bool,
    /// Overwrite files that were edited by hand
    #[arg(long)]
    pub overwrite: bool,
}

/// `--engine`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Ours
    Builtin,
    /// The weaver binary
    Weaver,
}

/// Exit: 0 written, or nothing differs · 1 files edited by hand, or differences under `--check` · 2 usage · 69 another
/// process writes there · 74 input and output · 78 registry or templates bad.
pub fn run(args: &Args, clock: &Clock) -> anyhow::Result<Exit> {
    if args.engine == Engine::Weaver {
        let text = "WG-GEN-040 `--engine weaver` is not supported by weavergen yet; leave it out, or run `weaver registry \
                    generate` yourself";
        return Err(Failure::new(Exit::Unavailable, text).into());
    }
    let input = Input {
        target: args.target.clone(),
        variant: args.variant.clone(),
        templates: templates(args.templates.as_deref()).map_err(failure)?,
        registry: registry(&args.registry)?,
        params: params(args)?,
    };
    let disk = Disk::Os;
    generate::recover(&args.output, &disk).map_err(failure)?;
    let rendering = generate::render(&input).map_err(failure)?;
    if args.check || args.diff {
        let preview = generate::preview(&args.output, &rendering).map_err(failure)?;
        print(&preview.diff)?;
        let differs = preview.added + preview.changed + preview.removed > 0;
        return Ok(if args.check && differs { Exit::Bad } else { Exit::Good });
    }
    if generate::is_current(&args.output, &rendering).map_err(failure)? {
        eprintln!("{}: 0 files changed", args.output.display());
        return Ok(Exit::Good);
    }
    let id = format!("run-{}", clock.ulid().to_string().to_lowercase());
    let stage = Stage { output: args.output.clone(), id: id.clone(), input, expect_clean: false, disk: disk.clone() };
    let staged = generate::stage(&stage).map_err(failure)?.staged.expect("staging gives its folder");
    let apply = Apply {
        output: args.output.clone(),
        id,
        staged,
        overwrite: args.overwrite,
        expect_clean: false,
        disk: disk.clone(),
    };
    let applied = generate::apply(&apply);
    let pruned = generate::prune(&args.output, "run-", &disk);
    let done = applied.map_err(failure)?;
    pruned.map_err(failure)?;
    eprintln!(
        "{}: {} files changed, {} of them new, {} removed",
        args.output.display(),
        done.files_changed,
        done.added,
        done.removed
    );
    Ok(Exit::Good)
}

/// The resolved registry that `--registry` names; the one call to `semconv`.
fn registry(text: &str) -> anyhow::Result<Registry> {
    let failure = |error: semconv::Error| {
        let exit = if error.class() == Class::NotFound { Exit::Io } else { Exit::Config };
        Failure::new(exit, error.to_string())
    };
    // A name that is not shipped is a wrong setting, not a folder that cannot be read.
    let source = semconv::Source::parse(text).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let loaded = semconv::Registry::load(&source, pipelines_dir().as_deref()).map_err(failure)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(Registry { view: loaded.registry.template_view(), hash: loaded.registry.hash().to_owned() })
}

fn templates(dir: Option<&Path>) -> Result<Templates, Error> {
    match dir {
        Some(dir) => Templates::folder(dir),
        None => match pipelines_dir().map(|dir| dir.join("templates")).filter(|dir| dir.is_dir()) {
            Some(dir) => Templates::builtin().overlaid(&dir),
            None => Ok(Templates::builtin()),
        },
    }
}

fn params(args: &Args) -> anyhow::Result<BTreeMap<String, Json>> {
    let mut params = BTreeMap::new();
    if let Some(file) = &args.params {
        let unreadable = |error| Failure::new(Exit::Io, format!("cannot read {}: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        params.extend(generate::params_file(&text, &file.display().to_string()).map_err(failure)?);
    }
    for text in &args.define {
        let (key, value) = generate::param(text).map_err(failure)?;
        params.insert(key, value);
    }
    Ok(params)
}

fn failure(error: Error) -> Failure {
    let exit = match &error {
        Error::Argument(_) => Exit::Usage,
        Error::Conflict(_) | Error::Staged { .. } | Error::Revert { .. } => Exit::Bad,
        Error::Locked(_) => Exit::Unavailable,
        Error::Io { .. } => Exit::Io,
        Error::NoTarget { .. }
        | Error::Config(_)
        | Error::Unsupported(_)
        | Error::Template { .. }
        | Error::Twice { .. }
        | Error::Path { .. } => Exit::Config,
    };
    if let Error::Conflict(conflicts) = &error {
        let text: String = conflicts.iter().map(|Conflict { yours, ours, .. }| format!("{yours}{ours}")).collect();
        // That files were edited by hand is what has to be told, also where the difference cannot be.
        drop(print(&text));
    }
    Failure::new(exit, error.to_string())
}
