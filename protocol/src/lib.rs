//! The words of Remuda, and nothing else: ids, lifecycle, groups and their graph, the plan, the job spec, events.
//!
//! Everything here is pure: no clock, no file, no network, no environment (time is an argument).
//! `remuda-store` carries these words to Redis, `remuda-worker` and `remuda` act on them.

pub mod event;
pub mod graph;
pub mod id;
pub mod item;
pub mod lifecycle;
pub mod outcome;
pub mod plan;
pub mod spec;

/// Version of the Redis protocol and of the job spec. A worker refuses jobs of another version.
pub const PROTOCOL: u32 = 1;
