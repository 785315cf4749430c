//! What a statement holds while it runs.
//!
//! Duty: its task and its place in the gauge. Guarantee: both are given up when it is dropped, however it ends. Left to
//! others: its slot (a permit of the semaphore), its line in the log (`log`).

use prometheus::IntGauge;
use tokio::task::AbortHandle;

/// Stops a task when dropped.
#[derive(Debug)]
pub(super) struct Abort(pub AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts a statement while it runs.
pub(super) struct Running(IntGauge);

impl Running {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
