//! Statements with parameters: the extended protocol.
//!
//! Duty: keep statements and portals, describe, bind and execute them. Guarantee: values are bound as parameters of the
//! gateway, never written into a text; what a connection keeps is bounded. Left to others: values (`parameter`), rows
//! (`rows`).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::back::{self, Field};
use super::command::{self, Command};
use super::connection::{Connection, Reply, columns, plain, texts};
use super::front::{Bind, Target};
use super::kind::{Kind, Scalar};
use super::problem::Problem;
use super::rows::{Rows, Sent, Stop, attended};
use super::{known, parameter};
use crate::query::error::{Code, Error};
use crate::query::gateway::{POSTGRES_ROWS, Wanted};
use crate::query::guard;
use crate::query::params::{self, Params};

/// Bytes that the statements and values of a connection may have together.
const MAX_KEPT: usize = 4 << 20;
/// Numbers of the types `timestamp` and `timestamp[]`.
const NO_OFFSET: [u32; 2] = [1114, 1115];
/// Bytes that one is counted for beside its text and values.
const EACH: usize = 256;

/// Statements and portals of a connection.
#[derive(Default)]
pub struct Kept {
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
}

/// A statement.
struct Prepared {
    sql: String,
    command: Command,
    /// Types as the client says them; 0 = it does not.
    declared: Vec<u32>,
    described: OnceLock<Facts>,
}

/// What planning a statement told.
#[derive(Clone)]
struct Facts {
    parameters: Vec<Kind>,
    columns: Vec<Field>,
}

/// A statement with its values.
struct Portal {
    prepared: Arc<Prepared>,
    params: Params,
    bytes: usize,
    formats: Vec<i16>,
    state: State,
}

enum State {
    Bound,
    Running(Box<Rows>),
    Done,
    /// Another one was started, it took too long, or something failed.
    Stopped,
}

impl Kept {
    /// When a statement that pauses ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.portals.values().find_map(|portal| match &portal.state {
            State::Running(rows) => Some(rows.answer.deadline()),
            _ => None,
        })
    }

    /// Stops what runs.
    pub fn stop(&mut self) {
        for portal in self.portals.values_mut() {
            if matches!(portal.state, State::Running(_)) {
                portal.state = State::Stopped;
            }
        }
    }

    /// Forgets all portals, as at the end of a transaction.
    pub fn end(&mut self) {
        self.portals.clear();
    }

    /// Forgets what has no name, as a simple query does.
    pub fn end_unnamed(&mut self) {
        self.portals.remove("");
        self.statements.remove("");
    }

    /// Forgets one; it need not be there.
    pub fn close(&mut self, target: &Target) {
        match target {
            Target::Portal(name) => drop(self.portals.remove(name)),
            Target::Statement(name) => {
                if let Some(closed) = self.statements.remove(name) {
                    self.portals.retain(|_, portal| !Arc::ptr_eq(&portal.prepared, &closed));
                }
            }
        }
    }

    /// Forgets a statement, or all that have a name; whether it was there.
    pub fn deallocate(&mut self, name: Option<&str>) -> bool {
        match name {
            Some(name) => self.statements.remove(name).is_some(),
            None => {
                self.statements.clear();
                true
            }
        }
    }

    /// Errors: 53200 where `more` bytes are too many.
    fn has_room(&self, more: usize) -> Result<(), Problem> {
        let statements = self.statements.iter();
        let statements = statements.map(|(name, kept)| name.len() + kept.sql.len() + 4 * kept.declared.len() + EACH);
        let portals = self.portals.values().map(|portal| portal.bytes);
        if statements.chain(portals).sum::<usize>() + more > MAX_KEPT {
            let text = "prepared statements and values of this connection are more than 4 MiB";
            return Err(Problem::new("53200", text).hint("`DEALLOCATE ALL`"));
        }
        Ok(())
    }
}

impl Prepared {
    /// Numbers of the types of its parameters, which are `kinds`: those that the client says are heard again as they are.
    fn told(&self, kinds: &[Kind]) -> Vec<u32> {
        let told = |(at, kind): (usize, &Kind)| match self.declared.get(at) {
            Some(declared) if *declared != 0 => *declared,
            _ => kind.oid(),
        };
        kinds.iter().enumerate().map(told).collect()
    }
}

