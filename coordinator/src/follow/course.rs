//! The course of a run from its first event to its last word, with the farm's own processes under its eyes: who dies is
//! replaced or ends the run, a signal is heard at any moment, and a run that breaks off is told as far as it came. What
//! happens in between is `attached`'s, how a run is closed `ending`'s.

use std::time::Duration;

use remuda_protocol::spec::GroupKind;
use remuda_store::Subscription;
use tokio::task::JoinHandle;

use super::attached::Run;
use super::signals::{Signal, Signals};
use crate::commands::worker::Death;
use crate::embedded::Embedded;
use crate::error::{Error, Exit};
use crate::report::Fact;

/// How long Redis may take to tell what is not known yet of a run that breaks off.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Run {
    /// Follows the job to its end and closes it. `watch` was subscribed before the job was opened.
    ///
    /// # Errors
    /// The job cannot be followed any more; reports have what was seen of it. What happens to it then is up to its
    /// owner's deadline.
    pub async fn to_its_end(
        &mut self,
        watch: Subscription,
        submit: JoinHandle<Result<(), Error>>,
        children: &mut Option<Embedded>,
    ) -> Result<Exit, Error> {
        let result = match self.follow(watch, submit, children).await {
            Ok(()) => self.close_watched(children).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            self.break_off(error).await;
        }
        self.leave();
        result
    }

    /// A child of this run ended under it.
    pub(super) async fn outlive(&mut self, death: Death, children: &mut Option<Embedded>) -> Result<(), Error> {
        let Some(children) = children else { return Ok(()) };
        let done = self.view.total(GroupKind::Tests).done();
        let text = children.outlive(death, done).await?;
        self.tell(&Fact::Note(text))?;
        self.settle()
    }

    async fn close_watched(&mut self, children: &mut Option<Embedded>) -> Result<Exit, Error> {
        let mut signals = Signals::new().map_err(|e| Error::io("listen for signals", e))?;
        let mut closing = std::pin::pin!(self.close());
        loop {
            tokio::select! {
                closed = &mut closing => return closed,
                signal = signals.next() => match signal {
                    Signal::Interrupt => return Err(Error::Killed(Exit::Interrupted)),
                    Signal::Terminate => return Err(Error::Killed(Exit::Terminated)),
                    Signal::Status => {}
                },
                death = died(children) => if let Some(children) = children {
                    // whoever comes in its place says that what it had to tell will not come
                    tracing::warn!("{}", children.outlive(death, 0).await?);
                },
            }
        }
    }

    /// Tells a run that cannot be followed any more as far as it came: what has no end is not finished.
    async fn break_off(&mut self, error: &Error) {
        // a job that goes on without this program is not this program's to tell, and nobody reads what is closed
        let goes_on =
            matches!(error, Error::TakenOver(_) | Error::Left(_) | Error::Impatient(_) | Error::Closed { .. });
        let broken = error.exit() == Exit::Internal || matches!(error, Error::Killed(_));
        if goes_on || !broken && self.view.groups.iter().all(|group| group.added == 0) {
            return;
        }
        let nobody_to_ask = matches!(error, Error::Died { what, .. } if *what != "worker");
        if !nobody_to_ask && !matches!(error, Error::Killed(_)) {
            let _ = tokio::time::timeout(LAST_WORDS, self.catch_up()).await;
        }
        // a report that cannot be written keeps no other from it, and is no news by now
        self.tell_all_pending();
        self.tell_fates();
        let text = error.to_string();
        let summary = self.summary(error.exit(), text.lines().next().unwrap_or_default().to_owned());
        let _ = self.tell(&Fact::Finished(summary));
    }
}

/// The next of this run's own processes that ends. Can be dropped.
pub(super) async fn died(children: &mut Option<Embedded>) -> Death {
    match children {
        Some(children) => children.died().await,
        None => std::future::pending().await,
    }
}
