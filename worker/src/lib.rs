//! The worker daemon.

pub mod warden;