impl Connection {
    /// Keeps a statement.
    pub(super) fn parse(&mut self, name: String, sql: String, declared: Vec<u32>) -> Result<(), Problem> {
        let pieces = command::pieces(&sql).map_err(|error| Problem::of(&error, &sql, 0))?;
        let [piece] = pieces.as_slice() else {
            return Err(plain(Code::NotAllowed, "more than one statement", "prepare them one by one"));
        };
        if !name.is_empty() && self.kept.statements.contains_key(&name) {
            let text = format!("there is a prepared statement `{name}` already");
            return Err(Problem::new("42P05", text).hint("close it first"));
        }
        self.may_run(&piece.command)?;
        self.kept.has_room(name.len() + sql.len() + 4 * declared.len() + EACH)?;
        let command = piece.command.clone();
        // Without its semicolon, and with what stands before it, so that places are those of the text.
        let sql = sql[..piece.from + piece.sql.len()].to_owned();
        let prepared = Prepared { sql, command, declared, described: OnceLock::new() };
        self.kept.statements.insert(name, Arc::new(prepared));
        back::parsed(&mut self.wire.out);
        Ok(())
    }

    /// Makes a portal.
    pub(super) async fn bind(&mut self, bind: Bind) -> Result<(), Stop> {
        let prepared = self.prepared(&bind.statement)?;
        self.may_run(&prepared.command)?;
        if !bind.portal.is_empty() && self.kept.portals.contains_key(&bind.portal) {
            let text = format!("there is a portal `{}` already", bind.portal);
            return Err(Problem::new("42P03", text).hint("close it first").into());
        }
        // The statement stays as long as its portal, whoever closes it.
        let own = bind.portal.len() + prepared.sql.len() + 2 * bind.results.len() + EACH;
        let bytes = own + bind.values.iter().flatten().map(|value| value.len() + 32).sum::<usize>();
        self.kept.has_room(bytes)?;
        let wanted = parameters(&prepared.sql);
        if prepared.command == Command::Query && wanted != bind.values.len() {
            let text = format!("the statement has {wanted} parameters, {} values are given", bind.values.len());
            return Err(Problem::new("08P01", text).into());
        }
        may_format(&bind.formats, bind.values.len(), "values")?;
        if let Some(odd) = bind.results.iter().find(|format| !matches!(format, 0 | 1)) {
            return Err(odd_format(*odd).into());
        }
        let told = |at: usize| prepared.declared.get(at).copied().and_then(Kind::numbered);
        let kinds = match (0..wanted).all(|at| told(at).is_some()) {
            true => (0..wanted).filter_map(told).collect(),
            // What cannot be planned says why when it runs.
            false => match self.facts(&prepared).await {
                Ok(facts) => facts.parameters,
                Err(Stop::Problem(_)) => (0..wanted).map(|at| told(at).unwrap_or(Kind::TEXT)).collect(),
                Err(broken) => return Err(broken),
            },
        };
        let format = |at: usize| bind.formats.get(at).or(bind.formats.first().filter(|_| bind.formats.len() == 1));
        let value = |(at, value): (usize, &Option<bytes::Bytes>)| {
            let kind = kinds.get(at).copied().unwrap_or(Kind::TEXT);
            let (binary, zone) = (format(at) == Some(&1), self.settings.zone());
            let read = parameter::read(at + 1, kind, binary, value.as_ref(), zone)?;
            let has_no_offset = prepared.declared.get(at).is_some_and(|declared| NO_OFFSET.contains(declared));
            Ok::<_, Problem>(if binary && has_no_offset { parameter::local(read, zone) } else { read })
        };
        let values = bind.values.iter().enumerate().map(value).collect::<Result<Vec<_>, _>>()?;
        let params = if values.is_empty() { Params::None } else { Params::List(values) };
        let portal = Portal { prepared, params, bytes, formats: bind.results, state: State::Bound };
        self.kept.portals.insert(bind.portal, portal);
        back::bound(&mut self.wire.out);
        Ok(())
    }

