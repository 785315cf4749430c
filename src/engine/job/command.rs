//! `command`: a program of the allow-list, never a shell (bpmn.md 10).
//!
//! Duty: headers → one process → its outcome. Guarantee: only what `jobs.commands` names by path and hash is started;
//! arguments arrive byte for byte; the environment is ours alone; nothing of the group is left once the attempt ended.
//! Left to others: retries (`engine`), the sandbox's first steps (`cli/sandbox.rs`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::config::Executable;
use super::process::{self, End, Ran};
use super::roots;
use super::schema::{Headers, scalar};
use super::spawn::Spawner;
use super::{Job, Outcome};
use crate::disk::Disk;

/// What the handler needs of the daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `jobs.commands`
    pub commands: BTreeMap<String, Executable>,
    /// `jobs.roots`: `cwd` must lie below one of them.
    pub roots: Vec<PathBuf>,
    /// This binary: it is `path: self`, and starts every command by `__sandbox`.
    pub binary: PathBuf,
    /// Folder for the empty folders of attempts.
    pub tmp: PathBuf,
    /// The daemon's OTLP/gRPC listener as bound, `http://host:port`; none = it has none.
    pub otlp_endpoint: Option<String>,
}

/// The handler; cheap to clone.
#[derive(Clone, Debug)]
pub struct Command {
    settings: Arc<Settings>,
    spawner: Spawner,
}

impl Command {
    /// A handler with a spawning thread of its own.
    ///
    /// Errors: the thread cannot be started.
    pub fn new(settings: Settings) -> std::io::Result<Self> {
        Ok(Self { settings: Arc::new(settings), spawner: Spawner::new()? })
    }

    /// Runs one attempt; ends within its timeout and six seconds.
    pub async fn run(&self, job: Job, cancel: CancellationToken) -> Outcome {
        self.attempt(&job, &cancel).await.unwrap_or_else(|outcome| outcome)
    }

    async fn attempt(&self, job: &Job, cancel: &CancellationToken) -> Result<Outcome, Outcome> {
        let asked = Asked::read(job).map_err(never)?;
        let program = self.allowed(&asked.name).await?;
        let attempt = Attempt::make(&self.settings.tmp, job)?;
        let cwd = match &asked.cwd {
            Some(cwd) => roots::below(&self.settings.roots, Path::new(cwd)).map_err(never)?,
            None => attempt.folder.clone(),
        };
        let mut process = Process::new(&self.settings.binary);
        process.arg("__sandbox").arg(std::process::id().to_string()).arg("--").arg(&program).args(&asked.arguments);
        process.env_clear().envs(self.environment(job)).envs(asked.env.iter().cloned()).current_dir(&cwd);
        process.stdin(if asked.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        process.stdout(if asked.stdout == Output::None { Stdio::null() } else { Stdio::piped() });
        process.stderr(Stdio::piped());
        // The sandbox does it as well; here it is done before anyone could signal the group.
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let began = Instant::now();
        let cannot = |error: std::io::Error| again(format!("command `{}` cannot be started: {error}", asked.name));
        let child = self.spawner.spawn(process).await.map_err(cannot)?;
        let ran = process::run(child, asked.stdin.clone(), asked.max_output, job.timeout, cancel).await;
        let ran = ran.map_err(|error| Outcome::Unknown {
            message: format!("command `{}` was started and cannot be watched: {error}", asked.name),
        })?;
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(asked.outcome(&ran, elapsed, job))
    }

    /// The program that `name` stands for, if its content is still what was allowed.
    async fn allowed(&self, name: &str) -> Result<PathBuf, Outcome> {
        let Some(executable) = self.settings.commands.get(name) else {
            let known: Vec<_> = self.settings.commands.keys().map(|name| format!("`{name}`")).collect();
            let known =
                if known.is_empty() { "it names none".to_owned() } else { format!("it names {}", known.join(", ")) };
            return Err(never(format!("command `{name}` is not in `engine.jobs.commands`; {known}")));
        };
        let (path, want) = match executable {
            Executable::This => return Ok(self.settings.binary.clone()),
            Executable::File { path, sha256 } => (path.clone(), sha256.clone()),
        };
        let hashed = tokio::task::spawn_blocking(move || hash(&path).map(|found| (path, found))).await;
        let hashed = hashed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        match hashed {
            Ok((path, found)) if found == want => Ok(path),
            Ok((path, found)) => {
                let path = path.display();
                let text = format!(
                    "command `{name}`: {path} has sha256 {found}, but {want} is allowed; look at the file, \
                                    then change `engine.jobs.commands`"
                );
                Err(never(text))
            }
            Err(error) => Err(never(format!("command `{name}` cannot be read: {error}"))),
        }
    }

    fn environment(&self, job: &Job) -> Vec<(String, String)> {
        let mut env = vec![
            ("WEAVERGEN_EFFECT_KEY".to_owned(), job.effect_key.clone()),
            ("WEAVERGEN_INSTANCE".to_owned(), job.run.to_string()),
            ("WEAVERGEN_ATTEMPT".to_owned(), job.attempt.to_string()),
            ("TRACEPARENT".to_owned(), job.traceparent.clone()),
            ("BAGGAGE".to_owned(), format!("weavergen.depth={}", job.depth)),
            ("OTEL_RESOURCE_ATTRIBUTES".to_owned(), format!("weavergen.origin=pipeline,weavergen.run={}", job.run)),
        ];
        if let Some(endpoint) = &self.settings.otlp_endpoint {
            env.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.clone()));
        }
        env
    }
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = std::io::Read::read(&mut file, &mut buffer)?;
        if n == 0 {
            return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        hash.update(&buffer[..n]);
    }
}

