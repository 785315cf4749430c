//! The command line.
//!
//! Duty: the tree of commands (collector_config.md 5) and their dispatch, one file a command. Guarantee: stdout carries
//! data only; usage errors end with 2. Left to others: what commands do (their files).

pub mod demo;
pub mod exit;
pub mod gates;
pub mod health;
pub mod loadgen;
pub mod output;
pub mod run;
pub mod sources;
pub mod sql;
pub mod validate;

use clap::{Parser, Subcommand};

use crate::clock::Clock;
use exit::Exit;

/// Spans in, durable, SQL out.
///
/// Without a command it runs the daemon.
#[derive(Debug, Parser)]
#[command(name = "weavergen", version, about, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `run`.
    #[command(flatten)]
    pub run: sources::Args,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Run(sources::Args),
    /// Check a configuration; opens no port and writes nothing
    Validate(validate::Args),
    /// Run one SQL statement, by the daemon or over a data folder
    Sql(sql::Args),
    /// Check gate files, list and show gates
    Gates(gates::Args),
    /// Ask the daemon whether it is ready
    Health(health::Args),
    /// Show the main job on an embedded store: nothing to install
    Demo(demo::Args),
    /// Send seeded traces to an OTLP endpoint and report what became of them
    Loadgen(loadgen::Args),
}

/// Runs the command.
///
/// Errors: as the command's file says; [`Exit::of`] gives the exit code.
pub fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Validate(args)) => validate::run(&args),
        Some(Command::Sql(args)) => {
            let data = crate::config::Environment::of_process().data_folder();
            let ran = runtime()?.block_on(sql::run(args, data, Clock::os()));
            ran.map(|()| Exit::Good).map_err(|failure| exit::Failure::from(failure).into())
        }
        Some(Command::Gates(args)) => {
            let data = crate::config::Environment::of_process().data_folder();
            runtime()?.block_on(gates::run(args, data, Clock::os()))
        }
        Some(Command::Health(args)) => runtime()?.block_on(health::run(&args)),
        Some(Command::Demo(args)) => runtime()?.block_on(demo::run(args)),
        Some(Command::Loadgen(args)) => runtime()?.block_on(loadgen::run(args, &Clock::os())),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}
