//! Names for numbers: ids of tasks, hosts of workers, details of attempts, asked of the store as they are needed and
//! forgotten when they are not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::{GroupKind, JobSpec};
use remuda_store::{BUCKET, Store, StoreError};

use super::view::{Change, End, SlotKey, TaskKey};
use crate::report::{Attempt, Place};

/// Details asked for in one go: each may be some 100 KiB.
const DETAILS: usize = 200;
/// Buckets of ids asked for in one go.
const BUCKETS: usize = 50;

#[derive(Default)]
struct Bucket {
    ids: Vec<Arc<str>>,
    ended: u32,
}

/// What has been asked so far.
pub struct Names {
    store: Store,
    spec: Arc<JobSpec>,
    groups: Vec<Arc<str>>,
    buckets: HashMap<(u32, u32), Bucket>,
    hosts: HashMap<Arc<str>, String>,
    last: HashMap<SlotKey, Arc<str>>,
    /// Whether details of passes are wanted, too.
    pub all_details: bool,
}

impl Names {
    /// Nothing known yet. `all_details`: of passes too.
    #[must_use]
    pub fn new(store: Store, spec: Arc<JobSpec>, all_details: bool) -> Self {
        let groups = spec.groups.iter().map(|g| g.name.as_str().into()).collect();
        Self { store, spec, groups, buckets: HashMap::new(), hosts: HashMap::new(), last: HashMap::new(), all_details }
    }

    /// The name of a group.
    #[must_use]
    pub fn group(&self, group: u32) -> Arc<str> {
        self.groups.get(group as usize).cloned().unwrap_or_else(|| "?".into())
    }

    /// The id of a task, if it is known here.
    #[must_use]
    pub fn known(&self, task: TaskKey) -> Option<Arc<str>> {
        self.buckets.get(&(task.0, task.1 / BUCKET))?.ids.get((task.1 % BUCKET) as usize).cloned()
    }

    /// The id of a task, or its number where it cannot be found.
    #[must_use]
    pub fn id(&self, task: TaskKey) -> Arc<str> {
        self.known(task).unwrap_or_else(|| format!("{}#{}", self.group(task.0), task.1).into())
    }

    /// A slot with its host.
    #[must_use]
    pub fn place(&self, slot: &SlotKey, number: u32) -> Place {
        Place { worker: slot.worker.to_string(), host: self.host(&slot.worker), slot: slot.slot.to_string(), number }
    }

    /// The host of a worker, or the beginning of the worker's id.
    #[must_use]
    pub fn host(&self, worker: &Arc<str>) -> String {
        self.hosts.get(worker).cloned().unwrap_or_else(|| worker.chars().take(8).collect())
    }

    /// Fetches whatever these changes name and is not known yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn prepare(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let (mut buckets, mut strangers) = (HashSet::new(), false);
        for change in changes {
            let (first, count) = match change {
                Change::Claimed { group, first, count, slot, .. } => {
                    strangers |= !self.hosts.contains_key(&slot.worker);
                    ((*group, *first), *count)
                }
                Change::Ended(end) | Change::Tried(end) => (end.task, 1),
                Change::Back { task, .. } => (*task, 1),
                Change::Refused { worker, .. } => {
                    strangers |= !self.hosts.contains_key(worker);
                    continue;
                }
                _ => continue,
            };
            let end = first.1 + count.max(1);
            for bucket in first.1 / BUCKET..=(end - 1) / BUCKET {
                // the last one of them that is wanted: a bucket may have been fetched while it was filled
                if self.known((first.0, (end - 1).min(bucket * BUCKET + BUCKET - 1))).is_none() {
                    buckets.insert((first.0, bucket));
                }
            }
        }
        for part in buckets.into_iter().collect::<Vec<_>>().chunks(BUCKETS) {
            let found = self.store.id_buckets(&self.spec.id, part).await?;
            for (key, ids) in part.iter().zip(found) {
                self.buckets.entry(*key).or_default().ids = ids.into_iter().map(Into::into).collect();
            }
        }
        if strangers {
            self.meet_workers().await?;
        }
        Ok(())
    }

    async fn meet_workers(&mut self) -> Result<(), StoreError> {
        for worker in self.store.workers().await? {
            let about: serde_json::Value = serde_json::from_str(&worker.about).unwrap_or_default();
            if let Some(host) = about.get("host").and_then(serde_json::Value::as_str) {
                self.hosts.insert(worker.id.as_str().into(), host.to_owned());
            }
        }
        Ok(())
    }

    /// The attempt whose detail reports want to see with this change.
    #[must_use]
    pub fn wanted(&self, change: &Change) -> Option<(u32, u32, u64)> {
        match change {
            Change::Ended(end) | Change::Tried(end)
                if end.detail == Some(true)
                    && (self.all_details || end.outcome != Outcome::Passed || self.is_collection(end.task.0)) =>
            {
                Some((end.task.0, end.task.1, end.fence))
            }
            _ => None,
        }
    }

    /// A collection that passed may have something to say: what was asked of the framework instead of tests.
    fn is_collection(&self, group: u32) -> bool {
        self.spec.groups[group as usize].kind == GroupKind::Collect
    }

    /// The details that are wanted of these changes, in their order.
    ///
    /// # Errors
    /// The store's.
    pub async fn details(&self, changes: &[Change]) -> Result<Vec<Option<Detail>>, StoreError> {
        let wanted: Vec<(u32, u32, u64)> = changes.iter().filter_map(|change| self.wanted(change)).collect();
        let mut found = Vec::with_capacity(wanted.len());
        for part in wanted.chunks(DETAILS) {
            found.extend(self.store.details(&self.spec.id, part).await?);
        }
        Ok(found)
    }

    /// An attempt with its names. Buckets whose tasks have all ended are forgotten.
    pub fn attempt(&mut self, end: &End, detail: Option<Detail>, last_word: bool) -> Attempt {
        let group = &self.spec.groups[end.task.0 as usize];
        let (kind, retries) = (group.kind, group.retries);
        let id = self.id(end.task);
        let after = end.slot.as_ref().and_then(|slot| self.last.insert(slot.clone(), id.clone()));
        if last_word {
            let key = (end.task.0, end.task.1 / BUCKET);
            let over = self.buckets.get_mut(&key).is_some_and(|bucket| {
                bucket.ended += 1;
                bucket.ended >= BUCKET
            });
            if over {
                self.buckets.remove(&key);
            }
        }
        let tries = end.earlier.len() as u64 + u64::from(end.losses);
        Attempt {
            task: end.task,
            group: self.group(end.task.0),
            kind,
            id,
            outcome: end.outcome,
            us: end.us,
            wide_us: end.wide_us,
            fence: end.fence,
            place: end.slot.as_ref().map(|slot| self.place(slot, end.number)),
            after,
            number: u32::try_from(tries + 1).unwrap_or(u32::MAX),
            of: retries + 1,
            earlier: end.earlier.clone(),
            losses: end.losses,
            detail: detail.unwrap_or_default(),
            dropped: end.detail.is_none(),
        }
    }
}
