//! The program from outside, on real processes and a real Redis.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod access;
mod bad_input;
mod children;
mod ci;
mod each;
mod each_whole;
mod groups;
mod herd;
mod lab;
mod outputs;
mod parallel;
mod pytest;
mod streams;
mod support;
mod terminal;
mod tls;
mod verbs;
