//! Claims about the durable engine.

mod crash;
mod faulty;
mod life;
mod scenario;
