//! The coordinator: one command that runs any test suite over a herd of machines.
//!
//! `cli` says what was typed, `config` what shall be done, `job` builds the submission, `commands` do it: `session`
//! is one attached run, `submit` adds tasks, `follow` watches them, `report` shows them. Nothing here runs a test
//! (the worker does) or knows a Redis key (the store does).

pub mod cli;
pub mod commands;
pub mod config;
pub mod detect;
pub mod embedded;
pub mod error;
pub mod follow;
pub mod history;
pub mod job;
pub mod outputs;
pub mod report;
pub mod session;
pub mod submit;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Verb};
use error::{Error, Exit};

/// Runs the program with these arguments, the first of which is its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(), // 0 for help and version, 2 for what makes no sense
    };
    match cli.verb {
        Verb::Run(args) => block_on(commands::run::run(&cli.global, &args)),
        Verb::Each(args) => block_on(commands::each::run(&cli.global, &args)),
        Verb::Worker(args) => commands::worker::run(&cli.global, &args),
    }
}

fn block_on(verb: impl Future<Output = Result<Exit, Error>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(verb),
        Err(error) => Err(Error::io("start the runtime", error)),
    };
    let exit = result.unwrap_or_else(|error| {
        // nobody may be there to read it; that is no reason to panic
        let _ = writeln!(std::io::stderr(), "{}", error.render());
        error.exit()
    });
    ExitCode::from(exit.code())
}
