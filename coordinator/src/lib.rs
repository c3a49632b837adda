//! The coordinator: one command that runs any test suite over a herd of machines.
//!
//! `cli` says what was typed, `config` what shall be done, `job` builds the submission, `commands` do it: `session`
//! is one attached run, `submit` adds tasks, `follow` watches them, `report` shows them. Nothing here runs a test
//! (the worker does) or knows a Redis key (the store does).

#[macro_use]
mod out;

pub mod cli;
pub mod commands;
pub mod config;
pub mod detect;
pub mod embedded;
pub mod error;
pub mod farm;
pub mod follow;
pub mod history;
pub mod job;
pub mod outputs;
pub mod overview;
pub mod report;
pub mod runlog;
pub mod session;
pub mod submit;
pub mod visit;

use std::ffi::OsString;
use std::future::Future;
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
        Verb::Submit(args) => block_on(commands::submit::run(&cli.global, &args)),
        Verb::Attach(args) => block_on(commands::attach::run(&cli.global, &args)),
        Verb::Wait(args) => block_on(commands::wait::run(&cli.global, &args)),
        Verb::Status(args) => block_on(commands::status::run(&cli.global, &args)),
        Verb::Explain(args) => block_on(commands::explain::run(&cli.global, &args)),
        Verb::Logs(args) => block_on(commands::logs::run(&cli.global, &args)),
        Verb::Cancel(args) => block_on(commands::cancel::run(&cli.global, &args)),
        Verb::Retry(args) => block_on(commands::retry::run(&cli.global, &args)),
        Verb::Report(args) => block_on(commands::report::run(&cli.global, &args)),
        Verb::Workers(args) => block_on(commands::workers::run(&cli.global, &args)),
        Verb::Gc(args) => block_on(commands::gc::run(&cli.global, &args)),
        Verb::Doctor(args) => block_on(commands::doctor::run(&cli.global, &args)),
        Verb::Config(args) => told(commands::config::run(&cli.global, &args)),
        Verb::Completions(args) => told(commands::completions::completions(&args)),
        Verb::Man(args) => told(commands::completions::man(&args)),
    }
}

fn block_on(verb: impl Future<Output = Result<Exit, Error>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(verb),
        Err(error) => Err(Error::io("start the runtime", error)),
    };
    told(result)
}

fn told(result: Result<Exit, Error>) -> ExitCode {
    let exit = result.unwrap_or_else(|error| {
        out::complain(format_args!("{}\n", error.render()));
        error.exit()
    });
    ExitCode::from(exit.code())
}
