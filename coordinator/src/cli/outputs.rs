//! The grammar of what is shown and written of a job, shared by every verb that sees one end.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What a verb that sees a job's end shows and writes.
#[derive(Clone, Debug, Default, Args)]
pub struct Outputs {
    /// Write JUnit XML
    #[arg(long, value_name = "FILE|-")]
    pub junit: Option<PathBuf>,
    /// Write every fact as a line of JSON
    #[arg(long, value_name = "FILE|-")]
    pub events: Option<PathBuf>,
    /// Write a page to look at in a browser
    #[arg(long, value_name = "FILE|-")]
    pub html: Option<PathBuf>,
    /// Write a summary as JSON
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Mark failures in the host's pages
    #[arg(long, value_enum, value_name = "github", hide_possible_values = true)]
    pub annotations: Option<Annotations>,
    /// Show as it happens: none|fail|retry|slow|pass|skip|all
    #[arg(long, value_enum, value_name = "LEVEL", hide_possible_values = true)]
    pub status_level: Option<StatusLevel>,
    /// Show again at the end [default: fail]
    #[arg(long, value_enum, value_name = "LEVEL", hide_possible_values = true)]
    pub final_status_level: Option<StatusLevel>,
    /// Show the N slowest
    #[arg(long, value_name = "N")]
    pub durations: Option<usize>,
    /// A test that passed only when tried again fails the run
    #[arg(long)]
    pub fail_on_flaky: bool,
}

/// `--annotations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Annotations {
    /// Workflow commands of GitHub Actions
    Github,
}

/// `--status-level` and `--final-status-level`: each shows what those before it show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum StatusLevel {
    /// Nothing
    None,
    /// Failures
    #[default]
    Fail,
    /// What was tried again
    Retry,
    /// What took long
    Slow,
    /// Passes
    Pass,
    /// What was skipped
    Skip,
    /// Everything
    All,
}
