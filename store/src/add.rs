//! `add`: appends tasks and their runs to a group. Wrapper of `scripts/add.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, text};
use crate::scripts::Name;

/// A run of consecutive tasks as a lane holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The lane (its number in the job).
    pub lane: u32,
    /// First task.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Expected time of all, µs; -1 unknown.
    pub us: i64,
    /// Set-up that a split repeats, µs; -1 unknown.
    pub cost: i64,
    /// Never split over slots.
    pub whole: bool,
    /// Continues the last run of the lane: a run longer than one call.
    pub more: bool,
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there now; how many tasks the group has.
    New(u32),
    /// It was there before.
    Again(u32),
    /// Tasks before it are missing.
    Gap(u32),
    /// Other ids have these numbers.
    Conflict(u32),
    /// Somebody else collects this group now.
    Stale,
    /// The group has been sealed.
    Sealed,
    /// The group or its job has ended.
    Over,
    /// No such group.
    Unknown,
}

impl Store {
    /// Adds at most [`crate::ITEMS`] tasks, numbered from `first`. `fence`: of the collect attempt, 0 for the coordinator.
    ///
    /// # Errors
    /// The server's ([`StoreError::Full`] included: nothing was added then).
    pub async fn add(
        &self,
        job: &str,
        group: u32,
        fence: u64,
        first: u32,
        ids: &[String],
        runs: &[Entry],
    ) -> Result<Added, StoreError> {
        let head = [job.to_owned(), group.to_string(), fence.to_string(), first.to_string(), ids.len().to_string()];
        let tail: Vec<String> = runs.iter().flat_map(entry_args).collect();
        let args: Vec<&[u8]> = head.iter().chain(ids).chain(&tail).map(String::as_bytes).collect();
        let answer = list(self.call(Name::Add, &args).await?);
        let total = answer.get(1).map(number).unwrap_or_default();
        Ok(match answer.first().map(text).unwrap_or_default().as_str() {
            "OK" => Added::New(total),
            "DUP" => Added::Again(total),
            "EGAP" => Added::Gap(total),
            "ECONFLICT" => Added::Conflict(total),
            "ESTALE" => Added::Stale,
            "ESEALED" => Added::Sealed,
            "EOVER" => Added::Over,
            _ => Added::Unknown,
        })
    }
}

fn entry_args(e: &Entry) -> [String; 2] {
    let flags = format!("{}{}", if e.whole { "n" } else { "" }, if e.more { "c" } else { "" });
    [e.lane.to_string(), format!("{},{},{},{},{flags}", e.first, e.count, e.us, e.cost)]
}
