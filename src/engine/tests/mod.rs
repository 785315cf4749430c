//! Claims about the durable engine.

mod crash;
mod export;
mod faulty;
mod life;
pub(super) mod scenario;
