//! Where a request head begins and ends among the frames of an HTTP/2 connection.
//!
//! Duty: [`Heads`], which is shown the bytes that a peer sends and says whether a head is on its way, so that L5 of
//! otlp.md holds over HTTP/2 as it does over HTTP/1.1. hyper has no timer for it: a header block that is begun and never
//! ended waits for ever. Guarantee: bytes are looked at once, and payloads are passed over unread. Left to others: what
//! the frames mean, and whether they are right (hyper), closing (`connection`).
//!
//! RFC 9113: a frame has nine bytes before its payload (length, type, flags, stream); a header block is one HEADERS
//! frame and the CONTINUATION frames behind it, up to the one that says END_HEADERS.

const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What the bytes so far have begun.
#[derive(Debug)]
pub(super) struct Heads {
    /// Bytes of the preface or of a payload that are still to come.
    skip: usize,
    /// Of a frame's first bytes, those that are here.
    header: [u8; FRAME_HEADER_BYTES],
    filled: usize,
    /// The payload at hand belongs to a head, and whether it ends it.
    payload: Option<Ends>,
    /// A header block without its end.
    open: bool,
    /// The preface and the frame that belongs to it are not complete.
    opening: bool,
}

/// Whether a frame is the last of its header block.
type Ends = bool;

/// What a read changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A head became complete.
    pub(super) ended: bool,
    /// A head is begun and not complete.
    pub(super) arriving: bool,
}

impl Heads {
    /// Of a connection whose first byte is that of the preface.
    pub(super) fn new() -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; FRAME_HEADER_BYTES],
            filled: 0,
            payload: None,
            open: false,
            opening: true,
        }
    }

    /// Takes in the next bytes.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Seen {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                bytes = &bytes[n..];
                self.skip -= n;
                ended |= self.skip == 0 && self.payload_ended();
                continue;
            }
            let n = (FRAME_HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.filled += n;
            if self.filled == FRAME_HEADER_BYTES {
                self.filled = 0;
                let [l0, l1, l2, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, l0, l1, l2]) as usize;
                let is_of_head = matches!(kind, HEADERS | CONTINUATION);
                self.payload = Some(!is_of_head || flags & END_HEADERS != 0).filter(|_| is_of_head || self.opening);
                self.open |= is_of_head;
                ended |= self.skip == 0 && self.payload_ended();
            }
        }
        Seen { ended, arriving: self.is_arriving() }
    }

    /// The frame at hand is complete; whether that completes a head.
    fn payload_ended(&mut self) -> bool {
        // The end of the preface's own bytes ends nothing.
        let Some(ends) = self.payload.take() else { return false };
        let was_arriving = self.open || self.opening;
        self.opening = false;
        self.open &= !ends;
        was_arriving && !self.open
    }

    /// A frame's kind is its fourth byte: before it, it may be any.
    fn is_arriving(&self) -> bool {
        let is_begun = self.filled > 3 && matches!(self.header[3], HEADERS | CONTINUATION);
        self.opening || self.open || is_begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    /// One letter a byte: whether a head is arriving after it.
    fn states(bytes: &[u8]) -> String {
        let mut heads = Heads::new();
        bytes.iter().map(|byte| if heads.see(&[*byte]).arriving { 'h' } else { '.' }).collect()
    }

    #[test]
    fn a_head_is_arriving_from_its_kind_to_the_end_of_its_last_frame() {
        let opening = [PREFACE, &frame(4, 0, &[0; 6])].concat();
        assert_eq!(states(&opening), format!("{}.", "h".repeat(38)), "the settings belong to the preface");
        for (after, expected) in [
            (frame(HEADERS, END_HEADERS, b"ab"), "...hhhhhhh."),
            (frame(HEADERS, END_HEADERS, b""), "...hhhhh."),
            (frame(0, END_HEADERS, b"body"), "............."),
            (frame(8, 0, &[0; 4]), "............."),
            ([frame(HEADERS, 0, b"a"), frame(CONTINUATION, END_HEADERS, b"b")].concat(), "...hhhhhhhhhhhhhhhh."),
            ([frame(HEADERS, 0, b"a"), frame(CONTINUATION, 0, b"b")].concat(), "...hhhhhhhhhhhhhhhhh"),
            ([frame(HEADERS, END_HEADERS, b"a"), frame(0, 0, b"b")].concat(), "...hhhhhh..........."),
        ] {
            assert_eq!(&states(&[&opening[..], &after].concat())[opening.len()..], expected, "{after:?}");
        }
    }

    #[test]
    fn the_pieces_in_which_bytes_come_make_no_difference() {
        let head = frame(HEADERS, END_HEADERS, b"abc");
        let bytes = [PREFACE, &frame(4, 0, &[]), &head, &frame(0, 0, &[1; 300]), &head, &head[..7]].concat();
        for piece in [1, 2, 3, 7, 10, 64, bytes.len()] {
            let mut heads = Heads::new();
            let seen: Vec<Seen> = bytes.chunks(piece).map(|piece| heads.see(piece)).collect();
            assert!(seen.last().unwrap().arriving, "in pieces of {piece}");
            assert!(seen.iter().any(|seen| seen.ended), "in pieces of {piece}");
        }
        let mut heads = Heads::new();
        let whole = &bytes[..bytes.len() - 7];
        assert_eq!(heads.see(whole), Seen { ended: true, arriving: false });
        assert_eq!(heads.see(&head[..4]), Seen { ended: false, arriving: true });
    }
}
