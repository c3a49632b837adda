//! A reporter that shows nothing of a run but its end, for those who only wait.

use std::time::Duration;

use super::{Fact, Progress, Reporter};

/// Passes on the facts and not the progress.
pub struct Quiet {
    inner: Box<dyn Reporter>,
    waiting: String,
}

impl Quiet {
    /// Silences a reporter until the end.
    #[must_use]
    pub fn over(inner: Box<dyn Reporter>) -> Box<dyn Reporter> {
        Box::new(Self { inner, waiting: String::new() })
    }
}

impl Reporter for Quiet {
    fn fact(&mut self, fact: &Fact, at: Duration) -> std::io::Result<()> {
        self.inner.fact(fact, at)
    }

    fn is_over_after(&mut self, took: Duration) {
        self.inner.is_over_after(took);
    }

    fn joins_late(&mut self) {
        self.inner.joins_late();
    }

    fn settle(&mut self) -> std::io::Result<()> {
        self.inner.settle()
    }

    fn leave(&mut self) {
        self.inner.leave();
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// Only that nobody can run it: who waits for that must not wait in the dark.
    fn progress(&mut self, now: &Progress) -> std::io::Result<()> {
        if self.waiting == now.waiting {
            return Ok(());
        }
        self.waiting.clone_from(&now.waiting);
        if now.waiting.is_empty() { Ok(()) } else { self.inner.fact(&Fact::Note(now.waiting.clone()), now.elapsed) }
    }
}
