//! What a file of spans is, by its first bytes.
//!
//! Duty: read as many as decide, and decide. Guarantee: the answer does not depend on the pieces in which they come, so a slow
//! pipe is the same as a file. Left to others: reading the rest (`input`), framings of protobuf (`frames`).

use std::io::{self, Read};

use super::super::frames;

/// Bytes behind leading blanks that decide.
const ENOUGH: usize = 16;
/// Blanks above which it is text, whatever follows.
const MOST_BLANK: usize = 1 << 20;

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    Json,
    Protobuf,
    Parquet,
    ArrowFile,
    ArrowStream,
    Compressed(&'static str),
    Other,
}

impl Kind {
    /// Whether a file whose ending says nothing is one of spans. Almost anything may begin like protobuf.
    pub(super) const fn is_plain(self) -> bool {
        matches!(self, Self::Json | Self::Parquet | Self::ArrowFile | Self::ArrowStream | Self::Compressed(_))
    }
}

/// The first bytes of `from`: all, or enough to tell what it is.
///
/// Errors: it cannot be read.
pub(super) fn head(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    while text(&head).len() < ENOUGH && head.len() < MOST_BLANK {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// What is behind a byte order mark and blanks.
fn text(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start()
}

/// What begins with `head`.
pub(super) fn kind(head: &[u8]) -> Kind {
    let text = text(head);
    match head {
        b"" => Kind::Nothing,
        [b'P', b'A', b'R', b'1', ..] => Kind::Parquet,
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Kind::ArrowFile,
        [0xFF, 0xFF, 0xFF, 0xFF, ..] => Kind::ArrowStream,
        [0x1F, 0x8B, ..] => Kind::Compressed("gunzip -c"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Kind::Compressed("zstd -dc"),
        // Its reader finds out what follows, and where.
        _ if text.is_empty() && head.len() >= MOST_BLANK => Kind::Json,
        _ if text.is_empty() => Kind::Nothing,
        _ if text.first() == Some(&b'{') && head.first() != Some(&0x0A) => Kind::Json,
        // Behind a line feed `{` may be the length of a field in protobuf, and the next byte is its first tag.
        _ if text.first() == Some(&b'{') && text.get(1).is_some_and(|b| matches!(b, b'"' | b'}' | b' ')) => Kind::Json,
        _ if frames::may_begin(head) => Kind::Protobuf,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, and is interrupted before each.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read(&mut into[..1])
        }
    }

    #[test]
    fn a_slow_pipe_is_what_the_whole_file_is() {
        let blank = [b'\n'; 70_000];
        let late = [&blank[..], b"{\"resourceSpans\":[]}"].concat();
        let files: [&[u8]; 7] = [
            b"\n\n  {\"resourceSpans\":[]}",
            b"\xEF\xBB\xBF{\"resourceSpans\":[]}",
            b"PAR1............",
            b"\x1F\x8B\x08\x00",
            b"groups: [a, b, c, d, e]",
            b"\x0A\x02\x0A\x00",
            &late,
        ];
        for file in files {
            assert_eq!(kind(&head(&mut Slow(file, false)).unwrap()), kind(file));
        }
        assert_eq!(kind(&late), Kind::Json);
        assert_eq!(kind(&vec![b' '; MOST_BLANK]), Kind::Json, "what follows is not dropped");
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
