//! The owner's deadline is renewed beside the loop too: a loop that waits for a slow reader of its output, or has much to
//! catch up with, must not lose the job. What a renewal tells is the loop's to hear; this one only speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use remuda_store::Store;
use tokio::task::JoinHandle;

/// How often it speaks.
const EVERY: Duration = Duration::from_secs(1);
/// A grace below this needs to be renewed more often.
const SHORT: u64 = 3_000;

/// Speaks until it is dropped.
pub(super) struct Alive(JoinHandle<()>);

impl Alive {
    /// Renews the deadline of a job that this coordinator owns since it opened it.
    pub(super) fn start(store: Store, job: String, coordinator: String, grace_ms: u64, live: Arc<AtomicBool>) -> Self {
        let every = if grace_ms < SHORT { Duration::from_millis(grace_ms / 3 + 1) } else { EVERY };
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                // of its first epoch only: whoever takes over makes this harmless
                let _ = store.adopt(&job, &coordinator, 1, grace_ms, live.load(Relaxed)).await;
            }
        }))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}
