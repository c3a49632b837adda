//! `remuda completions` and `remuda man`: what shells and manuals know of the grammar.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::cli::verbs::{Completions, Man};
use crate::error::{Error, Exit};

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output is gone.
pub fn completions(args: &Completions) -> Result<Exit, Error> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "remuda", &mut text);
    super::print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Passed)
}

/// Writes one manual page for the program and one for each verb.
///
/// # Errors
/// The folder cannot be written.
pub fn man(args: &Man) -> Result<Exit, Error> {
    let failed = |e| Error::io(format!("write manual pages in {}", args.folder.display()), e);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(failed)?;
    Ok(Exit::Passed)
}
