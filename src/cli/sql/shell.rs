//! Statements and commands one after another.
//!
//! Duty: run each of them with the settings that the commands before it left. Guarantee: a script ends with its first
//! failure; a shell goes on. Left to others: typing (`repl`), what a command means (`repl::meta`).

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{self, Call};
use super::progress::Progress;
use super::repl::meta::{self, Meta};
use super::session::Session;
use super::{Ask, DEFAULT_ROWS, Failure, Rows, list, read, target};
use crate::cli::output::{Look, Output, write_rows};
use crate::clock::Clock;
use crate::query::library::Library;

/// How often files may name files.
const DEEPEST: usize = 16;

/// The state of a shell or a script.
#[derive(Debug)]
pub(super) struct Shell {
    pub session: Arc<Session>,
    pub library: Library,
    pub clock: Clock,
    pub output: Output,
    pub expanded: bool,
    pub timing: bool,
    pub limit: Option<u64>,
    pub time: Option<Duration>,
    /// Where rows go instead of stdout.
    pub target: Option<(PathBuf, BufWriter<File>)>,
    pub progress: bool,
}

/// What is to be done after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

impl Shell {
    /// Runs `calls` up to the first that fails.
    pub(super) async fn script(&mut self, calls: &[Call], out: &mut (dyn Write + Send)) -> Result<(), Failure> {
        for call in calls {
            if self.call(call, 0, out).await? == Next::Quit {
                break;
            }
        }
        Ok(())
    }

    /// Runs one.
    pub(super) async fn call(
        &mut self,
        call: &Call,
        depth: usize,
        out: &mut (dyn Write + Send),
    ) -> Result<Next, Failure> {
        match call {
            Call::Statement { sql, params, units } => {
                self.statement(sql, params.clone(), units.clone(), out).await?;
                Ok(Next::Go)
            }
            Call::Meta(line) => {
                let meta = meta::parse(line).map_err(Failure::Usage)?;
                // Boxed: a file may name files.
                Box::pin(self.meta(meta, depth, out)).await
            }
        }
    }

    async fn statement(
        &mut self,
        sql: &str,
        params: serde_json::Map<String, serde_json::Value>,
        units: Vec<(String, String)>,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let rows = self.limit.or((!self.output.is_binary()).then_some(DEFAULT_ROWS));
        let ask = Ask { sql: sql.to_owned(), params, rows, time: self.time };
        let look = Look { output: self.output, expanded: self.expanded };
        let most = ask.rows.unwrap_or(u64::MAX);
        let count = self.answer(&ask, units, look, most, out).await.map_err(|failure| failure.of(sql))?;
        if self.timing {
            let rows = if count == 1 { "row" } else { "rows" };
            eprintln!("{:.3} ms, {count} {rows}", began.elapsed().as_secs_f64() * 1e3);
        }
        if let Some((path, _)) = self.target.take_if(|_| look.output.is_binary()) {
            // A second answer in the same file would be unreadable.
            eprintln!("wrote {count} rows to {}; what follows is shown here", path.display());
            self.output = Output::chosen(None);
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        ask: &Ask,
        units: Vec<(String, String)>,
        look: Look,
        most: u64,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, Failure> {
        let mut rows = self.session.rows(ask, units, Progress::begin(self.progress)).await?;
        let count = match &mut self.target {
            Some((_, file)) => shown(&mut rows, look, most, file).await,
            None => shown(&mut rows, look, most, out).await,
        };
        for notice in rows.notices() {
            eprintln!("notice: {notice}");
        }
        count
    }

    async fn meta(&mut self, meta: Meta, depth: usize, out: &mut (dyn Write + Send)) -> Result<Next, Failure> {
        match meta {
            Meta::Ask(sql) => self.statement(&sql, serde_json::Map::new(), Vec::new(), out).await?,
            Meta::Expanded(on) => {
                self.expanded = on.unwrap_or(!self.expanded);
                self.told(&format!("rows are shown as {}", if self.expanded { "lines" } else { "boxes" }));
            }
            Meta::Timing(on) => {
                self.timing = on.unwrap_or(!self.timing);
                self.told(&format!("timing is {}", if self.timing { "on" } else { "off" }));
            }
            Meta::Output(output, path) => self.redirect(output, path.as_deref())?,
            Meta::Limit(None) => {
                let limit = self.limit.map_or(format!("off: {DEFAULT_ROWS} rows, as usual"), |rows| rows.to_string());
                self.told(&format!("limit is {limit}"));
            }
            Meta::Limit(Some(limit)) => self.limit = limit,
            Meta::Read(path) => return self.file(&path, depth, out).await,
            Meta::Named(name, given) => {
                let call = Call::query(&self.library.query(&name)?, &given, self.clock.now_ns())?;
                return Box::pin(self.call(&call, depth, out)).await;
            }
            Meta::List => list::write(&self.library, self.output, &self.clock, out)?,
            Meta::Help => {
                out.write_all(meta::help().as_bytes())?;
                out.flush()?;
            }
            Meta::Quit => return Ok(Next::Quit),
        }
        Ok(Next::Go)
    }

    fn redirect(&mut self, output: Option<Output>, path: Option<&Path>) -> Result<(), Failure> {
        let file = path.map(|path| Ok::<_, Failure>((path.to_owned(), target::open(path)?))).transpose()?;
        // What was written before is whole before anything else is.
        if let Some((path, mut file)) = self.target.take() {
            file.flush().map_err(|error| Failure::Write(format!("cannot write {}: {error}", path.display())))?;
        }
        self.output = Output::chosen(output);
        self.target = file;
        Ok(())
    }

    async fn file(&mut self, path: &Path, depth: usize, out: &mut (dyn Write + Send)) -> Result<Next, Failure> {
        if depth >= DEEPEST {
            return Err(Failure::Usage(format!("{}: files name each other more than {DEEPEST} deep", path.display())));
        }
        let calls = call::script(&path.display().to_string(), read(path)?, &[], self.clock.now_ns())?;
        for call in &calls {
            if self.call(call, depth + 1, out).await? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    /// A word to a person; a script needs none.
    fn told(&self, text: &str) {
        if self.progress || std::io::stderr().is_terminal() {
            eprintln!("{text}");
        }
    }
}

async fn shown(rows: &mut Rows, look: Look, most: u64, out: &mut (dyn Write + Send)) -> Result<u64, Failure> {
    let count = write_rows(rows, look, most, out).await?;
    out.flush()?;
    Ok(count)
}
