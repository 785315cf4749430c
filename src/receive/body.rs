//! Reading a request body within its reservation and its deadline.
//!
//! Duty: bytes off the connection, as one piece. Guarantee: no byte is asked for before room for it was reserved, and
//! none is waited for beyond the deadline, nor in room that others need. Left to others: what the bytes mean.

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use crate::budget::Reservation;

use super::admit::{Admission, STEP_BYTES};
use super::arriving::{Arrival, Arriving};

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// More bytes than the limit.
    TooLarge,
    /// No room for the next step, or others need what is held for bytes that do not come.
    NoRoom,
    /// The deadline passed.
    Late,
    /// The peer went away or broke the framing.
    Broken,
}

/// A body being read.
#[derive(Debug)]
pub(super) struct Reader {
    body: Incoming,
    /// Received and not yet given out.
    rest: Bytes,
    deadline: Option<Instant>,
    ended: bool,
    received: u64,
}

impl Reader {
    pub(super) fn new(body: Incoming, deadline: Option<Instant>) -> Self {
        let ended = body.is_end_stream();
        Self { body, rest: Bytes::new(), deadline, ended, received: 0 }
    }

    /// Whether the peer has sent all there is, as far as is known.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty() && (self.ended || self.body.is_end_stream())
    }

    /// Bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The next piece that is not empty; `None` at the end.
    async fn piece(&mut self, arrival: Option<&Arrival<'_>>) -> Result<Option<Bytes>, Unread> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        while !self.ended {
            let next = self.body.frame();
            let next = async {
                match arrival {
                    None => Ok(next.await),
                    Some(arrival) => tokio::select! {
                        biased;
                        frame = next => Ok(frame),
                        () = arrival.room_wanted() => Err(Unread::NoRoom),
                    },
                }
            };
            let frame = match self.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, next).await.map_err(|_| Unread::Late)??,
                None => next.await?,
            };
            match frame {
                None => self.ended = true,
                Some(Err(_)) => return Err(Unread::Broken),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The next piece; if it has to be waited for, the body is one of `arriving` with `bytes` from then on.
    async fn first<'a>(
        &mut self,
        arriving: Option<&'a Arriving>,
        bytes: u64,
    ) -> Result<(Option<Bytes>, Option<Arrival<'a>>), Unread> {
        // What is here already is not waited for.
        if arriving.is_some()
            && let Some(piece) = self.piece(None).now_or_never()
        {
            return Ok((piece?, None));
        }
        let arrival = arriving.map(|all| all.begin(bytes));
        let piece = self.piece(arrival.as_ref()).await?;
        Ok((piece, arrival))
    }

    /// Keeps what is left of a piece. An empty one would still hold the connection's buffer, which then had to be allocated
    /// anew for the next.
    fn keep(&mut self, rest: Bytes) {
        self.rest = if rest.is_empty() { Bytes::new() } else { rest };
    }

    /// Exactly `length` bytes, fewer if the body ends before; they are one of `arriving` if room is reserved for them.
    pub(super) async fn exactly(&mut self, length: usize, arriving: Option<&Arriving>) -> Result<Bytes, Unread> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let (first, arrival) = self.first(arriving, length as u64).await?;
        let Some(mut first) = first else { return Ok(Bytes::new()) };
        if first.len() >= length {
            // The common case: the whole message came in one piece and is not copied.
            let taken = first.split_to(length);
            self.keep(first);
            return Ok(taken);
        }
        let arrival = arrival.or_else(|| arriving.map(|all| all.begin(length as u64)));
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        drop(first);
        while all.len() < length {
            if let Some(arrival) = &arrival {
                arrival.has(all.len() as u64);
            }
            let Some(mut piece) = self.piece(arrival.as_ref()).await? else { break };
            let n = piece.len().min(length - all.len());
            all.extend_from_slice(&piece[..n]);
            piece.advance(n);
            self.keep(piece);
        }
        Ok(all.freeze())
    }

    /// Whether nothing follows; the body is one of `arriving` until that is known, as room is still held for it.
    pub(super) async fn ends(&mut self, arriving: &Arriving) -> Result<bool, Unread> {
        // As if one byte were missing: who does not say that all is there is behind when others need the room.
        let (piece, _) = self.first(Some(arriving), 1).await?;
        match piece {
            None => Ok(true),
            Some(piece) => {
                self.rest = piece;
                Ok(false)
            }
        }
    }

    /// All bytes of a body of unknown length, at most `limit`; each step of it is reserved `parts` times.
    pub(super) async fn all(
        &mut self,
        limit: usize,
        parts: u64,
        admission: &Admission,
        reservation: &mut Reservation,
    ) -> Result<Bytes, Unread> {
        let (mut read, mut reserved) = (0, 0);
        // A step each: one vector that doubles would be up to three times what is reserved for it.
        let mut steps: Vec<Vec<u8>> = Vec::new();
        let arrival = admission.arriving().begin(0);
        loop {
            // Before more room is asked for: whoever asks asks also those that are behind.
            arrival.has(read as u64);
            if read == reserved && reserved < limit {
                let step = STEP_BYTES.min(limit - reserved);
                let asked = Instant::now();
                admission.grow(reservation, step as u64 * parts).await.map_err(|_| Unread::NoRoom)?;
                arrival.waited(asked.elapsed());
                reserved += step;
                arrival.expects(reserved as u64);
                steps.push(Vec::new());
            }
            let Some(mut piece) = self.piece(Some(&arrival)).await? else { return Ok(joined(steps, read)) };
            if piece.len() > limit - read {
                self.rest = piece;
                return Err(Unread::TooLarge);
            }
            let n = piece.len().min(reserved - read);
            if let Some(step) = steps.last_mut() {
                step.extend_from_slice(&piece[..n]);
            }
            read += n;
            piece.advance(n);
            self.keep(piece);
        }
    }
}

/// One piece of `length` bytes; each step is let go as soon as it is copied.
fn joined(mut steps: Vec<Vec<u8>>, length: usize) -> Bytes {
    if steps.len() < 2 {
        return steps.pop().unwrap_or_default().into();
    }
    let mut all = Vec::with_capacity(length);
    for step in steps {
        all.extend_from_slice(&step);
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_become_one_piece_that_keeps_nothing_beside_itself() {
        let steps = |lens: &[usize]| lens.iter().map(|len| vec![7_u8; *len]).collect::<Vec<_>>();
        for lens in [vec![], vec![0], vec![3], vec![STEP_BYTES, 1], vec![STEP_BYTES, STEP_BYTES, 0]] {
            let length: usize = lens.iter().sum();
            let whole = joined(steps(&lens), length);
            assert_eq!(whole.len(), length);
            assert!(Vec::<u8>::from(whole).capacity() <= length, "{lens:?}");
        }
    }
}
