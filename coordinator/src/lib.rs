//! The coordinator: one command that runs any test suite over a herd of machines.
//!
//! `cli` says what was typed, `config` what shall be done, `job` builds the submission, `commands` do it. Nothing
//! here runs a test (the worker does) or knows a Redis key (the store does).

pub mod cli;
pub mod config;
pub mod error;
pub mod follow;
pub mod job;
pub mod report;
