//! The heartbeat: renews leases from its own OS thread and its own connection, so that nothing the daemon does can
//! delay it, and moves the keepers' deadlines with every confirmed beat.
//!
//! A deadline counts from the *sending* of the beat that renewed the lease, on a clock that counts suspend, and lies
//! a margin before the lease's end: an attempt is dead before anybody else may begin it. It decides nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use remuda_store::{Beat, BeatReply, Renewal, Service, Store, StoreError};
use tokio::sync::{Notify, mpsc};

use crate::settings::Settings;
use crate::warden::{Deadlines, boottime_now_ms};

/// Most that a lease grows with its attempt, ms (as in beat.lua).
const MOST_GROWTH_MS: u64 = 600_000;

/// Longest pause between beats: whoever beats also reaps, and a longer silence counts as an outage.
const BEAT: Duration = Duration::from_secs(5);

/// One claim as the beat sees it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Keeper whose deadline moves with it.
    pub keeper: usize,
    /// When its current attempt began, boot-time ms; 0 not yet.
    pub started_ms: u64,
}

/// What the daemon and the beat share.
#[derive(Debug, Default)]
struct Shared {
    held: HashMap<u64, Held>,
    /// Keepers that live without a claim: loaders.
    kept: Vec<usize>,
    running: String,
    stopped: bool,
}

/// What a beat found.
#[derive(Debug)]
pub enum Pulse {
    /// The server answered.
    Answered {
        /// Claims that must stop: fence, and whether they are lost (else cancelled).
        stop: Vec<(u64, bool)>,
        /// Tasks that must stop alone: fence and number.
        tasks: Vec<(u64, u32)>,
        /// Claims of which nothing more shall begin.
        last: Vec<u64>,
        /// What is asked of this worker.
        service: Service,
        /// Jobs whose live output somebody looks at.
        watched: Vec<String>,
    },
    /// Not on the books: resync.
    Unknown,
}

/// The daemon's handle.
#[derive(Clone, Debug)]
pub struct Heart {
    shared: Arc<Mutex<Shared>>,
    now: Arc<Notify>,
}

impl Heart {
    /// Starts the thread. Pulses come over `pulses`.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(
        settings: &Settings,
        store: &Store,
        deadlines: Deadlines,
        pulses: mpsc::UnboundedSender<Pulse>,
    ) -> std::io::Result<Self> {
        let heart = Self { shared: Arc::default(), now: Arc::new(Notify::new()) };
        let mine = heart.clone();
        let (settings, store) = (settings.clone(), store.clone());
        std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(mine.beat_on(&settings, &store, &deadlines, &pulses));
        })?;
        Ok(heart)
    }

    /// Notes a claim, or that its next attempt began.
    pub fn hold(&self, fence: u64, held: Held) {
        self.lock().held.insert(fence, held);
    }

    /// Notes that a claim has ended.
    pub fn release(&self, fence: u64) {
        self.lock().held.remove(&fence);
    }

    /// Every beat moves this keeper's deadline, whether it has a claim or not.
    pub fn keep_keeper(&self, keeper: usize) {
        self.lock().kept.push(keeper);
    }

    /// Its loader has ended.
    pub fn forget_keeper(&self, keeper: usize) {
        self.lock().kept.retain(|k| *k != keeper);
    }

    /// What `status` shows of this worker.
    pub fn say(&self, running: String) {
        self.lock().running = running;
    }

    /// Beats at once.
    pub fn beat_now(&self) {
        self.now.notify_one();
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.now.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat_on(
        &self,
        settings: &Settings,
        store: &Store,
        deadlines: &Deadlines,
        pulses: &mpsc::UnboundedSender<Pulse>,
    ) {
        let every = (settings.lease / 6).min(BEAT);
        let store = loop {
            // the connection belongs to this thread's runtime
            match store.another(Duration::from_millis(500)).await {
                Ok(store) => break store,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        loop {
            let _ = tokio::time::timeout(every, self.now.notified()).await;
            let (beat, held, kept) = {
                let shared = self.lock();
                if shared.stopped {
                    return;
                }
                let (beat, held) = make_beat(settings, &shared);
                (beat, held, shared.kept.clone())
            };
            let sent_ms = boottime_now_ms();
            let pulse = match store.beat(&beat).await {
                Ok(reply) => answered(&reply, &held, &kept, sent_ms, settings, deadlines),
                Err(StoreError::UnknownWorker { .. }) => Pulse::Unknown,
                Err(error) => {
                    tracing::warn!(%error, "no beat got through");
                    continue;
                }
            };
            if pulses.send(pulse).is_err() {
                return;
            }
        }
    }
}

fn make_beat(settings: &Settings, shared: &Shared) -> (Beat, Vec<(u64, Held)>) {
    let now = boottime_now_ms();
    let held: Vec<(u64, Held)> = shared.held.iter().map(|(f, h)| (*f, *h)).collect();
    let beat = Beat {
        worker: settings.worker.clone(),
        lease_ms: settings.lease_ms(),
        running: shared.running.clone(),
        held: held.iter().map(|(fence, h)| (*fence, age(h, now))).collect(),
    };
    (beat, held)
}

fn age(held: &Held, now: u64) -> u64 {
    if held.started_ms == 0 { 0 } else { now.saturating_sub(held.started_ms) }
}

fn answered(
    reply: &BeatReply,
    held: &[(u64, Held)],
    kept: &[usize],
    sent_ms: u64,
    settings: &Settings,
    deadlines: &Deadlines,
) -> Pulse {
    let base = sent_ms + settings.lease_ms() - settings.margin_ms();
    let mut deadline: HashMap<usize, u64> = kept.iter().map(|keeper| (*keeper, base)).collect();
    let (mut stop, mut tasks, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for ((fence, h), renewal) in held.iter().zip(&reply.renewals) {
        match renewal {
            Renewal::Lost => stop.push((*fence, true)),
            renewal => {
                match renewal {
                    Renewal::Cancel => stop.push((*fence, false)),
                    Renewal::Last => last.push(*fence),
                    Renewal::Stop(some) => tasks.extend(some.iter().map(|task| (*fence, *task))),
                    _ => {}
                }
                let growth = (age(h, sent_ms) / 10).min(MOST_GROWTH_MS);
                let until = base + growth;
                // a keeper ends everything of its own at once: the earliest of its leases counts
                deadline.entry(h.keeper).and_modify(|d| *d = (*d).min(until)).or_insert(until);
            }
        }
    }
    for (keeper, until) in deadline {
        deadlines.set(keeper, until);
    }
    Pulse::Answered { stop, tasks, last, service: reply.service, watched: reply.watched.clone() }
}
