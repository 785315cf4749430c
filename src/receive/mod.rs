//! OTLP in, status out.
//!
//! Duty: the listeners on 4317 and 4318, the order of checks of otlp.md 1, admission, and the answers. Guarantee: a
//! success is sent only after [`crate::span::Next`] has taken the spans durably; every refusal says whether to retry and
//! when. Left to others: bytes to columns (`otlp`), what happens to the spans (`graph`).

pub mod config;

pub use config::Config;
