//! Our own bench runner: `cargo bench -- decode` runs the rows whose name contains `decode`.
//!
//! Duty: measure a closure in CPU time of its thread, so that other work on the machine does not count; print one row a
//! case. Guarantee: each case is warmed up and then measured five times, the median is printed. Left to others: what is
//! measured, a module a subject.

mod attr_cost;
mod decode;
mod fresh;
mod gate_house;
mod gate_ingest;
mod gate_memory;
mod gate_notice;
mod gate_start;
mod gate_tick;
mod gates;
mod learn;
mod load;
mod lookup;
mod resident;
mod restart;
mod semconv;
mod store;

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of which the median is taken.
const RUNS: usize = 5;
/// Says to a process of this program that it is there for one row.
const ALONE: &str = "--alone";
/// CPU time that one run takes at the least.
const RUN_AT_LEAST: Duration = Duration::from_millis(300);

fn main() {
    // `cargo bench` passes `--bench`; `cargo test --all-targets` does not, and then building was all it wanted.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    // What is no option names the rows.
    let filters: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_alone = std::env::args().any(|arg| arg == ALONE);
    let bench = Bench { filters, is_alone };
    decode::run(&bench);
    semconv::run(&bench);
    store::run(&bench);
    gates::run(&bench);
    gate_tick::run(&bench);
    gate_memory::run(&bench);
    gate_start::run(&bench);
    gate_notice::run(&bench);
    gate_ingest::run(&bench);
    learn::run(&bench);
    lookup::run(&bench);
    attr_cost::run(&bench);
    fresh::run(&bench);
    restart::run(&bench);
}

/// Which rows are wanted.
#[derive(Debug)]
pub struct Bench {
    filters: Vec<String>,
    /// This process is there for one row.
    is_alone: bool,
}

impl Bench {
    /// Whether the row `name` is wanted; without filters all are.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// Prints the row `name`, if it is wanted, in a process of its own: what rows before it freed would hide what it takes.
    pub fn alone(&self, name: &str, row: impl FnOnce()) {
        if !self.wants(name) {
            return;
        }
        if self.is_alone {
            row();
            return;
        }
        let program = std::env::current_exe().expect("it runs");
        let ended =
            std::process::Command::new(program).args(["--bench", ALONE, name]).status().expect("it starts again");
        assert!(ended.success(), "{name}: {ended}");
    }

    /// CPU seconds of one call of `work`: median of [`RUNS`], each of as many calls as take [`RUN_AT_LEAST`].
    pub fn seconds_per_call<T>(&self, mut work: impl FnMut() -> T) -> f64 {
        let mut calls = 1u32;
        while time(calls, &mut work) < RUN_AT_LEAST {
            calls *= 2;
        }
        let mut runs: Vec<_> = (0..RUNS).map(|_| time(calls, &mut work) / calls).collect();
        runs.sort_unstable();
        runs[RUNS / 2].as_secs_f64()
    }
}

fn time<T>(calls: u32, work: &mut impl FnMut() -> T) -> Duration {
    let before = thread_time();
    for _ in 0..calls {
        black_box(work());
    }
    thread_time() - before
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("nanoseconds are below a second"))
}
