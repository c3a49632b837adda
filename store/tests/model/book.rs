//! The pure model: what the farm must look like, driven by nothing but the events that each script emits, each of
//! which must be a move of `protocol::lifecycle` that the step's command allows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use remuda_protocol::event::{Event, Requeue, Sequence};
use remuda_protocol::lifecycle::{Budgets, GroupState, JobState, Task, TaskEvent, TaskState};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};

pub type Check<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($words)+));
        }
    }};
}
pub(crate) use ensure;

#[derive(Clone, Debug)]
pub struct Group {
    pub state: GroupState,
    pub tasks: Vec<Task>,
    /// Lane of each task, as it was added.
    pub lanes: Vec<u32>,
    pub ids: Vec<String>,
    pub sealed: bool,
    pub flaky: u32,
    /// Claims and yields of each task (I11).
    pub claims: Vec<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub spec: JobSpec,
    pub state: JobState,
    pub reason: String,
    pub groups: Vec<Group>,
    pub failures: u32,
    pub sealed: bool,
    pub sequence: Sequence,
    pub owner: (String, u64),
    pub detail_bytes: u64,
    /// Workers on the books that cannot run it.
    pub refused: BTreeSet<String>,
    /// Numbers of its lanes by group.
    pub lanes: Vec<Vec<u32>>,
}

#[derive(Clone, Debug)]
pub struct Claim {
    pub worker: String,
    pub slot: u32,
    pub job: String,
    pub group: u32,
    pub first: u32,
    pub count: u32,
    pub cancelled: bool,
    /// Tasks of it that were cancelled alone, in that order.
    pub stopped: Vec<u32>,
}

/// What the command of a step may cause.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Results that must be accepted, by fence and task: their outcome, `None` for a yield.
    pub results: HashMap<(u64, u32), Option<Outcome>>,
    /// Claims that go back as yields (resync).
    pub returned: BTreeSet<u64>,
    /// Claims that end with their worker: fence, and in what company.
    pub lost: BTreeMap<u64, u32>,
    /// Who may claim.
    pub claimer: Option<String>,
    /// Job, group and number of tasks that `add` adds.
    pub added: Option<(String, u32, Vec<String>, Vec<u32>)>,
    /// Jobs that may begin to close, and why.
    pub closing: HashMap<String, Vec<String>>,
    pub seals: Option<(String, i64)>,
    /// Job and worker that may refuse it, and how many others could go on.
    pub refuses: Option<(String, String, u32)>,
    /// How far a clock that was set back moved, and what has been renewed since: every other lease moves with it.
    pub set_back: Option<(i64, BTreeSet<u64>)>,
}

#[derive(Clone, Debug, Default)]
pub struct Book {
    pub jobs: BTreeMap<String, Job>,
    pub claims: BTreeMap<u64, Claim>,
    /// The last fence given, and that before this step (a step's events come job by job).
    pub fence: u64,
    pub base: u64,
    /// Accepted ends by (fence, task): at most one (I6).
    accepted: BTreeSet<(u64, u32)>,
}

impl Group {
    pub fn count(&self, what: impl Fn(TaskState) -> bool) -> u32 {
        u32::try_from(self.tasks.iter().filter(|t| what(t.state)).count()).unwrap()
    }
    pub fn running(&self) -> u32 {
        self.count(|s| s == TaskState::Running)
    }
    pub fn ready(&self) -> u32 {
        self.count(|s| matches!(s, TaskState::Ready | TaskState::Blocked))
    }
    pub fn bad(&self) -> u32 {
        self.count(|s| matches!(s, TaskState::Ended(o) if o.is_failure() || o == Outcome::Lost))
    }
}

