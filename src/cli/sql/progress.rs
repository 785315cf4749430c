//! That a statement still runs.
//!
//! Duty: seconds on stderr, after the first two. Guarantee: the line is gone before rows are written. Left to others:
//! stopping it (`repl`).

use std::io::Write as _;
use std::time::{Duration, Instant};

const SILENT: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(1);

/// Of one statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// `None` = it is not shown.
    since: Option<Instant>,
}

impl Progress {
    /// Of a statement that begins now.
    pub(super) fn begin(is_shown: bool) -> Self {
        Self { since: is_shown.then(Instant::now) }
    }

    /// Waits for `future`.
    pub(super) async fn watch<T>(self, rows: u64, future: impl Future<Output = T>) -> T {
        let Some(since) = self.since else { return future.await };
        let mut line = Line(false);
        tokio::pin!(future);
        loop {
            let elapsed = since.elapsed();
            let wait = if elapsed < SILENT { SILENT - elapsed } else { EVERY };
            tokio::select! {
                done = &mut future => return done,
                () = tokio::time::sleep(wait) => line.show(since.elapsed(), rows),
            }
        }
    }
}

/// What stands on the terminal; it goes when this is dropped, also if nobody waits any more.
struct Line(bool);

impl Line {
    fn show(&mut self, elapsed: Duration, rows: u64) {
        self.0 = true;
        let rows = if rows > 0 { format!(", {rows} rows") } else { String::new() };
        // A terminal that has gone needs no progress.
        let _ = write!(std::io::stderr(), "\r{} s{rows}; Ctrl-C stops it\x1b[K", elapsed.as_secs());
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.0 {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }
}
