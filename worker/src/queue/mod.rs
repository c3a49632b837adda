//! The library's worker: a queue that yields a farm's tasks to code of your own, one at a time, instead of starting
//! processes. `remuda_store::Coordinator` submits such tasks.
//!
//! `task` is what the code gets in hand; `attempt` runs the code on it until it returns or must stop. Leases are renewed
//! by the daemon's own `heartbeat`, on a thread of its own. The queue supervises no process: a handler is dropped where
//! it waits, and one that never waits cannot be stopped. Give such work to a command task.

mod attempt;
mod task;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use remuda_protocol::spec::{JobSpec, canonical_labels};
use remuda_store::{
    Bell, Claim, ConnectOptions, Message, NextCall, Registration, Service, Store, StoreError, TaskResult, Want,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use task::{Refused, Task};

use crate::error::WorkerError;
use crate::heartbeat::{Heart, Pulse};
use crate::settings::Settings;
use crate::warden::{Deadlines, boottime_now_ms};

/// How long one call waits for a server that is away before it is looked whether anything else is to be done.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long what must not be lost waits for it.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// As much work as one claim may cover, µs; there is one task in it anyway.
const BUDGET_US: u64 = 200_000;
/// The one place of the queue in the table of deadlines.
const PLACE: usize = 0;

/// Which farm, and as whom.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// `redis://`, `rediss://` or `unix://`.
    pub redis: String,
    /// The farm; it should be one whose tasks are all for this code.
    pub farm: String,
    /// Labels that tasks may ask for.
    pub labels: Vec<String>,
    /// How long after its last sign of life this process counts as dead.
    pub lease: Duration,
}

impl QueueOptions {
    /// No labels, a lease of 30 s.
    #[must_use]
    pub fn new(redis: impl Into<String>, farm: impl Into<String>) -> Self {
        Self { redis: redis.into(), farm: farm.into(), labels: Vec::new(), lease: Duration::from_secs(30) }
    }
}

/// One slot of a farm. For more at once, join more queues.
pub struct TaskQueue {
    store: Store,
    settings: Settings,
    heart: Heart,
    deadlines: Deadlines,
    pulses: mpsc::UnboundedReceiver<Pulse>,
    bell: Bell,
    control: JoinHandle<()>,
    /// What the last attempts came to, until the farm has it.
    results: Vec<TaskResult>,
    /// Names a call; the same when the call is repeated.
    nonce: String,
    warm: Option<(String, u32)>,
    spec: Option<Arc<JobSpec>>,
    drained: bool,
}

impl TaskQueue {
    /// Joins a farm as a worker of one slot.
    ///
    /// # Errors
    /// The server refuses, or a setting makes no sense.
    pub async fn join(options: QueueOptions) -> Result<Self, WorkerError> {
        let settings = settings(&options)?;
        let connect = ConnectOptions::new(&settings.url, &settings.farm);
        let store = Store::connect(connect).await?.patient(PATIENCE);
        let machine = |what| move |error| WorkerError::Machine { what, error };
        let (deadlines, _) = Deadlines::create(1).map_err(machine("make the table of deadlines"))?;
        let (to, pulses) = mpsc::unbounded_channel();
        let heart = Heart::start(&settings, &store, deadlines.clone(), to).map_err(machine("start the heartbeat"))?;
        let control = listen(store.clone(), heart.clone());
        let queue = Self {
            bell: Bell::new(&store, &settings.labels),
            store,
            settings,
            heart,
            deadlines,
            pulses,
            control,
            results: Vec::new(),
            nonce: Uuid::new_v4().to_string(),
            warm: None,
            spec: None,
            drained: false,
        };
        queue.resync(LONG_PATIENCE, &[], false).await?;
        Ok(queue)
    }

