//! A Fleet: a private Redis, workers as real processes, jobs submitted through the store; for crash, chaos and
//! end-to-end tests. Everything it started is gone when it is dropped.
#![allow(clippy::missing_panics_doc, clippy::missing_errors_doc, missing_docs, clippy::unwrap_used)]

#[path = "../../store/tests/support/mod.rs"]
pub mod support;

pub mod fleet;
pub mod processes;
pub mod suite;
