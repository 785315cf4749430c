//! A statement to the daemon.
//!
//! Duty: find the daemon, send the statement, read its Arrow stream. Guarantee: an answer without its end is a failure,
//! also after rows; a token that the caller did not name is sent only where one is asked for. Left to others: which token
//! (`token`), what the rows look like.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;

use super::{Ask, Failure, token};
use crate::cli::health::reachable;
use crate::query::render::Format;
use crate::query::{self, Code, Position};

/// Which daemon is asked.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Daemon {
    /// Address of the daemon's API, e.g. http://localhost:8080; without it, the local daemon
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub url: Option<String>,
    /// Data folder whose daemon is meant
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// File with the token to send, where the daemon wants one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl Daemon {
    /// `data_folder` is where a local daemon keeps its `run.json` if nothing else is said.
    pub(in crate::cli) fn target(self, data_folder: PathBuf) -> Result<Target, Failure> {
        let folder = self.data.unwrap_or(data_folder);
        if self.url.is_none() && !folder.join("run.json").exists() {
            let folder = folder.display();
            return Err(Failure::Daemon(format!(
                "no daemon runs on {folder}: start `weavergen`, or name one with --url or its data folder with --data"
            )));
        }
        Target::of(self.url, self.token_file, &folder)
    }
}

/// Who answers: a daemon, or a data folder that is read here.
#[derive(Clone, Debug, Default, clap::Args)]
// its group would bear the name of a struct that flattens it
#[group(skip)]
pub struct Source {
    /// Address of the daemon's API, e.g. http://localhost:8080; without it, the local daemon
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub url: Option<String>,
    /// Read this data folder itself, without the daemon
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// File with the token to send, where the daemon wants one
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub token_file: Option<PathBuf>,
}

/// Where to send it.
#[derive(Debug)]
pub struct Target {
    url: String,
    token: Option<String>,
    /// Sent once the daemon refuses what came without: where it asks for none, an edited file must not shut anybody out,
    /// nor make less of whoever may do everything.
    spare_token: Option<String>,
    /// How it was found, for the message if nobody is there.
    found: String,
}

/// The part of `run.json` that names the API.
#[derive(Debug, serde::Deserialize)]
struct RunFile {
    #[serde(default)]
    api: Vec<SocketAddr>,
    tokens_file: Option<PathBuf>,
}

impl Target {
    /// The daemon at `url`, else the one whose `run.json` lies in `data_folder`.
    pub(in crate::cli) fn of(url: Option<String>, token: Option<PathBuf>, data_folder: &Path) -> Result<Self, Failure> {
        let token = token.map(|path| token::named(&path)).transpose()?;
        if let Some(url) = url {
            let url = if url.contains("://") { url } else { format!("http://{url}") };
            let found = "--url".to_owned();
            return Ok(Self { url: url.trim_end_matches('/').to_owned(), token, spare_token: None, found });
        }
        let run_file = data_folder.join("run.json");
        let (text, owner) = read_with_owner(&run_file).map_err(|_| {
            Failure::Daemon(format!(
                "no daemon: there is no {}; start `weavergen`, name one with --url, or read a folder with --data",
                run_file.display()
            ))
        })?;
        let run: RunFile = serde_json::from_str(&text)
            .map_err(|error| Failure::Data(format!("{} cannot be read: {error}", run_file.display())))?;
        let Some(address) = run.api.first() else {
            return Err(Failure::Daemon(format!(
                "the daemon of {} has no API: `web::enabled` is false; read the folder with --data",
                run_file.display()
            )));
        };
        // A `Host` of 0.0.0.0 is no name of ours: a page of another site could send it.
        let address = reachable(*address);
        let spare_token = match &token {
            Some(_) => None,
            None => run.tokens_file.and_then(|path| token::of_daemon(&path, owner, address)),
        };
        Ok(Self { url: format!("http://{address}"), token, spare_token, found: run_file.display().to_string() })
    }
}

