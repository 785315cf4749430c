//! The pipelines that the daemon keeps in force (bpmn.md 13).
//!
//! Duty: deploy the compiled-in files and those of `engine.dir`, at start and on change. Guarantee: a file that cannot be
//! deployed leaves the version before in force and is reported for as long as it is so; files do not hinder each other;
//! of two files with one process id only the first counts. Left to others: what a deploy does (`bpmn::core`), showing
//! what is unhealthy (`telemetry`, `web`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bpmn::diagnostic::{Diagnostic, Severity};
use bpmn::lint::Registry;
use bpmn::model;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::source::{Source, files_below};
use super::{Engine, Error, SourceFile, starts};

/// The files of `pipelines/` as this binary was built, by path below it. A test keeps it equal to the folder.
pub const SHIPPED: &[(&str, &[u8])] = &[("regenerate.bpmn", include_bytes!("../../pipelines/regenerate.bpmn"))];

/// Time between two looks at the folder.
const EVERY: Duration = Duration::from_secs(2);
/// Who deploys, as the events have it.
const ACTOR: &str = "engine.dir";

/// Why a file is not in force.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unhealthy {
    /// The file or folder, as people call it.
    pub file: String,
    /// One sentence: what is wrong and the next move.
    pub reason: String,
}

/// Keeps files in force.
#[derive(Debug)]
pub struct Library {
    engine: Engine,
    dir: Option<PathBuf>,
    known: BTreeMap<Place, Known>,
    unhealthy: watch::Sender<Vec<Unhealthy>>,
}

/// Where a file comes from: compiled-in files stand before those of the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// By path below `pipelines/`.
    Shipped(String),
    /// By path below the folder.
    Dir(String),
}

/// A file that was found, and what its bytes and those beside it hash to.
#[derive(Debug)]
struct Found {
    source: Source,
    hash: String,
}

impl Found {
    fn of(source: Source) -> Self {
        let hash = model::version_hash(&source.content, source.bindings.as_deref().map(str::as_bytes));
        Self { source, hash }
    }
}

#[derive(Debug)]
struct Known {
    hash: String,
    name: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has errors; this is the reason.
    Refused(String),
    /// It may be deployed; these are its executable processes.
    Good(Vec<String>),
    /// It was.
    Deployed(Vec<String>),
}

impl Library {
    /// Over the files of `dir`, if there is one, and the compiled-in ones. Deploys nothing yet.
    pub fn new(engine: Engine, dir: Option<PathBuf>) -> Self {
        Self { engine, dir, known: BTreeMap::new(), unhealthy: watch::Sender::new(Vec::new()) }
    }

    /// What is not in force at the moment, by file; empty = all is well.
    pub fn unhealthy(&self) -> watch::Receiver<Vec<Unhealthy>> {
        self.unhealthy.subscribe()
    }

    /// Looks every 2 s until `stop`. The caller has refreshed once before triggers begin.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.refresh().await,
            }
        }
    }

    /// Deploys what is new or changed, once. Returns when all of it is in force or known to be unhealthy.
    pub async fn refresh(&mut self) {
        let dir = self.dir.clone();
        let hashes: BTreeMap<Place, String> =
            self.known.iter().map(|(place, known)| (place.clone(), known.hash.clone())).collect();
        let registry = self.engine.registry.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let (found, unhealthy) = look(dir.as_deref());
            let news: Vec<(Place, State)> = found
                .iter()
                .filter(|(place, found)| hashes.get(*place) != Some(&found.hash))
                .map(|(place, found)| (place.clone(), judge(&found.source, &registry)))
                .collect();
            (found, news, unhealthy)
        });
        let (found, news, mut unhealthy) = match looked.await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(%error, "looking for pipelines ended abnormally");
                return;
            }
        };
        // What cannot be read for a moment keeps its state: it is reported, and compared again when it can be read.
        let unreadable: Vec<String> = unhealthy.iter().map(|unhealthy| unhealthy.file.clone()).collect();
        let gone = |known: &Known| {
            !unreadable.iter().any(|file| known.name == *file || Path::new(&known.name).starts_with(file))
        };
        self.known.retain(|place, known| found.contains_key(place) || !gone(known));
        for (place, state) in news {
            let Some(Found { source, hash }) = found.get(&place) else { continue };
            self.known.insert(place, Known { hash: hash.clone(), name: source.name.clone(), state });
        }
        self.deploy(&found, &mut unhealthy).await;
        unhealthy.sort_by(|a, b| a.file.cmp(&b.file));
        self.unhealthy.send_if_modified(|shown| {
            for new in unhealthy.iter().filter(|new| !shown.contains(new)) {
                tracing::warn!(file = %new.file, reason = %new.reason, "a pipeline is not in force");
            }
            let changed = *shown != unhealthy;
            *shown = unhealthy;
            changed
        });
    }

    async fn deploy(&mut self, found: &BTreeMap<Place, Found>, unhealthy: &mut Vec<Unhealthy>) {
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for (place, known) in &mut self.known {
            let mut tell = |reason: String| unhealthy.push(Unhealthy { file: known.name.clone(), reason });
            let processes = match &known.state {
                State::Refused(reason) => {
                    tell(reason.clone());
                    continue;
                }
                State::Good(processes) | State::Deployed(processes) => processes.clone(),
            };
            let twice = processes.iter().find_map(|process| Some((process, owners.get(process)?)));
            if let Some((process, owner)) = twice {
                tell(format!(
                    "its process `{process}` is also that of {owner}, which counts; give one of them another id, or this \
                     file the path of the other to replace it"
                ));
                // Once the other file is gone, this one comes into force.
                known.state = State::Good(processes);
                continue;
            }
            owners.extend(processes.iter().map(|process| (process.clone(), known.name.clone())));
            let (State::Good(_), Some(Found { source, .. })) = (&known.state, found.get(place)) else { continue };
            let file = SourceFile { name: source.name.clone(), bytes: source.content.clone() };
            match self.engine.deploy(vec![file], Some(ACTOR.to_owned()), None).await {
                Ok(answer) => {
                    log(&known.name, &answer);
                    known.state = State::Deployed(processes);
                }
                Err(Error::Refused(findings)) => {
                    let reason = reason(&findings);
                    tell(reason.clone());
                    known.state = State::Refused(reason);
                }
                // Tried again at the next look.
                Err(error) => tell(error.to_string()),
            }
        }
    }
}

