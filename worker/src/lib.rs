//! The worker: a daemon that claims tasks, beats, runs them through adapters and reports.
//!
//! `daemon` decides (one loop, one inbox), `heartbeat` renews leases from its own thread and connection, `warden`
//! supervises processes, `loader` speaks with warm runners, `abq` and `frameworks` bridge (`bridge`) to foreign ones, `adapter` knows frameworks (pure). Only `remuda-store`
//! talks to Redis; nothing here knows about the coordinator. `queue` is the same for code of your own: a library's worker.

pub mod abq;
pub mod adapter;
mod bridge;
pub mod cli;
pub mod daemon;
pub mod environment;
pub mod error;
pub mod frameworks;
pub mod heartbeat;
pub mod loader;
mod memory;
pub mod queue;
pub mod settings;
pub mod state;
pub mod warden;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
pub use queue::{QueueOptions, Task, TaskQueue};
use tracing_subscriber::EnvFilter;

/// Runs the daemon with these arguments (the first is the program's name) until it has drained.
pub fn main_with_args(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match cli::Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let filter = EnvFilter::try_from_env("REMUDA_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.hint().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            eprintln!("remuda-worker: {error}{hint}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: cli::Arguments) -> Result<(), error::WorkerError> {
    let settings = settings::Settings::new(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error::WorkerError::Machine { what: "start the runtime", error })?;
    runtime.block_on(daemon::run(settings))
}
