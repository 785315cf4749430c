//! Claims about the durable engine.

mod crash;
mod export;
mod faulty;
mod life;
mod mend;
pub(super) mod scenario;
mod workers;
