//! The program: parse the arguments, run the command, turn an error into an exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use weavergen::cli::exit::Exit;
use weavergen::cli::{Cli, dispatch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to stdout; a closed pipe is nobody's fault.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Good.into() };
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Where stderr cannot be written, the code is all that is left to say.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            Exit::of(&error).into()
        }
    }
}
