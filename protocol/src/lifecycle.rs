//! The life of task, group and job as pure transition tables (drawn in `docs/lifecycle.md`).
//!
//! The scripts in `remuda-store` perform these transitions; the property test of that crate plays random histories
//! against both. An illegal move is a typed error. Time is an argument of whoever decides that a lease has ended;
//! nothing here reads a clock.

use crate::outcome::Outcome;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Behind its lane's closed gate.
    Blocked,
    /// In its lane.
    Ready,
    /// Claimed under a lease.
    Running,
    /// At its end.
    Ended(Outcome),
}

/// Budgets of a group's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Failures forgiven.
    pub retries: u32,
    /// Losses forgiven.
    pub max_losses: u32,
}

/// A task as the tables see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Where it is.
    pub state: TaskState,
    /// Fence of its last claim, 0 before the first.
    pub fence: u64,
    /// Failures so far.
    pub fails: u32,
    /// Losses suffered alone.
    pub losses: u32,
    /// Losses suffered in company: they cost nothing, but the task is handed out alone from then on.
    pub company: u32,
}

/// What can happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// Its lane's gate opened.
    Open,
    /// A slot claimed it under this fence.
    Claim {
        /// The new fence.
        fence: u64,
    },
    /// The holder reported a result.
    Finish {
        /// The attempt's fence.
        fence: u64,
        /// The attempt's outcome.
        outcome: Outcome,
    },
    /// The holder gave it back, not started.
    Yield {
        /// The claim's fence.
        fence: u64,
    },
    /// Its lease ended without a result; `held` is how many tasks that worker held.
    Lose {
        /// The claim's fence.
        fence: u64,
        /// Tasks that the worker held, this one included.
        held: u32,
    },
    /// A group it needs failed.
    Skip,
    /// Its job was cancelled.
    Cancel,
}

/// A move that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {state:?} cannot take {event:?}")]
pub struct IllegalMove {
    /// Where the task was.
    pub state: TaskState,
    /// What was tried.
    pub event: TaskEvent,
}

impl Task {
    /// A task just added: blocked behind a closed gate, else ready.
    #[must_use]
    pub fn added(gate_open: bool) -> Self {
        let state = if gate_open { TaskState::Ready } else { TaskState::Blocked };
        Self { state, fence: 0, fails: 0, losses: 0, company: 0 }
    }

    /// Whether it must be the only task on its worker.
    #[must_use]
    pub fn must_be_alone(&self) -> bool {
        self.losses > 0 || self.company > 1
    }

    /// The transition table. `closing`: its job or group is ending, or this attempt was cancelled, so it does not go back
    /// to a lane.
    ///
    /// # Errors
    /// [`IllegalMove`] if the event does not fit the state, or names another fence than the claim's.
    pub fn step(self, event: TaskEvent, budgets: Budgets, closing: bool) -> Result<Self, IllegalMove> {
        use TaskState::{Blocked, Ended, Ready, Running};
        let illegal = IllegalMove { state: self.state, event };
        let back = if closing { Ended(Outcome::Cancelled) } else { Ready };
        match (self.state, event) {
            (Blocked, TaskEvent::Open) => Ok(Self { state: Ready, ..self }),
            (Ready, TaskEvent::Claim { fence }) if !closing && fence > self.fence => {
                Ok(Self { state: Running, fence, ..self })
            }
            (Running, TaskEvent::Finish { fence, outcome }) if fence == self.fence => {
                self.finish(outcome, budgets, closing).ok_or(illegal)
            }
            (Running, TaskEvent::Yield { fence }) if fence == self.fence => Ok(Self { state: back, ..self }),
            (Running, TaskEvent::Lose { fence, held }) if fence == self.fence && held > 0 => {
                Ok(self.lose(held, budgets, back))
            }
            (Blocked | Ready, TaskEvent::Skip) => Ok(Self { state: Ended(Outcome::Skipped), ..self }),
            (Blocked | Ready, TaskEvent::Cancel) => Ok(Self { state: Ended(Outcome::Cancelled), ..self }),
            _ => Err(illegal),
        }
    }

    fn finish(self, outcome: Outcome, budgets: Budgets, closing: bool) -> Option<Self> {
        if outcome == Outcome::Lost {
            return None; // nobody can report its own loss
        }
        let fails = self.fails + u32::from(outcome.is_failure());
        let again = outcome.is_failure() && fails <= budgets.retries && !closing;
        let state = if again { TaskState::Ready } else { TaskState::Ended(outcome) };
        Some(Self { state, fails, ..self })
    }

    fn lose(self, held: u32, budgets: Budgets, back: TaskState) -> Self {
        if held > 1 {
            return Self { state: back, company: self.company + 1, ..self };
        }
        let losses = self.losses + 1;
        let lost = losses > budgets.max_losses && back == TaskState::Ready;
        Self { state: if lost { TaskState::Ended(Outcome::Lost) } else { back }, losses, ..self }
    }
}

