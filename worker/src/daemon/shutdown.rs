//! The end of the daemon in three steps: stop taking, let finish what runs, force. And its end without its warden.

use std::time::{Duration, Instant};

use remuda_protocol::outcome::Detail;
use remuda_store::{Registration, Service};

use super::inbox::{Inbox, Message, Signal};
use super::slots::Abort;
use super::{Daemon, StateLock};
use crate::error::WorkerError;
use crate::warden::KeeperEvent;

/// A second signal leaves this long for what is killed to be reaped and reported.
const FORCE: Duration = Duration::from_secs(5);

/// A server that is gone is waited for so long, with empty hands or by force.
const UNHEARD: Duration = Duration::from_secs(5);

/// How long keepers may take to end after their warden's death.
const BURIAL: Duration = Duration::from_secs(5);

/// A drain that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: Instant,
    force_at: Instant,
    forced: bool,
    /// The store was told, so that what slots had not begun of their runs goes to others.
    told: bool,
}

impl Daemon {
    pub(super) fn on_signal(&mut self, signal: Signal) {
        match (signal, self.drain) {
            (Signal::Status, _) => self.print_status(),
            (Signal::Terminate, None) => self.begin_drain(),
            (Signal::Terminate, Some(_)) => self.force(),
        }
    }

    /// Whether more may be claimed.
    pub(super) fn takes_work(&self) -> bool {
        self.drain.is_none() && !self.paused
    }

    /// What somebody asks of this worker from afar.
    pub(super) fn serve(&mut self, service: Service) {
        match service {
            Service::Leaving if self.drain.is_none() => self.begin_drain(),
            Service::Paused if !self.paused => {
                tracing::info!("paused: no more work is taken");
                self.paused = true;
                self.give_back_unstarted();
                self.tell_drained();
            }
            Service::Full if self.paused => {
                tracing::info!("work is taken again");
                self.paused = false;
                self.outbox.ring();
            }
            _ => {}
        }
    }

    /// Tells the store, so that what slots had not begun of their runs goes to others.
    fn tell_drained(&self) {
        let (store, drained) =
            (self.store.patient(super::LONG_PATIENCE), Registration { drain: true, ..self.registration() });
        let leaves = self.drain.is_some();
        tokio::spawn(async move {
            if leaves {
                // nobody shall count on it, as when it had been asked to leave from afar
                let _ = store.drain(&drained.worker, Service::Leaving).await;
            }
            store.resync(&drained).await
        });
    }

    /// Stops taking, gives back what has not started, ends suites that have nothing in hand.
    pub(super) fn begin_drain(&mut self) {
        tracing::info!("draining");
        let since = Instant::now();
        self.drain = Some(Drain { since, force_at: since + self.settings.drain_timeout, forced: false, told: false });
        self.give_back_unstarted();
        self.finish_idle_suites();
    }

    fn give_back_unstarted(&mut self) {
        for slot in 0..self.settings.slots {
            let queue = &mut self.slots[slot as usize].queue;
            let unsent: Vec<_> = queue.iter().filter(|a| a.sent.is_none()).cloned().collect();
            queue.retain(|a| a.sent.is_some());
            for assignment in unsent {
                self.report(&assignment, None, 0, 0, &Detail::default());
            }
            self.drop_unstarted(slot);
        }
    }

    /// Kills what runs and gives it back.
    fn force(&mut self) {
        if let Some(drain) = &mut self.drain {
            if std::mem::replace(&mut drain.forced, true) {
                return;
            }
            drain.force_at = Instant::now() + FORCE;
        }
        for slot in 0..self.settings.slots {
            self.slots[slot as usize]
                .queue
                .iter_mut()
                .filter(|a| a.abort.is_none())
                .for_each(|a| a.abort = Some(Abort::Drain));
            self.stop_aborted(slot);
        }
        self.kill_loaders();
    }

    /// Looks at the drain's clock.
    pub(super) fn tick_drain(&mut self, now: Instant) {
        let Some(drain) = self.drain else { return };
        // not while a call is out: a claim in its answer would not be among those we hold
        if !drain.told && !self.outbox.is_out() {
            self.drain = Some(Drain { told: true, ..drain });
            self.tell_drained();
        }
        self.finish_idle_suites();
        if now < drain.force_at {
            return;
        }
        if drain.forced {
            // what cannot be reaped in time is given back unreaped: the warden kills it with us
            for slot in 0..self.settings.slots {
                for mut assignment in std::mem::take(&mut self.slots[slot as usize].queue) {
                    assignment.abort = Some(Abort::Drain);
                    self.report(&assignment, None, 0, 0, &Detail::default());
                }
            }
            let owed: Vec<u64> = self.owed.keys().copied().collect();
            owed.into_iter().for_each(|generation| self.pay_for(generation));
            self.loaders.clear();
        } else {
            self.force();
        }
    }

    /// Whether a drain has come to its end. A Redis that is gone does not keep a worker: what it could not be told ends
    /// with its lease, or is given back by the successor.
    pub(super) fn has_drained(&self, now: Instant) -> bool {
        let Some(drain) = self.drain else { return false };
        let empty_hands = self.slots.iter().all(|s| s.queue.is_empty())
            && self.owed.is_empty()
            && self.departures.is_empty()
            && self.loaders.is_empty();
        let told = self.outbox.is_empty() && self.reporting == 0;
        let nothing_to_tell = !self.outbox.has_results() && self.reporting == 0 && now >= drain.since + UNHEARD;
        empty_hands && (told || nothing_to_tell) || drain.forced && now >= drain.force_at + UNHEARD
    }

    /// After the death of the warden, with which the keepers end: waits until they have, and reports nothing. What is on
    /// the books stays there, as if this process had been killed, too.
    pub(super) async fn bury(self, inbox: &mut Inbox) -> WorkerError {
        self.heart.stop();
        let mut left = self.slots.iter().filter(|slot| slot.keeper.is_some()).count() + self.loaders.len();
        let until = Instant::now() + BURIAL;
        while left > 0 && Instant::now() < until {
            for message in inbox.some(until.saturating_duration_since(Instant::now())).await {
                let gone = matches!(
                    message,
                    Message::Keeper(_, KeeperEvent::Gone { .. }) | Message::Loader(_, KeeperEvent::Gone { .. })
                );
                left -= usize::from(gone && left > 0);
            }
        }
        WorkerError::Unguarded
    }

    /// Takes leave: off the books, everything dead.
    pub(super) async fn leave(self, lock: Option<StateLock>) {
        self.heart.stop();
        let farewell = Registration { leave: true, held: Vec::new(), ..self.registration() };
        let left = tokio::time::timeout(Duration::from_secs(2), self.store.resync(&farewell)).await;
        if matches!(left, Ok(Ok(_)))
            && let Some(lock) = lock
        {
            lock.leave();
        }
        self.warden.shutdown().await;
    }
}