    /// Tells the parameters and columns of a statement or portal.
    pub(super) async fn describe(&mut self, target: Target) -> Result<(), Stop> {
        let fields = match &target {
            Target::Statement(name) => {
                let prepared = self.prepared(name)?;
                self.may_run(&prepared.command)?;
                if prepared.command == Command::Query {
                    let facts = self.facts(&prepared).await?;
                    back::parameters(&mut self.wire.out, &prepared.told(&facts.parameters));
                    facts.columns
                } else {
                    back::parameters(&mut self.wire.out, &[]);
                    self.shown_fields(&prepared.command)
                }
            }
            Target::Portal(name) => {
                let command = self.portal(name)?.prepared.command.clone();
                match command {
                    Command::Query => {
                        self.begin(name).await?;
                        match &self.portal(name)?.state {
                            State::Running(rows) => rows.fields.clone(),
                            _ => Vec::new(),
                        }
                    }
                    command => self.shown_fields(&command),
                }
            }
        };
        match fields.is_empty() {
            true => back::no_data(&mut self.wire.out),
            false => back::columns(&mut self.wire.out, &fields),
        }
        Ok(())
    }

    /// Runs a portal.
    pub(super) async fn execute(&mut self, name: &str, max_rows: i32) -> Result<(), Stop> {
        let command = self.portal(name)?.prepared.command.clone();
        match command {
            Command::Empty => back::empty(&mut self.wire.out),
            Command::Query => return self.rows(name, u64::try_from(max_rows).ok().filter(|most| *most > 0)).await,
            Command::Copy(copy) => {
                let prepared = self.portal(name)?.prepared.clone();
                self.copy(&prepared.sql, &copy, POSTGRES_ROWS).await?;
            }
            command => match self.command(&command)? {
                Reply::Tag(tag) => back::complete(&mut self.wire.out, tag),
                Reply::Rows(_, rows) => self.shown(&rows),
            },
        }
        Ok(())
    }

    async fn rows(&mut self, name: &str, most: Option<u64>) -> Result<(), Stop> {
        let portal = self.portal(name)?;
        self.may_run(&Command::Query)?;
        match &portal.state {
            State::Bound => self.begin(name).await?,
            State::Running(_) => {}
            State::Done => {
                back::complete(&mut self.wire.out, "SELECT 0");
                return Ok(());
            }
            State::Stopped => {
                let text = "the statement of this portal has ended: another one began, or its time was over";
                return Err(Problem::new("55000", text)
                    .hint("bind it again; one statement of a connection runs at a time")
                    .into());
            }
        }
        let portal = self.kept.portals.get_mut(name).expect("it was found just before");
        let State::Running(mut rows) = std::mem::replace(&mut portal.state, State::Stopped) else { return Ok(()) };
        let sent = rows.send(&mut self.wire, &self.place.signal, self.settings.zone(), most).await?;
        let state = match sent {
            Sent::All(count) => {
                self.complete(&rows, count);
                State::Done
            }
            Sent::Some => {
                back::suspended(&mut self.wire.out);
                State::Running(rows)
            }
        };
        self.kept.portals.get_mut(name).expect("nothing took it meanwhile").state = state;
        Ok(())
    }

    /// Starts the statement of a portal, if it has not begun.
    async fn begin(&mut self, name: &str) -> Result<(), Stop> {
        let portal = self.portal(name)?;
        if !matches!(portal.state, State::Bound) {
            return Ok(());
        }
        let (prepared, params, formats) = (portal.prepared.clone(), portal.params.clone(), portal.formats.clone());
        self.may_run(&prepared.command)?;
        let answer = self.start(&prepared.sql, params, POSTGRES_ROWS).await?;
        let answer = answer.map_err(|error| Problem::of(&error, &prepared.sql, 0))?;
        let fields = columns(&self.state.gateway, &answer.schema, &prepared.sql, &formats).await;
        may_format(&formats, fields.len(), "columns")?;
        if let Some(facts) = prepared.described.get()
            && !facts.columns.iter().map(|column| column.of).eq(fields.iter().map(|field| field.of))
        {
            let text = "the columns are others than the statement was described with";
            return Err(Problem::new("0A000", text).hint("declare the types of the parameters, or cast them").into());
        }
        let portal = self.kept.portals.get_mut(name).expect("starting does not forget portals");
        portal.state = State::Running(Box::new(Rows::new(answer, fields)));
        Ok(())
    }

