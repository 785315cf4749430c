//! zstd frames (RFC 8878).
//!
//! Duty: frames one after the other, skippable ones included, with checksums checked. Guarantee: a window above 8 MiB
//! is refused, whatever the frame's size. Left to others: the format itself (libzstd).

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Damage, corrupt};

/// 8 MiB (L8).
const WINDOW_LOG: u32 = 23;

#[derive(Default)]
pub(super) struct Zstd {
    decoder: Option<Decoder<'static>>,
    /// A frame is open.
    open: bool,
    /// The last step filled its room, so more may be pending.
    pending: bool,
    frames: u64,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").field("open", &self.open).field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl Zstd {
    /// Bytes written to `target`; fewer than it holds only if all input was taken.
    pub(super) fn step(&mut self, input: &mut &[u8], target: &mut [u8]) -> Result<usize, Damage> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                let mut decoder = Decoder::new().or_else(corrupt)?;
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).or_else(corrupt)?;
                none.insert(decoder)
            }
        };
        let mut filled = 0;
        while filled < target.len() && (!input.is_empty() || (self.open && self.pending)) {
            // libzstd decodes a frame that is all there at once, without looking at its window, as it does one of a format
            // older than RFC 8878: hand over the first byte of each alone, then it does look, and takes no older one.
            let now = if self.open { *input } else { &input[..1] };
            let mut from = InBuffer::around(now);
            let mut to = OutBuffer::around(&mut target[filled..]);
            let hint = decoder.run(&mut from, &mut to).or_else(corrupt)?;
            let (taken, made) = (from.pos(), to.pos());
            *input = &input[taken..];
            filled += made;
            self.pending = filled == target.len();
            self.open = hint != 0;
            self.frames += u64::from(hint == 0);
            if taken == 0 && made == 0 && !input.is_empty() && self.open {
                return corrupt("the stream makes no progress");
            }
        }
        Ok(filled)
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.open && self.frames > 0
    }
}