/// Where a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// A group it needs has not succeeded yet.
    Waiting,
    /// Its gate is open and its collector adds tests.
    Collecting,
    /// Its gate is open and more tasks may come.
    Open,
    /// Its gate is open and all of its tasks are known.
    Sealed,
    /// Ending: nothing is handed out, what runs is waited for.
    Closing,
    /// Every task ended well.
    Succeeded,
    /// Some task did not, or its collection failed.
    Failed,
    /// A group it needs did not succeed.
    Skipped,
    /// Its job was cancelled.
    Cancelled,
}

impl GroupState {
    /// Whether this is an end.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// Whether slots may claim from it.
    #[must_use]
    pub fn gate_open(self) -> bool {
        matches!(self, Self::Collecting | Self::Open | Self::Sealed)
    }

    /// Whether the table has a way from here to `to`.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        use GroupState::{Cancelled, Closing, Collecting, Failed, Open, Sealed, Skipped, Succeeded, Waiting};
        match self {
            Waiting => matches!(to, Collecting | Open | Sealed | Skipped | Cancelled | Failed | Closing),
            Collecting | Open => matches!(to, Sealed | Closing | Failed | Cancelled),
            Sealed => matches!(to, Closing | Succeeded | Failed | Cancelled),
            Closing => matches!(to, Failed | Skipped | Cancelled),
            Succeeded | Failed | Skipped | Cancelled => false,
        }
    }

    /// The state of its word in Redis.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "waiting" => Self::Waiting,
            "collecting" => Self::Collecting,
            "open" => Self::Open,
            "sealed" => Self::Sealed,
            "closing" => Self::Closing,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "skipped" => Self::Skipped,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Groups and tasks may still be added.
    Open,
    /// Every group is known.
    Sealed,
    /// Ending: cancelled, out of time, or too many failures.
    Closing,
    /// Everything passed.
    Passed,
    /// Something failed.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Tasks were lost or never ran.
    Incomplete,
}

impl JobState {
    /// Whether this is an end.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Passed | Self::Failed | Self::Cancelled | Self::Incomplete)
    }

    /// Whether the table has a way from here to `to`.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Open => matches!(to, Self::Sealed | Self::Closing),
            Self::Sealed => to == Self::Closing || to.is_over(),
            Self::Closing => to.is_over(),
            _ => false,
        }
    }

    /// The state of its word in Redis.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "open" => Self::Open,
            "sealed" => Self::Sealed,
            "closing" => Self::Closing,
            "passed" => Self::Passed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            "incomplete" => Self::Incomplete,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Budgets = Budgets { retries: 0, max_losses: 1 };

    fn running(fence: u64) -> Task {
        Task::added(true).step(TaskEvent::Claim { fence }, STRICT, false).unwrap()
    }

    #[test]
    fn a_late_result_is_an_illegal_move() {
        let again = running(1).step(TaskEvent::Yield { fence: 1 }, STRICT, false).unwrap();
        let second = again.step(TaskEvent::Claim { fence: 2 }, STRICT, false).unwrap();
        second.step(TaskEvent::Finish { fence: 1, outcome: Outcome::Passed }, STRICT, false).unwrap_err();
    }

    #[test]
    fn ended_absorbs() {
        let ended = running(1).step(TaskEvent::Finish { fence: 1, outcome: Outcome::Passed }, STRICT, false).unwrap();
        for event in [
            TaskEvent::Open,
            TaskEvent::Claim { fence: 9 },
            TaskEvent::Skip,
            TaskEvent::Cancel,
            TaskEvent::Yield { fence: 1 },
        ] {
            ended.step(event, STRICT, false).unwrap_err();
        }
    }

    #[test]
    fn a_loss_in_company_costs_nothing_and_two_alone_end_it() {
        let mut task = running(1).step(TaskEvent::Lose { fence: 1, held: 3 }, STRICT, false).unwrap();
        assert_eq!((task.state, task.losses), (TaskState::Ready, 0));
        for fence in [2, 3] {
            task = task.step(TaskEvent::Claim { fence }, STRICT, false).unwrap();
            task = task.step(TaskEvent::Lose { fence, held: 1 }, STRICT, false).unwrap();
        }
        assert_eq!(task.state, TaskState::Ended(Outcome::Lost));
    }

    #[test]
    fn a_failure_within_the_budget_goes_back() {
        let budgets = Budgets { retries: 1, max_losses: 1 };
        let task = running(1).step(TaskEvent::Finish { fence: 1, outcome: Outcome::Failed }, budgets, false).unwrap();
        assert_eq!((task.state, task.fails), (TaskState::Ready, 1));
    }

    #[test]
    fn nothing_goes_back_while_the_job_closes() {
        let task = running(1).step(TaskEvent::Lose { fence: 1, held: 2 }, STRICT, true).unwrap();
        assert_eq!(task.state, TaskState::Ended(Outcome::Cancelled));
    }
}
