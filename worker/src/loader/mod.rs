//! Loaders: one process per (host, job, group) that has imported and collected a suite and forks runners from it.
//!
//! `messages` is the vocabulary of docs/runner-protocol.md, `frames` carries it, `process` starts a loader and its
//! runners. What to run when is the daemon's business.

pub mod frames;
pub mod messages;
pub mod plan;
pub mod process;
pub mod sources;
pub mod tap;
