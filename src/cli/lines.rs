//! Text and lines for whoever reads stdout.
//!
//! Duty: a text at once, or one line after the other. Guarantee: a reader that went away ends nothing by force: who writes is
//! told and goes on or stops; a disk that is full is an error, not a panic. Left to others: what is said.

use std::fmt::Display;
use std::io::{self, Write};

use super::exit::{Exit, Failure};

/// A place for lines.
#[derive(Debug)]
pub(super) struct Lines<W> {
    into: W,
    is_read: bool,
}

#[cfg(test)]
impl Lines<Vec<u8>> {
    /// What was written.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.into).into_owned()
    }
}

impl Lines<io::Stdout> {
    /// Those of this process.
    pub(super) fn stdout() -> Self {
        Self::into(io::stdout())
    }
}

impl<W: Write> Lines<W> {
    /// Those of another place.
    pub(super) fn into(into: W) -> Self {
        Self { into, is_read: true }
    }

    /// Writes `line`. `false`: nobody reads any more.
    ///
    /// Errors: it cannot be written (74).
    pub(super) fn put(&mut self, line: impl Display) -> Result<bool, Failure> {
        if self.is_read {
            let written = writeln!(self.into, "{line}").and_then(|()| self.into.flush());
            self.is_read = is_read(written)?;
        }
        Ok(self.is_read)
    }
}

/// Writes `text` to stdout. `false`: nobody reads it, `| head`, which is no failure.
///
/// Errors: it cannot be written (74).
pub(super) fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether somebody reads what was `written` to stdout.
///
/// Errors: it cannot be written for another reason (74).
pub(super) fn is_read(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Io, format!("cannot write stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and then fails.
    struct Short(usize, io::ErrorKind);

    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.0 {
                return Err(self.1.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_told_and_a_full_disk_is_an_error() {
        let mut lines = Lines::into(Short(4, io::ErrorKind::BrokenPipe));
        assert_eq!([lines.put("one"), lines.put("two"), lines.put("x")], [Ok(true), Ok(false), Ok(false)]);
        let mut lines = Lines::into(Short(4, io::ErrorKind::StorageFull));
        assert_eq!(lines.put("one"), Ok(true));
        assert!(lines.put("two").unwrap_err().to_string().starts_with("cannot write stdout: "));
    }
}
