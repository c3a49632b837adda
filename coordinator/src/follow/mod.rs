//! The attached run: what a job's events mean (`view`), their names (`names`), the loop that follows it (`attached`),
//! its end (`ending`, `verdict`), and all of it from start to end (`course`).

mod alive;
pub mod attached;
pub mod change;
mod course;
pub mod ending;
pub mod fit;
pub mod halt;
pub mod intake;
pub mod keys;
pub mod names;
pub mod progress;
pub mod shown;
pub mod signals;
pub mod verdict;
pub mod view;

#[cfg(test)]
mod view_tests;