/// The empty folder of an attempt; removed with it.
struct Attempt {
    folder: PathBuf,
}

impl Attempt {
    fn make(tmp: &Path, job: &Job) -> Result<Self, Outcome> {
        let folder = tmp.join(format!("job-{}-{}", job.key, job.attempt));
        let fresh = || {
            match Disk::Os.remove_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Disk::Os.create_dir_all(&folder)
        };
        fresh().map_err(|error| again(format!("cannot make {}: {error}", folder.display())))?;
        Ok(Self { folder })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // What stays is removed by the next attempt of the same name, or with `tmp/`.
        let _ = Disk::Os.remove_all(&self.folder);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Json,
    Lines,
    None,
}

/// The headers.
#[derive(Debug)]
struct Asked {
    name: String,
    arguments: Vec<OsString>,
    cwd: Option<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    stdout: Output,
    max_output: usize,
    exit_ok: Vec<i64>,
    exit_errors: BTreeMap<i64, String>,
}

impl Asked {
    fn read(job: &Job) -> Result<Self, String> {
        let headers = Headers::of("command", &job.headers)?;
        let text = |what: &str, value: &Value| {
            let text = scalar(value).ok_or_else(|| format!("{what} is neither text nor a number: {value}"))?;
            if text.contains('\0') { Err(format!("{what} holds a NUL byte")) } else { Ok(text) }
        };
        let argv = headers.list("argv")?.unwrap_or_default();
        let argv = argv.iter().enumerate().map(|(at, value)| text(&format!("header `argv`, item {}", at + 1), value));
        let mut argv = argv.collect::<Result<Vec<_>, _>>()?.into_iter();
        let name = argv.next().ok_or("header `argv` is empty; its first item is a name of `engine.jobs.commands`")?;
        let env = headers.map("env")?;
        let env = env.iter().map(|(key, value)| {
            if key.is_empty() || key.contains(['=', '\0']) {
                return Err(format!("header `env`: `{key}` is no name of a variable"));
            }
            Ok((key.clone(), text(&format!("header `env`, `{key}`"), value)?))
        });
        let stdin = match headers.value("stdin") {
            None => Vec::new(),
            Some(Value::String(text)) => text.into_bytes(),
            Some(other) => other.to_string().into_bytes(),
        };
        let stdout = match headers.word("stdout")?.as_str() {
            "json" => Output::Json,
            "lines" => Output::Lines,
            "none" => Output::None,
            _ => Output::Text,
        };
        let code = |value: &Value| {
            let code = value.as_i64().or_else(|| scalar(value)?.trim().parse().ok());
            code.filter(|code| (0..=255).contains(code)).ok_or_else(|| format!("`{value}` is no exit code, 0 to 255"))
        };
        let exit_ok = match headers.value("exitOk") {
            Some(Value::Array(codes)) => codes.iter().map(code).collect::<Result<_, _>>(),
            Some(one) => code(&one).map(|one| vec![one]),
            None => Ok(vec![0]),
        };
        let exit_errors = headers.map("exitErrors")?;
        let exit_errors = exit_errors
            .iter()
            .map(|(key, value)| Ok((code(&Value::from(key.as_str()))?, text("header `exitErrors`", value)?)));
        Ok(Self {
            name,
            arguments: argv.map(OsString::from).collect(),
            cwd: headers.text("cwd")?,
            env: env.collect::<Result<_, String>>()?,
            stdin,
            stdout,
            max_output: usize::try_from(headers.size("maxOutput")?.unwrap_or(1 << 20)).unwrap_or(usize::MAX),
            exit_ok: exit_ok.map_err(|why| format!("header `exitOk`: {why}"))?,
            exit_errors: exit_errors
                .collect::<Result<_, String>>()
                .map_err(|why| format!("header `exitErrors`: {why}"))?,
        })
    }

