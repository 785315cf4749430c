//! The socket of one connection: bytes read ahead, a limit on stalled writes, and a close that lets the answer arrive.
//!
//! Duty: what hyper does not do by itself. A peer that stops reading is cut off (`write_timeout`, otlp.md H10). A close
//! with unread bytes in the receive buffer would make the kernel send RST and may destroy an answer on its way (413,
//! 431), so such a close first drains the socket for a while. Guarantee: each wait here ends by itself. Left to others:
//! header and idle timeouts (`connection`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::activity::Activity;
use super::frames::Heads;

/// How long a socket with unread bytes is drained before it is closed.
const LINGER: Duration = Duration::from_secs(10);

/// A TCP stream as the connection needs it.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    /// Read while telling HTTP/1.1 and HTTP/2 apart.
    ahead: Bytes,
    activity: Arc<Activity>,
    /// HTTP/2: where heads are among what is read.
    heads: Option<Heads>,
    write_timeout: Option<Duration>,
    write_timer: Option<Pin<Box<Sleep>>>,
    closing: Closing,
}

#[derive(Debug)]
enum Closing {
    No,
    Draining(Pin<Box<Sleep>>),
    Done,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, ahead: Bytes, activity: Arc<Activity>, write_timeout: Option<Duration>) -> Self {
        Self { tcp, ahead, activity, heads: None, write_timeout, write_timer: None, closing: Closing::No }
    }

    /// The same, of HTTP/2 from its first byte.
    #[must_use]
    pub(super) fn with_frames(self) -> Self {
        Self { heads: Some(Heads::new()), ..self }
    }

    /// Passes on a write's outcome; a write that stays pending for `write_timeout` fails.
    fn limited<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(limit) = self.write_timeout else { return outcome };
        if outcome.is_ready() {
            self.write_timer = None;
            return outcome;
        }
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            std::task::ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        } else {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..n]);
            self.ahead.advance(n);
        }
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            match &mut self.heads {
                Some(heads) => {
                    let seen = heads.see(read);
                    self.activity.frames_arrived(seen);
                }
                None => self.activity.bytes_arrived(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.limited(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.limited(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.tcp).poll_flush(cx);
        self.limited(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.closing {
                Closing::No => {
                    std::task::ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
                    self.closing = if self.activity.has_unread() {
                        Closing::Draining(Box::pin(tokio::time::sleep(LINGER)))
                    } else {
                        Closing::Done
                    };
                }
                Closing::Draining(timer) => {
                    if timer.as_mut().poll(cx).is_ready() {
                        self.closing = Closing::Done;
                        continue;
                    }
                    let mut waste = [0; 16 * 1024];
                    let mut buf = ReadBuf::new(&mut waste);
                    match std::task::ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buf)) {
                        Ok(()) if !buf.filled().is_empty() => {}
                        _ => self.closing = Closing::Done,
                    }
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}
