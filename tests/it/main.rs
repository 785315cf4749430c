//! The integration tests: one binary, a module a subject.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod alertmanager;
mod architecture;
mod catalog;
mod clients;
mod config;
mod crash;
mod daemon;
mod decoder;
mod demo;
mod demo_service;
mod docker;
mod engine_kills;
mod exit_codes;
mod flight;
mod gates;
mod gates_http;
mod gates_past;
mod gates_run;
mod gates_test;
mod generate;
mod given;
mod jobs;
mod memory;
mod own_spans;
mod pg;
mod pipeline;
mod pipeline_daemon;
mod proto;
mod queries;
mod readme;
mod receive;
mod round_trip;
mod rust_sdk;
mod s3;
mod semconv;
mod shell;
mod stop;
mod store;