    fn outcome(&self, ran: &Ran, elapsed_ms: u64, job: &Job) -> Outcome {
        let said = last_line(&ran.stderr_tail);
        let status = match &ran.end {
            End::Own(status) => status,
            End::TimedOut => {
                return again(format!("command `{}` was ended after {} s{said}", self.name, job.timeout.as_secs_f64()));
            }
            End::Cancelled => return never(format!("command `{}` was cancelled", self.name)),
        };
        let Some(exit) = status.code().map(i64::from) else {
            let signal = std::os::unix::process::ExitStatusExt::signal(status).unwrap_or(0);
            return again(format!("command `{}` was ended by signal {signal}{said}", self.name));
        };
        let fails = || again(format!("command `{}` ended with exit code {exit}{said}", self.name));
        let error = self.exit_errors.get(&exit);
        if error.is_none() && !self.exit_ok.contains(&exit) {
            return fails();
        }
        let text = || String::from_utf8_lossy(&ran.stdout).into_owned();
        let stdout = match self.stdout {
            Output::None => Value::Null,
            Output::Text => Value::from(text()),
            Output::Lines => Value::from(text().lines().map(str::to_owned).collect::<Vec<_>>()),
            Output::Json => match serde_json::from_slice(&ran.stdout) {
                Ok(value) => value,
                // The code alone says what happened.
                Err(_) if error.is_some() => Value::from(text()),
                Err(why) => {
                    let cut = if ran.truncated { ", cut at `maxOutput`" } else { "" };
                    return never(format!("command `{}`: its output is no JSON{cut}: {why}", self.name));
                }
            },
        };
        let result = json!({
            "exitCode": exit,
            "stdout": stdout,
            "stderrTail": ran.stderr_tail,
            "truncated": ran.truncated,
            "durationMs": elapsed_ms,
        });
        let Value::Object(result) = result else { return Outcome::Completed(Map::new()) };
        match error {
            Some(code) => Outcome::Error {
                code: code.clone(),
                message: format!("command `{}` ended with exit code {exit}{said}", self.name),
                variables: result,
            },
            None => Outcome::Completed(result),
        }
    }
}

/// `: ` and the last line of what it wrote to standard error.
fn last_line(tail: &str) -> String {
    let line = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let line: String = line.chars().take(200).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

fn never(message: String) -> Outcome {
    Outcome::Failed { message, retryable: false, backoff: None }
}

fn again(message: String) -> Outcome {
    Outcome::Failed { message, retryable: true, backoff: None }
}
