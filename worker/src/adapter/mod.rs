//! What knows a framework: spec → command line, output → result. Pure; only `warden` starts processes.

pub mod batch;
pub mod command;
pub mod junit;
pub mod pytest;
pub mod rspec;
