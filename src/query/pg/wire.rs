//! Bytes of one connection.
//!
//! Duty: where messages end, and sending. Guarantee: a message is at most as long as its sender may send, and memory is
//! taken as its bytes come; what is half sent goes on behind a cancel; a client that takes nothing for 30 s is cut. Left
//! to others: what messages hold (`front`, `back`).

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::front::{self, Message, Opening};
use super::problem::Problem;

/// Bytes of an opening packet, as of PostgreSQL's own.
const MAX_OPENING: usize = 10_000;
/// Bytes of a password message.
const MAX_PASSWORD: usize = 4_096;
/// Bytes of a message of a client that is logged in: 64 KiB of text, and parameters beside it.
const MAX_MESSAGE: usize = 1 << 20;
/// Bytes that are read ahead of what is done.
const READ_AHEAD: usize = 64 << 10;
/// Bytes that are written at once.
pub const PIECE: usize = 64 << 10;
const STALL: Duration = Duration::from_secs(30);

/// The kind of a message whose body cannot be read, and why.
pub type Unreadable = (u8, Problem);

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    incoming: BytesMut,
    /// What is to be sent.
    pub out: BytesMut,
}

/// Why a connection ends.
#[derive(Debug)]
pub enum Broken {
    /// The client has gone, or takes nothing.
    Gone(io::Error),
    /// It sent what cannot be read on from.
    Protocol(Problem),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Wire {
    /// Over `stream`.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, incoming: BytesMut::new(), out: BytesMut::new() }
    }

    /// The opening packet; `None` = the client has gone.
    ///
    /// Errors: [`Broken`].
    pub async fn opening(&mut self) -> Result<Option<Opening>, Broken> {
        loop {
            if let Some(body) = self.body(0, 8, MAX_OPENING)? {
                return front::opening(body).map(Some).map_err(|wrong| Broken::Protocol(fatal(wrong.into())));
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next message of a client that is logging in, which is a password; `None` = it has gone.
    ///
    /// Errors: [`Broken`].
    pub async fn password(&mut self) -> Result<Option<String>, Broken> {
        loop {
            if let Some((kind, body)) = self.framed(MAX_PASSWORD)? {
                let wrong = || Broken::Protocol(Problem::fatal("08P01", "a password is expected"));
                return match front::message(kind, body) {
                    Ok(Message::Password(body)) => front::password(body).map(Some).map_err(|_| wrong()),
                    _ => Err(wrong()),
                };
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// A message that has come as a whole. A body that cannot be read is an error within its message.
    ///
    /// Errors: [`Broken`].
    pub fn message(&mut self) -> Result<Option<Result<Message, Unreadable>>, Broken> {
        let Some((kind, body)) = self.framed(MAX_MESSAGE)? else { return Ok(None) };
        Ok(Some(front::message(kind, body).map_err(|wrong| (kind, wrong.into()))))
    }

    fn framed(&mut self, longest: usize) -> Result<Option<(u8, Bytes)>, Broken> {
        let Some(kind) = self.incoming.first().copied() else { return Ok(None) };
        Ok(self.body(1, 4, longest)?.map(|body| (kind, body)))
    }

    /// The body of a packet whose length stands at `at`, counts itself and is from `shortest` to `longest`.
    fn body(&mut self, at: usize, shortest: usize, longest: usize) -> Result<Option<Bytes>, Broken> {
        let Some(length) = self.incoming.get(at..at + 4) else { return Ok(None) };
        let length = i32::from_be_bytes(length.try_into().expect("four bytes were taken"));
        let length = usize::try_from(length).unwrap_or(0);
        if length < shortest || length > longest {
            let text = format!("a message says that it has {length} bytes; from {shortest} to {longest} are taken");
            return Err(Broken::Protocol(Problem::fatal("08P01", text)));
        }
        if self.incoming.len() < at + length {
            return Ok(None);
        }
        let mut packet = self.incoming.split_to(at + length);
        packet.advance(at + 4);
        Ok(Some(packet.freeze()))
    }

    /// Reads what has come; 0 = the client has gone. Nothing is lost if it is dropped before it ends.
    ///
    /// Errors: the connection broke.
    pub async fn more(&mut self) -> io::Result<usize> {
        self.incoming.reserve(8 << 10);
        self.stream.read_buf(&mut self.incoming).await
    }

    /// Ends when the client has gone; what it sends meanwhile is kept, up to a bound.
    pub async fn gone(&mut self) {
        while self.incoming.len() < READ_AHEAD + MAX_MESSAGE {
            if !matches!(self.more().await, Ok(read) if read > 0) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Sends all that is written. Nothing is sent twice if it is dropped before it ends.
    ///
    /// Errors: the connection broke, or takes nothing.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let written = tokio::time::timeout(STALL, self.stream.write_buf(&mut self.out)).await;
            let written = written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Sends what is written once it is much.
    ///
    /// Errors: those of [`Wire::flush`].
    pub async fn relieve(&mut self) -> io::Result<()> {
        match self.out.len() {
            ..PIECE => Ok(()),
            _ => self.flush().await,
        }
    }

    /// Says good-bye to the client.
    pub async fn close(mut self) {
        let last = async {
            let _ = self.flush().await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), last).await;
    }
}

fn fatal(problem: Problem) -> Problem {
    Problem { fatal: true, ..problem }
}
