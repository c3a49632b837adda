//! `remuda run -- CMD` for the frameworks with a bridge: whose command it is. Each framework has a file of its own.

use remuda_protocol::spec::Adapter;

use super::{cargo, go};
use crate::config::values::Slots;

/// A framework's command that is run test by test.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    /// Name of the group.
    pub name: &'static str,
    /// How it runs.
    pub adapter: Adapter,
    /// `-j` of nextest, `--test-threads` of libtest, `-p` of go.
    pub slots: Option<Slots>,
    /// `--retries`.
    pub retries: Option<u32>,
    /// `--max-fail`, `--fail-fast`.
    pub maxfail: Option<u32>,
    /// `-v`.
    pub verbosity: i32,
}

/// Recognises a framework in a command.
#[must_use]
pub fn recognise(words: &[String]) -> Option<Called> {
    cargo::recognise(words).or_else(|| go::recognise(words))
}
