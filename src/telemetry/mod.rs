//! What the daemon says of itself: logs, metrics, spans, health.
//!
//! Duty: log lines on stderr, `/metrics` for Prometheus, own spans handed to the store like everybody's, and the health
//! endpoint. Guarantee: handling our own spans makes no spans, and losing them never delays a request. Left to others:
//! what is counted (each module registers its metrics on the [`prometheus::Registry`] it is given) and what ready means
//! (`app` passes it in).

mod bind;
pub mod config;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod own_spans;
mod serve;
mod socket;

pub use bind::{Unbound, listen};
pub use config::{Config, HealthCheck};
pub use serve::{BindError, addresses, bind, serve};
pub use socket::Socket;
