//! The flags that say where the configuration is (collector_config.md 1, 5).
//!
//! Duty: `--config`, `--set`, `--data`, `--unsupported`, shared by the commands that load a configuration; `--config` and
//! `--set` of those that read a data folder. Guarantee: a malformed `--set` is a usage error. Left to others: loading
//! (`config`).

use std::path::{Path, PathBuf};

use crate::config::{Assignment, Environment, Error, Loaded, Request, Unsupported, load};
use crate::store;

/// Where the configuration is.
#[derive(Clone, Debug, Default, clap::Args)]
// its group would bear the name of the struct that flattens it
#[group(skip)]
pub struct Args {
    /// Configuration file, Collector YAML; repeat to merge from left to right
    #[arg(long, value_name = "FILE")]
    pub config: Vec<String>,
    /// Set one key after all files, e.g. web.endpoint=localhost:9090; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// Data folder [default: $XDG_DATA_HOME/weavergen, ~/.local/share/weavergen or /var/lib/weavergen]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What to do about receivers and extensions that weavergen does not have
    #[arg(long, value_enum, default_value = "skip")]
    pub unsupported: OnUnsupported,
}

/// `--unsupported`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnUnsupported {
    /// Skip them with a warning while a supported receiver is left
    #[default]
    Skip,
    /// Refuse the configuration
    Error,
}

impl Args {
    /// Loads it.
    pub fn load(&self) -> Result<Loaded, Error> {
        let unsupported = match self.unsupported {
            OnUnsupported::Skip => Unsupported::Skip,
            OnUnsupported::Error => Unsupported::Error,
        };
        let (sources, sets, data) = (self.config.clone(), self.set.clone(), self.data.clone());
        load(&Request { sources, sets, data, unsupported }, &Environment::of_process())
    }
}

/// How a data folder is read without its daemon, and where files of ours are.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Offline {
    /// Configuration of the daemon, where it keeps the parts of the data folder in a bucket
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Vec<String>,
    /// Set one key of that configuration, e.g. storage.object_store.url=s3://spans or queries.dir=sql
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "url")]
    pub set: Vec<Assignment>,
}

impl Offline {
    /// Loads the configuration.
    pub fn load(&self) -> Result<Loaded, Error> {
        let (config, set) = (self.config.clone(), self.set.clone());
        Args { config, set, data: None, unsupported: OnUnsupported::Skip }.load()
    }

    /// Settings of the store in `folder`; the defaults without a configuration.
    pub fn store(&self, folder: &Path) -> Result<store::Config, Error> {
        if self.config.is_empty() && self.set.is_empty() {
            return Ok(store::Config::at(folder));
        }
        let (config, set) = (self.config.clone(), self.set.clone());
        let args = Args { config, set, data: Some(folder.to_owned()), unsupported: OnUnsupported::Skip };
        args.load().map(|loaded| loaded.config.store)
    }

    /// `queries.dir`: that of the configuration, else `./queries` where it exists.
    pub fn queries_dir(&self) -> Result<Option<PathBuf>, Error> {
        if self.config.is_empty() && self.set.is_empty() {
            return Ok(crate::config::queries_dir_by_default());
        }
        self.load().map(|loaded| loaded.config.queries_dir)
    }
}
