//! stub
pub mod exit;
pub mod loadgen;