    /// This worker's id, as `remuda` shows it.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.settings.worker
    }

    /// Gives each task to `handler` until `stop` is ready or somebody asks this worker to drain; what has begun then is
    /// finished first. A handler that returns `Ok` has passed its task and one that returns an error has failed it,
    /// unless it said something else with [`Task::finish`].
    ///
    /// # Errors
    /// Redis refuses this worker for good. An outage is waited for.
    pub async fn each_task<E: Display>(
        mut self,
        stop: impl Future<Output = ()>,
        mut handler: impl AsyncFnMut(&Task) -> Result<(), E>,
    ) -> Result<(), WorkerError> {
        let mut stop = std::pin::pin!(stop);
        loop {
            let claim = tokio::select! {
                biased;
                () = &mut stop => break,
                claim = self.claim() => claim?,
            };
            let Some(claim) = claim else { break };
            self.attempt(claim, &mut handler).await?;
        }
        self.leave().await
    }

    /// Waits for the next task (`None`: asked to drain); what was done before is reported with the same call. If this
    /// future is dropped nothing is lost: results stay here, and a claim whose answer was not heard goes back.
    async fn claim(&mut self) -> Result<Option<Claim>, StoreError> {
        while !self.drained {
            let want = Want { slot: 0, max: 1, budget_us: BUDGET_US, warm: self.warm.clone(), with_ms: 0 };
            let (sent_ms, answer) = (boottime_now_ms(), self.store.next(&self.call(vec![want])).await);
            match answer {
                Ok(reply) => {
                    self.confirmed();
                    if let Some(claim) = reply.claims.into_iter().next() {
                        self.deadlines.set(PLACE, sent_ms + self.settings.lease_ms() - self.settings.margin_ms());
                        self.warm = Some((claim.job.clone(), claim.lane));
                        return Ok(Some(claim));
                    }
                    self.idle(Duration::from_millis(reply.wait_ms)).await?;
                }
                Err(StoreError::UnknownWorker { .. }) => drop(self.rejoin(&[]).await?),
                Err(error) if error.is_outage() => tracing::warn!(%error, "waiting for the farm"),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn call(&self, wants: Vec<Want>) -> NextCall {
        NextCall {
            worker: self.settings.worker.clone(),
            nonce: self.nonce.clone(),
            lease_ms: self.settings.lease_ms(),
            results: self.results.clone(),
            wants,
            loaded: Vec::new(),
        }
    }

    /// The farm has the results: their leases are over.
    fn confirmed(&mut self) {
        for result in self.results.drain(..) {
            self.heart.release(result.fence);
        }
        self.nonce = Uuid::new_v4().to_string();
    }

    async fn idle(&mut self, wait: Duration) -> Result<(), StoreError> {
        tokio::select! {
            _ = self.bell.wait(wait.max(Duration::from_millis(10))) => Ok(()),
            pulse = self.pulses.recv() => self.hear(pulse, &[]).await.map(drop),
        }
    }

    /// Heeds a beat's answer; returns the claims that must stop, and whether each is lost.
    async fn hear(&mut self, pulse: Option<Pulse>, held: &[u64]) -> Result<Vec<(u64, bool)>, StoreError> {
        match pulse {
            Some(Pulse::Answered { mut stop, tasks, service, .. }) => {
                self.drained |= service == Service::Leaving;
                // its claims have one task each
                stop.extend(tasks.into_iter().map(|(fence, _)| (fence, false)));
                Ok(stop)
            }
            Some(Pulse::Unknown) => {
                let lost = self.rejoin(held).await?;
                Ok(lost.into_iter().map(|fence| (fence, true)).collect())
            }
            None => std::future::pending().await, // the thread ends with the queue
        }
    }

    /// Goes back on the books; if the server has gone away again, the next beat says so once more.
    async fn rejoin(&self, held: &[u64]) -> Result<Vec<u64>, StoreError> {
        match self.resync(PATIENCE, held, false).await {
            Err(error) if error.is_outage() => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// Says who this is and what it holds, or that it leaves; returns what it must forget.
    async fn resync(&self, patience: Duration, held: &[u64], leave: bool) -> Result<Vec<u64>, StoreError> {
        let about = serde_json::json!({"host": self.settings.host, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "protocol": remuda_protocol::PROTOCOL});
        let who = Registration {
            worker: self.settings.worker.clone(),
            lease_ms: self.settings.lease_ms(),
            labels: self.settings.labels.clone(),
            slots: 1,
            about: about.to_string(),
            leave,
            held: held.to_vec(),
            ..Registration::default()
        };
        Ok(self.store.patient(patience).resync(&who).await?.forget)
    }

    /// Reports what is left and goes off the books.
    async fn leave(mut self) -> Result<(), WorkerError> {
        if !self.results.is_empty() {
            match self.store.patient(LONG_PATIENCE).next(&self.call(Vec::new())).await {
                Ok(_) => self.confirmed(),
                Err(StoreError::UnknownWorker { .. }) => {} // reaped: others have those tasks
                Err(error) => return Err(error.into()),
            }
        }
        self.resync(LONG_PATIENCE, &[], true).await?;
        Ok(())
    }

    /// The spec of a job; the last one is remembered.
    async fn spec_of(&mut self, job: &str) -> Result<Arc<JobSpec>, StoreError> {
        if let Some(spec) = self.spec.as_ref().filter(|s| s.id == job) {
            return Ok(spec.clone());
        }
        let spec = Arc::new(self.store.patient(self.settings.lease).spec(job).await?);
        self.spec = Some(spec.clone());
        Ok(spec)
    }
}

impl Drop for TaskQueue {
    fn drop(&mut self) {
        self.heart.stop();
        self.control.abort();
    }
}

fn settings(options: &QueueOptions) -> Result<Settings, WorkerError> {
    if options.lease < Duration::from_secs(3) {
        return Err(WorkerError::Setting(format!("lease is {:?}; expected 3 s or more", options.lease)));
    }
    let arguments = crate::cli::Arguments {
        redis: options.redis.clone(),
        farm: options.farm.clone(),
        slots: "1".to_owned(),
        labels: options.labels.clone(),
        drain_timeout: 0,
        state: None,
        scratch: None,
        outputs: None,
        lease: 0,
        embedded: true,
    };
    let labels = canonical_labels(&options.labels);
    Ok(Settings { lease: options.lease, labels, ..Settings::new(arguments)? })
}

/// Beats at once when something is cancelled; a missed word is found by the next beat.
fn listen(store: Store, heart: Heart) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Ok(mut words) = store.control().await {
                while let Some(message) = words.next().await {
                    if matches!(&message, Message::Control(word) if word.starts_with("cancel ")) {
                        heart.beat_now();
                    }
                }
            }
            tokio::time::sleep(PATIENCE).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_too_short_to_be_renewed_is_refused() {
        let options = QueueOptions { lease: Duration::from_secs(2), ..QueueOptions::new("redis://lab", "mine") };
        assert_eq!(settings(&options).unwrap_err().to_string(), "lease is 2s; expected 3 s or more");
        let options = QueueOptions { labels: vec!["a b".to_owned()], ..QueueOptions::new("redis://lab", "mine") };
        assert!(settings(&options).unwrap_err().to_string().contains("`a b`"));
    }
}
