//! JSON documents in a stream of lines.
//!
//! Duty: where each begins and ends. Guarantee: pieces may be cut anywhere; what is kept is the document that is open. Left to
//! others: what a document says (`otlp`), how long it may be (`input`).

/// Cuts JSON documents out of lines: one on a line, one over many, several on one.
#[derive(Debug, Default)]
pub(super) struct Documents {
    begun: bool,
    open: Vec<u8>,
    line: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    stray: Option<usize>,
}

impl Documents {
    /// The documents that end in `bytes`, a piece of `line`; each with the line at which it began.
    pub(super) fn feed(&mut self, bytes: &[u8], line: usize) -> Vec<(usize, Vec<u8>)> {
        let mut whole = Vec::new();
        // Of a file that begins with a byte order mark.
        let is_first = !std::mem::replace(&mut self.begun, true);
        let bytes = if is_first { bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes) } else { bytes };
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

    /// The document that has begun and not ended: its line, and its bytes so far.
    pub(super) fn open(&self) -> (usize, usize) {
        (self.line, self.open.len())
    }

    /// What is wrong with what was left over, and at which line.
    pub(super) fn rest(&self) -> Option<(usize, &'static str)> {
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
    fn pieces_of_a_line_give_the_documents_of_the_line() {
        let text = "\u{FEFF}{\"a\": \"}{\\\"\"}\n{\n  \"b\": [1,\n 2]}{} {\"c\":{}}\n";
        let of = |most: usize| {
            let mut documents = Documents::default();
            let lines = text.split_inclusive('\n').zip(1..);
            let pieces = lines.flat_map(|(line, at)| line.as_bytes().chunks(most).map(move |piece| (piece, at)));
            let found: Vec<_> = pieces.flat_map(|(piece, at)| documents.feed(piece, at)).collect();
            assert_eq!(documents.rest(), None);
            found
        };
        assert_eq!(of(usize::MAX).len(), 4);
        // The byte order mark, three bytes, is in the first piece: `kind::head` reads that far.
        for most in 3..9 {
            assert_eq!(of(most), of(usize::MAX), "pieces of {most} bytes");
        }
    }
}
