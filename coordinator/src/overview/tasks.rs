//! Tasks by what people type for them, and what has become of them. Reads only.

use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::GroupKind;
use remuda_store::{Store, TaskRecord};

use super::Overview;
use crate::error::Error;
use crate::job::again::Unpassed;

/// Ids and records read in one go.
const PAGE: u32 = 10_000;
/// Names shown where a text fits several.
const SHOWN: usize = 5;

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Group number.
    pub group: u32,
    /// Task number.
    pub task: u32,
    /// Its id.
    pub id: String,
}

impl Overview {
    /// The one task that `text` names: its id, or a part of it that no other has. Collections are not meant.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn find(&self, store: &Store, text: &str) -> Result<Found, Error> {
        let (mut some, mut count) = (Vec::new(), 0_u64);
        for group in self.groups_with_tasks() {
            for first in (0..self.state.groups[group as usize].added).step_by(PAGE as usize) {
                let ids = store.ids(&self.head.id, group, first, PAGE).await?;
                for (task, id) in (first..).zip(ids) {
                    if id == text {
                        return Ok(Found { group, task, id });
                    }
                    if id.contains(text) {
                        count += 1;
                        if some.len() < SHOWN {
                            some.push(Found { group, task, id });
                        }
                    }
                }
            }
        }
        let (text, job) = (text.to_owned(), self.head.id.clone());
        match count {
            0 => Err(Error::NoTask { text, job }),
            1 => Ok(some.remove(0)),
            _ => {
                let some = some.iter().map(|found| format!("`{}`", crate::report::text::name(&found.id))).collect();
                Err(Error::ManyTasks { text, job, count, some })
            }
        }
    }

    /// Numbers of the groups that are not collections.
    pub fn groups_with_tasks(&self) -> impl Iterator<Item = u32> + use<> {
        let kinds: Vec<GroupKind> = self.spec.groups.iter().map(|g| g.kind).collect();
        (0..).zip(kinds).filter(|(_, kind)| *kind != GroupKind::Collect).map(|(number, _)| number)
    }

    /// The record of a task; `None` if it was never claimed.
    ///
    /// # Errors
    /// The server's.
    pub async fn record(&self, store: &Store, found: &Found) -> Result<Option<TaskRecord>, Error> {
        Ok(store.records(&self.head.id, found.group, found.task, 1).await?.into_iter().next())
    }

    /// Everything in groups of tests that has not passed.
    ///
    /// # Errors
    /// The server's.
    pub async fn unpassed(&self, store: &Store) -> Result<Unpassed, Error> {
        let mut unpassed = Unpassed::new();
        for group in self.groups_with_tasks() {
            let spec = &self.spec.groups[group as usize];
            if spec.kind != GroupKind::Tests {
                continue;
            }
            let added = self.state.groups[group as usize].added;
            for first in (0..added).step_by(PAGE as usize) {
                let count = PAGE.min(added - first);
                let ids = store.ids(&self.head.id, group, first, count).await?;
                let records = store.records(&self.head.id, group, first, count).await?;
                let fine = |task: u32| {
                    let at = records.binary_search_by_key(&task, |r| r.task).ok();
                    at.and_then(|at| records[at].outcome)
                        .is_some_and(|o| matches!(o, Outcome::Passed | Outcome::Skipped))
                };
                let left = (first..).zip(ids).filter(|(task, _)| !fine(*task)).map(|(_, id)| id);
                unpassed.entry(spec.name.clone()).or_default().extend(left);
            }
        }
        Ok(unpassed)
    }
}
