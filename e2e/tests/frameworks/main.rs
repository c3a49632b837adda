//! The frameworks beside pytest: each runs a small real project of `examples/`, alone and through Remuda, and both must
//! tell the same of every test.
#![allow(missing_docs, clippy::unwrap_used)]

mod batch;
mod cargo;
mod go;
mod support;