impl Target {
    /// Its address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn post(&self, path: &str, patience: Duration) -> Result<reqwest::RequestBuilder, Failure> {
        self.request(reqwest::Method::POST, path, patience)
    }

    fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        patience: Duration,
    ) -> Result<reqwest::RequestBuilder, Failure> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(patience)
            .build()
            .map_err(|error| Failure::Daemon(format!("cannot make a client: {error}")))?;
        let request = client.request(method, format!("{}{path}", self.url));
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// `or` is a further way out if nobody is there.
    async fn send(&self, request: reqwest::RequestBuilder, or: &str) -> Result<reqwest::Response, Failure> {
        let with_token =
            self.spare_token.as_ref().and_then(|token| request.try_clone().map(|again| again.bearer_auth(token)));
        let response = self.send_once(request, or).await?;
        match with_token {
            // Nothing was done yet.
            Some(again) if matches!(response.status().as_u16(), 401 | 403) => self.send_once(again, or).await,
            _ => Ok(response),
        }
    }

    async fn send_once(&self, request: reqwest::RequestBuilder, or: &str) -> Result<reqwest::Response, Failure> {
        request.send().await.map_err(|error| {
            if error.is_timeout() && !error.is_connect() {
                return Failure::from(query::Error::new(Code::Timeout, "the daemon did not answer in time"));
            }
            let why = cause(&error);
            let (url, found) = (&self.url, &self.found);
            Failure::Daemon(format!("no daemon answers at {url} (from {found}): {why}; start `weavergen`{or}"))
        })
    }

    /// Posts `body`, under an idempotency key if there is one; the inner error is a problem (RFC 9457).
    pub(in crate::cli) async fn post_json(
        &self,
        path: &str,
        body: &serde_json::Value,
        key: Option<&str>,
    ) -> Result<Result<serde_json::Value, serde_json::Value>, Failure> {
        let mut request = self.post(path, Duration::from_secs(600))?.json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = self.send(request, "").await?;
        let declared = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let problem = declared.is_some_and(|kind| kind.starts_with("application/problem+json"));
        if !response.status().is_success() && !problem {
            return Err(refused(response, self).await);
        }
        let value = self.json(response).await?;
        Ok(if problem { Err(value) } else { Ok(value) })
    }

    async fn json(&self, response: reqwest::Response) -> Result<serde_json::Value, Failure> {
        let text = response.text().await.map_err(|error| Failure::Broken(format!("the answer broke off: {error}")))?;
        serde_json::from_str(&text)
            .map_err(|_| Failure::Broken(format!("{} does not answer with JSON: is it weavergen?", self.url)))
    }

    /// Reads JSON at `path`, with these values in its query.
    pub(in crate::cli) async fn look(&self, path: &str, query: &[(&str, &str)]) -> Result<serde_json::Value, Failure> {
        let request = self.request(reqwest::Method::GET, path, Duration::from_secs(600))?.query(query);
        let response = self.send(request, "").await?;
        if !response.status().is_success() {
            return Err(refused(response, self).await);
        }
        self.json(response).await
    }

    /// Makes a call that changes something and answers JSON.
    pub(in crate::cli) async fn call(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let response = self.send(self.post(path, Duration::from_secs(600))?, "").await?;
        if !response.status().is_success() {
            return Err(refused(response, self).await);
        }
        self.json(response).await
    }
}

/// The text of a file and the id of its owner, both of the file that was opened.
fn read_with_owner(path: &Path) -> std::io::Result<(String, u32)> {
    let mut file = std::fs::File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, file.metadata()?.uid()))
}

/// The rows of an answer.
#[derive(Debug)]
pub struct Rows {
    /// Columns, in plain types.
    pub schema: SchemaRef,
    /// As the daemon told it.
    pub query_id: String,
    /// As the daemon told it.
    pub snapshot: String,
    /// What the daemon told before the first row.
    pub notices: Vec<String>,
    response: reqwest::Response,
    decoder: StreamDecoder,
    buffer: Buffer,
    pending: Option<RecordBatch>,
    started: Instant,
}

