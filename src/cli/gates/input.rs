//! Files of spans (gates.md 12, `--input`).
//!
//! Duty: OTLP in JSON (lines, or documents one after the other) and in protobuf (one request, or many behind their lengths),
//! Parquet and Arrow IPC of the columns of `spans`, folders of these, stdin. Guarantee: what a file is shows its content, not
//! its name; a file that cannot be read wholly is an error with its place, and no span of the input is dropped in silence.
//! Left to others: columns of Parquet and Arrow (`columns`), keeping spans (`house`).

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::run::Reasons;
use super::{columns, frames, house};
use crate::cli::exit::{Exit, Failure};
use crate::otlp::{self, Decoded, Limits, SpanBuilder, Undecodable};
use crate::span::SpanBatch;

/// Endings of files that are taken out of a folder.
const ENDINGS: [&str; 13] =
    ["json", "jsonl", "ndjson", "pb", "binpb", "bin", "otlp", "proto", "parquet", "arrow", "arrows", "ipc", "feather"];
/// Folders below a folder that are looked into.
const DEEPEST: usize = 16;
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
    let mut taking = Taking { into: Into::House(house), builder: SpanBuilder::default(), taken: Taken::default() };
    for source in sources {
        match source {
            Source::Stdin => taking.read("stdin", Box::new(std::io::stdin())).await?,
            Source::Path(path) if path.is_dir() => {
                for file in folder(path)? {
                    taking.file(&file).await?;
                }
            }
            Source::Path(path) => taking.file(path).await?,
        }
    }
    Ok(taking.taken)
}

