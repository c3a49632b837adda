//! What each slot has in its hands. Pure bookkeeping; unit-tested.

use std::collections::VecDeque;
use std::time::Instant;

use remuda_store::Claim;

use crate::loader::process::Runner;
use crate::warden::KeeperSender;

/// Why a task in hand will not be judged by its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    /// Its claim is somebody else's by now: say nothing.
    Lost,
    /// Its job or claim was cancelled.
    Cancelled,
    /// The daemon leaves: give it back.
    Drain,
    /// It has run far longer than others of its group.
    Overdue,
}

/// A task in a slot's hands.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) fence: u64,
    pub(super) job: String,
    pub(super) group: u32,
    pub(super) task: u32,
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) place: u32,
    pub(super) locks: Vec<(String, Vec<String>)>,
    /// Unit number or manifest position under which it was handed on; `None`: not yet.
    pub(super) sent: Option<u64>,
    pub(super) started: Option<Instant>,
    /// Why it is being stopped, if it is.
    pub(super) abort: Option<Abort>,
    /// When it is killed, if it has not ended by then.
    pub(super) kill_at: Option<Instant>,
    /// It cannot be run here, and the store is being asked who else can.
    pub(super) misfit: bool,
}

/// A slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    /// Tasks in hand, in order; the first that was sent is the one that runs.
    pub(super) queue: VecDeque<Assignment>,
    /// Job and lane it is warm for.
    pub(super) warm: Option<(String, u32)>,
    /// Since when it is with that job.
    pub(super) since: Instant,
    /// Size of the last claim: more is asked for when half of it is done.
    pub(super) last_claim: usize,
    /// The last time it asked there was nothing for it.
    pub(super) dry: bool,
    /// Keeper for commands.
    pub(super) keeper: Option<KeeperSender>,
    /// Job whose environment that keeper has.
    pub(super) base: Option<(String, u32)>,
    /// Warm runner.
    pub(super) runner: Option<Runner>,
    /// A job of which a failure here has not been told yet: what a call gives of it that was out then may be too much.
    pub(super) asks: Option<String>,
}

impl Slot {
    pub(super) fn new(number: u32) -> Self {
        let (queue, since) = (VecDeque::new(), Instant::now());
        Self {
            number,
            queue,
            warm: None,
            since,
            last_claim: 0,
            dry: false,
            keeper: None,
            base: None,
            runner: None,
            asks: None,
        }
    }

    /// Job and group of what it has in hand.
    pub(super) fn work(&self) -> Option<(String, u32)> {
        self.queue.front().map(|a| (a.job.clone(), a.group))
    }

    /// Takes a claim.
    pub(super) fn take(&mut self, claim: Claim) {
        self.last_claim = claim.ids.len();
        self.dry = false;
        let warm = Some((claim.job.clone(), claim.lane));
        if self.warm.as_ref().is_none_or(|(job, _)| *job != claim.job) {
            self.since = Instant::now();
        }
        self.warm = warm;
        for ((id, attempt), task) in claim.ids.into_iter().zip(claim.attempts).zip(claim.first..) {
            self.queue.push_back(Assignment {
                fence: claim.fence,
                job: claim.job.clone(),
                group: claim.group,
                task,
                id,
                attempt,
                place: claim.place,
                locks: claim.locks.clone(),
                sent: None,
                started: None,
                abort: None,
                kill_at: None,
                misfit: false,
            });
        }
    }

    /// Whether it should ask for more: its hands are empty, or half of its last claim is done.
    pub(super) fn wants(&self) -> bool {
        self.queue.is_empty() || self.queue.len() <= self.last_claim / 2
    }

    /// Takes out the task that was sent as `number`.
    pub(super) fn remove_sent(&mut self, number: u64) -> Option<Assignment> {
        let at = self.queue.iter().position(|a| a.sent == Some(number))?;
        self.queue.remove(at)
    }

    /// The task that runs.
    pub(super) fn running(&self) -> Option<&Assignment> {
        self.queue.iter().find(|a| a.sent.is_some())
    }

    /// Whether this claim still has tasks in hand.
    pub(super) fn holds(&self, fence: u64) -> bool {
        self.queue.iter().any(|a| a.fence == fence)
    }
}

/// The slots that want work, the most urgent first. Those that have just found nothing come last: where there are more
/// than one call may ask for, each must have had its turn before any has a second, or asking would never end. Then empty
/// hands come first: what is left must not go to a slot that still has some.
pub(super) fn asking(slots: &[Slot]) -> impl Iterator<Item = &Slot> {
    let mut asking: Vec<&Slot> = slots.iter().filter(|s| s.wants()).collect();
    asking.sort_by_key(|s| (s.dry, s.queue.len()));
    asking.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(fence: u64, n: u32) -> Claim {
        Claim {
            fence,
            job: "j".into(),
            group: 0,
            lane: 0,
            place: 0,
            first: 10,
            slot: 0,
            locks: vec![],
            attempts: vec![1; n as usize],
            ids: (0..n).map(|i| i.to_string()).collect(),
        }
    }

    #[test]
    fn more_is_asked_for_when_half_is_done() {
        let mut slot = Slot::new(0);
        assert!(slot.wants());
        slot.take(claim(1, 4));
        assert!(!slot.wants());
        slot.queue.pop_front();
        slot.queue.pop_front();
        assert!(slot.wants());
    }

    #[test]
    fn who_found_nothing_lets_the_others_ask_first() {
        let mut slots: Vec<Slot> = (0..5).map(Slot::new).collect();
        slots[0].dry = true;
        slots[1].take(claim(1, 4));
        slots[1].queue.truncate(2);
        slots[2].take(claim(2, 4));
        assert_eq!(asking(&slots).map(|s| s.number).collect::<Vec<_>>(), [3, 4, 1, 0]);
    }

    #[test]
    fn a_single_long_task_is_not_topped_up() {
        let mut slot = Slot::new(0);
        slot.take(claim(1, 1));
        assert!(!slot.wants());
    }

    #[test]
    fn tasks_are_numbered_from_the_first() {
        let mut slot = Slot::new(0);
        slot.take(claim(1, 2));
        assert_eq!(slot.queue.iter().map(|a| a.task).collect::<Vec<_>>(), [10, 11]);
    }
}