pub(super) async fn run(target: &Target, ask: &Ask) -> Result<Rows, Failure> {
    let started = Instant::now();
    let mut limits = serde_json::Map::new();
    if let Some(rows) = ask.limits().rows {
        limits.insert("rows".to_owned(), rows.into());
    }
    if let Some(time) = ask.time {
        limits.insert("time_ms".to_owned(), u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1).into());
    }
    let mut body = serde_json::json!({ "sql": ask.sql, "limits": limits });
    if !ask.params.is_empty() {
        body["params"] = ask.params.clone().into();
    }
    // The daemon ends a statement in time by itself; this is for one that does not answer at all.
    let patience = ask.time.unwrap_or(Duration::from_secs(600)) + Duration::from_secs(10);
    let request = target.post("/api/v1/sql", patience)?;
    let request = request.header(reqwest::header::ACCEPT, Format::Arrow.content_type()).json(&body);
    let response = target.send(request, ", or read a folder with --data").await?;
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (query_id, snapshot) = (header("x-weavergen-query-id"), header("x-weavergen-snapshot"));
    let notices = serde_json::from_str(&header("x-weavergen-notices")).unwrap_or_default();
    if !response.status().is_success() {
        return Err(refused(response, target).await.of(&ask.sql));
    }
    let mut rows = Rows {
        schema: SchemaRef::new(arrow::datatypes::Schema::empty()),
        query_id,
        snapshot,
        notices,
        response,
        decoder: StreamDecoder::new(),
        buffer: Buffer::from(Vec::<u8>::new()),
        pending: None,
        started,
    };
    // The schema is known with the first bytes; a batch that comes with them waits.
    rows.pending = rows.read().await?;
    match rows.decoder.schema() {
        Some(schema) => rows.schema = schema,
        None => return Err(Failure::Broken(format!("{} does not answer with Arrow: is it weavergen?", target.url))),
    }
    Ok(rows)
}

impl Rows {
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        match self.pending.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.read().await,
        }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn read(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| Failure::Broken(format!("the answer cannot be read: {error}"));
        loop {
            while !self.buffer.is_empty() {
                if let Some(batch) = self.decoder.decode(&mut self.buffer).map_err(|error| unreadable(&error))? {
                    return Ok(Some(batch));
                }
            }
            let chunk = self.response.chunk().await.map_err(|error| {
                let id = &self.query_id;
                Failure::Broken(format!(
                    "the answer broke off: {}; statement {id} failed after its first rows",
                    cause(&error)
                ))
            })?;
            match chunk {
                Some(bytes) => self.buffer = Buffer::from(bytes.to_vec()),
                None => {
                    self.decoder.finish().map_err(|error| unreadable(&error))?;
                    return Ok(None);
                }
            }
        }
    }
}

/// The innermost cause: the outer ones only repeat the address.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// An answer with an error in it.
async fn refused(response: reqwest::Response, target: &Target) -> Failure {
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    let parsed: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    let error = parsed.as_ref().and_then(|body| body.get("error"));
    let text = |name: &str| error.and_then(|error| error.get(name)).and_then(|value| value.as_str());
    let (Some(code), Some(message)) = (text("code"), text("message")) else {
        return Failure::Daemon(format!("{} answers {status}: is it weavergen?", target.url));
    };
    let Some(code) = Code::ALL.into_iter().find(|known| known.as_str() == code) else {
        let hint = text("hint").map(|hint| format!("; {hint}")).unwrap_or_default();
        // What was asked about is not there, or not so.
        if matches!(status.as_u16(), 404 | 409) && code.starts_with("gates.") {
            return Failure::Query(format!("{message}{hint}"));
        }
        return Failure::Daemon(format!("{} refuses: {message}{hint}", target.url));
    };
    let number = |name: &str| error?.get("position")?.get(name)?.as_u64();
    let position = match (number("line"), number("column"), number("offset")) {
        (Some(line), Some(column), Some(offset)) => Some(Position { line, column, offset }),
        _ => None,
    };
    let mut error = query::Error::new(code, message).at(position);
    error.hint = text("hint").map(str::to_owned);
    error.query_id = text("query_id").map(str::to_owned);
    if code == Code::Unauthenticated {
        error = error.hint("`--token-file FILE` sends the first token of a file");
    }
    error.into()
}
