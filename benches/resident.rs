//! How much memory this process holds.
//!
//! Duty: resident memory at a moment, and its peak over a time. Guarantee: the peak is looked for every few milliseconds, on a
//! thread that does nothing else. Left to others: whose memory it is; [`super::Bench::alone`] gives a row a process of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the peak is looked for.
const EVERY: Duration = Duration::from_millis(5);

/// Memory of this process that is resident; 0 where the kernel does not tell.
pub fn bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * 4096
}

/// Looks for the peak.
#[derive(Debug)]
pub struct Watch {
    is_done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    /// From now on.
    pub fn begin() -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let is_over = is_done.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = bytes();
            while !is_over.load(Ordering::Relaxed) {
                peak = peak.max(bytes());
                std::thread::sleep(EVERY);
            }
            peak
        });
        Self { is_done, thread }
    }

    /// The highest since it began.
    pub fn end(self) -> u64 {
        self.is_done.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only reads").max(bytes())
    }
}
