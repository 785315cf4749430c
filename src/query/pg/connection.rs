//! A connection that is logged in.
//!
//! Duty: take its messages one by one, run simple queries, keep its transaction. Guarantee: every group of messages is
//! answered to its end, errors too; at most one statement of a connection runs or pauses. Left to others: messages with
//! parameters (`extended`), rows (`rows`).

use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::BufMut as _;
use datafusion::sql::sqlparser::parser::Parser;
use tokio_util::sync::CancellationToken;

use super::back::{self, Field, Transaction};
use super::catalogue::Caller;
use super::command::{self, Command, Piece, Scope};
use super::copy::Copy;
use super::extended::Kept;
use super::front::Message;
use super::kind::Kind;
use super::login::Session;
use super::problem::Problem;
use super::rows::{Rows, Sent, Stop, attended};
use super::set_config::Wishes;
use super::settings::Settings;
use super::wire::{Broken, Wire};
use super::{State, compat, named};
use crate::access::Identity;
use crate::query::dialect::Postgres;
use crate::query::error::{Code, Error};
use crate::query::gateway::{POSTGRES_ROWS, Shape};
use crate::query::params::Params;
use crate::query::{Answer, Gateway, Limits, Statement};

/// One connection.
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) state: Arc<State>,
    identity: Identity,
    /// What the client calls itself: shown to it alone.
    user: String,
    database: String,
    pub(super) settings: Arc<Settings>,
    /// What the running statement asks to set.
    wishes: Wishes,
    pub(super) place: super::cancel::Place,
    transaction: Transaction,
    /// What becomes of the settings when the open transaction ends.
    saved: Option<Saved>,
    /// Statements and portals.
    pub(super) kept: Kept,
    /// A message of a group failed: what comes before its end is left out.
    skipping: bool,
}

/// Settings of a transaction.
struct Saved {
    /// When it began: those after a rollback.
    before: Arc<Settings>,
    /// Without what is set for it alone: those after it is committed.
    lasting: Arc<Settings>,
}

/// What a command that is not for the engine gives.
pub(super) enum Reply {
    /// It is done.
    Tag(&'static str),
    /// Settings, with the names of columns.
    Rows(&'static [&'static str], Vec<Vec<String>>),
}

const SHOWN_ALL: [&str; 3] = ["name", "setting", "description"];

impl Connection {
    /// A connection of `session`.
    pub fn new(wire: Wire, state: Arc<State>, session: Session) -> Self {
        let Session { identity, user, database, settings, place } = session;
        Self {
            wire,
            state,
            identity,
            user,
            database,
            settings: Arc::new(settings),
            wishes: Wishes::default(),
            place,
            transaction: Transaction::Idle,
            saved: None,
            kept: Kept::default(),
            skipping: false,
        }
    }

