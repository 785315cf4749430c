//! Claims about the durable engine.

mod crash;
mod export;
mod faulty;
mod life;
mod scenario;