fn log(file: &str, answer: &bpmn::core::Answer) {
    let bpmn::core::Answer::Deployed(deployed) = answer else { return };
    for one in deployed {
        let (process, version, outcome) = (&one.process, one.version, one.outcome.as_str());
        tracing::info!(%file, %process, version, outcome, "pipeline in force");
    }
}

fn judge(source: &Source, registry: &Registry) -> State {
    let checked = source.check(registry);
    if checked.has_errors() {
        return State::Refused(reason(&checked.findings));
    }
    let processes = checked.definitions.iter().flat_map(|definitions| &definitions.processes);
    State::Good(processes.filter(|process| process.is_executable()).map(|process| process.id.clone()).collect())
}

/// The first error, and how many more there are.
fn reason(findings: &[Diagnostic]) -> String {
    let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let first = errors.next().map(ToString::to_string).unwrap_or_default();
    let more = match errors.count() {
        0 => String::new(),
        1 => " (and 1 more error)".to_owned(),
        n => format!(" (and {n} more errors)"),
    };
    format!("{first}{more}; the version before it stays in force, `weavergen pipeline check` lists everything")
}

/// Messages that start the processes of the compiled-in files and of those of `dir`; files that cannot be read or parsed
/// are left out. For checks that have no daemon.
pub fn message_starts(dir: Option<&Path>) -> BTreeMap<String, Vec<String>> {
    let (found, _) = look(dir);
    let parsed = found.values().filter_map(|found| model::parse(&found.source.content).ok());
    parsed.flat_map(|definitions| starts::message_starts(&definitions)).collect()
}

/// All files by their place, and what could not be read.
fn look(dir: Option<&Path>) -> (BTreeMap<Place, Found>, Vec<Unhealthy>) {
    let shipped = |path: &str, content: &[u8]| Found::of(Source::new(format!("builtin:{path}"), content));
    let mut found: BTreeMap<Place, Found> =
        SHIPPED.iter().map(|(path, content)| (Place::Shipped((*path).to_owned()), shipped(path, content))).collect();
    let mut unhealthy = Vec::new();
    let Some(dir) = dir else { return (found, unhealthy) };
    let paths = files_below(dir).unwrap_or_else(|(at, error)| {
        let (file, reason) = (at.display().to_string(), format!("the folder cannot be read: {error}"));
        unhealthy.push(Unhealthy { file, reason });
        std::collections::BTreeSet::new()
    });
    for path in paths {
        let below = path.strip_prefix(dir).unwrap_or(&path);
        let below = below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        let name = path.display().to_string();
        match Source::read(&path, name.clone()) {
            Ok(source) => {
                let shipped = Place::Shipped(below.clone());
                let place = if found.contains_key(&shipped) { shipped } else { Place::Dir(below) };
                found.insert(place, Found::of(source));
            }
            Err(error) => {
                // A shipped file that it replaces must not come back meanwhile.
                found.remove(&Place::Shipped(below));
                unhealthy.push(Unhealthy { file: name, reason: format!("the file cannot be read: {error}") });
            }
        }
    }
    (found, unhealthy)
}

#[cfg(test)]
mod tests;
