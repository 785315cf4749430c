//! What every job works with: where parts are, how much memory there is, and the outputs so far.
//!
//! Duty: [`Room`] and [`Outputs`]. Guarantee: an output is durable before the next is begun, carries the whole input
//! set in its footer, and is deleted again if the job fails. Left to others: rows (`sort`, `scatter`), the commit
//! (`step`).

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;

use super::plan::Job;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::store::manifest::PartEntry;
use crate::store::part::{self, Inputs, Opened, PartSpec, Source, Totals, Writer};
use crate::store::{Config, Error, local};

/// Rows of a batch that is read, at most.
const BATCH_ROWS: u64 = 8192;
/// Bytes of a batch that is read, about.
const BATCH_BYTES: u64 = 1 << 20;
/// Arrow bytes of a row group at most.
const GROUP_BYTES: u64 = 64 << 20;

/// What a job may use.
pub struct Room<'a> {
    /// Where outputs are put.
    pub objects: Arc<dyn ObjectStore>,
    /// Where inputs are read, checked.
    pub reads: Arc<dyn ObjectStore>,
    /// Settings of the store.
    pub config: &'a Config,
    /// Names of the outputs.
    pub clock: &'a Clock,
    /// For scratch files below `tmp`.
    pub disk: &'a Disk,
    /// The folder of scratch files.
    pub tmp: &'a Path,
    /// Memory in bytes.
    pub share: u64,
    /// Whether the store is being closed.
    pub stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Room<'_> {
    /// Size of an output: it is held in memory until it is put.
    pub fn target_bytes(&self) -> u64 {
        self.config.compaction_target_bytes.min(self.share / 3).max(1)
    }

    /// Memory of rows that are being sorted.
    pub fn sort_bytes(&self) -> usize {
        usize::try_from(self.share / 3).unwrap_or(usize::MAX)
    }

    /// Memory of the index of parents.
    pub fn parent_bytes(&self) -> u64 {
        self.share / 8
    }

    /// Memory of the words of the rows that are being sorted.
    pub fn word_bytes(&self) -> usize {
        usize::try_from(self.share / 12).unwrap_or(usize::MAX)
    }

    /// Memory of the rows of a row group before they are encoded.
    pub fn group_bytes(&self) -> usize {
        usize::try_from((self.share / 8).min(GROUP_BYTES)).unwrap_or(usize::MAX)
    }

    /// Rows of a batch of `input`.
    pub fn batch_rows(&self, input: &Opened) -> usize {
        let bytes = BATCH_BYTES.min(self.share / 32);
        let rows = usize::try_from((bytes / input.row_bytes().max(1)).clamp(16, BATCH_ROWS)).expect("at most 8192");
        rows.min(self.config.row_group_rows)
    }

    /// Errors: [`Error::Draining`] once the store is being closed.
    pub fn go_on(&self) -> Result<(), Error> {
        if (self.stopped)() { Err(Error::Draining) } else { Ok(()) }
    }
}

/// The outputs of a job.
#[derive(Debug)]
pub struct Outputs {
    inputs: Inputs,
    /// Those that are durable, in order.
    pub put: Vec<PartEntry>,
    /// Sums over their rows.
    pub totals: Totals,
}

impl Outputs {
    /// None yet, of a set that will have `of`.
    pub fn of(job: &Job, of: u32) -> Self {
        let first = job.inputs.iter().map(|part| part.lsn[0]).min().unwrap_or(0);
        let last = job.inputs.iter().map(|part| part.lsn[1]).max().unwrap_or(0);
        let ulids = job.inputs.iter().filter_map(|entry| part::ulid_of(&entry.path)).collect();
        let inputs = Inputs { ulids, lsn: [first, last], index: 0, of };
        Self { inputs, put: Vec::new(), totals: Totals::default() }
    }

    /// Finishes `writer` as the next output and makes it durable.
    pub async fn put(&mut self, room: &Room<'_>, writer: Writer, like: &Like<'_>) -> Result<(), Error> {
        room.go_on()?;
        let Like { level, hour, stray, sort } = *like;
        self.totals.add(&writer.totals());
        let inputs = Inputs { index: u32::try_from(self.put.len()).unwrap_or(u32::MAX), ..self.inputs.clone() };
        let ulid = room.clock.ulid();
        let spec = PartSpec { ulid, level, hour: hour.to_owned(), stray, sort, source: Source::Parts(inputs) };
        let encoded = writer.finish(&spec).map_err(|e| part_error(&e))?;
        // Named before it is put: a put whose outcome is unknown is cleaned up as well.
        self.put.push(encoded.entry.clone());
        part::put_verified(&room.objects, &encoded, room.config).await.map_err(|e| part_error(&e))?;
        Ok(())
    }

    /// Deletes what was put; what cannot be deleted is left to the sweep.
    pub async fn discard(&mut self, room: &Room<'_>) {
        for entry in self.put.drain(..) {
            for path in part::files_of(&entry.path) {
                match room.objects.delete(&path.as_str().into()).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => tracing::warn!(path, %error, "an output of a failed compaction stays for the sweep"),
                }
            }
        }
        self.totals = Totals::default();
    }
}

/// What an output is, apart from rows and set.
#[derive(Clone, Copy, Debug)]
pub struct Like<'a> {
    /// 0 or 1.
    pub level: u8,
    /// `YYYY-MM-DDTHH`
    pub hour: &'a str,
    /// Its rows are of other hours.
    pub stray: bool,
    /// Sort rule of `wg.format`.
    pub sort: &'static str,
}

/// Parts speak for themselves: the message names the part. What may pass, want of room and a server that does not answer,
/// is told apart.
pub fn part_error(error: &part::Error) -> Error {
    match error {
        part::Error::Objects { .. } if local::is_full(error) => Error::DiskFull { detail: error.to_string() },
        part::Error::Objects { path, source } if is_of_server(source) => {
            Error::Unreachable { place: path.clone(), detail: source.to_string() }
        }
        part::Error::Corrupt { path, .. } => Error::PartDamaged { path: path.clone(), detail: error.to_string() },
        _ => Error::Parts { detail: error.to_string() },
    }
}

fn is_of_server(error: &object_store::Error) -> bool {
    let of_client = |error: &object_store::Error| matches!(error, object_store::Error::Generic { store: "S3", .. });
    local::causes(error).any(|at| at.downcast_ref::<object_store::Error>().is_some_and(of_client))
}

/// An error of a scratch file.
pub fn scratch_error(action: &'static str, path: &Path, error: &std::io::Error) -> Error {
    match local::is_full(error) {
        true => Error::DiskFull { detail: format!("{}: {error}", path.display()) },
        false => Error::io(action, path, error),
    }
}

/// An Arrow kernel failed on rows that were read well.
pub fn kernel_error(error: &arrow::error::ArrowError) -> Error {
    Error::Internal { detail: format!("compaction: {error}") }
}
