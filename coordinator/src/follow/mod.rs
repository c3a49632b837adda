//! The attached run: what a job's events mean, and the loop that follows it to its end.

pub mod view;

#[cfg(test)]
mod view_tests;