impl Job {
    pub fn new(spec: JobSpec, owner: &str) -> Self {
        let mut next = 0;
        let lanes = spec
            .groups
            .iter()
            .map(|g| {
                let from = next;
                next += u32::try_from(g.lanes.len()).unwrap();
                (from..next).collect()
            })
            .collect();
        let group = |_: &_| Group {
            state: GroupState::Waiting,
            tasks: vec![],
            lanes: vec![],
            ids: vec![],
            sealed: false,
            flaky: 0,
            claims: vec![],
        };
        let groups = spec.groups.iter().map(group).collect();
        Self {
            spec,
            state: JobState::Open,
            reason: String::new(),
            groups,
            failures: 0,
            sealed: false,
            sequence: Sequence::default(),
            owner: (owner.to_owned(), 1),
            detail_bytes: 0,
            refused: BTreeSet::new(),
            lanes,
        }
    }
    pub fn live(&self) -> bool {
        matches!(self.state, JobState::Open | JobState::Sealed)
    }
    /// Closing, and what runs may end by itself.
    pub fn halting(&self) -> bool {
        self.state == JobState::Closing && self.reason == "halt"
    }
    /// What runs is told to stop.
    pub fn stops(&self) -> bool {
        !self.live() && !self.halting()
    }
    pub fn budgets(&self, g: usize) -> Budgets {
        Budgets { retries: self.spec.groups[g].retries, max_losses: self.spec.groups[g].max_losses }
    }
    pub fn collector(&self, g: usize) -> Option<usize> {
        let me = u32::try_from(g).unwrap();
        self.spec.groups.iter().position(|c| c.kind == GroupKind::Collect && c.collects == Some(me))
    }
    pub fn lane_spec(&self, lane: u32) -> (usize, &remuda_protocol::spec::LaneSpec) {
        let g = self.lanes.iter().position(|l| l.contains(&lane)).unwrap();
        let at = self.lanes[g].iter().position(|l| *l == lane).unwrap();
        (g, &self.spec.groups[g].lanes[at])
    }
}

impl Book {
    /// The batches of one step, in order.
    pub fn apply(&mut self, job: &str, batches: &[(Sequence, String)], allowed: &Allowed) -> Check {
        for (sequence, batch) in batches {
            let known =
                &mut self.jobs.get_mut(job).ok_or_else(|| format!("events of {job}, which nobody opened"))?.sequence;
            ensure!(
                sequence.n == known.n + 1 && sequence.epoch >= known.epoch,
                "{job}: batch {sequence} after {known}"
            );
            *known = *sequence;
            let mut tried = None;
            for line in batch.lines() {
                let event = Event::parse(line).ok_or_else(|| format!("{job}: `{line}` is no event"))?;
                self.event(job, &event, allowed, &mut tried).map_err(|e| format!("{job}: `{line}`: {e}"))?;
            }
            ensure!(tried.is_none(), "{job}: {tried:?} was tried and did not go back");
        }
        Ok(())
    }

    fn event(&mut self, j: &str, event: &Event, allowed: &Allowed, tried: &mut Option<(u32, u32)>) -> Check {
        match event {
            Event::Added { group, first, count } => self.added(j, *group, *first, *count, allowed),
            Event::Claimed { group, fence, first, count, worker, slot, .. } => {
                ensure!(allowed.claimer.as_deref() == Some(worker), "nobody of that name asked");
                let claim = Claim {
                    worker: worker.clone(),
                    slot: slot.parse().unwrap(),
                    job: j.to_owned(),
                    group: *group,
                    first: *first,
                    count: *count,
                    cancelled: false,
                    stopped: Vec::new(),
                };
                self.claimed(*fence, claim)
            }
            Event::Ended { group, task, outcome, fence, .. } => self.ended(j, *group, *task, *outcome, *fence, allowed),
            Event::Tried { group, task, outcome, fence, .. } => {
                ensure!(allowed.results.get(&(*fence, *task)) == Some(&Some(*outcome)), "no such result was sent");
                let state =
                    self.step(j, *group, *task, *fence, TaskEvent::Finish { fence: *fence, outcome: *outcome })?;
                ensure!(state == TaskState::Ready, "it should have become {state:?}");
                ensure!(self.accepted.insert((*fence, *task)), "accepted twice");
                *tried = Some((*group, *task));
                Ok(())
            }
            Event::Requeued { group, task, why, fence } => {
                self.requeued(j, *group, *task, *why, *fence, allowed, tried)
            }
            Event::Group { group, state, reason } => self.group(j, *group as usize, state, reason, allowed),
            Event::Job { state, reason } => self.job(j, state, reason, allowed),
            Event::Refused { worker, others, .. } => {
                let said = (j.to_owned(), worker.clone(), *others);
                ensure!(allowed.refuses.as_ref() == Some(&said), "nobody said so");
                let job = self.jobs.get_mut(j).unwrap();
                ensure!(job.live() && job.refused.insert(worker.clone()), "once is enough");
                Ok(())
            }
        }
    }