/// The spans of one file.
///
/// Errors: as [`take`].
pub(super) async fn rows(path: &Path) -> anyhow::Result<Vec<SpanBatch>> {
    let into = Into::Batches(Vec::new());
    let mut taking = Taking { into, builder: SpanBuilder::default(), taken: Taken::default() };
    taking.file(path).await?;
    match taking.into {
        Into::Batches(batches) => Ok(batches),
        Into::House(_) => Ok(Vec::new()),
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

/// The files of spans below `dir`, in their order.
fn folder(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if dir.join("VERSION").is_file() && dir.join("wal").is_dir() {
        return Err(unreadable(&dir.display().to_string(), "this is a data folder of weavergen; give it to `--data`"));
    }
    let mut found = Vec::new();
    walk(dir, DEEPEST, &mut found)?;
    found.sort();
    if found.is_empty() {
        let text =
            format!("no file of spans lies below it; they end with {}", ENDINGS.map(|e| format!(".{e}")).join(" "));
        return Err(unreadable(&dir.display().to_string(), text));
    }
    Ok(found)
}

fn walk(dir: &Path, deepest: usize, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = |error: std::io::Error| unreadable(&dir.display().to_string(), error);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|of| of.to_str()).unwrap_or_default().to_ascii_lowercase();
        if path.is_dir() && deepest > 0 {
            walk(&path, deepest - 1, into)?;
        } else if ENDINGS.contains(&ending.as_str()) && path.is_file() {
            into.push(path);
        }
    }
    Ok(())
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Json,
    Protobuf,
    Parquet,
    ArrowFile,
    ArrowStream,
    Compressed(&'static str),
    Other,
}

fn kind(head: &[u8]) -> Kind {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    match head {
        b"" => Kind::Nothing,
        [b'P', b'A', b'R', b'1', ..] => Kind::Parquet,
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Kind::ArrowFile,
        [0xFF, 0xFF, 0xFF, 0xFF, ..] => Kind::ArrowStream,
        [0x1F, 0x8B, ..] => Kind::Compressed("gunzip -c"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Kind::Compressed("zstd -dc"),
        _ if text.is_empty() => Kind::Nothing,
        _ if text.first() == Some(&b'{') && head.first() != Some(&0x0A) => Kind::Json,
        // Behind a line feed `{` may be the length of a field in protobuf, and the next byte is its first tag.
        _ if text.first() == Some(&b'{') && text.get(1).is_some_and(|b| matches!(b, b'"' | b'}' | b' ')) => Kind::Json,
        _ if frames::may_begin(head) => Kind::Protobuf,
        _ => Kind::Other,
    }
}

struct Taking<'a> {
    into: Into<'a>,
    builder: SpanBuilder,
    taken: Taken,
}

impl Taking<'_> {
    async fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| unreadable(&name, format!("cannot be opened: {error}")))?;
        self.read(&name, Box::new(file)).await
    }

    async fn read(&mut self, name: &str, from: Box<dyn Read + Send>) -> anyhow::Result<()> {
        let mut from = BufReader::with_capacity(1 << 20, from);
        let failed = |error: std::io::Error| unreadable(name, format!("cannot be read: {error}"));
        let of = kind(from.fill_buf().map_err(failed)?);
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
        let (mut documents, mut bytes, mut line) = (Documents::default(), Vec::new(), 1);
        loop {
            bytes.clear();
            let read =
                from.read_until(b'\n', &mut bytes).map_err(|e| unreadable(name, format!("cannot be read: {e}")))?;
            if read == 0 {
                break;
            }
            for document in documents.feed(&bytes, line) {
                self.document(name, &document).await?;
            }
            if documents.open.len() > MAX_DOCUMENT {
                return Err(unreadable(&format!("{name}:{}", documents.line), "a document is larger than 1 GiB"));
            }
            line += 1;
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

/// Cuts JSON documents out of lines: one on a line, one over many, several on one.
#[derive(Debug, Default)]
struct Documents {
    open: Vec<u8>,
    line: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    stray: Option<usize>,
}

impl Documents {
    /// The documents that end in `bytes`, which begin at `line`; each with the line at which it began.
    fn feed(&mut self, bytes: &[u8], line: usize) -> Vec<(usize, Vec<u8>)> {
        let mut whole = Vec::new();
        // Of a file that begins with a byte order mark.
        let bytes = if line == 1 { bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes) } else { bytes };
        let mut from = if self.depth > 0 { Some(0) } else { None };
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' if self.depth > 0 => self.in_text = true,
                b'{' | b'[' => {
                    if self.depth == 0 {
                        (from, self.line) = (Some(at), line);
                    }
                    self.depth += 1;
                }
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.open.extend_from_slice(&bytes[from.unwrap_or(0)..=at]);
                        whole.push((self.line, std::mem::take(&mut self.open)));
                        from = None;
                    }
                }
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if self.depth == 0 => {
                    self.stray.get_or_insert(line);
                }
                _ => {}
            }
        }
        if let Some(from) = from {
            self.open.extend_from_slice(&bytes[from..]);
        }
        whole
    }

    /// What is wrong with what was left over, and at which line.
    fn rest(&self) -> Option<(usize, &'static str)> {
        let cut =
            (self.depth > 0).then_some((self.line, "the JSON document that begins here does not end; the file is cut"));
        self.stray
            .map(|line| (line, "this is no JSON document; each is an OTLP request `{\"resourceSpans\": …}`"))
            .or(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_on_one_line_over_many_and_several_on_one() {
        let mut documents = Documents::default();
        let text = "{\"a\": \"}{\\\"\"}\n\n{\n  \"b\": [1,\n 2]}{} {\"c\":{}}\r\n";
        let lines = text.split_inclusive('\n').zip(1..);
        let found: Vec<_> = lines.flat_map(|(line, at)| documents.feed(line.as_bytes(), at)).collect();
        let shown: Vec<_> =
            found.iter().map(|(line, text)| (*line, String::from_utf8_lossy(text).into_owned())).collect();
        let want = [(1, "{\"a\": \"}{\\\"\"}"), (3, "{\n  \"b\": [1,\n 2]}"), (5, "{}"), (5, "{\"c\":{}}")];
        assert_eq!(shown, want.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(documents.rest(), None);
    }

    #[test]
    fn a_file_that_is_cut_or_holds_something_else_is_told_with_its_line() {
        let rest = |lines: &[&str]| {
            let mut documents = Documents::default();
            for (line, at) in lines.iter().zip(1..) {
                documents.feed(line.as_bytes(), at);
            }
            documents.rest().map(|(line, _)| line)
        };
        assert_eq!(rest(&["{}\n", "{\"a\": [\n", "1\n"]), Some(2));
        assert_eq!(rest(&["{}\n", "oops\n"]), Some(2));
        assert_eq!(rest(&["{}\n", "\"{\"\n"]), Some(2), "text outside of a document opens none");
    }

    #[test]
    fn the_first_bytes_tell_what_a_file_is() {
        assert_eq!(kind(b"\xEF\xBB\xBF \n{\"resourceSpans\":[]}"), Kind::Json);
        assert_eq!(kind(b"\n{ \"resourceSpans\":[]}"), Kind::Json, "a request of this length is no JSON");
        assert_eq!(kind(b"PAR1...."), Kind::Parquet);
        assert_eq!(kind(b"\x1F\x8B\x08"), Kind::Compressed("gunzip -c"));
        assert_eq!(kind(b"groups:\n"), Kind::Other);
        assert_eq!(kind(b" \n"), Kind::Nothing);
        assert_eq!(kind(b"\x0A\x02\x0A\x00"), Kind::Protobuf);
    }
}
