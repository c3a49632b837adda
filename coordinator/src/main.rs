//! `remuda`.

use std::process::ExitCode;

fn main() -> ExitCode {
    remuda::commands::worker::run_if_warden();
    remuda::run(std::env::args_os())
}
