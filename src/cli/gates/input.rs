//! Files of spans (gates.md 12, `--input`).
//!
//! Duty: OTLP in JSON (lines, or documents one after the other) and in protobuf (one request, or many behind their lengths),
//! Parquet and Arrow IPC of the columns of `spans`, folders of these, stdin. Guarantee: what a file is shows its content, not
//! its name; a file that cannot be read wholly is an error with its place, one file is read once, and no span of the input is
//! dropped in silence. Left to others: columns of Parquet and Arrow (`columns`), keeping spans (`house`).

mod documents;
mod folder;
mod kind;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use self::documents::Documents;
use self::kind::{Kind, head, kind};
use super::run::Reasons;
use super::{columns, frames, house};
use crate::cli::exit::{Exit, Failure};
use crate::otlp::{self, Decoded, Limits, SpanBuilder, Undecodable};
use crate::span::SpanBatch;

/// Longest JSON document: what the store takes at once.
const MAX_DOCUMENT: usize = 1 << 30;

/// One `--input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `-`
    Stdin,
    /// A file or folder.
    Path(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Stdin } else { Self::Path(PathBuf::from(text)) })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What came of the input beside spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Spans that were set aside.
    pub rejected: u64,
    /// By reason.
    pub rejected_by: Reasons,
    /// Files of folders that look like no file of spans.
    pub left_out: u64,
}

impl Taken {
    fn add(&mut self, decoded: &Decoded) {
        self.rejected += decoded.rejected_spans() as u64;
        for (reason, spans) in &decoded.rejected_by_reason {
            *self.rejected_by.entry(reason.as_str().to_owned()).or_default() += spans;
        }
    }
}

/// Reads all of `sources` into `house`.
///
/// Errors: a file is absent, unreadable, or no file of spans (74).
pub(super) async fn take(sources: &[Source], house: &house::Spans) -> anyhow::Result<Taken> {
    let mut taking = Taking::new(Into::House(house));
    for source in sources {
        match source {
            Source::Stdin => taking.read("stdin", Box::new(std::io::stdin())).await?,
            Source::Path(path) if path.is_dir() => {
                let found = folder::files(path)?;
                if let Some(text) = found.left_out_text(path) {
                    eprintln!("weavergen: {text}");
                }
                taking.taken.left_out += found.left_out.len() as u64;
                for file in found.files {
                    taking.file(&file).await?;
                }
            }
            Source::Path(path) => taking.file(path).await?,
        }
    }
    Ok(taking.taken)
}

/// The spans of one file, and what else came of it.
///
/// Errors: as [`take`].
pub(super) async fn rows(path: &Path) -> anyhow::Result<(Vec<SpanBatch>, Taken)> {
    let mut taking = Taking::new(Into::Batches(Vec::new()));
    taking.file(path).await?;
    match taking.into {
        Into::Batches(batches) => Ok((batches, taking.taken)),
        Into::House(_) => Ok((Vec::new(), taking.taken)),
    }
}

/// Where spans go.
enum Into<'a> {
    House(&'a house::Spans),
    Batches(Vec<SpanBatch>),
}

fn unreadable(name: &str, why: impl fmt::Display) -> anyhow::Error {
    Failure::new(Exit::Io, format!("{name}: {why}")).into()
}

struct Taking<'a> {
    into: Into<'a>,
    builder: SpanBuilder,
    taken: Taken,
    /// Files that were read, by their real paths.
    seen: BTreeSet<PathBuf>,
    longest_document: usize,
}

impl<'a> Taking<'a> {
    fn new(into: Into<'a>) -> Self {
        let (builder, taken, seen) = (SpanBuilder::default(), Taken::default(), BTreeSet::new());
        Self { into, builder, taken, seen, longest_document: MAX_DOCUMENT }
    }