    /// The bytes under it.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Serves it until its client leaves or `stop`.
    ///
    /// Errors: [`Broken`].
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), Broken> {
        back::ready(&mut self.wire.out, self.transaction);
        loop {
            if let Some(message) = self.wire.message()? {
                match message {
                    Ok(Message::Terminate) => return Ok(()),
                    Ok(message) => self.take(message).await?,
                    // Nothing is known of what it would have asked for.
                    Err((b'Q' | b'F', problem)) => {
                        self.failed(&problem);
                        self.ready();
                    }
                    Err((b'P' | b'B' | b'D' | b'E' | b'C', problem)) => {
                        self.failed(&problem);
                        self.skipping = true;
                    }
                    Err((_, problem)) => return Err(Broken::Protocol(Problem { fatal: true, ..problem })),
                }
                self.wire.relieve().await?;
                continue;
            }
            self.wire.flush().await?;
            let paused_until = self.kept.deadline();
            let late = async {
                match paused_until {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = self.wire.more() => if read? == 0 { return Ok(()) },
                () = late => self.kept.stop(),
                () = stop.cancelled() => {
                    let problem = Problem::fatal("57P01", "the server stops").hint("connect again in a moment");
                    return Err(Broken::Protocol(problem));
                }
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), Broken> {
        if self.skipping && !matches!(message, Message::Sync) {
            return Ok(());
        }
        let done = match message {
            Message::Query(text) => {
                let done = self.simple(&text).await;
                self.settle(done)?;
                self.ready();
                return Ok(());
            }
            Message::Sync => {
                self.skipping = false;
                if self.transaction == Transaction::Idle {
                    self.kept.end();
                }
                self.ready();
                return Ok(());
            }
            Message::Flush => {
                self.wire.flush().await?;
                Ok(())
            }
            Message::FunctionCall => {
                self.failed(&Problem::new("0A000", "functions are not called by number").hint("call them in SQL"));
                self.ready();
                return Ok(());
            }
            Message::Parse { name, sql, types } => self.parse(name, sql, types).map_err(Stop::from),
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(target) => self.describe(target).await,
            Message::Execute { portal, max_rows } => self.execute(&portal, max_rows).await,
            Message::Close(target) => {
                self.kept.close(&target);
                back::closed(&mut self.wire.out);
                Ok(())
            }
            Message::Password(_) => {
                return Err(Broken::Protocol(Problem::fatal("08P01", "no password was asked for")));
            }
            // Data of a COPY that was refused may still be on its way.
            Message::Copy | Message::Terminate => Ok(()),
        };
        if self.settle(done)? {
            self.skipping = true;
        }
        Ok(())
    }

    /// Tells an error; whether there was one.
    fn settle(&mut self, done: Result<(), Stop>) -> Result<bool, Broken> {
        match done {
            Ok(()) => Ok(false),
            Err(Stop::Problem(problem)) => {
                self.failed(&problem);
                Ok(true)
            }
            Err(Stop::Broken(broken)) => Err(broken),
        }
    }

    fn failed(&mut self, problem: &Problem) {
        back::error(&mut self.wire.out, problem);
        self.kept.stop();
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
    }

    fn ready(&mut self) {
        back::ready(&mut self.wire.out, self.transaction);
    }

    /// Statements of one text; the first error ends it.
    async fn simple(&mut self, text: &str) -> Result<(), Stop> {
        self.kept.end_unnamed();
        let pieces = command::pieces(text).map_err(|error| Problem::of(&error, text, 0))?;
        let mut left = POSTGRES_ROWS;
        for piece in pieces {
            match &piece.command {
                Command::Empty => back::empty(&mut self.wire.out),
                Command::Query => left -= self.query(text, &piece, left).await?.min(left),
                Command::Copy(copy) => left -= self.copy(text, copy, left).await?.min(left),
                command => match self.command(command)? {
                    Reply::Tag(tag) => back::complete(&mut self.wire.out, tag),
                    Reply::Rows(names, rows) => {
                        back::columns(&mut self.wire.out, &texts(names));
                        self.shown(&rows);
                    }
                },
            }
            self.wire.relieve().await.map_err(Broken::from)?;
        }
        Ok(())
    }

    /// Runs `piece` of `text` with up to `rows` rows; how many there were.
    async fn query(&mut self, text: &str, piece: &Piece<'_>, rows: u64) -> Result<u64, Stop> {
        self.may_run(&piece.command)?;
        let answer = self.start(piece.sql, Params::None, rows).await?;
        let answer = answer.map_err(|error| Problem::of(&error, text, piece.from))?;
        let fields = columns(&self.state.gateway, &answer.schema, piece.sql, &[]).await;
        back::columns(&mut self.wire.out, &fields);
        let mut rows = Rows::new(answer, fields);
        loop {
            let sent = rows.send(&mut self.wire, &self.place.signal, self.settings.zone(), None).await?;
            if let Sent::All(count) = sent {
                self.complete(&rows, count);
                return Ok(count);
            }
        }
    }

    /// Sends the rows of a query of `text` as a file; how many there were.
    pub(super) async fn copy(&mut self, text: &str, copy: &Copy, rows: u64) -> Result<u64, Stop> {
        self.may_run(&Command::Query)?;
        let sql = &text[copy.query.clone()];
        let answer = self.start(sql, Params::None, rows).await?;
        let answer = answer.map_err(|error| Problem::of(&error, text, copy.query.start))?;
        let fields = columns(&self.state.gateway, &answer.schema, sql, &[]).await;
        copy.begin(&fields, &mut self.wire.out);
        let mut rows = Rows::new(answer, fields).into_file(copy.clone());
        loop {
            let sent = rows.send(&mut self.wire, &self.place.signal, self.settings.zone(), None).await?;
            if let Sent::All(count) = sent {
                copy.end(&mut self.wire.out);
                self.told(&rows);
                back::complete(&mut self.wire.out, &format!("COPY {count}"));
                return Ok(count);
            }
        }
    }

    /// Starts a statement; every other one of this connection ends.
    pub(super) async fn start(&mut self, sql: &str, params: Params, rows: u64) -> Result<Result<Answer, Error>, Stop> {
        self.kept.stop();
        // Those of a statement that did not end are not meant any more.
        drop(self.wishes.take());
        self.place.signal.begin();
        let statement = Statement {
            params,
            limits: Limits { rows: Some(rows), bytes: None, time: self.settings.timeout() },
            ..self.statement(sql)
        };
        let running = self.state.gateway.run(statement);
        attended(&mut self.wire, &self.place.signal, running).await
    }

    /// A statement of this caller.
    pub(super) fn statement(&self, sql: &str) -> Statement {
        let caller = Caller {
            user: self.user.clone(),
            database: self.database.clone(),
            pid: self.place.pid,
            settings: self.settings.clone(),
            wishes: self.wishes.clone(),
            catalogue: self.state.catalogue.clone(),
        };
        Statement {
            shape: Shape::Postgres,
            identity: self.identity.name.clone(),
            surface: "postgres",
            postgres: Some(Arc::new(caller)),
            ..Statement::new(sql)
        }
    }

    /// Tells the end of `rows`, of which `count` were sent last.
    pub(super) fn complete(&mut self, rows: &Rows, count: u64) {
        self.told(rows);
        back::complete(&mut self.wire.out, &format!("SELECT {count}"));
    }

    /// Notices of `rows`, which have all been sent, and what their statement set.
    fn told(&mut self, rows: &Rows) {
        for notice in rows.notices() {
            back::notice(&mut self.wire.out, "WARNING", &notice);
        }
        for (name, value, scope) in self.wishes.take() {
            // Without a transaction, what is local ends with the statement.
            if scope == Scope::Transaction && self.saved.is_none() {
                continue;
            }
            if let Err(problem) = self.set(&name, value.as_deref(), scope) {
                back::notice(&mut self.wire.out, "WARNING", &problem);
            }
        }
    }

    /// Rows of settings and their end.
    pub(super) fn shown(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            back::row(&mut self.wire.out, row.len(), |out| {
                for value in row {
                    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                    out.put_slice(value.as_bytes());
                }
            });
        }
        back::complete(&mut self.wire.out, "SHOW");
    }

    /// Whether `command` may run in the transaction as it is.
    ///
    /// Errors: 25P02 where a statement of it failed.
    pub(super) fn may_run(&self, command: &Command) -> Result<(), Problem> {
        if self.transaction == Transaction::Failed && !command.ends_failure() {
            return Err(Problem::new(
                "25P02",
                "a statement of this transaction failed; others are ignored until its end",
            )
            .hint("`ROLLBACK`"));
        }
        Ok(())
    }

    /// Runs a command that is not for the engine.
    ///
    /// Errors: what is wrong with it.
    pub(super) fn command(&mut self, command: &Command) -> Result<Reply, Problem> {
        self.may_run(command)?;
        Ok(match command {
            Command::Begin(tag) => {
                if self.transaction == Transaction::Open {
                    self.warn("25001", "a transaction is open already");
                }
                self.begin_transaction();
                Reply::Tag(tag)
            }
            Command::Commit(chains) | Command::Rollback(chains) => {
                let failed = self.transaction == Transaction::Failed;
                if self.transaction == Transaction::Idle {
                    self.warn("25P01", "no transaction is open");
                }
                let is_open = std::mem::take(&mut self.transaction) != Transaction::Idle;
                self.kept.end();
                let commits = matches!(command, Command::Commit(_)) && !failed;
                if let Some(saved) = self.saved.take() {
                    let after = if commits { saved.lasting } else { saved.before };
                    let changed = after.changed(&self.settings);
                    self.settings = after;
                    changed.into_iter().for_each(|told| self.tell(Some(told)));
                }
                if *chains && is_open {
                    self.begin_transaction();
                }
                Reply::Tag(if commits { "COMMIT" } else { "ROLLBACK" })
            }
            Command::RollbackTo => {
                if self.transaction == Transaction::Idle {
                    return Err(Problem::new("25P01", "no transaction is open").hint("`BEGIN` opens one"));
                }
                self.transaction = Transaction::Open;
                Reply::Tag("ROLLBACK")
            }
            Command::Set(name, value, scope) => {
                self.set(name, value.as_deref(), *scope)?;
                Reply::Tag("SET")
            }
            Command::Reset(Some(name)) => {
                self.set(name, None, Scope::Session)?;
                Reply::Tag("RESET")
            }
            Command::Reset(None) => {
                self.reset();
                Reply::Tag("RESET")
            }
            Command::Show(name) if name == "all" => {
                let row = |(name, value): (&str, &str)| vec![name.to_owned(), value.to_owned(), String::new()];
                Reply::Rows(&SHOWN_ALL, self.settings.all().map(row).collect())
            }
            Command::Show(name) => match self.settings.shown(name) {
                Some((name, value)) => Reply::Rows(name, vec![vec![value.to_owned()]]),
                None => {
                    return Err(Problem::new("42704", format!("there is no setting `{name}`")).hint(
                        "`SHOW ALL` lists them; `SHOW TABLES`, `SHOW COLUMNS FROM …` and `SHOW FUNCTIONS` list names",
                    ));
                }
            },
            Command::Deallocate(name) => {
                if !self.kept.deallocate(name.as_deref()) {
                    let name = name.as_deref().unwrap_or_default();
                    return Err(Problem::new("26000", format!("there is no prepared statement `{name}`")));
                }
                Reply::Tag(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" })
            }
            Command::DiscardAll => {
                self.reset();
                self.kept = Kept::default();
                Reply::Tag("DISCARD ALL")
            }
            Command::NoEffect(tag) => Reply::Tag(tag),
            Command::Refused(what, hint) => return Err(command::refused(what, hint)),
            Command::Empty | Command::Query | Command::Copy(_) => Reply::Tag(""),
        })
    }

    fn begin_transaction(&mut self) {
        self.transaction = Transaction::Open;
        let settings = || self.settings.clone();
        self.saved.get_or_insert_with(|| Saved { before: settings(), lasting: settings() });
    }

    fn set(&mut self, name: &str, value: Option<&str>, scope: Scope) -> Result<(), Problem> {
        if scope == Scope::Transaction && self.saved.is_none() {
            // It is looked at, and would end with the statement.
            Settings::clone(&self.settings).set(name, value)?;
            self.warn("25P01", "SET LOCAL has an effect in a transaction only");
            return Ok(());
        }
        let (told, notice) = Arc::make_mut(&mut self.settings).set(name, value)?;
        if let (Scope::Session, Some(saved)) = (scope, &mut self.saved) {
            Arc::make_mut(&mut saved.lasting).set(name, value)?;
        }
        self.tell(told);
        if let Some(notice) = notice {
            back::notice(&mut self.wire.out, "NOTICE", &notice);
        }
        Ok(())
    }

    fn reset(&mut self) {
        for (name, value) in Arc::make_mut(&mut self.settings).reset() {
            self.tell(Some((name, value)));
        }
        if let Some(saved) = &mut self.saved {
            saved.lasting = self.settings.clone();
        }
    }

    fn tell(&mut self, setting: Option<(&'static str, String)>) {
        if let Some((name, value)) = setting {
            back::setting(&mut self.wire.out, name, &value);
        }
    }

    fn warn(&mut self, state: &'static str, text: &str) {
        back::notice(&mut self.wire.out, "WARNING", &Problem::new(state, text));
    }
}

/// Columns of text.
pub(super) fn texts(names: &[&str]) -> Vec<Field> {
    names.iter().map(|name| Field { name: (*name).to_owned(), of: Kind::TEXT, binary: false }).collect()
}

/// The columns of `schema`, which `sql` asked for, in `formats` as a client gives them.
pub(super) async fn columns(gateway: &Gateway, schema: &Schema, sql: &str, formats: &[i16]) -> Vec<Field> {
    let of = |at: usize| formats.get(at).or(formats.first().filter(|_| formats.len() == 1)).is_some_and(|of| *of == 1);
    // The statement was read before, so it can be again, but only the query threads have the stack for its tree; a
    // listing has names of its own.
    let sql = sql.to_owned();
    let names = gateway.spawn(async move {
        let parsed = Parser::parse_sql(&Postgres, &sql).ok().filter(|parsed| parsed.len() == 1);
        parsed.map_or((None, None), |parsed| (compat::names(&parsed[0]), named::json(&parsed[0])))
    });
    let (names, json) = names.await.unwrap_or_default();
    let count = schema.fields().len();
    let (names, json) = (names.filter(|names| names.len() == count), json.filter(|json| json.len() == count));
    let kind = |at: usize, field: &arrow::datatypes::Field| match json.as_ref().and_then(|json| json[at]) {
        Some(json) if Kind::of(field) == Kind::TEXT => Kind::One(json),
        _ => Kind::of(field),
    };
    let field = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| Field {
        name: names.as_ref().map_or_else(|| field.name().clone(), |names| names[at].clone()),
        of: kind(at, field),
        binary: of(at),
    };
    schema.fields().iter().enumerate().map(field).collect()
}

/// An error of ours that is about no place of a text.
pub(super) fn plain(code: Code, text: &str, hint: &str) -> Problem {
    Problem::of(&Error::new(code, text).hint(hint), "", 0)
}
