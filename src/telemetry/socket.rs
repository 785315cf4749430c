//! A connection whose peer has to read.
//!
//! Duty: a TCP stream on which a write that stays pending for 30 s, or as long as the server says, fails, which hyper has no
//! limit for. Guarantee: a peer that asks and never reads does not keep its place. Left to others: the time of heads and between requests (`serve`,
//! `web`), what a peer may leave unread within HTTP/2.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

const STALLED: Duration = Duration::from_secs(30);

/// A TCP stream as a server needs it.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    limit: Duration,
    /// Runs while a write is pending.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Serves whoever is at the other end of `tcp`.
    pub fn new(tcp: TcpStream) -> Self {
        Self::within(tcp, STALLED)
    }

    /// The same; a write may stay pending for `limit`.
    pub fn within(tcp: TcpStream, limit: Duration) -> Self {
        Self { tcp, limit, timer: None }
    }

    fn limited(&mut self, context: &mut Context<'_>, outcome: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if outcome.is_ready() {
            self.timer = None;
            return outcome;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(context).map(|()| Err(Error::new(ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.limited(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(context, pieces);
        self.limited(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_write_fails_when_the_peer_reads_nothing_and_goes_on_when_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let mut socket = Socket::within(tcp, Duration::from_millis(300));
        let reading = tokio::spawn(async move {
            let mut bytes = vec![0; 1 << 20];
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                peer.read_exact(&mut bytes).await.unwrap();
            }
            peer
        });
        socket.write_all(&vec![7_u8; 20 << 20]).await.unwrap();
        let _unread = reading.await.unwrap();
        let error = socket.write_all(&vec![7_u8; 64 << 20]).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::TimedOut, "the peer does not read"));
    }
}
