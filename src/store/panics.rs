//! Panics of the store's own threads: defects of ours that must not be silent.
//!
//! Duty: turn a panic into an error that the thread treats as any other failure, or, where a thread cannot go on, into
//! words for health. Guarantee: nothing here hides a panic; the panic hook has reported it before. Left to others: what a
//! thread does then, and whether its state still holds (each says so where it catches).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Error;

/// What `work` gives; [`Error::Internal`] if it panics. `what` names it: `the flush`.
pub fn caught<T>(what: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(told(what, &*panic)))
}

/// The error of a panic.
pub fn told(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Internal { detail: format!("{what} panicked: {}", text.unwrap_or("it left no words")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_words() {
        let error = caught::<()>("the flush", || panic!("no {}", "bread")).unwrap_err();
        assert!(error.to_string().contains("the flush panicked: no bread"), "{error}");
        assert_eq!(caught("it", || Ok(1)).unwrap(), 1);
    }
}
