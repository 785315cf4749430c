//! `weavergen pipeline export` (bpmn.md 2, 17).
//!
//! Duty: a file as Mermaid or as its census, a run as Mermaid with the state of its elements. Guarantee: drawings are
//! exported too, whatever the rules say about running them; a file needs no daemon. Left to others: both forms
//! (`bpmn::model`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bpmn::diagnostic::Diagnostic;
use bpmn::model::{self, Definitions, StateClass};
use serde_json::Value;

use super::daemon::{Daemon, Row, rows};
use super::show::Run;
use super::{print, printable};
use crate::cli::exit::{Exit, Failure};
use crate::engine::source::Source;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("form").required(true)))]
pub struct Args {
    /// A BPMN file, or the key of a run
    #[arg(value_name = "FILE/KEY")]
    pub what: PathBuf,
    /// A flowchart in Mermaid's language
    #[arg(long, group = "form")]
    pub mermaid: bool,
    /// Counts, nodes, flows, diagrams of a file as one JSON object
    #[arg(long, group = "form")]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Exit: 0 done, 1 there is no such run, 2 a run has no census, 69 no daemon, 74 the file cannot be read, 78 it is no BPMN
/// file.
pub async fn run(args: Args, data_folder: PathBuf) -> anyhow::Result<Exit> {
    let text = match key(&args.what) {
        Some(_) if args.json => {
            let text = "--json prints what a file holds; `weavergen pipeline show KEY --format json` prints a run";
            return Err(Failure::new(Exit::Usage, text).into());
        }
        Some(key) => of_run(key, args.daemon, data_folder).await?,
        None if args.mermaid => model::mermaid(&read(&args.what)?),
        None => serde_json::to_string_pretty(&model::census(&read(&args.what)?)).context("write JSON")?,
    };
    print(&if text.ends_with('\n') { text } else { text + "\n" })?;
    Ok(Exit::Good)
}

/// The key of a run: digits, unless there is a file of this name.
fn key(what: &Path) -> Option<u64> {
    let text = what.to_str().filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()) && !what.exists())?;
    text.parse().ok()
}

fn read(path: &Path) -> Result<Definitions, Failure> {
    let name = path.display().to_string();
    let source = Source::read(path, name.clone())
        .map_err(|error| Failure::new(Exit::Io, format!("cannot read {name}: {error}")))?;
    parse(&name, &source.content)
}

fn parse(name: &str, content: &[u8]) -> Result<Definitions, Failure> {
    model::parse(content).map_err(|findings| {
        let line = |mut finding: Diagnostic| {
            finding.file = name.to_owned();
            printable(&finding.to_string())
        };
        Failure::new(Exit::Config, findings.into_iter().map(line).collect::<Vec<_>>().join("\n"))
    })
}

pub(super) async fn of_run(key: u64, daemon: Daemon, data_folder: PathBuf) -> Result<String, Failure> {
    let target = daemon.target(data_folder)?;
    let run = Run::of(&target, key).await?;
    let of = |name: &str| run.run.get(name).cloned().unwrap_or_default();
    let (process, hash) = (of("process_id"), of("hash"));
    let params = Row::from_iter([("process".to_owned(), process.clone()), ("hash".to_owned(), hash)]);
    let sql = "SELECT xml FROM pipeline_definitions WHERE process_id = $process AND hash = $hash";
    let found = rows(&target, sql, params).await?;
    let xml = found.first().and_then(|row| row.get("xml")).and_then(Value::as_str);
    let gone = || Failure::new(Exit::Bad, format!("the definition of run {key} is no longer there"));
    let definitions = parse(&format!("the definition of run {key}"), xml.ok_or_else(gone)?.as_bytes())?;
    let process = definitions.processes.iter().find(|of| process.as_str() == Some(of.id.as_str())).ok_or_else(gone)?;
    Ok(model::mermaid_of(process, &states(&run)))
}

/// Element id → its state: an incident before a token, a token before what has ended, of that the newest.
fn states(run: &Run) -> BTreeMap<String, StateClass> {
    let text = |row: &Row, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut states = BTreeMap::new();
    for step in &run.steps {
        let id = text(step, "element_id");
        let class = match text(step, "state").as_str() {
            "active" => StateClass::Active,
            "terminated" => StateClass::Cancelled,
            _ => StateClass::Done,
        };
        if states.get(&id) != Some(&StateClass::Active) {
            states.insert(id, class);
        }
    }
    states.extend(run.incidents.iter().map(|incident| (text(incident, "element_id"), StateClass::Incident)));
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_shows_before_a_token_and_a_token_before_what_has_ended() {
        let states = states(&super::super::show::tests::sample());
        let of = |id: &str| states[id];
        assert_eq!(of("a"), StateClass::Active);
        assert_eq!(of("b"), StateClass::Incident);
        assert_eq!((of("sub"), of("c")), (StateClass::Active, StateClass::Cancelled));
    }

    #[test]
    fn digits_are_a_run_unless_a_file_is_called_so() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(key(Path::new("17")), Some(17));
        assert_eq!(key(Path::new("17.bpmn")), None);
        std::fs::write(dir.path().join("17"), "").unwrap();
        assert_eq!(key(&dir.path().join("17")), None);
    }
}
