//! Runs your code on one task until it returns, its time is over, or the farm wants it stopped; whichever comes first is
//! what is reported, and a lost lease is not reported at all.

use std::fmt::Display;
use std::time::Duration;

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_store::{Claim, StoreError, TaskResult};

use super::task::Expired;
use super::{PLACE, Task, TaskQueue};
use crate::error::WorkerError;
use crate::heartbeat::Held;
use crate::warden::boottime_now_ms;

/// How long the clock is trusted between two looks: it counts suspend, and a timer does not.
const GLANCE: Duration = Duration::from_millis(500);

/// Why an attempt is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Its own time is over.
    Expired,
    /// Its job or its claim was cancelled.
    Cancelled,
    /// Its lease is somebody else's, or may be.
    Lost,
}

impl TaskQueue {
    /// Runs the handler on a claim's task and notes the result for the next call.
    pub(super) async fn attempt<E: Display>(
        &mut self,
        claim: Claim,
        handler: &mut impl AsyncFnMut(&Task) -> Result<(), E>,
    ) -> Result<(), WorkerError> {
        let Some(task) = self.prepare(&claim).await? else { return Ok(()) };
        let began_ms = boottime_now_ms();
        self.heart.hold(claim.fence, Held { keeper: PLACE, started_ms: began_ms });
        let ended = tokio::select! {
            biased;
            stop = self.stopped(&task) => Err(stop?),
            returned = handler(&task) => Ok(returned.map_err(|why| why.to_string())),
        };
        let (outcome, detail) = match ended {
            Ok(returned) => task.judge(Ok(returned)),
            Err(Stop::Expired) => task.judge(Err(Expired)),
            Err(Stop::Cancelled) => (Outcome::Cancelled, Detail::default()),
            Err(Stop::Lost) => {
                self.heart.release(claim.fence);
                return Ok(());
            }
        };
        self.results.push(result(&claim, Some(outcome), boottime_now_ms() - began_ms, &detail));
        Ok(())
    }

    /// What the handler gets in hand; `None`: the job is gone, or cannot be read now and the task is given back.
    async fn prepare(&mut self, claim: &Claim) -> Result<Option<Task>, StoreError> {
        self.heart.hold(claim.fence, Held { keeper: PLACE, started_ms: 0 });
        let task = match self.spec_of(&claim.job).await {
            Ok(spec) => spec.groups.get(claim.group as usize).and_then(|group| Task::new(claim, group, &self.store)),
            Err(StoreError::UnknownJob { .. }) => None,
            Err(error) if error.is_outage() => {
                self.results.push(result(claim, None, 0, &Detail::default()));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if task.is_none() {
            self.heart.release(claim.fence);
        }
        Ok(task)
    }

    /// Waits until the attempt must stop.
    async fn stopped(&mut self, task: &Task) -> Result<Stop, StoreError> {
        loop {
            let (now, lease) = (boottime_now_ms(), self.deadlines.get(PLACE));
            if now >= lease {
                return Ok(Stop::Lost);
            }
            let until = task.until_ms().unwrap_or(u64::MAX);
            if now >= until {
                return Ok(Stop::Expired);
            }
            let wait = Duration::from_millis(lease.min(until) - now).min(GLANCE);
            tokio::select! {
                pulse = self.pulses.recv() => {
                    let stop = self.hear(pulse, &[task.fence()]).await?;
                    match stop.iter().find(|(fence, _)| *fence == task.fence()) {
                        Some((_, true)) => return Ok(Stop::Lost),
                        Some((_, false)) => return Ok(Stop::Cancelled),
                        None => {}
                    }
                }
                () = task.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// `None`: given back.
fn result(claim: &Claim, outcome: Option<Outcome>, ms: u64, detail: &Detail) -> TaskResult {
    let silent = *detail == Detail::default();
    TaskResult {
        fence: claim.fence,
        job: claim.job.clone(),
        group: claim.group,
        task: claim.first,
        outcome,
        us: ms * 1000,
        wide_us: 0,
        detail: if silent { Vec::new() } else { serde_json::to_vec(detail).unwrap_or_default() },
    }
}
