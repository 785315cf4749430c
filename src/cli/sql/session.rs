//! Who answers: a daemon, or a data folder that is read here.
//!
//! Duty: one statement to one of them. Guarantee: a statement over a folder sees what lies there when it begins. Left to
//! others: finding the daemon (`ask`), opening the folder (`offline`).

use std::path::PathBuf;

use super::progress::Progress;
use super::rows::{Origin, Rows};
use super::{Ask, Failure, ask, offline};
use crate::cli::sources::Offline;
use crate::clock::Clock;
use crate::query::render::value::text;
use crate::query::{Code, Error};

/// Where statements go.
#[derive(Debug)]
pub(super) struct Session {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Daemon(ask::Target),
    Folder(Box<offline::Folder>),
}

impl Session {
    pub(super) fn daemon(target: ask::Target) -> Self {
        Self { place: Place::Daemon(target) }
    }

    pub(super) fn folder(dir: PathBuf, offline: Offline, clock: Clock) -> Self {
        Self { place: Place::Folder(Box::new(offline::Folder::new(dir, offline, clock))) }
    }

    /// Runs `ask` as far as its first rows.
    pub(super) async fn rows(
        &self,
        ask: &Ask,
        units: Vec<(String, String)>,
        progress: Progress,
    ) -> Result<Rows, Failure> {
        let run = async {
            Ok::<_, Failure>(match &self.place {
                Place::Daemon(target) => Origin::Daemon(Box::new(ask::run(target, ask).await?)),
                Place::Folder(folder) => Origin::Offline(Box::new(folder.run(ask).await?)),
            })
        };
        // Boxed: the gateway's future is large.
        let from = progress.watch(0, Box::pin(run)).await?;
        Ok(Rows::new(from, units, progress))
    }

    /// All values of `sql` as text, NULL as none.
    pub(super) async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let ask = Ask { sql: sql.to_owned(), params: serde_json::Map::new(), rows: None, time: None };
        let mut rows = self.rows(&ask, Vec::new(), Progress::begin(false)).await?;
        let mut texts = Vec::new();
        while let Some(batch) = rows.next().await? {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| text(column, row));
                let cells: Result<_, _> = cells.collect();
                texts.push(cells.map_err(|error| Error::new(Code::Internal, error.to_string()))?);
            }
        }
        Ok(texts)
    }

    /// For people: where it is.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::Daemon(target) => target.url().to_owned(),
            Place::Folder(folder) => folder.dir().display().to_string(),
        }
    }
}