    /// What planning a statement tells; once for each.
    async fn facts(&mut self, prepared: &Arc<Prepared>) -> Result<Facts, Stop> {
        if let Some(facts) = prepared.described.get() {
            return Ok(facts.clone());
        }
        // What is parsed is within the caps, and on the query threads: the stack here is not for such trees.
        guard::tokens(&prepared.sql).map_err(|error| Problem::of(&error, &prepared.sql, 0))?;
        let (declared, sql) = (prepared.declared.clone(), prepared.sql.clone());
        let casts = self.state.gateway.spawn(async move { known::casts(&sql) }).await.unwrap_or_default();
        let cast = move |at: usize| casts.iter().find(|(number, _)| *number == at + 1).map(|(_, of)| *of);
        let kinds = move |wanted: &[Wanted]| -> Vec<Kind> {
            wanted.iter().enumerate().map(|(at, of)| kind(&declared, at, cast(at), of)).collect()
        };
        let fill = kinds.clone();
        self.kept.stop();
        self.place.signal.begin();
        let describing = self.state.gateway.typed(self.statement(&prepared.sql), move |wanted: &[Wanted]| {
            fill(wanted).into_iter().map(parameter::unknown).collect()
        });
        let described = attended(&mut self.wire, &self.place.signal, describing).await?;
        let described = described.map_err(|error: Error| Problem::of(&error, &prepared.sql, 0))?;
        let columns = columns(&self.state.gateway, &described.schema, &prepared.sql, &[]).await;
        let facts = Facts { parameters: kinds(&described.parameters), columns };
        Ok(prepared.described.get_or_init(|| facts).clone())
    }

    fn prepared(&self, name: &str) -> Result<Arc<Prepared>, Problem> {
        self.kept.statements.get(name).cloned().ok_or_else(|| {
            Problem::new("26000", format!("there is no prepared statement `{name}`")).hint("prepare it first")
        })
    }

    fn portal(&self, name: &str) -> Result<&Portal, Problem> {
        self.kept
            .portals
            .get(name)
            .ok_or_else(|| Problem::new("34000", format!("there is no portal `{name}`")).hint("bind it first"))
    }

    fn shown_fields(&self, command: &Command) -> Vec<Field> {
        match command {
            Command::Show(name) if name == "all" => texts(&["name", "setting", "description"]),
            Command::Show(name) => self.settings.shown(name).map_or_else(Vec::new, |(name, _)| texts(name)),
            _ => Vec::new(),
        }
    }
}

/// The type of parameter `at` (from 0): what the client says, else what the plan wants, else what its text casts it to. The
/// engine knows numbers of objects as any others: what is cast to them is one.
fn kind(declared: &[u32], at: usize, cast: Option<Kind>, wanted: &Wanted) -> Kind {
    let is_number = |of: &Kind| matches!(of, Kind::One(Scalar::Oid) | Kind::Many(Scalar::Oid));
    if let Some(told) = declared.get(at).copied().and_then(Kind::numbered).or(cast.filter(is_number)) {
        return told;
    }
    // The plan does not say it of what it leaves out.
    if let (None, false, Some(cast)) = (&wanted.of, wanted.is_array, cast) {
        return cast;
    }
    match (parameter::kind(wanted.of.as_ref()), wanted.is_array) {
        (Kind::One(of), true) => Kind::Many(of),
        // A name of an object is not known as its number yet.
        (Kind::One(Scalar::Oid), false) => Kind::One(Scalar::Int8),
        (of, _) => of,
    }
}

/// Errors: 08P01 where `formats` are neither none, one, nor one each of `count`; 22023 for one that is not known.
fn may_format(formats: &[i16], count: usize, what: &str) -> Result<(), Problem> {
    if formats.len() > 1 && formats.len() != count {
        let text = format!("{} formats are given for {count} {what}", formats.len());
        return Err(Problem::new("08P01", text).hint("give none, one for all, or one each"));
    }
    formats.iter().find(|format| !matches!(format, 0 | 1)).map_or(Ok(()), |odd| Err(odd_format(*odd)))
}

fn odd_format(format: i16) -> Problem {
    Problem::new("22023", format!("there is no format {format}")).hint("0 is text, 1 is binary")
}

/// How many parameters a text has.
fn parameters(sql: &str) -> usize {
    params::names(sql).into_iter().filter_map(|(name, _)| name.parse::<u16>().ok()).max().map_or(0, usize::from)
}
