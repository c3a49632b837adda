//! What was typed: `remuda-worker`, which is also `remuda worker`.

use std::path::PathBuf;

use clap::Parser;

/// Runs tasks of a farm on this machine, for as long as it lives.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "remuda-worker",
    version,
    after_help = "Example: remuda-worker --redis redis://lab:6379 --slots auto --label gpu"
)]
pub struct Arguments {
    /// Redis of the farm: redis://, rediss:// or unix://
    #[arg(long, env = "REMUDA_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis: String,
    /// The farm's name
    #[arg(long, env = "REMUDA_FARM", default_value = "default", value_name = "NAME")]
    pub farm: String,
    /// How many attempts run at once: a number, or auto (one for each core)
    #[arg(long, default_value = "auto", value_name = "N|auto")]
    pub slots: String,
    /// A label that tasks may ask for (may be repeated)
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// How long a drain waits for what runs, in seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub drain_timeout: u64,
    /// Folder that remembers who ran here before
    #[arg(long, env = "REMUDA_WORKER_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Folder for the daemon's own files, removed by whoever gave it
    #[arg(long, hide = true)]
    pub scratch: Option<PathBuf>,
    /// Folder for whole outputs of commands, emptied by whoever gave it
    #[arg(long, hide = true, requires = "embedded")]
    pub outputs: Option<PathBuf>,
    /// Lease asked for, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub lease: u64,
    /// Child of one attached run: attempts inherit this environment
    #[arg(long, hide = true)]
    pub embedded: bool,
}
