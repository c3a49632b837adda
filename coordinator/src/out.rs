//! `print!` and its kin for the whole program. The standard ones panic when nobody reads any more or the disk is full;
//! these end the program: quietly where a reader has gone, with the error otherwise. Only for verbs that list and hold
//! nothing that must be tidied up; what a run shows goes through its reporters.

use std::fmt::Arguments;
use std::io::Write as _;

use crate::error::Error;

/// Writes to standard output, or ends the program.
pub(crate) fn write(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            let error = Error::report("standard output", error);
            complain(format_args!("{}\n", error.render()));
            std::process::exit(error.exit().code().into());
        }
    }
}

/// Writes to standard error; that nobody can read it changes nothing.
pub(crate) fn complain(text: Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

macro_rules! print {
    ($($text:tt)*) => { $crate::out::write(format_args!($($text)*)) };
}

macro_rules! println {
    () => { $crate::out::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::out::complain(format_args!("{}\n", format_args!($($text)*))) };
}