    fn added(&mut self, j: &str, g: u32, first: u32, count: u32, allowed: &Allowed) -> Check {
        let Some((job, group, ids, lanes)) = &allowed.added else { return Err("nothing was added".to_owned()) };
        ensure!(job == j && *group == g && ids.len() == count as usize, "other tasks were added");
        let job = self.jobs.get_mut(j).unwrap();
        let budgets = job.budgets(g as usize);
        let group = &mut job.groups[g as usize];
        ensure!(group.tasks.len() == first as usize && !group.sealed, "not the next chunk");
        let task = Task::added(group.state.gate_open());
        let task = match group.state {
            GroupState::Skipped => task.step(TaskEvent::Skip, budgets, false).map_err(|e| e.to_string())?,
            _ => task,
        };
        group.ids.extend(ids.iter().cloned());
        group.lanes.extend(lanes);
        group.tasks.extend(ids.iter().map(|_| task));
        group.claims.extend(ids.iter().map(|_| (0, 0)));
        Ok(())
    }

    fn claimed(&mut self, fence: u64, claim: Claim) -> Check {
        ensure!(fence > self.base && !self.claims.contains_key(&fence), "fence {fence} after {}", self.base);
        self.fence = self.fence.max(fence);
        let job = self.jobs.get_mut(&claim.job).unwrap();
        ensure!(job.live(), "the job is {:?}", job.state);
        ensure!(!job.refused.contains(&claim.worker), "{} has refused the job", claim.worker);
        ensure!(claim.count >= 1 && claim.count <= 200, "{} tasks in a claim", claim.count);
        let budgets = job.budgets(claim.group as usize);
        let group = &mut job.groups[claim.group as usize];
        ensure!(group.state.gate_open(), "the gate is closed: {:?}", group.state);
        for task in claim.first..claim.first + claim.count {
            let task_mut = group.tasks.get_mut(task as usize).ok_or("no such task")?;
            let suspect = task_mut.company > 0 || task_mut.fails > 0 || task_mut.losses > 0;
            ensure!(!suspect || claim.count == 1, "task {task} must be claimed singly");
            *task_mut =
                task_mut.step(TaskEvent::Claim { fence }, budgets, false).map_err(|e| format!("task {task}: {e}"))?;
            let (claims, yields) = &mut group.claims[task as usize];
            *claims += 1;
            let spent = task_mut.fails + task_mut.losses + task_mut.company + *yields + 1;
            ensure!(*claims <= spent, "task {task}: claim {claims} of {spent} (I11)");
        }
        self.claims.insert(fence, claim);
        Ok(())
    }

    /// Takes the table's step for one task; the claim must be its own.
    fn step(&mut self, j: &str, g: u32, task: u32, fence: u64, event: TaskEvent) -> Check<TaskState> {
        let claim = self.claims.get(&fence).ok_or("no such claim")?;
        ensure!(
            claim.job == j && claim.group == g && (claim.first..claim.first + claim.count).contains(&task),
            "another's claim"
        );
        let cancelled = claim.cancelled || claim.stopped.contains(&task);
        let job = self.jobs.get_mut(j).unwrap();
        let closing = !job.live() || job.groups[g as usize].state == GroupState::Closing || cancelled;
        let budgets = job.budgets(g as usize);
        let slot = &mut job.groups[g as usize].tasks[task as usize];
        let next = slot.step(event, budgets, closing).map_err(|e| e.to_string())?;
        ensure!(next.fence == slot.fence, "the fence moved");
        *slot = next;
        let group = &job.groups[g as usize];
        let claim = &self.claims[&fence];
        let left = (claim.first..claim.first + claim.count).any(|t| {
            let t = group.tasks[t as usize];
            t.state == TaskState::Running && t.fence == fence
        });
        if !left {
            self.claims.remove(&fence);
        }
        Ok(next.state)
    }

