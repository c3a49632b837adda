//! The warden with real processes. Tests wait for pipes, sockets and signals, never for time to pass.
//!
//! The *witness* is a FIFO which every process of a unit holds open for writing: its end of file means
//! that all of them are dead, however often they forked and whatever session they are in.

mod containment;
mod death;
mod limits;
mod output;
mod queue;
mod support;
