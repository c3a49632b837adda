//! What a job looks like from its events: a pure state machine, events in, changes out. It can be brought to the
//! truth from a snapshot when events were lost. Knows numbers only; names and details are `facts`'.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use remuda_protocol::event::{Event, Requeue};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};
use remuda_store::{JobSnapshot, TaskRecord};

pub use super::change::{Change, End, SlotKey, TaskKey};

/// A group as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    /// Tests, collect or provision.
    pub kind: Option<GroupKind>,
    /// State word.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Tasks known.
    pub added: u32,
    /// Ended tasks by outcome, in the order of [`Outcome::ALL`].
    pub counts: [u32; 7],
    /// Passed after a retry.
    pub flaky: u32,
    ended: Vec<Option<Outcome>>,
}

impl GroupView {
    /// Tasks that ended.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// How many ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u32 {
        self.counts[position(outcome)]
    }

    /// Tasks without an end.
    pub fn open_tasks(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.added).filter(|&task| self.ended.get(task as usize).copied().flatten().is_none())
    }
}

fn position(outcome: Outcome) -> usize {
    Outcome::ALL.iter().position(|o| *o == outcome).unwrap_or(0)
}

#[derive(Clone, Debug)]
struct ClaimView {
    fence: u64,
    group: u32,
    left: BTreeSet<u32>,
}

#[derive(Clone, Debug, Default)]
struct SlotView {
    number: u32,
    claims: VecDeque<ClaimView>,
    since: Duration,
    slow_steps: u32,
    ended: u64,
}

/// What a slot is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The slot.
    pub slot: SlotKey,
    /// Its number in the job.
    pub number: u32,
    /// The first task of its claim that has not ended.
    pub task: TaskKey,
    /// Since when.
    pub since: Duration,
}

/// The job.
#[derive(Clone, Debug, Default)]
pub struct JobView {
    /// Its groups.
    pub groups: Vec<GroupView>,
    /// State word.
    pub state: String,
    /// Why it closes or closed.
    pub reason: String,
    slots: BTreeMap<SlotKey, SlotView>,
    by_fence: HashMap<u64, SlotKey>,
    tries: HashMap<TaskKey, (Vec<Outcome>, u32)>,
    /// Time of all attempts of tests, µs.
    pub busy_us: u64,
    /// The longest attempt of a test, µs.
    pub longest_us: u64,
    used: BTreeSet<SlotKey>,
}

impl JobView {
    /// Before anything happened.
    #[must_use]
    pub fn new(spec: &JobSpec) -> Self {
        Self::of_kinds(spec.groups.iter().map(|g| g.kind))
    }

    pub(crate) fn of_kinds(kinds: impl Iterator<Item = GroupKind>) -> Self {
        let groups =
            kinds.map(|kind| GroupView { kind: Some(kind), state: "waiting".into(), ..GroupView::default() }).collect();
        Self { groups, state: "open".into(), ..Self::default() }
    }

