//! The program from outside, on real processes and a real Redis.

mod bad_input;
mod each;
mod groups;
mod pytest;
mod support;