    /// Reads the file, unless it was read before: its spans would count twice.
    async fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| unreadable(&name, format!("cannot be opened: {error}"));
        let file = File::open(path).map_err(failed)?;
        // What is not a file, e.g. a named pipe, may have more to say.
        let is_file = file.metadata().map_err(failed)?.is_file();
        if is_file && !self.seen.insert(path.canonicalize().map_err(failed)?) {
            return Ok(());
        }
        self.read(&name, Box::new(file)).await
    }

    async fn read(&mut self, name: &str, mut from: Box<dyn Read + Send>) -> anyhow::Result<()> {
        let failed = |error: std::io::Error| unreadable(name, format!("cannot be read: {error}"));
        let head = head(&mut from).map_err(failed)?;
        let of = kind(&head);
        let mut from = BufReader::with_capacity(1 << 20, Cursor::new(head).chain(from));
        match of {
            Kind::Nothing => Ok(()),
            Kind::Json => self.json(name, from).await,
            Kind::Compressed(by) => {
                Err(unreadable(name, format!("it is compressed; write `{by} {name} | weavergen gates run --input -`")))
            }
            Kind::Other => {
                let next = if name.ends_with(".yaml") || name.ends_with(".yml") {
                    "gate files go before `--input`"
                } else {
                    "OTLP JSON or protobuf, Parquet and Arrow IPC are read"
                };
                Err(unreadable(name, format!("it is no file of spans; {next}")))
            }
            Kind::Protobuf | Kind::Parquet | Kind::ArrowFile | Kind::ArrowStream => {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).map_err(failed)?;
                match of {
                    Kind::Protobuf => self.protobuf(name, &bytes).await,
                    Kind::Parquet => self.columns(name, columns::parquet(bytes.into())).await,
                    Kind::ArrowFile => self.columns(name, columns::arrow_file(bytes)).await,
                    _ => self.columns(name, columns::arrow_stream(bytes)).await,
                }
            }
        }
    }

    async fn json(&mut self, name: &str, mut from: impl BufRead) -> anyhow::Result<()> {
        let (mut documents, mut line) = (Documents::default(), 1);
        loop {
            // A line may be longer than memory, so it is taken in the pieces in which it comes.
            let piece = match from.fill_buf() {
                Ok([]) => break,
                Ok(piece) => piece,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(name, format!("cannot be read: {error}"))),
            };
            let end = piece.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let read = end.unwrap_or(piece.len());
            let whole = documents.feed(&piece[..read], line);
            from.consume(read);
            for document in whole {
                self.document(name, &document).await?;
            }
            let (begun, bytes) = documents.open();
            if bytes > self.longest_document {
                let text = format!("a document is longer than {} bytes; cut it into several", self.longest_document);
                return Err(unreadable(&format!("{name}:{begun}"), text));
            }
            line += usize::from(end.is_some());
        }
        match documents.rest() {
            Some((at, why)) => Err(unreadable(&format!("{name}:{at}"), why)),
            None => Ok(()),
        }
    }

    async fn document(&mut self, name: &str, (line, text): &(usize, Vec<u8>)) -> anyhow::Result<()> {
        let decoded = otlp::decode_json(text, &Limits::fixed(), false, &mut self.builder);
        self.keep(decoded, || format!("{name}:{line}")).await
    }

    async fn protobuf(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let requests = frames::requests(bytes).map_err(|why| unreadable(name, why))?;
        for (at, request) in requests {
            let decoded = otlp::decode(request, &Limits::fixed(), &mut self.builder);
            self.keep(decoded, || format!("{name} at byte {at}")).await?;
        }
        Ok(())
    }

    async fn columns(&mut self, name: &str, found: Result<Vec<Vec<u8>>, String>) -> anyhow::Result<()> {
        for request in found.map_err(|why| unreadable(name, why))? {
            let decoded = otlp::decode(&request, &Limits::fixed(), &mut self.builder);
            self.keep(decoded, || name.to_owned()).await?;
        }
        Ok(())
    }

    async fn keep(&mut self, decoded: Result<Decoded, Undecodable>, place: impl Fn() -> String) -> anyhow::Result<()> {
        let decoded = decoded.map_err(|error| unreadable(&place(), error))?;
        self.taken.add(&decoded);
        match &mut self.into {
            _ if decoded.batches.is_empty() => Ok(()),
            Into::House(house) => house.append(decoded.batches).await,
            Into::Batches(batches) => {
                batches.extend(decoded.batches);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
