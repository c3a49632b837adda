//! `remuda-worker`: the daemon of a lab machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    remuda_worker::warden::run_if_warden();
    remuda_worker::abq::run_if_bridge();
    remuda_worker::frameworks::run_if_bridge();
    remuda_worker::main_with_args(std::env::args_os())
}
