//! The command line.
//!
//! Duty: the tree of commands (collector_config.md 5) and their dispatch, one file a command. Guarantee: stdout carries
//! data only; usage errors end with 2. Left to others: what commands do (their files).

pub mod demo;
pub mod demo_service;
pub mod exit;
pub mod generate;
pub mod gates;
pub mod health;
pub mod learn;
mod lines;
pub mod loadgen;
pub mod output;
pub mod pipeline;
pub mod run;
pub mod sandbox;
pub mod semconv;
pub mod sources;
pub mod sql;
pub mod store;
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
    /// Run SQL, by the daemon or over a data folder: a statement, a named query, or a shell
    Sql(sql::Args),
    /// List, sum up, check, repair or flush the stored spans
    Store(store::Args),
    /// Registries of semantic conventions
    #[command(subcommand)]
    Semconv(semconv::Command),
    /// Check gate files, list and show gates
    Gates(gates::Args),
    /// BPMN pipelines: check, deploy, run, list, show, export
    #[command(subcommand)]
    Pipeline(pipeline::Command),
    /// Check pattern files, list what they found and what became of repairs
    #[command(subcommand)]
    Learn(learn::Command),
    /// Ask the daemon whether it is ready
    Health(health::Args),
    /// Show the main job on an embedded store: nothing to install
    Demo(demo::Args),
    /// One service of the demo's shop
    #[command(hide = true)]
    DemoService(demo_service::Args),
    /// Send seeded traces to an OTLP endpoint and report what became of them
    Loadgen(loadgen::Args),
    /// Generate files from a registry of semantic conventions
    Generate(generate::Args),
    /// Start a command of a pipeline; the daemon calls it, people do not
    #[command(name = "__sandbox", hide = true)]
    Sandbox(sandbox::Args),
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
            let environment = crate::config::Environment::of_process();
            let (data_folder, history) = (environment.data_folder(), environment.state_folder().join("sql_history"));
            let surroundings = sql::Surroundings { data_folder, history, clock: Clock::os() };
            let runtime = runtime()?;
            let ran = runtime.block_on(sql::run(args, surroundings));
            // A prompt that nobody answers any more must not hold up the end.
            runtime.shutdown_background();
            ran.map(|()| Exit::Good).map_err(|failure| exit::Failure::from(failure).into())
        }
        Some(Command::Store(args)) => {
            let data = crate::config::Environment::of_process().data_folder();
            let ran = runtime()?.block_on(store::run(args, data, Clock::os()));
            ran.map_err(|failure| exit::Failure::from(failure).into())
        }
        Some(Command::Semconv(command)) => semconv::run(&command, crate::config::pipelines_dir()),
        Some(Command::Gates(args)) => {
            let data = crate::config::Environment::of_process().data_folder();
            runtime()?.block_on(gates::run(args, data, Clock::os()))
        }
        Some(Command::Pipeline(command)) => {
            let data = crate::config::Environment::of_process().data_folder();
            runtime()?.block_on(pipeline::run(command, data, &Clock::os()))
        }
        Some(Command::Learn(command)) => {
            let data = crate::config::Environment::of_process().data_folder();
            runtime()?.block_on(learn::run(command, data, &Clock::os()))
        }
        Some(Command::Health(args)) => runtime()?.block_on(health::run(&args)),
        Some(Command::Demo(args)) => runtime()?.block_on(demo::run(args)),
        Some(Command::DemoService(args)) => runtime()?.block_on(demo_service::run(args, &Clock::os())),
        Some(Command::Loadgen(args)) => runtime()?.block_on(loadgen::run(args, &Clock::os())),
        Some(Command::Generate(args)) => generate::run(&args, &Clock::os()),
        Some(Command::Sandbox(args)) => Ok(sandbox::run(&args)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}
