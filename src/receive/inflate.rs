//! Content codings of a request, undone into reserved memory (otlp.md G5, H7, L8, B4).
//!
//! Duty: from wire bytes to the message, in steps of at most 64 KiB, each reserved before it is made. Guarantee: output
//! never exceeds the limit nor what was reserved, so a bomb costs one step; the decoder is the one that replay uses, so
//! what is accepted here can be read back from the log. Left to others: the codings and their names (`otlp::compress`),
//! status codes (`status`).

use bytes::Bytes;

use crate::budget::Exhausted;
use crate::otlp::compress::{Coding, Decoder, Error, Progress, STEP_BYTES};

/// Why a body did not become a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Corrupt(String),
    TooLarge,
    NoRoom(Exhausted),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLarge { .. } => Self::TooLarge,
            Error::Corrupt { .. } => Self::Corrupt(error.to_string()),
        }
    }
}

/// The message in `wire`, of at most `limit` bytes. `room` is asked before each step, with the bytes of it.
pub(super) fn inflate(
    coding: Coding,
    wire: &Bytes,
    limit: usize,
    mut room: impl FnMut(usize) -> Result<(), Exhausted>,
) -> Result<Bytes, Failed> {
    if coding == Coding::Identity {
        return if wire.len() > limit { Err(Failed::TooLarge) } else { Ok(wire.clone()) };
    }
    let mut decoder = Decoder::new(coding, limit);
    let (mut input, mut out, mut reserved) = (&wire[..], Vec::new(), 0);
    loop {
        // A step may make less than it is allowed; what is reserved and not yet used counts for the next.
        let ahead = (out.len() + STEP_BYTES).min(limit);
        if ahead > reserved {
            room(ahead - reserved).map_err(Failed::NoRoom)?;
            reserved = ahead;
        }
        if decoder.step(&mut input, &mut out)? == Progress::NeedInput {
            break;
        }
    }
    decoder.finish()?;
    // The message is kept until the commit, and of the vector only its length is reserved.
    if out.capacity() - out.len() > STEP_BYTES {
        out.shrink_to_fit();
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::span;

    const ALL: [Coding; 6] =
        [Coding::Gzip, Coding::Zstd, Coding::Zlib, Coding::Snappy, Coding::SnappyFramed, Coding::Lz4];

    fn deflated(coding: Coding, plain: &[u8]) -> Bytes {
        let level = flate2::Compression::fast();
        match coding {
            Coding::Identity => plain.to_vec(),
            Coding::Gzip => {
                let mut e = flate2::write::GzEncoder::new(Vec::new(), level);
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
            Coding::Zlib => {
                let mut e = flate2::write::ZlibEncoder::new(Vec::new(), level);
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(plain, 1).unwrap(),
            Coding::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            Coding::SnappyFramed => {
                let mut e = snap::write::FrameEncoder::new(Vec::new());
                e.write_all(plain).unwrap();
                e.into_inner().unwrap()
            }
            Coding::Lz4 => {
                let mut e = lz4_flex::frame::FrameEncoder::new(Vec::new());
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
        }
        .into()
    }

    fn undo(coding: Coding, wire: &Bytes, limit: usize) -> Result<Bytes, Failed> {
        inflate(coding, wire, limit, |_| Ok(()))
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from((i * i / 7) % 251).unwrap()).collect()
    }

    #[test]
    fn every_coding_gives_back_what_was_sent_up_to_the_limit_and_not_a_byte_more() {
        for coding in ALL {
            for len in [1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 300_000] {
                let plain = sample(len);
                let wire = deflated(coding, &plain);
                assert!(undo(coding, &wire, len).unwrap() == plain, "{coding:?} {len}");
                assert_eq!(undo(coding, &wire, len - 1), Err(Failed::TooLarge), "{coding:?} {len}");
            }
        }
    }

    #[test]
    fn a_truncated_stream_and_bytes_after_it_are_corrupt() {
        for coding in ALL {
            let wire = deflated(coding, &sample(200_000));
            for cut in [wire.len() - 1, wire.len() / 2, 3] {
                let got = undo(coding, &wire.slice(..cut), 1 << 20);
                assert!(matches!(got, Err(Failed::Corrupt(_))), "{coding:?} cut at {cut}: {:?}", got.map(|b| b.len()));
            }
            let mut longer = wire.to_vec();
            longer.extend_from_slice(b"more");
            let got = undo(coding, &longer.into(), 1 << 20);
            assert!(matches!(got, Err(Failed::Corrupt(_))), "{coding:?}: {:?}", got.map(|b| b.len()));
            assert!(matches!(undo(coding, &Bytes::new(), 9), Err(Failed::Corrupt(_))), "{coding:?}");
        }
    }

    #[test]
    fn members_and_frames_may_follow_each_other() {
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Lz4] {
            let two = [deflated(coding, b"ab"), deflated(coding, b"cd")].concat();
            assert_eq!(undo(coding, &two.into(), 100).unwrap(), "abcd", "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_step_that_has_no_room() {
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Zlib, Coding::SnappyFramed, Coding::Lz4] {
            let bomb = deflated(coding, &vec![0; 32 << 20]);
            let mut steps = 0;
            let got = inflate(coding, &bomb, 64 << 20, |bytes| {
                assert!(bytes <= STEP_BYTES);
                steps += 1;
                if steps > 4 { Err(Exhausted { bytes: 1 }) } else { Ok(()) }
            });
            assert_eq!((got, steps), (Err(Failed::NoRoom(Exhausted { bytes: 1 })), 5), "{coding:?}");
        }
    }

    #[test]
    fn a_snappy_block_that_announces_4_gib_costs_no_more_than_a_step() {
        let wire = Bytes::from_static(b"\xff\xff\xff\xff\x0f0123456789abcde");
        let mut asked = 0;
        let got = inflate(Coding::Snappy, &wire, 64 << 20, |bytes| {
            asked += bytes;
            Ok(())
        });
        assert_eq!((got, asked), (Err(Failed::TooLarge), STEP_BYTES));
    }

    #[test]
    fn a_zstd_frame_that_asks_for_a_window_over_8_mib_is_corrupt_also_a_small_one() {
        let mut e = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        e.window_log(27).unwrap();
        e.write_all(&sample(1000)).unwrap();
        let streamed = Bytes::from(e.finish().unwrap());
        // With its content size libzstd could decode it at once, without a look at the window of 2^27.
        let small = Bytes::from_static(b"\x28\xb5\x2f\xfd\x80\x88\x05\x00\x00\x00\x29\x00\x00small");
        // A frame of zstd 0.5, which libzstd may be built to read.
        let legacy = Bytes::from_static(b"\x25\xb5\x2f\xfd\x00\x00\x00\x00\x00\x00");
        for wire in [streamed, small, legacy] {
            assert!(matches!(undo(Coding::Zstd, &wire, 64 << 20), Err(Failed::Corrupt(_))), "{wire:?}");
        }
    }

    #[test]
    fn what_is_accepted_can_be_read_back_from_the_log() {
        let plain = sample(3000);
        let (mut accepted, mut refused) = (0, 0);
        for coding in ALL {
            let wire = deflated(coding, &plain);
            for at in 0..wire.len().min(400) {
                let mut changed = wire.to_vec();
                changed[at] ^= 1 << (at % 8);
                let changed = Bytes::from(changed);
                let Ok(message) = undo(coding, &changed, 1 << 20) else {
                    refused += 1;
                    continue;
                };
                accepted += 1;
                let logged: Option<span::Coding> = coding.to_logged(&changed);
                let Some(logged) = logged else { continue };
                let again = crate::otlp::compress::decompress(logged, &changed, message.len());
                assert!(again.as_deref() == Ok(&message[..]), "{coding:?}, bit {} of byte {at}", at % 8);
            }
        }
        assert!(accepted > 10 && refused > 100, "{accepted} {refused}");
    }

    #[test]
    fn no_more_is_kept_than_was_reserved() {
        for coding in ALL {
            let len = 5 * STEP_BYTES + 1;
            let message = undo(coding, &deflated(coding, &vec![7; len]), 64 << 20).unwrap();
            let kept = Vec::<u8>::from(message);
            assert!(kept.capacity() <= len + STEP_BYTES, "{coding:?} keeps {}", kept.capacity());
        }
    }
}
