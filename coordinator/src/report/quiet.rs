//! A reporter that shows nothing of a run but its end, for those who only wait.

use std::time::Duration;

use super::{Fact, Progress, Reporter};

/// Passes on the facts and not the progress.
pub struct Quiet(Box<dyn Reporter>);

impl Quiet {
    /// Silences a reporter until the end.
    #[must_use]
    pub fn over(inner: Box<dyn Reporter>) -> Box<dyn Reporter> {
        Box::new(Self(inner))
    }
}

impl Reporter for Quiet {
    fn fact(&mut self, fact: &Fact, at: Duration) -> std::io::Result<()> {
        self.0.fact(fact, at)
    }

    fn is_over_after(&mut self, took: Duration) {
        self.0.is_over_after(took);
    }

    fn settle(&mut self) -> std::io::Result<()> {
        self.0.settle()
    }

    fn leave(&mut self) {
        self.0.leave();
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn progress(&mut self, _now: &Progress) -> std::io::Result<()> {
        Ok(())
    }
}
