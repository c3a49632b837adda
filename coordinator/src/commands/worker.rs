//! `remuda worker`: the worker daemon under this program's name. The only file that knows the worker crate.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{Global, Worker};

/// Becomes the warden of a worker, if this process was started as one. Must come before anything else.
pub fn run_if_warden() {
    remuda_worker::warden::run_if_warden();
}

/// Runs the daemon until it has drained.
#[must_use]
pub fn run(global: &Global, args: &Worker) -> ExitCode {
    let mut words = vec![OsString::from("remuda worker")];
    // `remuda --redis URL worker` means the same as `remuda worker --redis URL`
    for (flag, value) in [("--redis", &global.redis), ("--farm", &global.farm)] {
        if let Some(value) = value {
            words.extend([flag.into(), value.into()]);
        }
    }
    words.extend(args.args.iter().cloned());
    remuda_worker::main_with_args(words)
}