    fn ended(&mut self, j: &str, g: u32, task: u32, outcome: Outcome, fence: u64, allowed: &Allowed) -> Check {
        let result = allowed.results.get(&(fence, task)).copied();
        let event = match result {
            Some(Some(o)) => TaskEvent::Finish { fence, outcome: o },
            Some(None) => TaskEvent::Yield { fence },
            None if allowed.returned.contains(&fence) => TaskEvent::Yield { fence },
            None => TaskEvent::Lose { fence, held: *allowed.lost.get(&fence).ok_or("nobody said so")? },
        };
        let state = self.step(j, g, task, fence, event)?;
        ensure!(state == TaskState::Ended(outcome), "it should have become {state:?}");
        ensure!(result.is_none() || self.accepted.insert((fence, task)), "accepted twice");
        let job = self.jobs.get_mut(j).unwrap();
        let kind = job.spec.groups[g as usize].kind;
        if (outcome.is_failure() || outcome == Outcome::Lost) && kind != GroupKind::Collect {
            job.failures += 1;
        }
        let group = &mut job.groups[g as usize];
        if outcome == Outcome::Passed && group.tasks[task as usize].fails > 0 {
            group.flaky += 1;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn requeued(
        &mut self,
        j: &str,
        g: u32,
        task: u32,
        why: Requeue,
        fence: u64,
        allowed: &Allowed,
        tried: &mut Option<(u32, u32)>,
    ) -> Check {
        let event = match why {
            Requeue::Retry => {
                ensure!(tried.take() == Some((g, task)), "nothing failed");
                return Ok(());
            }
            Requeue::Yield => {
                let sent = allowed.results.get(&(fence, task)) == Some(&None);
                ensure!(sent || allowed.returned.contains(&fence), "nobody gave it back");
                self.jobs.get_mut(j).unwrap().groups[g as usize].claims[task as usize].1 += 1;
                TaskEvent::Yield { fence }
            }
            Requeue::Lost => {
                TaskEvent::Lose { fence, held: *allowed.lost.get(&fence).ok_or("its lease had not ended")? }
            }
        };
        let state = self.step(j, g, task, fence, event)?;
        ensure!(state == TaskState::Ready, "it should have become {state:?}");
        Ok(())
    }

    fn group(&mut self, j: &str, g: usize, state: &str, reason: &str, allowed: &Allowed) -> Check {
        let to = GroupState::from_word(state).ok_or("no such state")?;
        let job = self.jobs.get_mut(j).unwrap();
        let needs_met = job.spec.groups[g].needs.iter().all(|n| job.groups[*n as usize].state == GroupState::Succeeded);
        let collector = job.collector(g).map(|c| job.groups[c].state);
        let live = job.live();
        let group = &mut job.groups[g];
        ensure!(group.state.may_become(to), "from {:?}", group.state);
        if allowed.seals == Some((j.to_owned(), i64::try_from(g).unwrap())) {
            group.sealed = true;
        }
        ensure!(!to.gate_open() || needs_met, "a group that it needs has not succeeded (I8)");
        ensure!((to == GroupState::Sealed) <= group.sealed, "nobody sealed it");
        let opens = group.state == GroupState::Waiting && to.gate_open();
        group.state = to;
        if opens {
            group
                .tasks
                .iter_mut()
                .for_each(|t| *t = t.step(TaskEvent::Open, Budgets { retries: 0, max_losses: 0 }, false).unwrap());
        }
        let all_well =
            group.tasks.iter().all(|t| matches!(t.state, TaskState::Ended(Outcome::Passed | Outcome::Skipped)));
        let collect_failed = reason.starts_with("collection ");
        match to {
            GroupState::Succeeded => ensure!(all_well && group.sealed && needs_met, "not all went well"),
            GroupState::Failed => ensure!(group.bad() > 0 || collect_failed, "nothing failed"),
            GroupState::Skipped => {
                ensure!(!needs_met || collector == Some(GroupState::Skipped), "what it needs succeeded")
            }
            _ => {}
        }
        ensure!(!collect_failed || collector.is_some_and(GroupState::is_over), "its collector has not ended");
        let event = if to == GroupState::Skipped { TaskEvent::Skip } else { TaskEvent::Cancel };
        if to.is_over() || to == GroupState::Closing {
            ensure!(!to.is_over() || group.running() == 0, "{} tasks still run", group.running());
            let waits = group.ready();
            ensure!(waits == 0 || !live || to == GroupState::Skipped || collect_failed, "{waits} tasks still wait");
            drop_ready(group, event);
        }
        Ok(())
    }

    fn job(&mut self, j: &str, state: &str, reason: &str, allowed: &Allowed) -> Check {
        let to = JobState::from_word(state).ok_or("no such state")?;
        let job = self.jobs.get_mut(j).unwrap();
        if allowed.seals == Some((j.to_owned(), -1)) {
            job.sealed = true;
        }
        let well = job.groups.iter().all(|g| g.state == GroupState::Succeeded);
        ensure!(job.state.may_become(to), "from {:?}", job.state);
        if to == JobState::Closing {
            let failures = job.spec.max_failures > 0 && job.failures >= job.spec.max_failures && reason == "failures";
            ensure!(
                failures || allowed.closing.get(j).is_some_and(|why| why.iter().any(|w| w == reason)),
                "for no reason"
            );
            job.reason = reason.to_owned();
        }
        if to.is_over() {
            ensure!(job.groups.iter().all(|g| g.state.is_over()), "a group has not ended");
            let failed = job.groups.iter().any(|g| g.count(|s| matches!(s, TaskState::Ended(o) if o.is_failure())) > 0);
            let expected = match job.reason.as_str() {
                "deadline" | "queue-timeout" => JobState::Incomplete,
                "failures" | "halt" => JobState::Failed,
                "" if well => JobState::Passed,
                "" if failed => JobState::Failed,
                "" if to == JobState::Failed => {
                    let unsealed = |g: &Group| g.state == GroupState::Failed && g.bad() == 0;
                    ensure!(job.groups.iter().any(unsealed), "nothing failed");
                    JobState::Failed
                }
                "" => JobState::Incomplete,
                _ => JobState::Cancelled,
            };
            ensure!(to == expected, "it should be {expected:?}");
        }
        job.state = to;
        Ok(())
    }

    /// What happens without an event: a closing job drops what waits.
    pub fn settle(&mut self) {
        for job in self.jobs.values_mut().filter(|j| j.state == JobState::Closing) {
            for group in job.groups.iter_mut().filter(|g| !g.state.is_over()) {
                drop_ready(group, TaskEvent::Cancel);
            }
        }
    }

    /// Who leaves the books takes its refusals along.
    pub fn forget_refusals(&mut self, known: impl Fn(&str) -> bool) {
        self.jobs.values_mut().for_each(|job| job.refused.retain(|worker| known(worker)));
    }

    pub fn held_by(&self, worker: &str) -> u32 {
        self.claims.iter().filter(|(_, c)| c.worker == worker).map(|(f, _)| self.left(*f)).sum()
    }

    /// Tasks still running under a claim.
    pub fn left(&self, fence: u64) -> u32 {
        self.claims.get(&fence).map_or(0, |c| {
            let tasks = &self.jobs[&c.job].groups[c.group as usize].tasks;
            let mine = |t: &u32| tasks[*t as usize].state == TaskState::Running && tasks[*t as usize].fence == fence;
            u32::try_from((c.first..c.first + c.count).filter(mine).count()).unwrap()
        })
    }
}

fn drop_ready(group: &mut Group, event: TaskEvent) {
    for task in &mut group.tasks {
        if matches!(task.state, TaskState::Blocked | TaskState::Ready) {
            *task = task.step(event, Budgets { retries: 0, max_losses: 0 }, true).unwrap();
        }
    }
}
