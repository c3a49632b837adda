//! What knows a framework: spec → command line, output → result. Pure; only `warden` starts processes.

pub mod command;
pub mod pytest;
pub mod rspec;