    /// Takes an event in. `now` counts from any fixed moment.
    pub fn apply(&mut self, event: &Event, now: Duration) -> Option<Change> {
        match event {
            Event::Added { group, first, count } => {
                let view = self.groups.get_mut(*group as usize)?;
                view.added = view.added.max(first + count);
                Some(Change::Added { group: *group, count: *count })
            }
            Event::Claimed { group, fence, first, count, place, worker, slot } => {
                let slot = SlotKey { worker: worker.as_str().into(), slot: slot.as_str().into() };
                self.claim(*group, *fence, *first, *count, *place, &slot, now);
                Some(Change::Claimed {
                    group: *group,
                    first: *first,
                    count: *count,
                    fence: *fence,
                    number: *place,
                    slot,
                })
            }
            Event::Ended { group, task, outcome, fence, us, place, detail, wide_us } => {
                let end = self.end((*group, *task), *outcome, *fence, (*us, *wide_us), *place, *detail, now);
                self.settle(&end);
                Some(Change::Ended(end))
            }
            Event::Tried { group, task, outcome, fence, us, place, detail, wide_us } => {
                let end = self.end((*group, *task), *outcome, *fence, (*us, *wide_us), *place, *detail, now);
                self.tries.entry(end.task).or_default().0.push(*outcome);
                Some(Change::Tried(end))
            }
            Event::Requeued { group, task, why, fence } => {
                let task = (*group, *task);
                let slot = self.leave(task, *fence, now);
                if *why == Requeue::Lost {
                    self.tries.entry(task).or_default().1 += 1;
                }
                (*why != Requeue::Retry).then(|| Change::Back {
                    task,
                    lost: *why == Requeue::Lost,
                    fence: *fence,
                    slot,
                })
            }
            Event::Group { group, state, reason } => {
                let view = self.groups.get_mut(*group as usize)?;
                (view.state, view.reason) = (state.clone(), reason.clone());
                Some(Change::Group { group: *group, state: state.clone(), reason: reason.clone() })
            }
            Event::Job { state, reason } => {
                (self.state, self.reason) = (state.clone(), reason.clone());
                Some(Change::Job { state: state.clone(), reason: reason.clone() })
            }
            Event::Refused { worker, others, reason } => {
                Some(Change::Refused { worker: worker.as_str().into(), others: *others, reason: reason.clone() })
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn claim(&mut self, group: u32, fence: u64, first: u32, count: u32, number: u32, slot: &SlotKey, now: Duration) {
        let view = self.slots.entry(slot.clone()).or_default();
        if view.claims.is_empty() {
            (view.since, view.slow_steps) = (now, 0);
        }
        view.number = number;
        view.claims.push_back(ClaimView { fence, group, left: (first..first + count).collect() });
        self.by_fence.insert(fence, slot.clone());
        if self.groups.get(group as usize).and_then(|g| g.kind) == Some(GroupKind::Tests) {
            self.used.insert(slot.clone());
        }
    }

    /// Takes a task out of its claim; the next one runs from now.
    fn leave(&mut self, task: TaskKey, fence: u64, now: Duration) -> Option<SlotKey> {
        let slot = self.by_fence.get(&fence)?.clone();
        let view = self.slots.get_mut(&slot)?;
        if let Some(claim) = view.claims.iter_mut().find(|c| c.fence == fence) {
            claim.left.remove(&task.1);
            if claim.left.is_empty() {
                view.claims.retain(|c| c.fence != fence);
                self.by_fence.remove(&fence);
            }
        }
        (view.since, view.slow_steps) = (now, 0);
        Some(slot)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn end(
        &mut self,
        task: TaskKey,
        outcome: Outcome,
        fence: u64,
        (us, wide_us): (u64, u64),
        number: u32,
        detail: Option<bool>,
        now: Duration,
    ) -> End {
        let slot = self.leave(task, fence, now);
        let view = slot.as_ref().and_then(|slot| self.slots.get_mut(slot));
        let first_in_slot = view.is_some_and(|view| {
            view.ended += 1;
            view.ended == 1
        });
        if self.groups.get(task.0 as usize).and_then(|g| g.kind) == Some(GroupKind::Tests) {
            self.busy_us += us;
            self.longest_us = self.longest_us.max(us);
        }
        let (earlier, losses) = self.tries.get(&task).cloned().unwrap_or_default();
        End { task, outcome, us, wide_us, fence, number, slot, first_in_slot, detail, earlier, losses }
    }

    /// Counts a final outcome. A server that lost its last second may let a task end again: the last word counts.
    fn settle(&mut self, end: &End) {
        let Some(group) = self.groups.get_mut(end.task.0 as usize) else { return };
        let at = end.task.1 as usize;
        if group.ended.len() <= at {
            group.ended.resize(at + 1, None);
        }
        let flaky = u32::from(end.outcome == Outcome::Passed && !end.earlier.is_empty());
        match group.ended[at].replace(end.outcome) {
            Some(before) => group.counts[position(before)] -= 1,
            None => group.flaky += flaky,
        }
        group.counts[position(end.outcome)] += 1;
        group.added = group.added.max(end.task.1 + 1);
    }

    /// A task that ended without an event of its own: with its group or job.
    pub fn fate(&mut self, task: TaskKey, outcome: Outcome) -> Change {
        let end = self.end(task, outcome, 0, (0, 0), 0, Some(false), Duration::ZERO);
        self.settle(&end);
        Change::Ended(end)
    }

    /// Brings states and numbers of tasks to those of a snapshot, after events were lost.
    pub fn reload(&mut self, snapshot: &JobSnapshot) {
        (self.state, self.reason) = (snapshot.state.clone(), snapshot.reason.clone());
        for (view, group) in self.groups.iter_mut().zip(&snapshot.groups) {
            (view.state, view.reason, view.added) = (group.state.clone(), group.reason.clone(), group.added);
        }
    }

    /// Groups of which a snapshot knows other ends than this view: their records must be read.
    #[must_use]
    pub fn differing(&self, snapshot: &JobSnapshot) -> Vec<u32> {
        let claimed = |counts: &[u32; 7]| counts[..5].iter().sum::<u32>();
        let pairs = self.groups.iter().zip(&snapshot.groups).zip(0..);
        pairs
            .filter(|((view, group), _)| {
                claimed(&view.counts) != claimed(&group.ended) || view.counts[..5] != group.ended[..5]
            })
            .map(|(_, g)| g)
            .collect()
    }

    /// Takes the record of a task in; a change if it ended unseen, or otherwise than was seen. What its slot runs now
    /// has begun by `now`; more is not known.
    pub fn record(&mut self, group: u32, record: &TaskRecord, now: Duration) -> Option<Change> {
        let outcome = record.outcome?;
        let seen = self.groups.get(group as usize)?.ended.get(record.task as usize).copied().flatten();
        if seen == Some(outcome) {
            return None;
        }
        let task = (group, record.task);
        let known = self.tries.entry(task).or_default();
        known.0.resize(
            known.0.len().max(record.fails.saturating_sub(u32::from(outcome.is_failure())) as usize),
            Outcome::Failed,
        );
        let end = self.end(task, outcome, record.fence, (record.us, 0), 0, Some(true), now);
        self.settle(&end);
        Some(Change::Ended(end))
    }

    /// What every slot is doing, the longest first.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        let mut running: Vec<Running> = self
            .slots
            .iter()
            .filter_map(|(slot, view)| {
                let claim = view.claims.front()?;
                let task = (claim.group, *claim.left.first()?);
                Some(Running { slot: slot.clone(), number: view.number, task, since: view.since })
            })
            .collect();
        running.sort_by_key(|r| r.since);
        running
    }

    /// Tasks that have run for longer than their group's limit, each at one, two, four … times the limit.
    pub fn slow(&mut self, now: Duration, limit: &dyn Fn(u32) -> Duration) -> Vec<(TaskKey, Duration)> {
        let mut found = Vec::new();
        for view in self.slots.values_mut() {
            let Some((claim, task)) = view.claims.front().and_then(|c| Some((c, *c.left.first()?))) else { continue };
            let (age, limit) = (now.saturating_sub(view.since), limit(claim.group));
            if limit > Duration::ZERO && age >= limit * 2u32.saturating_pow(view.slow_steps) {
                view.slow_steps += 1;
                found.push(((claim.group, task), age));
            }
        }
        found
    }

    /// The slot that holds the claim of a fence.
    #[must_use]
    pub fn slot_of(&self, fence: u64) -> Option<(SlotKey, u32)> {
        let slot = self.by_fence.get(&fence)?;
        Some((slot.clone(), self.slots.get(slot)?.number))
    }

    /// Whether a task is in hand under this fence.
    #[must_use]
    pub fn holds(&self, task: TaskKey, fence: u64) -> bool {
        let slot = self.by_fence.get(&fence).and_then(|slot| self.slots.get(slot));
        let claim = slot.and_then(|slot| slot.claims.iter().find(|c| c.fence == fence));
        claim.is_some_and(|c| c.group == task.0 && c.left.contains(&task.1))
    }

    /// Slots and workers that took tests.
    #[must_use]
    pub fn took_part(&self) -> (usize, usize) {
        let workers: BTreeSet<&Arc<str>> = self.used.iter().map(|s| &s.worker).collect();
        (self.used.len(), workers.len())
    }

    /// The same where workers follow each other in the same slots: a replaced one's count once.
    #[must_use]
    pub fn took_part_in_turn(&self) -> (usize, usize) {
        let slots: BTreeSet<&Arc<str>> = self.used.iter().map(|s| &s.slot).collect();
        (slots.len(), usize::from(!slots.is_empty()))
    }

    /// Every worker that claimed anything of the job.
    #[must_use]
    pub fn workers(&self) -> BTreeSet<Arc<str>> {
        self.slots.keys().map(|s| s.worker.clone()).collect()
    }

    /// Counts of all groups of a kind.
    #[must_use]
    pub fn total(&self, kind: GroupKind) -> GroupView {
        let mut sum = GroupView { kind: Some(kind), ..GroupView::default() };
        for group in self.groups.iter().filter(|g| g.kind == Some(kind)) {
            sum.added += group.added;
            sum.flaky += group.flaky;
            for (total, n) in sum.counts.iter_mut().zip(group.counts) {
                *total += n;
            }
        }
        sum
    }
}
